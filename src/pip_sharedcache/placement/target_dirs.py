"""Target directories in an environment: made where missing, and remembered."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import stat
from collections.abc import Iterable, Sequence

from pip_sharedcache.errors import reason
from pip_sharedcache.model import StoredFile
from pip_sharedcache.placement.dist_info import DistInfo
from pip_sharedcache.placement.group_modes import share_directory, share_file
from pip_sharedcache.placement.jobs import Job, TargetDir, path_in

logger = logging.getLogger(__name__)


class TargetDirs:
    """Target directories of one placement.

    ``group_environment``: whether new directories and files get the group's bits of their parent.
    """

    def __init__(self, group_environment: bool) -> None:
        self._group_environment = group_environment
        self._known: dict[str, TargetDir] = {}
        self._made: dict[str, None] = {}  # in the order in which they were made

    def make(self, path: str) -> TargetDir:
        """Make the directory ``path`` and its missing parents, and remember the new ones.

        In an environment that a group shares, new directories get the group's bits of their
        parent: without the write bit, another member could not uninstall the files in them.
        Raises OSError.
        """
        path = path or os.curdir
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._make(path)
        return known

    def add_made(self, path: str) -> None:
        """Record that this process just made the directory ``path``, without a grant."""
        self._known[path] = TargetDir(self.make(os.path.dirname(path)).device, 0, made=True)

    def jobs(
        self, library: str, files: Iterable[StoredFile], information: DistInfo | None = None
    ) -> list[Job]:
        """Make the directories for ``files`` in ``library``; return the jobs that place the files.

        ``information``: the .dist-info of which ``files`` can have some. Raises OSError.
        """
        jobs = []
        for file in files:
            destination, private, content = path_in(library, file), False, None
            if information is not None and information.has(file.path):
                destination = information.destination(file.path, destination)
                private, content = True, information.contents.get(file.path)
            parent = self.make(os.path.dirname(destination))
            jobs.append(Job(file, destination, parent, private, content=content))
        return jobs

    def share(self, paths: Iterable[str], since: int) -> None:
        """Add the group's bits to existing files of ``paths`` changed at ``since`` or later.

        ``since`` is in nanoseconds. Raises OSError.
        """
        for path in paths:
            if os.path.lexists(path):
                share_file(path, self.make(os.path.dirname(path)).grant, since)

    def divided(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Return the ``jobs`` for directories that this placement made, and the other jobs."""
        new: list[Job] = []
        old: list[Job] = []
        for job in jobs:
            (new if os.path.dirname(job.destination) in self._made else old).append(job)
        return new, old

    def remove_made(self) -> None:
        """Delete the directories that this placement made and that are empty. Never raises."""
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
        return TargetDir(above.device, 0, made=True)  # it is on the device of its parent

    def _make_one(self, path: str) -> bool:
        """Make one directory; return False where ``path`` exists or its parent is missing."""
        # Recorded before the call: Ctrl-C can come right after the directory was made.
        before = path in self._made
        self._made[path] = None
        try:
            os.mkdir(path)
        except OSError as error:
            if not before:
                del self._made[path]
            if not isinstance(error, (FileExistsError, FileNotFoundError)):
                raise
            return False  # another run made it, or it is a dangling link: stat decides
        return True

    def _look_at(self, path: str) -> TargetDir:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return TargetDir.of(status, self._group_environment)


def remove_if_empty(path: str) -> None:
    """Delete the directory ``path`` if it exists and is empty. Never raises: logs a warning."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            logger.warning("%s cannot be deleted: %s", path, reason(error))


def unlink_if_there(path: str) -> None:
    """Delete the file ``path`` if it exists. Never raises: logs a warning."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s cannot be deleted: %s", path, reason(error))


def remove_placed(paths: Iterable[str]) -> None:
    """Delete the files ``paths``, and the bytecode of sources among them. Never raises."""
    for path in paths:
        unlink_if_there(path)
        if path.endswith(".py"):
            bytecode = importlib.util.cache_from_source(path)
            unlink_if_there(bytecode)
            remove_if_empty(os.path.dirname(bytecode))


def is_file(path: str) -> bool:
    """Return whether ``path`` is a regular file, and not a symlink to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
