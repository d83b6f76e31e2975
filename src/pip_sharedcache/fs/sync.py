"""Durability of the files that this process wrote, and of no others.

syncfs(2) is the cheapest call for many files. But syncfs(2) waits for the data of all users of the
file system, and reports their failed writes, too. So a child process calls it, for a limited time.

XFS, and ext4 with a journal, do not need syncfs(2) for few files, or while much data still waits
for the disk: this process writes the data of each file and waits for the data, then one fsync(2)
makes the metadata of all files durable. On other file systems, each file is synced by itself if
syncfs(2) fails or takes too long. (START_SYNC, by which btrfs commits a transaction without
the data of other users, sometimes begins only at the next periodic commit, half a minute later.)
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.fs import libc
from pip_sharedcache.fs.dirfd import BINARY, NO_SPACE_ERRORS, NOT_A_LINK, PROCESS_ERRORS, close_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

#: struct fiemap: the whole file, FIEMAP_FLAG_SYNC, no array of extents.
_FIEMAP, _WHOLE_FILE = 0xC020660B, struct.pack("=QQLLLL", 0, (1 << 64) - 1, 1, 0, 0, 0)
_SYNC_FILE_RANGE_WRITE = 2

_THREADS = 8
_AHEAD = 64  # files whose data the system may write while this process waits for the first one
_MANY = 1000  # files: a child process that calls syncfs(2) uses less processor time from here on
_LITTLE = 256 << 20  # bytes that every disk writes soon
_PATIENCE = 2.0  # seconds for which syncfs(2) may wait for the data of all users
_MOST = 5.0  # seconds for which an installation may sync its files one by one
_PROGRAMS = ("/usr/bin/sync", "/bin/sync")

_READ = os.O_RDONLY | BINARY | NOT_A_LINK


def flush(path: str) -> None:
    """Make one file of this user durable (fsync(2)). Raises OSError."""
    # Windows flushes only a file that is open for writing; no mode 0444 prevents that there.
    with _opened(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY) as descriptor:
        _flush(descriptor, path)


def _flush(descriptor: int, path: str) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: this kind of file needs no sync
            raise OSError(error.errno, error.strerror, path) from None


def begin_to_flush(descriptor: int, start: int, size: int) -> None:
    """Start to write ``size`` bytes from ``start`` on to the disk, without waiting for the end.

    The later call that makes the file durable then takes less time. Without sync_file_range(2),
    Linux starts to write for POSIX_FADV_DONTNEED, and drops only pages that it has written. Never
    raises, since no result depends on this call.
    """
    start_to_write = _sync_file_range()
    if start_to_write is not None:
        start_to_write(descriptor, start, size, _SYNC_FILE_RANGE_WRITE)
    elif hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def _sync_file_range() -> Callable[..., int] | None:
    return libc.c_function("sync_file_range", "i", "q", "q", "I")


def synchronise(
    directory: str | Path, files: Iterable[str | Path], patience: float | None = None
) -> None:
    """Make ``files`` durable, which this process wrote to the file system of ``directory``.

    Earlier changes by this process to directories there become durable, too. ``patience``: seconds
    after which the function, where it syncs files one by one, leaves the rest to the system; None:
    no limit.

    Raises OSError for one of ``files`` (EDQUOT and ENOSPC may arrive only here), never for files
    of other processes.
    """
    paths = [str(path) for path in files]
    if not paths:
        return
    journal = _is_in_journal(paths[-1])
    in_child = not journal or (len(paths) >= _MANY and _waiting_for_disks() < _LITTLE)
    if in_child and _sync_in_child(directory):
        return
    if not journal or not (_write_out(paths) and _commit_journal(paths[-1])):
        _flush_all(paths, patience)


def flush_placed(paths: Iterable[str]) -> bool:
    """Make durable the files that this process placed at ``paths``; return False after an error.

    The files can be on several file systems; the time is limited. An error causes a warning only:
    the files are in place, and pip does not sync the files that it installs.
    """
    devices: dict[str, int] = {}
    on: dict[int, list[str]] = {}
    try:
        for path in paths:
            directory = os.path.dirname(path)
            if directory not in devices:
                devices[directory] = os.stat(directory).st_dev
            on.setdefault(devices[directory], []).append(path)
        for some in on.values():
            synchronise(os.path.dirname(some[-1]), some, _MOST)
    except OSError as error:
        logger.warning(
            "%s cannot be made durable: %s; the file is installed, but may be incomplete after a "
            "crash of this machine",
            error.filename,
            reason(error),
        )
        return False
    return True


def _write_out(paths: Sequence[str]) -> bool:
    """Write the data of the files ``paths`` to the disk, and wait for the end.

    Their metadata is not durable yet. Return False where the system cannot do this. Raises OSError
    for one of the files.
    """
    start = _sync_file_range()
    begun: deque[tuple[int, str]] = deque()

    def finish() -> None:
        # FIEMAP_FLAG_SYNC also works where sync_file_range(2) cannot be called.
        fcntl.ioctl(begun[0][0], _FIEMAP, _WHOLE_FILE)
        os.close(begun.popleft()[0])

    try:
        for path in paths:
            try:
                descriptor = os.open(path, _READ)
            except FileNotFoundError:
                continue  # this run deleted the file again
            begun.append((descriptor, path))
            if start is not None:
                start(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)
            if start is None or len(begun) >= _AHEAD:
                finish()
        while begun:
            finish()
    except OSError as error:
        if error.filename is None and (error.errno == errno.EIO or error.errno in NO_SPACE_ERRORS):
            raise OSError(error.errno, error.strerror, begun[0][1]) from None
        if error.filename is None or error.errno in PROCESS_ERRORS:
            return False
        raise
    finally:
        close_all(descriptor for descriptor, _ in begun)
    return True


def _is_in_journal(path: str) -> bool:
    """Return whether one fsync(2) makes all metadata in the file system of ``path`` durable."""
    try:
        return fcntl is not None and _has_journal(os.lstat(path).st_dev)
    except OSError:
        return False


def _commit_journal(path: str) -> bool:
    """Change the file ``path`` and sync it, so that the journal is written up to this change.

    Return False where the times of the file cannot be set. Raises OSError.
    """
    with _opened(path) as descriptor:
        status = os.fstat(descriptor)
        try:
            os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
        except OSError:
            return False
        _flush(descriptor, path)
    return True


def _waiting_for_disks() -> int:
    """Return how many bytes this machine still has to write to its disks; 0 where unknown."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(size) << 10 for size in re.findall(r"^(?:Dirty|Writeback): *(\d+)", text, re.M))


