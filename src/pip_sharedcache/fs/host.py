"""What is asked of the machine: its name, its processors and processes, the clocks of its disks."""

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
    """The host's name, and what tells apart others that may have the same: machines since their
    last start, and containers, in which process numbers mean something else."""
    parts = [socket.gethostname()[:20]]
    with suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8])
    with suppress(OSError):
        parts.append(re.sub(r"\D", "", os.readlink("/proc/self/ns/pid")))
    return re.sub(r"[^A-Za-z0-9]", "", "".join(parts))


#: This machine, in the names of what an installation under way leaves behind if it is killed.
HOST = _name()


def can_fork() -> bool:
    """Whether a copy of this process, made by fork(2), may go on. Elsewhere than on Linux there is
    no fork, or the system's own libraries do not survive it (macOS)."""
    return sys.platform == "linux"


def cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def can_start_threads(threads: int) -> bool:
    """Return whether this process may start so many more ``threads``. They count like processes,
    for RLIMIT_NPROC as for the pids.max of a control group, whose limits cannot be read reliably:
    so the threads are started, and end before this returns."""
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
    """Return whether this process may open so many more ``pairs`` of files (RLIMIT_NOFILE)."""
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
    except ChildProcessError:  # whoever started us has SIGCHLD ignored: nothing to wait for
        return


def alive(pid: int) -> bool:
    """Whether a process ``pid`` other than this one runs on this machine."""
    if not hasattr(os, "geteuid"):
        return True  # Windows: os.kill(pid, 0) does not ask there, it kills
    if pid == os.getpid():
        return False  # what bears our number and is not in use was left by an earlier process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    try:
        # proc_pid_stat(5): the state follows the last ")". A killed process that nobody waits for
        # (a container without an init) is a zombie for good.
        # Bytes: what stands before that is the program's name, in whatever encoding.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except (OSError, IndexError):
        return True


def unloadable_because(path: Path | str) -> str:
    """Why no library at ``path`` can be loaded, nor a program run (mount(8)); "" where they can.
    Raises OSError."""
    if hasattr(os, "statvfs") and os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
        return "libraries cannot be loaded from there: it is mounted noexec"
    return ""


def device_of(path: str) -> int:
    """The file system (st_dev) in which ``path`` lies, or would if it were made; 0 where that
    cannot be told."""
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            above = os.path.dirname(path)
            if above == path:
                return 0
            path = above


def file_system_time(directory: Path) -> float:
    """The time now, in seconds since the epoch, by the clock that the times of files in
    ``directory`` come from: a file server's, or another host's, may be hours away from ours. By our
    own where no file can be made there."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()
