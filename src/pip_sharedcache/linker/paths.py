"""Where a file of an entry goes in the environment, and where its bytecode lies in the store."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os

from pip_sharedcache.errors import reason
from pip_sharedcache.model import StoredFile

logger = logging.getLogger(__name__)


def path_in(library: str, file: StoredFile) -> str:
    """The path of ``file`` in the directory ``library``."""
    return os.path.join(library, file.path.replace("/", os.sep))


def compiled_path(path: str) -> str:
    """Where the bytecode of the source ``path`` lies in an entry of bytecode."""
    top, slash, name = path.rpartition("/")
    return f"{top}{slash}__pycache__/{name[:-3]}{_compiled_suffix()}"


@functools.cache
def _compiled_suffix() -> str:
    """What follows a module's name in the name of its bytecode (PEP 3147); asking for each file
    costs more than placing one."""
    return os.path.basename(importlib.util.cache_from_source("x.py"))[1:]


def unlink_if_there(path: str) -> None:
    """Delete the file ``path``; warn where that fails."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s is left over: %s", path, reason(error))
