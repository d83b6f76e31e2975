"""Reading of one entry: its manifest, and the checks that its wheel is as it was published."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache.errors import CopiedEntry, DamagedEntry, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import MOST_MANIFEST, Digest, Entry, Manifest, identity_of
from pip_sharedcache.store.layout import WHEELS
from pip_sharedcache.store.packs import PACK, read_manifest_text

#: The manifest of an entry that has a tree of files; a pack has its own.
MANIFEST = "entry.json"


def open_entry(entry: Entry) -> Directory:
    """Open ``entry``; the caller closes it. Raises DamagedEntry if it was deleted or replaced."""
    try:
        held = Directory.open(entry.path)
    except OSError as error:
        raise DamagedEntry(f"{entry.path} cannot be opened: {reason(error)}") from error
    status = held.status()
    if identity_of(status) != entry.identity:
        held.close()
        raise DamagedEntry(f"{entry.path} was replaced while it was in use")
    return held


def read_manifest(held: Directory) -> tuple[Manifest, os.stat_result]:
    """Return the manifest of a held entry and its file's status. Raises DamagedEntry, OSError."""
    name = MANIFEST
    try:
        try:
            text, status = held.read(MANIFEST, MOST_MANIFEST)
        except FileNotFoundError:
            name = PACK
            text, status = _read_pack(held)
        manifest = Manifest.from_json(text)
        if manifest.packed is not (name == PACK):
            raise ValueError("it is of another form")
        return manifest, status
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its manifest") from error
    except ValueError as error:
        raise DamagedEntry(f"{held.path / name} is damaged: {error}") from error
    except MemoryError as error:  # raised at the limit of a batch job (ulimit -v)
        raise DamagedEntry(f"{held.path / name} takes more memory than there is") from error


def manifest_name(manifest: Manifest) -> str:
    """Return the name of the file that has ``manifest``."""
    return PACK if manifest.packed else MANIFEST


def _read_pack(held: Directory) -> tuple[bytes, os.stat_result]:
    descriptor = held.open_file(PACK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        return read_manifest_text(descriptor, status.st_size), status
    finally:
        os.close(descriptor)


def wheel_name(held: Directory) -> str:
    """Return the name of the only ``.whl`` file in a held entry, or "". Raises OSError."""
    names = [name for name in held.names() if name.endswith(".whl")]
    return names[0] if len(names) == 1 else ""


def read_entry(held: Directory, status: os.stat_result, digest: Digest, area: str) -> Entry:
    """Return the held entry after checks of manifest and wheel.

    Raises DamagedEntry, OSError; CopiedEntry if all of the entry has another time.
    """
    manifest, record = read_manifest(held)
    name = manifest_name(manifest)
    if manifest.digest != digest:
        raise DamagedEntry(f"{held.path / name} speaks of another wheel")
    # All files of an entry have one time; another time shows a modification.
    if manifest.files and not fs.has_time(record, manifest.files[0].mtime):
        if _is_copied(held, manifest):
            raise CopiedEntry(f"{held.path} was copied or restored without the times of its files")
        raise DamagedEntry(f"{held.path / name} was changed after it was published")
    _check_owner(held, name, record, status)
    entry = Entry(held.path, status.st_uid, identity_of(status), manifest)
    if area == WHEELS:
        _check_wheel(held, entry)
    return entry


def _is_copied(held: Directory, manifest: Manifest) -> bool:
    """Return whether all of the entry has lost its time, not the file with ``manifest`` alone."""
    names = [manifest.filename] if manifest.metadata is not None else []
    names += [] if manifest.packed else [f"files/{manifest.files[0].path}"]
    try:
        statuses = [held.file_status(name) for name in names]
    except OSError:
        return False
    mtime = manifest.files[0].mtime
    return not any(fs.has_time(status, mtime) for status in statuses)


def _check_wheel(held: Directory, entry: Entry) -> None:
    """Raise DamagedEntry if the wheel in the entry does not match the manifest."""
    name = entry.manifest.filename
    try:
        status = held.file_status(name)
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its wheel") from error
    _check_owner(held, name, status, held.status())
    metadata = entry.manifest.metadata
    if metadata is None:
        where = held.path / manifest_name(entry.manifest)
        raise DamagedEntry(f"{where} does not list the wheel's files")
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.manifest.size:
        raise DamagedEntry(f"{held.path / name} is not the wheel that was published")
    if not fs.has_time(status, metadata.mtime):  # all files of an entry have one time
        raise DamagedEntry(f"{held.path / name} was changed after it was published")


def _check_owner(held: Directory, name: str, one: os.stat_result, entry: os.stat_result) -> None:
    if trust.OWNERS_MEAN_SOMETHING and one.st_uid != entry.st_uid:
        raise DamagedEntry(f"{held.path / name} belongs to {trust.user_name(one.st_uid)}")
    if why := trust.mode_distrust_reason(one):
        raise DamagedEntry(f"{held.path / name} {why}")


def is_damaged(path: Path, digest: Digest) -> bool:
    """Return whether ``path`` holds no complete entry of the wheel ``digest``, of any owner.

    Reads the whole wheel, so callers ask only if a name is taken.
    """
    try:
        with Directory.open(path) as held:
            entry = read_entry(held, held.status(), digest, WHEELS)
            return wheel.digest_of(entry.wheel)[0] != digest
    except DamagedEntry:
        return True
    except OSError as error:
        return error.errno not in fs.PROCESS_ERRORS
