"""Reading a wheel safely: which files it holds, and whether it is an ordinary one.

What is not ordinary is left to pip's own installer, so nothing here explains at length.
Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import email
import hashlib
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from pip_sharedcache.errors import UnusualWheel
from pip_sharedcache.model import Digest

#: pip's scheme keys (pip/_internal/models/scheme.py), the only ones valid below .data.
SCHEME_KEYS = frozenset({"platlib", "purelib", "headers", "scripts", "data"})

_BLOCK = 1 << 20  # bytes
_ENCRYPTED = 0x1
_NAME_LIMIT = 255  # bytes in one path component on every common Linux file system


@dataclass(frozen=True)
class Member:
    """One file in the archive; ``executable`` as pip sees it."""

    info: zipfile.ZipInfo
    executable: bool

    @property
    def path(self) -> str:
        """The name in the archive, "/" separated."""
        return self.info.filename


def digest_of(path: Path) -> tuple[Digest, int]:
    """sha256 and size in bytes of the file ``path``. Raises OSError."""
    hasher = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        for block in blocks(file):
            hasher.update(block)
            size += len(block)
    return Digest(hasher.hexdigest()), size


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of ``file`` in pieces of at most 1 MiB."""
    while block := file.read(_BLOCK):
        yield block


def names_in(path: str) -> list[str] | None:
    """The names in the wheel at ``path``; None where it cannot be read: pip says why."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return None


def members(archive: zipfile.ZipFile, filename: str) -> list[Member]:
    """The files of the wheel ``archive`` called ``filename``.

    Raises UnusualWheel for anything that pip refuses or that could not be stored as it is.
    """
    try:
        name, *_ = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise UnusualWheel(f"{filename}: {error}") from error
    found = [
        Member(info, _is_executable(info))
        for info in archive.infolist()
        if not info.filename.endswith("/")
    ]
    paths = [member.path for member in found]
    for member in found:
        if problem := _problem(member):
            raise UnusualWheel(f"{filename}: {member.path!r} {problem}")
    _check_collisions(filename, paths)
    information = {path.split("/")[0] for path in paths if ".dist-info/" in path}
    directories = [top for top in information if top.endswith(".dist-info")]
    if len(directories) != 1:
        raise UnusualWheel(f"{filename}: has {len(directories)} .dist-info directories")
    (directory,) = directories
    if not canonicalize_name(directory).startswith(name):
        raise UnusualWheel(f"{filename}: holds {directory}")
    for required in ("METADATA", "RECORD", "WHEEL"):
        if f"{directory}/{required}" not in paths:
            raise UnusualWheel(f"{filename}: has no {required}")
    metadata = email.message_from_bytes(archive.read(f"{directory}/METADATA"))
    if canonicalize_name(str(metadata["Name"])) != name:
        raise UnusualWheel(f"{filename}: its METADATA is for {metadata['Name']!r}")
    return found


def _is_executable(info: zipfile.ZipInfo) -> bool:
    # As pip (utils/unpacking.py: zip_item_is_executable).
    mode = info.external_attr >> 16
    return bool(mode and stat.S_ISREG(mode) and mode & 0o111)


def _problem(member: Member) -> str:
    if member.info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    path = member.path
    if "\\" in path or "\0" in path or ":" in path:
        return "has a character that no path in a wheel has"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "is not a plain relative path"
    try:
        if any(len(part.encode("utf-8")) > _NAME_LIMIT for part in parts):
            return "has a name that is too long"
    except UnicodeEncodeError:
        return "has a name that is not text"
    if parts[0].endswith(".data") and (len(parts) < 3 or parts[1] not in SCHEME_KEYS):
        return "is in no scheme that pip knows"
    return ""


def _check_collisions(filename: str, paths: list[str]) -> None:
    files = set(paths)
    if len(files) != len(paths):
        raise UnusualWheel(f"{filename}: names a file twice")
    directories = {path[:index] for path in paths for index, c in enumerate(path) if c == "/"}
    if both := files & directories:
        raise UnusualWheel(f"{filename}: {min(both)!r} is a file and a directory")
