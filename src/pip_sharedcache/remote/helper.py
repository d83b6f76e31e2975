"""The process that speaks to an object store: a script for an interpreter that has obstore.

It imports nothing of pip-sharedcache: the interpreter can be another one. Requests and replies are
frames, each a length of four bytes (big-endian) and JSON in UTF-8. The first request opens a store;
each later one has a number, and gets one reply with it:

    {"open": URL, "timeout": seconds, "requests": the most at one time}    {"opened": true}
    {"id": 1, "get": key, "path": new file, "most": bytes}     {"id": 1, "size": n, "sha256": hex}
    {"id": 2, "put": key, "path": file, "sha256": hex}         {"id": 2, "size": n}
    {"id": 3, "has": key}                       {"id": 3, "size": n, "modified": seconds}
    {"id": 4, "list": prefix}      {"id": 4, "size": 0, "listed": rows, "more": true}
                                   {"id": 4, "size": 0, "ignored": n}
    {"id": 5, "delete": key}                                   {"id": 5, "size": 0}

A listing has several replies; the last one is without "more". A row is [key, bytes, seconds since
the epoch], and can come twice. Objects whose keys are too long, or have other characters than those
of the store's, are only counted.

A reply can have an error instead: {"id": 1, "error": kind, "status": number}. The kind is one of
``missing`` (no such object), ``wrong`` (the object, or the file to put, is not the expected one),
``local`` (a file here; the status is errno), ``directory`` (that of a store in a directory; the
status is errno), ``refused`` (the status is that of HTTP), ``region``
(the bucket is in another region), ``names`` (a listing has a name that obstore refuses),
``library`` (obstore cannot be imported), ``failed``. Between replies, {"bytes": n} says how many
more bytes have been sent or received. No text of the library is passed on: it can have credentials.
"""

import hashlib
import json
import os
import re
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, BinaryIO, Optional
from urllib.parse import unquote, urlsplit

