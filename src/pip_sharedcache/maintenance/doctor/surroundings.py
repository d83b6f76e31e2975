"""The surroundings of a store: file system, free space, quota, and the mapping of users."""

from __future__ import annotations

import os
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.maintenance.doctor.report import DoctorReport
from pip_sharedcache.model import megabytes
from pip_sharedcache.trust import identity
from pip_sharedcache.trust.mounts import Mount, mounted

_LITTLE_SPACE = 100 * 10**6  # bytes that a large wheel and its files take
_FEW_INODES = 5000  # the number of files in large distributions
_SCARCE = "a large distribution cannot be published"
_PROTECTED_HARDLINKS = Path("/proc/sys/fs/protected_hardlinks")


def mount_of(path: Path) -> Mount | None:
    """Return the file system of ``path``; None if the system does not list mounts.

    ``path`` must have no symlink: this function does not resolve it, because a file system can
    hang.
    """
    above = [one for one in mounted() if f"{path}/".startswith(one.point.rstrip("/") + "/")]
    # The last of several at one place hides the others.
    return max(reversed(above), key=lambda one: len(one.point), default=None)


def look_at_filesystem(report: DoctorReport, path: Path, owners: tuple[int, ...]) -> Mount | None:
    """Report the file system of the store at ``path``, its free space and the quota.

    ``owners``: the uids that can free space. Return the mount, or None. Raise OSError.
    """
    mount = mount_of(path)
    kind = mount.kind if mount else "unknown"
    read_only = mount is not None and mount.read_only
    text = f"{kind}{', read-only' if read_only else ''}"
    report.add_fact("filesystem", text, {"kind": kind, "read_only": read_only})
    status = os.statvfs(path)
    root = trust.user_id() == 0
    free = (status.f_bfree if root else status.f_bavail) * status.f_frsize
    # btrfs has no fixed number of inodes.
    inodes = (status.f_ffree if root else status.f_favail) if status.f_files else None
    text = f"{megabytes(free)}, {'inodes as needed' if inodes is None else f'{inodes} inodes'}"
    report.add_fact("free", text, {"bytes": free, "inodes": inodes})
    if not read_only and (free < _LITTLE_SPACE or (inodes is not None and inodes < _FEW_INODES)):
        add_little_space(report, path, f"has no more than {text} free: {_SCARCE}", owners)
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
        add_little_space(report, path, f"leaves little of your quota, {text}: {_SCARCE}", ())


def add_little_space(report: DoctorReport, path: Path, what: str, owners: tuple[int, ...]) -> None:
    """Report that the file system of ``path`` has little or no free space.

    ``what``: the problem, in words that follow the name of the file system.
    """
    sentence = f"The file system of {path} {what}"
    command = "pip-sharedcache store gc --older-than 30d"
    left = "the entries to delete are your choice"
    report.add_finding("free-space", sentence, command, left, owners)


def look_at_users(report: DoctorReport) -> None:
    """Report the user of this process, the mapping of users, the umask and protected hard links."""
    uid = trust.user_id()
    report.add_fact("user", trust.user_name(uid), uid)
    note = "for files that you install; the store does not depend on it"
    report.add_fact("umask", f"{trust.current_umask():04o} ({note})")
    mapped = identity.users_are_mapped()
    text = "only some users (a user namespace)" if mapped else "all users"
    report.add_fact("id-mapping", text, mapped)
    if hidden := identity.hidden_because():
        sentence = f"File owners cannot be known, since {hidden}: no publisher is trusted"
        left = "start pip-sharedcache without that"
        report.add_finding("owners", sentence, "pip-sharedcache store doctor", left)
    protected = protected_hardlinks()
    text = "1, users can hard-link their own files only" if protected else "0"
    text = "not on this system" if protected is None else text
    report.add_fact("protected-hardlinks", text, protected is True)


def protected_hardlinks() -> bool | None:
    """Return whether fs.protected_hardlinks is set (proc_sys_fs(5)); None if it does not exist."""
    try:
        return _PROTECTED_HARDLINKS.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return None
