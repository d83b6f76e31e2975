"""What pip gets is public only if this run has seen that servers give it without credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pip._internal.network.session import PipSession

from pip_sharedcache.pip_adapter import responses
from pip_sharedcache.pip_adapter.requests_ahead import RequestsAhead, host_of, quiet
from pip_sharedcache.pip_adapter.responses import Responses

# Of what pip 23.0.1 needs for the name of the Python that it tells servers.
pytestmark = pytest.mark.filterwarnings("ignore:Creating a LegacyVersion", "ignore:pkg_resources")

MAX_AGE = {"Cache-Control": "max-age=600", "ETag": '"x"'}


class Server:
    """Answers each request with 200, or what ``answer`` returns: a status and headers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []  # method, path, with credentials
        self.private: set[str] = set()
        self.redirects: dict[str, str] = {}
        self.status: dict[str, int] = {}
        self.max_age = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = "Authorization" in self.headers or "Cookie" in self.headers
                outer.asked.append((self.command, self.path, known))
                status, headers = outer._answer(self, known)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0" if status != 200 else "4")
                self.end_headers()
                if status == 200 and self.command == "GET":
                    self.wfile.write(b"body")

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.http: HTTPServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_address[1]}"
        self.url = f"http://{self.host}"

    def _answer(self, request: Any, known: bool) -> tuple[int, dict[str, str]]:
        path = request.path
        if path in self.private and not known:
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}
        if path in self.redirects:
            return 302, {"Location": self.redirects[path]}
        if f"{request.command} {path}" in self.status:
            return self.status[f"{request.command} {path}"], {}
        headers = dict(MAX_AGE) if self.max_age else {"ETag": MAX_AGE["ETag"]}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return 304, headers
        return 200, headers


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    made: list[Server] = []

    def start() -> Server:
        server = Server()
        made.append(server)
        threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True).start()
        return server

    yield start
    for server in made:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture
def server(serve: Callable[[], Server]) -> Server:
    return serve()


@pytest.fixture
def session(server: Server, tmp_path: Path) -> Any:
    """pip's session, with what is cached in ``tmp_path``."""
    made = PipSession(cache=str(tmp_path / "http"), trusted_hosts=["127.0.0.1"])
    made.auth.prompting = False
    return made


@pytest.fixture
def seen(session: Any) -> Responses:
    made = Responses()
    made.watch(session)
    return made


def _cache(session: Any, *urls: str) -> None:
    """Get what an earlier run of plain pip got, with a password."""
    before = PipSession(cache=_cache_of(session), trusted_hosts=["127.0.0.1"])
    for url in urls:
        before.get(url.replace("//", "//me:secret@")).raise_for_status()


def _cache_of(session: Any) -> str:
    directory: str = session.get_adapter("https://127.0.0.1/").cache.directory
    return directory


def _netrc(directory: Path, host: str) -> str:
    file = directory / "netrc"
    file.write_text(f"machine {host} login me password secret\n")
    file.chmod(0o600)
    return str(file)


def _link(url: str, page: str | None = None) -> Any:
    return SimpleNamespace(url=url, comes_from=page)


def test_page_and_wheel_that_once_needed_a_password_are_not_public(
    server: Server, session: Any, seen: Responses
) -> None:
    page, wheel = f"{server.url}/simple/demo/", f"{server.url}/files/demo.whl"
    server.private |= {"/simple/demo/", "/files/demo.whl"}
    _cache(session, page, wheel)
    server.asked.clear()
    assert session.get(page).content == session.get(wheel).content == b"body"
    assert server.asked == [], "pip's HTTP cache has both"
    link = _link(wheel, page)
    assert seen.private(session, link) == "", "nothing says so yet"
    for _ in range(2):
        assert "status 401" in seen.not_public([link])
        assert server.host in seen.not_public([_link(page)])
    assert server.asked == [("HEAD", "/simple/demo/", False)], "once, and without credentials"


def test_what_the_cache_has_is_public_if_the_server_gives_it_to_all(
    server: Server, session: Any, seen: Responses
) -> None:
    page, wheels = f"{server.url}/simple/demo/", [f"{server.url}/{n}.whl" for n in range(3)]
    _cache(session, page, *wheels)
    server.asked.clear()
    for url in (page, *wheels):
        session.get(url)
    assert seen.not_public([_link(page), *(_link(wheel, page) for wheel in wheels)]) == ""
    assert server.asked == [("HEAD", "/simple/demo/", False)]
    assert seen.not_public([_link(wheels[0])]) == ""
    assert server.asked[1:] == [("HEAD", "/0.whl", False)], "no page lists this one"


@pytest.mark.parametrize("get_session", [lambda session: session, quiet], ids=["pip", "threads"])
def test_answer_of_a_server_without_credentials_needs_no_other_request(
    server: Server, session: Any, seen: Responses, get_session: Callable[[Any], Any]
) -> None:
    page, wheel = f"{server.url}/simple/demo/", f"{server.url}/files/demo.whl"
    server.max_age = False
    _cache(session, page)
    server.asked.clear()
    get_session(session).get(page)
    get_session(session).get(wheel)
    assert seen.not_public([_link(page), _link(wheel, page), _link(wheel)]) == ""
    assert len(server.asked) == 2, "a confirmed page (304) was asked for"


