"""Wheels that are asked for ahead: what pip gets of them, and where pip asks by itself."""

from __future__ import annotations

import io
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.network.utils import HEADERS
from pip._vendor.urllib3.response import HTTPResponse

from pip_sharedcache.pip_adapter.prefetch import Prefetch

URLS = [f"https://files.test/part{number}-1.0-py3-none-any.whl" for number in range(6)]


class _Session:
    """pip's session in front of a server with wheels, which threads can wait for."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.ahead: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        self.log = logging.getLogger("test")
        self._pip = threading.get_ident()
        self._changed = threading.Condition()

    def get(self, url: str, **kw: Any) -> Any:
        mine = threading.get_ident() == self._pip
        with self._changed:
            (self.own if mine else self.ahead)[url] += 1
            self._changed.notify_all()
        self.log.warning("%s is asked for", url)
        status = 200 if mine else self.statuses.get(url, 200)
        raw = HTTPResponse(io.BytesIO(url.encode()), preload_content=False)
        return SimpleNamespace(status_code=status, headers={}, raw=raw)

    def wait_until_asked(self, url: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.ahead[url] > 0, 30)


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    """What a test does not end would go on handing records to this test's handlers."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    root.handlers = before


@pytest.fixture
def session() -> _Session:
    return _Session()


@pytest.fixture
def prefetch(session: _Session, tmp_path: Path) -> Iterator[Prefetch]:
    prefetch = Prefetch(session, URLS, 4, str(tmp_path))
    assert prefetch.start()
    yield prefetch
    prefetch.end()
    assert not list(tmp_path.iterdir())


def _content(prefetch: Prefetch, url: str) -> str:
    response = prefetch.get(url, headers=HEADERS, stream=True)
    return b"".join(response.raw.stream(4096, decode_content=False)).decode()


def test_no_host_is_asked_before_pip_has_asked_it(prefetch: Prefetch, session: _Session) -> None:
    assert not session.ahead
    assert _content(prefetch, URLS[0]) == URLS[0]
    session.wait_until_asked(URLS[1])
    assert session.own == {URLS[0]: 1}


def test_pip_gets_what_threads_asked_for(prefetch: Prefetch, session: _Session) -> None:
    assert [_content(prefetch, url) for url in URLS] == URLS
    assert session.own + session.ahead == Counter(URLS), "each once"


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_refusal_leaves_the_rest_to_pip(prefetch: Prefetch, session: _Session, status: int) -> None:
    session.statuses.update(dict.fromkeys(URLS, status))
    _content(prefetch, URLS[0])
    session.wait_until_asked(URLS[1])
    assert [_content(prefetch, url) for url in URLS[1:]] == URLS[1:]
    assert session.own == Counter(URLS)
    assert sum(session.ahead.values()) <= 3, "no more than the first ones"


@pytest.mark.parametrize("status", [401, 404, 410])
def test_wheel_that_is_not_there_is_left_to_pip_alone(
    prefetch: Prefetch, session: _Session, status: int
) -> None:
    session.statuses[URLS[1]] = status
    _content(prefetch, URLS[0])
    session.wait_until_asked(URLS[1])
    assert _content(prefetch, URLS[1]) == URLS[1]
    assert (session.own[URLS[1]], session.ahead[URLS[1]]) == (1, 1)
    session.wait_until_asked(URLS[4])


def test_request_in_another_manner_ends_all(prefetch: Prefetch, session: _Session) -> None:
    prefetch.get(URLS[0], stream=True)
    assert [_content(prefetch, url) for url in URLS[1:]] == URLS[1:]
    assert not session.ahead


def test_two_requests_are_needed(session: _Session, tmp_path: Path) -> None:
    assert not Prefetch(session, URLS, 1, str(tmp_path)).start()
    assert not Prefetch(session, URLS[:1], 8, str(tmp_path)).start()


def test_what_threads_log_appears_where_pip_takes_the_response(
    session: _Session, tmp_path: Path
) -> None:
    root, logged = logging.getLogger(), _Logged()
    before, root.handlers = root.handlers, [logged]
    prefetch = Prefetch(session, URLS, 4, str(tmp_path))
    try:
        assert prefetch.start()
        _content(prefetch, URLS[0])
        session.wait_until_asked(URLS[1])
        session.log.warning("between")
        _content(prefetch, URLS[1])
        prefetch.end()
        assert root.handlers == [logged]
    finally:
        root.handlers = before
    asked = [f"{url} is asked for" for url in URLS[:2]]
    assert logged.texts == [asked[0], "between", asked[1]]


class _Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
