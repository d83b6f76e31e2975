"""pip's requests for metadata: which of them threads make, and what pip gets and does meanwhile."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.network.utils import HEADERS
from pip._vendor.urllib3.response import HTTPResponse

from pip_sharedcache.pip_adapter.meanwhile import Meanwhile
from pip_sharedcache.pip_adapter.side_by_side import Call, SideBySide

URLS = [f"https://files.test/part{number}-1.0-py3-none-any.whl.metadata" for number in range(6)]
ELSEWHERE = "https://other.test/part-1.0-py3-none-any.whl.metadata"

pytestmark = pytest.mark.usefixtures("no_hanging")


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers
    yield
    root.handlers = before


class _Session:
    """pip's session in front of a server with metadata.

    statuses: what threads get in place of 200. own_statuses: what pip gets.
    lengths: what the server says of a body's length. broken: whose connections break in threads.
    bodies: what threads got. open: lets threads have answers.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.own_statuses: dict[str, int] = {}
        self.lengths: dict[str, int] = {}
        self.broken: set[str] = set()
        self.from_cache = False
        self.ahead: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        self.open = threading.Event()
        self.open.set()
        self.bodies: dict[str, HTTPResponse] = {}
        self._pip = threading.get_ident()

    def get(self, url: str, **kw: Any) -> Any:
        return self.request("GET", url, **kw)

    def request(self, method: str, url: str, **kw: Any) -> Any:
        mine = threading.get_ident() == self._pip
        (self.own if mine else self.ahead)[url] += 1
        if not mine:
            self.open.wait(60)
        status = (self.own_statuses if mine else self.statuses).get(url, 200)
        if status == 0:
            raise ConnectionError(url)
        raw = HTTPResponse(io.BytesIO(url.encode()), preload_content=False)
        if not mine:
            self.bodies[url] = raw
            if url in self.broken:
                raw.stream = _broken
        headers = {"content-length": str(self.lengths.get(url, len(url)))}
        return SimpleNamespace(
            status_code=status, headers=headers, raw=raw, from_cache=self.from_cache
        )


def _broken(*_: object, **kw: object) -> Iterator[bytes]:
    yield b"https"
    raise ConnectionError


class _Run:
    """One run with pip's preparer. ``pieces``: the work that is there, piece by piece."""

    def __init__(self, session: _Session) -> None:
        self.session = session
        self.pieces: list[Callable[[], object]] = []
        self.calls: SideBySide[Call, Any] = SideBySide(lambda call: call())
        self.meanwhile = Meanwhile(self.calls, self._work)
        self.downloader = SimpleNamespace(_session=session)
        self.preparer = SimpleNamespace(_download=self.downloader)

    def _work(self) -> bool:
        if not self.pieces:
            return False
        self.pieces.pop(0)()
        return True

    def get(self, url: str, **kw: Any) -> Any:
        """The response that pip's downloader gets."""
        with self.meanwhile.requests_of(self.preparer):
            return self.downloader._session.get(url, **(kw or {"headers": HEADERS, "stream": True}))

    def read(self, url: str) -> str:
        return _content(self.get(url))

    def ask_ahead(self, *urls: str) -> None:
        with self.meanwhile.requests_of(self.preparer):
            for url in urls:
                self.meanwhile.ask_ahead(url)

    def wait(self) -> None:
        """Wait for the answers that threads get."""
        while not all(self.calls.is_done(url) for url in URLS if url in self.calls):
            time.sleep(0.001)


def _content(response: Any) -> str:
    return b"".join(response.raw.stream(4096, decode_content=False)).decode()


@pytest.fixture
def session() -> _Session:
    return _Session()


@pytest.fixture
def run(session: _Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Run]:
    (tmp_path / "bodies").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "bodies"))
    run = _Run(session)
    yield run
    session.open.set()
    run.meanwhile.end()
    run.calls.end()


def test_host_is_asked_ahead_once_pip_has_asked_it(run: _Run, session: _Session) -> None:
    run.ask_ahead(URLS[1])
    assert run.read(URLS[0]) == URLS[0]
    run.ask_ahead(URLS[1], ELSEWHERE)
    run.wait()
    assert session.own == {URLS[0]: 1}
    assert session.ahead == {URLS[1]: 1}


@pytest.mark.parametrize("status", [401, 403, 500])
def test_host_that_fails_pips_own_request_is_not_asked_ahead(
    run: _Run, session: _Session, status: int
) -> None:
    session.own_statuses[URLS[0]] = status
    assert run.get(URLS[0]).status_code == status
    run.ask_ahead(URLS[1])
    assert URLS[1] not in run.calls


