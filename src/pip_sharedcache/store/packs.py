"""Packs: one file with all files of an entry, and with its manifest at the end.

A pack is a zip whose members are stored without compression, so that any zip program can read it
(APPNOTE.TXT, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT). The members lie in the
order of the manifest, which is read from one end to the other. The comment of the archive says
where the manifest is: no reader needs the archive's own list, which takes long to parse.

Only the manifest decides what is placed. The list and the headers are for other programs, but
``verify`` compares them, too: every byte of a pack follows from the files.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pip_sharedcache import fs
from pip_sharedcache.model import MOST_MANIFEST

PACK = "files.zip"

_TREE = "files/"  # the prefix of all members but the manifest
_MANIFEST = "entry.json"
_LOCAL, _CENTRAL, _END = map(struct.Struct, ("<4s5H3L2H", "<4s6H3L5H2L", "<4s4H2LH"))
_VERSION, _UNIX = 20, 3 << 8  # of the format, and of the system that made it
_UTF_8 = 0x800
_1980 = 0x21  # the first day that a zip can name; the manifest has the time of the files
_REGULAR = 0o100000
_EXTRA = struct.Struct("<2H")  # an extra field: its kind, and the size of what follows
_PADDING = 0xD935  # the kind that Android's zipalign gives to padding
#: Files from this size (bytes) on begin at a multiple of _BLOCK, so that a file system can let a
#: copy share their blocks.
_ALIGNED, _BLOCK = 1 << 18, 1 << 12
#: A zip without 64-bit fields has fewer members than _MOST, and fewer bytes than _LARGEST.
_MOST, _LARGEST = 0xFFFF, 0xFFFFFFFF
_COMMENT = re.compile(rb"manifest: (\d{10}) (\d{8}) ([0-9a-f]{8})")
_COMMENT_SIZE = len("manifest: ") + 28
_AT_ONCE = 1 << 16  # bytes at the end of a pack that are read first
_STEP = 1 << 20  # bytes of a file that are read at once


@dataclass(frozen=True)
class Place:
    """The place of one file in a pack.

    ``name``: of the member. ``size``: of the file, in bytes.
    ``start``: the offset of the member's header; ``offset``: that of the file.
    """

    name: bytes
    size: int
    start: int
    offset: int

    def header(self, crc: int) -> bytes:
        """Return the bytes between ``start`` and ``offset``; ``crc``: the CRC-32 of the file."""
        padding = self.offset - self.start - _LOCAL.size - len(self.name)
        common = (_VERSION, _UTF_8, 0, 0, _1980, crc, self.size, self.size)
        head = _LOCAL.pack(b"PK\3\4", *common, len(self.name), padding)
        if not padding:
            return head + self.name
        return head + self.name + _EXTRA.pack(_PADDING, padding - _EXTRA.size).ljust(padding, b"\0")


class Layout:
    """The places of files in a pack, in their order.

    ``places``: one for each file. ``end``: the offset behind the last file, in bytes.
    """

    def __init__(self, files: Iterable[tuple[str, int]]) -> None:
        """``files``: the path and the size in bytes of each."""
        self.places: list[Place] = []
        self.end = 0
        for path, size in files:
            self.places.append(_place(_TREE + path, size, self.end))
            self.end = self.places[-1].offset + size

    @property
    def fits(self) -> bool:
        """Return whether a pack can have these files: 65,534 at most, in less than 4 GB."""
        listed = sum(_CENTRAL.size + len(place.name) for place in self.places)
        return len(self.places) < _MOST - 1 and self.end + listed + MOST_MANIFEST < _LARGEST

    def tail(self, facts: Sequence[tuple[int, bool]], manifest: bytes) -> bytes:
        """Return what follows the files: the manifest, and the list of all members.

        ``facts``: the CRC-32 of each file, and whether the file is executable.
        """
        last = _place(_MANIFEST, len(manifest), self.end)
        sums = [*facts, (zlib.crc32(manifest), False)]
        rows = b"".join(map(_row, [*self.places, last], *zip(*sums)))
        comment = f"manifest: {last.offset:010} {last.size:08} {sums[-1][0]:08x}".encode()
        number, begin = len(sums), last.offset + last.size
        end = _END.pack(b"PK\5\6", 0, 0, number, number, len(rows), begin, len(comment))
        return b"".join([last.header(sums[-1][0]), manifest, rows, end, comment])


def _place(name: str, size: int, start: int) -> Place:
    encoded = name.encode("utf-8")
    offset = start + _LOCAL.size + len(encoded)
    if size >= _ALIGNED and offset % _BLOCK:
        offset = -(-(offset + _EXTRA.size) // _BLOCK) * _BLOCK
    return Place(encoded, size, start, offset)


def _row(place: Place, crc: int, executable: bool) -> bytes:
    mode = _REGULAR | (0o555 if executable else 0o444)
    common = (_UNIX | _VERSION, _VERSION, _UTF_8, 0, 0, _1980, crc, place.size, place.size)
    rest = (len(place.name), 0, 0, 0, 0, mode << 16, place.start)
    return _CENTRAL.pack(b"PK\1\2", *common, *rest) + place.name


def read_manifest_text(descriptor: int, size: int) -> bytes:
    """Return the text of the manifest in the pack of ``size`` bytes that is open as ``descriptor``.

    Raises ValueError where there is none, OSError.
    """
    first = max(0, size - _AT_ONCE)
    found = fs.read_at(descriptor, size - first, first)
    comment = _COMMENT.fullmatch(found[-_COMMENT_SIZE:])
    if comment is None or found[-_COMMENT_SIZE - _END.size :][:4] != b"PK\5\6":
        raise ValueError("it does not end as a pack does")
    offset, length, crc = int(comment[1]), int(comment[2]), int(comment[3], 16)
    if length > MOST_MANIFEST:
        raise ValueError(f"its manifest has more than {MOST_MANIFEST} bytes")
    if offset + length > size:
        raise ValueError("its end says that the manifest is outside of it")
    if offset >= first:
        text = found[offset - first :][:length]
    else:
        text = fs.read_at(descriptor, length, offset)
    if zlib.crc32(text) != crc:
        raise ValueError("its manifest has other bytes than were published")
    return text


class Pack:
    """A pack that is open for reading; owns ``descriptor``."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, or fewer at the end. Raises OSError."""
        if size > _STEP:  # a manifest can give a size for which there is no memory
            return b"".join(self.pieces(offset, size))
        return fs.read_at(self.descriptor, size, offset)

    def pieces(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield ``size`` bytes from ``offset``, or fewer at the end, in pieces. Raises OSError."""
        end = offset + size
        while offset < end:
            if not (piece := fs.read_at(self.descriptor, min(_STEP, end - offset), offset)):
                return
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Close the descriptor; further calls do nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
