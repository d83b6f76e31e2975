"""Packs (the files of an entry, and its manifest, in one file), looked at and changed by hand."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACK = "files.zip"
_COMMENT = re.compile(rb"manifest: (\d{10}) (\d{8}) ([0-9a-f]{8})\Z")
_END = b"PK\5\6" + b"\0" * 16  # of an archive whose own list is empty


def is_packed(entry: Path) -> bool:
    """Whether an entry is packed."""
    return (entry / PACK).exists() and not (entry / "entry.json").exists()


def manifest_of(data: bytes) -> dict[str, Any]:
    """What the manifest in a pack says."""
    begin, end = span(data)
    manifest: dict[str, Any] = json.loads(data[begin:end])
    return manifest


def span(data: bytes) -> tuple[int, int]:
    """Where the manifest of a pack begins and ends."""
    found = _COMMENT.search(data)
    assert found, "not the end of a pack"
    return int(found[1]), int(found[1]) + int(found[2])


def with_text(data: bytes, text: bytes, begin: int = -1) -> bytes:
    """The pack with another text as its manifest, at the old place or from the offset ``begin``;
    the archive's own list is left out."""
    begin = span(data)[0] if begin < 0 else begin
    comment = f"manifest: {begin:010} {len(text):08} {zlib.crc32(text):08x}".encode()
    return data[:begin] + text + _END + len(comment).to_bytes(2, "little") + comment


def with_manifest(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The pack with a manifest that was changed."""
    manifest = manifest_of(data)
    change(manifest)
    return with_text(data, json.dumps(manifest).encode())


def flipped(data: bytes, offset: int) -> bytes:
    """The pack with one bit of it changed."""
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


def row_of(data: bytes, ending: str) -> tuple[int, int]:
    """Where in the pack the one file lies whose path ends so, and how many bytes it has."""
    (row,) = [row for row in manifest_of(data)["files"] if row[0].endswith(ending)]
    return row[5], row[1]


def faults_of_pack(path: Path) -> list[str]:
    """What another zip program, and a comparison with the manifest, find wrong in a pack."""
    found, data = [], path.read_bytes()
    manifest = manifest_of(data)
    rows = manifest["files"]
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            found.append(f"{broken} is broken")
        if archive.namelist() != [*(f"files/{row[0]}" for row in rows), "entry.json"]:
            found.append("other names in the archive than in the manifest")
            return found
        for info, row in zip(archive.infolist(), rows):
            content = archive.read(info)
            if content != data[row[5] : row[5] + row[1]] or len(content) != row[1]:
                found.append(f"{row[0]} is not where the manifest says")
            if bool(info.external_attr >> 16 & 0o111) is not bool(row[3]):
                found.append(f"{row[0]} has another executable bit")
        if json.loads(archive.read("entry.json")) != manifest or manifest["format"] != 2:
            found.append("two manifests")
    return found


def contents(entry: Path) -> dict[str, bytes]:
    """The files of an entry of either kind, by their paths."""
    if is_packed(entry):
        data = (entry / PACK).read_bytes()
        return {row[0]: data[row[5] : row[5] + row[1]] for row in manifest_of(data)["files"]}
    top = entry / "files"
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}
