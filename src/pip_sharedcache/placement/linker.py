"""Placement of the store's files in an environment, by the first link mode that works.

The linker never writes to an existing inode: it unlinks an existing name, and creates the new file
with O_EXCL.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs.dirfd import (
    CREATE,
    PROCESS_ERRORS,
    Directory,
    clone,
    close_all,
    set_time,
)
from pip_sharedcache.fs.file_data import copy_bytes
from pip_sharedcache.model import LinkMode, StoredFile
from pip_sharedcache.placement.dist_info import unfinished_in
from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir
from pip_sharedcache.placement.link_choice import LinkChoice
from pip_sharedcache.store.entry_checks import (
    check,
    check_hash,
    check_open,
    check_readable,
    damaged,
    opened,
)

#: Errors of a link or clone that mean "not from this source to this target": the linker skips the
#: mode for the next files. After any other error (a full allocation group, no memory, a signal)
#: the linker copies only this file, and the copy fails where the disk is really full or failing.
TRY_NEXT = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM",  # fs.protected_hardlinks: a file of another user
        "EACCES",
        "EXDEV",  # another file system
        "EMLINK",  # too many links already (EFS: 177)
        "EOPNOTSUPP",
        "ENOTSUP",
        "ENOTTY",  # no such ioctl here
        "EINVAL",  # reflink: not this kind of file
        "ENOSYS",
    )
    if hasattr(errno, name)
)

#: How many files a worker process places as one task.
_PIECE = 1000

#: How many of the store's files the linker opens before it places them.
_AHEAD = 32


class _Way(NamedTuple):
    """Two devices and a publisher (uid), for which a link mode that failed once fails again."""

    source: int
    target: int
    publisher: int


#: The result of one task, and the LinkChoice.refusals and Linker._failed of its process.
_Placed = tuple[PlacementResult, dict[LinkMode, str], set[tuple[LinkMode, _Way]]]
_Place = Callable[[Sequence[Job]], _Placed]
Divide = Callable[[Sequence[Sequence[Job]], _Place, _Place], list[_Placed]]


class Linker:
    """Placement of files with the link mode of ``choice``, for a whole run.

    ``hashes``: whether to read and hash each file. ``divide``: the function that runs tasks in
    worker processes (``workers.map_in_workers``). The linker remembers which mode failed between
    which devices for which publisher, and does not try again.
    """

    def __init__(
        self,
        choice: LinkChoice,
        umask: int,
        *,
        group_environment: bool = True,
        hashes: bool = False,
        divide: Divide | None = None,
    ) -> None:
        self.divide = divide
        self.choice = choice
        self.umask = umask
        self.group_environment = group_environment
        self.hashes = hashes
        self._create_flags = CREATE & ~os.O_WRONLY | os.O_RDWR if hashes else CREATE
        self._failed: set[tuple[LinkMode, _Way]] = set()
        self._ahead = _AHEAD
        self._unfinished: dict[str, list[str]] = {}

    def unfinished(self, library: str) -> list[str]:
        """Return ``unfinished_in(library)``, read once: a library directory can be large."""
        if library not in self._unfinished:
            self._unfinished[library] = unfinished_in(library)
        return self._unfinished[library]

    def place(
        self,
        entry: Directory,
        publisher: int,
        file: StoredFile,
        destination: str,
        parent: TargetDir,
        *,
        private: bool,
    ) -> LinkMode:
        """Place ``file`` of the open ``entry`` at ``destination``; return the link mode used.

        Raises DamagedEntry where the store's file differs from the manifest, and OSError where the
        environment cannot take the file.
        """
        outcome = PlacementResult()
        self.place_all(entry, publisher, [Job(file, destination, parent, private)], outcome)
        for _, error in outcome.damaged:
            raise error
        (mode,) = outcome.files
        return mode

    def place_new(
        self, entry: Directory, publisher: int, jobs: Sequence[Job], outcome: PlacementResult
    ) -> None:
        """Place files as ``place_all`` does, in directories that this process made.

        Worker processes place many files. No other files are in these directories, so this method
        deletes each file at a destination after an interruption.
        """
        if self.divide is None or len(jobs) < 2 * _PIECE:
            self.place_all(entry, publisher, jobs, outcome)
            return
        pieces = [jobs[start : start + _PIECE] for start in range(0, len(jobs), _PIECE)]

        def place(piece: Sequence[Job]) -> _Placed:
            done = PlacementResult()
            try:
                self.place_all(entry, publisher, piece, done)
            except BaseException:
                _clear(piece)
                raise
            return done, self.choice.refusals, self._failed

        def again(piece: Sequence[Job]) -> _Placed:
            _clear(piece)
            return place(piece)

        try:
            results = self.divide(pieces, place, again)
        except BaseException:
            _clear(jobs)
            raise
        asked = {job.destination: job for job in jobs}
        for done, refusals, failed in results:
            # A worker process returns pickled copies; callers compare jobs by identity.
            done.damaged = [(asked[job.destination], error) for job, error in done.damaged]
            outcome.add(done)
            self.choice.refusals.update(refusals)
            self._failed |= failed

    def place_all(
        self, entry: Directory, publisher: int, jobs: Sequence[Job], outcome: PlacementResult
    ) -> None:
        """Place files of the open ``entry``, and record the results in ``outcome``.

        Raises OSError where the environment cannot take one; ``outcome`` has those before it.
        """
        for (device, private), group in groupby(jobs, _kind):
            way = _Way(entry.device, device, publisher)
            rest: Sequence[Job] = list(group)
            try:
                if not private and self.choice.in_force in (LinkMode.HARDLINK, LinkMode.SYMLINK):
                    rest = self._link_all(way, entry, rest, outcome)
                self._copy_all(way, entry, rest, outcome)
            except OSError as error:
                error.filename = error.filename or outcome.under_way or None
                outcome.under_way = ""
                raise

    def _refuse(self, mode: LinkMode, way: _Way, why: str) -> None:
        self._failed.add((mode, way))
        self.choice.refusals.setdefault(mode, why)

    def _link_all(
        self, way: _Way, entry: Directory, jobs: Sequence[Job], outcome: PlacementResult
    ) -> Sequence[Job]:
        """Link as many files as possible; return the jobs that remain to be copied."""
        mode = self.choice.in_force
        if (mode, way) in self._failed:
            return jobs
        for number, job in enumerate(jobs):
            try:
                self._link(mode, entry, way.publisher, job, outcome)
            except DamagedEntry as error:
                outcome.damaged.append((job, error))
            except OSError as error:
                if error.errno in TRY_NEXT:
                    self._refuse(mode, way, reason(error))
                    return jobs[number:]
                self._copy_all(way, entry, [job], outcome)
            else:
                outcome.record(job, mode, replaced=False)
        return ()

    def _link(
        self, mode: LinkMode, entry: Directory, publisher: int, job: Job, outcome: PlacementResult
    ) -> None:
        source, destination = f"files/{job.file.path}", job.destination
        try:
            status = entry.file_status(source)
        except OSError as error:
            raise damaged(entry, job.file, reason(error)) from error
        check(entry, publisher, job.file, status)
        if trust.OWNERS_MEAN_SOMETHING and bool(status.st_mode & 0o111) != job.file.executable:
            raise damaged(entry, job.file, "its executable bit differs from the manifest")
        if self.hashes:
            with opened(entry, job.file) as descriptor:
                check_hash(entry, job.file, descriptor)

        def link() -> None:
            if mode is LinkMode.SYMLINK:
                os.symlink(entry.path / source, destination)
            elif entry.descriptor is None:
                os.link(entry.path / source, destination)
            else:
                os.link(source, destination, src_dir_fd=entry.descriptor, follow_symlinks=False)

        outcome.under_way = destination
        try:
            link()
        except FileExistsError:
            outcome.under_way = ""
            os.unlink(destination)
            # The link can still fail (EEXIST comes before EPERM); then a copy follows.
            outcome.replaced.add(destination)
            link()

    def _copy_all(
        self, way: _Way, entry: Directory, jobs: Sequence[Job], outcome: PlacementResult
    ) -> None:
        done = 0
        while done < len(jobs):
            sources: list[int | DamagedEntry] = []
            try:
                self._open_ahead(entry, jobs[done : done + self._ahead], sources)
                for job, source in zip(jobs[done:], sources):
                    if isinstance(source, int):
                        self._copy(way, entry, job, source, outcome)
                    else:
                        outcome.damaged.append((job, source))
                    done += 1
            except OSError as error:
                if error.errno not in PROCESS_ERRORS or len(sources) < 2:
                    raise
                self._ahead = 1  # the files opened ahead used up the descriptors
            finally:
                close_all(source for source in sources if isinstance(source, int))

    def _open_ahead(
        self, entry: Directory, jobs: Sequence[Job], sources: list[int | DamagedEntry]
    ) -> None:
        """Open the store's files for ``jobs``, and append descriptors or errors to ``sources``.

        The caller closes them: their numbers are consecutive, so that one system call is enough.
        """
        for job in jobs:
            try:
                sources.append(entry.open_file(f"files/{job.file.path}"))
            except OSError as error:
                if error.errno not in PROCESS_ERRORS:
                    sources.append(damaged(entry, job.file, reason(error)))
                elif sources:
                    return  # place the open files first
                else:
                    raise

    def _copy(
        self, way: _Way, entry: Directory, job: Job, source: int, outcome: PlacementResult
    ) -> None:
        file, destination = job.file, job.destination
        try:
            check_open(entry, way.publisher, file, source)
            target, replaced = self._create(job, outcome)
            try:
                mode = self._fill(way, entry, file, source, target)
                if self.hashes:  # of the new file: the publisher can edit the store's
                    check_hash(entry, file, target)
                if file.path.endswith(".py"):
                    # Bytecode contains the time of its source; no other file needs the time.
                    self._set_time(target, job, outcome)
            except BaseException:
                os.close(target)
                os.unlink(destination)
                raise
            try:
                os.close(target)
            except OSError:  # late EDQUOT, ENOSPC or EIO of a network file system
                os.unlink(destination)
                raise
        except DamagedEntry as error:
            outcome.under_way = ""
            outcome.damaged.append((job, error))
        else:
            outcome.record(job, mode, replaced)

    def _fill(
        self, way: _Way, entry: Directory, file: StoredFile, source: int, target: int
    ) -> LinkMode:
        """Write the content of ``source`` to ``target``; return the link mode used.

        Raises DamagedEntry where ``source`` ends early or cannot be read; OSError.
        """
        if not file.size:
            return LinkMode.COPY  # an empty file has no extents to share
        copies = self.choice.in_force is LinkMode.COPY
        if not copies and (LinkMode.REFLINK, way) not in self._failed:
            try:
                clone(source, target)
                return LinkMode.REFLINK
            except OSError as error:
                if error.errno in TRY_NEXT:
                    self._refuse(LinkMode.REFLINK, way, reason(error))
        try:
            copied = copy_bytes(source, target, file.size)
        except OSError as error:
            check_readable(entry, file, source)  # raises DamagedEntry if the source caused it
            raise error
        if copied != file.size:
            raise damaged(entry, file, f"ends after {copied} of {file.size} bytes")
        return LinkMode.COPY

    @staticmethod
    def _set_time(target: int, job: Job, outcome: PlacementResult) -> None:
        try:
            set_time(target, job.destination, job.file.mtime)
        except OSError as error:
            if error.errno not in TRY_NEXT:
                raise
            outcome.untimed.add(job.destination)  # pip sets no times: no reason to fail

    def _create(self, job: Job, outcome: PlacementResult) -> tuple[int, bool]:
        """Create the destination with pip's mode; return its descriptor, and whether it existed."""
        file, destination, parent = job.file, job.destination, job.target_dir
        asked = 0o777 if file.executable else 0o666
        replaced = False
        outcome.under_way = destination
        try:
            target = os.open(destination, self._create_flags, asked)
        except FileExistsError:
            outcome.under_way = ""
            os.unlink(destination)
            target = os.open(destination, self._create_flags, asked)
            replaced = True
        if hasattr(os, "fchmod") and (file.executable or parent.grant):
            # pip sets x for user, group and others despite the umask, which removed x at open.
            # With a default ACL, the group's grant is already set.
            granted = parent.grant & asked
            if file.executable:
                wanted = (0o777 & ~self.umask) | 0o111 | granted
            else:
                wanted = stat.S_IMODE(os.fstat(target).st_mode) | granted
            try:
                os.fchmod(target, wanted)
            except BaseException as error:
                # pip fails without x, too; the group's bits are optional.
                refused = isinstance(error, OSError) and error.errno in TRY_NEXT
                if file.executable or not refused:
                    os.close(target)
                    os.unlink(destination)
                    raise
        return target, replaced


def _clear(jobs: Sequence[Job]) -> None:
    for job in jobs:
        with suppress(OSError):
            os.unlink(job.destination)


def _kind(job: Job) -> tuple[int, bool]:
    return job.target_dir.device, job.private
