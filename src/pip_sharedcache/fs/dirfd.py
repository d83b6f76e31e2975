"""Files and directories by descriptor: opened without following links, created with their modes.

Where the system has no directory descriptors (Windows) a directory is held by its path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.trust import access_lists

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd

_CLOEXEC, _NOFOLLOW = getattr(os, "O_CLOEXEC", 0), getattr(os, "O_NOFOLLOW", 0)
BINARY, _DIRECTORY = getattr(os, "O_BINARY", 0), getattr(os, "O_DIRECTORY", 0)
# A FIFO put in place of a file would otherwise hang its reader at open.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
#: Never through a symlink, and no waiting for a FIFO.
NOT_A_LINK = _NOFOLLOW | _NONBLOCK | _CLOEXEC

#: Flags for a file of our own: new, never through what is there already.
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC | BINARY

#: How the name of a file begins that is to replace another one.
NEW = ".new-"

#: Flags for a directory held open, never one that a symlink leads to.
DIRECTORY = os.O_RDONLY | _DIRECTORY | _NOFOLLOW | _CLOEXEC

#: The same, where the path to it is the administrator's choice, links in it included.
FOLLOWED_DIRECTORY = os.O_RDONLY | _DIRECTORY | _CLOEXEC

#: A disk or a file server fails (EBADMSG, EUCLEAN: a checksum or a structure of the file system is
#: wrong), which may pass.
DISK_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "EBADMSG", "EUCLEAN")
    if hasattr(errno, name)
)
#: Errors of this process or machine, not of the file that was to be opened.
PROCESS_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

#: Errors of a file system that is full, or full for this user.
NO_SPACE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})

_BLOCK = 1 << 20  # bytes
_FICLONE = 0x40049409  # ioctl_ficlone(2)


class Directory:
    """A directory held open, so that what is checked and what is used are the same one.

    Owns its descriptor: close it, or use it as a context manager.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self.descriptor = descriptor
        self.device = self.status().st_dev

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open ``path``, following links in it (its parents are the administrator's choice).
        Raises OSError."""
        if not BY_DESCRIPTOR:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
            return cls(path, None)
        return cls(path, os.open(path, FOLLOWED_DIRECTORY))

    def subdirectory(self, name: str) -> Directory:
        """Open the directory ``name`` in this one, never through a symlink. Raises OSError."""
        if self.descriptor is None:
            return Directory.open(self.path / name)
        return Directory(self.path / name, os.open(name, DIRECTORY, dir_fd=self.descriptor))

    def make(self, name: str, mode: int) -> Directory:
        """Make the directory ``name`` in this one, where it is missing, as the umask lets it, and
        open it. Raises OSError."""
        with contextlib.suppress(FileExistsError):  # by another run of ours
            os.mkdir(
                self.path / name if self.descriptor is None else name, mode, dir_fd=self.descriptor
            )
        return self.subdirectory(name)

    @property
    def proc_path(self) -> Path:
        """A path to this very directory while it is held, for this process and those it forks: who
        may rename it could put a link in place of its name. Its name where there is none."""
        by_number = Path(f"/proc/self/fd/{self.descriptor}")  # of another process: often closed
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(by_number), self.status()):
                return by_number
        return self.path

    def set_mode(self, mode: int) -> None:
        """Give the directory, which is our own, exactly ``mode``. Raises OSError."""
        if self.descriptor is None:
            set_directory(self.path, mode)
        else:
            os.fchmod(self.descriptor, mode)

    @property
    def where(self) -> int | Path:
        """The directory itself, for a system call: its descriptor, or its path."""
        return self.path if self.descriptor is None else self.descriptor

    def status(self) -> os.stat_result:
        """fstat of the directory itself."""
        return os.stat(self.where)

    def open_file(self, name: str) -> int:
        """A descriptor for reading the file ``name`` ("/" separated), which the caller closes.
        A symlink as last component is refused (ELOOP), a FIFO does not block."""
        flags = os.O_RDONLY | _NOFOLLOW | _NONBLOCK | _CLOEXEC | BINARY
        if self.descriptor is None:
            return os.open(self.path / name, flags)
        return os.open(name, flags, dir_fd=self.descriptor)

    def file_status(self, name: str) -> os.stat_result:
        """lstat of ``name`` in this directory."""
        if self.descriptor is None:
            return os.lstat(self.path / name)
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def read(self, name: str, limit: int = 1 << 20) -> tuple[bytes, os.stat_result]:
        """The whole content of a regular file, and the status of the very file that was read.

        Raises OSError: EINVAL where it is no regular file, EFBIG where it has over ``limit``
        bytes (a hostile sparse file would take all memory).
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
        """Put a new file of ours that all may read in the place of ``name``, by one rename.
        Raises OSError."""
        new, at = f"{NEW}{secrets.token_hex(8)}", self.descriptor
        with create_file(self.path / new, 0o644, above=at) as descriptor:
            write_all(descriptor, content)
        names = (new, name) if at is not None else (self.path / new, self.path / name)
        os.replace(*names, src_dir_fd=at, dst_dir_fd=at)

    def remove(self, name: str) -> None:
        """Unlink the file ``name``; it may be gone already. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            _unlink(self.path / name, self.descriptor)

    def names(self) -> list[str]:
        """The names in this directory, in no order."""
        return os.listdir(self.where)

    def close(self) -> None:
        """Give the descriptor back; further calls do nothing."""
        # Forgotten first: interrupted in between, a second call must not close somebody else's.
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors of our own that were only read from; negative numbers stand for none.
    Neighbours are closed by one call where the system has close_range(2)."""
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


@contextmanager
def create_file(
    path: Path, mode: int, mtime: int | None = None, *, above: int | None = None
) -> Iterator[int]:
    """Create ``path`` (it must not exist) and yield a descriptor for writing it; where ``above``
    is given, in the directory held open as that.

    The file gets exactly ``mode`` whatever umask and default ACL say, and ``mtime`` (seconds).
    A file that could not be completed is removed. Raises OSError, FileExistsError included;
    errors at close (EDQUOT on network file systems) are raised too.
    """
    descriptor = os.open(path if above is None else path.name, CREATE, 0o600, dir_fd=above)
    try:
        try:
            yield descriptor
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
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
    """Put a new file of our own in the place of ``path``, at once, with exactly ``mode``, and the
    group ``gid`` if one is given: what was there is not written to. Raises OSError."""
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


def finish_file(path: Path, mode: int, mtime: int) -> None:
    """Give a file that a child of ours has just made exactly ``mode`` and ``mtime`` (seconds).
    Raises OSError, ELOOP for a symlink."""
    descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW | _CLOEXEC | BINARY)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        set_time(descriptor, path, mtime)
    finally:
        os.close(descriptor)


