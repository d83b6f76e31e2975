"""One file from the store into an environment: try a link mode, fall to the next.

What is placed never goes through an inode that is there already: an existing name is unlinked,
and the new file is created with O_EXCL.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.linker.descriptors import CREATE, Directory, copy_bytes, set_time
from pip_sharedcache.model import LinkMode, StoredFile

#: Errors of a link or clone that mean "not here, not between these two": the next mode is tried.
#: Everything else (ENOSPC, EDQUOT, EIO, EROFS, ...) is an error of the installation.
TRY_NEXT = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM",  # fs.protected_hardlinks: a file of somebody else's
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

_FICLONE = 0x40049409  # ioctl_ficlone(2)

#: In which order modes are tried, for each that may be asked for.
_FALLBACKS = {
    LinkMode.REFLINK: (LinkMode.REFLINK, LinkMode.COPY),
    LinkMode.HARDLINK: (LinkMode.HARDLINK, LinkMode.REFLINK, LinkMode.COPY),
    LinkMode.SYMLINK: (LinkMode.SYMLINK, LinkMode.REFLINK, LinkMode.COPY),
    LinkMode.COPY: (LinkMode.COPY,),
}


@dataclass(frozen=True)
class Parent:
    """What a directory of the environment means for what is created in it.

    ``grant``: the group's bits that a group environment gives to what is created there, 0
    elsewhere.
    """

    device: int
    grant: int

    @classmethod
    def of(cls, status: os.stat_result, group_environment: bool) -> Parent:
        """Read off the directory's ``status`` whether a group shares it (setgid and writable)."""
        shared = status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IWGRP
        return cls(status.st_dev, status.st_mode & 0o070 if shared and group_environment else 0)


