"""Garbage collection: what nobody used for long is taken out of sight, and deleted once no
installation that had begun before can need it any more.

Everybody may run it, at any time, on any host: each takes away what the system lets them.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import linker, trust
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.linker import Directory
from pip_sharedcache.model import total_size
from pip_sharedcache.store.layout import BYTECODE, DEAD, SHARDS, WHEELS, Store
from pip_sharedcache.store.leftovers import sweep
from pip_sharedcache.store.lookup import read_manifest, wheel_name

#: Seconds. What was used within that time may be in the hands of an installation under way; what
#: was retired longer ago is in nobody's.
GRACE = 3600

_NAME = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<rest>\..+)?")


@dataclass(frozen=True)
class Item:
    """One entry in the store, whoever published it.

    ``title``: the wheel's file name, or what bytecode is for; ``publisher``: -1 where not even
    that can be told; ``size``: bytes of its files and of its wheel; ``used``: when it was used last
    or else published, seconds since the epoch; ``damage``: why it cannot be read, or "".
    """

    path: Path
    area: str
    title: str
    publisher: int
    size: int
    published: int
    used: int
    damage: str = ""

    @property
    def digest(self) -> str:
        """That of the wheel."""
        return self.path.name[:64]


def inventory(store: Store, used: dict[str, int]) -> Iterator[Item]:
    """Every visible entry of ``store``, one after another. ``used``: as from marks.used."""
    for area in (WHEELS, BYTECODE):
        for shard in SHARDS:
            try:
                with Directory.open(store.path / area) as above, above.subdirectory(shard) as held:
                    for name in sorted(held.names()):
                        if _NAME.fullmatch(name):
                            yield from _item(held, area, name, used)
            except OSError:
                continue  # not made yet, or not for us to read


def _item(shard: Directory, area: str, name: str, used: dict[str, int]) -> Iterator[Item]:
    try:
        with shard.subdirectory(name) as held:
            status = held.status()
            title, size, damage = name, 0, ""
            try:
                manifest, _ = read_manifest(held)
                title, size = manifest.filename, manifest.size + total_size(manifest.files)
            except (DamagedEntry, OSError) as error:
                damage = reason(error) if isinstance(error, OSError) else str(error)
                title = wheel_name(held) or name
    except FileNotFoundError:
        return
    except OSError as error:
        publisher = _owner_of(shard, name)
        yield Item(shard.path / name, area, name, publisher, 0, 0, 0, reason(error))
        return
    published = int(status.st_mtime)
    last = max(published, used.get(name, 0))
    yield Item(held.path, area, title, status.st_uid, size, published, last, damage)


def _owner_of(shard: Directory, name: str) -> int:
    try:
        return shard.file_status(name).st_uid
    except OSError:
        return -1


def choose(
    items: Iterable[Item],
    linked: Collection[str],
    *,
    older_than: float | None = None,
    max_size: int | None = None,
) -> list[Item]:
    """Of all ``items`` of a store, those to be retired: not used for ``older_than`` seconds; then
    the least recently used, until no more than ``max_size`` bytes are left; and bytecode of wheels
    that are gone. Never what was used within the last hour, nor what ``linked`` names, nor the
    bytecode of that."""
    now = time.time()
    whole = list(items)
    digests = {name[:64] for name in linked}
    free = sorted(
        (
            item
            for item in whole
            if item.used < now - GRACE
            and item.path.name not in linked
            and not (item.area == BYTECODE and item.digest in digests)
        ),
        key=lambda item: (item.used, str(item.path)),
    )
    left = sum(item.size for item in whole)
    chosen = []
    for item in free:
        old = older_than is not None and item.used < now - older_than
        if old or (max_size is not None and left > max_size):
            chosen.append(item)
            left -= item.size
    gone = set(chosen)
    wheels = {item.digest for item in whole if item.area == WHEELS and item not in gone}
    orphans = (item for item in free if item.area == BYTECODE and item.digest not in wheels)
    return [*chosen, *(item for item in orphans if item not in gone)]


def retire(item: Item) -> str:
    """Take ``item`` out of sight, by one rename; "" or why not. An installation that holds it
    open goes on undisturbed."""
    dead = item.path.with_name(f"{DEAD}{item.path.name}-{secrets.token_hex(4)}")
    try:
        os.rename(item.path, dead)
    except FileNotFoundError:
        return ""  # somebody else did
    except OSError as error:
        who = trust.user_name(item.publisher)
        return f"published by {who}, not yours to take away ({reason(error)})"
    return ""


def delete_retired(store: Store, grace: float = GRACE) -> tuple[int, list[tuple[Path, str]]]:
    """Delete what was retired more than ``grace`` seconds ago, and what killed publishers left:
    how many were retired, and what could not be deleted, with the reason."""
    deleted, refused = 0, []
    for shard in _shards(store):
        sweep(shard)
        for path in sorted(shard.glob(f"{DEAD}*")):
            try:
                status = path.lstat()
                # rename(2) sets the time of the last status change.
                if status.st_ctime > time.time() - grace:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    linker.remove_tree(path)
                else:  # verify --fix took away what was in the place of an entry
                    path.unlink()
                deleted += 1
            except FileNotFoundError:
                continue  # somebody else did
            except OSError as error:
                refused.append((path, reason(error)))
    return deleted, refused


def _shards(store: Store) -> Iterator[Path]:
    for area in (WHEELS, BYTECODE):
        for shard in SHARDS:
            directory = store.path / area / shard
            if os.access(directory, os.R_OK | os.X_OK):
                yield directory
