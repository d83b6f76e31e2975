"""How an index is served: as plainly as can be, or as the public index does."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import socket
import ssl
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, Union
from urllib.parse import quote, unquote, urlsplit

from support.index_pages import HTML, JSON, Pages, normalised

# What is written in one piece where the rate is limited.
_PIECE = 256 << 10


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost. ``authority``: the file for pip's --cert;
    ``chain``: the server's certificate and key."""

    authority: Path
    chain: Path


@dataclass(frozen=True)
class Public:
    """To answer as the public index does: HTTP/1.1 with connections that stay open, pages in JSON
    (PEP 691) or HTML as asked for, gzip, ETag, Cache-Control, 304; files that stay fresh for ever.

    max_age: seconds for which a page is fresh; None: no Cache-Control. json: pages are had in JSON.
    rate: bytes a second of each connection, 0 for no limit. certificate: answers over https.
    """

    max_age: int | None = 600
    json: bool = True
    rate: float = 0
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Answer:
    """One answer. ``path``: decoded; ``size``: bytes of the body, as sent; ``time``: seconds on
    time.monotonic(), when the request came; ``concurrent``: requests in work then, this one
    included; ``kind``: "page", "metadata", "file" or "other"."""

    method: str
    path: str
    status: int
    size: int
    time: float
    concurrent: int

    @property
    def kind(self) -> str:
        if self.path.startswith("/simple/") and self.path != "/simple/":
            return "page"
        if self.path.endswith(".metadata"):
            return "metadata"
        return "file" if self.path.endswith((".whl", ".tar.gz")) else "other"


@dataclass(frozen=True)
class Cut:
    """The end of a connection after ``size`` bytes of a body; ``hang``: nothing comes any more."""

    size: int
    hang: bool = False


class Body:
    """What is answered: content, its type, its ETag, and the same content packed."""

    def __init__(self, content: bytes, kind: str) -> None:
        self.content = content
        self.kind = kind
        self.packed = gzip.compress(content, 6, mtime=0)
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def tagged(self, etag: str) -> Body:
        """The same with this ETag."""
        if etag == self.etag:
            return self
        other = Body.__new__(Body)
        other.__dict__.update(self.__dict__, etag=etag)
        return other


