"""System calls that the C library has and Python does not offer.

They need ctypes, which a Python built without libffi lacks and a hardened system may refuse.
Nothing depends on these calls: where one is missing its caller takes a slower way, or knows less.
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
except (ImportError, MemoryError, OSError):  # not built, or no memory that may be run
    _is_there = False


@functools.cache
def c_function(name: str, *arguments: str) -> Callable[..., int] | None:
    """Return the function ``name`` of the C library; None where it cannot be called.

    ``arguments``: their types, in the letters of the module struct, where int does not do.
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
    """Return ``size`` bytes for a C function to fill."""
    return ctypes.create_string_buffer(size)


def failure(path: str) -> OSError:
    """Return the error of the C function that was called last, which concerned ``path``."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
