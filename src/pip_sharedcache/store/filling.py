"""The filling of a staging directory: with a wheel and its files, with bytecode, with a record."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import NotPublished, UnusualWheel
from pip_sharedcache.fs.workers import map_in_workers
from pip_sharedcache.model import Compiled, Digest, Manifest, Spooled, StoredFile
from pip_sharedcache.store.entry_reading import MANIFEST
from pip_sharedcache.store.forms import DIRECTORY, FILE, NewPack, NewTree
from pip_sharedcache.store.packs import PACK, Layout
from pip_sharedcache.store.spools import Spools, open_spools
from pip_sharedcache.store.unpack import ProgressCallback, copy_archive, unpack_all, write

#: Appends bytecode to spools.
Compile = Callable[[Spools], Compiled]

_PIECE = 1000  # files for each task of a worker process
_WEEKS = 1 << 21  # seconds, about three and a half weeks
_EARLIEST = 315_619_200  # seconds; 1980-01-02, since FAT begins in 1980


class WheelSource(NamedTuple):
    """A wheel to unpack.

    ``path``: where it is.
    ``filename``: its file name.
    ``digest``: the digest that its bytes must have.
    ``public``: as in Manifest.
    """

    path: Path
    filename: str
    digest: Digest
    public: bool = False


def unpack_wheel(
    source: WheelSource,
    staging: Path,
    now: int,
    on_progress: ProgressCallback | None,
    pack: bool,
) -> Manifest:
    """Fill ``staging`` with the wheel and its files, in their final modes, with the time ``now``.

    ``pack``: whether the files become a pack if they can. Raises UnusualWheel, NotPublished if the
    bytes of the wheel do not have the digest, OSError.
    """
    filename, digest = source.filename, source.digest
    copy = staging / filename
    with source.path.open("rb") as file, fs.create_file(copy, FILE, now) as target:
        copied = copy_archive(file.fileno(), target)
        size = os.fstat(target).st_size

    def check(found: Digest) -> None:
        if found != digest:
            raise NotPublished(f"{source.path} changed while it was read")

    if copied is not None:
        check(copied)
    try:
        with zipfile.ZipFile(copy) as archive:
            members = wheel.members(archive, filename)
        paths = [member.path for member in members]
        layout = Layout((member.path, member.info.file_size) for member in members)
        if pack and layout.fits:
            with fs.create_file(staging / PACK, FILE, now) as target:
                new = NewPack(target, layout, paths)
                files, copied = unpack_all(copy, members, new, now, on_progress, digest=copied)
                check(copied)
                manifest = Manifest(
                    filename, digest, size, tuple(files), packed=True, public=source.public
                )
                facts = [(member.info.CRC, member.executable) for member in members]
                new.finish(facts, manifest.to_json())
            return manifest
        top = staging / "files"
        directories = _make_tree(top, paths)
        tree = NewTree(top, now)
        files, copied = unpack_all(copy, members, tree, now, on_progress, digest=copied)
        check(copied)
    except BaseException as error:
        if copied is None and isinstance(error, (UnusualWheel, *wheel.BROKEN)):
            check(wheel.digest_of(copy)[0])
        if isinstance(error, wheel.BROKEN):
            raise UnusualWheel(f"{filename}: {error}") from error
        raise
    manifest = Manifest(filename, digest, size, tuple(files), public=source.public)
    _complete(staging, manifest, directories, now)
    return manifest


def gather_bytecode(
    staging: Path, digest: Digest, interpreter: str, compile_into: Compile, pack: bool
) -> tuple[Manifest, Mapping[str, str]]:
    """Fill ``staging`` with bytecode; return the manifest, and why sources are untried.

    The compiled files get the mode FILE and one time. ``pack``: whether they become a pack if they
    can. Raises OSError.
    """
    try:
        with open_spools() as spools:
            compiled = compile_into(spools)
            return _keep(staging, digest, interpreter, compiled, pack), compiled.untried
    except OSError as error:
        if error.errno not in fs.NO_SPACE_ERRORS or os.listdir(staging):
            raise
    # The temporary directory is full, the store need not be.
    with open_spools(staging) as spools:
        compiled = compile_into(spools)
        return _keep(staging, digest, interpreter, compiled, pack), compiled.untried


def _keep(
    staging: Path, digest: Digest, interpreter: str, compiled: Compiled, pack: bool
) -> Manifest:
    """Fill ``staging`` with what was compiled; return the manifest. Raises OSError."""
    manifest = Manifest(interpreter, digest, 0, (), tuple(compiled.left), packed=pack)
    if pack:
        layout = Layout((made.path, made.size) for made in compiled.made)
        if layout.fits:
            return _pack(staging, manifest, layout, compiled.made, _spooled)
    now = own_time()
    paths = [made.path for made in compiled.made]
    tree = NewTree(staging / "files", now)
    directories = _make_tree(staging / "files", paths)

    def finish(some: Sequence[Spooled]) -> list[StoredFile]:
        for made in some:
            tree.put(made.path, _spooled(made), made.crc, executable=False)
        return [StoredFile(made.path, made.size, made.sha256, False, now) for made in some]

    def again(some: Sequence[Spooled]) -> list[StoredFile]:
        for made in some:
            tree.undo(made.path)
        return finish(some)

    made = compiled.made
    pieces = [made[start : start + _PIECE] for start in range(0, len(made), _PIECE)]
    files = [file for part in map_in_workers(pieces, finish, again) for file in part]
    manifest = replace(manifest, files=tuple(files), packed=False)
    _complete(staging, manifest, directories, now)
    return manifest


def _spooled(made: Spooled) -> bytes:
    data = fs.read_at(made.spool, made.size, made.start)
    if len(data) != made.size:
        raise OSError(errno.EIO, f"A spool ends within {made.path}")
    return data


def write_record(
    staging: Path, key: Digest, kind: str, name: str, data: bytes, pack: bool
) -> Manifest:
    if pack:
        layout = Layout([(name, len(data))])
        sums = zlib.crc32(data), hashlib.sha256(data).hexdigest()
        record = Spooled(name, -1, 0, len(data), *sums)
        manifest = Manifest(kind, key, 0, (), packed=True)
        return _pack(staging, manifest, layout, [record], lambda _: data)
    now = own_time()
    top = staging / "files"
    fs.make_directory(top, 0o700)
    with fs.create_file(top / name, FILE, now) as target:
        sha256, size = write([data], target)
    manifest = Manifest(kind, key, 0, (StoredFile(name, size, sha256, False, now),))
    _complete(staging, manifest, {top}, now)
    return manifest


def _pack(
    staging: Path,
    manifest: Manifest,
    layout: Layout,
    files: Sequence[Spooled],
    read: Callable[[Spooled], bytes],
) -> Manifest:
    """Fill ``staging`` with a pack of ``files`` (in the order of ``layout``).

    ``read`` returns the bytes of one. Returns ``manifest`` with these files. Raises OSError.
    """
    now = own_time()
    with fs.create_file(staging / PACK, FILE, now) as target:
        new = NewPack(target, layout, [file.path for file in files])
        for file in files:
            new.put(file.path, read(file), file.crc, executable=False)
        stored = [
            StoredFile(file.path, file.size, file.sha256, False, now, new.offset(file.path))
            for file in files
        ]
        manifest = replace(manifest, files=tuple(stored))
        new.finish([(file.crc, False) for file in files], manifest.to_json())
    return manifest


def own_time() -> int:
    """Return the time for all files of an entry, in seconds that every file system keeps.

    FAT, which a file server may use, keeps even seconds only; a time that a file system rounds
    looks like a modification.

    The time is a random one of the last weeks, which hardly any other entry has. Two versions of a
    wheel that are published at once might have a source of the same size. Bytecode of one, left
    over from `python -O` and in no RECORD, would then run in place of the other after an upgrade.
    """
    now = max(int(time.time()), _EARLIEST + _WEEKS)  # without a hardware clock, time starts in 1970
    return (now - secrets.randbelow(_WEEKS)) // 2 * 2


def _complete(staging: Path, manifest: Manifest, directories: set[Path], mtime: int) -> None:
    """Write the manifest, and give ``directories`` their final mode 0o555."""
    with fs.create_file(staging / MANIFEST, FILE, mtime) as target:
        fs.write_all(target, manifest.to_json().encode("utf-8"))
    for directory in sorted(directories, key=lambda item: len(item.parts), reverse=True):
        fs.set_directory(directory, DIRECTORY)


def _make_tree(top: Path, paths: Iterable[str]) -> set[Path]:
    """Make ``top`` and the directories of ``paths`` below it; return them. Raises OSError."""
    fs.make_directory(top, 0o700)
    directories = {top}
    for above in {path.rpartition("/")[0] for path in paths}:
        _make_directories(top / above, directories)
    return directories


def _make_directories(path: Path, known: set[Path]) -> None:
    if path not in known:
        _make_directories(path.parent, known)
        fs.make_directory(path, 0o700)
        known.add(path)
