"""What one run publishes: staged while it installs, made visible at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache import store as stores
from pip_sharedcache.errors import (
    DirectoryMissing,
    NoRoom,
    NotPublished,
    NotWritable,
    UnusualWheel,
    reason,
)
from pip_sharedcache.model import Entry, Identity, RunReport
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.repairs import Repairs
from pip_sharedcache.store import Staged, Store
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

_MANY = 300  # files: one commit takes about as long as it takes to flush so many by themselves


class Publisher:
    """The entries on their way into ``layers``. ``at_once``: each becomes visible as soon as it is
    staged. ``unusual``: wheels that are left to pip's own installer, and why."""

    def __init__(self, layers: Layers, repairs: Repairs, *, at_once: bool) -> None:
        self._layers = layers
        self._repairs = repairs
        self._at_once = at_once
        self._staged: list[Staged] = []
        self._given_up: set[int] = set()  # st_dev
        self._full: set[Path] = set()
        self._failures: dict[Path, NotPublished] = {}
        self._durable: set[Identity] = set()
        self.unusual: list[str] = []

    def add(
        self,
        where: Callable[[], Store | None],
        stage: Callable[[Store], Staged],
        otherwise: str,
        report: RunReport,
    ) -> Entry | None:
        """The entry that ``stage`` stages in the layer that ``where`` names, and in what it names
        next if that one is full; None where that cannot be, which is said: ``otherwise`` is what
        happens instead. ``report`` counts."""
        while (store := where()) is not None and not self._has_given_up(store):
            try:
                staged = stage(store)
            except UnusualWheel as error:
                self.unusual.append(str(error))
            except DirectoryMissing as error:
                warn(f"Installed without publishing: {error}")  # one line for all
            except NotWritable as error:
                logger.debug("%s: %s", otherwise, error)
                report.read_only = True
            except NotPublished as error:
                self._warn_of(store, otherwise, error)
                if isinstance(error, NoRoom) and self._layers.leave(store):
                    continue
            else:
                if staged.partial:
                    warn(
                        f"{otherwise}: this process cannot compile all of "
                        f"{staged.what.rpartition(' ')[2]}: {staged.partial}"
                    )
                self._staged.append(staged)
                return self.make_visible(report)[-1] if self._at_once else staged.entry
            break
        return None

    def make_visible(self, report: RunReport) -> list[Entry | None]:
        """Make visible what was staged, and return it; say what could not be. ``report`` counts."""
        staged, self._staged = self._staged, []
        durable, self._durable = self._durable, set()
        revealed: dict[Identity, Entry | None] = {}
        stores.discard(one for one in staged if one.partial)
        for store, some in _by_store(one for one in staged if not one.partial).items():
            failure = self._failures.pop(store.path, None)
            if failure is not None:
                # The system tells of a write that failed once only: a second sync would succeed.
                stores.discard(some)
                warn(f"Installed without publishing: {failure}")
                continue
            for one, outcome in zip(some, stores.make_visible(store, some, durable)):
                revealed[one.entry.identity] = self._outcome(one, outcome, report)
        return [revealed.get(one.entry.identity) for one in staged]

    def _outcome(
        self, one: Staged, outcome: Entry | NotPublished | None, report: RunReport
    ) -> Entry | None:
        if not isinstance(outcome, Entry):
            if outcome is not None:
                self._warn_of(one.store, "Installed without publishing", outcome)
            return None
        if outcome.identity == one.entry.identity and outcome.manifest.size:
            report.published += 1
            self._repairs.done(outcome)
        return outcome

    def _warn_of(self, store: Store, otherwise: str, error: NotPublished) -> None:
        """Say that ``otherwise`` happened; where there is no room, once for all that find none."""
        cause = error.__cause__
        if not isinstance(error, NoRoom) or not isinstance(cause, OSError):
            warn(f"{otherwise}: {error}")
            return
        self._full.add(store.path)
        logger.debug("%s: %s", otherwise, error)
        # The same words in each process that installs: each line is shown once.
        warn(f"Installed without publishing: {store.path} has no room: {reason(cause)}")

    def make_durable(self) -> None:
        """Many files that were just written are going to be cloned: FICLONE waits for the dirty
        pages of each file by itself, one sync for all of them together."""
        fresh = [
            one
            for one in self._staged
            if not one.partial and one.entry.identity not in self._durable
        ]
        if sum(len(one.entry.manifest.files) for one in fresh) < _MANY:
            return
        for store, some in _by_store(fresh).items():
            try:
                stores.make_durable(store, some)
            except NotPublished as error:
                self._failures[store.path] = error
        self._durable.update(one.entry.identity for one in fresh)

    def takes_last_room(self, device: int) -> bool:
        """Whether the file system ``device`` (st_dev) was too full for an entry, so that what is
        staged there takes room that something else needs."""
        if device in self._given_up:
            return False
        return any(_device(store) == device for store in self._layers if store.path in self._full)

    def give_up(self, device: int) -> bool:
        """The file system ``device`` (st_dev) is full: delete what is staged there, and stage
        nothing more there in this run. Whether there was anything."""
        there = [store for store in self._layers if _device(store) == device]
        if device in self._given_up or not there:
            return False
        self._given_up.add(device)
        doomed = [one for one in self._staged if one.store in there]
        self._staged = [one for one in self._staged if one.store not in there]
        stores.discard(doomed)
        for store in there:
            self._layers.leave(store)
        for store in _by_store(doomed):
            warn(f"Installed without publishing: {store.path} has no room left")
        return bool(doomed)

    def _has_given_up(self, store: Store) -> bool:
        return bool(self._given_up) and _device(store) in self._given_up


def _by_store(staged: Iterable[Staged]) -> dict[Store, list[Staged]]:
    found: dict[Store, list[Staged]] = {}
    for one in staged:
        found.setdefault(one.store, []).append(one)
    return found


def _device(store: Store) -> int:
    return fs.device_of(str(store.path))
