"""Wheels of any size, made up: valid, and with a right RECORD.

    python synthetic.py files|megabytes DIRECTORY NAME NUMBER

A program as well, so that what making one takes in memory is not counted for what is measured.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

_WHEEL = b"Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_MEGABYTE = 10**6
_FILES_A_DIRECTORY = 100

#: A file in a wheel: its path, and its bytes in pieces.
Member = tuple[str, Iterable[bytes]]


def filename(name: str, version: str = "1.0") -> str:
    """What a wheel written here is called."""
    return f"{name}-{version}-py3-none-any.whl"


def write_wheel(
    target: IO[bytes], name: str, members: Iterable[Member], version: str = "1.0"
) -> list[tuple[str, int, str]]:
    """Write a wheel to ``target``; its files are stored, not deflated. Returns path, size in bytes
    and sha256 in hexadecimal of each file in it."""
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    own = [(f"{information}/METADATA", [metadata]), (f"{information}/WHEEL", [_WHEEL])]
    rows = []
    with zipfile.ZipFile(target, "w") as archive:
        for path, blocks in (*members, *own):
            rows.append(_write(archive, path, blocks))
        record = "".join(f"{path},sha256={_short(digest)},{size}\n" for path, size, digest in rows)
        path = f"{information}/RECORD"
        rows.append(_write(archive, path, [f"{record}{path},,\n".encode()]))
    return rows


def _write(archive: zipfile.ZipFile, path: str, blocks: Iterable[bytes]) -> tuple[str, int, str]:
    info = zipfile.ZipInfo(path)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    hasher, size = hashlib.sha256(), 0
    with archive.open(info, "w", force_zip64=True) as file:
        for block in blocks:
            file.write(block)
            hasher.update(block)
            size += len(block)
    return path, size, hasher.hexdigest()


def _short(digest: str) -> str:
    """A digest as RECORD has it."""
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def wheel_of_files(directory: Path, name: str, files: int) -> Path:
    """A wheel of ``files`` small data files, 100 in each directory."""
    path = directory / filename(name)
    with path.open("wb") as target:
        write_wheel(target, name, _small(name, files))
    return path


def wheel_of_megabytes(directory: Path, name: str, megabytes: int) -> Path:
    """A wheel with one file of ``megabytes`` times 10**6 bytes. Made in little memory."""
    path = directory / filename(name)
    block = os.urandom(_MEGABYTE)
    with path.open("wb") as target:
        member = (f"{name}/data.bin", (block for _ in range(megabytes)))
        write_wheel(target, name, [member])
    return path


def _small(name: str, files: int) -> Iterator[Member]:
    for number in range(files):
        place = f"{name}/{number // _FILES_A_DIRECTORY:04d}/{number:06d}.txt"
        yield place, [f"{number} of {name}\n".encode() * 20]


if __name__ == "__main__":
    make = {"files": wheel_of_files, "megabytes": wheel_of_megabytes}[sys.argv[1]]
    make(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
