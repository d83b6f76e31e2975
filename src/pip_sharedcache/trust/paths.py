"""Paths, and the users other than root who can make a path lead elsewhere."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from pip_sharedcache.trust import access_lists
from pip_sharedcache.trust.mounts import mounted
from pip_sharedcache.trust.publishers import group_name, is_private_group, user_name

_MOST_LINKS = 40  # the limit of the kernel (path_resolution(7))

#: File systems with files that belong to root although another user chooses the content: for
#: example the command line of a process whose program file is not readable.
_PSEUDO = frozenset(
    {
        *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs"),
        *("mqueue", "pstore", "efivarfs", "bpf", "binfmt_misc", "fusectl", "nsfs", "selinuxfs"),
    }
)
_ROOT = frozenset({0})
_USER = re.compile(r"(?:^|,)user_id=(\d+)")


def is_root() -> bool:
    """Return whether this process runs as root; False on systems without uids."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def steps(
    path: Path, known: Mapping[Path, os.stat_result] = MappingProxyType({})
) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each directory and symlink on the absolute ``path``, with its status.

    The steps include ``path`` itself, and the targets of symlinks. ``known``: the status of steps
    that the caller has asked for already. Raise OSError if a step cannot be read, with ELOOP after
    more than 40 symlinks.
    """
    here = Path(path.anchor)
    yield here, known.get(here) or here.lstat()
    left = list(reversed(path.parts[1:]))
    links = 0
    while left:
        name = left.pop()
        if name == os.pardir:
            here = here.parent
            continue
        step = here / name
        status = known.get(step) or step.lstat()
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
    """Return whether a user other than root can replace a step of the absolute ``path``.

    A step is a directory or a symlink on the path, or ``path`` itself. True if another user owns,
    may write or may rename a step, if a file system on the path shows content that other users
    choose, or if a step cannot be read. False where owners mean nothing (Windows).
    """
    return replaceable_at(path) is not None


def replaceable_at(path: Path) -> Path | None:
    """Return the first step of the absolute ``path`` at which ``is_replaceable`` holds, or None.

    Return ``path`` itself if its steps cannot be read.
    """
    if not hasattr(os, "geteuid"):
        return None
    theirs, root = _of_others(_ROOT), _ROOT
    try:
        on_the_way = list(steps(path))
    except OSError:
        return path
    return next((step for step, it in on_the_way if _is_of_others(step, it, theirs, root)), None)


def replaceable_by(*paths: Path, owners: frozenset[int], private: bool = False) -> str:
    """Return which users except root and ``owners`` (uids) can replace one of ``paths``.

    The result is a sentence without its end, "" if there are no such users. The absolute ``paths``
    themselves are steps, as in ``is_replaceable``. ``private``: whether the private group of an
    owner counts as the owner. A step that many paths have in common is examined once.
    """
    if not hasattr(os, "geteuid"):
        return ""
    owners |= _ROOT
    theirs = _of_others(owners)
    known: dict[Path, os.stat_result] = {}
    for path in paths:
        try:
            on_the_way = [(step, it) for step, it in steps(path, known) if step not in known]
        except OSError as error:
            return f"the directories above it cannot be read: {error.strerror}"
        for step, status in on_the_way:
            if who := _who_replaces(step, status, theirs, owners, private=private):
                return who
        known.update(on_the_way)
    return ""


def _who_replaces(
    step: Path, status: os.stat_result, theirs: set[int], owners: frozenset[int], *, private: bool
) -> str:
    """Return the result of ``replaceable_by`` for one step."""
    if not _is_of_others(step, status, theirs, owners):
        return ""
    if status.st_uid not in owners:
        return f"{user_name(status.st_uid)} owns {step}"
    alone = status.st_mode & 0o022 == stat.S_IWGRP and status.st_dev not in theirs
    if private and alone and is_private_group(status.st_gid, status.st_uid):
        return ""
    listed = access_lists.foreign_publishers(step) if alone else True
    return f"{'others' if listed else f'group {group_name(status.st_gid)}'} can change {step}"


def replaceable_steps(
    path: Path, owners: frozenset[int], *, is_made: bool = True
) -> list[tuple[Path, int | None]]:
    """Return the steps above the absolute ``path`` that other users can replace.

    Other users are all except root and ``owners`` (uids). Each step comes with a gid if only the
    members of this group can replace it, else with None. ``path`` itself is no step: a user who may
    write in ``path`` cannot replace it. If the steps cannot be read, the only step is ``path``.
    ``is_made``: whether ``path`` is there; else the steps end with what is there above it.
    """
    if not hasattr(os, "geteuid"):
        return []
    owners |= _ROOT
    theirs = _of_others(owners)
    last = path
    while not is_made and last != last.parent and not os.path.lexists(last):
        last = last.parent
    try:
        on_the_way = list(steps(last))
    except OSError:
        return [(path, None)]
    if last == path:
        del on_the_way[-1]
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
    # In a sticky directory, users can rename only their own files (chmod(1)).
    return not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)


def _group_alone(
    step: Path, status: os.stat_result, theirs: set[int], owners: frozenset[int]
) -> int | None:
    """Return the gid of a directory that only its group's write bit makes replaceable, or None."""
    others = status.st_mode & stat.S_IWOTH or status.st_uid not in owners or status.st_dev in theirs
    if others or not stat.S_ISDIR(status.st_mode):
        return None
    return None if access_lists.foreign_publishers(step) else status.st_gid


def _of_others(owners: frozenset[int]) -> set[int]:
    """Return the devices (``st_dev``) of file systems whose owners are not trusted.

    These are the kernel's pseudo file systems, which show data that processes choose, and FUSE file
    systems that a user other than ``owners`` serves (fuse(4)). Both can show root as the owner of
    content that root did not write.
    """
    devices = set()
    for mount in mounted():
        served_by = _USER.search(mount.all_options)
        if mount.kind in _PSEUDO or (served_by is not None and int(served_by[1]) not in owners):
            devices.add(mount.device)
    return devices
