"""The memory of this process that is free, but not the system's yet (glibc; elsewhere: nothing).

Both functions lower the peak of a run. Neither raises: no result depends on them.
"""

from __future__ import annotations

from pip_sharedcache.fs.libc import c_function

_M_ARENA_MAX = -8  # malloc.h; mallopt(3)


def use_one_arena() -> None:
    """Let threads that start from now on allocate where the main thread does.

    Otherwise glibc gives each an arena of its own, whose free memory no other thread gets: of a run
    with 16 threads, about 20 MB. The threads wait for the interpreter's lock anyway.
    """
    if (mallopt := c_function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Give free memory back to the system (malloc_trim(3)): milliseconds for each 100 MB."""
    if (trim := c_function("malloc_trim", "q")) is not None:
        trim(0)
