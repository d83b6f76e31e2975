"""The paths of bytecode, and the check that an entry of bytecode is complete."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator

from pip_sharedcache.model import Manifest


def compiled_path(path: str) -> str:
    """Return the path of the bytecode of ``path``, a source of a wheel (PEP 3147).

    Both paths are separated by "/". importlib is called once, not for each of thousands of files.
    """
    top, slash, name = path.rpartition("/")
    return f"{top}{slash}__pycache__/{name[:-3]}{_compiled_suffix()}"


def without_bytecode(wheel: Manifest, bytecode: Manifest) -> Iterator[str]:
    """Yield the sources of ``wheel`` that have no file in ``bytecode``, made by this interpreter.

    Sources that ``bytecode`` leaves to pip (``failed``) are not yielded. A complete entry yields
    none.
    """
    there = {file.path for file in bytecode.files}
    left = frozenset(bytecode.failed)
    for file in wheel.files:
        expected = file.path.endswith(".py") and file.path not in left
        if expected and compiled_path(file.path) not in there:
            yield file.path


@functools.cache
def _compiled_suffix() -> str:
    """Return the end of a bytecode file's name, after the name of the module (PEP 3147)."""
    return os.path.basename(importlib.util.cache_from_source("x.py"))[1:]
