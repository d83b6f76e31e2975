"""Placement of the store's files in an environment, by the first link mode that works.

The linker never writes to an existing inode: it unlinks an existing name, and creates the new file
with O_EXCL, or by ``OwnDirectory``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry, UnreachableEntry, reason
from pip_sharedcache.fs.dirfd import Directory
from pip_sharedcache.model import LinkMode, StoredFile
from pip_sharedcache.placement.copies import Copier, give_up_if_silent
from pip_sharedcache.placement.dist_info import unfinished_in
from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir
from pip_sharedcache.placement.link_choice import LinkChoice
from pip_sharedcache.placement.ways import TRY_NEXT, Learned, Way, Ways
from pip_sharedcache.store.entry_checks import check, check_hash, damaged, opened
from pip_sharedcache.store.sources import Source

_SEVERAL = 2  # names in one directory from which on it is worth to list it
#: How many files a worker process places as one task.
_PIECE = 1000

#: The result of one task, and what its process has learned of the link modes.
_Placed = tuple[PlacementResult, Learned]
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
        self._ways = Ways(choice)
        self._copier = Copier(self._ways, umask, hashes=hashes)
        self._unfinished: dict[str, list[str]] = {}

    def unfinished(self, library: str) -> list[str]:
        """Return ``unfinished_in(library)``, read once: a library directory can be large."""
        if library not in self._unfinished:
            self._unfinished[library] = unfinished_in(library)
        return self._unfinished[library]

    def look_ahead(self, source: Source, jobs: Sequence[Job]) -> None:
        """Choose the directories of ``source`` to list while the files of ``jobs`` are linked."""
        if self._links and not source.copied and source.costs_requests:
            paths = (job.file.path for job in jobs if not job.private)
            source.directories.listed = worth_listing(paths)

    @property
    def _links(self) -> bool:
        return self.choice.in_force in (LinkMode.HARDLINK, LinkMode.SYMLINK)

    def place(
        self,
        source: Source,
        file: StoredFile,
        destination: str,
        parent: TargetDir,
        *,
        private: bool,
    ) -> LinkMode:
        """Place ``file`` of ``source`` at ``destination``; return the link mode used.

        Raises DamagedEntry where the store's file differs from the manifest, and OSError where the
        environment cannot take the file.
        """
        outcome = PlacementResult()
        self.place_all(source, [Job(file, destination, parent, private)], outcome)
        for _, error in outcome.damaged:
            raise error
        (mode,) = outcome.files
        return mode

    def place_new(self, source: Source, jobs: Sequence[Job], outcome: PlacementResult) -> None:
        """Place files as ``place_all`` does, in directories that this process made.

        Worker processes place many files. No other files are in these directories, so this method
        deletes each file at a destination after an interruption.
        """
        if self.divide is None or len(jobs) < 2 * _PIECE:
            self.place_all(source, jobs, outcome)
            return
        pieces = [jobs[start : start + _PIECE] for start in range(0, len(jobs), _PIECE)]

        def place(piece: Sequence[Job]) -> _Placed:
            done = PlacementResult()
            try:
                self.place_all(source, piece, done)
            except BaseException:
                _clear(piece)
                raise
            return done, self._ways.learned()

        def again(piece: Sequence[Job]) -> _Placed:
            _clear(piece)
            return place(piece)

        try:
            results = self.divide(pieces, place, again)
        except BaseException:
            _clear(jobs)
            raise
        asked = {job.destination: job for job in jobs}
        for done, learned in results:
            # A worker process returns pickled copies; callers compare jobs by identity.
            done.damaged = [(asked[job.destination], error) for job, error in done.damaged]
            outcome.add(done)
            self._ways.learn(learned)
            lost = (error for _, error in done.damaged if isinstance(error, UnreachableEntry))
            source.given_up = source.given_up or next(lost, None)

    def place_all(self, source: Source, jobs: Sequence[Job], outcome: PlacementResult) -> None:
        """Place files of ``source``, and record the results in ``outcome``.

        Raises OSError where the environment cannot take one; ``outcome`` has those before it.
        """
        for (device, private), group in groupby(jobs, _kind):
            way = Way(source.held.device, device, source.publisher)
            rest: Sequence[Job] = list(group)
            try:
                if self._links and not private and not source.copied:
                    rest = self._link_all(way, source, rest, outcome)
                self._copier.copy_all(way, source, rest, outcome)
            except OSError as error:
                error.filename = error.filename or outcome.under_way or None
                outcome.under_way = ""
                raise

    def _link_all(
        self, way: Way, source: Source, jobs: Sequence[Job], outcome: PlacementResult
    ) -> Sequence[Job]:
        """Link as many files as possible; return the jobs that remain to be copied."""
        mode = self.choice.in_force
        if not self._ways.may(mode, way):
            return jobs
        for number, job in enumerate(jobs):
            began = time.monotonic()
            if (damage := source.damage_above(job.file)) is not None:
                outcome.damaged.append((job, damage))
                continue
            try:
                self._link(mode, source.held, way.publisher, job, outcome)
            except DamagedEntry as error:
                give_up_if_silent(source, error, began)
                outcome.damaged.append((job, source.given_up or error))
            except OSError as error:
                if error.errno in TRY_NEXT:
                    self._ways.refuse(mode, way, reason(error))
                    return jobs[number:]
                self._copier.copy_all(way, source, [job], outcome)
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


def worth_listing(paths: Iterable[str]) -> frozenset[str]:
    """Return the directories ("files/...") above the files ``paths`` with several names to look up.

    A directory that is listed itself does not count in the one above it: it is opened, and a file
    server is asked at each opening of a directory.
    """
    names = Counter(f"files/{path}".rpartition("/")[0] for path in paths)
    for directory in list(names):
        while above := directory.rpartition("/")[0]:
            names.setdefault(above, 0)
            directory = above
    found = set()
    for directory in sorted(names, key=lambda one: -one.count("/")):
        if names[directory] >= _SEVERAL:
            found.add(directory)
        else:
            names[directory.rpartition("/")[0]] += 1
    return frozenset(found)


def _clear(jobs: Sequence[Job]) -> None:
    for job in jobs:
        with suppress(OSError):
            os.unlink(job.destination)


def _kind(job: Job) -> tuple[int, bool]:
    return job.target_dir.device, job.private
