"""Scripts of the package that other processes run: files, wherever the package lies."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from pathlib import Path


def in_archive() -> bool:
    """Whether the package lies in an archive, where nothing is a file."""
    return not Path(__file__).is_file()


def as_file(path: Path, package: str) -> Path:
    """``path``, a file of ``package``; a copy, until this process ends, where it lies in an
    archive. Raises OSError."""
    if not in_archive():
        return path
    import importlib.resources

    stack = ExitStack()
    atexit.register(stack.close)
    there = importlib.resources.files(package).joinpath(path.name)
    return Path(stack.enter_context(importlib.resources.as_file(there)))
