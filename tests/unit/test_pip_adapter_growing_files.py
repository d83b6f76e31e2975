"""The bodies of responses in files that grow: what pip reads of them, and when."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.pip_adapter import growing_files
from pip_sharedcache.pip_adapter.growing_files import GrowingFile

PIECES = [bytes([number]) * 10 for number in range(5)]
WHOLE = b"".join(PIECES)


class Raw:
    """A response of urllib3: its pieces, and the error after them."""

    def __init__(self, error: Exception | None = None, wait: threading.Event | None = None) -> None:
        self.error, self.wait, self.closed = error, wait, False

    def stream(self, amount: int, decode_content: bool = True) -> Iterator[bytes]:
        assert (amount, decode_content) == (10, False)
        for number, piece in enumerate(PIECES):
            if number == 2 and self.wait is not None:
                assert self.wait.wait(10)
            yield piece
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


def _made(raw: Raw, directory: Path, size: int | None = len(WHOLE)) -> GrowingFile:
    return GrowingFile(raw, size, 10, str(directory))


def test_body_is_read_in_pieces_as_they_come(tmp_path: Path) -> None:
    go_on = threading.Event()
    body = _made(Raw(wait=go_on), tmp_path)
    thread = threading.Thread(target=body.fill)
    thread.start()
    assert body.begin_reading()
    pieces = body.stream(10, decode_content=False)
    assert [next(pieces), next(pieces)] == PIECES[:2]
    go_on.set()
    assert list(pieces) == PIECES[2:]
    thread.join()
    assert not os.listdir(tmp_path)


def test_error_comes_after_the_bytes_that_came(tmp_path: Path) -> None:
    go_on = threading.Event()
    body = _made(Raw(OSError("cut"), go_on), tmp_path, None)
    thread = threading.Thread(target=body.fill)
    thread.start()
    assert body.begin_reading()
    go_on.set()
    got: list[bytes] = []
    with pytest.raises(OSError, match="cut"):
        for piece in body.stream(10):
            got.append(piece)  # noqa: PERF402
    assert got == PIECES
    thread.join()


@pytest.mark.parametrize(
    ("error", "size"), [(OSError("cut"), None), (None, len(WHOLE) + 1)], ids=["error", "short"]
)
def test_broken_body_is_not_for_pip(tmp_path: Path, error: Exception | None, size: int) -> None:
    body = _made(Raw(error), tmp_path, size)
    body.fill()
    assert not body.begin_reading()
    body.close()
    assert not body.bytes_held


def test_body_that_was_given_up_is_closed_and_not_for_pip(tmp_path: Path) -> None:
    raw = Raw()
    body = _made(raw, tmp_path)
    body.fill()
    body.give_up()
    assert not body.begin_reading()
    assert raw.closed and not body.bytes_held


def test_body_that_pip_reads_is_not_given_up(tmp_path: Path) -> None:
    body = _made(Raw(), tmp_path)
    assert body.begin_reading()
    body.give_up()
    assert body.fill()
    assert b"".join(body.stream(10)) == WHOLE


@pytest.mark.parametrize("fits", [0, 1, 4])
def test_rest_comes_from_the_connection_if_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    written: list[bytes] = []

    def write(descriptor: int, piece: bytes) -> None:
        if len(written) == fits:
            os.write(descriptor, piece[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(piece)
        os.write(descriptor, piece)

    monkeypatch.setattr(growing_files, "write_all", write)
    body = _made(Raw(), tmp_path)
    assert body.begin_reading()
    assert not body.fill()
    assert b"".join(body.stream(10)) == WHOLE


def test_copy_for_the_http_cache_is_deleted_with_the_response() -> None:
    class Wrapper:
        def __init__(self) -> None:
            self.closed = False
            self._CallbackFileWrapper__buf = self

        def close(self) -> None:
            self.closed = True

    raw: Any = Raw()
    raw._fp = Wrapper()
    growing_files.close_response(raw)
    assert raw.closed and raw._fp.closed
