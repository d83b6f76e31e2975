"""Garbage collection: unused entries are retired, and deleted at least an hour later.

An entry is deleted once no installation that began before its retirement can need it. Every user
may run garbage collection at any time, on any host: each run handles only the files that the system
lets this user rename or delete. All times are those of the file system.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.entries import Track, read_entries
from pip_sharedcache.maintenance.retention import (
    GRACE,
    IN_USE,
    Kept,
    KeptEntries,
    choose,
    reasons,
    spared,
)
from pip_sharedcache.maintenance.signatures import delete_signatures
from pip_sharedcache.store import run_log, symlink_registry, usage_marks
from pip_sharedcache.store.built_wheels import read_build
from pip_sharedcache.store.entries import StoredEntry
from pip_sharedcache.store.layout import (
    AREAS,
    BUILDS,
    BYTECODE,
    DEAD,
    RESOLUTIONS,
    SHARDS,
    USE,
    WHEELS,
    Store,
)
from pip_sharedcache.store.stale_staging import sweep
from pip_sharedcache.store.usage_marks import ENTRY_NAME


class Refusal(NamedTuple):
    """A file that this process could not retire or delete.

    ``path``: the path.
    ``owner``: the uid of the owner.
    ``reason``: the reason, in words.
    """

    path: Path
    owner: int
    reason: str


@dataclass
class Deleted:
    """The result for entries that had been retired before.

    ``deleted``: the number of entries that were deleted.
    ``kept``: the number of entries that stay until their hour is over.
    ``refused``: the files that cannot be deleted.
    ``unread``: shards that cannot be read, each with the reason.
    """

    deleted: int = 0
    kept: int = 0
    refused: list[Refusal] = field(default_factory=list)
    unread: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Collection:
    """The result of one garbage collection.

    ``dry_run``: whether nothing was changed, and the result is a forecast.
    ``retired``: the entries that were retired.
    ``left``: the bytes of the entries that stay.
    ``spared``: entries that are kept whatever age or size is asked for.
    ``linked``: entries that stay for symlinks, each with the uid of the symlinks and their place.
    ``reasons``: why the entries that stay do so.
    ``deleted``: as in Deleted.
    ``kept``: as in Deleted.
    ``refused``: the files that could not be retired or deleted.
    ``unread``: the paths that could not be read, each with the reason.
    """

    dry_run: bool
    retired: tuple[StoredEntry, ...]
    left: int
    spared: KeptEntries
    linked: tuple[tuple[StoredEntry, int, str], ...]
    reasons: tuple[Kept, ...]
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
    """Retire the entries of ``store`` that ``choose`` returns, and delete old retired ones.

    Banned wheels are retired whatever their age is, unless they are in use. Entries are deleted if
    they were retired more than an hour ago. ``track`` receives each entry as it is read. Raise
    OSError.

    The order of these steps makes this safe beside installations. The time is read first:
    ``retire`` spares entries that come into use after this time. Entries are read before symlinks,
    because an installation marks an entry before it registers symlinks to the entry. Build records
    are compared with the wheels that are left, and signatures with all that is left. Marks and
    symlinks are forgotten last, after all steps that use them.
    """
    now = usage_marks.now(store)
    contents = read_entries(store, areas=(WHEELS, BYTECODE, RESOLUTIONS), track=track)
    marks: list[tuple[Path, str]] = []
    linked = symlink_registry.linked(store, marks)
    unread = dict([*contents.unread, *marks])
    retired = choose(contents.items, linked, now, older_than=older_than, max_size=max_size)
    # A run that began before a ban can publish afterwards what is banned.
    protected = spared(contents.items, linked, now)
    bound = {*protected.recent, *protected.linked}
    retired += [
        item
        for item in contents.of_area(WHEELS)
        if item not in {*retired, *bound} and store.bans.find(item.digest, item.title) is not None
    ]
    if any(store.path / USE in (path, *path.parents) for path in unread):
        retired = []  # entries in use would count as unused
    # The wheel of bytecode can be in a shard that cannot be read.
    retired = [one for one in retired if one.area != BYTECODE or not contents.is_unread(one.digest)]
    chosen = set(retired)
    refused: list[Refusal] = []
    done = Deleted()
    if not dry_run:
        retired, refused = retire_all(store, retired, now)
    denied = {item for item in chosen if any(item.path == one.path for one in refused)}
    gone = set(retired)
    left = [item for item in contents.items if item not in gone]
    if not dry_run:
        if not unread:
            wheels = {item.digest for item in left if item.area == WHEELS}
            retire_build_records(store, lambda digest: digest not in wheels, now)
            delete_signatures(store, now)
        done = delete_retired(store, now)
        if retired:
            size = sum(item.size for item in retired)
            with suppress(OSError):  # the disk may be full: gc must not fail for that
                run_log.append_collection(store, run_log.Collection(int(now), len(retired), size))
        usage_marks.forget(store, contents, now - GRACE)
        symlink_registry.forget(store)
    return Collection(
        dry_run=dry_run,
        retired=tuple(retired),
        left=sum(item.size for item in left),
        spared=protected,
        linked=tuple(
            (item, user, where)
            for item in contents.items
            for user, where, _ in linked.get(item.path.name, ())
        ),
        reasons=tuple(reasons(left, chosen - denied, linked, now, older_than)),
        deleted=done.deleted,
        kept=done.kept,
        refused=(*refused, *done.refused),
        unread={**unread, **dict(done.unread)},
    )


def retire_all(
    store: Store, items: Iterable[StoredEntry], now: float
) -> tuple[list[StoredEntry], list[Refusal]]:
    """Retire ``items`` as ``retire`` does; return those retired, and those that were refused."""
    retired, refused = [], []
    for item in items:
        try:
            if retire(store, item, now):
                retired.append(item)
        except OSError as error:
            refused.append(Refusal(item.path, item.publisher, reason(error)))
    return retired, refused


def retire(store: Store, item: StoredEntry, now: float) -> bool:
    """Retire ``item`` by one rename; return whether this was done.

    An installation that holds the entry open goes on undisturbed. False if the entry has vanished,
    was replaced, or has come into use since ``now``, the time at which ``item`` was read. Raise
    OSError if the system refuses.
    """
    if _in_use(store, item, now):
        return False  # an installation that is about to open the entry must always find it
    try:
        dead = retire_path(item.path)
    except FileNotFoundError:
        return False
    # An installation marks an entry, then looks whether it exists. This function renames the entry,
    # then looks for marks. So one of the two notices the other, and no broken symlink is left.
    status = dead.lstat()
    if (status.st_dev, status.st_ino) == item.identity and not _in_use(store, item, now):
        return True
    if not os.path.lexists(item.path):
        os.rename(dead, item.path)
    return False


def retire_path(path: Path) -> Path:
    """Rename the entry ``path`` so that no new run finds it, and return the new path.

    Raise OSError.
    """
    dead = path.with_name(dead_name(path.name))
    os.rename(path, dead)
    return dead


def _in_use(store: Store, item: StoredEntry, now: float) -> bool:
    newest = next(iter(usage_marks.uses(store, item.path.name)), item.last_use)
    return replace(item, last_use=newest).used(now) >= now - IN_USE


def dead_name(name: str) -> str:
    """Return a new name for the retired entry ``name``."""
    return f"{DEAD}{name}-{secrets.token_hex(4)}"


def retire_build_records(store: Store, is_gone: Callable[[str], bool], now: float) -> None:
    """Retire build records that lead to a wheel that ``is_gone``, as far as the system permits.

    ``is_gone``: returns whether the store has no wheel with this digest. Raise nothing: a record
    that stays does no harm.
    """
    for name in SHARDS:
        with suppress(OSError), store.opened(BUILDS, name) as (shard, *_):
            for note in filter(ENTRY_NAME.fullmatch, shard.names()):
                with suppress(OSError):
                    if _leads_nowhere(shard, note, is_gone, now):
                        retire_path(shard.path / note)


def _leads_nowhere(shard: Directory, note: str, is_gone: Callable[[str], bool], now: float) -> bool:
    with shard.subdirectory(note) as held:
        status = held.status()
        if status.st_mtime > now - GRACE:
            return False  # its wheel may have been published since the entries were read
        build = read_build(held, (status.st_dev, status.st_ino))
    return build is None or is_gone(build.digest)


def delete_retired(store: Store, now: float) -> Deleted:
    """Delete entries retired more than an hour before ``now``, and remains of killed publishers.

    ``now`` is as from usage_marks.now. Raise nothing: the result lists the files that cannot be
    deleted and the shards that cannot be read.
    """
    done = Deleted()
    for area in AREAS:
        for name in SHARDS:
            try:
                fs.retry_stale(lambda: _delete_in(store, area, name, now, done))  # noqa: B023
            except FileNotFoundError:
                continue  # not made yet
            except OSError as error:
                done.unread.append((store.path / area / name, reason(error)))
    return done


def _delete_in(store: Store, area: str, name: str, now: float, done: Deleted) -> None:
    """Delete in one shard, and count in ``done``. Raise OSError before anything is counted."""
    with store.opened(area, name) as (shard, *_):
        sweep(shard)
        dead = [one for one in shard.names() if one.startswith(DEAD)]
        for found in (_delete(shard, one, now) for one in dead):
            if isinstance(found, Refusal):
                done.refused.append(found)
            else:
                done.deleted += found is True
                done.kept += found is False


def _delete(shard: Directory, name: str, now: float) -> Refusal | bool | None:
    """Delete the retired entry ``name``, and return whether its hour was over.

    Return None if there is nothing to report, and a Refusal if the entry cannot be deleted.
    """
    path = shard.path / name
    try:
        status = shard.file_status(name)
    except FileNotFoundError:
        return None  # another process deleted it
    retired = status.st_ctime  # set by rename(2); no user can choose a ctime
    try:
        if trust.user_id() not in (0, status.st_uid):
            late = retired < now - GRACE
            return Refusal(path, status.st_uid, "belongs to another user") if late else None
        if retired > now + GRACE:
            # The clock was wrong at the time: after another rename, the hour begins now.
            os.rename(path, path.with_name(dead_name(name[len(DEAD) :].rpartition("-")[0])))
        if retired > now - GRACE:
            return False
        if stat.S_ISDIR(status.st_mode):
            fs.remove_tree(path, shard)
        else:
            shard.remove(name)
        return True
    except FileNotFoundError:
        return None  # another process deleted it
    except OSError as error:
        return Refusal(path, status.st_uid, reason(error))
