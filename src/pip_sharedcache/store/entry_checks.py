"""Checks that a file of an entry, and the directories above it, are as they were published."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry, DamagedFile, reason
from pip_sharedcache.fs.dirfd import PROCESS_ERRORS, Directory, has_time
from pip_sharedcache.model import StoredFile
from pip_sharedcache.store.packs import PACK

_BLOCK = 1 << 20  # bytes


class CheckedDirectories:
    """The directories of an open ``entry`` of ``publisher``, each checked once, at its first use.

    A directory that is a symlink, belongs to another user than the publisher or can be written by
    others would let others exchange its files. The checks of the files report a missing directory.

    ``listed``: directories that are listed when they are checked ("files/..."). A file server then
    tells the status of all files with the names (READDIRPLUS of NFS), instead of one by one when
    they are checked; its client remembers them for some seconds.
    """

    def __init__(self, entry: Directory, publisher: int) -> None:
        self.listed: frozenset[str] = frozenset()
        self._entry, self._publisher = entry, publisher
        self._known: dict[str, DamagedEntry | None] = {}

    def damage_above(self, path: str) -> DamagedEntry | None:
        """Return why ``path`` ("files/...") is not trusted; None if all directories above are."""
        above = path.rpartition("/")[0]
        if above not in self._known:
            damage = None
            for slash in re.finditer("/", path):  # from the top: a list tells of those below it
                directory = path[: slash.start()]
                if directory not in self._known:
                    self._known[directory] = damage or self._check(directory)
                damage = self._known[directory]
        return self._known[above]

    def _check(self, path: str) -> DamagedEntry | None:
        try:
            status = self._status(path)
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            what = "is not a directory"
        elif trust.OWNERS_MEAN_SOMETHING and status.st_uid != self._publisher:
            what = f"belongs to {trust.user_name(status.st_uid)}"
        elif trust.writable_by_others(status):
            what = "may be written by others than its owner"
        else:
            return None
        return DamagedEntry(f"{self._entry.path / path}: {what}")

    def _status(self, path: str) -> os.stat_result:
        """Return the status of the directory ``path``; list it if that serves, and is allowed."""
        if path in self.listed:
            with suppress(OSError), self._entry.subdirectory(path) as held:
                # Asked first: on a file server, the listing changes what is known of the directory.
                status = held.status()
                held.names()
                return status
        return self._entry.file_status(path)  # no directory, or not readable


def check_open(entry: Directory, publisher: int, file: StoredFile, source: int) -> None:
    """Check the store file that is open as ``source``, as ``check`` does; raise DamagedEntry."""
    try:
        status = os.fstat(source)
    except OSError as error:  # ESTALE: the file was deleted on a file server
        raise damaged(entry, file, reason(error)) from error
    check(entry, publisher, file, status)


def check(entry: Directory, publisher: int, file: StoredFile, status: os.stat_result) -> None:
    """Raise DamagedEntry if ``status`` of a store file does not match its manifest or publisher."""
    if what := fault(status, publisher, file.mtime, file.size):
        raise damaged(entry, file, what)


def check_pack(entry: Directory, publisher: int, pack: int, file: StoredFile | None) -> None:
    """Raise DamagedEntry if the open ``pack`` does not match its manifest or its publisher.

    ``file``: one of the files in it, None if it has none.
    """
    try:
        status = os.fstat(pack)
    except OSError as error:
        raise DamagedEntry(f"{entry.path / PACK}: {reason(error)}") from error
    if what := fault(status, publisher, None if file is None else file.mtime):
        raise DamagedEntry(f"{entry.path / PACK}: {what}")


def fault(
    status: os.stat_result, publisher: int, mtime: int | None, size: int | None = None
) -> str:
    """Return how a file of an entry differs from what ``publisher`` published, or "".

    ``mtime`` (seconds) and ``size`` (bytes): those of the manifest; None: any.
    """
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if size is not None and status.st_size != size:
        return f"has {status.st_size} bytes, not {size}"
    if mtime is not None and not has_time(status, mtime):
        return "was changed after it was published"
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != publisher:
        return f"belongs to {trust.user_name(status.st_uid)}"
    return trust.mode_distrust_reason(status)


@contextmanager
def opened(entry: Directory, file: StoredFile) -> Iterator[int]:
    try:
        descriptor = entry.open_file(f"files/{file.path}")
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        raise damaged(entry, file, reason(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check_readable(entry: Directory, file: StoredFile, source: int) -> None:
    """Raise DamagedEntry if ``source`` cannot be read to its end (EIO, ESTALE)."""
    try:
        os.lseek(source, 0, os.SEEK_SET)
        while os.read(source, _BLOCK):
            pass
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        raise damaged(entry, file, reason(error)) from error


def check_hash(entry: Directory, file: StoredFile, source: int) -> None:
    """Raise DamagedEntry if the bytes of ``source`` do not have the sha256 of the manifest.

    ``source``: a descriptor of the file or of a copy.
    """
    hasher = hashlib.sha256()
    try:
        os.lseek(source, 0, os.SEEK_SET)
        while block := os.read(source, _BLOCK):
            hasher.update(block)
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        raise damaged(entry, file, reason(error)) from error
    if hasher.hexdigest() != file.sha256:
        raise damaged(entry, file, "has other bytes than were published")


def unreadable(entry: Directory, file: StoredFile, error: OSError) -> DamagedEntry:
    """Return the error for ``file`` of the open ``entry``, which ``error`` caused."""
    found = damaged(entry, file, reason(error))
    found.__cause__ = error
    return found


def damaged(entry: Directory, file: StoredFile, what: str) -> DamagedEntry:
    """Return the error for ``file`` of the open ``entry``; ``what`` follows its path."""
    if file.offset >= 0:
        return DamagedFile(f"{entry.path / PACK}: {file.path}: {what}")
    return DamagedFile(f"{entry.path / 'files' / file.path}: {what}")
