"""The entries of a store that a command is about: all of them, or those that names mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pip_sharedcache.store import BYTECODE, WHEELS, Store, StoredEntry, usage_marks
from pip_sharedcache.store.entries import list_entries

_FEWEST_DIGITS = 6  # of a digest's beginning; fewer are a name: "bad" and "face" are both

#: Passes entries on as they are read, for who wants to show how far that is.
Track = Callable[[Iterator[StoredEntry]], Iterable[StoredEntry]]


@dataclass(frozen=True)
class Contents:
    """What was read of a store.

    ``items``: its entries, or those that the names mean, with their bytecode; ``whole``: how many
    entries it has; ``missing``: the names that mean none of them; ``unread``: shards that cannot be
    read, and why.
    """

    items: tuple[StoredEntry, ...]
    whole: int
    missing: tuple[str, ...]
    unread: tuple[tuple[Path, str], ...]

    def of_area(self, area: str) -> list[StoredEntry]:
        """Return those of one area of the store."""
        return [item for item in self.items if item.area == area]

    def problems(self) -> list[str]:
        """Return a line for each shard that cannot be read and for each name that means nothing."""
        return [
            *(f"{path} cannot be read: {why}" for path, why in self.unread),
            *(f"The store has no wheel of {name}" for name in self.missing),
        ]


def read_entries(
    store: Store,
    names: Sequence[str] = (),
    areas: Iterable[str] = (WHEELS, BYTECODE),
    *,
    uses: bool = True,
    track: Track = iter,
) -> Contents:
    """Read the entries of ``store`` that ``names`` mean: a distribution (demo, demo==1.0), a
    wheel's file name, or the beginning of a digest; all where there are no names. ``uses``: whether
    the marks of their users are read, too. Raises OSError."""
    unread: list[tuple[Path, str]] = []
    last = usage_marks.last_uses(store) if uses else {}
    items = list(track(list_entries(store, last, unread, areas)))
    digests: set[str] = set()
    missing = []
    for name in names:
        found = {item.digest for item in items if _is_meant(item, name)}
        digests |= found
        if not found:
            missing.append(name)
    meant = (item for item in items if not names or item.digest in digests)
    return Contents(tuple(meant), len(items), tuple(missing), tuple(unread))


def _is_meant(item: StoredEntry, name: str) -> bool:
    if len(name) >= _FEWEST_DIGITS and item.digest.startswith(name.lower()):
        return True
    if not item.title.endswith(".whl"):
        return False
    if item.title == name:
        return True
    project, version = _parsed(item.title)
    try:
        wanted = Requirement(name)
    except InvalidRequirement:
        return project == canonicalize_name(name)
    if project != canonicalize_name(wanted.name):
        return False
    if not wanted.specifier:
        return True
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _parsed(title: str) -> tuple[str, Version | None]:
    """The distribution and the version in the file name of a wheel, which anybody may have
    chosen."""
    try:
        name, version, _, _ = parse_wheel_filename(title)
    except (InvalidWheelFilename, InvalidVersion):
        return canonicalize_name(title.partition("-")[0]), None
    return name, version
