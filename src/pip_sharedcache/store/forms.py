"""The two forms in which a new entry keeps its files: a tree of files, or one pack."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Union

from pip_sharedcache import fs
from pip_sharedcache.store.packs import PACK, Layout

#: The modes of all files in an entry, and of all directories.
FILE, PROGRAM = 0o444, 0o555
DIRECTORY = 0o555


class NewTree:
    """A tree of files, which get their final modes, and the time ``mtime`` (seconds).

    ``top``: the directory above them, in which their directories are made already.
    """

    def __init__(self, top: Path, mtime: int) -> None:
        self._top = top
        self._mtime = mtime

    def put(self, path: str, data: bytes, crc: int, *, executable: bool) -> None:
        """Write the file ``path``. ``crc`` (its CRC-32) is not used. Raises OSError."""
        fs.write_file(f"{self._top}/{path}", data, _mode(executable), self._mtime)

    @contextmanager
    def stream(self, path: str, crc: int, *, executable: bool) -> Iterator[tuple[int, int]]:
        """Yield a descriptor to which the file ``path`` is written, and the offset there (0)."""
        with fs.create_file(self._top / path, _mode(executable), self._mtime) as target:
            yield target, 0

    def offset(self, path: str) -> int:
        """Return -1: no pack has the file ``path``."""
        return -1

    def undo(self, path: str) -> None:
        """Delete what a killed process may have written of ``path``. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._top / path)


class NewPack:
    """A pack that is filled, in any order and by several processes; then ``finish`` ends it.

    ``descriptor``: the pack, open for writing; the caller owns it.
    ``layout``: the places of the files ``paths``.
    """

    def __init__(self, descriptor: int, layout: Layout, paths: Sequence[str]) -> None:
        self._descriptor = descriptor
        self._layout = layout
        self._places = dict(zip(paths, layout.places))

    def put(self, path: str, data: bytes, crc: int, *, executable: bool) -> None:
        """Write the file ``path``, whose CRC-32 is ``crc``. Raises ValueError, OSError."""
        place = self._places[path]
        if len(data) != place.size:
            raise ValueError(f"{place.name!r} has {len(data)} bytes, not {place.size}")
        fs.write_at(self._descriptor, place.header(crc) + data, place.start)

    @contextmanager
    def stream(self, path: str, crc: int, *, executable: bool) -> Iterator[tuple[int, int]]:
        """Yield a descriptor to which the file ``path`` is written, and the offset there."""
        place = self._places[path]
        fs.write_at(self._descriptor, place.header(crc), place.start)
        yield self._descriptor, place.offset

    def offset(self, path: str) -> int:
        """Return the offset of the file ``path`` in the pack."""
        return self._places[path].offset

    def undo(self, path: str) -> None:
        """Do nothing: the same bytes are written again."""

    def finish(self, facts: Sequence[tuple[int, bool]], manifest: str) -> None:
        """Write the end of the pack, as ``Layout.tail`` makes it. Raises OSError."""
        tail = self._layout.tail(facts, manifest.encode("utf-8"))
        fs.write_at(self._descriptor, tail, self._layout.end)


NewFiles = Union[NewTree, NewPack]


def is_tree(entry: Path) -> bool:
    """Return whether ``entry`` has a tree of files, damaged or not: symlinks may lead into it."""
    return os.path.isdir(entry / "files") and not os.path.lexists(entry / PACK)


def _mode(executable: bool) -> int:
    return PROGRAM if executable else FILE
