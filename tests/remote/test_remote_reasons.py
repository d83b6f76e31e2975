"""The reasons that the client names for a remote store that fails, with the real library."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pip_sharedcache.remote.access import Delete, Fetch, Put, RemoteFailed, Request
from pip_sharedcache.remote.client import Client
from support.filesystems import mounted, read_only
from support.probes import linux, needs, tmpfs

pytestmark = [pytest.mark.pips, needs(linux)]

_INTERNAL = b"<Error><Code>InternalError</Code><Message>Try again</Message></Error>"


def _failure(url: str, python: Path, *requests: Request, timeout: float = 10) -> str:
    client = Client(url, python, timeout)
    try:
        with pytest.raises(RemoteFailed) as error:
            client.ask(requests, lambda *_: None)
    finally:
        client.end()
    return str(error.value)


@pytest.fixture
def put(tmp_path: Path) -> Put:
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))
    return Put("wheels/a", file, hashlib.sha256(file.read_bytes()).hexdigest())


@needs(tmpfs)
def test_directory_that_is_full_or_read_only_says_so(
    library: Path, put: Put, tmp_path: Path
) -> None:
    with mounted("tmpfs", tmp_path, options="size=64k") as place:
        assert "it is full" in _failure(place.as_uri(), library, put)
        with read_only(place, tmp_path / "at") as at:
            assert "refuses access: Read-only" in _failure(at.as_uri(), library, put)


def test_directory_that_cannot_be_made_says_so(library: Path, put: Put) -> None:
    assert "its directory does not exist" in _failure("file:///proc/none/pip", library, put)


def _serve(listening: socket.socket, head: bytes, body: bytes, every: float) -> None:
    """Answer requests with ``body``, one byte each ``every`` seconds."""
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(head)
                for at in range(len(body)):
                    connection.sendall(body[at : at + 1])
                    time.sleep(every)


@pytest.mark.parametrize(
    ("body", "every", "expected"),
    [
        (bytes(1000), 0.2, "less than 50 kB a second"),
        (_INTERNAL, 0, "the server fails (status 500)"),
    ],
)
def test_server_that_is_slow_or_fails_says_so(
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    every: float,
    expected: str,
) -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nETag: a\r\nConnection: close\r\n"
        "Last-Modified: Tue, 01 Jan 2030 00:00:00 GMT\r\n\r\n"
    ).encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }.items():
            monkeypatch.setenv(name, value)
        threading.Thread(target=_serve, args=(listening, head, body, every), daemon=True).start()
        fetch = Fetch("wheels/a", tmp_path / "a", 1 << 20)
        asked = fetch if every else Delete("wheels/a")
        told = _failure("s3://bucket/pip", library, asked, timeout=2 if every else 10)
    assert expected in told
