"""What pip is handed out of the stores, before it installs: looked up, checked, noted."""

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
    """The settings of one run of ``pip install``, its stores, and what was found there. ``store``:
    the one that the run publishes to, or else the nearest; None where there is none."""

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
        #: For the wheel of this name: what hears how many bytes of how many are published.
        self.on_progress: Callable[[str], Callable[[int, int], None]] | None = None

    def find(self, digests: Iterable[Digest], filename: str) -> Entry | None:
        """The usable entry for ``filename`` with one of ``digests``, or None."""
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
        """The wheel of ``sound`` was installed from there. This user's own entry of that wheel is
        healed at the end of the run, if it was found damaged."""
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
        """Copy the wheel out of an entry that is damaged, or whose publisher is not trusted, if it
        has its digest then: that saves the download, and trusts nobody. None where there is none.
        """
        for digest in digests:
            for found in self.layers.find(digest, filename, self.repairs.damaged):
                told = bool(found.damages or found.unreadable)
                if found.untrusted and (copied := self.copy(found.untrusted, directory, told=told)):
                    return copied
        return None

    def copy(self, entry: Entry, directory: Path, *, told: bool = False) -> Path | None:
        """Copy the wheel of ``entry`` into ``directory``, and hash that copy: None where it is not
        what it should be, which is said, if it was not ``told``."""
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
        """Note that pip was handed the entry's own wheel instead of downloading it."""
        handed = self.wheels.at(str(entry.wheel))
        handed.entry, handed.digest = entry, entry.manifest.digest
        self.uses.record(entry)
        self._count_download(entry.manifest.digest, entry.manifest.size)
        return handed

    def mark_damaged(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and say whose it is."""
        self._forget(entry)
        self.repairs.mark_damaged(entry, what)

    def _forget(self, entry: Entry) -> None:
        """Look ``entry`` up anew where it is needed again."""
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)

    def mark_vanished(self, entry: Entry, instead: str = "downloaded after all") -> None:
        """``entry`` was deleted while this run went on; ``instead`` is what happens."""
        self._vanished.add(entry.identity)
        self._forget(entry)
        warn(f"{entry.path} is gone from the shared store: {instead}")

    def is_lost(self, entry: Entry) -> bool:
        """Whether ``entry`` was deleted while this run went on."""
        return entry.identity in self._vanished

    def check_everybody(self) -> None:
        """With --require-hashes, what others than root, the store's owner and ourselves published
        is checked like that of somebody who is not trusted."""
        for store in self.layers:
            store.restrict_trust((), "is not believed with --require-hashes")
        self._found.clear()

    def _count_download(self, digest: Digest, size: int) -> None:
        if digest not in self._not_downloaded:
            self._not_downloaded.add(digest)
            self.report.not_downloaded += size

    def note_download(self, entry: Entry) -> None:
        """pip downloads the wheel of ``entry`` after all."""
        if entry.manifest.digest in self._not_downloaded:
            self._not_downloaded.remove(entry.manifest.digest)
            self.report.not_downloaded -= entry.manifest.size

    def relocate(self, path: str) -> RunWheel:
        """The wheel that pip was handed as ``path``, where it lies now: garbage collection may have
        taken its entry out of sight, which stays whole for a while."""
        handed = self.wheels.at(path)
        retired = stores.find_retired(handed.entry) if handed.entry and handed.is_gone else None
        if retired is None:
            return handed
        # No link may lead there: pip unpacks it.
        entry = None if self.linker.mode is LinkMode.SYMLINK else retired
        moved = replace(handed, path=str(retired.wheel), entry=entry, verified=False)
        self.wheels.add(moved)
        return moved

    def is_shared_anyway(self, url: str) -> bool:
        """Whether ``url`` (or an absolute path) is below a prefix in the setting ``share``."""
        return any(is_below(url, prefix) for prefix in self._share)

    def shows_others(self) -> bool:
        """Whether what is published here is for others too, and not in a store of one's own."""
        return any(
            bool(store.group) or store.owner != trust.user_id()
            for store in self.layers
            if store.policy.shares
        )

    def replaceable_by(self, entry: Entry) -> str:
        """Who may put something else in the place of ``entry``; "" if nobody may."""
        store = self.layers.of(entry)
        return "" if store is None else stores.replaceable_by(store, entry)

    def untrusted_summary(self) -> str:
        """Whose wheels were checked in a copy, and why; "" where there are none."""
        first = next(iter(self.distrust_reasons), "")
        for other in self.distrust_reasons:
            logger.debug("%s", other)
        more = len(self.distrust_reasons) - 1
        others = f"; so are those of {more} more publishers" if more > 0 else ""
        return f"Shared store: {first}{others}" if first else ""
