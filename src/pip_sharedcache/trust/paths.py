"""The way to a file or directory, and who but root could make it lead elsewhere."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pip_sharedcache.trust import access_lists

_MOST_LINKS = 40  # as the kernel has it (path_resolution(7))
_MOUNTS = Path("/proc/self/mountinfo")

#: File systems whose files belong to root and say what somebody else chose: the command line of a
#: program that nobody may read, for one.
_PSEUDO = frozenset(
    {
        *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs"),
        *("mqueue", "pstore", "efivarfs", "bpf", "binfmt_misc", "fusectl", "nsfs", "selinuxfs"),
    }
)
_ROOT = frozenset({0})
_USER = re.compile(r"(?:^|,)user_id=(\d+)")


def is_root() -> bool:
    """Whether this process is root's; False where there is no such account."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything that is passed on the way to the absolute ``path``, that itself included: each
    directory and each link, and where those lead. Raises OSError, ELOOP for links in a circle."""
    here = Path(path.anchor)
    yield here, here.lstat()
    left = list(reversed(path.parts[1:]))
    links = 0
    while left:
        name = left.pop()
        if name == os.pardir:
            here = here.parent
            continue
        step = here / name
        status = step.lstat()
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = Path(os.readlink(step))
        if target.is_absolute():
            here = Path(target.anchor)
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def is_replaceable(path: Path) -> bool:
    """Whether anybody but root owns, may write or may rename something on the way to the absolute
    ``path``, that itself included, or whether a file system on the way shows what others choose.

    True where that cannot be found out; False where owners mean nothing (Windows)."""
    return replaceable_at(path) is not None


def replaceable_at(path: Path) -> Path | None:
    """The first step on the way to the absolute ``path`` at which ``is_replaceable`` holds."""
    if not hasattr(os, "geteuid"):
        return None
    theirs, root = _of_others(_ROOT), _ROOT
    try:
        on_the_way = list(steps(path))
    except OSError:
        return path
    return next((step for step, it in on_the_way if _is_of_others(step, it, theirs, root)), None)


def replaceable_steps(path: Path, owners: frozenset[int]) -> list[tuple[Path, int | None]]:
    """Each step on the way to the absolute ``path`` at which somebody else than root and
    ``owners`` (uids) may put another directory in its place; with the gid of the group, where only
    the members of that may. ``path`` itself is not looked at: who may write in it cannot exchange
    it."""
    if not hasattr(os, "geteuid"):
        return []
    owners |= _ROOT
    theirs = _of_others(owners)
    try:
        on_the_way = list(steps(path))[:-1]
    except OSError:
        return [(path, None)]
    return [
        (step, _group_alone(step, status, theirs, owners))
        for step, status in on_the_way
        if _is_of_others(step, status, theirs, owners)
    ]


def _is_of_others(
    step: Path, status: os.stat_result, theirs: set[int], owners: frozenset[int]
) -> bool:
    if status.st_uid not in owners or status.st_dev in theirs:
        return True
    if stat.S_ISLNK(status.st_mode):
        return False
    if access_lists.foreign_writers(step, status.st_mode):
        return True
    if not status.st_mode & 0o022:
        return False
    # In a sticky directory only what is one's own can be renamed (chmod(1)).
    return not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)


def _group_alone(
    step: Path, status: os.stat_result, theirs: set[int], owners: frozenset[int]
) -> int | None:
    """The group of a directory that is of others for its group's write bit alone."""
    others = status.st_mode & stat.S_IWOTH or status.st_uid not in owners or status.st_dev in theirs
    if others or not stat.S_ISDIR(status.st_mode):
        return None
    return None if access_lists.foreign_publishers(step) else status.st_gid


def _of_others(owners: frozenset[int]) -> set[int]:
    """The devices of file systems that show as root's what is not: those of the kernel's own that
    pass on what processes say, and those that a program of somebody else than ``owners`` serves
    (fuse(4))."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux, or no procfs: then nothing leads into one, either
        return set()
    devices = set()
    for line in lines:
        # proc_pid_mountinfo(5): what varies in number ends with a dash.
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        served_by = _USER.search(options.rpartition(" ")[2])
        if kind in _PSEUDO or (served_by is not None and int(served_by[1]) not in owners):
            major, _, minor = before.split()[2].partition(":")
            devices.add(os.makedev(int(major), int(minor)))
    return devices
