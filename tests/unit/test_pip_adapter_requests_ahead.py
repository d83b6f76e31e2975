"""Requests ahead: what their session never does, and pip's own requests after a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.network.session import PipSession

from pip_sharedcache.pip_adapter import requests_ahead
from pip_sharedcache.pip_adapter.requests_ahead import RequestsAhead, host_of, quiet

HOST = "index.test"
URL = f"https://me:secret@{HOST}/simple/demo/"


class _Session:
    """pip's session in front of a server with these answers: status codes, and exceptions."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self._asked: list[str] = []

    @property
    def asked(self) -> int:
        return len(self._asked)

    def request(self, method: str, url: str, **kw: Any) -> Any:
        self._asked.append(url)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status_code=answer, close=lambda: None)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr(requests_ahead, "time", SimpleNamespace(sleep=made.append))
    return made


def _get(session: _Session) -> int:
    return int(session.request("GET", URL).status_code)


def _burst(session: _Session) -> RequestsAhead:
    """Let the host refuse a request ahead."""
    ahead = RequestsAhead.of(session)
    end = ahead.begin(HOST)
    assert end is not None
    ahead.refused(HOST)
    end()
    return ahead


def test_host_has_no_user() -> None:
    assert host_of(URL) == HOST
    assert host_of("http://127.0.0.1:80/x") == "127.0.0.1:80"


def test_refusal_closes_the_host_and_no_other() -> None:
    ahead = _burst(_Session(200))
    assert ahead.is_closed(HOST)
    assert ahead.begin(HOST) is None
    assert ahead.begin("files.test") is not None


def test_session_has_one_record_of_requests_ahead() -> None:
    session = _Session(200)
    assert RequestsAhead.of(session) is RequestsAhead.of(session)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_refusal_without_requests_ahead_is_pips(pauses: list[float], status: int) -> None:
    session = _Session(status)
    RequestsAhead.of(session)
    assert _get(session) == status
    assert (session.asked, pauses) == (1, [])


@pytest.mark.parametrize("status", [429, 503])
def test_limited_request_is_repeated_after_pauses(pauses: list[float], status: int) -> None:
    session = _Session(200, status, status, 200, status, 200)
    _burst(session)
    assert [_get(session) for _ in range(3)] == [200, 200, 200]
    assert pauses == [1, 2, 1]


def test_after_all_pauses_pip_is_on_its_own(pauses: list[float]) -> None:
    session = _Session(429)
    _burst(session)
    assert [_get(session), _get(session)] == [429, 429]
    assert pauses == [1, 2, 4, 8]
    assert session.asked == 6


def test_error_after_pips_own_retries_is_raised_in_the_end(pauses: list[float]) -> None:
    error = OSError("Max retries exceeded (ResponseError('too many 503 error responses'))")
    session = _Session(error, 503)
    _burst(session)
    with pytest.raises(OSError, match="Max retries") as raised:
        _get(session)
    assert raised.value is error
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize("answer", [401, 403, 404, 500, OSError("too many 500 error responses")])
def test_other_refusals_after_a_burst_are_not_repeated(
    pauses: list[float], answer: int | Exception
) -> None:
    session = _Session(answer)
    _burst(session)
    if isinstance(answer, Exception):
        with pytest.raises(OSError, match="500"):
            _get(session)
    else:
        assert _get(session) == answer
    assert (session.asked, pauses) == (1, [])


@pytest.mark.parametrize("answer", [403, 429, OSError("reset")])
def test_refusal_beside_a_request_ahead_is_repeated_at_its_end(answer: int | Exception) -> None:
    session = _Session(answer, 200)
    ahead = RequestsAhead.of(session)
    end = ahead.begin(HOST)
    assert end is not None
    threading.Timer(0.2, end).start()
    assert _get(session) == 200
    assert ahead.is_closed(HOST)


@pytest.mark.parametrize("status", [401, 404, 410])
def test_other_answers_beside_a_request_ahead_stand(status: int) -> None:
    session = _Session(status)
    ahead = RequestsAhead.of(session)
    assert ahead.begin(HOST) is not None
    assert _get(session) == status
    assert not ahead.is_closed(HOST)


def test_pip_waits_for_what_is_under_way_at_a_closed_host() -> None:
    session = _Session(200)
    ahead = RequestsAhead.of(session)
    end = ahead.begin(HOST)
    assert end is not None
    ahead.refused(HOST)
    got: list[int] = []
    pip = threading.Thread(target=lambda: got.append(_get(session)), daemon=True)
    pip.start()
    pip.join(0.2)
    assert (session.asked, got) == (0, [])
    end()
    pip.join(30)
    assert got == [200]


def test_pip_waits_for_nothing_that_was_abandoned() -> None:
    session = _Session(200)
    ahead = RequestsAhead.of(session)
    end = ahead.begin(HOST)
    assert end is not None
    ahead.refused(HOST)
    ahead.abandon()
    assert _get(session) == 200
    end()
    assert _get(session) == 200


# -- with pip's session


@pytest.fixture(autouse=True)
def _user_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its real one, pip reads what is installed; an old pip warns about what it finds."""
    monkeypatch.setattr("pip._internal.network.session.user_agent", lambda: "pip")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    asked: Sequence[str] = ()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked = [*self.server.asked, self.headers.get("Authorization", "")]
        private = self.path == "/private" and "Authorization" not in self.headers
        status = {"/busy": 503, "/limited": 429}.get(self.path, 401 if private else 200)
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
        if status in (429, 503):
            self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    with _server() as server:
        yield server


@pytest.mark.parametrize(("path", "status"), [("busy", 503), ("limited", 429)])
def test_quiet_session_does_not_sleep_out_a_retry_after(
    server: _Server, path: str, status: int
) -> None:
    began = time.monotonic()
    with PipSession(retries=5) as session:
        RequestsAhead.of(session)
        got = quiet(session).get(f"http://127.0.0.1:{server.server_port}/{path}")
        assert (got.status_code, len(server.asked)) == (status, 1)
        assert session.get_adapter("http://x").max_retries.total == 5
    assert time.monotonic() - began < 3000


def test_quiet_session_shares_connections() -> None:
    with PipSession() as session:
        pools = [one.get_adapter("https://x").poolmanager for one in (session, quiet(session))]
        assert pools[0] is pools[1]


def test_quiet_session_asks_nothing_and_uses_what_pip_asked(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{server.server_port}/private"
    with PipSession() as session:
        asked: list[str] = []

        def prompt(netloc: str) -> tuple[str, str, bool]:
            asked.append(netloc)
            return "me", "secret", False

        monkeypatch.setattr(session.auth, "_prompt_for_password", prompt)
        twin = quiet(session)
        assert (twin.get(url).status_code, asked) == (401, [])
        assert (session.get(url).status_code, len(asked)) == (200, 1)
        assert (twin.get(url).status_code, len(asked)) == (200, 1)
