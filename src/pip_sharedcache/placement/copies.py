"""Copies of the store's files: new inodes in an environment, which share blocks where they can."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple, Union

from pip_sharedcache.errors import DamagedEntry, UnreachableEntry, reason
from pip_sharedcache.fs.dirfd import (
    CREATE,
    PROCESS_ERRORS,
    Directory,
    clone,
    close_all,
    set_time,
    write_all,
)
from pip_sharedcache.fs.file_data import copy_bytes, write_at
from pip_sharedcache.fs.stale import is_silence
from pip_sharedcache.model import LinkMode, StoredFile
from pip_sharedcache.placement.jobs import Job, PlacementResult
from pip_sharedcache.placement.new_files import NewFiles
from pip_sharedcache.placement.ways import TRY_NEXT, Way, Ways
from pip_sharedcache.store.entry_checks import (
    check_hash,
    check_open,
    check_readable,
    damaged,
    unreadable,
)
from pip_sharedcache.store.packs import Pack
from pip_sharedcache.store.sources import Source
from pip_sharedcache.trust import mounts

#: How many of the store's files are opened before they are placed.
_AHEAD = 32

#: The file systems whose server gives delegations.
_DELEGATES = frozenset({"nfs4"})

#: The file systems on which the time of a file costs a request, and a changed copy of its bytecode
#: none: with NFS 4.2, the server copies the bytecode.
_TIMES_COST = frozenset({"nfs"})

#: Where bytecode contains the time of its source, and how (PEP 552).
_TIME_OFFSET, _TIME = 8, struct.Struct("<I")


def give_up_if_silent(source: Source, error: DamagedEntry, began: float) -> None:
    """Give up ``source`` if its file server does not answer. ``began``: as for fs.is_silence."""
    if is_silence(error.__cause__, began):
        source.given_up = UnreachableEntry(str(error))


class _Tree(NamedTuple):
    """The content of one file in a tree, which is open as ``source``."""

    way: Way
    entry: Directory
    file: StoredFile
    source: int

    def check(self) -> None:
        """Raise DamagedEntry if the file is not as it was published."""
        check_open(self.entry, self.way.publisher, self.file, self.source)

    def fill(self, target: int, ways: Ways) -> LinkMode:
        """Write the content to the empty file ``target``; return the link mode used.

        Raises DamagedEntry where the file ends early or cannot be read; OSError.
        """
        file, source = self.file, self.source
        if not file.size:
            return LinkMode.COPY  # an empty file has no extents to share
        if ways.may(LinkMode.REFLINK, self.way):
            try:
                clone(source, target)
                return LinkMode.REFLINK
            except OSError as error:
                if error.errno in TRY_NEXT:
                    ways.refuse(LinkMode.REFLINK, self.way, reason(error))
        try:
            copied = copy_bytes(source, target, file.size)
        except OSError as error:
            check_readable(self.entry, file, source)  # raises DamagedEntry if it caused the error
            raise error
        _check_size(self.entry, file, copied)
        return LinkMode.COPY


class _Packed(NamedTuple):
    """The content of one file in a ``pack``, which was checked when it was opened."""

    entry: Directory
    file: StoredFile
    pack: Pack

    def check(self) -> None:
        """Do nothing."""

    def fill(self, target: int, ways: Ways) -> LinkMode:
        """Write the content to the empty file ``target``, as ``_Tree.fill`` does."""
        file, pack = self.file, self.pack
        try:
            copied = copy_bytes(pack.descriptor, target, file.size, file.offset)
        except OSError as error:
            self._check_readable()  # raises DamagedEntry if the pack caused the error
            raise error
        _check_size(self.entry, file, copied)
        return LinkMode.COPY

    def _check_readable(self) -> None:
        try:
            for _ in self.pack.pieces(self.file.offset, self.file.size):
                pass
        except OSError as error:
            if error.errno in PROCESS_ERRORS:
                raise
            raise damaged(self.entry, self.file, reason(error)) from error


class _Known(NamedTuple):
    """The content of one file, which was read and compared before."""

    entry: Directory
    content: bytes

    def check(self) -> None:
        """Do nothing."""

    def fill(self, target: int, ways: Ways) -> LinkMode:
        """Write the content to the empty file ``target``, as ``_Tree.fill`` does."""
        write_all(target, self.content)
        return LinkMode.COPY


_Content = Union[_Tree, _Packed, _Known]


def _check_size(entry: Directory, file: StoredFile, copied: int) -> None:
    if copied != file.size:
        raise damaged(entry, file, f"ends after {copied} of {file.size} bytes")


class Copier:
    """Copies files for a whole run; the destinations are new, and get pip's modes.

    ``ways``: the link mode in force, and what failed before. ``hashes``: whether to read and hash
    each file.
    """

    def __init__(self, ways: Ways, umask: int, *, hashes: bool) -> None:
        self._ways = ways
        self._umask = umask
        self._hashes = hashes
        self._new = NewFiles(CREATE & ~os.O_WRONLY | os.O_RDWR if hashes else CREATE)
        self._ahead = _AHEAD

    def copy_all(
        self, way: Way, source: Source, jobs: Sequence[Job], outcome: PlacementResult
    ) -> None:
        """Copy files of ``source``, and record the results in ``outcome``.

        Raises OSError where the environment cannot take one; ``outcome`` has those before it.
        """
        try:
            for job in jobs:
                if job.content is not None:
                    self._copy(source, _Known(source.held, job.content), job, outcome)
            stored = [job for job in jobs if job.content is None]
            if not stored:
                return
            if source.packed:
                self._copy_packed(source, stored, outcome)
            else:
                self._copy_tree(way, source, stored, outcome)
        finally:
            self._new.close()

    def _copy_tree(
        self, way: Way, source: Source, jobs: Sequence[Job], outcome: PlacementResult
    ) -> None:
        done = 0
        while done < len(jobs):
            opened: list[int | DamagedEntry] = []
            try:
                if source.given_up is None:
                    self._open_ahead(way, source, jobs[done : done + self._ahead], opened)
                else:
                    opened += [source.given_up] * (len(jobs) - done)
                for job, one in zip(jobs[done:], opened):
                    if source.given_up is not None:
                        outcome.damaged.append((job, source.given_up))
                    elif isinstance(one, int):
                        content = _Tree(way, source.held, job.file, one)
                        self._copy(source, content, job, outcome)
                    else:
                        outcome.damaged.append((job, one))
                    done += 1
            except OSError as error:
                if error.errno not in PROCESS_ERRORS or len(opened) < 2:
                    raise
                self._ahead = 1  # the files opened ahead used up the descriptors
            finally:
                close_all(one for one in opened if isinstance(one, int))

    def _copy_packed(self, source: Source, jobs: Sequence[Job], outcome: PlacementResult) -> None:
        self._ways.refuse_packed()
        try:
            pack = source.pack()
        except DamagedEntry as error:
            outcome.damaged += [(job, error) for job in jobs]
            return
        for job in jobs:
            if source.given_up is None:
                self._copy(source, _Packed(source.held, job.file, pack), job, outcome)
            else:
                outcome.damaged.append((job, source.given_up))

    def _open_ahead(
        self, way: Way, source: Source, jobs: Sequence[Job], opened: list[int | DamagedEntry]
    ) -> None:
        """Open the files of ``source`` for ``jobs``; append descriptors or errors to ``opened``.

        The caller closes them: their numbers are consecutive, so that one system call is enough.
        """
        # A client of NFSv4 then asks for no delegation, which it would have to return later. The
        # server shares the data, so the page cache of the client is of no use.
        shared = self._ways.may(LinkMode.REFLINK, way)
        direct = shared and mounts.kind_of_device(way.source) in _DELEGATES
        for job in jobs:
            began = time.monotonic()
            if (damage := source.damage_above(job.file)) is not None:
                opened.append(damage)
                continue
            try:
                opened.append(source.held.open_file(f"files/{job.file.path}", direct=direct))
            except OSError as error:
                if error.errno not in PROCESS_ERRORS:
                    unread = unreadable(source.held, job.file, error)
                    opened.append(unread)
                    give_up_if_silent(source, unread, began)
                    if source.given_up is not None:
                        return
                elif opened:
                    return  # place the open files first
                else:
                    raise

    def _copy(self, source: Source, content: _Content, job: Job, outcome: PlacementResult) -> None:
        file, destination, began = job.file, job.destination, time.monotonic()
        try:
            content.check()
            target, replaced = self._create(job, outcome)
            try:
                mode = content.fill(target, self._ways)
                if self._hashes:  # of the new file: the publisher can edit the store's
                    check_hash(content.entry, file, target)
                if file.path.endswith(".py"):
                    # Bytecode contains the time of its source; no other file needs the time.
                    self._settle_time(target, job, mode, outcome)
                if job.source_time is not None:
                    write_at(target, _TIME.pack(job.source_time & 0xFFFFFFFF), _TIME_OFFSET)
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
            give_up_if_silent(source, error, began)
            outcome.damaged.append((job, source.given_up or error))
        else:
            outcome.record(job, mode, replaced)

    @staticmethod
    def _settle_time(target: int, job: Job, mode: LinkMode, outcome: PlacementResult) -> None:
        """Give a source its time, or record the time that it has. Raises OSError."""
        kind = mounts.kind_of_device(job.target_dir.device)
        if mode is not LinkMode.COPY or kind not in _TIMES_COST:
            try:
                set_time(target, job.destination, job.file.mtime)
                return
            except OSError as error:
                if error.errno not in TRY_NEXT:
                    raise
        outcome.times[job.destination] = int(os.fstat(target).st_mtime)  # as the importer reads it

    def _create(self, job: Job, outcome: PlacementResult) -> tuple[int, bool]:
        """Create the destination with pip's mode; return its descriptor, and whether it existed."""
        file, destination, parent = job.file, job.destination, job.target_dir
        asked = 0o777 if file.executable else 0o666
        replaced = False
        outcome.under_way = destination
        try:
            target = self._new.create(job, asked)
        except FileExistsError:
            outcome.under_way = ""
            os.unlink(destination)
            target = self._new.create(job, asked)
            replaced = True
        if hasattr(os, "fchmod") and (file.executable or parent.grant):
            # pip sets x for user, group and others despite the umask, which removed x at open.
            # With a default ACL, the group's grant is already set.
            granted = parent.grant & asked
            try:
                there = stat.S_IMODE(os.fstat(target).st_mode)
                wanted = (0o777 & ~self._umask) | 0o111 if file.executable else there
                if there != wanted | granted:
                    os.fchmod(target, wanted | granted)
            except BaseException as error:
                # pip fails without x, too; the group's bits are optional.
                refused = isinstance(error, OSError) and error.errno in TRY_NEXT
                if file.executable or not refused:
                    os.close(target)
                    os.unlink(destination)
                    raise
        return target, replaced
