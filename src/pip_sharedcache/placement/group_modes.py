"""Permission bits of new files and directories in environments that a group shares."""

from __future__ import annotations

import contextlib
import os
import stat

from pip_sharedcache.fs.dirfd import DIRECTORY, NOT_A_LINK


def share_directory(path: str, grant: int) -> None:
    """Add the group's bits ``grant`` (octal mode) and setgid to a new directory. Raises OSError."""
    descriptor = os.open(path, DIRECTORY)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, mode | grant | stat.S_ISGID)
    finally:
        os.close(descriptor)


def share_file(path: str, grant: int, since: int) -> None:
    """Add the group's bits ``grant`` (octal mode) to a new file, x only where its owner has x.

    A file is new if this user owns it, it has no other hard link, and its last change (ctime) was
    at ``since`` (nanoseconds) or later. Other files do not change. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | NOT_A_LINK)
    except OSError:  # a symlink, or not readable for this user: not a file that this run made
        return
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        wanted = mode | (grant & (0o070 if mode & 0o100 else 0o060))
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        new = status.st_nlink == 1 and status.st_ctime_ns >= since
        if ours and new and wanted != mode:
            with contextlib.suppress(PermissionError):
                os.fchmod(descriptor, wanted)
    finally:
        os.close(descriptor)
