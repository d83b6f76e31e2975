"""Garbage collection: what nobody used for long is taken out of sight, and deleted once no
installation that had begun before can need it any more.

Everybody may run it, at any time, on any host: each takes away what the system lets them. All times
are the file system's own.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.entries import Track, read_entries
from pip_sharedcache.store import run_log, symlink_registry, usage_marks
from pip_sharedcache.store.built_wheels import read_build
from pip_sharedcache.store.entries import StoredEntry
from pip_sharedcache.store.layout import BUILDS, BYTECODE, DEAD, SHARDS, WHEELS, Store
from pip_sharedcache.store.stale_staging import sweep
from pip_sharedcache.store.usage_marks import ENTRY_NAME

#: Seconds. What was used within that time may be in the hands of an installation under way; what
#: was retired longer ago is in nobody's.
GRACE = 3600

#: Seconds for bytecode of no wheel here: that may lie in another layer, a site's store, say.
_ALONE = 30 * 24 * 3600
#: What was used within the last hour may have a mark that is so old.
_IN_USE = GRACE + usage_marks.FRESH


@dataclass(frozen=True)
class KeptEntries:
    """Entries that are kept whatever age or size is asked for: used within the last hour
    (``recent``), or led to by symlinks (``linked``)."""

    recent: tuple[StoredEntry, ...] = ()
    linked: tuple[StoredEntry, ...] = ()


class Refusal(NamedTuple):
    """A ``path`` that belongs to the uid ``owner`` and that this process could not take away."""

    path: Path
    owner: int
    reason: str


@dataclass
class Deleted:
    """What became of the entries that had been retired.

    ``deleted``: how many were deleted; ``kept``: how many stay until their hour is over;
    ``refused``: what cannot be deleted; ``unread``: shards that cannot be read, and why.
    """

    deleted: int = 0
    kept: int = 0
    refused: list[Refusal] = field(default_factory=list)
    unread: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Collection:
    """What one garbage collection did, or would do (``dry_run``).

    ``retired``: entries taken out of sight; ``left``: bytes of those that stay; ``spared``: entries
    that no age and no size takes now; ``linked``: entries that stay for symlinks, each with whose
    they are (uid) and where; ``deleted``, ``kept``: as in Deleted; ``refused``: what could not be
    taken away; ``unread``: what could not be read, and why.
    """

    dry_run: bool
    retired: tuple[StoredEntry, ...]
    left: int
    spared: KeptEntries
    linked: tuple[tuple[StoredEntry, int, str], ...]
    deleted: int
    kept: int
    refused: tuple[Refusal, ...]
    unread: Mapping[Path, str]


def collect(
    store: Store,
    *,
    older_than: float | None = None,
    max_size: float | None = None,
    dry_run: bool = False,
    track: Track = iter,
) -> Collection:
    """Retire the entries of ``store`` that ``choose`` chooses, and delete what was retired more
    than an hour ago. ``track`` sees each entry as it is read. Raises OSError.

    The order of these steps makes this safe beside installations. The time comes first: ``retire``
    spares what comes into use after it. Entries are read before symlinks: an installation marks an
    entry before it registers symlinks to it. Build records are compared with the wheels that are
    left. Marks and symlinks are forgotten last, after everything that goes by them.
    """
    now = usage_marks.now(store)
    contents = read_entries(store, track=track)
    linked = symlink_registry.linked(store)
    retired = choose(contents.items, linked, now, older_than=older_than, max_size=max_size)
    refused: list[Refusal] = []
    done = Deleted()
    if not dry_run:
        retired, refused = _retire_all(store, retired, now)
        gone = set(retired)
        left = {item.digest for item in contents.items if item.area == WHEELS and item not in gone}
        retire_build_records(store, left, now)
        done = delete_retired(store, now)
        _record(store, retired, now)
        usage_marks.forget(store, {item.path.name for item in contents.items}, now - GRACE)
        symlink_registry.forget(store)
    gone = set(retired)
    return Collection(
        dry_run=dry_run,
        retired=tuple(retired),
        left=sum(item.size for item in contents.items if item not in gone),
        spared=spared(contents.items, linked, now),
        linked=tuple(
            (item, user, where)
            for item in contents.items
            for user, where in linked.get(item.path.name, ())
        ),
        deleted=done.deleted,
        kept=done.kept,
        refused=(*refused, *done.refused),
        unread=dict([*done.unread, *contents.unread]),
    )


def _retire_all(
    store: Store, items: Iterable[StoredEntry], now: float
) -> tuple[list[StoredEntry], list[Refusal]]:
    retired, refused = [], []
    for item in items:
        try:
            if retire(store, item, now):
                retired.append(item)
        except OSError as error:
            refused.append(Refusal(item.path, item.publisher, reason(error)))
    return retired, refused


def _record(store: Store, retired: Sequence[StoredEntry], now: float) -> None:
    """Record it for those who look at how the store grows."""
    if retired:
        size = sum(item.size for item in retired)
        with suppress(OSError):  # the disk may be full: what was taken makes room
            run_log.append_collection(store, run_log.Collection(int(now), len(retired), size))


def choose(
    items: Iterable[StoredEntry],
    linked: Iterable[str],
    now: float,
    *,
    older_than: float | None = None,
    max_size: float | None = None,
) -> list[StoredEntry]:
    """Of all ``items`` of a store, those to be retired: not used for ``older_than`` seconds; then
    the least recently used, until no more than ``max_size`` bytes are left; and the bytecode of
    those wheels, or of none that is here, if that was not used for a month. Never what was used
    within the last hour, nor what ``linked`` names, nor the bytecode of that. ``now``: as from
    marks.now."""
    whole = list(items)
    kept = spared(whole, linked, now)
    bound = {*kept.recent, *kept.linked}
    free = sorted(
        (item for item in whole if item not in bound),
        key=lambda item: (item.used(now), str(item.path)),
    )
    chosen = {
        item: None for item in free if older_than is not None and item.used(now) < now - older_than
    }
    if max_size is not None:
        sizes = {item: _size(item) for item in whole if item not in chosen}
        left = sum(sizes.values())
        for item in free:
            if left > max_size and item not in chosen:
                chosen[item] = None
                left -= sizes[item]
    wheels = {item.digest for item in whole if item.area == WHEELS and item not in chosen}
    doomed = {item.digest for item in chosen if item.area == WHEELS}
    orphans = [
        item
        for item in free
        if item.area == BYTECODE
        and item.digest not in wheels
        and (item.digest in doomed or item.used(now) < now - _ALONE)
    ]
    chosen.update(dict.fromkeys(orphans))
    return list(chosen)


def spared(items: Iterable[StoredEntry], linked: Iterable[str], now: float) -> KeptEntries:
    """Those of ``items`` that ``choose`` never chooses; what is linked is not counted as recent."""
    names = set(linked)
    digests = {name[:64] for name in names}
    recent, bound = [], []
    for item in items:
        is_linked = item.path.name in names
        if is_linked or (item.area == BYTECODE and item.digest in digests):
            bound.append(item)
        elif item.used(now) >= now - _IN_USE:
            recent.append(item)
    return KeptEntries(tuple(recent), tuple(bound))


def _size(item: StoredEntry) -> int:
    """What ``item`` really takes: by a manifest that says much, one member could have everybody
    else's entries collected."""
    try:
        with Directory.open(item.path) as held:
            return fs.tree_size(held)
    except OSError:
        return 0  # retired meanwhile, or not for us to read


