"""Wrappers that keep pip from damaging files of others, or leaving less than it found.

Each one wraps one seam, and changes nothing else in pip.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.pip_adapter import seams
from pip_sharedcache.pip_adapter.protocols import RecoveryRecord
from pip_sharedcache.pip_adapter.seams import Arguments, Call, Keywords, Original, Wrapper
from pip_sharedcache.placement import Placement


def spare_foreign_files(force: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
    """Make a file writable for its deletion only if the file is this user's alone.

    This wraps pip's rmtree_errorhandler, which makes writable the files that it cannot delete.
    Through hard links and symlinks it would change files in the store, and those of other users.
    For these the error of the deletion is raised.
    """
    bound = seams.arguments(force, args, kw)
    if bound is None or not trust.OWNERS_MEAN_SOMETHING:
        return force(*args, **kw)
    try:
        status = os.lstat(bound["path"])
    except OSError:
        return force(*args, **kw)
    linked = not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1
    if status.st_uid == trust.user_id() and not linked and not stat.S_ISLNK(status.st_mode):
        return force(*args, **kw)
    error = bound["exc_info"]
    error = error if isinstance(error, BaseException) else error[1]
    if bound.get("onexc") is not None:
        return bound["onexc"](bound["func"], bound["path"], error)
    raise error


def information_first(active: Callable[[], bool]) -> Wrapper:
    """Return a wrapper that makes pip move .dist-info aside before all other paths.

    pip moves paths aside, in sorted order, before an upgrade or to uninstall. If pip is killed
    during that, no distribution must stay listed without its scripts.
    """

    def wrapper(compact: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        paths = compact(*args, **kw)
        return {_InformationFirst(path) for path in paths} if active() else paths

    return wrapper


def directory(placement: Placement, call: Call) -> None:
    """Make a directory of the environment as the placement makes its own."""
    placement.target_dirs.make(str(call.named["path"]))


def script(placement: Placement, call: Call) -> Any:
    """Let pip's script maker write a file, but not through a dangling symlink.

    pip's function removes only a file that `exists`. New scripts are recorded, for their removal if
    the rest fails.
    """
    path = call.named["path"]
    if os.path.islink(path):
        os.unlink(path)
    elif not os.path.lexists(path):
        placement.generated(path)
    return call.proceed()


def recovery(placement: Placement, call: Call) -> Any:
    """Let pip 26.3 record the files of a distribution after a blocked import.

    pip leaves a distribution that it can uninstall, which must be under its real name.
    """
    record: RecoveryRecord = call.named["record"]
    staged = placement.dist_info.staged
    placement.make_visible()
    real = record.info_dir = placement.dist_info.name
    record.installed = {
        source: path.replace(staged, real) for source, path in record.installed.items()
    }
    record.installed.update((path, path) for path in placement.taken)
    record.generated = [path.replace(staged, real) for path in record.generated]
    return call.proceed()


class _InformationFirst(str):
    """A path that sorts before others if it is a distribution's metadata directory."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return _rank(self) < _rank(other)


def _rank(path: str) -> tuple[bool, int, str]:
    """Return the sort key of ``path``: metadata directories come first, the highest of them first.

    Packages vendor other packages, with metadata directories below their own.
    """
    is_information = path.rstrip(os.sep).endswith((".dist-info", ".egg-info"))
    depth = path.rstrip(os.sep).count(os.sep) if is_information else 0
    return not is_information, depth, str(path)
