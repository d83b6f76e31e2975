"""Facts about the machine: its name, its processors and processes, the clocks of its disks."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path


def _name() -> str:
    """Return a name for the space of process numbers to which this process belongs.

    Machines and containers can have the same host name. The name therefore also contains the boot
    ID and the PID namespace, since the same number is another process there.
    """
    parts = [socket.gethostname()[:20]]
    with suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8])
    with suppress(OSError):
        parts.append(re.sub(r"\D", "", os.readlink("/proc/self/ns/pid")))
    return re.sub(r"[^A-Za-z0-9]", "", "".join(parts))


#: The name of this machine in temporary names, by which a later run finds a killed run's files.
HOST = _name()

#: Whether a child process can inherit descriptors (pass_fds of subprocess).
HANDS_ON_DESCRIPTORS = os.name == "posix"

_STALE = 6 * 3600  # seconds


def can_fork() -> bool:
    """Return whether worker processes can be forked (fork(2)), which is true only on Linux.

    Other systems have no fork, or their libraries do not work after a fork (macOS).
    """
    return sys.platform == "linux"


def cpus() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_start_threads(threads: int) -> bool:
    """Return whether this process can start this number of additional ``threads``.

    Threads count like processes for RLIMIT_NPROC and for the pids.max of a control group. These
    limits cannot be read reliably, so the function starts the threads and waits for their end.
    """
    end = threading.Event()
    started = [threading.Thread(target=end.wait) for _ in range(threads)]
    try:
        for thread in started:
            thread.start()
    except (RuntimeError, MemoryError):
        return False
    finally:
        end.set()
        for thread in started:
            if thread.ident is not None:
                thread.join()
    return True


def can_open_pairs(pairs: int) -> bool:
    """Return whether this process can open this number of ``pairs`` of files (RLIMIT_NOFILE)."""
    opened: list[int] = []
    try:
        while len(opened) < 2 * pairs:
            opened += os.pipe()
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


def wait_for(process: int) -> None:
    """Wait until the child ``process`` has ended."""
    try:
        os.waitpid(process, 0)
    except ChildProcessError:  # SIGCHLD is ignored (inherited): no status is left
        return


def alive(pid: int) -> bool:
    """Return whether a process ``pid`` other than this one runs on this machine."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: os.kill(pid, 0) would kill the process
    if pid == os.getpid():
        return False  # a file with this number that is not in use is from an earlier process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:
        # proc_pid_stat(5): the state follows the last ")". A killed process whose parent does not
        # wait (a container without an init) stays a zombie.
        # Bytes: the program's name before the ")" can have any encoding.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except (OSError, IndexError):
        return True


def unloadable_because(path: Path | str) -> str:
    """Return why no library at ``path`` can be loaded and no program run; "" where both work.

    The reason is the mount option noexec (mount(8)). Raises OSError.
    """
    if hasattr(os, "statvfs") and os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
        return "libraries cannot be loaded from a file system that is mounted noexec"
    return ""


def device_of(path: str) -> int:
    """Return the device number (st_dev) of ``path``, or of its nearest existing parent; else 0."""
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            above = os.path.dirname(path)
            if above == path:
                return 0
            path = above


def file_system_time(directory: Path) -> float:
    """Return the present time (seconds since the epoch) by the clock of files in ``directory``.

    The clock of a file server or of another host can differ by hours from the clock of this host.
    Return this host's time where no file can be made in ``directory``.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def is_stale(directory: Path, changed: float) -> bool:
    """Return whether what was last ``changed`` (seconds) in ``directory`` is hours old by now.

    The processes of another machine, and of this machine before it was started again, cannot be
    asked. What such a process left is in nobody's use after some hours, by the clock of the file
    system.
    """
    return file_system_time(directory) - changed > _STALE
