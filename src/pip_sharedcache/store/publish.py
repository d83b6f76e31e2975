"""Publishing a wheel: staged in the entry's own shard, made durable, visible by one rename.

Losing that race is not an error.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
import time
import zipfile
from pathlib import Path

from pip_sharedcache import linker, trust, wheel
from pip_sharedcache.errors import NotPublished, NotWritable, UnusualWheel, reason
from pip_sharedcache.model import Digest, Entry, Manifest, StoredFile
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.lookup import MANIFEST, find

_FILE, _PROGRAM, _DIRECTORY = 0o444, 0o555, 0o555
_STALE = 6 * 3600  # seconds after which a staging directory of ours on another host is left over
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]


def publish(store: Store, path: Path, filename: str, digest: Digest) -> Entry:
    """Add the wheel at ``path``, whose sha256 is ``digest``, and return its entry.

    Somebody else's entry that appeared meanwhile is as good. Raises NotPublished (the store
    cannot take it) or UnusualWheel.
    """
    try:
        shard = store.shard(digest)
        _sweep(shard)
        staging = shard / f".new-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
        linker.make_directory(staging, 0o700)
    except OSError as error:
        kind = NotWritable if error.errno in _READ_ONLY else NotPublished
        raise kind(f"{store.path} cannot be written: {reason(error)}") from error
    try:
        try:
            manifest = _unpack(path, filename, digest, staging)
            name = _reveal(store, staging, manifest)
        except OSError as error:
            raise NotPublished(
                f"{filename} could not be added to {store.path}: {reason(error)}"
            ) from error
    finally:
        if os.path.lexists(staging):
            linker.remove_tree(staging)
    if name is not None:
        return _entry_of(shard / name, manifest)
    found = find(store, digest, filename)
    if found.entry is None:
        raise NotPublished(f"{filename} could not be added to {store.path}: its place is taken")
    return found.entry


def _reveal(store: Store, staging: Path, manifest: Manifest) -> str | None:
    """Rename ``staging`` to the entry's name; None where a usable entry is there already."""
    mine = f"{manifest.digest}.{trust.user_id()}"
    for name in (manifest.digest, mine):
        target = staging.parent / name
        # rename(2) would replace an empty directory, so it must not be tried on any.
        if not os.path.lexists(target):
            try:
                os.rename(staging, target)
                return name
            except OSError:
                # ENOTEMPTY or EEXIST; EPERM across owners; EACCES and ENOENT on some network
                # file systems: somebody was faster, unless there is nothing at all.
                if not os.path.lexists(target):
                    raise
        if find(store, manifest.digest, manifest.filename).entry is not None:
            return None
    return None


def _entry_of(path: Path, manifest: Manifest) -> Entry:
    status = os.stat(path)
    return Entry(path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _unpack(path: Path, filename: str, digest: Digest, staging: Path) -> Manifest:
    """Fill ``staging`` with the wheel and its files, final modes and all, and make it durable.

    Raises UnusualWheel, NotPublished if the wheel's bytes are not those of ``digest``, OSError.
    """
    now = int(time.time())
    copy = staging / filename
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as source, linker.create_file(copy, _FILE, now) as target:
        for block in wheel.blocks(source):
            hasher.update(block)
            size += len(block)
            linker.write_all(target, block)
    if hasher.hexdigest() != digest:
        raise NotPublished(f"{path} changed while it was read")
    files: list[StoredFile] = []
    directories = {staging, staging / "files"}
    linker.make_directory(staging / "files", 0o700)
    try:
        with zipfile.ZipFile(copy) as archive:
            for member in wheel.members(archive, filename):
                target_path = staging / "files" / member.path
                _make_directories(target_path.parent, directories)
                files.append(_extract(archive, member, target_path, now))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise UnusualWheel(f"{filename}: {error}") from error
    manifest = Manifest(filename, digest, size, tuple(files))
    with linker.create_file(staging / MANIFEST, _FILE, now) as target:
        linker.write_all(target, manifest.to_json().encode("utf-8"))
    unpacked = [staging / "files" / file.path for file in files]
    linker.synchronise(staging, [copy, staging / MANIFEST, *unpacked])
    for directory in sorted(directories, key=lambda item: len(item.parts), reverse=True):
        linker.set_directory(directory, _DIRECTORY)
    return manifest


def _make_directories(path: Path, known: set[Path]) -> None:
    if path not in known:
        _make_directories(path.parent, known)
        linker.make_directory(path, 0o700)
        known.add(path)


def _extract(
    archive: zipfile.ZipFile, member: wheel.Member, target_path: Path, mtime: int
) -> StoredFile:
    hasher, size = hashlib.sha256(), 0
    mode = _PROGRAM if member.executable else _FILE
    with (
        archive.open(member.info) as source,
        linker.create_file(target_path, mode, mtime) as target,
    ):
        for block in wheel.blocks(source):
            hasher.update(block)
            size += len(block)
            linker.write_all(target, block)
    return StoredFile(member.path, size, hasher.hexdigest(), member.executable, mtime)


def _sweep(shard: Path) -> None:
    """Remove staging directories that killed publishers of ours left in ``shard``."""
    for left in shard.glob(".new-*"):
        try:
            status = left.lstat()
            if status.st_uid != trust.user_id() or not stat.S_ISDIR(status.st_mode):
                continue
            _, host, pid, _ = left.name.split("-", 3)
            old = time.time() - status.st_mtime > _STALE
            if old if host != _HOST else not linker.alive(int(pid)):
                linker.remove_tree(left)
        except (OSError, ValueError):
            continue  # a neighbour removed it, or it is not one of ours
