"""Unpacking of wheels: files are written and hashed, for a large wheel in worker processes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import UnusualWheel
from pip_sharedcache.fs.workers import available_workers, map_in_workers
from pip_sharedcache.model import Digest, StoredFile
from pip_sharedcache.store.forms import NewFiles

#: Takes the number of bytes that are ready, and the number of all bytes.
ProgressCallback = Callable[[int, int], None]

_EACH = 20_000  # bytes that take about as long to unpack as the creation of a file takes
_WORTH_IT = 20_000_000  # bytes, with _EACH for each file, from which on worker processes start
_PIECES = 8  # tasks for each process, so that all end at about the same time
_AHEAD = 16 << 20  # bytes after which the system begins to write them to the disk
_LARGE = 8 << 20  # bytes of a file from which on two threads, or processes, are worth their start

#: A task of a worker process: to unpack these, or (None) to hash the wheel.
_Task = Optional[Sequence[wheel.Member]]
_Result = Union[list[StoredFile], Digest]


def copy_archive(source: int, target: int) -> Digest | None:
    """Copy the wheel from the descriptor ``source`` to the empty file ``target``.

    Return its digest; None for a large wheel, which ``unpack_all`` hashes. Raises OSError.
    """
    if os.fstat(source).st_size >= _LARGE:
        fs.copy_all(source, target)
        return None
    with os.fdopen(source, "rb", closefd=False) as file:
        return write(wheel.blocks(file), target)[0]


def unpack_all(
    copy: Path,
    members: Sequence[wheel.Member],
    files: NewFiles,
    mtime: int,
    on_progress: ProgressCallback | None = None,
    *,
    digest: Digest | None = None,
) -> tuple[list[StoredFile], Digest]:
    """Unpack ``members`` of the wheel ``copy`` to ``files``.

    Returns the files, with the time ``mtime`` (seconds), in the order of ``members``; and the
    digest of ``copy``, which is read for that if ``digest`` is None.
    ``on_progress`` is called while a large wheel is unpacked. Raises UnusualWheel or one of
    wheel.BROKEN if the wheel is not sound, OSError.
    """
    archive = _Archive(copy)

    def do(task: _Task) -> _Result:
        if task is None:
            return wheel.digest_of(copy)[0]
        return [_extract(archive, member, files, mtime) for member in task]

    def again(task: _Task) -> _Result:
        for member in task or ():
            files.undo(member.path)
        return do(task)

    whole = sum(member.info.file_size for member in members)
    ready = 0

    def done(task: _Task) -> None:
        nonlocal ready
        ready += sum(member.info.file_size for member in task or ())
        if task is not None and on_progress is not None and len(pieces) > 1:
            on_progress(ready, whole)

    with archive:
        pieces = list(_pieces(members, available_workers()))
        # The largest come first: one at the end would keep one process busy alone.
        largest = sorted(pieces, key=_weight, reverse=True)
        tasks: list[_Task] = [*([None] if digest is None else []), *largest]
        stored: dict[str, StoredFile] = {}
        for result in map_in_workers(tasks, do, again, done):
            if isinstance(result, str):
                digest = Digest(result)
            else:
                stored.update((file.path, file) for file in result)
    assert digest is not None  # a task
    return [stored[member.path] for member in members], digest


def write(
    blocks: Iterable[bytes],
    target: int,
    digest_of: Callable[[Iterable[bytes]], tuple[Digest, int]] = wheel.digest_of_blocks,
    start: int = 0,
) -> tuple[Digest, int]:
    """Write ``blocks`` to the descriptor ``target``, from the offset ``start`` on.

    Return their sha256 and their size in bytes. ``digest_of`` hashes them. The caller closes
    ``target``. Raises OSError.
    """

    def written() -> Iterator[bytes]:
        done = begun = start
        for block in blocks:
            fs.write_at(target, block, done)
            done += len(block)
            if done - begun >= _AHEAD:
                fs.begin_to_flush(target, begun, done - begun)
                begun = done
            yield block
        if done - begun >= fs.WORTH_FLUSHING:
            fs.begin_to_flush(target, begun, done - begun)

    return digest_of(written())


def _pieces(members: Sequence[wheel.Member], size: int) -> Iterator[Sequence[wheel.Member]]:
    """Yield parts of ``members`` with about the same work; one part if the wheel is small."""
    weights = [_weight([member]) for member in members]
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


def _weight(members: Sequence[wheel.Member]) -> int:
    return sum(member.info.file_size + _EACH for member in members)


class _Archive:
    """A wheel that this process and its worker processes read; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: dict[int, zipfile.ZipFile] = {}
        self.descriptor = -1

    def __enter__(self) -> _Archive:
        self.descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        for archive in self._opened.values():
            archive.close()

    def opened(self) -> zipfile.ZipFile:
        """Return the wheel as this process has opened it.

        A zipfile from the parent process would share its position in the file.
        """
        mine = os.getpid()
        if mine not in self._opened:
            self._opened[mine] = zipfile.ZipFile(self._path)
        return self._opened[mine]


def _extract(archive: _Archive, member: wheel.Member, files: NewFiles, mtime: int) -> StoredFile:
    path, crc, executable = member.path, member.info.CRC, member.executable
    data = wheel.read_small(archive.descriptor, member)
    if data is not None:
        sha256, size = wheel.digest_of_blocks([data])
        files.put(path, data, crc, executable=executable)
    else:
        large = member.info.file_size >= _LARGE
        digest_of = wheel.digest_beside if large else wheel.digest_of_blocks
        with files.stream(path, crc, executable=executable) as (target, start):
            blocks = wheel.content(archive.opened(), member)
            sha256, size = write(blocks, target, digest_of, start)
    if size != member.info.file_size:
        raise UnusualWheel(f"{path} has {size} bytes, not {member.info.file_size}")
    return StoredFile(path, size, sha256, executable, mtime, files.offset(path))
