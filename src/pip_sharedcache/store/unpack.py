"""Unpacking of wheels: files are written and hashed, for a large wheel in worker processes."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pip_sharedcache import fs, wheel
from pip_sharedcache.fs.workers import available_workers, map_in_workers
from pip_sharedcache.model import StoredFile

#: Takes the number of bytes that are ready, and the number of all bytes.
ProgressCallback = Callable[[int, int], None]

#: The modes of all files in an entry.
FILE, PROGRAM = 0o444, 0o555

_EACH = 20_000  # bytes that take about as long to unpack as the creation of a file takes
_WORTH_IT = 20_000_000  # bytes, with _EACH for each file, from which on worker processes start
_PIECES = 8  # tasks for each process, so that all end at about the same time
_AHEAD = 16 << 20  # bytes after which the system begins to write them to the disk


def unpack_all(
    copy: Path,
    members: Sequence[wheel.Member],
    top: Path,
    mtime: int,
    on_progress: ProgressCallback | None = None,
) -> list[StoredFile]:
    """Unpack ``members`` of the wheel ``copy`` into the new directories below ``top``.

    The files get their final modes and ``mtime`` (seconds). Returns them in the order of
    ``members``. ``on_progress`` is called while a large wheel is unpacked. Raises UnusualWheel or
    one of wheel.BROKEN if the wheel is not sound, OSError.
    """
    opened: dict[int, zipfile.ZipFile] = {}

    def unpack(piece: Sequence[wheel.Member]) -> list[StoredFile]:
        archive = _archive(opened, copy)
        return [_extract(archive, member, top / member.path, mtime) for member in piece]

    def again(piece: Sequence[wheel.Member]) -> list[StoredFile]:
        for member in piece:
            with contextlib.suppress(FileNotFoundError):
                (top / member.path).unlink()
        return unpack(piece)

    whole = sum(member.info.file_size for member in members)
    ready = 0

    def done(piece: Sequence[wheel.Member]) -> None:
        nonlocal ready
        ready += sum(member.info.file_size for member in piece)
        if on_progress is not None and len(pieces) > 1:
            on_progress(ready, whole)

    try:
        pieces = list(_pieces(members, available_workers()))
        return [file for files in map_in_workers(pieces, unpack, again, done) for file in files]
    finally:
        for archive in opened.values():
            archive.close()


def write(blocks: Iterable[bytes], target: int) -> tuple[str, int]:
    """Write ``blocks`` to the descriptor ``target``; return their sha256 and their size.

    The sha256 is in hexadecimal, the size in bytes. The caller closes ``target``. Raises OSError.
    """

    def written() -> Iterator[bytes]:
        done = begun = 0
        for block in blocks:
            fs.write_all(target, block)
            done += len(block)
            if done - begun >= _AHEAD:
                fs.begin_to_flush(target, begun, done - begun)
                begun = done
            yield block

    return wheel.digest_of_blocks(written())


def _pieces(members: Sequence[wheel.Member], size: int) -> Iterator[Sequence[wheel.Member]]:
    """Yield parts of ``members`` with about the same work; one part if the wheel is small."""
    weights = [member.info.file_size + _EACH for member in members]
    whole = sum(weights)
    if whole < _WORTH_IT:
        yield members
        return
    size = max(size, 2)  # one process alone reports progress after each part
    start = weight = 0
    for number, one in enumerate(weights, 1):
        weight += one
        if weight >= whole / (size * _PIECES):
            yield members[start:number]
            start, weight = number, 0
    if start < len(members):
        yield members[start:]


def _archive(opened: dict[int, zipfile.ZipFile], copy: Path) -> zipfile.ZipFile:
    """Return the wheel as this process has opened it.

    A descriptor from the parent process would share its position in the file.
    """
    mine = os.getpid()
    if mine not in opened:
        opened[mine] = zipfile.ZipFile(copy)
    return opened[mine]


def _extract(archive: zipfile.ZipFile, member: wheel.Member, path: Path, mtime: int) -> StoredFile:
    mode = PROGRAM if member.executable else FILE
    with fs.create_file(path, mode, mtime) as target:
        sha256, size = write(wheel.content(archive, member), target)
    return StoredFile(member.path, size, sha256, member.executable, mtime)
