"""Checked copies of the wheels of untrusted entries."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Entry, megabytes
from pip_sharedcache.store.entry_reading import open_entry


def copy_wheel(entry: Entry, target: Path, mode: int = 0o600) -> bool:
    """Copy the wheel of an untrusted ``entry`` to the new ``target``; return whether it matches.

    ``target`` gets exactly ``mode``. If the copy does not have the digest, ``target`` is deleted.
    Raises DamagedEntry, OSError.
    """
    name = entry.manifest.filename
    with open_entry(entry) as held:
        source = os.fdopen(held.open_file(name), "rb")
    with source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode) or is_sparse(status):
            return False
        # An untrusted file of any size must not fill the disk before the check of its digest.
        if status.st_size > shutil.disk_usage(target.parent).free // 2:
            size = megabytes(status.st_size)
            raise DamagedEntry(
                f"{entry.wheel} has {size}: more than half of the free space in {target.parent}"
            )
        with fs.create_file(target, mode) as copy:
            left = status.st_size  # a file that grows during the copy would fill the disk
            for block in wheel.blocks(source):
                fs.write_all(copy, block[:left])
                left -= len(block)
                if left <= 0:
                    break
    if wheel.digest_of(target)[0] == entry.manifest.digest:
        return True
    target.unlink()
    return False


def is_sparse(status: os.stat_result) -> bool:
    """Return whether a file is mostly holes: no wheel is, but a planted file can fill the disk."""
    return hasattr(status, "st_blocks") and status.st_blocks * 512 < status.st_size // 2
