"""The entries that one run publishes: staged while it installs, visible at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache import store as stores
from pip_sharedcache.errors import (
    Banned,
    DirectoryMissing,
    NoRoom,
    NotPublished,
    NotWritable,
    ResolutionNotPublished,
    UnusualWheel,
    reason,
)
from pip_sharedcache.model import Entry, Identity, LinkMode, Policy
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import RunState
from pip_sharedcache.store import Staged, Store

logger = logging.getLogger(__name__)

#: The refusal of a banned wheel.
BANNED = "it is banned"

_MANY = 300  # files: to flush so many one by one takes about as long as one sync of all


class Publisher:
    """The entries that one run publishes.

    ``unusual``: the reasons why wheels are left to pip's own installer.
    ``refusal``: why ``add`` returned no entry the last time, as a phrase.
    """

    def __init__(self, run: RunState) -> None:
        self._run = run
        self._layers = run.layers
        # A symlink contains the path of the entry: a staged entry's link would dangle later.
        self._at_once = run.links.asked is LinkMode.SYMLINK
        self._staged: list[Staged] = []
        self._given_up: set[int] = set()  # st_dev
        self._full: set[Path] = set()
        self._mapped: set[Path] = set()
        self._failures: dict[Path, NotPublished] = {}
        self._durable: set[Identity] = set()
        self.unusual: list[str] = []
        self.refusal = ""

    def add(
        self,
        where: Callable[[], Store | None],
        stage: Callable[[Store], Staged],
        otherwise: str,
    ) -> Entry | None:
        """Stage an entry in the layer that ``where`` returns, and return it; None on failure.

        If that layer is full, ``where`` is called again for the next layer. Most failures cause a
        warning, which begins with ``otherwise``: what pip-sharedcache does instead.
        """
        self.refusal = self._nowhere()
        while (store := where()) is not None:
            if self._takes_none(store):
                break
            self.refusal, began = "it cannot be published", time.monotonic()
            try:
                staged = stage(store)
            except UnusualWheel as error:
                self.unusual.append(str(error))
                self.refusal = "it is unusual"
            except Banned as error:
                logger.debug("%s: %s", otherwise, error)  # the run warns when pip installs it
                self.refusal = BANNED
            except DirectoryMissing as error:
                warn(f"Installed without publishing: {error}")  # the same line for all wheels
                self.refusal = "the store lacks directories"
            except NotWritable as error:
                if self._is_mapped(store, error):
                    continue
                logger.debug("%s: %s", otherwise, error)
                self.refusal = "you may not write the store"
            except ResolutionNotPublished as error:
                logger.debug("%s: %s", otherwise, error)  # older stores have no place for them
            except NotPublished as error:
                if self._is_mapped(store, error):
                    continue
                if fs.is_silence(error.__cause__, began):
                    self._lose(store, str(error))
                    continue
                self._warn_of(store, otherwise, error)
                if isinstance(error, NoRoom):
                    self.refusal = "the store is full"
                    if self._layers.leave(store):
                        continue
            else:
                if staged.partial:
                    warn(
                        f"{otherwise}: this process cannot compile all of "
                        f"{staged.what.rpartition(' ')[2]}: {staged.partial}"
                    )
                if store is self._layers.temporary:
                    staged = replace(staged, unshared=True)
                self._staged.append(staged)
                at_once = self._at_once and store is not self._layers.temporary
                return self.make_visible()[-1] if at_once else staged.entry
            break
        return None

    def make_visible(self) -> list[Entry | None]:
        """Make the staged entries visible and return them in order; None for each failure.

        pip-sharedcache warns of each failure.
        """
        staged, self._staged = self._staged, []
        durable, self._durable = self._durable, set()
        visible: dict[Identity, Entry | None] = {}
        lost = self._layers.lost
        stores.discard(one for one in staged if not one.is_published and one.store.path not in lost)
        for store, some in _by_store(one for one in staged if one.is_published).items():
            if why := fs.silence_of(store.path):
                self._lose(store, f"{store.path}: {why}")
            if store.path in self._layers.lost:
                continue
            failure = self._failures.pop(store.path, None)
            if failure is not None:
                # The kernel reports a failed write only once: a second sync would succeed.
                stores.discard(some)
                warn(f"Installed without publishing: {failure}")
                continue
            for one, outcome in zip(some, stores.make_visible(store, some, durable)):
                visible[one.entry.identity] = self._outcome(one, outcome)
        return [visible.get(one.entry.identity) for one in staged]

    def _lose(self, store: Store, what: str) -> None:
        """Go on without ``store``, whose file server stopped answering, and warn.

        What is staged there stays: each call to the server would wait for seconds until it fails.
        A later run deletes it.
        """
        self._staged = [one for one in self._staged if one.store.path != store.path]
        if store.path not in self._layers.lost:
            self._layers.drop(store.path)
            warn(f"Installed without publishing: no answer from the file server: {what}")

    def _outcome(self, one: Staged, outcome: Entry | NotPublished | None) -> Entry | None:
        if not isinstance(outcome, Entry):
            if outcome is not None:
                self._warn_of(one.store, "Installed without publishing", outcome)
            return None
        if outcome.identity == one.entry.identity and outcome.manifest.size:
            # pip alone installed the wheel of an entry that is healed: it is counted there.
            healed = outcome.manifest.digest in self._run.repairs.healed
            self._run.report.replaced += healed
            self._run.report.published += not healed
            self._run.repairs.done(outcome)
        return outcome

    def _warn_of(self, store: Store, otherwise: str, error: NotPublished) -> None:
        """Warn that ``otherwise`` happened; if the store is full, once for all of its entries."""
        cause = error.__cause__
        if not isinstance(error, NoRoom) or not isinstance(cause, OSError):
            warn(f"{otherwise}: {error}")
            return
        self._full.add(store.path)
        logger.debug("%s: %s", otherwise, error)
        # Every worker process uses the same words: else the user would see one line for each.
        warn(f"Installed without publishing: {store.path}: {reason(cause)}")

    def _is_mapped(self, store: Store, error: NotPublished) -> bool:
        """Return whether ``error`` comes from a file server that gives files to another user.

        Then nothing is staged in ``store`` any more, with one warning.
        """
        if not isinstance(error.__cause__, (PermissionError, FileExistsError)):
            return False
        owner = store.mapped_owner()
        if owner is None:
            return False
        warn(
            f"Installed without publishing: {store.path}: {fs.mapping_reason(owner)}; hint: let a "
            "user whose files keep their owner publish there"
        )
        self._mapped.add(store.path)
        self._layers.leave(store)
        return True

    def make_durable(self) -> None:
        """Sync many staged files together, before they are cloned.

        FICLONE waits for the dirty pages of each file separately, which takes longer than one sync.
        """
        fresh = [
            one
            for one in self._staged
            if one.is_published and one.entry.identity not in self._durable
        ]
        if sum(len(one.entry.manifest.files) for one in fresh) < _MANY:
            return
        for store, some in _by_store(fresh).items():
            try:
                stores.make_durable(store, some)
            except NotPublished as error:
                self._failures[store.path] = error
        self._durable.update(one.entry.identity for one in fresh)

    def give_up_where_full(self) -> bool:
        """Delete the staged entries on each file system that was too full for an entry.

        Return whether there is one.
        """
        full = [store for store in self._layers if store.path in self._full]
        for store in full:
            self.give_up(_device(store))
        return bool(full)

    def leave_to_parent(self) -> None:
        """Leave the staged entries to the parent process, in a new worker process."""
        self._staged = []

    def takes_last_space(self, device: int) -> bool:
        """Return whether staged entries use the last free space of the file system ``device``.

        ``device``: st_dev. True once the file system was too full for an entry, until ``give_up``.
        """
        if device in self._given_up:
            return False
        return any(_device(store) == device for store in self._layers if store.path in self._full)

    def give_up(self, device: int) -> bool:
        """Delete the staged entries on the full file system ``device``, and stage no more there.

        ``device``: st_dev. Return whether entries were deleted.
        """
        there = [store for store in self._layers if _device(store) == device]
        if device in self._given_up or not there:
            return False
        self._given_up.add(device)
        doomed = [one for one in self._staged if _device(one.store) == device]
        self._staged = [one for one in self._staged if one not in doomed]
        stores.discard(doomed)
        for store in there:
            self._layers.leave(store)
        for store in _by_store(doomed):
            warn(f"Installed without publishing: {store.path}: no free space is left")
        return bool(doomed)

    def discard(self) -> None:
        """Delete all that this process has staged."""
        self._staged = []
        stores.clear_own()

    def _nowhere(self) -> str:
        """Return why a run has no store to publish in."""
        if any(one.trust.unknown for one in self._layers):
            return "file owners cannot be known"
        if any(one.policy is Policy.READ_ONLY for one in self._layers):
            return "the store may only be read"
        return "no store takes it"

    def _takes_none(self, store: Store) -> bool:
        if store.path in self._mapped:
            self.refusal = "the file server gives your files to another user"
            return True
        if self._given_up and _device(store) in self._given_up:
            self.refusal = "a disk is full"
            return True
        return False


def _by_store(staged: Iterable[Staged]) -> dict[Store, list[Staged]]:
    found: dict[Store, list[Staged]] = {}
    for one in staged:
        found.setdefault(one.store, []).append(one)
    return found


def _device(store: Store) -> int:
    return fs.device_of(str(store.path))
