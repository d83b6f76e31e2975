"""The versions of pip: the too old ones, and the error for a pip that does not fit."""

from __future__ import annotations

import shlex
from pathlib import Path

from pip_sharedcache.errors import SeamMissing

#: The oldest pip that has every seam. The seams decide whether a pip fits; this is for the advice.
_OLDEST_PIP = "23.0"


def is_too_old(version: str) -> bool:
    """Return whether a pip of this version is older than every pip that fits."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(_OLDEST_PIP)
    except InvalidVersion:
        return False


def unfit(version: str, python: Path | str, problem: str = "") -> SeamMissing:
    """Return the error for pip ``version`` of the interpreter ``python``, which lacks a seam.

    ``problem`` names the seam. The hint for a pip that is too old is a command.
    """
    message = f"pip {version} is not supported" + (f" ({problem})" if problem else "")
    if is_too_old(version):
        command = f"{shlex.quote(str(python))} -m pip install --upgrade pip"
        return SeamMissing(f"{message}: pip {_OLDEST_PIP} is the oldest supported version", command)
    return SeamMissing(message, "upgrade pip-sharedcache: a later version may support this pip")
