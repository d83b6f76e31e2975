"""The environments that this user enabled, so that `status --all` can list them.

Each has a file of its own in the user's data directory, so that two commands at once lose nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from pip_sharedcache import config, fs

_LONGEST = 1 << 14  # bytes of a path


def note(prefix: Path) -> None:
    """Record that the environment ``prefix`` is enabled. Raises OSError."""
    directory = _directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fs.replace_file(directory / _name(prefix), os.fsencode(prefix), 0o600)


def forget(prefix: Path) -> None:
    """Delete the record of ``prefix``, if there is one. Never raises."""
    with contextlib.suppress(OSError):
        (_directory() / _name(prefix)).unlink()


def known() -> list[Path]:
    """Return the recorded environments, sorted. Raises OSError."""
    found = []
    try:
        records = list(_directory().iterdir())
    except FileNotFoundError:
        return []
    for record in records:
        with contextlib.suppress(FileNotFoundError), record.open("rb") as file:
            prefix = Path(os.fsdecode(file.read(_LONGEST)))
            if record.name == _name(prefix):  # else: a file of another program, or half a path
                found.append(prefix)
    return sorted(found)


def _directory() -> Path:
    return config.own_data() / "enabled"


def _name(prefix: Path) -> str:
    return hashlib.sha256(os.fsencode(prefix)).hexdigest()[:32]
