"""Staging of entries: each is filled in its own shard, under a name that no lookup reads."""

from __future__ import annotations

import errno
import functools
import os
import secrets
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import (
    Banned,
    DirectoryMissing,
    NoRoom,
    NotPublished,
    NotWritable,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Identity, Manifest, identity_of
from pip_sharedcache.store import bytecode_paths
from pip_sharedcache.store.filling import (
    Compile,
    WheelSource,
    gather_bytecode,
    own_time,
    unpack_wheel,
    write_record,
)
from pip_sharedcache.store.forms import DIRECTORY, is_tree
from pip_sharedcache.store.layout import BUILDS, BYTECODE, WHEELS, Store
from pip_sharedcache.store.lookup import BUILD_RECORD, find, find_bytecode
from pip_sharedcache.store.sources import Source
from pip_sharedcache.store.stale_staging import clear, in_use, sweep
from pip_sharedcache.store.unpack import ProgressCallback
from pip_sharedcache.trust import mounts

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
    ``unshared``: whether only this run may use it, since others may not trust its source.
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
    unshared: bool = False

    @property
    def is_published(self) -> bool:
        """Return whether the entry is to become visible, and not only for this run."""
        return not self.partial and not self.unshared


def stage_wheel(
    store: Store,
    source: WheelSource,
    damaged: Container[Identity] = (),
    *,
    mtime: int | None = None,
    on_progress: ProgressCallback | None = None,
    packed: bool | None = None,
) -> Staged:
    """Unpack the wheel ``source`` in its shard of ``store``.

    ``damaged``: identities of entries that do not prevent this: publication replaces this user's
    own and gives the new entry another name beside another user's. ``mtime``: the time of all files
    (seconds), such as that of the same wheel in another store; None for a new one. ``on_progress``
    receives the number of bytes ready and of all bytes. ``packed``: whether the files become a
    pack, unless they are too many or too large for one; None: as the store has it, but a tree where
    one can be replaced. Raises NotPublished if the store cannot take the wheel (NoRoom for ENOSPC
    or EDQUOT, Banned for a banned wheel), or UnusualWheel.
    """
    filename, digest = source.filename, source.digest
    if (ban := store.bans.find(digest, filename)) is not None:
        raise Banned(f"{filename} is {ban}")
    pack = store.packed if packed is None else packed
    if pack and packed is None:
        shard = store.path / WHEELS / digest[:2]
        pack = not any(is_tree(shard / name) for name in (digest, f"{digest}.{trust.user_id()}"))
    return _stage(
        store,
        WHEELS,
        digest,
        digest,
        filename,
        lambda staging: unpack_wheel(source, staging, mtime or own_time(), on_progress, pack),
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
    *,
    packed: bool | None = None,
    links: bool = False,
) -> Staged:
    """Stage the bytecode of ``entry`` for ``interpreter`` in its shard of ``store``.

    ``compile_into(spools)`` appends it to ``spools``. ``packed`` is as for ``stage_wheel``; None:
    also on a file server, where each file of a tree would be opened and closed. ``links``: whether
    this user links files, which needs a tree. Raises NotPublished.
    """
    serves = store.may_have_packs and not mounts.is_local(store.path)
    pack = store.packed or (serves and not links) if packed is None else packed
    digest = entry.manifest.digest
    untried: dict[str, str] = {}

    def gather(staging: Path) -> Manifest:
        manifest, told = gather_bytecode(staging, digest, interpreter, compile_into, pack)
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
        lambda staging: write_record(staging, key, kind, name, data, store.packed),
        find_usable,
        damaged,
    )


def restage(store: Store, area: str, entry: Entry, source: Source, *, packed: bool) -> Staged:
    """Stage the files of ``entry``, which is no wheel, anew in ``area``: as a pack, or as a tree.

    Only bytes with the sha256 of the manifest are taken from ``source``. Raises NotPublished,
    DamagedEntry.
    """
    manifest = entry.manifest

    copy = functools.partial(source.spool, manifest)

    def fill(staging: Path) -> Manifest:
        return gather_bytecode(staging, manifest.digest, manifest.filename, copy, packed)[0]

    what = f"{entry.path.name} of {area}"
    return _stage(store, area, manifest.digest, entry.path.name, what, fill, lambda: None, ())


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
