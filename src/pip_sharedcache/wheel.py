"""The safe reader of wheels: their files, and whether a wheel is an ordinary one.

Pip's own installer installs the others and explains the fault, so messages here are short.
Format: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import email
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

try:
    import lzma
except ImportError:  # a Python built without it, as zipfile allows
    lzma = None  # type: ignore[assignment]

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion

from pip_sharedcache.errors import UnusualWheel
from pip_sharedcache.model import Digest, information_directories, manifest_fits, path_problem

#: pip's scheme keys (pip/_internal/models/scheme.py), the only ones valid below .data.
SCHEME_KEYS = frozenset({"platlib", "purelib", "headers", "scripts", "data"})

#: Errors of zipfile and its decompressors for a damaged archive. ValueError is for names that are
#: not UTF-8, RuntimeError for a wrong password.
BROKEN: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    RuntimeError,
    zlib.error,
    *([lzma.LZMAError] if lzma else []),
)

_UNREADABLE: tuple[type[Exception], ...] = (OSError, *BROKEN)

_BLOCK = 1 << 20  # bytes
_MOST_METADATA = 1 << 26  # bytes; METADATA is read into memory at once
_ENCRYPTED = 0x1
_UNUSUAL = 0x61  # encrypted, compressed patched data, strongly encrypted
_UTF_8 = 0x800
_SIGNATURE = b"PK\x03\x04"  # of a local header
_SMALL = 4 << 20  # bytes; read_small reads as many at once
_LARGE = 8 << 20  # bytes; to hash as many, a thread is worth its start
_LOCAL_HEADER = struct.Struct("<4s2xH18xHH")  # signature, flags, lengths of name and extra field
_EXTRA = 128  # bytes of an extra field that are read with the data


@dataclass(frozen=True)
class Member:
    """One file in the archive.

    ``info``: its row in the archive.
    ``executable``: whether pip makes the file executable.
    """

    info: zipfile.ZipInfo
    executable: bool

    @property
    def path(self) -> str:
        """Return the name in the archive, "/" separated."""
        return self.info.filename


def digest_of(path: Path) -> tuple[Digest, int]:
    """Return the sha256 and the size in bytes of the file ``path``. Raises OSError."""
    with path.open("rb") as file:
        large = os.fstat(file.fileno()).st_size >= _LARGE
        return digest_beside(blocks(file)) if large else digest_of_blocks(blocks(file))


def digest_of_blocks(pieces: Iterable[bytes]) -> tuple[Digest, int]:
    """Return the sha256 and the size in bytes of all ``pieces`` together."""
    hasher, size = hashlib.sha256(), 0
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
    return Digest(hasher.hexdigest()), size


def digest_beside(pieces: Iterable[bytes]) -> tuple[Digest, int]:
    """Return what ``digest_of_blocks`` returns; hash each piece while the next one is made.

    A thread hashes, where one can be started: hashlib and zlib run side by side.
    """
    hasher, size = hashlib.sha256(), 0
    hashed: Future[None] | None = None
    alone = False
    with ThreadPoolExecutor(1) as pool:
        for piece in pieces:
            size += len(piece)
            if hashed is not None:
                hashed.result()
            try:
                hashed = None if alone else pool.submit(hasher.update, piece)
            except RuntimeError:  # no thread can be started here
                alone, hashed = True, None
            if alone:
                hasher.update(piece)
    return Digest(hasher.hexdigest()), size


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of ``file`` in pieces of at most 1 MiB. Leaves ``file`` open."""
    while block := file.read(_BLOCK):
        yield block


def _files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.filename.endswith("/")]


def outline(archive: zipfile.ZipFile) -> set[tuple[str, int, bool]]:
    """Return the path, size in bytes and executable bit of every file in ``archive``."""
    return {(info.filename, info.file_size, _is_executable(info)) for info in _files(archive)}


def content(archive: zipfile.ZipFile, member: Member) -> Iterator[bytes]:
    """Yield the bytes of ``member`` in pieces of at most 1 MiB.

    Raises UnusualWheel or one of BROKEN for a damaged archive, OSError for an unreadable one.
    """
    try:
        with archive.open(member.info) as source:
            yield from blocks(source)
    except OSError as error:
        if error.errno is None:  # a damaged stream, from bz2; an error of the disk has an errno
            raise UnusualWheel(f"{archive.filename}: {error}") from error
        raise


def read_small(descriptor: int, member: Member) -> bytes | None:
    """Return the bytes of a small ``member`` of the wheel open as ``descriptor``; or None.

    That takes a fraction of the time of ``content``, and other processes can share the descriptor.
    None for everything that is not ordinary, damage included: ``content`` reads that, or raises.
    """
    info = member.info
    if (
        max(info.file_size, info.compress_size) > _SMALL
        or info.flag_bits & _UNUSUAL
        or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        or not hasattr(os, "pread")
    ):
        return None
    size = _LOCAL_HEADER.size + len(info.orig_filename) + _EXTRA + info.compress_size
    try:
        found = os.pread(descriptor, size, info.header_offset)
        signature, flags, name_size, extra_size = _LOCAL_HEADER.unpack_from(found)
        start = _LOCAL_HEADER.size + name_size
        encoding = "utf-8" if flags & _UTF_8 else "cp437"
        name = found[_LOCAL_HEADER.size : start].decode(encoding)
        start += extra_size
        data = found[start : start + info.compress_size]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-15).decompress(data, info.file_size + 1)
    except (OSError, OverflowError, UnicodeDecodeError, struct.error, zlib.error):
        return None
    end = getattr(info, "_end_offset", None)  # of Pythons that look for overlapping members
    is_sound = (
        signature == _SIGNATURE
        and flags & _UTF_8 == info.flag_bits & _UTF_8  # zipfile reads one or the other
        and name == info.orig_filename
        and start + info.compress_size <= len(found)
        and (end is None or info.header_offset + start + info.compress_size <= end)
        and len(data) == info.file_size
        and zlib.crc32(data) == info.CRC
    )
    return data if is_sound else None