class Served(Protocol):
    """What a server asks an index."""

    pages: Pages
    credentials: tuple[str, str] | None
    delay: float
    limit: int
    public: Public | None

    def at_work(self) -> AbstractContextManager[int]:
        """Count a request as being in work; gives how many are."""

    def note(self, answer: Answer) -> None:
        """Add to the list of answers."""

    def failure(self, path: str) -> int | None:
        """The status that a path fails with now; None where it does not."""

    def cut(self, path: str) -> Cut | None:
        """Where the body at a path breaks off now; None where it does not."""

    def wait(self, path: str) -> None:
        """Return when a request for a path may be answered."""

    def root_page(self) -> Body:
        """The list of projects."""

    def project_page(self, project: str, in_json: bool) -> Body | None:
        """A page in JSON or in HTML."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, index: Served) -> None:
        self.index = index
        self._connections: set[socket.socket] = set()
        self._context: ssl.SSLContext | None = None
        if index.public is not None and index.public.certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(index.public.certificate.chain)
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake is done here, in the connection's own thread.
        connection: socket.socket = request
        if self._context is not None:
            connection.settimeout(_Handler.timeout)
            connection = self._context.wrap_socket(connection, server_side=True)
        self._connections.add(connection)
        try:
            super().finish_request(connection, client_address)
        finally:
            self._connections.discard(connection)
            if connection is not request:
                connection.close()

    def end_connections(self) -> None:
        """End those that clients have left open."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that was killed in the middle of a download, or that refuses the certificate, is
        # what some tests are about.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout, ssl.SSLError)):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    timeout = 60
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self._index = self.server.index
        self._public = self._index.public
        # HTTP/1.0: each connection ends with its answer, so that none outlives the server.
        self.protocol_version = "HTTP/1.1" if self._public else "HTTP/1.0"
        self._free_at = 0.0

    def do_GET(self) -> None:
        with self._index.at_work() as self._concurrent:
            self._time = time.monotonic()
            self._answer()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest's output is for the tests."""

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self) -> None:
        index, path = self._index, self._path()
        index.wait(path)
        if index.delay:
            time.sleep(index.delay)
        failure = index.failure(path)
        if index.limit and self._concurrent > index.limit:
            failure = 429
        if failure is not None:
            self._fail(failure)
        elif not self._authorised():
            self._send(401, WWW_Authenticate='Basic realm="tests"')
        elif path.startswith(("/files/", "/packages/")):
            self._send_file(index.pages.file(path.rpartition("/")[2]))
        elif path == "/simple/":
            self._send_page(index.root_page())
        elif path.startswith("/simple/"):
            asked = path[len("/simple/") :].rstrip("/")
            project = normalised(asked)
            if path != f"/simple/{project}/":
                self._send(301, Location=f"/simple/{quote(project, safe='')}/")
            else:
                self._send_page(index.project_page(project, self._wants_json()))
        else:
            self._send_page(None)

    def _fail(self, status: int) -> None:
        if status:
            self._send(status, b"made to fail\n")
        else:
            self._note(0, 0)
            self.close_connection = True

    def _authorised(self) -> bool:
        credentials = self._index.credentials
        if credentials is None:
            return True
        expected = base64.b64encode(":".join(credentials).encode("utf-8")).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _wants_json(self) -> bool:
        if self._public is None or not self._public.json:
            return False
        weights: dict[str, float] = {}
        for part in self.headers.get("Accept", "").split(","):
            kind, _, parameters = part.partition(";")
            weight = re.search(r"q=([0-9.]+)", parameters)
            weights[kind.strip()] = float(weight[1]) if weight else 1.0
        html = max(weights.get(kind, 0) for kind in (HTML, "text/html", "*/*"))
        return weights.get(JSON, 0) >= max(html, 0.001)

    def _send_page(self, page: Body | None) -> None:
        if page is None:
            self._send(404, b"not here\n", Content_Type="text/html; charset=utf-8")
        elif self._public is None:
            self._send(200, page.content, Content_Type=page.kind)
        else:
            headers = {"ETag": page.etag, "Vary": "Accept, Accept-Encoding"}
            if self._public.max_age is not None:
                headers["Cache_Control"] = f"max-age={self._public.max_age}, public"
            if self._unchanged(page.etag):
                self._send(304, None, **headers)
            elif "gzip" in self.headers.get("Accept-Encoding", ""):
                headers.update(Content_Type=page.kind, Content_Encoding="gzip")
                self._send(200, page.packed, **headers)
            else:
                self._send(200, page.content, Content_Type=page.kind, **headers)

    def _unchanged(self, etag: str) -> bool:
        asked = self.headers.get("If-None-Match", "")
        return any(one.strip() in (etag, f"W/{etag}", "*") for one in asked.split(","))

    def _send_file(self, data: Path | bytes | None) -> None:
        if data is None:
            self._send_page(None)
            return
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        headers = {"Content_Type": "application/octet-stream", "Accept_Ranges": "bytes"}
        if self._public is not None:
            age = data.stat().st_mtime_ns if isinstance(data, Path) else hash(data)
            headers["ETag"] = f'"{size:x}-{age & (1 << 64) - 1:x}"'
            headers["Cache_Control"] = "max-age=365000000, immutable, public"
            if self._unchanged(headers["ETag"]):
                self._send(304, None, **headers)
                return
        part = _range(self.headers.get("Range"), size)
        if part is None:
            self._send(200, data, **headers)
        elif part[0] >= part[1]:
            self._send(416, Content_Range=f"bytes */{size}")
        else:
            whole = data if isinstance(data, bytes) else data.read_bytes()
            headers["Content_Range"] = f"bytes {part[0]}-{part[1] - 1}/{size}"
            self._send(206, whole[part[0] : part[1]], **headers)

    def _note(self, status: int, size: int) -> None:
        self._index.note(
            Answer(self.command, self._path(), status, size, self._time, self._concurrent)
        )

    def _send(self, status: int, body: Union[bytes, Path, None] = b"", **headers: str) -> None:
        """Send an answer; body None: one that has none by its status."""
        size = body.stat().st_size if isinstance(body, Path) else len(body or b"")
        if self.command == "HEAD":
            body = None
        # Before the answer goes out, so that no test reads the list too early.
        self._note(status, size if body is not None else 0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        cut = self._index.cut(self._path()) if body else None
        if cut is not None and cut.size < size:
            data = body.read_bytes() if isinstance(body, Path) else body or b""
            self._write(data[: cut.size])
            self.wfile.flush()
            if cut.hang:
                self.rfile.read(1)  # until the client, or the end of the server, closes it
            self.close_connection = True
        elif isinstance(body, Path):
            with body.open("rb") as stream:
                for piece in iter(lambda: stream.read(_PIECE), b""):
                    self._write(piece)
        else:
            for start in range(0, len(body or b""), _PIECE):
                self._write((body or b"")[start : start + _PIECE])

    def _write(self, piece: bytes) -> None:
        """Write at the connection's rate."""
        if self._public is not None and self._public.rate:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + len(piece) / self._public.rate
            time.sleep(max(0.0, self._free_at - now))
        self.wfile.write(piece)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: _note has done it."""


def make_certificate(directory: Path) -> Certificate:
    """An authority of our own and a certificate of it, written into directory; needs openssl."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    own = ["-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem"]
    asked = ["-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "asked.pem"]
    signed = ["-in", "asked.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    made = ["-extfile", "names", "-out", "certificate.pem"]
    for command in (
        [*new, "-x509", *own],
        [*new, *asked],
        ["openssl", "x509", "-req", "-days", "30", *signed, *made],
    ):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
    chain = directory / "chain.pem"
    parts = ("certificate.pem", "key.pem")
    chain.write_text("".join((directory / part).read_text() for part in parts))
    return Certificate(directory / "ca.pem", chain)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The (start, stop) that a Range header asks for; None when the whole file is meant."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
