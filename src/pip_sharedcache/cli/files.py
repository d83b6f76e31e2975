"""Files that a command writes where its user says."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pip_sharedcache.errors import UsageError, reason


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which is ``path`` when it is complete and not before; what is no regular
    file, such as /dev/stdout, is written to as it is. Raises UsageError where that cannot be."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()  # of a link, what it leads to is meant
        # New, under a name that nobody can guess: the directory may be /tmp.
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(part, flags, 0o666)
        try:
            with open(descriptor, "wb") as file:
                yield file
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {reason(error)}") from error
