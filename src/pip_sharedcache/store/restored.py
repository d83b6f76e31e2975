"""Entries that lost their times because their store was copied: by tar, zip, cp -r, a CI cache.

Another time shows a modification, so every such entry would count as damaged. The owner of an entry
can tell: if all of its bytes are those that were published, it gets its times and modes again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
from pathlib import Path

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Manifest, StoredFile
from pip_sharedcache.store.entry_checks import check_hash, damaged, fault, opened
from pip_sharedcache.store.entry_reading import manifest_name, read_entry, read_manifest
from pip_sharedcache.store.forms import DIRECTORY, FILE, PROGRAM
from pip_sharedcache.store.layout import WHEELS
from pip_sharedcache.store.packs import PACK, Pack

logger = logging.getLogger(__name__)

#: What happened to entries that lost their times, in words that follow "entries"; to one entry.
COPIED = "were copied or restored without the times of their files"
ONE_COPIED = "was copied or restored without the times of its files"


def copied_hint(store: Path, publisher: str) -> str:
    """Return what gives the entries of ``publisher`` their times again, in words for a hint."""
    return (
        f"{publisher} can run `pip-sharedcache store verify`, or `pip-sharedcache store adopt "
        f"{shlex.quote(str(store))}` makes the store yours"
    )


def read_or_restore(held: Directory, status: os.stat_result, digest: Digest, area: str) -> Entry:
    """Return what read_entry returns; first give this user's entry its time again, if it lost that.

    ``area``: the entry's. Raises DamagedEntry, OSError; CopiedEntry where the entry lost its time,
    and this user cannot give it that time again.
    """
    try:
        return read_entry(held, status, digest, area)
    except DamagedEntry:
        if status.st_uid != trust.user_id() or not _restore(held, digest, area):
            raise
    return read_entry(held, status, digest, area)


def _restore(held: Directory, digest: Digest, area: str) -> bool:
    """Return whether the entry ``held`` had lost its time, and has it again.

    Raises DamagedEntry if it has other bytes than were published.
    """
    try:
        manifest, record = read_manifest(held)
        if manifest.digest != digest or not manifest.files:
            return False
        mtime = manifest.files[0].mtime  # all files of an entry have one time
        if fs.has_time(record, mtime):
            return False  # a single file was changed, not the whole entry copied
        if area == WHEELS:
            _restore_wheel(held, manifest, mtime)
        if manifest.packed:
            _check_pack(held, manifest)
        else:
            _restore_tree(held, manifest)
        held.set_mode(DIRECTORY)
        # Last: if this process is killed before, the next one begins again.
        name = manifest_name(manifest)
        with os.fdopen(held.open_file(name), "rb") as file:
            fs.restore_file(file.fileno(), held.path / name, FILE, mtime)
    except OSError as error:
        logger.debug("%s does not get its time again: %s", held.path, error)
        return False
    logger.debug("%s was copied without its time, and has it again", held.path)
    return True


def _restore_wheel(held: Directory, manifest: Manifest, mtime: int) -> None:
    name = manifest.filename
    with os.fdopen(held.open_file(name), "rb") as file:
        _require_fine(held, name, file.fileno(), manifest.size)
        if wheel.digest_of_blocks(wheel.blocks(file))[0] != manifest.digest:
            raise DamagedEntry(f"{held.path / name} is not the wheel that was published")
        fs.restore_file(file.fileno(), held.path / name, FILE, mtime)


def _restore_tree(held: Directory, manifest: Manifest) -> None:
    directories = {"files"}
    for file in manifest.files:
        _restore_file(held, file)
        above = f"files/{file.path}".rpartition("/")[0]
        while above not in directories:
            directories.add(above)
            above = above.rpartition("/")[0]
    for path in directories:
        with held.subdirectory(path) as one:
            one.set_mode(DIRECTORY)


def _restore_file(held: Directory, file: StoredFile) -> None:
    with opened(held, file) as descriptor:
        if what := fault(os.fstat(descriptor), trust.user_id(), None, file.size):
            raise damaged(held, file, what)
        check_hash(held, file, descriptor)
        mode = PROGRAM if file.executable else FILE
        fs.restore_file(descriptor, held.path / "files" / file.path, mode, file.mtime)


def _check_pack(held: Directory, manifest: Manifest) -> None:
    pack = Pack(held.open_file(PACK))
    try:
        _require_fine(held, PACK, pack.descriptor, None)
        for file in manifest.files:
            hasher = hashlib.sha256()
            for piece in pack.pieces(file.offset, file.size):
                hasher.update(piece)
            if hasher.hexdigest() != file.sha256:
                raise damaged(held, file, "has other bytes than were published")
    finally:
        pack.close()


def _require_fine(held: Directory, name: str, descriptor: int, size: int | None) -> None:
    if what := fault(os.fstat(descriptor), trust.user_id(), None, size):
        raise DamagedEntry(f"{held.path / name}: {what}")
