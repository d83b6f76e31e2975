"""The data of new files: copied from another file, or written at once."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from pip_sharedcache.fs.dirfd import clone, create, set_time, write_all
from pip_sharedcache.fs.sync import begin_to_flush

#: Bytes of one file from which on the system begins to write them to the disk early.
WORTH_FLUSHING = 1 << 20

_BLOCK = 1 << 20  # bytes
_BEGINNING = 8 << 20  # bytes that nearly all packs have at most
_STEP = 1 << 26  # bytes to copy before the system begins to write them to the disk


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return ``size`` bytes from ``offset`` of a file, or fewer at its end. Raises OSError.

    The position in the file, which forked processes share, does not matter (but on Windows).
    """
    data = _read_at(descriptor, size, offset)
    if len(data) in (0, size):
        return data
    pieces = [data]  # a signal, or the end
    while (size := size - len(data)) and data:
        offset += len(data)
        data = _read_at(descriptor, size, offset)
        pieces.append(data)
    return b"".join(pieces)


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def read_ahead_more(descriptor: int) -> None:
    """Let the system read more of the file ahead: it is read from one end to the other.

    The system begins with the first bytes at once. Never raises, since no result depends on this
    call.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            os.posix_fadvise(descriptor, 0, _BEGINNING, os.POSIX_FADV_WILLNEED)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset`` of a file. Raises OSError."""
    if not hasattr(os, "pwrite"):
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, data)
        return
    view = memoryview(data)
    while view:
        if not (written := os.pwrite(descriptor, view, offset)):
            raise OSError(errno.EIO, "The system wrote nothing, and gave no error")
        view, offset = view[written:], offset + written


def copy_bytes(source: int, target: int, size: int, offset: int = 0) -> int:
    """Copy up to ``size`` bytes from ``offset`` of ``source`` to ``target``; return how many.

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
                step = in_kernel(source, target, min(size - done, _STEP), offset + done)
            except OSError:  # not between these two files; or a full disk: then the copy raises
                in_kernel = None
            if step == 0:  # the end, or a file system that cannot do this: read_at decides
                in_kernel = None
        if in_kernel is None:
            if not (block := read_at(source, min(_BLOCK, size - done), offset + done)):
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
    descriptor = create(path, mode)
    try:
        try:
            write_all(descriptor, data)
            if len(data) >= WORTH_FLUSHING:
                begin_to_flush(descriptor, 0, len(data))
            set_time(descriptor, path, mtime)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(path)
        raise
