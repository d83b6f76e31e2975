"""The directories of an environment that files are placed in: made where missing, remembered."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import stat
from collections.abc import Iterable, Sequence

from pip_sharedcache.errors import reason
from pip_sharedcache.model import StoredFile
from pip_sharedcache.placement.group_modes import share_directory, share_file
from pip_sharedcache.placement.jobs import Job, TargetDir, path_in

logger = logging.getLogger(__name__)


class TargetDirs:
    """Those that one placement needs. ``group_environment``: whether what is made gets what its
    parent grants the group."""

    def __init__(self, group_environment: bool) -> None:
        self._group_environment = group_environment
        self._known: dict[str, TargetDir] = {}
        self._made: dict[str, None] = {}  # in the order in which they were made

    def make(self, path: str) -> TargetDir:
        """Make the directory ``path`` and what is missing above it, and remember which.

        In an environment that a group shares, new directories get what their parent grants the
        group: without the write bit a colleague could not uninstall what lies in them. Raises
        OSError.
        """
        path = path or os.curdir
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._make(path)
        return known

    def jobs(self, library: str, files: Iterable[StoredFile]) -> list[Job]:
        """Return what places ``files`` in the directory ``library``, whose directories are made.
        Raises OSError."""
        jobs = []
        for file in files:
            destination = path_in(library, file)
            jobs.append(Job(file, destination, self.make(os.path.dirname(destination))))
        return jobs

    def share(self, paths: Iterable[str], since: int) -> None:
        """Give the group its bits on those of the files ``paths`` that are there and were changed
        at ``since`` or later (nanoseconds)."""
        for path in paths:
            if os.path.lexists(path):
                share_file(path, self.make(os.path.dirname(path)).grant, since)

    def divided(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Those of ``jobs`` that go into directories made here, and the others."""
        new: list[Job] = []
        old: list[Job] = []
        for job in jobs:
            (new if os.path.dirname(job.destination) in self._made else old).append(job)
        return new, old

    def remove_made(self) -> None:
        """Remove what was made here and is empty. Never raises."""
        for path in reversed(self._made):
            remove_if_empty(path)

    def _make(self, path: str) -> TargetDir:
        above = self._known.get(os.path.dirname(path))
        if above is None or not self._make_one(path):
            try:
                return self._look_at(path)
            except FileNotFoundError:
                above = self.make(os.path.dirname(path))
                if not self._make_one(path):
                    return self._look_at(path)
        if above.grant:
            share_directory(path, above.grant)
            return self._look_at(path)
        return above  # what is made in a directory is on its device

    def _make_one(self, path: str) -> bool:
        """Make one directory; False where something is there, or nothing above it."""
        # Noted before: Ctrl-C can come right after the system call that made it.
        before = path in self._made
        self._made[path] = None
        try:
            os.mkdir(path)
        except OSError as error:
            if not before:
                del self._made[path]
            if not isinstance(error, (FileExistsError, FileNotFoundError)):
                raise
            return False  # a neighbour made it meanwhile, or it is a dangling link: stat tells
        return True

    def _look_at(self, path: str) -> TargetDir:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return TargetDir.of(status, self._group_environment)


def remove_if_empty(path: str) -> None:
    """Remove the directory ``path`` if it is there and empty. Never raises: it is said."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            logger.warning("%s is left over: %s", path, reason(error))


def unlink_if_there(path: str) -> None:
    """Remove the file ``path`` if it is there. Never raises: it warns."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s is left over: %s", path, reason(error))


def remove_placed(paths: Iterable[str]) -> None:
    """Remove the files ``paths``, and the bytecode of those that are sources. Never raises."""
    for path in paths:
        unlink_if_there(path)
        if path.endswith(".py"):
            bytecode = importlib.util.cache_from_source(path)
            unlink_if_there(bytecode)
            remove_if_empty(os.path.dirname(bytecode))


def is_file(path: str) -> bool:
    """Whether ``path`` is a regular file itself, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
