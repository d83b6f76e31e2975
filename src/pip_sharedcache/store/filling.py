"""The filling of a staging directory: with a wheel and its files, with bytecode, with a record."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import NotPublished, UnusualWheel
from pip_sharedcache.fs.workers import map_in_workers
from pip_sharedcache.model import Compiled, Digest, Manifest, StoredFile
from pip_sharedcache.store.entry_reading import MANIFEST
from pip_sharedcache.store.forms import DIRECTORY, FILE, NewPack, NewTree
from pip_sharedcache.store.packs import PACK, Layout
from pip_sharedcache.store.unpack import ProgressCallback, copy_archive, unpack_all, write

#: Fills a directory with bytecode.
Compile = Callable[[Path], Compiled]

_PIECE = 1000  # files for each task of a worker process
_WEEKS = 1 << 21  # seconds, about three and a half weeks
_EARLIEST = 315_619_200  # seconds; 1980-01-02, since FAT begins in 1980


class WheelSource(NamedTuple):
    """A wheel to unpack: its path, its file name, and the digest that its bytes must have."""

    path: Path
    filename: str
    digest: Digest


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
                manifest = Manifest(filename, digest, size, tuple(files), packed=True)
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
    manifest = Manifest(filename, digest, size, tuple(files))
    _complete(staging, manifest, directories, now)
    return manifest


def gather_bytecode(
    staging: Path, digest: Digest, interpreter: str, compile_into: Compile, pack: bool
) -> tuple[Manifest, Mapping[str, str]]:
    """Fill ``staging`` with bytecode; return the manifest, and why sources are untried.

    The compiled files get the mode FILE and one time. ``pack``: whether they become a pack if they
    can; then they are compiled in a temporary directory, which is seldom on a file server. They
    become a tree if that has too little free space. Raises OSError.
    """
    if pack:
        with contextlib.suppress(_NotPacked):
            return _compile_aside(staging, digest, interpreter, compile_into)
    now = own_time()
    top = staging / "files"
    fs.make_directory(top, 0o700)
    compiled = compile_into(top)
    made = list(compiled.made)
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


class _NotPacked(Exception):
    """Files that no pack can have, or for which the temporary directory has no free space."""


def _compile_aside(
    staging: Path, digest: Digest, interpreter: str, compile_into: Compile
) -> tuple[Manifest, Mapping[str, str]]:
    """Fill ``staging`` with a pack of bytecode. Raises _NotPacked, OSError."""
    with contextlib.ExitStack() as stack:
        try:
            directory = stack.enter_context(fs.temporary_directory()) / "files"
            directory.mkdir()
            compiled = compile_into(directory)
        except OSError as error:
            if error.errno in fs.NO_SPACE_ERRORS:
                raise _NotPacked from error
            raise
        layout = Layout((path, os.path.getsize(directory / path)) for path in compiled.made)
        if not layout.fits:
            raise _NotPacked
        manifest = Manifest(interpreter, digest, 0, (), tuple(compiled.left), packed=True)
        manifest = _pack(
            *(staging, manifest, layout, compiled.made),
            lambda path: (directory / path).read_bytes(),
        )
        return manifest, compiled.untried


def write_record(
    staging: Path, key: Digest, kind: str, name: str, data: bytes, pack: bool
) -> Manifest:
    if pack:
        layout = Layout([(name, len(data))])
        manifest = Manifest(kind, key, 0, (), packed=True)
        return _pack(staging, manifest, layout, [name], lambda _: data)
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
    paths: Sequence[str],
    read: Callable[[str], bytes],
) -> Manifest:
    """Fill ``staging`` with a pack of the files ``paths`` (in the order of ``layout``).

    ``read`` returns the bytes of one. Returns ``manifest`` with these files. Raises OSError.
    """
    now, files, facts = own_time(), [], []
    with fs.create_file(staging / PACK, FILE, now) as target:
        new = NewPack(target, layout, paths)
        for path in paths:
            data = read(path)
            crc, sha256 = zlib.crc32(data), hashlib.sha256(data).hexdigest()
            new.put(path, data, crc, executable=False)
            facts.append((crc, False))
            files.append(StoredFile(path, len(data), sha256, False, now, new.offset(path)))
        manifest = replace(manifest, files=tuple(files))
        new.finish(facts, manifest.to_json())
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
