"""Inventory of a store: every visible entry, with its publisher, its damage and its last use."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pip_sharedcache.errors import CopiedEntry, DamagedEntry, reason
from pip_sharedcache.fs import PROCESS_ERRORS, Directory, retry_stale
from pip_sharedcache.model import Digest, Entry, Identity, identity_of, total_size
from pip_sharedcache.store.entry_reading import MANIFEST, read_manifest, wheel_name
from pip_sharedcache.store.entry_trust import distrust_reason
from pip_sharedcache.store.layout import BYTECODE, SHARDS, WHEELS, Store
from pip_sharedcache.store.packs import PACK
from pip_sharedcache.store.restored import read_or_restore
from pip_sharedcache.store.unread import is_damage, is_damage_inside
from pip_sharedcache.store.usage_marks import ENTRY_NAME, UsageMark

_LONGEST = 2.0  # seconds
_DAY = 24 * 3600  # seconds; no maintained clock is ahead by more
#: The normalised name of a distribution (PEP 503).
_NORMALISED = re.compile("[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class StoredEntry:
    """One visible entry of a store, of any publisher.

    ``path``: the directory of the entry.
    ``area``: one of layout.AREAS.
    ``title``: the file name of the wheel, the interpreter of the bytecode, or the kind of record.
    ``publisher``: the uid that owns the entry.
    ``identity``: the device and inode of the directory.
    ``published``: seconds since the epoch.
    ``last_use``: the latest usage mark, or None.
    ``files``: the number of unpacked files.
    ``size``: bytes of the files and the wheel together, by the manifest.
    ``distrust_reason``: why the publisher is not trusted, or "".
    ``damage``: why the entry cannot be used, or "".
    ``packed``: whether its files are in a pack; known of sound entries.
    ``copied``: whether the entry lost its times because the store was copied or restored. Its
    manifest and its wheel are there, but a run uses only a checked copy of the wheel.
    ``public``: as in Manifest; False for an untrusted publisher.
    """

    path: Path
    area: str
    title: str
    publisher: int
    identity: Identity
    published: float
    last_use: UsageMark | None = None
    files: int = 0
    size: int = 0
    distrust_reason: str = ""
    damage: str = ""
    packed: bool = False
    copied: bool = False
    public: bool = False

    @property
    def digest(self) -> str:
        """Return the sha256 of the wheel."""
        return self.path.name[:64]

    @property
    def entry(self) -> Entry:
        """Return the entry without its files: only its path, name and owner are reliable."""
        return Entry.without_files(self.path, self.publisher, self.identity, self.title, self.size)

    def uses(self, noted: Iterable[UsageMark], now: float) -> list[UsageMark]:
        """Return the uses of the entry that count, the latest first.

        ``noted``: usage marks, as usage_marks.uses returns them. The publication counts as a use by
        the publisher, unless the publisher used the entry later. ``now``: seconds since the epoch.
        A use up to a day after ``now`` counts as ``now``, since clocks differ. A later one counts
        as 0: such a time is wrong, and would keep the entry for ever.
        """
        found = [UsageMark(_until(now, use.when), use.user) for use in noted]
        published = UsageMark(_until(now, self.published), self.publisher)
        if not any(use.user == published.user and use.when >= published.when for use in found):
            found.append(published)
        return sorted(found, key=lambda use: use.when, reverse=True)

    def last(self, now: float) -> UsageMark:
        """Return the last use, which commands show and garbage collection reads."""
        return self.uses([self.last_use] if self.last_use else [], now)[0]

    def used(self, now: float) -> float:
        """Return the time of the last use, in seconds since the epoch."""
        return self.last(now).when


def _until(now: float, when: float) -> float:
    return min(when, now) if when < now + _DAY else 0.0


def list_entries(
    store: Store,
    uses: Mapping[str, UsageMark],
    unread: list[tuple[Path, str]],
    areas: Iterable[str] = (WHEELS, BYTECODE),
) -> Iterator[StoredEntry]:
    """Yield every visible entry of ``store`` in ``areas``.

    ``uses``: usage marks by entry name, as usage_marks.last_uses returns them. Shards that cannot
    be read, and entries of which this says nothing else, are added to ``unread``, with the reason.
    Raises OSError if this process lacks descriptors or memory (EMFILE, ENFILE, ENOMEM).
    """
    for area in areas:
        for shard in SHARDS:
            path = store.path / area / shard
            try:
                yield from retry_stale(partial(_shard, store, area, shard, uses, unread))
            except FileNotFoundError:
                continue  # a store made by hand has only the shards that it needed so far
            except OSError as error:
                if error.errno in PROCESS_ERRORS:
                    raise
                unread.append((path, reason(error)))


def _shard(
    store: Store,
    area: str,
    shard: str,
    uses: Mapping[str, UsageMark],
    unread: list[tuple[Path, str]],
) -> list[StoredEntry]:
    """Return the entries of one shard, as ``list_entries`` does. Raises OSError."""
    items = []
    with store.opened(area, shard) as chain:
        for name in sorted(filter(ENTRY_NAME.fullmatch, chain[0].names())):

            def again(name: str = name) -> StoredEntry | None:
                with store.opened(area, shard) as fresh:
                    return _item(store, area, fresh, name, uses.get(name))

            try:
                item = retry_stale(partial(_item, store, area, chain, name, uses.get(name)), again)
            except OSError as error:
                if error.errno in PROCESS_ERRORS:
                    raise
                unread.append((chain[0].path / name, reason(error)))
            else:
                items += [] if item is None else [item]
    return items


def names(store: Store, area: str) -> set[str]:
    """Return the names of all visible entries in ``area``, except in unreadable shards."""
    found: set[str] = set()
    for shard in SHARDS:
        with contextlib.suppress(OSError):
            found.update(filter(ENTRY_NAME.fullmatch, os.listdir(store.path / area / shard)))
    return found


def releases(store: Store) -> set[tuple[str, str]]:
    """Return the names and versions of the distributions in ``store``, for a line's completion.

    No other names than normalised ones: each member of the group chooses names of files, and a
    shell puts what is offered on the user's line. After two seconds the rest is left out: on a file
    server, a large store takes longer than a user waits for the tabulator key.
    """
    found: set[tuple[str, str]] = set()
    end = time.monotonic() + _LONGEST
    for shard in SHARDS:
        with contextlib.suppress(OSError):
            for name in filter(ENTRY_NAME.fullmatch, os.listdir(store.path / WHEELS / shard)):
                if time.monotonic() > end:
                    return found
                files = os.listdir(store.path / WHEELS / shard / name)
                found.update(filter(None, map(_release, files)))
    return found


def _release(file: str) -> tuple[str, str] | None:
    """Return the name and the version of the wheel ``file``; None if it is none, or has others."""
    name, _, rest = file.partition("-")
    name, version = canonicalize_name(name), rest.partition("-")[0]
    if not file.endswith(".whl") or not _NORMALISED.fullmatch(name):
        return None
    try:
        return name, str(Version(version))
    except InvalidVersion:
        return None


def survey(store: Store) -> tuple[int, int]:
    """Return the number of visible wheel entries in ``store``, and the bytes of their wheels."""
    entries = size = 0
    for shard in SHARDS:
        try:
            names = os.listdir(store.path / WHEELS / shard)
        except OSError:
            continue
        for name in filter(ENTRY_NAME.fullmatch, names):
            entries += 1
            for file in (store.path / WHEELS / shard / name).glob("*.whl"):
                try:
                    status = file.lstat()
                except OSError:
                    continue  # retired meanwhile
                if stat.S_ISREG(status.st_mode):
                    size += status.st_size
    return entries, size


def _item(
    store: Store,
    area: str,
    chain: tuple[Directory, ...],
    name: str,
    use: UsageMark | None,
) -> StoredEntry | None:
    """Return the entry ``name``; None if it was retired meanwhile.

    Raises OSError if the entry cannot be read, which says nothing about the entry.
    """
    shard = chain[0]
    title, files, size, damage, why_not = "", 0, 0, "", ""
    packed = copied = public = False
    held = None
    try:
        status = shard.file_status(name)
    except FileNotFoundError:
        return None
    try:
        with shard.subdirectory(name) as held:
            status = held.status()
            why_not = distrust_reason(store, held, chain)
            title = wheel_name(held)
            try:
                manifest = read_or_restore(held, status, Digest(name[:64]), area).manifest
            except CopiedEntry:
                copied, manifest = True, read_manifest(held)[0]
            title, files, packed = manifest.filename, len(manifest.files), manifest.packed
            size = manifest.size + total_size(manifest.files)
            public = manifest.public and not why_not
    except FileNotFoundError:
        return None
    except DamagedEntry as error:
        damage = str(error)
    except OSError as error:
        if not _is_damage(error, status, shard, name, opened=held is not None):
            raise
        damage = f"{shard.path / name} cannot be read: {reason(error)}"
    identity = identity_of(status)
    return StoredEntry(
        *(shard.path / name, area, title or name, status.st_uid, identity, status.st_mtime, use),
        *(files, size, why_not, damage, packed, copied, public),
    )


def _is_damage(
    error: OSError, status: os.stat_result, shard: Directory, name: str, *, opened: bool
) -> bool:
    """Return whether ``error`` shows damage of the entry ``name``, which could be ``opened``."""
    if not opened:
        return is_damage(error, status)
    for file in (MANIFEST, PACK):
        with contextlib.suppress(OSError):
            return is_damage_inside(error, shard.file_status(f"{name}/{file}"))
    return is_damage(error)
