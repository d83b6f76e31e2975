"""The stores of one run, nearest first: where a wheel is looked for, and where one is put.

Each has a policy (model.Policy) and is believed as far as its own owner and mode allow.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.model import Digest, Entry, Identity, Policy
from pip_sharedcache.store import built_wheels, lookup
from pip_sharedcache.store.built_wheels import Build
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.lookup import LookupResult
from pip_sharedcache.store.open import open_layers


def widens(home: Store, other: Store) -> bool:
    """Whether others may look into the store ``other`` who may not look into ``home``, as far as
    their own modes tell. Whom nobody can ask may."""
    try:
        one, two = os.stat(home.path), os.stat(other.path)
    except OSError:
        return True
    if one.st_mode & 0o005 == 0o005:
        return False
    same = one.st_gid == two.st_gid and one.st_mode & 0o050 == 0o050
    return bool(two.st_mode & 0o005 or (two.st_mode & 0o050 and not same))


class Layers:
    """The ``stores`` that can be used, in lookup order."""

    def __init__(self, layers: Sequence[Store]) -> None:
        self._layers = tuple(layers)
        self._left: set[Path] = set()
        self._full: set[Path] = set()
        self._writable: dict[Path, bool] = {}

    @classmethod
    def of_settings(
        cls, settings: Settings, *, make: bool = True
    ) -> tuple[Layers, list[StoreUnusable]]:
        """Those that ``settings`` name and that can be used, opened; and why others cannot.
        ``make`` as for store.open_layers."""
        found = list(open_layers(settings, make=make))
        usable = cls([one for one in found if isinstance(one, Store)])
        return usable, [one for one in found if isinstance(one, StoreUnusable)]

    def __iter__(self) -> Iterator[Store]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def main(self) -> Store | None:
        """The one that messages speak of: where this run publishes, or else the nearest."""
        return self.to_publish() or next(iter(self._layers), None)

    # -- looking up

    def of(self, entry: Entry) -> Store | None:
        """The layer that ``entry`` lies in."""
        top = entry.path.parents[2]  # <store>/<area>/<shard>/<name>
        return next((store for store in self._layers if store.path == top), None)

    def find(
        self, digest: Digest, filename: str, without: Collection[Identity] = ()
    ) -> tuple[LookupResult, ...]:
        """What each layer has of the wheel ``filename``, the nearest first, up to and including the
        first usable entry. Never raises for what lies there."""
        found = []
        for store in self._layers:
            found.append(lookup.find(store, digest, filename, without))
            if found[-1].entry is not None:
                break
        return tuple(found)

    def find_bytecode(
        self, entry: Entry, tag: str, interpreter: str, without: Collection[Identity] = ()
    ) -> LookupResult:
        """The bytecode of ``entry``: in its own layer, or else in another that is not private."""
        home = self.of(entry)
        others = (one for one in self._layers if one.policy is not Policy.PRIVATE)
        damages: list[str] = []
        own = None
        for store in dict.fromkeys([*([home] if home else []), *others]):
            found = lookup.find_bytecode(store, entry, tag, interpreter, without)
            own = own or found.own
            if found.entry is not None:
                return LookupResult(found.entry, own=own)
            damages += found.damages
        return LookupResult(damages=tuple(damages), own=own)

    def find_build(self, key: Digest, without: Collection[Identity] = ()) -> Build | None:
        """What a trusted publisher built for ``key``, in any layer whose owner allows that."""
        for store in self._layers:
            build = built_wheels.find_build(store, key, without) if store.shares_builds else None
            if build is not None:
                return build
        return None

    # -- publishing

    def to_publish(self) -> Store | None:
        """The first layer that may be written, for what may be shared. Where there is none, the
        first that is not left alone by its policy: whoever tries it hears why not."""
        meant = [
            store for store in self._layers if store.policy.shares and store.path not in self._left
        ]
        return next(filter(self._may_write, meant), next(iter(meant), None))

    def to_keep(self) -> Store | None:
        """The layer for what may not be shared."""
        private = (store for store in self._layers if store.policy is Policy.PRIVATE)
        return next(filter(self._may_write, private), None)

    def to_complete(self, entry: Entry) -> Store | None:
        """Where what belongs to ``entry``, its bytecode say, is published: where it lies itself if
        that may be; nowhere else if that is a private layer, or others may look there."""
        home = self.of(entry)
        if home is None:
            return self.to_publish()
        if home.policy is Policy.PRIVATE or (home.path not in self._left and self._takes(home)):
            return home
        other = self.to_publish()
        return other if other is not None and not widens(home, other) else None

    def heals(self, entry: Entry) -> bool:
        """Whether this user may replace the damaged ``entry``: it is this user's own, in a layer
        that this run publishes to."""
        home = self.of(entry)
        if home is None or entry.publisher != trust.user_id():
            return False
        return home.path not in self._left and self._takes(home)

    def to_backfill(self, entry: Entry) -> Store | None:
        """The layer nearer than that of ``entry`` which is to have it, too; None where there is
        none, or others may look there than where the entry lies."""
        home = self.of(entry)
        if home is None or home.policy is Policy.PRIVATE:
            return None
        for store in self._layers[: self._layers.index(home)]:
            if store.policy is Policy.BACKFILL and store.path not in self._full:
                return store if self._may_write(store) and not widens(home, store) else None
        return None

    def may_relay(self, entries: Iterable[Entry], to: Store) -> bool:
        """Whether bytecode may be published in ``to`` under our own name that was made of, and by,
        ``entries``: of those only whom everybody believes there who believes us. Nobody could check
        it, and we may have compiled what a member of another group has edited."""
        believed = {0, to.owner, trust.user_id()}
        return all(entry.publisher in believed for entry in entries)

    def leave(self, store: Store) -> bool:
        """Publish nothing more in ``store``, which is full. Whether another layer takes its
        place; if not, all stays as it is."""
        self._full.add(store.path)
        self._left.add(store.path)
        if store.policy is not Policy.PRIVATE:
            other = self.to_publish()
            if other is not None and self._may_write(other):
                return True
        self._left.discard(store.path)
        return False

    def _takes(self, store: Store) -> bool:
        return store.policy is not Policy.READ_ONLY and self._may_write(store)

    def _may_write(self, store: Store) -> bool:
        if store.path not in self._writable:
            self._writable[store.path] = store.may_publish()
        return self._writable[store.path]
