"""Scripts of the package that other processes run, as files, also from an archive."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from pathlib import Path

#: Whether the package is in an archive: then its scripts are not files on the disk.
IN_ARCHIVE = not Path(__file__).is_file()


def path_of(package: str, name: str) -> Path:
    """Return the path of the script ``name`` in ``package``, a package of pip_sharedcache.

    From an archive: the path of a copy, which exists until this process ends. Raises OSError.
    """
    if not IN_ARCHIVE:
        return Path(__file__).parent / package / name
    import importlib.resources

    stack = ExitStack()
    atexit.register(stack.close)
    there = importlib.resources.files(f"pip_sharedcache.{package}").joinpath(name)
    return Path(stack.enter_context(importlib.resources.as_file(there)))
