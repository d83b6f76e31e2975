"""The entries of the wheels that one run installs: found, copied near, or published."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

from pip_sharedcache import store as stores
from pip_sharedcache import wheel
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Digest, Entry, Identity, Origin
from pip_sharedcache.session.builds import SharedBuilds
from pip_sharedcache.session.bytecode import SharedBytecode
from pip_sharedcache.session.lookup import WheelLookup
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.publisher import BANNED, Publisher
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import RunWheel
from pip_sharedcache.store import Staged, Store, WheelSource, store_json

logger = logging.getLogger(__name__)

#: Why a run has added a pulled wheel.
PULLED = "it came from a remote store"


class RunEntries:
    """The entries of the wheels that one run installs."""

    def __init__(
        self,
        run: RunState,
        lookup: WheelLookup,
        publishing: Publisher,
        builds: SharedBuilds,
        bytecode: SharedBytecode,
    ) -> None:
        for line in (one for store in run.layers for one in store.bans.ignored):
            warn(line)
        for store in run.layers:
            if store.ignores_json:
                warn(store_json.ignored(store.path, store.owner))
        self._run = run
        self._layers = run.layers
        self._lookup = lookup
        self._publishing = publishing
        self._builds = builds
        self._bytecode = bytecode
        self._added: set[Identity] = set()
        self._adopted: set[Identity] = set()  # not yet installed
        self._because: dict[Identity, str] = {}

    def is_added(self, entry: Entry) -> bool:
        """Return whether this run publishes ``entry``."""
        return entry.identity in self._added

    def how(self, entry: Entry) -> str:
        """Return how the run got ``entry``, as in model.Installed."""
        if self._layers.temporary is not None and self._layers.of(entry) is self._layers.temporary:
            return "pulled"
        return "added" if self.is_added(entry) else "found"

    def added_because(self, entry: Entry) -> str:
        """Return why ``entry``, which this run publishes, did not come from a store."""
        if self._run.wheels.is_pulled(entry.manifest.digest):
            return PULLED
        return self._because.get(entry.identity) or self._lookup.miss_of(entry.manifest.digest)

    def adopt(self, entry: Entry) -> None:
        """Use ``entry``, which a worker process of this run has staged and will publish."""
        self._lookup.remember(entry)
        self._added.add(entry.identity)
        self._adopted.add(entry.identity)

    def stage_ahead(self, path: Path, digest: Digest, origin: Origin) -> Entry | None:
        """Stage the wheel at ``path`` with this ``digest``; None on failure."""
        if self._lookup.find([digest], path.name) is not None:
            return None
        if self._layers.ban_of(digest, path.name) is not None:
            return None  # the user sees the warning when pip installs it
        return self._publish(path, digest, origin)

    def entry_for(self, run_wheel: RunWheel, origin: Origin) -> Entry | None:
        """Return the entry to install ``run_wheel`` from; None to leave the wheel to pip.

        Without an entry in the layers, one is staged.
        """
        if run_wheel.entry is not None:
            self._run.report.found += 1
            return self._backfill(run_wheel.entry, origin)
        path, digest = Path(run_wheel.path), run_wheel.digest
        try:
            if digest is None or not run_wheel.verified:
                digest, _ = wheel.digest_of(path)
        except OSError:
            return None  # pip gets the same error, and reports it
        if (ban := self._layers.ban_of(digest, path.name)) is not None:
            self._publishing.refusal = BANNED
            warn(f"{path.name} is {ban}; pip installs it without the shared store")
            return None
        found = self._lookup.find([digest], path.name)
        if found is not None and found.identity in self._adopted:
            self._adopted.remove(found.identity)
            return found
        if found is not None:
            self._run.report.found += 1
            self._run.uses.record(found)
            found = self._backfill(found, origin)
        else:
            why = self._lookup.miss_of(digest)
            if self._run.sharing.is_private(origin):
                why = f"kept for you, since {origin.private_because}"
            found = self._publish(path, digest, origin)
            if found is not None:
                self._because[found.identity] = why
        if found is not None and run_wheel.build is not None:
            self._builds.publish(*run_wheel.build)
        return found

    def _publish(self, path: Path, digest: Digest, origin: Origin) -> Entry | None:
        """Stage the wheel at ``path`` and return its entry; None on failure."""
        where = self._layers.to_publish
        if self._run.sharing.is_private(origin):
            logger.debug("%s is not shared: %s", path.name, origin.private_because)
            where = self._layers.to_keep
        if self._layers.temporary is not None and self._run.wheels.is_pulled(digest):
            where = self._layers.to_use_once
        source = WheelSource(path, path.name, digest, origin.is_public)
        staged = self._stage(where, source, "Installed without publishing")
        if staged is not None:
            self._lookup.remember(staged)
            self._added.add(staged.identity)
        return staged

    def _backfill(self, entry: Entry, origin: Origin) -> Entry:
        """Return ``entry``, or its new copy in a nearer layer that takes copies (backfill)."""
        if self._run.sharing.is_private(origin) or self._layers.to_backfill(entry) is None:
            return entry
        if self._layers.replaceable_by(entry):  # another wheel may be at the path by now
            return entry
        manifest = entry.manifest
        near = self._stage(
            functools.partial(self._layers.to_backfill, entry),
            WheelSource(entry.wheel, manifest.filename, manifest.digest, manifest.public),
            "Installed from where it was found",
            mtime=max((file.mtime for file in manifest.files), default=None),
        )
        if near is None:
            return entry
        self._lookup.remember(near)
        self._bytecode.is_as(near, entry)
        return near

    def _stage(
        self,
        where: Callable[[], Store | None],
        source: WheelSource,
        otherwise: str,
        mtime: int | None = None,
    ) -> Entry | None:
        """Stage the wheel ``source``, as Publisher.add does."""

        def unpack(store: Store) -> Staged:
            draws = self._run.on_progress
            on_progress = None if draws is None else draws(source.filename)
            damaged = self._run.repairs.damaged
            return stores.stage_wheel(store, source, damaged, mtime=mtime, on_progress=on_progress)

        return self._publishing.add(where, unpack, otherwise)

    def stage_repairs(self) -> None:
        """Stage a sound entry and sound bytecode for each damaged one that can be repaired."""
        wheels, bytecode_of = self._run.repairs.take()
        for entry, path in wheels:
            filename = entry.manifest.filename
            where = functools.partial(self._layers.to_complete, entry)
            source = WheelSource(path, filename, entry.manifest.digest)
            self._stage(where, source, f"{filename} is not repaired")
        for entry in bytecode_of:
            try:
                self._bytecode.renew(entry)
            except DamagedEntry as error:
                warn(f"Bytecode in the shared store is not compiled anew: {error}")
