"""The entries of a store that a command handles: all entries, or those that names select."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.maintenance.selectors import Selector
from pip_sharedcache.store import BYTECODE, WHEELS, Store, StoredEntry, usage_marks
from pip_sharedcache.store.entries import list_entries
from pip_sharedcache.store.restored import COPIED, ONE_COPIED, copied_hint
from pip_sharedcache.store.usage_marks import ENTRY_NAME, UsageMark

#: A function that passes entries on as they are read, for example to show the progress.
Track = Callable[[Iterator[StoredEntry]], Iterable[StoredEntry]]


@dataclass(frozen=True)
class Contents:
    """The result of reading a store.

    ``items``: the entries, or those that the names select, with their bytecode.
    ``whole``: the number of all entries that were read.
    ``missing``: the names that select no entry.
    ``unread``: shards, entries and usage marks that cannot be read, each with the reason.
    """

    items: tuple[StoredEntry, ...]
    whole: int
    missing: tuple[str, ...]
    unread: tuple[tuple[Path, str], ...]
    _names: set[str] = field(default_factory=set, repr=False, compare=False)

    def of_area(self, area: str) -> list[StoredEntry]:
        """Return the items in one area of the store."""
        return [item for item in self.items if item.area == area]

    def problems(self) -> list[str]:
        """Return a line for each path that cannot be read and each name that selects no entry."""
        return [*unread_lines(self.unread), *(f"Not in the store: {name}" for name in self.missing)]

    def is_unread(self, name: str) -> bool:
        """Return whether an entry ``name``, or one of its wheel, may be among those not read."""
        unread = {path.name[:64] for path, _ in self.unread}
        return not unread.isdisjoint((name[:64], name[:2]))

    def __contains__(self, name: object) -> bool:
        """Return whether an entry ``name`` was read, or may be among those that were not."""
        if not self._names:
            self._names.update(item.path.name for item in self.items)
        return name in self._names or self.is_unread(str(name))


def unread_lines(unread: Iterable[tuple[Path, str]], then: str = "") -> list[str]:
    """Return a line for each path that cannot be read, and a last one with their number.

    ``unread``: each path with the reason. ``then``: the consequence for each of them, in words.
    """
    lines, entries = [], 0
    for path, why in unread:
        is_entry = ENTRY_NAME.fullmatch(path.name) is not None
        what = "an entry" if is_entry else "a directory"
        lines.append(f"Cannot read {what} of the store: {path}: {why}" + (then and f"; {then}"))
        entries += is_entry
    if not lines:
        return []
    numbers = [(entries, "entry", "entries"), (len(lines) - entries, "directory", "directories")]
    parts = [f"{many:,} {one if many == 1 else more}" for many, one, more in numbers if many]
    return [*lines, f"Not read, so neither sound nor damaged: {' and '.join(parts)}"]


def copied_lines(store: Store, items: Iterable[StoredEntry]) -> list[str]:
    """Return a line for each publisher of ``items`` that lost their times in a copy of ``store``.

    Such entries are neither damaged nor used as they are: only another time shows a change.
    """
    lines = []
    for uid, many in sorted(Counter(item.publisher for item in items if item.copied).items()):
        who, number = trust.user_name(uid), f"{many:,} {'entry' if many == 1 else 'entries'}"
        owner = "" if uid == store.owner else f", a store of {trust.user_name(store.owner)},"
        did, wheels, them = (
            (COPIED, "the wheels", "them") if many > 1 else (ONE_COPIED, "its wheel", "it")
        )
        lines.append(
            f"{number} of {who} in {store.path}{owner} {did}: installations check {wheels} in a "
            f"copy, and use nothing else of {them}; hint: {copied_hint(store.path, who)}"
        )
    return lines


def read_entries(
    store: Store,
    names: Sequence[str] = (),
    areas: Iterable[str] = (WHEELS, BYTECODE),
    *,
    uses: bool = True,
    track: Track = iter,
) -> Contents:
    """Read the entries of ``store`` that ``names`` select; all entries if there are no names.

    ``names``: words as for Selector. ``uses``: whether the usage marks are read, too. Raise
    OSError.
    """
    unread: list[tuple[Path, str]] = []
    last: dict[str, UsageMark] = {}
    if uses:
        last = usage_marks.last_uses(store, unread)
    else:
        unread += usage_marks.unread_of(store)
    items = list(track(list_entries(store, last, unread, areas)))
    digests: set[str] = set()
    missing = []
    for name in names:
        selector = Selector(name)
        found = {item.digest for item in items if selector.selects(item)}
        digests |= found
        if not found:
            missing.append(name)
    meant = (item for item in items if not names or item.digest in digests)
    return Contents(tuple(meant), len(items), tuple(missing), tuple(unread))