_PIECE = 1 << 20  # bytes that are written at once
_GOT = 1 << 16  # bytes that are got at once: the client sees them come, also on a slow connection
_PART = 5 << 20  # bytes of one part of a large object: the least that S3 takes
_PUTS = 4  # at one time: each waits for a part, which takes long on a slow connection
_OFTEN = 0.2  # seconds between two reports of progress
_DESCRIPTORS = "/proc/self/fd"
_ACKED = 120  # where tcpi_bytes_acked is in struct tcp_info, a number of eight bytes
_RETRIES = 2
_PAGE = 200  # rows of a listing in one reply, which so is less than 64 KiB
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_STATUS = re.compile(r"status code: ([1-5][0-9]{2})\b")
_ERRNO = re.compile(r"\(os error ([0-9]+)\)")
#: Errors in an answer with the status 200.
_CODE = re.compile(
    r"\(code: (\w+)\)|Server returned error response: .*?<Code>(\w+)</Code>", re.DOTALL
)
_CODES = {"AccessDenied": 403, "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503}

Reply = dict[str, Any]
Page = list[Any]


class _Wrong(Exception):
    """An object, or a file to put, that is not the expected one."""


class _Progress:
    """Counts bytes, and tells how many there are."""

    def __init__(self, tell: Callable[[Reply], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._bytes = 0
        self._told = time.monotonic()

    def add(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            if not self._bytes:
                return
            now = time.monotonic()
            if now - self._told < _OFTEN:
                return
            count, self._bytes, self._told = self._bytes, 0, now
        self._tell({"bytes": count})


class _Sent:
    """Counts the bytes that servers have taken on the TCP connections of this process.

    The library tells nothing of an upload before its end, or that of a part of 5 MB. The kernel
    knows (TCP_INFO of tcp(7): tcpi_bytes_acked). ``works`` is False where it does not tell. Used
    as a context, which each upload enters.
    """

    def __init__(self, progress: _Progress) -> None:
        self.works = hasattr(socket, "TCP_INFO") and os.path.isdir(_DESCRIPTORS)
        self._progress = progress
        self._started = threading.Event()
        self._lock = threading.Lock()
        self._puts = 0

    def __enter__(self) -> None:
        with self._lock:
            self._puts += 1
            if self.works and not self._started.is_set():
                self._started.set()
                threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._puts -= 1

    def _watch(self) -> None:
        before: dict[int, int] = {}
        while True:
            now = dict(self._taken())
            if self._puts:  # else they are other requests, whose answers count
                self._progress.add(sum(max(0, now[one] - before.get(one, 0)) for one in now))
            before = now
            time.sleep(_OFTEN)

    def _taken(self) -> Iterator[tuple[int, int]]:
        """Yield the inode of each connection, and the bytes that its other end has taken."""
        for name in os.listdir(_DESCRIPTORS):
            try:
                status = os.stat(int(name))
                if stat.S_ISSOCK(status.st_mode):
                    with socket.socket(fileno=os.dup(int(name))) as one:
                        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED + 8)
                    yield status.st_ino, struct.unpack_from("=Q", told, _ACKED)[0]
            except (OSError, struct.error):
                continue  # closed meanwhile, no connection, or an old kernel


class _Bucket:
    """One open store of the library."""

    def __init__(self, asked: Reply, tell: Callable[[Reply], None]) -> None:
        import obstore
        from obstore.store import LocalStore, from_url

        self._library = obstore
        self._tell = tell
        self._progress = _Progress(tell)
        self._sent = _Sent(self._progress)
        self._puts = threading.BoundedSemaphore(_PUTS)
        self._directory = ""  # of a store in a directory
        url, limit = asked["open"], timedelta(seconds=asked["timeout"])
        options: dict[str, Any] = {}
        if url.startswith("file:"):
            self._sent.works = False
            self._directory = unquote(urlsplit(url).path)
            self._store = LocalStore(self._directory, mkdir=True)
        else:
            endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
            options["client_options"] = {
                "connect_timeout": limit,
                # Of a whole object, whose size is not known. No read_timeout: it counts the time
                # that an upload takes. The client looks after silence.
                "timeout": timedelta(days=1),
                "allow_http": endpoint.startswith("http://"),
            }
            backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1)}
            options["retry_config"] = {
                "backoff": {**backoff, "base": 2},
                "max_retries": _RETRIES,
                "retry_timeout": limit,
            }
            self._store = from_url(url, **options)

    def _check_file(self, key: str) -> None:
        """Raise _Wrong for what is no regular file: to open a FIFO would wait for its writer."""
        if not self._directory:
            return
        try:
            mode = os.stat(os.path.join(self._directory, key)).st_mode
        except OSError:
            return  # the library gets the same error
        if not stat.S_ISREG(mode):
            raise _Wrong

    def get(self, asked: Reply) -> Reply:
        self._check_file(asked["get"])
        found = self._library.get(self._store, asked["get"])
        if found.meta["size"] > asked["most"]:
            raise _Wrong
        self._tell({"bytes": 1})  # the server has answered: what follows is slow, but not silent
        hasher, size = hashlib.sha256(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(asked["path"], flags, 0o666), "wb") as file:
            for piece in found.stream(min_chunk_size=_GOT):
                size += len(piece)
                if size > asked["most"]:
                    raise _Wrong
                hasher.update(piece)
                file.write(piece)
                self._progress.add(len(piece))
        return {"size": size, "sha256": hasher.hexdigest()}

    def put(self, asked: Reply) -> Reply:
        with self._puts, open(asked["path"], "rb") as file:
            hasher, size = hashlib.sha256(), 0
            for piece in _pieces(file):
                hasher.update(piece)
                size += len(piece)
            if hasher.hexdigest() != asked["sha256"]:
                raise _Wrong
            file.seek(0)
            with self._sent:
                self._put(asked["put"], file, size)
        return {"size": size}

    def _put(self, key: str, file: BinaryIO, size: int) -> None:
        if size <= _PART:
            self._library.put(self._store, key, file.read(), use_multipart=False)
            self._progress.add(0 if self._sent.works else size)
        else:
            pieces = self._counted(_pieces(file))
            how = {"chunk_size": _PART, "max_concurrency": 1}
            self._library.put(self._store, key, pieces, **how)

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            self._progress.add(0 if self._sent.works else len(piece))

    def has(self, asked: Reply) -> Reply:
        self._check_file(asked["has"])
        found = self._library.head(self._store, asked["has"])
        return {"size": found["size"], "modified": found["last_modified"].timestamp()}

    def list(self, asked: Reply) -> Reply:
        prefix = asked["list"]
        # The library refuses the whole answer of a server with a name such as "a//b" or "..".
        for pages, refused in (
            (lambda: self._library.list(self._store, prefix, chunk_size=_PAGE), 0),
            # A server gives names with one more "/" as one name, which can be fit.
            (lambda: self._by_directory(prefix), 0),
            # What the library refuses comes before all digests, if it begins with "/" or ".".
            (
                lambda: self._library.list(
                    self._store, prefix, offset=f"{prefix}/0", chunk_size=_PAGE
                ),
                1,
            ),
        ):
            try:
                return {"size": 0, "ignored": self._tell_rows(asked["id"], pages()) + refused}
            except Exception as error:
                refusal = error
                if _error_of(error)["error"] != "names":
                    break
        raise refusal

    def _by_directory(self, prefix: str) -> Iterator[Page]:
        """Yield what is right below ``prefix``, and then what has a name with one more "/"."""
        found = self._library.list_with_delimiter(self._store, prefix)
        for start in range(0, len(found["objects"]), _PAGE):
            yield found["objects"][start : start + _PAGE]
        yield [{"path": ""} for _ in found["common_prefixes"]]

    def _tell_rows(self, number: int, pages: Iterable[Page]) -> int:
        """Tell the objects of ``pages`` that have plain names; return the number of the others."""
        ignored = 0
        for found in pages:
            plain = [one for one in found if _PLAIN.fullmatch(one["path"])]
            rows = [[one["path"], one["size"], one["last_modified"].timestamp()] for one in plain]
            ignored += len(found) - len(plain)
            self._tell({"id": number, "size": 0, "listed": rows, "more": True})
        return ignored

    def delete(self, asked: Reply) -> Reply:
        self._library.delete(self._store, asked["delete"])
        return {"size": 0}


_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")


def _error_of(error: BaseException) -> Reply:
    """Return the kind of ``error`` and its number, without its text."""
    if isinstance(error, _Wrong):
        return {"error": "wrong", "status": 0}
    text, name = str(error), type(error).__name__
    if isinstance(error, FileNotFoundError) or name == "NotFoundError":
        if getattr(error, "filename", None):
            return {"error": "local", "status": error.errno or 0}  # type: ignore[attr-defined]
        # A bucket that does not exist is no missing object.
        return {"error": "refused" if "NoSuchBucket" in text else "missing", "status": 404}
    code = _CODE.search(text)
    if code and (code[1] or code[2]) in _CODES:
        return {"error": "refused", "status": _CODES[code[1] or code[2]]}
    number = _ERRNO.search(text)
    if number and "LocalFileSystem" in text:
        return {"error": "directory", "status": int(number[1])}
    if name == "InvalidPathError":
        return {"error": "names", "status": 0}
    if "BareRedirect" in text:
        return {"error": "region", "status": 0}
    known = {
        "PermissionDeniedError": 403,
        "PermissionError": 403,
        "UnauthenticatedError": 401,
        "AlreadyExistsError": 409,
        "PreconditionError": 412,
    }
    if isinstance(error, OSError) and error.errno:
        return {"error": "local", "status": error.errno}
    found = _STATUS.search(text)
    status = known.get(name) or (int(found[1]) if found else 0)
    return {"error": "refused" if status else "failed", "status": status}


def _read(source: BinaryIO) -> Optional[Reply]:
    """Return the next frame; None at the end."""
    head = source.read(4)
    if len(head) < 4:
        return None
    length = int.from_bytes(head, "big")
    body = source.read(length)
    return json.loads(body) if len(body) == length else None


def _open(asked: Reply, tell: Callable[[Reply], None]) -> tuple[Optional[_Bucket], Reply]:
    try:
        return _Bucket(asked, tell), {"opened": True}
    except Exception as error:
        if isinstance(error, ImportError):
            return None, {"error": "library", "status": 0}
        number = _ERRNO.search(str(error))
        if asked["open"].startswith("file:") and number:
            return None, {"error": "directory", "status": int(number[1])}
        return None, {"error": "failed", "status": 0}


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer the requests of ``source`` to ``sink`` until the end of ``source``."""
    lock = threading.Lock()

    def tell(reply: Reply) -> None:
        data = json.dumps(reply).encode()
        with lock:
            sink.write(len(data).to_bytes(4, "big") + data)
            sink.flush()

    asked = _read(source)
    if asked is None:
        return
    bucket, reply = _open(asked, tell)
    tell(reply)
    if bucket is None:
        return
    verbs = {
        "get": bucket.get,
        "put": bucket.put,
        "has": bucket.has,
        "list": bucket.list,
        "delete": bucket.delete,
    }

    def answer(one: Reply) -> None:
        try:
            reply = next(run for verb, run in verbs.items() if verb in one)(one)
        except BaseException as error:  # such as a panic of the library, which is no Exception
            reply = _error_of(error)
            if "put" in one and reply["error"] == "missing":
                reply["error"] = "refused"
        tell({"id": one["id"], **reply})

    pool = ThreadPoolExecutor(asked["requests"])
    while (one := _read(source)) is not None:
        pool.submit(answer, one)
    # The client has all replies that it wants. Threads that still wait for a server end with this.
    os._exit(0)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints is no frame
    serve(sys.stdin.buffer, answers)
