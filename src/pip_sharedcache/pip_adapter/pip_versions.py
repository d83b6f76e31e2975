"""The versions of pip, and the errors for a pip that is missing, too old, or does not fit."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import PipMissing, SeamMissing

#: The oldest supported pip. Of later ones, the seams decide whether a pip fits.
_OLDEST_PIP = "23.0"


def own_library() -> str:
    """Return the directory in which the packages of this interpreter are installed."""
    import sysconfig  # late: only errors need it

    return sysconfig.get_path("purelib")


def pip_missing() -> PipMissing:
    """Return the error for this interpreter, which has no pip."""
    command = f"{shlex.quote(sys.executable)} -m ensurepip"
    return PipMissing(f"{sys.executable} has no pip", trust.hint_in(own_library(), command))


def require_supported(version: str) -> None:
    """Raise SeamMissing, with no message, if a pip of this version is too old.

    Some old ones have every seam, but no test runs with them.
    """
    if is_too_old(version):
        raise SeamMissing("")


def is_too_old(version: str) -> bool:
    """Return whether a pip of this version is older than every supported pip."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(_OLDEST_PIP)
    except InvalidVersion:
        return False


def unfit(
    version: str, python: Path | str, problem: str = "", library: Path | str = ""
) -> SeamMissing:
    """Return the error for pip ``version`` of the interpreter ``python``, which lacks a seam.

    ``problem`` names the seam. The hint for a pip that is too old is a command. ``library``: the
    directory that this command writes; "" where pip finds another one if the user may not.
    """
    message = f"pip {version} is not supported" + (f" ({problem})" if problem else "")
    if is_too_old(version):
        command = f"{shlex.quote(str(python))} -m pip install --upgrade pip"
        hint = trust.hint_in(library, command) if library else command
        return SeamMissing(f"{message}: pip {_OLDEST_PIP} is the oldest supported version", hint)
    return SeamMissing(message, "upgrade pip-sharedcache: a later version may support this pip")
