"""Spools: temporary files to which new files are appended until an entry gets them.

The sizes of files that are still to be made, which a pack needs first, are not known. A spool costs
one file for each process that writes, instead of one for each file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import fs
from pip_sharedcache.fs.dirfd import BINARY
from pip_sharedcache.model import Spooled


class Spool(NamedTuple):
    """An empty file for one process: its path, and the descriptor, open for both directions."""

    path: Path
    descriptor: int


class Spools:
    """The spools of one entry, in one directory. Owns their descriptors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptors: list[int] = []
        self._own: Spool | None = None
        self._end = 0

    def new(self) -> Spool:
        """Make a spool, to which only the caller writes. Raises OSError."""
        path = self._directory / str(len(self._descriptors))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        self._descriptors.append(descriptor)
        return Spool(path, descriptor)

    def add(self, path: str, data: bytes) -> Spooled:
        """Append ``data``, which is to be the file ``path``. Raises OSError."""
        if self._own is None:
            self._own = self.new()
        start, self._end = self._end, self._end + len(data)
        fs.write_at(self._own.descriptor, data, start)
        sums = zlib.crc32(data), hashlib.sha256(data).hexdigest()
        return Spooled(path, self._own.descriptor, start, len(data), *sums)

    def close(self) -> None:
        """Close all descriptors; further calls do nothing."""
        while self._descriptors:
            os.close(self._descriptors.pop())


@contextmanager
def open_spools(beside: Path | None = None) -> Iterator[Spools]:
    """Yield spools in a temporary directory, and delete them.

    The directory is ``beside`` if that is given, else among the temporary files of this system,
    which are seldom on a file server. Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        if beside is None:
            directory = stack.enter_context(fs.temporary_directory())
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=beside)))
        spools = Spools(directory)
        stack.callback(spools.close)
        yield spools
