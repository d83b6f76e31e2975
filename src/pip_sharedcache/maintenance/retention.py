"""The choice of the entries that garbage collection retires, and of those that it never does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pip_sharedcache import fs
from pip_sharedcache.fs import Directory
from pip_sharedcache.store import usage_marks
from pip_sharedcache.store.entries import StoredEntry
from pip_sharedcache.store.layout import BYTECODE, WHEELS
from pip_sharedcache.store.symlink_registry import LinkHolder

#: Seconds. An installation that still runs can need an entry that was used within this time. No
#: installation needs an entry that was retired before this time.
GRACE = 3600

#: Seconds for which bytecode without its wheel is kept: the wheel can be in another layer, for
#: example in a site's store.
_ALONE = 30 * 24 * 3600
#: Seconds. The usage mark of an entry that was used within the last hour can be this old.
IN_USE = GRACE + usage_marks.FRESH

#: What symlink_registry.linked returns: the holders of symlinks, by the names of the entries.
Links = Mapping[str, Sequence[LinkHolder]]


class KeptEntries(NamedTuple):
    """Entries that are kept, whatever age or size the caller asks for.

    ``recent``: entries used within the last hour.
    ``linked``: entries to which symlinks lead.
    """

    recent: tuple[StoredEntry, ...] = ()
    linked: tuple[StoredEntry, ...] = ()


def choose(
    items: Iterable[StoredEntry],
    linked: Links,
    now: float,
    *,
    older_than: float | None = None,
    max_size: float | None = None,
) -> list[StoredEntry]:
    """Return those of all ``items`` of a store that are to be retired.

    These are the entries not used for ``older_than`` seconds; then the least recently used, until
    no more than ``max_size`` bytes are left; then the bytecode of these wheels. Resolutions need no
    wheel in the store. Bytecode without a
    wheel in the store is retired if it was not used for 30 days. Entries used within the last hour,
    entries to which symlinks lead and the bytecode of linked wheels are never chosen. ``now`` is as
    from usage_marks.now.
    """
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


def holders_in(linked: Links) -> Callable[[StoredEntry], Sequence[LinkHolder]]:
    """Return a function that gives the holders of the symlinks that need an entry.

    The registry names entries of wheels only. An environment with symlinks into such an entry has
    symlinks into its bytecode, too.
    """
    of_wheel: dict[str, list[LinkHolder]] = {}
    for name, some in linked.items():
        of_wheel.setdefault(name[:64], []).extend(some)

    def holders(item: StoredEntry) -> Sequence[LinkHolder]:
        if item.area == BYTECODE:
            return of_wheel.get(item.digest, ())
        return linked.get(item.path.name, ())

    return holders


def spared(items: Iterable[StoredEntry], linked: Links, now: float) -> KeptEntries:
    """Return the ``items`` that ``choose`` never returns; linked ones do not count as recent."""
    holders = holders_in(linked)
    recent, bound = [], []
    for item in items:
        if holders(item):
            bound.append(item)
        elif item.used(now) >= now - IN_USE:
            recent.append(item)
    return KeptEntries(tuple(recent), tuple(bound))


class Kept(NamedTuple):
    """Entries that stay for one reason.

    ``reason``: the reason, in words that follow the number of the entries.
    ``items``: the entries.
    ``users``: the number of these entries that each user (uid) keeps.
    ``hint``: what lets gc retire them; "" if only time does.
    """

    reason: str
    items: tuple[StoredEntry, ...]
    users: Mapping[int, int]
    hint: str = ""


def reasons(
    left: Iterable[StoredEntry],
    chosen: Container[StoredEntry],
    linked: Links,
    now: float,
    older_than: float | None,
) -> list[Kept]:
    """Return why the entries ``left`` stay, the most frequent reason first.

    ``chosen``: those that were to be retired. An entry that stays because it fits into the size, or
    because the system refuses, has no reason here. The other arguments are as for ``choose``.
    """
    found: dict[tuple[str, str], list[tuple[StoredEntry, set[int]]]] = {}
    kept = spared(left := list(left), linked, now)
    holders = holders_in(linked)
    bound, recent = set(kept.linked), set(kept.recent)
    for item in left:
        users, hint = {item.last(now).user}, ""
        if item in bound:
            own = holders(item)
            users = {one.user for one in own}
            unseen = min(one.unseen for one in own)  # "" if one link is seen
            reason = f"symlinks lead there from an environment {unseen}".rstrip()
            if unseen:
                reason = f"symlinks may lead there from an environment {unseen}"
                hint = "run the same command where the environment can be seen"
        elif item in recent:
            reason = "used or published within the last hour"
        elif item in chosen:
            reason = "came into use meanwhile"
        elif older_than is not None and item.used(now) >= now - older_than:
            reason = "used since then"
        else:
            continue
        found.setdefault((reason, hint), []).append((item, users))
    kept_for = [
        Kept(reason, tuple(item for item, _ in some), Counter(chain(*(by for _, by in some))), hint)
        for (reason, hint), some in found.items()
    ]
    return sorted(kept_for, key=lambda one: -len(one.items))


def _size(item: StoredEntry) -> int:
    """Return the bytes that ``item`` takes on the disk; 0 if the entry cannot be read.

    The size in the manifest is not used: with a false size, one group member could cause the
    collection of all other users' entries.
    """
    try:
        with Directory.open(item.path) as held:
            return fs.tree_size(held)
    except OSError:
        return 0  # retired meanwhile, or this user may not read it
