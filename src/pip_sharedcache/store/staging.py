"""Staging of entries: each is filled in its own shard, under a name that no lookup reads."""

from __future__ import annotations

import errno
import os
import secrets
import time
import zipfile
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache.errors import (
    DirectoryMissing,
    NoRoom,
    NotPublished,
    NotWritable,
    UnusualWheel,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.fs.workers import map_in_workers
from pip_sharedcache.model import (
    Compiled,
    Digest,
    Entry,
    Identity,
    Manifest,
    StoredFile,
    identity_of,
)
from pip_sharedcache.store import bytecode_paths
from pip_sharedcache.store.entry_reading import MANIFEST
from pip_sharedcache.store.layout import BUILDS, BYTECODE, WHEELS, Store
from pip_sharedcache.store.lookup import BUILD_RECORD, find, find_bytecode
from pip_sharedcache.store.stale_staging import clear, in_use, sweep
from pip_sharedcache.store.unpack import FILE, ProgressCallback, copy_archive, unpack_all, write

#: Fills a directory with bytecode.
Compile = Callable[[Path], Compiled]

#: The mode of all directories in an entry.
DIRECTORY = 0o555
_PIECE = 1000  # files for each task of a worker process
_WEEKS = 1 << 21  # seconds, about three and a half weeks
_EARLIEST = 315_619_200  # seconds; 1980-01-02, since FAT begins in 1980
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Staged:
    """An entry that is filled but not visible; this process can use it before it is published.

    ``store``: the store that the entry is for.
    ``entry``: the entry, in its staging directory.
    ``area``: one of layout.AREAS.
    ``name``: the name that the entry gets.
    ``what``: the name of the entry in messages.
    ``find_usable``: returns a visible entry that serves as well, or None.
    ``damaged``: identities of entries that the run found damaged.
    ``source``: the wheel entry that the bytecode was compiled from, the only one it fits; or None.
    ``partial``: why bytecode that lacks sources is for this process only; "" if all can use it.
    """

    store: Store
    entry: Entry
    area: str
    name: str
    what: str
    find_usable: Callable[[], Entry | None]
    damaged: Container[Identity]
    source: Identity | None = None
    partial: str = ""


def stage_wheel(
    store: Store,
    path: Path,
    filename: str,
    digest: Digest,
    damaged: Container[Identity] = (),
    *,
    mtime: int | None = None,
    on_progress: ProgressCallback | None = None,
) -> Staged:
    """Unpack the wheel at ``path``, whose sha256 is ``digest``, in its shard of ``store``.

    ``damaged``: identities of entries that do not prevent this: publication replaces this user's
    own and gives the new entry another name beside another user's. ``mtime``: the time of all files
    (seconds), such as that of the same wheel in another store; None for a new one. ``on_progress``
    receives the number of bytes ready and of all bytes. Raises NotPublished if the store cannot
    take the wheel (NoRoom for ENOSPC or EDQUOT), or UnusualWheel.
    """
    return _stage(
        store,
        WHEELS,
        digest,
        digest,
        filename,
        lambda staging: _unpack(path, filename, digest, staging, mtime or _own_time(), on_progress),
        lambda: find(store, digest, filename, damaged).entry,
        damaged,
    )


def stage_bytecode(
    store: Store,
    entry: Entry,
    tag: str,
    interpreter: str,
    compile_into: Compile,
    damaged: Container[Identity] = (),
) -> Staged:
    """Stage the bytecode of ``entry`` for ``interpreter`` in its shard of ``store``.

    ``compile_into(files)`` fills the directory ``files``. Raises NotPublished.
    """
    digest = entry.manifest.digest
    untried: dict[str, str] = {}

    def gather(staging: Path) -> Manifest:
        manifest, told = _gather(staging, digest, interpreter, compile_into)
        untried.update(
            (path, told.get(path, "nothing was made of it"))
            for path in bytecode_paths.without_bytecode(entry.manifest, manifest)
        )
        return manifest

    staged = _stage(
        store,
        BYTECODE,
        digest,
        f"{digest}.{tag}",
        f"the bytecode of {entry.manifest.filename}",
        gather,
        lambda: find_bytecode(store, entry, tag, interpreter, damaged).entry,
        damaged,
    )
    why = ""
    if untried:
        path, reason_of_one = next(iter(untried.items()))
        others = f", and {len(untried) - 1} more" if len(untried) > 1 else ""
        why = f"{path}: {reason_of_one}{others}"
    return replace(staged, source=entry.identity, partial=why)


def stage_record(
    store: Store,
    area: str,
    key: Digest,
    name: str,
    data: bytes,
    find_usable: Callable[[], Entry | None],
    damaged: Container[Identity] = (),
) -> Staged:
    """Stage an entry ``key`` in ``area`` with ``data`` in its only file ``name``.

    If ``find_usable`` finds an entry later, that one is used instead. ``damaged`` is as for
    ``stage_wheel``. Raises NotPublished.
    """
    kind = BUILD_RECORD if area == BUILDS else name.partition(".")[0]
    return _stage(
        store,
        area,
        key,
        key,
        f"a {kind} in {area}",
        lambda staging: _write_down(staging, key, kind, name, data),
        find_usable,
        damaged,
    )


def _stage(
    store: Store,
    area: str,
    digest: Digest,
    name: str,
    what: str,
    fill: Callable[[Path], Manifest],
    find_usable: Callable[[], Entry | None],
    damaged: Container[Identity],
) -> Staged:
    shard, new = _begin(store, area, digest)
    with shard:
        staging = shard.path / new
        try:
            # The shard's owner could put a link in place of the name; hold the directory open.
            with shard.subdirectory(new) as held:
                status = held.status()
                if trust.OWNERS_MEAN_SOMETHING and status.st_uid != trust.user_id():
                    raise PermissionError(errno.EPERM, "Somebody replaced what was to be published")
                manifest = fill(held.proc_path)
                held.set_mode(DIRECTORY)
                identity = identity_of(status)
            entry = Entry(staging, status.st_uid, identity, manifest)
            return Staged(store, entry, area, name, what, find_usable, damaged)
        except OSError as error:
            clear(staging)
            raise _kind(error)(f"{store.path} cannot take {what}: {reason(error)}") from error
        except BaseException:
            clear(staging)
            raise


def _begin(store: Store, area: str, digest: Digest) -> tuple[Directory, str]:
    """Open the shard, make a staging directory in it, and return the shard and the new name.

    The caller closes the shard. Raises NotPublished.
    """
    try:
        shard = store.shard(area, digest)
        try:
            sweep(shard)
            new = f".new-{fs.HOST}-{os.getpid()}-{secrets.token_hex(4)}"
            in_use[new] = shard.path / new
            fs.make_directory(shard.proc_path / new, 0o700)
        except BaseException:
            shard.close()
            raise
    except OSError as error:
        what, remedy = store.missing_directories(error)
        if what:
            raise DirectoryMissing(what, remedy) from error
        kind = NotWritable if error.errno in _READ_ONLY else _kind(error)
        raise kind(f"{store.path} cannot be written: {reason(error)}") from error
    return shard, new


def _kind(error: OSError) -> type[NotPublished]:
    return NoRoom if error.errno in fs.NO_SPACE_ERRORS else NotPublished


def _unpack(
    path: Path,
    filename: str,
    digest: Digest,
    staging: Path,
    now: int,
    on_progress: ProgressCallback | None,
) -> Manifest:
    """Fill ``staging`` with the wheel and its files, in their final modes, with the time ``now``.

    Raises UnusualWheel, NotPublished if the bytes of the wheel do not have ``digest``, OSError.
    """
    copy = staging / filename
    with path.open("rb") as source, fs.create_file(copy, FILE, now) as target:
        copied = copy_archive(source.fileno(), target)
        size = os.fstat(target).st_size

    def check(found: Digest) -> None:
        if found != digest:
            raise NotPublished(f"{path} changed while it was read")

    if copied is not None:
        check(copied)
    top = staging / "files"
    directories = {top}
    fs.make_directory(top, 0o700)
    try:
        with zipfile.ZipFile(copy) as archive:
            members = wheel.members(archive, filename)
        for above in {member.path.rpartition("/")[0] for member in members}:
            _make_directories(top / above, directories)
        files, copied = unpack_all(copy, members, top, now, on_progress, digest=copied)
        check(copied)
    except BaseException as error:
        if copied is None and isinstance(error, (UnusualWheel, *wheel.BROKEN)):
            check(wheel.digest_of(copy)[0])
        if isinstance(error, wheel.BROKEN):
            raise UnusualWheel(f"{filename}: {error}") from error
        raise
    manifest = Manifest(filename, digest, size, tuple(files))
    _complete(staging, manifest, directories, now)
    return manifest


def _gather(
    staging: Path, digest: Digest, interpreter: str, compile_into: Compile
) -> tuple[Manifest, Mapping[str, str]]:
    """Fill ``staging`` with bytecode; return the manifest, and why sources are untried.

    The compiled files get the mode FILE and one time. Raises OSError.
    """
    now = _own_time()
    top = staging / "files"
    fs.make_directory(top, 0o700)
    compiled = compile_into(top)
    made = compiled.made
    directories = _tidy(top, {top / path for path in made})

    def finish(paths: Sequence[str]) -> list[StoredFile]:
        files = []
        for path in paths:
            fs.finish_file(top / path, FILE, now)
            sha256, size = wheel.digest_of(top / path)
            files.append(StoredFile(path, size, sha256, False, now))
        return files

    pieces = [made[start : start + _PIECE] for start in range(0, len(made), _PIECE)]
    files = [file for some in map_in_workers(pieces, finish, finish) for file in some]
    manifest = Manifest(interpreter, digest, 0, tuple(files), tuple(compiled.left))
    _complete(staging, manifest, directories, now)
    return manifest, compiled.untried


def _write_down(staging: Path, key: Digest, kind: str, name: str, data: bytes) -> Manifest:
    now = _own_time()
    top = staging / "files"
    fs.make_directory(top, 0o700)
    with fs.create_file(top / name, FILE, now) as target:
        sha256, size = write([data], target)
    manifest = Manifest(kind, key, 0, (StoredFile(name, size, sha256, False, now),))
    _complete(staging, manifest, {top}, now)
    return manifest


def _own_time() -> int:
    """Return the time for all files of an entry, in seconds that every file system keeps.

    FAT, which a file server may use, keeps even seconds only; a time that a file system rounds
    looks like a modification.

    The time is a random one of the last weeks, which hardly any other entry has. Two versions of a
    wheel that are published at once might have a source of the same size. Bytecode of one, left
    over from `python -O` and in no RECORD, would then run in place of the other after an upgrade.
    """
    now = max(int(time.time()), _EARLIEST + _WEEKS)  # without a hardware clock, time starts in 1970
    return (now - secrets.randbelow(_WEEKS)) // 2 * 2


def _tidy(top: Path, made: Container[Path]) -> set[Path]:
    """Delete the files below ``top`` that are not in ``made``; return the directories that remain.

    A killed worker process leaves such files. Raises OSError.
    """
    directories = set()
    for path, _, names in os.walk(top, topdown=False, onerror=_raise):
        directory = Path(path)
        for name in names:
            if directory / name not in made:
                os.unlink(directory / name)
        if directory == top or os.listdir(directory):
            directories.add(directory)
        else:
            os.rmdir(directory)
    return directories


def _raise(error: OSError) -> None:
    """Raise ``error``: without this function, os.walk skips unreadable directories."""
    raise error


def _complete(staging: Path, manifest: Manifest, directories: set[Path], mtime: int) -> None:
    """Write the manifest, and give ``directories`` their final mode 0o555."""
    with fs.create_file(staging / MANIFEST, FILE, mtime) as target:
        fs.write_all(target, manifest.to_json().encode("utf-8"))
    for directory in sorted(directories, key=lambda item: len(item.parts), reverse=True):
        fs.set_directory(directory, DIRECTORY)


def _make_directories(path: Path, known: set[Path]) -> None:
    if path not in known:
        _make_directories(path.parent, known)
        fs.make_directory(path, 0o700)
        known.add(path)
