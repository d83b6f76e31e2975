"""The body of a response that a thread receives ahead of pip, in a file that grows.

The file has no name. pip reads from it as it would read from the connection: the bytes, the pieces
and the errors are those of the connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pip_sharedcache.fs import write_all


class GrowingFile:
    """The body of one response. One thread fills it, pip's thread reads it.

    ``raw``: the response of urllib3 with the body.
    ``size``: the length of the body in bytes, as the server gives it; None if it does not.
    ``piece``: the number of bytes to read at once.
    ``before_end``: is called in pip's thread once pip has all bytes of the file.
    """

    def __init__(self, raw: Any, size: int | None, piece: int, directory: str) -> None:
        """Make the file in ``directory``. Raises OSError."""
        self.raw = raw
        self.size = size
        self.before_end: Callable[[], None] = lambda: None
        self._pieces: Iterator[bytes] = raw.stream(piece, decode_content=False)
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        self._changed = threading.Condition()
        self._written = 0
        self._ended = self._is_read = self._is_given_up = False
        self._left = b""
        self._error: Exception | None = None
        self._full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    # -- in the thread

    def fill(self) -> bool:
        """Write the body to the file until it ends; return False if the disk is full."""
        error = None
        try:
            for piece in self._pieces:
                if self._is_given_up or not self._write(piece):
                    break
        except Exception as raised:  # pip gets it where it would have got it
            error = raised
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()
            if self._is_given_up:
                self.close()
        return not self._full

    def _write(self, piece: bytes) -> bool:
        try:
            write_all(self._file.fileno(), piece)
        except OSError:
            self._full, self._left = True, piece
            return False
        with self._changed:
            self._written += len(piece)
            self._changed.notify_all()
        return True

    # -- in pip's thread

    def begin_reading(self) -> bool:
        """Return whether pip may read the body: what has come of it is not broken.

        Afterwards the body cannot be given up.
        """
        with self._changed:
            short = self.size is not None and self._written < self.size
            broken = self._ended and (short or self._error is not None or self._full)
            self._is_read = not broken and not self._is_given_up
            return self._is_read

    @property
    def bytes_held(self) -> int:
        """The bytes of disk space that the file has or will have, as far as known."""
        return 0 if self._file.closed else max(self.size or 0, self._written)

    def stream(self, amount: int, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield pieces of ``amount`` bytes, as HTTPResponse.stream does; wait for each.

        pip never has urllib3 decode the body (``decode_content``). If the disk was full, the rest
        comes from the connection.
        """
        offset = 0
        while True:
            with self._changed:
                while not self._ended and self._written < offset + amount:
                    self._changed.wait()
                available, ended = self._written - offset, self._ended
            if not available and ended:
                break
            # Beyond these may be a part of a piece that found the disk full.
            piece = os.pread(self._file.fileno(), min(amount, available), offset)
            offset += len(piece)
            yield piece
        self._file.close()
        self.before_end()
        if self._full:
            yield self._left
            yield from self._pieces
        elif self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Let the thread end, and free the file, unless pip reads it."""
        with self._changed:
            if self._is_read:
                return
            self._is_given_up = True
            if self._ended:
                self.close()
            else:
                _wake(self.raw)

    def end(self) -> None:
        """Let the thread end, even if pip reads the file; pip does not read any further."""
        self._is_read = False
        self.give_up()

    def close(self) -> None:
        """Close the connection, and delete the file and the copy for pip's HTTP cache."""
        self._file.close()
        close_response(self.raw)


def _wake(raw: Any) -> None:
    """Let the thread that waits for bytes of ``raw`` see the end of the connection."""
    connection = raw
    for name in ("_fp", "fp", "raw", "_sock"):  # urllib3, http.client, io, socket
        connection = getattr(connection, name, None)
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def close_response(raw: Any) -> None:
    """Close the connection of ``raw``, and delete the copy of its body for pip's HTTP cache.

    At the end of the process, Python would not delete a copy that a thread began.
    """
    copy = getattr(getattr(raw, "_fp", None), "_CallbackFileWrapper__buf", None)
    for one in filter(None, (copy, raw)):
        with contextlib.suppress(Exception):
            one.close()
