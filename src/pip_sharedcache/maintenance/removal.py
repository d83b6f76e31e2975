"""The removal of entries that a user names: retired as garbage collection retires entries.

Entries that are in use, and entries to which symlinks lead, stay. An installation that holds a
removed entry open goes on undisturbed; garbage collection deletes the files an hour later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.maintenance.entries import Track, read_entries
from pip_sharedcache.maintenance.gc import Refusal, retire_all, retire_build_records
from pip_sharedcache.maintenance.retention import Kept, reasons, spared
from pip_sharedcache.store import run_log, symlink_registry, usage_marks
from pip_sharedcache.store.entries import StoredEntry
from pip_sharedcache.store.layout import BYTECODE, USE, WHEELS, Store

_FOREIGN_BYTECODE = "bytecode of other users, which gc retires a month after its last use"


@dataclass(frozen=True)
class Removal:
    """The result of one removal.

    ``dry_run``: whether nothing was changed, and the result is a forecast.
    ``retired``: the entries that were retired.
    ``kept``: why selected entries stay.
    ``refused``: the entries that this user may not retire, or that the system refused to retire.
    ``missing``: the names that select no entry.
    ``unread``: the paths that could not be read, each with the reason.
    ``marks_unread``: whether nothing was retired because entries in use could look unused.
    """

    dry_run: bool
    retired: tuple[StoredEntry, ...]
    kept: tuple[Kept, ...]
    refused: tuple[Refusal, ...]
    missing: tuple[str, ...]
    unread: tuple[tuple[Path, str], ...]
    marks_unread: bool


def may_retire(store: Store, publisher: int) -> bool:
    """Return whether this user may retire entries of ``publisher`` in ``store``.

    Only root, the publisher and the store's owner may.
    """
    return not trust.OWNERS_MEAN_SOMETHING or trust.user_id() in (0, publisher, store.owner)


def remove(
    store: Store, names: Sequence[str], *, dry_run: bool = False, track: Track = iter
) -> Removal:
    """Retire the entries of ``store`` that ``names`` select, with the bytecode of their wheels.

    ``names``, ``track``: as for read_entries. Nothing is retired if usage marks or records of
    symlinks cannot be read, because an entry in use would look unused. Raise OSError.

    The order is that of gc.collect: the time is read first, and the entries before the symlinks.
    """
    now = usage_marks.now(store)
    contents = read_entries(store, names, (WHEELS, BYTECODE), track=track)
    marks: list[tuple[Path, str]] = []
    linked = symlink_registry.linked(store, marks)
    unread = dict([*contents.unread, *marks])
    marks_unread = any(store.path / USE in (path, *path.parents) for path in unread)
    protected = spared(contents.items, linked, now)
    bound = {*protected.recent, *protected.linked}
    free = [item for item in contents.items if item not in bound and not marks_unread]
    wheels = [item for item in free if item.area == WHEELS]
    # Neither time nor the end of the symlinks would let this user retire these.
    others = [
        item
        for item in contents.of_area(WHEELS)
        if item in bound and not may_retire(store, item.publisher)
    ]
    retired, refused = _retire_all(store, [*wheels, *others], now, dry_run)
    with_wheel = {one.digest for one in contents.of_area(WHEELS) if one not in set(retired)}
    gone = {item.digest for item in retired} - with_wheel
    compiled = [one for one in free if one.area == BYTECODE and one.digest not in with_wheel]
    own = [item for item in compiled if may_retire(store, item.publisher)]
    foreign = [item for item in compiled if not may_retire(store, item.publisher)]
    more, more_refused = _retire_all(store, own, now, dry_run)
    retired, refused = retired + more, refused + more_refused
    if retired and not dry_run:
        if not unread:
            retire_build_records(store, gone.__contains__, now)
        with suppress(OSError):  # the disk may be full: the removal must not fail for that
            size = sum(item.size for item in retired)
            run_log.append_collection(store, run_log.Collection(int(now), len(retired), size))
    denied = {one.path for one in refused}
    tried = {item for item in (*wheels, *own) if item.path not in denied}
    told = {item.digest for item in others}
    left = [item for item in contents.items if item not in set(retired) and item.digest not in told]
    kept = reasons(left, tried, linked, now, None)
    if foreign:
        users = Counter(item.publisher for item in foreign)
        kept.append(Kept(_FOREIGN_BYTECODE, tuple(foreign), users))
    return Removal(
        dry_run=dry_run,
        retired=tuple(retired),
        kept=tuple(kept),
        refused=tuple(refused),
        missing=contents.missing,
        unread=tuple(unread.items()),
        marks_unread=marks_unread,
    )


def _retire_all(
    store: Store, items: Iterable[StoredEntry], now: float, dry_run: bool
) -> tuple[list[StoredEntry], list[Refusal]]:
    mine, refused = [], []
    for item in items:
        if may_retire(store, item.publisher):
            mine.append(item)
        else:
            refused.append(Refusal(item.path, item.publisher, "belongs to another user"))
    retired, more = (mine, []) if dry_run else retire_all(store, mine, now)
    return retired, refused + more