def set_time(descriptor: int, path: str | Path, mtime: int) -> None:
    """Set the modification time (seconds) of a file that the caller has just created. Its access
    time stays that of now: what clears old files away goes by that."""
    times = (time.time_ns(), mtime * 10**9)
    os.utime(descriptor if os.utime in os.supports_fd else path, ns=times)


def has_time(status: os.stat_result, mtime: int) -> bool:
    """Whether ``status`` is of a file with exactly the modification time ``mtime`` (seconds), as
    ``set_time`` sets it: an edit soon after leaves it within the same second."""
    return status.st_mtime_ns == mtime * 10**9


def make_directory(
    path: Path, mode: int, group: int | None = None, *, keep_access_lists: bool = False
) -> None:
    """Create the directory ``path`` with exactly ``mode`` and, where given, group ``group``.

    Nobody sees it with narrower permissions in between: a neighbour who finds it may use it at
    once. Access lists inherited from the parent are dropped unless asked for: one that denies the
    group would go on denying it whatever the mode says. Raises OSError.
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
        if os.fstat(descriptor).st_uid not in (os.geteuid(), *trust.NOBODY):
            raise FileExistsError(errno.EEXIST, "Somebody else's lies there by now", str(path))
        _set(descriptor, mode, group, drop=not keep_access_lists)
    finally:
        os.close(descriptor)


def set_directory(
    path: Path, mode: int, group: int | None = None, *, drop_access_lists: bool = False
) -> None:
    """Give our own directory ``path`` exactly ``mode``, and ``group``; ``drop_access_lists``: and
    no POSIX ACLs. Raises OSError, ENOTDIR or ELOOP for a symlink."""
    if not hasattr(os, "fchmod"):
        return
    descriptor = os.open(path, DIRECTORY)
    try:
        _set(descriptor, mode, group, drop=drop_access_lists)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, mode: int, group: int | None = None) -> None:
    """make_directory, or set_directory where there is one already; without POSIX ACLs. Raises
    OSError."""
    try:
        make_directory(path, mode, group)
    except FileExistsError:
        set_directory(path, mode, group, drop_access_lists=True)


def make_parents(directory: Path, make: Callable[[Path], None]) -> None:
    """Have ``make`` make ``directory`` and those above it that are missing, from the top."""
    if not directory.is_dir():
        make_parents(directory.parent, make)
        make(directory)


def _set(descriptor: int, mode: int, group: int | None, *, drop: bool) -> None:
    # By what is open: whoever may rename above it leads a path to a file of others meanwhile.
    if group is not None and os.fstat(descriptor).st_gid != group:
        os.fchown(descriptor, -1, group)
    if drop and hasattr(os, "removexattr"):
        for name in access_lists.POSIX, access_lists.POSIX_DEFAULT:
            with contextlib.suppress(OSError):  # ENODATA: it had none; EOPNOTSUPP: no ACLs here
                os.removexattr(descriptor, name)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.fchmod(descriptor, mode)


def clone(source: int, target: int) -> None:
    """Let the empty file ``target`` share all extents of ``source``. Raises OSError, of which many
    mean "not here" (see TRY_NEXT in link)."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "this system has no reflinks")
    fcntl.ioctl(target, _FICLONE, source)


def copy_bytes(source: int, target: int, size: int) -> int:
    """Copy up to ``size`` bytes from the start of ``source`` to ``target``; return how many.

    Inside the kernel or on the file server where the system can (copy_file_range(2), which also
    shares extents where the file system does), else through a buffer. Raises OSError.
    """
    done = 0
    in_kernel = getattr(os, "copy_file_range", None)
    while in_kernel is not None and done < size:
        try:
            step = in_kernel(source, target, min(size - done, 1 << 30))
        except OSError:  # not between these two, or a full disk, which the plain copy meets again
            break
        if step == 0:
            break  # the end, or a file system that answers so where it cannot: the read tells
        done += step
    if done < size:
        os.lseek(source, done, os.SEEK_SET)
        while done < size and (block := os.read(source, min(_BLOCK, size - done))):
            write_all(target, block)
            done += len(block)
    return done


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``: a single write(2) may take less. Raises OSError."""
    view = memoryview(data)
    while view:
        if not (written := os.write(descriptor, view)):
            raise OSError(errno.EIO, "The system wrote nothing, and gave no error")
        view = view[written:]
