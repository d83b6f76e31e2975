"""Directories and files that one command creates, and their removal if the command fails."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import stat
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import UsageError, reason
from pip_sharedcache.trust.mounts import unmounted_point

logger = logging.getLogger(__name__)


class Creation:
    """A list of the directories and files that a command created or changed."""

    def __init__(self) -> None:
        self._directories: list[Path] = []
        self._files: list[Path] = []
        self._changed: list[tuple[Path, os.stat_result]] = []

    def directory(self, path: Path, mode: int, group: int | None = None) -> None:
        """Make the directory ``path`` with exactly ``mode`` (octal) and ``group`` (gid).

        A directory that exists gets this mode and group. The directory has no POSIX access lists
        afterwards. Raises OSError.
        """
        before = path.lstat() if os.path.lexists(path) else None
        if before is not None:
            self._changed.append((path, before))
            fs.set_directory(path, mode, group, drop_access_lists=True)
            return
        self._directories.append(path)  # first: undo needs it if the next call fails halfway
        try:
            fs.make_directory(path, mode, group)
        except FileExistsError:  # another process was faster
            self._directories.remove(path)
            fs.set_directory(path, mode, group, drop_access_lists=True)

    def file(self, path: Path, text: str) -> None:
        """Make the file ``path`` with mode 0o644, unless it exists. Raises OSError."""
        with contextlib.suppress(FileExistsError), fs.create_file(path, 0o644) as descriptor:
            fs.write_all(descriptor, text.encode("utf-8"))
            self._files.append(path)

    def undo(self) -> None:
        """Remove the created paths, and restore the mode and group of changed directories.

        Never raises: a warning names each path that cannot be removed.
        """
        steps = [*((path, os.unlink) for path in reversed(self._files))]
        steps += [(path, os.rmdir) for path in reversed(self._directories)]
        for path, remove in steps:
            try:
                if _is_own(path):
                    remove(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                logger.warning("%s was made and is left over: %s", path, reason(error))
        for path, before in self._changed:
            with contextlib.suppress(OSError):
                fs.set_directory(path, stat.S_IMODE(before.st_mode), before.st_gid)


def refuse_place(path: Path, group: str = "") -> None:
    """Refuse a new store ``path`` that this user cannot make there, or that a mount would hide.

    Writes nothing. ``group``: the name of the group that is to share the store, or "". Raises
    UsageError, and the OSError that a write would raise.
    """
    if point := unmounted_point(path):
        raise UsageError(f"{path} is not made: nothing is mounted at {point}", mount_hint(point))
    if group and trust.user_id() != 0:
        refuse_stranger(path, group)
    nearest, first = path, path  # what exists, and the first directory to make
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest, first = nearest.parent, nearest
    if not nearest.is_dir():
        raise _error(errno.ENOTDIR, nearest)
    if not os.access(nearest, os.W_OK | os.X_OK):
        read_only = hasattr(os, "statvfs") and os.statvfs(nearest).f_flag & os.ST_RDONLY
        raise _error(errno.EROFS if read_only else errno.EACCES, first)
    owners = (0, path.stat().st_uid) if nearest == path else (trust.user_id(),)
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in owners:
        raise _error(errno.EPERM, path)  # to set the mode


def mount_hint(point: str) -> str:
    """Return the hint to mount the file system of ``point``, which root alone may do."""
    return trust.hint_for(f"mount {shlex.quote(point)}", 0)


def refuse_stranger(path: Path, group: str) -> None:
    """Refuse to make the store ``path`` for a ``group`` without this user. Raises UsageError."""
    if hasattr(os, "getgroups") and trust.group_id(group) not in (os.getegid(), *os.getgroups()):
        raise UsageError(
            f"{path} cannot be made for the group {group}: you are not in it",
            "its members, from their next login on, and root can run the same command",
        )


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _is_own(path: Path) -> bool:
    return not hasattr(os, "geteuid") or path.lstat().st_uid in (os.geteuid(), *trust.NOBODY)
