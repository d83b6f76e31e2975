"""Scripts of the package that other processes run: files, wherever the package lies."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from pathlib import Path

#: Whether the package lies in an archive, where nothing is a file.
IN_ARCHIVE = not Path(__file__).is_file()


def path_of(package: str, name: str) -> Path:
    """The script ``name`` of our ``package``; a copy, until this process ends, where it lies in an
    archive. Raises OSError."""
    if not IN_ARCHIVE:
        return Path(__file__).parent / package / name
    import importlib.resources

    stack = ExitStack()
    atexit.register(stack.close)
    there = importlib.resources.files(f"pip_sharedcache.{package}").joinpath(name)
    return Path(stack.enter_context(importlib.resources.as_file(there)))