class Linker:
    """Places files with one link mode for a whole run.

    Remembers which mode failed from which device to which for which publisher, so that the next
    file does not ask again; ``refusals`` says why, for the user.
    """

    def __init__(self, mode: LinkMode, umask: int, *, group_environment: bool = True) -> None:
        self.mode = mode
        self.umask = umask
        self.group_environment = group_environment
        self.refusals: dict[LinkMode, str] = {}
        self._failed: set[tuple[LinkMode, int, int, int]] = set()

    def place(
        self,
        entry: Directory,
        publisher: int,
        file: StoredFile,
        destination: str,
        parent: Parent,
        *,
        private: bool,
    ) -> LinkMode:
        """Make ``file`` of the held ``entry`` appear at ``destination``; return how.

        ``private`` files (.dist-info, scripts) are an inode of our own in every mode. Raises
        DamagedEntry if the store's file is not what the manifest says, before anything in the
        environment is touched; OSError if the environment cannot take it.
        """
        wanted = LinkMode.REFLINK if private and self.mode is not LinkMode.COPY else self.mode
        for mode in _FALLBACKS[wanted]:
            pair = (mode, entry.device, parent.device, publisher)
            if pair in self._failed or (mode is LinkMode.REFLINK and not file.size):
                continue  # an empty file has nothing to share
            try:
                if mode in (LinkMode.HARDLINK, LinkMode.SYMLINK):
                    self._link(mode, entry, publisher, file, destination)
                else:
                    self._copy(mode, entry, publisher, file, destination, parent)
                return mode
            except _NotThisWay as refusal:
                self._failed.add(pair)
                self.refusals.setdefault(mode, str(refusal))
        raise AssertionError("a copy is always the last way")

    def _link(
        self, mode: LinkMode, entry: Directory, publisher: int, file: StoredFile, destination: str
    ) -> None:
        source = f"files/{file.path}"
        try:
            status = entry.file_status(source)
        except OSError as error:
            raise _damaged(entry, file, reason(error)) from error
        _check(entry, publisher, file, status)

        def link() -> None:
            if mode is LinkMode.SYMLINK:
                os.symlink(entry.path / source, destination)
            elif entry.descriptor is None:
                os.link(entry.path / source, destination)
            else:
                os.link(source, destination, src_dir_fd=entry.descriptor, follow_symlinks=False)

        try:
            try:
                link()
            except FileExistsError:
                os.unlink(destination)
                link()
        except OSError as error:
            if error.errno in TRY_NEXT:
                raise _NotThisWay(reason(error)) from error
            raise

    def _copy(
        self,
        mode: LinkMode,
        entry: Directory,
        publisher: int,
        file: StoredFile,
        destination: str,
        parent: Parent,
    ) -> None:
        try:
            source = entry.open_file(f"files/{file.path}")
        except OSError as error:
            raise _damaged(entry, file, reason(error)) from error
        try:
            _check(entry, publisher, file, os.fstat(source))
            target = self._create(file, destination, parent)
            try:
                self._fill(mode, entry, file, source, target)
                if file.path.endswith(".py"):
                    # Its bytecode names this time; nothing else does.
                    set_time(target, destination, file.mtime)
            except BaseException:
                os.close(target)
                os.unlink(destination)
                raise
            try:
                os.close(target)
            except OSError:  # EDQUOT, ENOSPC or EIO of a network file system, told only now
                os.unlink(destination)
                raise
        finally:
            os.close(source)

    def _fill(
        self, mode: LinkMode, entry: Directory, file: StoredFile, source: int, target: int
    ) -> None:
        """Give ``target`` the content of ``source``. Raises _NotThisWay where it cannot be
        cloned, DamagedEntry where it ends early."""
        if mode is LinkMode.REFLINK:
            if fcntl is None:
                raise _NotThisWay("this system has no reflinks")
            try:
                fcntl.ioctl(target, _FICLONE, source)
            except OSError as error:
                if error.errno in TRY_NEXT:
                    raise _NotThisWay(reason(error)) from error
                raise
        elif (copied := copy_bytes(source, target, file.size)) != file.size:
            raise _damaged(entry, file, f"ends after {copied} of {file.size} bytes")

    def _create(self, file: StoredFile, destination: str, parent: Parent) -> int:
        """Create the destination with the permission bits that pip's installer gives it."""
        asked = 0o777 if file.executable else 0o666
        try:
            target = os.open(destination, CREATE, asked)
        except FileExistsError:
            os.unlink(destination)
            target = os.open(destination, CREATE, asked)
        if hasattr(os, "fchmod") and (file.executable or parent.grant):
            # pip sets x for all three whatever the umask; the umask at open took it away. With a
            # default ACL the group's grant is already there.
            granted = parent.grant & (0o070 if file.executable else 0o060)
            if file.executable:
                wanted = (0o777 & ~self.umask) | 0o111 | granted
            else:
                wanted = stat.S_IMODE(os.fstat(target).st_mode) | granted
            try:
                os.fchmod(target, wanted)
            except BaseException:
                os.close(target)
                os.unlink(destination)
                raise
        return target


class _NotThisWay(Exception):
    """This link mode does not work here; the next one is to be tried."""


def _check(entry: Directory, publisher: int, file: StoredFile, status: os.stat_result) -> None:
    """Raise DamagedEntry if ``status`` of a store file is not what the manifest promises."""
    if not stat.S_ISREG(status.st_mode):
        raise _damaged(entry, file, "is not a regular file")
    if status.st_size != file.size:
        raise _damaged(entry, file, f"has {status.st_size} bytes, not {file.size}")
    if int(status.st_mtime) != file.mtime:
        raise _damaged(entry, file, "was changed after it was published")
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != publisher:
        raise _damaged(entry, file, f"belongs to {trust.user_name(status.st_uid)}")
    if trust.writable_by_others(status):
        raise _damaged(entry, file, "may be written by others than its owner")


def _damaged(entry: Directory, file: StoredFile, what: str) -> DamagedEntry:
    return DamagedEntry(f"{entry.path / 'files' / file.path}: {what}")
