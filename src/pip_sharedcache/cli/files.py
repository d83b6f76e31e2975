"""Files that a command writes where its user says."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pip_sharedcache import fs
from pip_sharedcache.errors import FileError


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which is ``path`` when it is complete and not before; what is no regular
    file, such as a link or /dev/stdout, is written to as it is. Raises FileError where that cannot
    be."""
    try:
        mode = 0o666
        try:
            mode = path.lstat().st_mode
            plain = stat.S_ISREG(mode)
        except FileNotFoundError:
            plain = True
        if not plain:
            # Opened by its path: the system minds links that others have put into /tmp.
            with path.open("wb") as file:
                yield file
            return
        # New, under a name that nobody can guess: the directory may be /tmp.
        fs.sweep_temporary(path.parent)
        part = path.with_name(f".{fs.temporary_name()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(part, flags, mode & 0o666)
        try:
            with open(descriptor, "wb") as file:
                yield file
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError.of(path, "written", error) from error
