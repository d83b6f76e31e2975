"""The stores (layers) of one run, in lookup order, and the choice of a layer to publish in.

Each layer has a policy (model.Policy). Its owner and mode decide which publishers are trusted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.model import Digest, Entry, Identity, Policy
from pip_sharedcache.store import built_wheels, lookup, resolutions
from pip_sharedcache.store.bans import NO_BANS, Ban, Bans
from pip_sharedcache.store.built_wheels import Build
from pip_sharedcache.store.entry_trust import replaceable_by
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.lookup import LookupResult
from pip_sharedcache.store.open import open_layers
from pip_sharedcache.store.resolutions import StoredResolution


def widens(home: Store, other: Store) -> bool:
    """Return whether the modes let users who cannot read ``home`` read ``other``.

    True if the status of either directory cannot be read.
    """
    try:
        one, two = os.stat(home.path), os.stat(other.path)
    except OSError:
        return True
    if one.st_mode & 0o005 == 0o005:
        return False
    same = one.st_gid == two.st_gid and one.st_mode & 0o050 == 0o050
    return bool(two.st_mode & 0o005 or (two.st_mode & 0o050 and not same))


def _with_bans_of_all(layers: Sequence[Store]) -> tuple[Store, ...]:
    """Return ``layers``, each with the bans of all: what one bans, no run with it gets."""
    if all(store.bans is NO_BANS for store in layers):
        return tuple(layers)
    bans = Bans.of_all(store.bans for store in layers)
    return tuple(replace(store, bans=bans) for store in layers)


class Layers:
    """The usable stores of a run, in lookup order.

    ``lost``: the paths of those whose file server stopped answering in this run.
    ``temporary``: the store of this run alone, which no lookup searches; None without one.
    """

    def __init__(self, layers: Sequence[Store]) -> None:
        self._layers = _with_bans_of_all(layers)
        self.lost: set[Path] = set()
        self.temporary: Store | None = None
        self._left: set[Path] = set()
        self._full: set[Path] = set()
        self._writable: dict[Path, bool] = {}

    @classmethod
    def of_settings(
        cls, settings: Settings, *, make: bool = True
    ) -> tuple[Layers, list[StoreUnusable]]:
        """Open the layers that ``settings`` name; return the usable ones and the failures.

        ``make``: as for store.open_layers.
        """
        found = list(open_layers(settings, make=make))
        usable = cls([one for one in found if isinstance(one, Store)])
        return usable, [one for one in found if isinstance(one, StoreUnusable)]

    def __iter__(self) -> Iterator[Store]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def narrow(self, named: tuple[str, ...], why: str) -> None:
        """Restrict the trust in each store, as Store.narrowed does."""
        self._layers = tuple(store.narrowed(named, why) for store in self._layers)

    @property
    def main(self) -> Store | None:
        """Return the store that messages name: where this run publishes, else the nearest."""
        return self.to_publish() or next(iter(self._layers), None) or self.temporary

    def drop(self, path: Path) -> None:
        """Go on without the store ``path``, whose file server does not answer any more."""
        self.lost.add(path)
        self._layers = tuple(store for store in self._layers if store.path != path)

    # -- looking up

    def of(self, entry: Entry) -> Store | None:
        """Return the layer that contains ``entry``, or None."""
        top = entry.path.parents[2]  # <store>/<area>/<shard>/<name>
        if self.temporary is not None and self.temporary.path == top:
            return self.temporary
        return next((store for store in self._layers if store.path == top), None)

    def replaceable_by(self, entry: Entry) -> str:
        """Return which users can replace ``entry`` with something else; "" where none can."""
        store = self.of(entry)
        return "" if store is None else replaceable_by(store, entry)

    def ban_of(self, digest: Digest, filename: str) -> Ban | None:
        """Return the ban of the wheel ``filename`` with this ``digest``, in any layer, or None."""
        return self._layers[0].bans.find(digest, filename) if self._layers else None

    def find(
        self, digest: Digest, filename: str, without: Collection[Identity] = ()
    ) -> tuple[LookupResult, ...]:
        """Look for the wheel ``filename``; return the result of each layer, the nearest first.

        The first usable entry ends the search. ``without``: identities of damaged entries. The
        contents of the stores never cause an error.
        """
        found = []
        for store in self._layers:
            found.append(lookup.find(store, digest, filename, without))
            if found[-1].entry is not None:
                break
        return tuple(found)

    def find_shared(self, digest: Digest, filename: str) -> Entry | None:
        """Return the usable entry of a wheel in a layer for what may be shared, or None.

        Its publisher must be root, the owner of the store or this user.
        """
        for store in self._layers:
            if store.policy.shares:
                entry = lookup.find(store, digest, filename).entry
                if entry is not None and self.may_relay([entry], store):
                    return entry
        return None

    def find_bytecode(
        self, entry: Entry, tag: str, interpreter: str, without: Collection[Identity] = ()
    ) -> LookupResult:
        """Look for the bytecode of ``entry``: in its layer, then in each that is not private.

        ``without``: identities of damaged entries.
        """
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
        return LookupResult(damages=damages, own=own)

    def find_own_bytecode(self, entry: Entry, tag: str, interpreter: str) -> Entry | None:
        """Return the bytecode of ``entry`` that this user may sign, or None.

        Its publisher, and that of ``entry``, are root, the owner of its store or this user.
        """
        found = self.find_bytecode(entry, tag, interpreter).entry
        home = None if found is None else self.of(found)
        if found is None or home is None or not home.policy.shares:
            return None
        return found if self.may_relay([found, entry], home) else None

    def find_build(self, key: Digest, without: Collection[Identity] = ()) -> Build | None:
        """Return the wheel that a trusted publisher built for ``key``, or None.

        Only layers whose owner shares builds are searched.
        """
        for store in self._layers:
            build = built_wheels.find_build(store, key, without) if store.shares_builds else None
            if build is not None:
                return build
        return None

    def find_resolutions(
        self, key: Digest, without: Collection[Identity] = (), kind: str = resolutions.RESOLUTION
    ) -> tuple[StoredResolution, ...]:
        """Return the resolutions of trusted publishers for ``key``, the nearest layer first.

        ``without``, ``kind``: as for resolutions.find_resolutions. The contents of the stores never
        cause an error.
        """
        return tuple(
            one
            for store in self._layers
            for one in resolutions.find_resolutions(store, key, without, kind)
        )

    # -- publishing

    def to_publish(self) -> Store | None:
        """Return the layer for entries that may be shared, or None.

        The candidates have a policy that publishes, and are not full. The result is the first
        candidate that this user may write, or else the first one: an attempt to publish there
        reports the reason.
        """
        meant = [
            store for store in self._layers if store.policy.shares and store.path not in self._left
        ]
        return next(filter(self._may_write, meant), next(iter(meant), None))

    @property
    def takes_shared(self) -> bool:
        """Whether this user may write the layer of to_publish."""
        store = self.to_publish()
        return store is not None and self._may_write(store)

    def to_keep(self) -> Store | None:
        """Return the private layer for entries that may not be shared, or None."""
        private = (store for store in self._layers if store.policy is Policy.PRIVATE)
        return next(filter(self._may_write, private), None)

    def to_use_once(self) -> Store | None:
        """Return the store of this run alone, or None."""
        return self.temporary

    def to_complete(self, entry: Entry) -> Store | None:
        """Return the layer for data that belongs to ``entry``, such as its bytecode, or None.

        This is the layer of ``entry`` if it is private, or if this run publishes in it. Otherwise
        it is the layer of to_publish; None if users who cannot read ``entry`` can read that layer.
        """
        home = self.of(entry)
        if home is None:
            return self.to_publish()
        if home is self.temporary:
            return home
        if home.policy is Policy.PRIVATE or (home.path not in self._left and self._takes(home)):
            return home
        other = self.to_publish()
        return other if other is not None and not widens(home, other) else None

    def heals(self, entry: Entry) -> bool:
        """Return whether this user may replace the damaged ``entry``.

        The entry must belong to this user and lie in a layer that this run publishes in.
        """
        home = self.of(entry)
        if home is None or entry.publisher != trust.user_id():
            return False
        return home.path not in self._left and self._takes(home)

    def to_backfill(self, entry: Entry) -> Store | None:
        """Return the layer nearer than that of ``entry`` which gets a copy of it, or None.

        The layer has the policy BACKFILL and is not full. None also if users who cannot read the
        layer of ``entry`` can read the nearer one.
        """
        home = self.of(entry)
        if home is None or home.policy is Policy.PRIVATE:
            return None
        for store in self._layers[: self._layers.index(home)]:
            if store.policy is Policy.BACKFILL and store.path not in self._full:
                return store if self._may_write(store) and not widens(home, store) else None
        return None

    def may_relay(self, entries: Iterable[Entry], to: Store) -> bool:
        """Return whether this user may publish a copy of derived data in ``to``.

        ``entries``: the bytecode and the wheel that it was made from. Their publishers must be
        root, the owner of ``to`` or this user: all who trust this user in ``to`` trust these. No
        digest exists to check bytecode, and a member of another group may have edited the compiled
        source.
        """
        trusted = {0, to.owner, trust.user_id()}
        return all(entry.publisher in trusted for entry in entries)

    def leave(self, store: Store) -> bool:
        """Stop publishing in the full ``store``; return whether another layer takes its place.

        If none does, ``store`` stays the layer to publish in.
        """
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
