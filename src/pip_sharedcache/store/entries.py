"""What a store holds: every visible entry, with all that is told of it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import PROCESS_ERRORS, Directory
from pip_sharedcache.model import Digest, Entry, Identity, Manifest, total_size
from pip_sharedcache.store.layout import BYTECODE, SHARDS, WHEELS, Store
from pip_sharedcache.store.lookup import distrust_reason, read_entry, wheel_name
from pip_sharedcache.store.usage_marks import ENTRY_NAME, UsageMark

_DAY = 24 * 3600  # seconds; no clock that is kept at all is ahead by more


@dataclass(frozen=True)
class StoredEntry:
    """One entry in the store, whoever published it.

    ``title``: the wheel's file name, or which interpreter bytecode is for; ``files``: how many it
    was unpacked to; ``size``: bytes of them and of the wheel together, as its manifest says;
    ``published``: seconds since the epoch; ``distrust_reason``: why its publisher is not believed,
    or ""; ``damage``: why it is not used, or "".
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

    @property
    def digest(self) -> str:
        """That of the wheel."""
        return self.path.name[:64]

    @property
    def entry(self) -> Entry:
        """The entry, of which nothing is believed but where it lies and what it is called."""
        manifest = Manifest(self.title, Digest(self.digest), self.size, ())
        return Entry(self.path, self.publisher, self.identity, manifest)

    def uses(self, noted: Iterable[UsageMark], now: float) -> list[UsageMark]:
        """The uses of it that count, the latest first: those ``noted`` (as from marks.uses), and
        that its publisher published it, unless the publisher used it since. Not after ``now``: a
        time that lies ahead by more than clocks differ says nothing, so that it keeps nothing for
        ever."""
        found = [UsageMark(_until(now, use.when), use.user) for use in noted]
        published = UsageMark(_until(now, self.published), self.publisher)
        if not any(use.user == published.user and use.when >= published.when for use in found):
            found.append(published)
        return sorted(found, key=lambda use: use.when, reverse=True)

    def last(self, now: float) -> UsageMark:
        """Its last use: what each command names, and garbage collection goes by."""
        return self.uses([self.last_use] if self.last_use else [], now)[0]

    def used(self, now: float) -> float:
        """When that was, in seconds since the epoch."""
        return self.last(now).when


def _until(now: float, when: float) -> float:
    return min(when, now) if when < now + _DAY else 0.0


def list_entries(
    store: Store,
    uses: Mapping[str, UsageMark],
    unread: list[tuple[Path, str]],
    areas: Iterable[str] = (WHEELS, BYTECODE),
) -> Iterator[StoredEntry]:
    """Every visible entry of ``store``, one after another. ``uses``: as from marks.last_uses.
    Shards that cannot be read are added to ``unread``, with the reason. Raises OSError where this
    process lacks what it takes (descriptors, memory)."""
    for area in areas:
        for shard in SHARDS:
            path = store.path / area / shard
            try:
                with store.opened(area, shard) as chain:
                    for name in sorted(filter(ENTRY_NAME.fullmatch, chain[0].names())):
                        item = _item(store, area, chain, name, uses.get(name))
                        if item is not None:
                            yield item
            except FileNotFoundError:
                continue  # a store made by hand has only what was needed so far
            except OSError as error:
                if error.errno in PROCESS_ERRORS:
                    raise
                unread.append((path, reason(error)))


def names(store: Store, area: str) -> set[str]:
    """Those of all visible entries in ``area``, as far as it can be read."""
    found: set[str] = set()
    for shard in SHARDS:
        with contextlib.suppress(OSError):
            found.update(filter(ENTRY_NAME.fullmatch, os.listdir(store.path / area / shard)))
    return found


def survey(store: Store) -> tuple[int, int]:
    """How many entries are visible in ``store``, and the bytes of their wheels together."""
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
    """The entry ``name``; None if it was retired meanwhile. Raises OSError."""
    shard = chain[0]
    title, files, size, damage, objection = "", 0, 0, "", ""
    try:
        status = shard.file_status(name)
        with shard.subdirectory(name) as held:
            status = held.status()
            objection = distrust_reason(store, held, chain)
            title = wheel_name(held)
            manifest = read_entry(held, status, Digest(name[:64]), area).manifest
            title, files = manifest.filename, len(manifest.files)
            size = manifest.size + total_size(manifest.files)
    except FileNotFoundError:
        return None
    except DamagedEntry as error:
        damage = str(error)
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        damage = f"{shard.path / name} cannot be read: {reason(error)}"
    identity = (status.st_dev, status.st_ino)
    return StoredEntry(
        *(shard.path / name, area, title or name, status.st_uid, identity, status.st_mtime, use),
        *(files, size, objection, damage),
    )
