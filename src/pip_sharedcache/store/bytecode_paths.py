"""Where the bytecode of a source lies, and whether an entry of bytecode is complete."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator

from pip_sharedcache.model import Manifest


def compiled_path(path: str) -> str:
    """Where the bytecode of the source ``path`` of a wheel goes (PEP 3147): "/" separated, and
    without asking importlib for each of thousands of files."""
    top, slash, name = path.rpartition("/")
    return f"{top}{slash}__pycache__/{name[:-3]}{_compiled_suffix()}"


def without_bytecode(wheel: Manifest, bytecode: Manifest) -> Iterator[str]:
    """The sources of ``wheel`` for which ``bytecode``, made by this interpreter, has no file, and
    which are not left to pip either. A complete entry has none."""
    there = {file.path for file in bytecode.files}
    left = frozenset(bytecode.failed)
    for file in wheel.files:
        expected = file.path.endswith(".py") and file.path not in left
        if expected and compiled_path(file.path) not in there:
            yield file.path


@functools.cache
def _compiled_suffix() -> str:
    """What follows a module's name in the name of its bytecode (PEP 3147)."""
    return os.path.basename(importlib.util.cache_from_source("x.py"))[1:]
