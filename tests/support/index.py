"""A package index of the tests' own: a directory of wheels and sdists, served over HTTP."""

from __future__ import annotations

import base64
import email.parser
import hashlib
import html
import re
import socket
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

Request = tuple[str, str, int]


class LocalIndex:
    """Serves the *.whl and *.tar.gz of a directory as a PEP 503 index, while in a `with`.

    hashes: links carry #sha256=. metadata: wheels' METADATA is served apart (PEP 658, 714).
    credentials: (user, password) that every request must bring; without them the answer is 401.
    delay: seconds before every answer. The directory is read anew for each request.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hashes: bool = True,
        metadata: bool = True,
        credentials: tuple[str, str] | None = None,
        delay: float = 0,
    ) -> None:
        self.directory = Path(directory)
        self.hashes = hashes
        self.metadata = metadata
        self.credentials = credentials
        self.delay = delay
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._facts: dict[tuple[str, int, int, int], tuple[str, bytes | None]] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LocalIndex:
        if self._server is not None:
            return self
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def port(self) -> int:
        """The TCP port it listens at."""
        if self._server is None:
            raise RuntimeError("the index is not running: use it in a `with`")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address for --index-url."""
        return f"http://127.0.0.1:{self.port}/simple/"

    @property
    def authenticated_url(self) -> str:
        """The same address with user and password in it."""
        if self.credentials is None:
            return self.url
        user, password = (quote(part, safe="") for part in self.credentials)
        return f"http://{user}:{password}@127.0.0.1:{self.port}/simple/"

    @property
    def requests(self) -> list[Request]:
        """All requests so far as (method, decoded path, status); a copy."""
        with self._lock:
            return list(self._requests)

    def wheel_requests(self, name: str | None = None) -> list[str]:
        """Paths of the wheels that were given out, of one project or of all."""
        return self._given_out(".whl", name)

    def metadata_requests(self, name: str | None = None) -> list[str]:
        """Paths of the .metadata files that were given out, of one project or of all."""
        return self._given_out(".metadata", name)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    def _given_out(self, suffix: str, name: str | None) -> list[str]:
        return [
            path
            for method, path, status in self.requests
            if method == "GET"
            and status in (200, 206)
            and path.endswith(suffix)
            and (name is None or _project(path.rpartition("/")[2]) == _normalised(name))
        ]

    def _note(self, method: str, path: str, status: int) -> None:
        with self._lock:
            self._requests.append((method, path, status))

    def _files(self) -> list[Path]:
        return sorted(
            path for path in self.directory.iterdir() if path.name.endswith((".whl", ".tar.gz"))
        )

    def _facts_of(self, path: Path) -> tuple[str, bytes | None]:
        """The sha256 of a file, and its METADATA when it is a readable wheel."""
        status = path.stat()
        key = (path.name, status.st_ino, status.st_mtime_ns, status.st_size)
        with self._lock:
            known = self._facts.get(key)
        if known is None:
            data = path.read_bytes()
            known = (hashlib.sha256(data).hexdigest(), _metadata_of(path))
            with self._lock:
                self._facts[key] = known
        return known

    def _root_page(self) -> bytes:
        names = sorted({_project(path.name) for path in self._files()})
        return _page("".join(f'<a href="/simple/{name}/">{name}</a><br>\n' for name in names))

    def _project_page(self, project: str) -> bytes | None:
        links = [self._link(path) for path in self._files() if _project(path.name) == project]
        return _page("".join(links)) if links else None

    def _link(self, path: Path) -> str:
        sha256, metadata = self._facts_of(path)
        address = f"/files/{quote(path.name, safe='')}"
        if self.hashes:
            address += f"#sha256={sha256}"
        attributes = [f'href="{html.escape(address)}"']
        if metadata is not None:
            parsed = email.parser.BytesHeaderParser().parsebytes(metadata)
            requires_python = parsed["Requires-Python"]
            if requires_python:
                attributes.append(f'data-requires-python="{html.escape(str(requires_python))}"')
            if self.metadata:
                value = f"sha256={hashlib.sha256(metadata).hexdigest()}"
                attributes.append(f'data-dist-info-metadata="{value}"')
                attributes.append(f'data-core-metadata="{value}"')
        return f"<a {' '.join(attributes)}>{html.escape(path.name)}</a><br>\n"

    def _file(self, filename: str) -> bytes | None:
        """The bytes of a file of the directory, or of a wheel's METADATA."""
        served = {path.name: path for path in self._files()}
        if filename in served:
            return served[filename].read_bytes()
        wheel = filename[: -len(".metadata")] if filename.endswith(".metadata") else ""
        if self.metadata and wheel in served:
            return self._facts_of(served[wheel])[1]
        return None


class IndexFactory(Protocol):
    """index(directory, **options of LocalIndex): a running index, stopped after the test."""

    def __call__(
        self,
        directory: Path,
        *,
        hashes: bool = True,
        metadata: bool = True,
        credentials: tuple[str, str] | None = None,
        delay: float = 0,
    ) -> LocalIndex: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, index: LocalIndex) -> None:
        self.index = index
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that was killed in the middle of a download is what some tests are about.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0: each connection ends with its answer, so that none outlives the server.
    protocol_version = "HTTP/1.0"
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Called before the answer goes out, so that no test reads the list too early."""
        self.server.index._note(self.command, self._path(), int(code))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest's output is for the tests."""

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self, *, with_body: bool) -> None:
        index = self.server.index
        if index.delay:
            time.sleep(index.delay)
        if not self._authorised():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = self._path()
        if path.startswith("/files/"):
            self._send_file(index._file(path[len("/files/") :]), with_body)
        elif path == "/simple/":
            self._send_page(index._root_page(), with_body)
        elif path.startswith("/simple/"):
            asked = path[len("/simple/") :].rstrip("/")
            project = _normalised(asked)
            if path != f"/simple/{project}/":
                self.send_response(301)
                self.send_header("Location", f"/simple/{quote(project, safe='')}/")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send_page(index._project_page(project), with_body)
        else:
            self._send_page(None, with_body)

    def _authorised(self) -> bool:
        credentials = self.server.index.credentials
        if credentials is None:
            return True
        expected = base64.b64encode(":".join(credentials).encode("utf-8")).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _send_page(self, page: bytes | None, with_body: bool) -> None:
        body = page if page is not None else b"not here\n"
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _send_file(self, data: bytes | None, with_body: bool) -> None:
        if data is None:
            self._send_page(None, with_body)
            return
        part = _range(self.headers.get("Range"), len(data))
        if part is None:
            self.send_response(200)
        elif part[0] >= part[1]:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        else:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{len(data)}")
        body = data if part is None else data[part[0] : part[1]]
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The (start, stop) that a Range header asks for; None when the whole file is meant."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _project(filename: str) -> str:
    """The normalised project name in a file's name (a wheel's, its metadata's, an sdist's)."""
    if filename.endswith(".tar.gz"):
        return _normalised(filename.rpartition("-")[0])
    return _normalised(filename.split("-")[0])


def _metadata_of(path: Path) -> bytes | None:
    """METADATA of a wheel; None for anything else, a damaged wheel included."""
    if path.suffix != ".whl":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", member):
                    return archive.read(member)
    except zipfile.BadZipFile:
        return None
    return None


def _page(links: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'
        f"<title>index</title></head><body>\n{links}</body></html>\n"
    ).encode()
