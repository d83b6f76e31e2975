"""Second attempts where a file server does not know a handle any more (ESTALE)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


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
