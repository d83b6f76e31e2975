"""Types of the mounted file systems, as proc_pid_mountinfo(5) lists them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

#: File systems of this machine's kernel, on which the owner is the user who created the file. A
#: file server can show one user for many (``all_squash``).
_LOCAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs", "bcachefs"),
        *("jfs", "reiserfs", "ramfs"),
    }
)


def kind_of(where: int | str | Path) -> str:
    """Return the type of the file system of a descriptor or a path; "" if it is unknown.

    A symlink at the end of a path is not followed.
    """
    if isinstance(where, int):
        return _kind_of_open(where)
    try:
        opened = os.open(where, getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return ""
    try:
        return _kind_of_open(opened)
    finally:
        os.close(opened)


def is_local(where: int | str | Path) -> bool:
    """Return whether ``where`` is on a file system that is known to be of this machine's kernel."""
    return kind_of(where) in _LOCAL


def _kind_of_open(descriptor: int) -> str:
    # Search by the mount id, not by st_dev: each btrfs subvolume has another st_dev.
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except (OSError, ValueError):  # not Linux, or no procfs
        return ""
    number = next((line.split()[1] for line in text.splitlines() if line.startswith("mnt_id")), "")
    return _kind(number)


@functools.lru_cache(maxsize=64)
def _kind(mount: str) -> str:
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[0] == mount:
            return after.partition(" ")[0]
    return ""
