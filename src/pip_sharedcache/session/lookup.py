"""The lookup, check and record of the wheels that pip gets from the stores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import store as stores
from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Digest, Entry, Identity, LinkMode, RunReport
from pip_sharedcache.placement import Linker
from pip_sharedcache.session import restrictions
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.repairs import Repairs
from pip_sharedcache.session.usage import UsageRecorder
from pip_sharedcache.session.wheels import RunWheel, RunWheels, is_below
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)


class WheelLookup:
    """The settings of one run of ``pip install``, its stores, and the wheels found in them.

    ``store``: the store that the run publishes to, or else the nearest one; None without stores.
    """

    def __init__(self, settings: Settings, layers: Layers, linker: Linker) -> None:
        self.settings = settings
        self.layers = layers
        self.linker = linker
        self.store = layers.main
        self.report = RunReport()
        self.wheels = RunWheels()
        self._share = restrictions.shared_although_private(settings, layers)
        self.repairs = Repairs()
        self.uses = UsageRecorder(layers)
        self._found: dict[tuple[Digest, str], Entry] = {}
        self.distrust_reasons: dict[str, None] = {}
        self._passed: dict[Digest, tuple[Entry, str]] = {}
        self._not_downloaded: set[Digest] = set()
        self._vanished: set[Identity] = set()
        #: Returns the callback for the wheel of this name: bytes ready, bytes in total.
        self.on_progress: Callable[[str], Callable[[int, int], None]] | None = None

    def find(self, digests: Iterable[Digest], filename: str) -> Entry | None:
        """Return the usable entry for ``filename`` with one of ``digests``, or None."""
        for digest in digests:
            known = self._found.get((digest, filename))
            if known is not None:
                return known
            layers = self.layers.find(digest, filename, self.repairs.damaged)
            for found in layers:
                if found.own is not None:
                    self._passed.setdefault(digest, found.own)
            if layers and (entry := layers[-1].entry) is not None:
                self._found[digest, filename] = entry
                return entry
            for found in layers:
                self.distrust_reasons.update(dict.fromkeys(found.distrust_reasons))
                for damage in found.damages:
                    self.repairs.record_damage(
                        digest, f"Damaged entry in the shared store is not used: {damage}"
                    )
                for trouble in found.unreadable:
                    self.repairs.record_damage(
                        digest, f"Entry in the shared store is not used: {trouble}", lasting=True
                    )
        return None

    def settle_damage(self, sound: Entry) -> None:
        """Arrange the repair of damaged entries of a wheel that ``sound`` provided.

        The run publishes this user's own damaged entry anew at its end. Other publishers heal
        theirs.
        """
        passed = self._passed.pop(sound.manifest.digest, None)
        if passed is not None and self.layers.heals(passed[0]):
            self.repairs.mark_damaged(*passed)
        own = self.repairs.own_damage(sound.manifest.digest)
        if own is not None and self.layers.heals(own):
            self.repairs.heal(own, sound.wheel)
        else:
            self.repairs.settle(sound)

    def copy_untrusted(
        self, digests: Iterable[Digest], filename: str, directory: Path
    ) -> Path | None:
        """Return a checked copy in ``directory`` of a wheel from an unusable entry, or None.

        The entry is damaged, or its publisher is not trusted. The copy has its digest, so it saves
        the download and requires no trust.
        """
        for digest in digests:
            for found in self.layers.find(digest, filename, self.repairs.damaged):
                told = bool(found.damages or found.unreadable)
                if found.untrusted and (copied := self.copy(found.untrusted, directory, told=told)):
                    return copied
        return None

    def copy(self, entry: Entry, directory: Path, *, told: bool = False) -> Path | None:
        """Copy the wheel of ``entry`` into ``directory``; return None where its digest is wrong.

        None also follows an error of the copy. pip-sharedcache warns of both; with ``told``, when
        the user knows of the damage, of errors only.
        """
        target = directory / entry.manifest.filename
        try:
            if stores.copy_wheel(entry, target):
                self._count_download(entry.manifest.digest, entry.manifest.size)
                return target
            if not told:
                warn(
                    f"{entry.wheel} is not the wheel it says it is "
                    f"(published by {trust.user_name(entry.publisher)}): downloaded instead"
                )
        except (OSError, DamagedEntry) as error:
            warn(f"Not used from the shared store: {error}")
        return None

    def serve(self, entry: Entry) -> RunWheel:
        """Record that pip gets the entry's own wheel without a download, and return that wheel."""
        handed = self.wheels.at(str(entry.wheel))
        handed.entry, handed.digest = entry, entry.manifest.digest
        self.uses.record(entry)
        self._count_download(entry.manifest.digest, entry.manifest.size)
        return handed

    def mark_damaged(self, entry: Entry, what: str) -> None:
        """Stop using ``entry`` in this run, and record the damage ``what`` with its publisher."""
        self._forget(entry)
        self.repairs.mark_damaged(entry, what)

    def _forget(self, entry: Entry) -> None:
        """Remove ``entry`` from the results, so that ``find`` searches the layers again."""
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)

    def mark_vanished(self, entry: Entry, instead: str = "downloaded after all") -> None:
        """Record that ``entry`` was retired or deleted during this run, and warn.

        ``instead``: the end of the warning, which says what pip-sharedcache does then.
        """
        self._vanished.add(entry.identity)
        self._forget(entry)
        warn(f"{entry.path} is gone from the shared store: {instead}")

    def is_lost(self, entry: Entry) -> bool:
        """Return whether ``entry`` was retired or deleted during this run."""
        return entry.identity in self._vanished

    def check_everybody(self) -> None:
        """Trust only root, the store's owner and this user, as --require-hashes demands.

        Wheels of all other publishers are checked in a copy, like those of untrusted publishers.
        """
        for store in self.layers:
            store.restrict_trust((), "is not believed with --require-hashes")
        self._found.clear()

    def _count_download(self, digest: Digest, size: int) -> None:
        if digest not in self._not_downloaded:
            self._not_downloaded.add(digest)
            self.report.not_downloaded += size

    def note_download(self, entry: Entry) -> None:
        """Record that pip downloads the wheel of ``entry`` after all."""
        if entry.manifest.digest in self._not_downloaded:
            self._not_downloaded.remove(entry.manifest.digest)
            self.report.not_downloaded -= entry.manifest.size

    def relocate(self, path: str) -> RunWheel:
        """Return the wheel that pip was handed as ``path``, with its present path.

        Garbage collection may have retired its entry, which stays complete until it is deleted.
        """
        handed = self.wheels.at(path)
        retired = stores.find_retired(handed.entry) if handed.entry and handed.is_gone else None
        if retired is None:
            return handed
        # A symlink into a retired entry would dangle after the deletion: pip unpacks the wheel.
        entry = None if self.linker.mode is LinkMode.SYMLINK else retired
        moved = replace(handed, path=str(retired.wheel), entry=entry, verified=False)
        self.wheels.add(moved)
        return moved

    def is_shared_anyway(self, url: str) -> bool:
        """Return whether ``url`` (or an absolute path) is below a prefix in the setting share."""
        return any(is_below(url, prefix) for prefix in self._share)

    def shows_others(self) -> bool:
        """Return whether a store that takes shared wheels has a group or another user as owner."""
        return any(
            bool(store.group) or store.owner != trust.user_id()
            for store in self.layers
            if store.policy.shares
        )

    def replaceable_by(self, entry: Entry) -> str:
        """Return which users can replace ``entry`` with something else; "" where none can."""
        store = self.layers.of(entry)
        return "" if store is None else stores.replaceable_by(store, entry)

    def untrusted_summary(self) -> str:
        """Return the line on publishers whose wheels were checked in a copy; "" without any."""
        first = next(iter(self.distrust_reasons), "")
        for other in self.distrust_reasons:
            logger.debug("%s", other)
        more = len(self.distrust_reasons) - 1
        others = f"; so are those of {more} more publishers" if more > 0 else ""
        return f"Shared store: {first}{others}" if first else ""
