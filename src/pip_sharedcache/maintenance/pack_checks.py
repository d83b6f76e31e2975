"""The verification of every byte of a pack against its manifest."""

from __future__ import annotations

import hashlib
import zlib

from pip_sharedcache.model import Manifest, StoredFile
from pip_sharedcache.store.packs import Layout, Pack


def pack_fault(pack: Pack, manifest: Manifest, size: int) -> str:
    """Return how the bytes of ``pack`` differ from ``manifest``, or "".

    ``size``: bytes of the pack. The text follows the path of the pack. Raises OSError.
    """
    layout = Layout((file.path, file.size) for file in manifest.files)
    offsets = [place.offset for place in layout.places]
    # Sizes that no pack has would take hours to read, or fit no field of a header.
    if not layout.fits or layout.end > size or offsets != [file.offset for file in manifest.files]:
        return "has a manifest that says where its files cannot be"
    wrong, between = [], False
    facts = []
    for place, file in zip(layout.places, manifest.files):
        crc, digest = _sums(pack, file)
        if digest != file.sha256:
            wrong.append(file.path)
        facts.append((crc, file.executable))
        header = place.header(crc)
        between |= pack.read(place.start, len(header)) != header
    if wrong:
        others = f" and of {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return f"has other bytes of {wrong[0]}{others} than were published"
    tail = layout.tail(facts, manifest.to_json().encode("utf-8"))
    if between or layout.end + len(tail) != size or pack.read(layout.end, len(tail)) != tail:
        return "has other bytes between its files, or behind them, than were published"
    return ""


def _sums(pack: Pack, file: StoredFile) -> tuple[int, str]:
    """Return the CRC-32 and the sha256 (hexadecimal) of ``file``. Raises OSError."""
    crc, hasher = 0, hashlib.sha256()
    for piece in pack.pieces(file.offset, file.size):
        crc = zlib.crc32(piece, crc)
        hasher.update(piece)
    return crc, hasher.hexdigest()
