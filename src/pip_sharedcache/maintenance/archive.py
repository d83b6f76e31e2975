"""Archives that carry wheels from one store to another without a network.

An archive is a tar file with members ``<sha256>/<name>.whl``, which any tar program can read.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

from pip_sharedcache import fs
from pip_sharedcache import store as stores
from pip_sharedcache.errors import DamagedEntry, NotPublished, UnusualWheel, UsageError, reason
from pip_sharedcache.maintenance.entries import Contents
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import Store, StoredEntry
from pip_sharedcache.wheel import blocks, digest_of_blocks

_MEMBER = re.compile(r"([0-9a-f]{64})/([^/\x00-\x1f]+\.whl)")
_MODE = 0o644


@dataclass(frozen=True)
class Arrival:
    """The result for one wheel of an archive.

    ``title``: the wheel's file name, or the name of a member that is no wheel.
    ``digest``: the digest, or "" for a member that is no wheel.
    ``new``: whether the wheel is new in the store.
    ``problem``: why the wheel is not in the store; "" if the store has it.
    """

    title: str
    digest: str
    new: bool = False
    problem: str = ""


def select(contents: Contents) -> list[Entry]:
    """Return one entry for each wheel of ``contents``, sorted by file name.

    An entry that is trusted and not damaged comes before others with the same wheel.
    """
    best: dict[tuple[str, str], StoredEntry] = {}
    for item in sorted(
        contents.items,
        key=lambda item: (bool(item.damage), item.copied, bool(item.distrust_reason)),
    ):
        if item.title.endswith(".whl"):
            best.setdefault((item.title, item.digest), item)
    return [best[key].entry for key in sorted(best)]


def pack(entries: Iterable[Entry], file: IO[bytes]) -> Iterator[str]:
    """Write the wheels of ``entries`` to ``file``, one after another.

    Yield for each wheel why it was left out, or "". Each wheel is hashed before it is written.
    Raise DamagedEntry if a wheel changes while it is read, so that the archive cannot be used;
    OSError if ``file`` cannot be written.
    """
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            digest = entry.manifest.digest
            try:
                with stores.open_entry(entry) as held:
                    descriptor = held.open_file(entry.manifest.filename)
                wheel = _opened(descriptor)
            except (OSError, DamagedEntry) as error:
                yield f"Cannot read a wheel: {entry.wheel}: {error}"
                continue
            with wheel:
                try:
                    found, size = digest_of_blocks(blocks(wheel))
                except OSError as error:
                    yield f"Cannot read a wheel: {entry.wheel}: {reason(error)}"
                    continue
                if found != digest:
                    yield f"Damaged wheel: {entry.wheel}: its bytes do not match its digest"
                    continue
                wheel.seek(0)
                member = tarfile.TarInfo(f"{digest}/{entry.manifest.filename}")
                member.size, member.mode = size, _MODE
                reader = _Hashing(wheel, entry.wheel)
                archive.addfile(member, reader)
                if reader.digest() != digest:
                    raise DamagedEntry(f"Damaged wheel: {entry.wheel}: changed while it was read")
            yield ""


def _opened(descriptor: int) -> IO[bytes]:
    try:
        return os.fdopen(descriptor, "rb")
    except OSError:  # a directory has the name of the wheel
        os.close(descriptor)
        raise


def unpack(store: Store, file: IO[bytes]) -> Iterator[Arrival]:
    """Publish in ``store`` the wheels that ``pack`` wrote to ``file``, one after another.

    Yield the result for each wheel; each digest is checked. Raise UsageError if ``file`` is no such
    archive, or ends early.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                yield _arrive(store, archive, member)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UsageError(f"Cannot read the archive: {error}") from error
    except MemoryError as error:  # for example, a member has a name of a gigabyte
        raise UsageError("Cannot read the archive: not enough memory") from error


def _arrive(store: Store, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Arrival:
    named = _MEMBER.fullmatch(member.name)
    whole = member.isreg() and not member.issparse()
    content = archive.extractfile(member) if named and whole else None
    if named is None or content is None or not _is_wheel(named[2]):
        return Arrival(member.name, "", problem="not a wheel that store export writes")
    digest, filename = Digest(named[1]), named[2]
    if stores.find(store, digest, filename).entry is not None:
        return Arrival(filename, digest)
    with fs.temporary_directory() as directory:
        copy = directory / filename
        hasher = hashlib.sha256()
        try:
            with copy.open("wb") as target:
                for block in blocks(content):
                    hasher.update(block)
                    target.write(block)
        except OSError as error:
            problem = f"cannot copy it to {directory}: {reason(error)}"
            return Arrival(filename, digest, problem=problem)
        if hasher.hexdigest() != digest:
            return Arrival(filename, digest, problem="its bytes do not match its digest")
        try:
            stores.publish(store, copy, filename, digest)
        except (NotPublished, UnusualWheel) as error:
            return Arrival(filename, digest, problem=f"not published: {error}")
    return Arrival(filename, digest, new=True)


def _is_wheel(filename: str) -> bool:
    try:
        parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion):
        return False
    return filename.isprintable()


class _Hashing:
    """A file that is read once and hashed at the same time."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._path = path
        self._file = file
        self._hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes of the file; raise DamagedEntry if it cannot be read."""
        try:
            data = self._file.read(size)
        except OSError as error:  # an error of the wheel, not of the archive
            raise DamagedEntry(f"Cannot read a wheel: {self._path}: {reason(error)}") from error
        self._hasher.update(data)
        return data

    def digest(self) -> str:
        """Return the sha256 of all bytes that were read, in hexadecimal."""
        return self._hasher.hexdigest()
