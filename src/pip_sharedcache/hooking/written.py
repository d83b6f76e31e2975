"""The files that are written when the store is switched on: nothing of anybody else is replaced,
and nothing else is removed."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pip_sharedcache import linker, trust
from pip_sharedcache.errors import UsageError, reason

_FILE = 0o644


def write(files: Mapping[Path, bytes], replaces: Callable[[Path, bytes], bool]) -> None:
    """Write ``files``, in that order. ``replaces``: whether such a text may take the place of what
    lies at that path. Raises UsageError; nothing is written where one of them may not."""
    for path, text in files.items():
        _refuse_foreign(path, text, replaces)
    for path, text in files.items():
        replace(path, text)


def replace(path: Path, text: bytes) -> None:
    """Write one file. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        linker.replace_file(path, text, _FILE)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {reason(error)}") from error


def _refuse_foreign(path: Path, text: bytes, replaces: Callable[[Path, bytes], bool]) -> None:
    """Raise UsageError where something else lies at ``path``: it is not ours to replace."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path} cannot be looked at: {reason(error)}") from error
    whose = trust.user_name(status.st_uid)
    if not stat.S_ISREG(status.st_mode) or not replaces(path, text):
        raise UsageError(f"{path} is {whose}'s, and not of pip-sharedcache", "move it away")
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != trust.user_id():
        raise UsageError(f"{path} belongs to {whose}, who can do this")
