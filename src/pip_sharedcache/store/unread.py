"""The line between a damaged entry and one that could not be read.

A file server that is away, a disk that fails and a system that refuses say nothing about an entry:
such an entry is neither sound nor damaged.
"""

from __future__ import annotations

import errno
import os

from pip_sharedcache import trust

#: Errors that the entry itself causes: a file is missing, a link, a FIFO, a socket, or too large.
_OF_ENTRY = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.EFBIG),
        *(errno.ENXIO, errno.ENAMETOOLONG),
    }
)


def is_damage(error: OSError, status: os.stat_result | None = None) -> bool:
    """Return whether ``error`` shows that an entry is damaged, and not only that it is unread.

    ``status``: of the entry or of the file in it that could not be opened, if known. A refusal is
    damage where this user owns the file, because only the mode can be its cause.
    """
    if error.errno == errno.EACCES and status is not None:
        return trust.OWNERS_MEAN_SOMETHING and status.st_uid == trust.user_id() != 0
    return error.errno in _OF_ENTRY


def is_damage_inside(error: OSError, status: os.stat_result | None) -> bool:
    """Return whether ``error`` shows that the file with this ``status`` in an entry is damaged.

    A refusal is also damage where the mode, which is the same for all files of a kind, lets not
    everybody read the file.
    """
    if error.errno == errno.EACCES and status is not None and status.st_mode & 0o444 != 0o444:
        return True
    return is_damage(error, status)
