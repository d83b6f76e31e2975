"""An object store of the tests' own, which speaks as much of S3 as clients use, with faults.

Others stand in for servers that work: moto's, and rclone's where it has one. This one fails.
"""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from support.index_server import Certificate

#: What the tests' clients sign with. No output may have it.
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTKEYOFNOBODY1",
    "AWS_SECRET_ACCESS_KEY": "Wq8secretofnobodyatall/k7zYx0example+key",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEtokenofnobody",
}


@dataclass
class Fault:
    """What goes wrong with a request.

    status: the answer; 0: none of its own. headers: of that answer. reset_after: bytes of the body
    after which the connection is reset. cut_after: bytes after which it ends. hang: seconds before
    the answer. other: bytes given in place of the object. times: for so many requests.
    verbs: the methods that fail; LIST and DELETE for requests that list or delete objects,
    DELETE_ONE for one object, whose status is in an answer that is a success.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    reset_after: int | None = None
    cut_after: int | None = None
    hang: float = 0
    other: bytes | None = None
    times: int = 1 << 30
    verbs: tuple[str, ...] = ("GET", "HEAD")


class ObjectServer:
    """Serves one bucket, while in a `with`.

    delay: seconds before every answer. certificate: answers over https. credentials: (user,
    password) that every request must bring. fault: returns the fault of a key, or None.
    modified: when objects were put (seconds since the epoch); the others are put now. unlisted:
    keys that listings do not have yet. page: objects in one answer of a listing. clock: seconds by
    which the clock is ahead. rate: bytes a second that it takes of a body; 0: all at once.
    """

    def __init__(
        self,
        bucket: str = "bucket",
        *,
        delay: float = 0,
        certificate: Certificate | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.bucket = bucket
        self.delay = delay
        self.certificate = certificate
        self.credentials = credentials
        self.objects: dict[str, bytes] = {}
        self.fault: Callable[[str], Fault | None] = lambda key: None
        self.modified: dict[str, float] = {}
        self.unlisted: set[str] = set()
        self.page = 1000
        self.clock = 0.0
        self.rate = 0
        self.requests: list[tuple[str, str, int]] = []
        self._lock = threading.Lock()
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._numbers = itertools.count(1)
        self._over = threading.Event()

    def __enter__(self) -> ObjectServer:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.use(self.certificate)
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
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/pip"

    @property
    def web_url(self) -> str:
        """The address of the same objects on the web."""
        return f"https://localhost:{self._server.server_address[1]}/{self.bucket}/pip"

    @property
    def variables(self) -> dict[str, str | None]:
        """Variables with which a client of S3 comes here."""
        return {
            **SECRETS,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_address[1]}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the objects below the prefix of the store."""
        with self._lock:
            names = (key.partition("/")[2] for key in self.objects)
            return sorted(name for name in names if name.startswith(prefix))

    def age(self, seconds: float, part: str = "") -> None:
        """Let the objects whose keys have ``part`` be as old as this."""
        with self._lock:
            for key in self.objects:
                if part in key:
                    self.modified[key] = time.time() - seconds

    def time_of(self, key: str) -> float:
        return self.modified.get(key, time.time()) + self.clock

    def count(self, verb: str, part: str = "", status: int = 0) -> int:
        """How many requests there were with this method, for keys that have ``part``."""
        with self._lock:
            return sum(
                one[0] == verb and part in one[1] and status in (0, one[2]) for one in self.requests
            )

    def take_fault(self, verb: str, key: str) -> Fault:
        fault = self.fault(key)
        with self._lock:
            if fault is None or verb not in fault.verbs or fault.times <= 0:
                return Fault()
            fault.times -= 1
            return fault

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def server_bind(self) -> None:
        # As on a network, and small: else the kernel takes what a slow server does not read.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        super().server_bind()

    _context: ssl.SSLContext | None = None

    def use(self, certificate: Certificate | None) -> None:
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.chain)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake is done here, in the connection's own thread.
        connection: socket.socket = request
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        try:
            super().finish_request(connection, client_address)
        finally:
            if connection is not request:
                connection.close()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