def test_requests_ahead_do_not_give_back_credentials(
    server: Server, session: Any, seen: Responses
) -> None:
    """pip's own session makes requests with the password that it knows."""
    page = f"{server.url}/simple/demo/"
    server.private.add("/simple/demo/")
    _cache(session, page)
    RequestsAhead.of(session)
    session.auth.passwords[server.host] = ("me", "secret")
    server.asked.clear()
    assert "status 401" in seen.not_public([_link(page)])
    assert server.asked == [("HEAD", "/simple/demo/", False)]


def test_server_that_limits_requests_is_left_to_pip(
    server: Server, session: Any, seen: Responses
) -> None:
    page = f"{server.url}/simple/demo/"
    _cache(session, page)
    session.get(page)
    server.status["HEAD /simple/demo/"] = 429
    assert "status 429" in seen.not_public([_link(page)])
    assert RequestsAhead.of(session).is_closed(host_of(page))


def test_page_that_nobody_asked_for_is_asked_for(
    server: Server, session: Any, seen: Responses
) -> None:
    """A replay takes a fresh page from its record."""
    server.private.add("/simple/two/")
    links = [_link(f"{server.url}/simple/{name}/") for name in ("one", "two", "three")]
    assert "status 401" in seen.not_public(links)
    assert len(server.asked) == 3
    assert seen.not_public([links[0], links[2]]) == ""
    assert len(server.asked) == 3


def test_missing_page_is_not_private(server: Server, session: Any, seen: Responses) -> None:
    server.status["GET /simple/demo/"] = 404
    session.get(f"{server.url}/simple/demo/")
    assert seen.not_public([_link(f"{server.url}/simple/demo/")]) == ""
    assert len(server.asked) == 1


def test_one_file_of_each_other_host_is_asked_for(
    serve: Callable[[], Server], server: Server, session: Any, seen: Responses
) -> None:
    files = serve()
    page, wheels = f"{server.url}/simple/demo/", [f"{files.url}/{n}.whl" for n in range(3)]
    session.get(page)
    assert seen.not_public([_link(wheel, page) for wheel in wheels]) == ""
    assert files.asked == [("HEAD", "/0.whl", False)]
    other = serve()
    other.private.add("/a.whl")
    assert "status 401" in seen.not_public([_link(f"{other.url}/a.whl", page)])


@pytest.mark.parametrize("status", [405, 501])
def test_server_without_head_is_asked_by_get(
    server: Server, session: Any, seen: Responses, status: int
) -> None:
    page = f"{server.url}/simple/demo/"
    _cache(session, page)
    server.status["HEAD /simple/demo/"] = status
    server.asked.clear()
    session.get(page)
    assert seen.not_public([_link(page)]) == ""
    assert [method for method, *_ in server.asked] == ["HEAD", "GET"]


def test_page_that_redirects_strangers_is_not_public(
    server: Server, session: Any, seen: Responses
) -> None:
    """The other page can be one to log in at."""
    page = f"{server.url}/simple/demo/"
    _cache(session, page)
    session.get(page)
    server.redirects["/simple/demo/"] = "/login"
    assert "status 302" in seen.not_public([_link(page)])


def test_redirected_file_is_as_private_as_its_target(
    serve: Callable[[], Server],
    server: Server,
    session: Any,
    seen: Responses,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, "localhost"))
    files, wheel = serve(), f"{server.url}/demo.whl"
    other = files.url.replace("127.0.0.1", "localhost")
    files.private.add("/a.whl")
    server.redirects["/demo.whl"] = f"{other}/a.whl"
    assert session.get(wheel).content == b"body"
    assert "with credentials" in seen.private(session, _link(wheel))
    assert "with credentials" in seen.private(session, _link(f"{other}/b.whl"))
    assert not seen.private(session, _link(f"{server.url}/other.whl"))


def test_cached_target_of_a_redirect_is_asked_for(
    serve: Callable[[], Server], server: Server, session: Any, seen: Responses
) -> None:
    files, page = serve(), f"{server.url}/simple/demo/"
    files.private.add("/demo/")
    _cache(session, f"{files.url}/demo/")
    server.redirects["/simple/demo/"] = f"{files.url}/demo/"
    assert session.get(page).content == b"body"
    assert "status 401" in seen.not_public([_link(page)])


def test_no_credentials_of_this_user_are_used(
    server: Server,
    session: Any,
    seen: Responses,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NETRC", _netrc(tmp_path, "127.0.0.1"))
    session.cookies.set("session", "secret", domain="127.0.0.1", path="/")
    server.private.add("/simple/demo/")
    assert "status 401" in seen.not_public([_link(f"{server.url}/simple/demo/")])
    assert server.asked == [("HEAD", "/simple/demo/", False)]
    assert "session" in session.cookies, "pip's own session stays as it is"


def test_server_that_cannot_be_reached_is_asked_once(
    serve: Callable[[], Server], session: Any, seen: Responses, caplog: pytest.LogCaptureFixture
) -> None:
    gone = serve()
    gone.http.server_close()
    for name in ("one", "two"):
        assert "cannot be reached" in seen.not_public([_link(f"{gone.url}/simple/{name}/")])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_nothing_is_public_without_a_session_to_ask() -> None:
    assert Responses().not_public([_link("https://index.test/simple/demo/")])


def test_everything_cached_counts_as_not_asked_for_without_the_seam(
    server: Server, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "CACHED_REQUEST", SimpleNamespace(problem=lambda: "missing"))
    seen, page = Responses(), f"{server.url}/simple/demo/"
    seen.watch(session)
    server.max_age = False
    _cache(session, page)
    session.get(page)
    server.status["HEAD /simple/demo/"] = 403
    assert "status 403" in seen.not_public([_link(page)])
