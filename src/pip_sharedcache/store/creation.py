"""Directories and files that one command creates, and their removal if the command fails."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason

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


def _is_own(path: Path) -> bool:
    return not hasattr(os, "geteuid") or path.lstat().st_uid in (os.geteuid(), *trust.NOBODY)