@functools.cache
def _has_journal(device: int) -> bool:
    """Return whether ``device`` (st_dev) is XFS, or ext4 with a journal, according to sysfs."""
    with suppress(OSError, AttributeError):
        number = f"{os.major(device)}:{os.minor(device)}"
        name = os.path.basename(os.readlink(f"/sys/dev/block/{number}"))
        if os.path.isdir(f"/sys/fs/xfs/{name}"):
            return True
        task = Path(f"/sys/fs/ext4/{name}/journal_task").read_text(encoding="ascii")
        return re.fullmatch(r"\d+\s*", task) is not None
    return False


def _sync_in_child(directory: str | Path) -> bool:
    """Call syncfs(2) in a child process; return whether it succeeded within _PATIENCE seconds.

    The child process may wait for the data of other users longer than this process waits. The
    failed write of any user makes the result False.
    """
    program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
    if program is None or sys.platform != "linux":
        return False
    try:
        child = subprocess.Popen(
            (program, "-f", os.path.abspath(directory)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    try:
        return child.wait(_PATIENCE) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if child.poll() is None:
            child.kill()
            # The child ends when the disk answers: a wait could block. The value 0 prevents
            # Popen's warning; init reaps the child.
            child.returncode = 0


def _flush_all(paths: Sequence[str], patience: float | None) -> None:
    """Sync each of ``paths`` by itself, several at a time: one write can serve several calls.

    ``patience``: seconds after which the function begins no further file; None: no limit. Raises
    OSError, the first one.
    """
    until = None if patience is None else time.monotonic() + patience

    def some(first: int) -> None:
        for path in paths[first::_THREADS]:
            if until is not None and time.monotonic() > until:
                return
            with suppress(FileNotFoundError):  # this run deleted the file again
                flush(path)

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(some, range(min(_THREADS, len(paths)))):
                pass
    except RuntimeError:  # no thread can be started here
        for first in range(_THREADS):
            some(first)


@contextmanager
def _opened(path: str, how: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, how | BINARY | NOT_A_LINK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