def test_pip_gets_what_threads_got_and_each_is_asked_for_once(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    run.ask_ahead(*URLS)
    run.ask_ahead(*URLS)
    assert [run.read(url) for url in URLS[1:]] == URLS[1:]
    assert session.ahead == Counter(URLS)
    assert session.own == {URLS[0]: 1}


def test_body_that_pip_has_not_read_occupies_no_connection(run: _Run, session: _Session) -> None:
    """pip's session keeps ten connections."""
    run.read(URLS[0])
    run.ask_ahead(*URLS[1:])
    run.wait()
    assert [body.read() for body in session.bodies.values()] == [b""] * 5, "it is read already"


def test_work_is_done_while_an_answer_is_on_its_way(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    session.open.clear()
    done: list[int] = []
    run.pieces = [lambda: done.append(1), lambda: done.append(2), session.open.set]
    assert run.read(URLS[1]) == URLS[1]
    assert done == [1, 2]


def test_work_waits_where_the_answer_is_there(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    run.ask_ahead(URLS[1])
    run.wait()
    run.pieces = [lambda: pytest.fail("pip waits for this")]
    assert run.read(URLS[1]) == URLS[1]


def test_work_can_ask_ahead(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    session.open.clear()
    run.pieces = [lambda: run.meanwhile.ask_ahead(URLS[2]), session.open.set]
    run.read(URLS[1])
    run.wait()
    assert session.ahead == Counter(URLS[1:3])


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500])
def test_request_that_fails_in_a_thread_is_made_by_pip(
    run: _Run, session: _Session, status: int
) -> None:
    run.read(URLS[0])
    session.statuses[URLS[1]] = status
    assert run.read(URLS[1]) == URLS[1]
    assert (session.ahead[URLS[1]], session.own[URLS[1]]) == (1, 1)


@pytest.mark.parametrize(
    ("status", "threads_ask"), [(404, 1), (401, 1), (403, 0), (429, 0), (0, 0)]
)
def test_host_that_refuses_a_thread_is_left_to_pip(
    run: _Run, session: _Session, status: int, threads_ask: int
) -> None:
    run.read(URLS[0])
    session.statuses[URLS[1]] = status
    run.read(URLS[1])
    assert run.read(URLS[2]) == URLS[2]
    assert session.ahead[URLS[2]] == threads_ask
    assert session.own[URLS[2]] == 1 - threads_ask


def test_threads_ask_again_after_a_failure_once_pip_has_had_an_answer(
    run: _Run, session: _Session
) -> None:
    run.read(URLS[0])
    session.statuses[URLS[1]] = session.own_statuses[URLS[1]] = 404
    for url in URLS[1:4]:
        run.read(url)
    assert session.ahead == Counter([URLS[1], URLS[3]])
    assert session.own == Counter(URLS[:3])


def test_what_pip_has_is_not_asked_for_again(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    run.read(URLS[1])
    run.ask_ahead(URLS[1])
    assert URLS[1] not in run.calls


@pytest.mark.parametrize("how", ["short", "broken"])
def test_incomplete_body_is_asked_for_again_by_pip(run: _Run, session: _Session, how: str) -> None:
    run.read(URLS[0])
    if how == "short":
        session.lengths[URLS[1]] = 10_000
    else:
        session.broken.add(URLS[1])
    assert run.read(URLS[1]) == URLS[1]
    assert (session.ahead[URLS[1]], session.own[URLS[1]]) == (1, 1)


def test_answer_from_pips_cache_is_left_as_it_is(run: _Run, session: _Session) -> None:
    run.read(URLS[0])
    session.from_cache = True
    run.ask_ahead(URLS[1])
    run.wait()
    response = run.get(URLS[1])
    assert response.raw is session.bodies[URLS[1]]
    assert _content(response) == URLS[1]


@pytest.mark.parametrize(
    "kw", [{"headers": HEADERS}, {"headers": {**HEADERS, "Range": "bytes=5-"}, "stream": True}]
)
def test_other_kinds_of_requests_are_pips_own(
    run: _Run, session: _Session, kw: dict[str, Any]
) -> None:
    """pip resumes a download with a Range."""
    run.read(URLS[0])
    run.ask_ahead(URLS[1])
    run.wait()
    run.get(URLS[1], **kw)
    assert session.own[URLS[1]] == 1


def test_answers_that_pip_did_not_take_are_deleted_at_the_end(run: _Run) -> None:
    run.read(URLS[0])
    run.ask_ahead(*URLS[1:4])
    run.wait()
    taken = run.get(URLS[1])
    run.meanwhile.end()
    assert _content(taken) == URLS[1]
    for url in URLS[2:4]:
        with pytest.raises(ValueError, match="closed file"):
            _content(run.calls.take(url))


def test_pips_session_is_back_afterwards(run: _Run, session: _Session) -> None:
    with pytest.raises(KeyError), run.meanwhile.requests_of(run.preparer):
        assert run.downloader._session is not session
        assert run.downloader._session.statuses is session.statuses, "it has what pip's has"
        raise KeyError
    assert run.downloader._session is session


def test_batch_downloader_of_newer_pips_is_served(run: _Run, session: _Session) -> None:
    inner = SimpleNamespace(_session=session)
    run.preparer = SimpleNamespace(_download=SimpleNamespace(_downloader=inner))
    with run.meanwhile.requests_of(run.preparer):
        for url in URLS[:2]:
            assert _content(inner._session.get(url, headers=HEADERS, stream=True)) == url
    assert (session.own, session.ahead) == ({URLS[0]: 1}, {URLS[1]: 1})


@pytest.mark.parametrize("preparer", [SimpleNamespace(), SimpleNamespace(_download=object())])
def test_preparer_without_a_session_is_left_alone(run: _Run, preparer: Any) -> None:
    before = dict(vars(preparer))
    with run.meanwhile.requests_of(preparer):
        assert vars(preparer) == before