def _handler(server: ObjectServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            if timestamp is None:
                timestamp = time.time() + server.clock
            return super().date_time_string(timestamp)

        def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            with server._lock:
                server.requests.append((self.command, unquote(self.path), status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", headers.pop("length", str(len(body))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _refuse(self, status: int, code: str, **headers: str) -> None:
            key = self.headers.get("Authorization", "")
            text = f"<Error><Code>{code}</Code><Message>no</Message><Key>{key}</Key></Error>"
            self._answer(status, text.encode(), Content_Type="application/xml", **headers)

        def _body(self, length: int) -> bytes:
            if not server.rate:
                return self.rfile.read(length)
            pieces = []
            while length > 0:
                pieces.append(self.rfile.read(min(length, server.rate // 10)))
                length -= len(pieces[-1])
                if not pieces[-1]:
                    break  # the client went away
                server.wait(0.1)
            return b"".join(pieces)

        def _begin(self) -> tuple[str, dict[str, list[str]], bytes, Fault] | None:
            parts = urlsplit(self.path)
            body = self._body(int(self.headers.get("Content-Length") or 0))
            bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
            time.sleep(server.delay)
            if server.credentials is not None:
                pair = ":".join(server.credentials).encode()
                if self.headers.get("Authorization") != f"Basic {b64encode(pair).decode()}":
                    self._refuse(401, "Unauthorized", WWW_Authenticate="Basic")
                    return None
            if bucket != server.bucket:
                self._refuse(404, "NoSuchBucket")
                return None
            query = parse_qs(parts.query, keep_blank_values=True)
            verb = "LIST" if "list-type" in query else self.command
            fault = server.take_fault("DELETE" if "delete" in query else verb, key)
            server.wait(fault.hang)
            if fault.status:
                self._refuse(fault.status, "Fault", **fault.headers)
                return None
            return key, query, body, fault

        def do_GET(self) -> None:
            if (begun := self._begin()) is None:
                return
            key, query, _, fault = begun
            if "list-type" in query:
                self._list(query)
                return
            with server._lock:
                data = server.objects.get(key)
            if data is None:
                self._refuse(404, "NoSuchKey")
                return
            if fault.other is not None:
                data = fault.other
            end = fault.reset_after if fault.reset_after is not None else fault.cut_after
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", tag)
            at = self.date_time_string(int(server.time_of(key)))
            self.send_header("Last-Modified", at)
            self.end_headers()
            with server._lock:
                server.requests.append((self.command, unquote(self.path), 200))
            if self.command == "HEAD":
                return
            self.wfile.write(data if end is None else data[:end])
            if end is not None:
                self.wfile.flush()
                self.close_connection = True
                if fault.reset_after is not None:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        do_HEAD = do_GET

        def _list(self, query: dict[str, list[str]]) -> None:
            prefix = query.get("prefix", [""])[0]
            after = query.get("continuation-token", query.get("start-after", [""]))[0]
            with server._lock:
                keys = sorted(set(server.objects) - server.unlisted)
                keys = [key for key in keys if key.startswith(prefix) and key > after]
                between = query.get("delimiter", [""])[0]
                deeper = {key for key in keys if between and between in key[len(prefix) :]}
                keys = [key for key in keys if key not in deeper]
                common = {f"{key[len(prefix) :].partition(between)[0]}{between}" for key in deeper}
                rows = [
                    f"<Contents><Key>{escape(key)}</Key><ETag>x</ETag>"
                    f"<Size>{len(server.objects[key])}</Size>"
                    f"<LastModified>{_iso(server.time_of(key))}</LastModified></Contents>"
                    for key in keys[: server.page]
                ]
            rows += [
                f"<CommonPrefixes><Prefix>{escape(prefix + one)}</Prefix></CommonPrefixes>"
                for one in sorted(common)
            ]
            more = len(keys) > server.page
            end = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
            if more:
                token = escape(keys[server.page - 1])
                end += f"<NextContinuationToken>{token}</NextContinuationToken>"
            text = f"<ListBucketResult>{''.join(rows)}{end}</ListBucketResult>"
            self._answer(200, text.encode(), Content_Type="application/xml")

        def do_PUT(self) -> None:
            if (begun := self._begin()) is None:
                return
            key, query, body, _ = begun
            with server._lock:
                if "uploadId" in query:
                    parts = server._uploads[query["uploadId"][0]]
                    parts[int(query["partNumber"][0])] = body
                else:
                    server.objects[key] = body
                    server.modified[key] = time.time()
            self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

        def do_POST(self) -> None:
            if (begun := self._begin()) is None:
                return
            key, query, body, _ = begun
            if "delete" in query:
                self._delete(body)
                return
            if "uploads" in query:
                with server._lock:
                    upload = str(next(server._numbers))
                    server._uploads[upload] = {}
                inside = f"<Bucket>{server.bucket}</Bucket><Key>{key}</Key>"
                inside += f"<UploadId>{upload}</UploadId>"
                text = f"<InitiateMultipartUploadResult>{inside}</InitiateMultipartUploadResult>"
                self._answer(200, text.encode())
                return
            with server._lock:
                parts = server._uploads.pop(query["uploadId"][0])
                server.objects[key] = b"".join(parts[number] for number in sorted(parts))
            inside = f"<Location>x</Location><Bucket>{server.bucket}</Bucket><Key>{key}</Key>"
            name = "CompleteMultipartUploadResult"
            self._answer(200, f"<{name}>{inside}<ETag>x</ETag></{name}>".encode())

        def _delete(self, body: bytes) -> None:
            found = [one.text or "" for one in ElementTree.fromstring(body).iter() if _is_key(one)]
            rows = ""
            for key in found:
                fault = server.take_fault("DELETE_ONE", key)
                server.wait(fault.hang)
                if fault.status:
                    code = "<Code>AccessDenied</Code><Message>Access Denied</Message>"
                    rows += f"<Error><Key>{escape(key)}</Key>{code}</Error>"
                    continue
                rows += f"<Deleted><Key>{escape(key)}</Key></Deleted>"
                with server._lock:
                    server.objects.pop(key, None)
            self._answer(200, f"<DeleteResult>{rows}</DeleteResult>".encode())

        def do_DELETE(self) -> None:
            if (begun := self._begin()) is None:
                return
            with server._lock:
                server.objects.pop(begun[0], None)
            self._answer(204)

    return Handler


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _is_key(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] == "Key"
