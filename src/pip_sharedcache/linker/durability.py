"""Making what was written durable, before others are told of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pip_sharedcache.linker import native
from pip_sharedcache.linker.descriptors import BINARY, FOLLOWED_DIRECTORY


def flush(path: str) -> None:
    """Make one file of ours durable. Raises OSError."""
    # Windows can only flush what is open for writing, and has no 0444 to prevent it.
    descriptor = os.open(path, (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_to_flush(descriptor: int, start: int, size: int) -> None:
    """Have the system begin to write to its disk what is new in a file of ours, ``size`` bytes from
    ``start`` on, and do not wait: whoever makes it durable later waits the less. Linux does that
    for POSIX_FADV_DONTNEED; what is being written stays in memory. Never raises: nothing depends
    on it."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


_SYNCFS = native.c_function("syncfs")


def synchronise(directory: Path, files: Iterable[Path]) -> None:
    """Make ``files`` below ``directory`` durable: one syncfs(2) where the system has it, else
    one fsync for each. Raises OSError (EDQUOT and ENOSPC may arrive only here)."""
    if not synchronise_all(directory):
        for path in files:
            flush(str(path))


def synchronise_all(directory: str | Path) -> bool:
    """Make everything on the file system of ``directory`` durable by one syncfs(2); False where
    the system has none. Raises OSError."""
    if _SYNCFS is None:
        return False
    descriptor = os.open(directory, FOLLOWED_DIRECTORY)
    try:
        if _SYNCFS(descriptor) != 0:
            raise native.failure(str(directory))
    finally:
        os.close(descriptor)
    return True