def digests(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the sha256 in hexadecimal of every file in ``archive``, by its path.

    Raises UnusualWheel or one of BROKEN for a damaged archive, OSError for an unreadable one.
    """
    return {
        info.filename: digest_of_blocks(content(archive, Member(info, False)))[0]
        for info in _files(archive)
    }


def names_in(path: str) -> list[str] | None:
    """Return the names in the wheel at ``path``; None for an unreadable one: pip reports why."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _UNREADABLE:
        return None


def filename_in(path: Path) -> str:
    """Return the file name that the wheel at ``path`` must have had, by its own metadata.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/#file-contents:
    the directory .dist-info has the name and the version, its file WHEEL the build and the tags.
    Raises UnusualWheel if no file name fits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            directories = information_directories(archive.namelist())
            if len(directories) != 1:
                raise UnusualWheel(f"it has {len(directories)} .dist-info directories")
            (directory,) = directories
            if archive.getinfo(f"{directory}/WHEEL").file_size > _BLOCK:
                raise UnusualWheel("its WHEEL is too large")
            told = email.message_from_bytes(archive.read(f"{directory}/WHEEL"))
    except KeyError as error:
        raise UnusualWheel("it has no WHEEL") from error
    except _UNREADABLE as error:
        raise UnusualWheel(f"it is no wheel: {error}") from error
    tags = [str(tag).strip() for tag in told.get_all("Tag", ())]
    columns = [dict.fromkeys(column) for column in zip(*(tag.split("-") for tag in tags))]
    build = str(told["Build"]).strip() if "Build" in told else ""
    stem = directory.removesuffix(".dist-info")
    if stem.count("-") != 1:
        raise UnusualWheel(f"{directory} gives no file name")
    parts = [stem, *filter(None, [build]), *map(".".join, columns)]
    filename = f"{'-'.join(parts)}.whl"
    try:
        known = parse_wheel_filename(filename)[3]
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise UnusualWheel(f"its metadata give no file name: {error}") from error
    if (
        {str(tag) for tag in known} != {tag.lower() for tag in tags}
        or path_problem(filename)
        or "/" in filename
    ):
        raise UnusualWheel("its tags give no file name")
    return filename


def members(archive: zipfile.ZipFile, filename: str) -> list[Member]:
    """Return the files of the wheel ``archive`` called ``filename``.

    Raises UnusualWheel for a wheel that pip refuses, or that cannot be stored unchanged.
    """
    try:
        name, *_ = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise UnusualWheel(f"{filename}: {error}") from error
    found = [Member(info, _is_executable(info)) for info in _files(archive)]
    paths = [member.path for member in found]
    for member in found:
        if problem := _problem(member):
            raise UnusualWheel(f"{filename}: {member.path!r} {problem}")
    if not manifest_fits(paths):
        raise UnusualWheel(f"{filename}: has {len(paths)} files, too many for a store")
    _check_collisions(filename, paths)
    directories = information_directories(archive.namelist())
    if len(directories) != 1:
        raise UnusualWheel(f"{filename}: has {len(directories)} .dist-info directories")
    (directory,) = directories
    if not canonicalize_name(directory).startswith(name):
        raise UnusualWheel(f"{filename}: {directory} has another name than the wheel")
    for required in ("METADATA", "RECORD", "WHEEL"):
        if f"{directory}/{required}" not in paths:
            raise UnusualWheel(f"{filename}: has no {required}")
    if archive.getinfo(f"{directory}/METADATA").file_size > _MOST_METADATA:
        raise UnusualWheel(f"{filename}: METADATA is too large")
    metadata = email.message_from_bytes(archive.read(f"{directory}/METADATA"))
    if canonicalize_name(str(metadata["Name"])) != name:
        raise UnusualWheel(f"{filename}: METADATA names {metadata['Name']!r}")
    return found


def _is_executable(info: zipfile.ZipInfo) -> bool:
    # As pip does (utils/unpacking.py: zip_item_is_executable).
    mode = info.external_attr >> 16
    return bool(mode and stat.S_ISREG(mode) and mode & 0o111)


def _problem(member: Member) -> str:
    if member.info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if problem := path_problem(member.path):
        return problem
    parts = member.path.split("/")
    if parts[0].endswith(".data") and (len(parts) < 3 or parts[1] not in SCHEME_KEYS):
        return "is in no scheme of pip"
    return ""


def _check_collisions(filename: str, paths: list[str]) -> None:
    if len(set(paths)) != len(paths):
        raise UnusualWheel(f"{filename}: lists a file twice")
    # In this order, a path below a file comes directly behind the file. A set of all directories
    # would take 8 GB of memory for 8,000 deep paths.
    following = sorted(paths, key=lambda path: path.replace("/", "\0"))
    both = [path for path, after in zip(following, following[1:]) if after.startswith(f"{path}/")]
    if both:
        raise UnusualWheel(f"{filename}: {min(both)!r} is a file and a directory")
