"""Files that a file server does not have any more, and file servers that do not answer any more."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pip_sharedcache.errors import reason
from pip_sharedcache.fs.dirfd import DISK_ERRORS, Directory

Result = TypeVar("Result")

_LONG = 1.0  # seconds


def is_silence(error: BaseException | None, began: float) -> bool:
    """Return whether ``error`` came from a file server that does not answer.

    Where it is mounted with the option soft, each call fails only after seconds: a caller does not
    make any further ones. ``began``: when the failed call began (time.monotonic).
    """
    slow = time.monotonic() - began > _LONG
    return slow and isinstance(error, OSError) and error.errno in DISK_ERRORS


def silence_of(directory: Path) -> str:
    """Return the error of a file server that does not answer for ``directory``; "" if it does."""
    began = time.monotonic()
    try:
        with Directory.open(directory):  # the opening asks the server
            return ""
    except OSError as error:
        return reason(error) if is_silence(error, began) else ""


def retry_stale(action: Callable[[], Result], again: Callable[[], Result] | None = None) -> Result:
    """Return the result of ``action``, or that of a second call if it raises ESTALE.

    After a restart, a file server may not know what a client holds open, or has looked up. What is
    called again, ``again`` or else ``action`` itself, must open what it uses by its path, so that
    it gets new handles. Raises OSError.
    """
    try:
        return action()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return (again or action)()


def is_gone(directory: Path) -> bool:
    """Return whether ``directory`` does not exist, on a file server either.

    A client of a file server knows for a minute what another host has deleted meanwhile, and shows
    its status. Only the opening of a directory asks the server.
    """
    try:
        with Directory.open(directory):
            return False
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ESTALE)
