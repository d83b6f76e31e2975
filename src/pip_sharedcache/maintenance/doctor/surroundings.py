"""The surroundings of a store: file system, free space, quota, and the mapping of users."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.maintenance.doctor.report import DoctorReport, Finding, quoted
from pip_sharedcache.model import megabytes
from pip_sharedcache.trust import identity

_LITTLE_SPACE = 100 * 10**6  # bytes that a large wheel and its files take
_FEW_INODES = 5000  # the number of files in large distributions
_SCARCE = "a large distribution cannot be published"
_ALL_USERS = ["0", "0", "4294967295"]
_PROTECTED_HARDLINKS = Path("/proc/sys/fs/protected_hardlinks")


@dataclass(frozen=True)
class Mount:
    """A mounted file system, as proc_pid_mountinfo(5) lists it.

    ``point``: the mount point.
    ``kind``: the type of the file system.
    ``source``: the device or another source.
    ``read_only``: whether it is read-only here.
    ``view_is_read_only``: whether only this mount is read-only, not the file system.
    """

    point: str
    kind: str
    source: str
    read_only: bool
    view_is_read_only: bool


def mount_of(path: Path) -> Mount | None:
    """Return the file system of ``path``; None if the system does not list mounts.

    ``path`` must have no symlink: this function does not resolve it, because a file system can
    hang.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return None
    found: Mount | None = None
    for line in lines:
        fields = os.fsdecode(line).split(" ")
        point = _unescaped(fields[4])
        if not f"{path}/".startswith(point.rstrip("/") + "/"):
            continue
        if found is not None and len(point) < len(found.point):
            continue
        rest = fields[fields.index("-") + 1 :]
        view, whole = ("ro" in options.split(",") for options in (fields[5], rest[2]))
        found = Mount(point, rest[0], _unescaped(rest[1]), view or whole, view and not whole)
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def look_at_filesystem(report: DoctorReport, path: Path, owners: tuple[int, ...]) -> Mount | None:
    """Report the file system of the store at ``path``, its free space and the quota.

    ``owners``: the uids that can free space. Return the mount, or None. Raise OSError.
    """
    mount = mount_of(path)
    kind = mount.kind if mount else "unknown"
    view = ", read-only" if mount and mount.read_only else ""
    report.add_fact("filesystem", f"{kind}{view}", {"kind": kind, "read_only": bool(view)})
    status = os.statvfs(path)
    blocks = status.f_bfree if trust.user_id() == 0 else status.f_bavail
    inodes = status.f_ffree if trust.user_id() == 0 else status.f_favail
    counted = status.f_files > 0  # btrfs has no fixed number of inodes
    free = blocks * status.f_frsize
    text = f"{megabytes(free)}, {f'{inodes} inodes' if counted else 'inodes as needed'}"
    report.add_fact("free", text, {"bytes": free, "inodes": inodes if counted else None})
    if not view and (free < _LITTLE_SPACE or (counted and inodes < _FEW_INODES)):
        report.add(little_space(path, f"has no more than {text} free: {_SCARCE}", owners))
    quota = fs.quota(mount.source, trust.user_id()) if mount else None
    if quota is None:
        report.add_fact("quota", "the system reports none", {})
    else:
        _look_at_quota(report, path, quota)
    return mount


def _look_at_quota(report: DoctorReport, path: Path, quota: fs.Quota) -> None:
    limit = megabytes(quota.most_bytes) if quota.most_bytes else "no limit"
    inodes = str(quota.most_inodes or "no limit")
    text = (
        f"{megabytes(quota.bytes)} of {limit}, {quota.inodes} inodes of {inodes} "
        f"are used by {trust.user_name(trust.user_id())}"
    )
    report.add_fact("quota", text, quota._asdict())
    little = quota.most_bytes and quota.most_bytes - quota.bytes < _LITTLE_SPACE
    few = quota.most_inodes and quota.most_inodes - quota.inodes < _FEW_INODES
    if little or few:
        report.add(little_space(path, f"leaves little of your quota, {text}: {_SCARCE}", ()))


def little_space(path: Path, what: str, owners: tuple[int, ...]) -> Finding:
    """Return the finding that the file system of ``path`` has little or no free space.

    ``what``: the problem, in words that follow the name of the file system.
    """
    return Finding(
        "free-space",
        f"The file system of {path} {what}",
        "pip-sharedcache store gc --older-than 30d",
        owners,
        unfixed="the entries to delete are your choice",
    )


def read_only_mount(mount: Mount, path: Path) -> Finding:
    """Return the finding that a read-only mount prevents writing to the store at ``path``.

    The modes of the store let this user write.
    """
    how = "remount,bind,rw" if mount.view_is_read_only else "remount,rw"
    return Finding(
        "read-only",
        f"{path} is mounted read-only at {mount.point}: nothing can be published",
        f"mount -o {how} {quoted(mount.point)}",
        (0,),
        unfixed="the administrator decides how file systems are mounted",
    )


def look_at_users(report: DoctorReport) -> None:
    """Report the user of this process, the mapping of users, the umask and protected hard links."""
    uid = trust.user_id()
    report.add_fact("user", trust.user_name(uid), uid)
    umask = trust.current_umask()
    report.add_fact(
        "umask", f"{umask:04o} (for files that you install; the store does not depend on it)"
    )
    mapped = users_are_mapped()
    text = "only some users (a user namespace)" if mapped else "all users"
    report.add_fact("id-mapping", text, mapped)
    if hidden := identity.hidden_because():
        report.add_finding(
            "owners",
            f"File owners cannot be known, since {hidden}: no publisher is trusted",
            "pip-sharedcache store doctor",
            unfixed="start pip-sharedcache without that",
        )
    protected = protected_hardlinks()
    meaning = {
        True: "1, users can hard-link their own files only",
        False: "0",
        None: "not on this system",
    }
    report.add_fact("protected-hardlinks", meaning[protected], protected is True)


def users_are_mapped() -> bool:
    """Return whether this process is in a user namespace that hides some users.

    All hidden owners are shown as one overflow uid (user_namespaces(7)).
    """
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _ALL_USERS
    except OSError:
        return False  # this system has no user namespaces


def protected_hardlinks() -> bool | None:
    """Return whether fs.protected_hardlinks is set (proc_sys_fs(5)); None if it does not exist."""
    try:
        return _PROTECTED_HARDLINKS.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return None
