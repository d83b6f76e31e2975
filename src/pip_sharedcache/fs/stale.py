"""Second attempts where a file server does not know a handle any more (ESTALE)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def retry_stale(action: Callable[[], Result]) -> Result:
    """Return the result of ``action``, called again if it raises ESTALE the first time.

    After a restart, a file server may not know what a client holds open, or has looked up. The
    action must open what it uses by its path, so that the second call gets new handles. Raises
    OSError.
    """
    try:
        return action()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return action()
