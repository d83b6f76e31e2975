"""System calls of the C library that Python does not offer.

They need ctypes, which a Python built without libffi lacks and a hardened system may refuse. No
feature requires these calls: without one, its caller uses a slower method or knows less.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

try:
    import ctypes

    _TYPES = {"i": ctypes.c_int, "I": ctypes.c_uint, "q": ctypes.c_int64}
    _is_there = True
except (ImportError, MemoryError, OSError):  # not built, or no executable memory
    _is_there = False


@functools.cache
def c_function(name: str, *arguments: str) -> Callable[..., int] | None:
    """Return the function ``name`` of the C library; None where it cannot be called.

    ``arguments``: the argument types, as letters of the module struct; none: all are int.
    """
    if not _is_there:
        return None
    try:
        found: Any = getattr(ctypes.CDLL(None, use_errno=True), name)
        if arguments:
            found.argtypes = [_TYPES[letter] for letter in arguments]
    except (OSError, AttributeError, TypeError, MemoryError):
        return None
    called: Callable[..., int] = found
    return called


def buffer(size: int) -> Any:
    """Return a buffer of ``size`` bytes for a C function."""
    return ctypes.create_string_buffer(size)


def failure(path: str) -> OSError:
    """Return the error (errno) of the last C function call, as an error about ``path``."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
