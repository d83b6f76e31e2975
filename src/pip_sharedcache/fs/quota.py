"""Quota of one user on a file system, as the kernel reports it (quotactl(2))."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from pip_sharedcache.fs import libc

_GET_USER_QUOTA = 0x800007 << 8  # QCMD(Q_GETQUOTA, USRQUOTA) in sys/quota.h
_BLOCK = 1024  # bytes; the unit of the block limits
#: struct dqblk: hard limit, soft limit and use of blocks (use in bytes) and of inodes, times, mask.
_ANSWER = struct.Struct("=8QI4x")


class Quota(NamedTuple):
    """Use and limits of one user.

    ``bytes``: the bytes that the user's files use.
    ``most_bytes``: the limit of the bytes; 0: no limit.
    ``inodes``: the inodes that the user's files use.
    ``most_inodes``: the limit of the inodes; 0: no limit.
    """

    bytes: int
    most_bytes: int
    inodes: int
    most_inodes: int


def quota(device: str, uid: int) -> Quota | None:
    """Return the quota of user ``uid`` on the file system of the block device ``device``.

    Return None where the user has no quota or the system does not report the quota (network file
    systems).
    """
    ask = libc.c_function("quotactl")
    if ask is None:
        return None
    answer = libc.buffer(_ANSWER.size)
    if ask(_GET_USER_QUOTA, os.fsencode(device), uid, answer) != 0:
        return None
    most_blocks, _, used, most_inodes, _, inodes, *_ = _ANSWER.unpack(answer.raw)
    return Quota(used, most_blocks * _BLOCK, inodes, most_inodes)
