"""How much of a file system one user may have, asked of the kernel (quotactl(2))."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from pip_sharedcache.fs import libc

_GET_USER_QUOTA = 0x800007 << 8  # QCMD(Q_GETQUOTA, USRQUOTA) in sys/quota.h
_BLOCK = 1024  # bytes; limits come in such blocks
#: struct dqblk: most, soft and used blocks (used in bytes), the same of inodes, two times, a mask.
_ANSWER = struct.Struct("=8QI4x")


class Quota(NamedTuple):
    """What a user has and may have at most; a limit of 0 is none."""

    bytes: int
    most_bytes: int
    inodes: int
    most_inodes: int


def quota(device: str, uid: int) -> Quota | None:
    """The quota of user ``uid`` on the file system of the block device ``device``; None where
    there is none, or the system does not tell (network file systems keep it to themselves)."""
    ask = libc.c_function("quotactl")
    if ask is None:
        return None
    answer = libc.buffer(_ANSWER.size)
    if ask(_GET_USER_QUOTA, os.fsencode(device), uid, answer) != 0:
        return None
    most_blocks, _, used, most_inodes, _, inodes, *_ = _ANSWER.unpack(answer.raw)
    return Quota(used, most_blocks * _BLOCK, inodes, most_inodes)
