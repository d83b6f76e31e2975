"""Renames: in an open directory, and the atomic exchange of two names.

Python does not offer the latter (renameat2(2), RENAME_EXCHANGE).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pip_sharedcache.fs import libc
from pip_sharedcache.fs.dirfd import Directory

_AT_FDCWD, _EXCHANGE = -100, 2
_NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY})


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return whether the exchange is supported.

    Both names exist at every moment. Return False where the system or the file system (NFS) has no
    exchange. Raises OSError.
    """
    ask = libc.c_function("renameat2")
    if ask is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if ask(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0:
        return True
    error = libc.failure(str(other))
    if error.errno in _NOT_HERE:
        return False
    raise error


def put_in_place(new: Path, target: Path, aside: Path) -> None:
    """Rename the directory ``new`` to ``target``, and the directory that was there to ``aside``.

    One call exchanges both, because symlinks into ``target`` would break in between. Where the
    system has no such call, the name is missing for a moment. Raises OSError; then the old
    directory has its name again, if nobody else has taken that.
    """
    if exchange(new, target):
        os.rename(new, aside)
        return
    os.rename(target, aside)
    try:
        os.rename(new, target)
    except OSError:
        if not os.path.lexists(target):
            os.rename(aside, target)
        raise


def rename_in(held: Directory, old: str, new: str) -> None:
    """Rename ``old`` in the open directory ``held`` to ``new``. Raises OSError."""
    (source, above), (target, _) = held.at(old), held.at(new)
    os.rename(source, target, src_dir_fd=above, dst_dir_fd=above)
