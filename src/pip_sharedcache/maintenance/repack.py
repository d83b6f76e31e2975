"""The change of entries from trees to packs, or back, while the store is in use.

Each entry is made anew beside the old one, and takes its place by one rename. Installations that
hold the old one open go on with it undisturbed; garbage collection deletes it later.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import (
    DamagedEntry,
    FileError,
    NoRoom,
    SharedCacheError,
    StoreUnusable,
    reason,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.gc import delete_retired
from pip_sharedcache.maintenance.retention import IN_USE, holders_in
from pip_sharedcache.model import Digest, Entry, identity_of
from pip_sharedcache.store import Source, StoredEntry, layout_name, symlink_registry, usage_marks
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.filling import WheelSource
from pip_sharedcache.store.layout import BYTECODE, WHEELS, Store
from pip_sharedcache.store.publish import discard, put_in_place, replace_entry
from pip_sharedcache.store.restored import ONE_COPIED, copied_hint
from pip_sharedcache.store.staging import Staged, restage, stage_wheel
from pip_sharedcache.store.store_json import STORE_JSON, StoreJson
from pip_sharedcache.store.wheel_copies import copy_wheel

_CHANGE_THERE = "change the store where that layer lies, for example when the image is made"
_OFTEN = 100  # entries after which old ones are deleted


@dataclass(frozen=True)
class Repacked:
    """The result for one entry.

    ``item``: the entry as it was.
    ``done``: whether it has the other form now.
    ``why``: why not, as a phrase; "" if it need not change.
    """

    item: StoredEntry
    done: bool
    why: str = ""


def set_layout(store: Store, items: Iterable[StoredEntry], packed: bool) -> None:
    """Let new entries of ``store``, which has ``items``, be packed, or trees.

    Raise StoreUnusable, also where items would stay as they are, in a lower layer of an overlay;
    and FileError.
    """
    path = store.path / STORE_JSON
    owner = trust.user_name(store.owner)
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, store.owner):
        raise StoreUnusable(
            f"{store.path} keeps its layout {layout_name(not packed)}: it belongs to {owner}",
            f"{trust.owner_or_root(store.owner)} can run the same command",
        )
    for item in items:
        if item.packed is not packed and fs.is_in_lower_layer(item.path):
            raise StoreUnusable(
                f"{store.path} keeps its layout {layout_name(not packed)}: {item.path} is in a "
                "lower layer of an overlay",
                _CHANGE_THERE,
            )
    try:
        with Directory.open(store.path) as top:
            try:
                found = StoreJson.read(store.path, top)
            except FileNotFoundError:
                found = StoreJson()
            if found is None:
                raise StoreUnusable(f"{path} could have been changed by others", f"ls -l {path}")
            told = StoreJson(found.group, found.trusted, found.builds, packed, may_have_packs=True)
            top.replace(STORE_JSON, told.to_json().encode("utf-8"))
    except OSError as error:
        raise FileError.of(path, "changed", error) from error


def repack(store: Store, items: Sequence[StoredEntry], packed: bool) -> Iterator[Repacked | None]:
    """Make ``items`` of ``store`` packs, or trees; yield the result for each.

    The result is None for an entry that has vanished or was replaced meanwhile. ``packed``: whether
    they become packs. Raise OSError if the registry of symlinks cannot be read, and StoreUnusable
    if the file system of the store is full.

    The time is read before the symlinks: those that are registered later are of installations that
    say, from this time on, that they make some.
    """
    symlinks: _Symlinks | None = None
    for number, item in enumerate(items):
        if number % _OFTEN == 0:
            now = usage_marks.now(store)
            delete_retired(store, now)
            symlinks = _Symlinks(store, now) if packed else None
        if item.packed is packed and not item.damage:
            yield Repacked(item, False)
        elif why := _unfit(item) or (symlinks and symlinks.need(item)):
            yield Repacked(item, False, why)
        else:
            yield _repack(store, item, packed, symlinks)


class _Symlinks:
    """What needs the entries of ``store`` as trees, at the time ``now``, as from usage_marks.now.

    Raises OSError if the registry cannot be read.
    """

    def __init__(self, store: Store, now: float) -> None:
        self._store = store
        self._now = now
        self._holders = holders_in(symlink_registry.linked(store))

    def need(self, item: StoredEntry) -> str:
        """Return the symlinks for which ``item`` stays a tree, in words as in Repacked, or ""."""
        if item.area not in (WHEELS, BYTECODE):
            return ""  # records are never placed
        if holders := self._holders(item):
            user, where, _ = holders[0]
            return f"symlinks of {trust.user_name(user)} in {where} lead there"
        if makers := {use.user for use in self._recent(usage_marks.SYMLINKS)}:
            for use in item.uses(self._recent(item.path.name), self._now):
                if use.user in makers and use.when >= self._now - IN_USE:
                    return (
                        f"used within the last hour by {trust.user_name(use.user)}, who installs "
                        "with symlinks; hint: run the same command later"
                    )
        return ""

    def _recent(self, name: str) -> list[usage_marks.UsageMark]:
        uses = usage_marks.uses(self._store, name)
        return [use for use in uses if use.when >= self._now - IN_USE]


def _unfit(item: StoredEntry) -> str:
    """Return why this user cannot change ``item``, or ""."""
    who = trust.user_name(item.publisher)
    if item.damage:
        return "damaged; hint: pip-sharedcache store verify --fix"
    if item.copied:
        return f"{ONE_COPIED}; hint: {copied_hint(item.path.parents[2], who)}"
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, item.publisher):
        return f"published by {who}; hint: {who} or root can run the same command"
    return ""


def _repack(
    store: Store, item: StoredEntry, packed: bool, symlinks: _Symlinks | None
) -> Repacked | None:
    try:
        with (
            Directory.open(item.path.parent) as shard,
            shard.subdirectory(item.path.name) as held,
        ):
            status = held.status()
            if identity_of(status) != item.identity:
                return None
            entry = read_entry(held, status, Digest(item.digest), item.area)
        staged = _stage(store, item, entry, packed)
        if staged.entry.manifest.packed is not packed:
            discard([staged])
            return Repacked(item, False, "more files than a pack can have, or larger ones")
        if identity_of(os.lstat(item.path)) != item.identity:
            discard([staged])
            return None
        # It stays the publisher's: bytecode and marks of users name the publisher.
        owner = item.publisher if trust.user_id() == 0 else None
        _, old = replace_entry(store, staged, item.path, owner)
        # An installation says that it makes symlinks, then opens the entry. This function replaces
        # the entry, then looks. So one of the two notices the other, and no symlink is broken.
        if symlinks and (why := symlinks.need(item)):
            put_in_place(old, item.path)
            return Repacked(item, False, why)
    except FileNotFoundError:
        return None
    except NoRoom as error:
        raise StoreUnusable(str(error), "free some space, then run the same command") from error
    except (OSError, SharedCacheError) as error:
        what = reason(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno == errno.EXDEV:
            what = f"it is in a lower layer of an overlay; hint: {_CHANGE_THERE}"
        return Repacked(item, False, f"the system refused: {what}")
    return Repacked(item, True)


def _stage(store: Store, item: StoredEntry, entry: Entry, packed: bool) -> Staged:
    """Stage ``entry`` in its other form, from checked bytes only. Raises SharedCacheError, OSError.

    A wheel is unpacked again from its own archive, whose digest is checked.
    """
    if item.area != WHEELS:
        with Source.of(entry, Directory.open(entry.path)) as source:
            return restage(store, item.area, entry, source, packed=packed)
    times = {file.mtime for file in entry.manifest.files}
    # The same time: bytecode names it.
    stage = functools.partial(stage_wheel, store, mtime=min(times), packed=packed)
    manifest = entry.manifest
    wheel = WheelSource(entry.wheel, entry.wheel.name, manifest.digest, manifest.public)
    if item.publisher == trust.user_id():
        return stage(wheel)
    with fs.temporary_directory() as directory:  # another user can change it while it is read
        copy = directory / manifest.filename
        if not copy_wheel(entry, copy):
            raise DamagedEntry("its wheel has another digest")
        return stage(wheel._replace(path=copy, filename=copy.name))
