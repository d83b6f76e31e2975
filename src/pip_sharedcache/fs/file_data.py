"""The data of new files: copied from another file, or written at once."""

from __future__ import annotations

import os
from contextlib import suppress

from pip_sharedcache.fs.dirfd import CREATE, clone, set_time, write_all
from pip_sharedcache.fs.sync import begin_to_flush

#: Bytes of one file from which on the system begins to write them to the disk early.
WORTH_FLUSHING = 1 << 20

_BLOCK = 1 << 20  # bytes
_STEP = 1 << 26  # bytes to copy before the system begins to write them to the disk


def copy_bytes(source: int, target: int, size: int) -> int:
    """Copy up to ``size`` bytes from the start of ``source`` to ``target``; return how many.

    The kernel or the file server copies if it can (copy_file_range(2), which also shares extents
    where the file system does); otherwise this process copies through a buffer. The system begins
    to write a large file to the disk at once. Raises OSError.
    """
    done = begun = 0
    in_kernel = getattr(os, "copy_file_range", None)
    while done < size:
        step = 0
        if in_kernel is not None:
            try:
                step = in_kernel(source, target, min(size - done, _STEP))
            except OSError:  # not between these two files; or a full disk: then the copy raises
                in_kernel = None
            if step == 0:  # the end, or a file system that cannot do this: os.read decides
                in_kernel = None
        if in_kernel is None:
            os.lseek(source, done, os.SEEK_SET)
            if not (block := os.read(source, min(_BLOCK, size - done))):
                break
            write_all(target, block)
            step = len(block)
        done += step
        if done - begun >= (_STEP if done < size else WORTH_FLUSHING):
            begin_to_flush(target, begun, done - begun)
            begun = done
    return done


def copy_all(source: int, target: int) -> None:
    """Let the empty file ``target`` share the data of ``source``, or copy it. Raises OSError."""
    with suppress(OSError):  # a full or failing disk fails the copy, too
        clone(source, target)
        return
    copy_bytes(source, target, os.fstat(source).st_size)


def write_file(path: str, data: bytes, mode: int, mtime: int) -> None:
    """Create ``path``, which must not exist, with ``data``, exactly ``mode``, and ``mtime``.

    As ``create_file`` does, in less time. An incomplete file is deleted. Raises OSError.
    """
    descriptor = os.open(path, CREATE, 0o600)
    try:
        try:
            write_all(descriptor, data)
            if len(data) >= WORTH_FLUSHING:
                begin_to_flush(descriptor, 0, len(data))
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            set_time(descriptor, path, mtime)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise
