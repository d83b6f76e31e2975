"""Files and directories by descriptor: opened without following links, created with their modes.

On systems without directory descriptors (Windows), the path stands for the directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.fs.mapped_owner import mapped_owner
from pip_sharedcache.trust import access_lists

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd

_CLOEXEC, _NOFOLLOW = getattr(os, "O_CLOEXEC", 0), getattr(os, "O_NOFOLLOW", 0)
BINARY, _DIRECTORY = getattr(os, "O_BINARY", 0), getattr(os, "O_DIRECTORY", 0)
_DIRECT, _PATH = getattr(os, "O_DIRECT", 0), getattr(os, "O_PATH", 0)
# Without O_NONBLOCK, a FIFO in the place of a file would block its reader at open.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
#: Flags that refuse a symlink and do not wait for a FIFO.
NOT_A_LINK = _NOFOLLOW | _NONBLOCK | _CLOEXEC

#: Flags for a new file: the call fails where a file or a symlink exists already.
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC | BINARY

#: The prefix of a file that will replace another file.
NEW = ".new-"

#: Flags that open a directory, and refuse a symlink to one.
DIRECTORY = os.O_RDONLY | _DIRECTORY | _NOFOLLOW | _CLOEXEC

#: The same for a directory that is not read: a file server is not asked whether it has changed.
PLACE = DIRECTORY | _PATH

#: Flags that open a directory whose path the administrator chose, symlinks included.
FOLLOWED_DIRECTORY = os.O_RDONLY | _DIRECTORY | _CLOEXEC

#: Errors of a disk or a file server that may be temporary (EBADMSG, EUCLEAN: a checksum or a
#: structure of the file system is wrong).
DISK_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "EBADMSG", "EUCLEAN")
    if hasattr(errno, name)
)
#: Errors of this process or machine, not of the file that a call opens.
PROCESS_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

#: Errors of a full file system, and of a user's exhausted quota.
NO_SPACE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})

_FICLONE = 0x40049409  # ioctl_ficlone(2)


class Directory:
    """Open directory, so that a check and a later use concern the same directory.

    Owns its descriptor: call ``close``, or use the directory as a context manager.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self.descriptor = descriptor
        self.device = self.status().st_dev

    @classmethod
    def open(cls, path: Path, *, place: bool = False) -> Directory:
        """Open ``path``, which the administrator chose: follow its symlinks. Raises OSError.

        ``place``: as PLACE says; neither ``names`` nor ``set_mode`` can be called then.
        """
        if not BY_DESCRIPTOR:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
            return cls(path, None)
        return cls(path, os.open(path, FOLLOWED_DIRECTORY | (_PATH if place else 0)))

    def subdirectory(self, name: str, *, place: bool = False) -> Directory:
        """Open the directory ``name`` in this one, as ``open`` does, but not a symlink."""
        if self.descriptor is None:
            return Directory.open(self.path / name)
        flags = PLACE if place else DIRECTORY
        return Directory(self.path / name, os.open(name, flags, dir_fd=self.descriptor))

    def make(self, name: str, mode: int) -> Directory:
        """Make directory ``name`` (``mode`` minus umask) if missing; open it. Raises OSError."""
        path, above = self.at(name)
        with contextlib.suppress(FileExistsError):  # another run made it
            os.mkdir(path, mode, dir_fd=above)
        return self.subdirectory(name)

    @property
    def proc_path(self) -> Path:
        """Return a path that leads to this directory even after a rename; else ``path``.

        The path is valid in this process and its forks while the directory is open. Anyone who
        can rename the directory could put a symlink in the place of ``path``.
        """
        by_number = Path(f"/proc/self/fd/{self.descriptor}")  # other processes' are often closed
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(by_number), self.status()):
                return by_number
        return self.path

    def set_mode(self, mode: int) -> None:
        """Set exactly ``mode`` on the directory, which this user owns. Raises OSError."""
        if self.descriptor is None:
            set_directory(self.path, mode)
        else:
            os.fchmod(self.descriptor, mode)

    @property
    def where(self) -> int | Path:
        """Return the argument for a system call: the descriptor, or the path without one."""
        return self.path if self.descriptor is None else self.descriptor

    def at(self, name: str) -> tuple[str | Path, int | None]:
        """Return the path of ``name`` for a system call, and the call's dir_fd."""
        return (self.path / name, None) if self.descriptor is None else (name, self.descriptor)

    def status(self) -> os.stat_result:
        """Return the status of the directory itself (fstat). Raises OSError."""
        return os.stat(self.where)

    def open_file(self, name: str, *, direct: bool = False) -> int:
        """Open the file ``name`` ("/" separated) for reading; the caller closes the descriptor.

        ``direct``: without the page cache (O_DIRECT). Raises OSError, ELOOP where the last
        component is a symlink. A FIFO does not block.
        """
        path, above = self.at(name)
        flags = os.O_RDONLY | NOT_A_LINK | BINARY | (_DIRECT if direct else 0)
        return os.open(path, flags, dir_fd=above)

    def file_status(self, name: str) -> os.stat_result:
        """Return the status of ``name`` in this directory (lstat). Raises OSError."""
        path, above = self.at(name)
        return os.stat(path, dir_fd=above, follow_symlinks=False)

    def read(self, name: str, limit: int = 1 << 20) -> tuple[bytes, os.stat_result]:
        """Return the content of the regular file ``name``, and the status of the file just read.

        Raises OSError: EINVAL where ``name`` is not a regular file, EFBIG where it has more than
        ``limit`` bytes (a hostile sparse file would fill the memory).
        """
        descriptor = self.open_file(name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", str(self.path / name))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
        if len(data) > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self.path / name))
        return data, status

    def replace(self, name: str, content: bytes = b"") -> None:
        """Replace the file ``name`` by a new one with mode 0644, in one rename. Raises OSError."""
        new = f"{NEW}{secrets.token_hex(8)}"
        with create_file(self.path / new, 0o644, above=self.descriptor) as descriptor:
            write_all(descriptor, content)
        (source, above), (target, _) = self.at(new), self.at(name)
        try:
            os.replace(source, target, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            _unlink(self.path / new, self.descriptor)
            raise

    def remove(self, name: str) -> None:
        """Delete the file ``name`` if ``name`` exists. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            _unlink(self.path / name, self.descriptor)

    def names(self) -> list[str]:
        """Return the names in this directory, in no particular order. Raises OSError."""
        return os.listdir(self.where)

    def close(self) -> None:
        """Close the descriptor; further calls do nothing."""
        # Clear it first: after Ctrl-C in between, a second call would close other code's file.
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def close_all(descriptors: Iterable[int]) -> None:
    """Close ``descriptors`` that were only read from; skip negative numbers.

    One call closes consecutive numbers where the system has close_range(2). Errors are ignored.
    """
    first = last = -1
    for descriptor in sorted(descriptors):
        if descriptor < 0:
            continue
        if first >= 0 and descriptor != last + 1:
            os.closerange(first, last + 1)
            first = -1
        first, last = (descriptor if first < 0 else first), descriptor
    if first >= 0:
        os.closerange(first, last + 1)


def create(path: str | Path, mode: int, above: int | None = None) -> int:
    """Create the file ``path`` with exactly ``mode``; return a descriptor for writing.

    ``above``: the descriptor of the directory for which ``path`` counts, or None. The caller closes
    the descriptor. The mode is set again only if the umask or a default ACL changed it: on a file
    server, that is one request less for nearly all files. Raises OSError.
    """
    if not hasattr(os, "fchmod"):
        return os.open(path, CREATE, 0o600, dir_fd=above)
    descriptor = os.open(path, CREATE, mode, dir_fd=above)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        os.unlink(path, dir_fd=above)
        raise
    return descriptor


@contextmanager
def create_file(
    path: Path, mode: int, mtime: int | None = None, *, above: int | None = None
) -> Iterator[int]:
    """Create ``path``, which must not exist, yield a descriptor for writing, and close it.

    ``above``: the descriptor of the directory that gets the file; None: the parent of ``path``.
    The file gets exactly ``mode``, independent of the umask and the default ACL, and ``mtime``
    (seconds). An incomplete file is deleted. Raises OSError, FileExistsError included, and also
    the errors of close (EDQUOT on network file systems).
    """
    descriptor = create(path if above is None else path.name, mode, above)
    try:
        try:
            yield descriptor
            if mtime is not None:
                set_time(descriptor, path, mtime)
        finally:
            os.close(descriptor)
    except BaseException:
        _unlink(path, above)
        raise


def _unlink(path: Path, above: int | None) -> None:
    os.unlink(path if above is None else path.name, dir_fd=above)


def replace_file(path: Path, data: bytes, mode: int, gid: int = -1) -> None:
    """Replace ``path`` by a new file with exactly ``mode``, in one rename.

    ``gid``: the new file's group; -1: the default. The old file is unchanged. Raises OSError.
    """
    new = path.with_name(f"{NEW}{secrets.token_hex(8)}")
    with create_file(new, mode) as descriptor:
        if gid != -1 and hasattr(os, "fchown"):
            os.fchown(descriptor, -1, gid)
        write_all(descriptor, data)
    try:
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def set_time(descriptor: int, path: str | Path, mtime: int) -> None:
    """Set the modification time (seconds) of a file that the caller just created.

    The access time becomes the present time: programs that delete old files compare the access
    time. Raises OSError.
    """
    times = (time.time_ns(), mtime * 10**9)
    os.utime(descriptor if os.utime in os.supports_fd else path, ns=times)


def has_time(status: os.stat_result, mtime: int) -> bool:
    """Return whether ``status`` has exactly the modification time ``mtime`` (seconds).

    ``set_time`` sets whole seconds, so the nanoseconds reveal an edit within the same second.
    """
    return status.st_mtime_ns == mtime * 10**9


def make_directory(
    path: Path, mode: int, group: int | None = None, *, keep_access_lists: bool = False
) -> None:
    """Make the directory ``path`` with exactly ``mode`` and, if given, the group ``group``.

    The directory never has narrower permissions, because another run may use it at once. Access
    lists from the parent are deleted unless ``keep_access_lists`` is true: one that denies access
    to the group would take precedence over the mode. Raises OSError.
    """
    if not hasattr(os, "fchmod"):
        path.mkdir()
        return
    mask = os.umask(0)
    try:
        os.mkdir(path, mode & 0o1777)
    finally:
        os.umask(mask)
    descriptor = os.open(path, DIRECTORY)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (os.geteuid(), *trust.NOBODY):
            if mapped_owner(path.parent) == owner:  # made here: the file server gave it away
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            raise FileExistsError(errno.EEXIST, "Another user made this directory first", str(path))
        _set(descriptor, mode, group, drop=not keep_access_lists)
    finally:
        os.close(descriptor)


def set_directory(
    path: Path, mode: int, group: int | None = None, *, drop_access_lists: bool = False
) -> None:
    """Set exactly ``mode`` and, if given, ``group`` on the directory ``path`` of this user.

    ``drop_access_lists``: delete its POSIX ACLs. Raises OSError, ENOTDIR or ELOOP for a symlink.
    """
    if not hasattr(os, "fchmod"):
        return
    descriptor = os.open(path, DIRECTORY)
    try:
        _set(descriptor, mode, group, drop=drop_access_lists)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int, group: int | None = None) -> None:
    """Make ``path`` or set its mode and group; delete its POSIX ACLs. Raises OSError."""
    try:
        make_directory(path, mode, group)
    except FileExistsError:
        set_directory(path, mode, group, drop_access_lists=True)


def _set(descriptor: int, mode: int, group: int | None, *, drop: bool) -> None:
    # By descriptor: anyone who can rename a directory above could lead a path to another file.
    if group is not None and os.fstat(descriptor).st_gid != group:
        os.fchown(descriptor, -1, group)
    if drop and hasattr(os, "removexattr"):
        for name in access_lists.POSIX, access_lists.POSIX_DEFAULT:
            with contextlib.suppress(OSError):  # ENODATA: no ACL; EOPNOTSUPP: no ACLs at all
                os.removexattr(descriptor, name)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.fchmod(descriptor, mode)


def clone(source: int, target: int) -> None:
    """Make the empty file ``target`` share all extents of ``source`` (ioctl_ficlone(2)).

    Raises OSError; many errors mean that these two files cannot share (``TRY_NEXT`` in linker).
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, "This system has no reflinks")
    fcntl.ioctl(target, _FICLONE, source)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, by several write(2) calls where one writes less. Raises OSError."""
    view = memoryview(data)
    while view:
        if not (written := os.write(descriptor, view)):
            raise OSError(errno.EIO, "The system wrote nothing, and gave no error")
        view = view[written:]
