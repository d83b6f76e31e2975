"""How much of a file system one user may have, asked of the kernel (quotactl(2))."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

_GET_USER_QUOTA = 0x800007 << 8  # QCMD(Q_GETQUOTA, USRQUOTA) in sys/quota.h
_BLOCK = 1024  # bytes; limits come in such blocks


class Quota(NamedTuple):
    """What a user has and may have at most; a limit of 0 is none."""

    bytes: int
    most_bytes: int
    inodes: int
    most_inodes: int


class _Answer(ctypes.Structure):
    """struct dqblk."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("most_blocks", "soft_blocks", "bytes")),
        *((name, ctypes.c_uint64) for name in ("most_inodes", "soft_inodes", "inodes")),
        *((name, ctypes.c_uint64) for name in ("block_time", "inode_time")),
        ("valid", ctypes.c_uint32),
    )


def quota(device: str, uid: int) -> Quota | None:
    """The quota of user ``uid`` on the file system of the block device ``device``; None where
    there is none, or the system does not tell (network file systems keep it to themselves)."""
    try:
        ask = ctypes.CDLL(None).quotactl
    except (OSError, AttributeError, TypeError):
        return None
    answer = _Answer()
    if ask(_GET_USER_QUOTA, os.fsencode(device), uid, ctypes.byref(answer)) != 0:
        return None
    return Quota(answer.bytes, answer.most_blocks * _BLOCK, answer.inodes, answer.most_inodes)