def retire(store: Store, item: StoredEntry, now: float) -> bool:
    """Take ``item`` out of sight, by one rename: whether it was done. An installation that holds it
    open goes on undisturbed.

    False where it is gone already, was replaced, or has come into use since ``now``, when ``item``
    was looked at. Raises OSError where the system does not let us.
    """
    if _in_use(store, item, now):
        return False  # what an installation is about to open is not to vanish even for a moment
    try:
        dead = retire_path(item.path)
    except FileNotFoundError:
        return False
    # An installation marks an entry, then looks whether it is there; here it is the other way
    # round. So one of the two sees the other: no symlink is left that leads nowhere.
    status = dead.lstat()
    if (status.st_dev, status.st_ino) == item.identity and not _in_use(store, item, now):
        return True
    if not os.path.lexists(item.path):
        os.rename(dead, item.path)
    return False


def retire_path(path: Path) -> Path:
    """Rename the entry ``path``, which is not to be used any more; return where it is. Raises
    OSError."""
    dead = path.with_name(_dead_name(path.name))
    os.rename(path, dead)
    return dead


def _in_use(store: Store, item: StoredEntry, now: float) -> bool:
    newest = next(iter(usage_marks.uses(store, item.path.name)), item.last_use)
    return replace(item, last_use=newest).used(now) >= now - _IN_USE


def _dead_name(name: str) -> str:
    return f"{DEAD}{name}-{secrets.token_hex(4)}"


def retire_build_records(store: Store, wheels: Container[str], now: float) -> None:
    """Take notes of built wheels out of sight that lead to none of ``wheels``, the digests of those
    that are there, as far as the system lets us. Raises nothing: what is left misleads nobody."""
    for name in SHARDS:
        with suppress(OSError), store.opened(BUILDS, name) as (shard, *_):
            for note in filter(ENTRY_NAME.fullmatch, shard.names()):
                with suppress(OSError):
                    if _leads_nowhere(shard, note, wheels, now):
                        retire_path(shard.path / note)


def _leads_nowhere(shard: Directory, note: str, wheels: Container[str], now: float) -> bool:
    with shard.subdirectory(note) as held:
        status = held.status()
        if status.st_mtime > now - GRACE:
            return False  # its wheel may have come since the store was looked through
        build = read_build(held, (status.st_dev, status.st_ino))
    return build is None or build.digest not in wheels


def delete_retired(store: Store, now: float) -> Deleted:
    """Delete what was retired more than an hour before ``now`` (as from marks.now), and what killed
    publishers left. Raises nothing: what cannot be is told."""
    done = Deleted()
    for area in (WHEELS, BYTECODE, BUILDS):
        for name in SHARDS:
            path = store.path / area / name
            try:
                with store.opened(area, name) as (shard, *_):
                    sweep(shard)
                    for dead in shard.names():
                        if not dead.startswith(DEAD):
                            continue
                        found = _delete(shard, dead, now)
                        if isinstance(found, Refusal):
                            done.refused.append(found)
                        elif found is not None:
                            done.deleted += found
                            done.kept += not found
            except FileNotFoundError:
                continue  # not made yet
            except OSError as error:
                done.unread.append((path, reason(error)))
    return done


def _delete(shard: Directory, name: str, now: float) -> Refusal | bool | None:
    """Delete what was retired under ``name``, and return whether its hour was over; None where
    there is nothing to be said of it."""
    path = shard.path / name
    try:
        status = shard.file_status(name)
    except FileNotFoundError:
        return None  # somebody else did
    retired = status.st_ctime  # set by rename(2), and by nobody at will
    try:
        if trust.user_id() not in (0, status.st_uid):
            if retired < now - GRACE:
                return Refusal(path, status.st_uid, "belongs to somebody else")
            return None
        if retired > now + GRACE:
            # By a clock that was wrong then: with a new name, the hour begins now.
            os.rename(path, path.with_name(_dead_name(name[len(DEAD) :].rpartition("-")[0])))
        if retired > now - GRACE:
            return False
        if stat.S_ISDIR(status.st_mode):
            fs.remove_tree(path, shard)
        else:
            shard.remove(name)
        return True
    except FileNotFoundError:
        return None  # somebody else did
    except OSError as error:
        return Refusal(path, status.st_uid, reason(error))
