"""The lookup, check and record of the wheels that pip gets from the stores."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache import store as stores
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.model import Digest, Entry, Identity
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import RunWheel

logger = logging.getLogger(__name__)


class WheelLookup:
    """The search for wheels in the stores of ``run``, and what the run found there."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self._layers, self._repairs = run.layers, run.repairs
        self._found: dict[tuple[Digest, str], Entry] = {}
        self._distrust_reasons: dict[str, None] = {}
        self._skipped: dict[Digest, tuple[Entry, str]] = {}
        self._not_downloaded: set[Digest] = set()
        self._vanished: set[Identity] = set()
        self._untrusted: set[Digest] = set()
        self._copied: set[Digest] = set()

    def find(self, digests: Iterable[Digest], filename: str) -> Entry | None:
        """Return the usable entry for ``filename`` with one of ``digests``, or None."""
        for digest in digests:
            known = self._found.get((digest, filename))
            if known is not None:
                return known
            layers = self._layers.find(digest, filename, self._repairs.damaged)
            for found in layers:
                if found.silent is not None:
                    self._lose(*found.silent)
                    continue
                if found.own is not None:
                    self._skipped.setdefault(digest, found.own)
            if layers and (entry := layers[-1].entry) is not None:
                self.remember(entry)
                return entry
            for found in (one for one in layers if one.silent is None):
                self._distrust_reasons.update(dict.fromkeys(found.distrust_reasons))
                for damage in found.damages:
                    self._repairs.record_damage(
                        digest, f"Damaged entry in the shared store is not used: {damage}"
                    )
                for trouble in found.unreadable:
                    self._repairs.record_damage(
                        digest, f"Entry in the shared store is not used: {trouble}", lasting=True
                    )
                if found.untrusted and not found.damages:
                    (self._copied if found.copied else self._untrusted).add(digest)
        return None

    def miss_of(self, digest: Digest) -> str:
        """Return why ``find`` has found no entry of ``digest``, as a phrase."""
        if self._repairs.is_known(digest):
            return "its entry is damaged"
        if digest in self._copied:
            return "its entry was copied without its times"
        if digest in self._untrusted:
            return "its publisher is not trusted"
        return "the store did not have it"

    def has(self, digests: Iterable[Digest], filename: str) -> bool:
        """Return whether an entry for ``filename`` can save the download, if only by a copy."""
        digests = tuple(digests)
        return self.find(digests, filename) is not None or any(
            found.untrusted
            for digest in digests
            for found in self._layers.find(digest, filename, self._repairs.damaged)
        )

    def remember(self, entry: Entry) -> None:
        """Use ``entry`` for its digest and file name from now on."""
        self._found[entry.manifest.digest, entry.manifest.filename] = entry

    def forget_all(self) -> None:
        """Search the layers again for each wheel, because the found entries may not be usable."""
        self._found.clear()

    def settle_damage(self, sound: Entry) -> None:
        """Arrange the repair of damaged entries of a wheel that ``sound`` provided.

        The run publishes this user's own damaged entry anew at its end. Other publishers heal
        theirs.
        """
        skipped = self._skipped.pop(sound.manifest.digest, None)
        if skipped is not None and self._layers.heals(skipped[0]):
            self._repairs.mark_damaged(*skipped)
        own = self._repairs.own_damage(sound.manifest.digest)
        if own is not None and self._layers.heals(own):
            self._repairs.heal(own, sound.wheel)
        else:
            self._repairs.settle(sound)

    def copy_untrusted(
        self, digests: Iterable[Digest], filename: str, directory: Path
    ) -> Path | None:
        """Return a checked copy in ``directory`` of a wheel from an unusable entry, or None.

        The entry is damaged, or its publisher is not trusted. The copy has its digest, so it saves
        the download and requires no trust.
        """
        for digest in digests:
            for found in self._layers.find(digest, filename, self._repairs.damaged):
                told = bool(found.damages or found.unreadable)
                if found.untrusted and (
                    copied := self._copy_of_untrusted(found.untrusted, directory, told=told)
                ):
                    return copied
        return None

    def copy_trusted(self, entry: Entry, directory: Path) -> Path | None:
        """Copy the wheel of the trusted ``entry`` into ``directory`` and check every byte.

        Return None after an error or with a wrong digest. ``find`` then skips the entry.
        """
        try:
            if (copied := self._copy(entry, directory)) is not None:
                return copied
            self.skip(entry, f"{entry.wheel}: its bytes do not match its digest")
        except DamagedEntry as error:
            self.skip(entry, str(error))
        except OSError as error:  # often of the directory: the entry may be sound
            warn(f"Not used from the shared store: {entry.wheel}: {reason(error)}")
            self._repairs.damaged.add(entry.identity)
            self._forget(entry)
        return None

    def _copy(self, entry: Entry, directory: Path) -> Path | None:
        target = directory / entry.manifest.filename
        # pip download keeps the mode of the copy.
        if not stores.copy_wheel(entry, target, 0o666 & ~trust.current_umask()):
            return None
        self._count_download(entry)
        return target

    def _copy_of_untrusted(self, entry: Entry, directory: Path, *, told: bool) -> Path | None:
        """Copy the wheel of ``entry`` into ``directory``; return None where its digest is wrong.

        None also follows an error of the copy. pip-sharedcache warns of both; with ``told``, when
        the user knows of the damage, of errors only.
        """
        try:
            if (copied := self._copy(entry, directory)) is not None:
                return copied
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
        handed = self._run.wheels.at(str(entry.wheel))
        handed.entry, handed.digest = entry, entry.manifest.digest
        self._run.uses.record(entry)
        self._count_download(entry)
        return handed

    def relocate(self, path: str) -> RunWheel:
        """Return the wheel that pip was handed as ``path``, with its present path.

        Garbage collection may have retired its entry, which stays complete until it is deleted.
        """
        handed = self._run.wheels.at(path)
        if handed.entry is not None and self.is_lost(handed.entry):
            return handed
        retired = stores.find_retired(handed.entry) if handed.entry and handed.is_gone else None
        if retired is None:
            return handed
        # A symlink into a retired entry would dangle after the deletion: pip unpacks the wheel.
        entry = None if self._run.links.places_symlinks else retired
        moved = replace(handed, path=str(retired.wheel), entry=entry, verified=False)
        self._run.wheels.add(moved)
        return moved

    def mark_damaged(self, entry: Entry, what: str) -> None:
        """Stop using ``entry`` in this run, and record the damage ``what`` with its publisher."""
        self._forget(entry)
        self._repairs.mark_damaged(entry, what)

    def skip(self, entry: Entry, what: str, instead: str = "downloaded after all") -> None:
        """Mark ``entry`` as damaged, as ``what`` says, or as vanished if its path is gone.

        Garbage collection may have deleted it since the lookup: that is no damage. ``instead`` is
        as for ``mark_vanished``.
        """
        if fs.is_gone(entry.path):
            self.mark_vanished(entry, instead)
        else:
            self.mark_damaged(entry, what)

    def mark_vanished(self, entry: Entry, instead: str = "downloaded after all") -> None:
        """Record that ``entry`` was retired or deleted during this run, and warn.

        ``instead``: the end of the warning, which says what pip-sharedcache does then.
        """
        self._forget(entry)
        if self.is_lost(entry):
            return  # the user knows
        self._vanished.add(entry.identity)
        warn(f"{entry.path} is gone from the shared store: {instead}")

    def mark_lost(self, entry: Entry, what: str) -> None:
        """Go on without the store of ``entry``, whose file server stopped answering, and warn."""
        self._lose(entry.path.parents[2], what)

    def _lose(self, store: Path, what: str) -> None:
        # Each call to the server would wait for seconds until it fails.
        if store not in self._layers.lost:
            self._layers.drop(store)
            self.forget_all()
            warn(f"{store} does not answer any more, and is not used: {what}")

    def is_gone(self, wheel: RunWheel) -> bool:
        """Return whether ``wheel`` is an entry's own, and cannot be read any more."""
        return wheel.entry is not None and (self.is_lost(wheel.entry) or wheel.is_gone)

    def is_lost(self, entry: Entry) -> bool:
        """Return whether the store of ``entry`` stopped answering in this run."""
        return entry.path.parents[2] in self._layers.lost

    def _forget(self, entry: Entry) -> None:
        """Remove ``entry`` from the results, so that ``find`` searches the layers again."""
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)

    def is_vanished(self, entry: Entry) -> bool:
        """Return whether ``entry`` was retired, deleted or lost during this run."""
        return entry.identity in self._vanished or self.is_lost(entry)

    def verifies_copy(self, entry: Entry) -> bool:
        """Return whether every byte of the wheel must be checked in a copy.

        The setting verify asks for the check. The copy is necessary if the publisher of ``entry``
        or the store's owner, as another user, could change the entry after the check.
        """
        if not self._run.settings.verify:
            return False
        store = self._layers.of(entry)
        owners = {entry.publisher, entry.publisher if store is None else store.owner}
        return not owners <= {0, trust.user_id()}

    def replaceable_by(self, entry: Entry) -> str:
        """Return which users can replace ``entry`` with something else; "" where none can."""
        return self._layers.replaceable_by(entry)

    def distrust_publishers(self) -> None:
        """Trust only root, the store's owner and this user, as --require-hashes demands.

        Wheels of all other publishers are checked in a copy, like those of untrusted publishers.
        """
        self._layers.narrow((), "is not trusted with --require-hashes")
        self.forget_all()

    def _count_download(self, entry: Entry) -> None:
        if entry.manifest.digest not in self._not_downloaded:
            self._not_downloaded.add(entry.manifest.digest)
            self._run.report.not_downloaded += entry.manifest.size

    def record_download(self, entry: Entry) -> None:
        """Record that pip downloads the wheel of ``entry`` after all."""
        if entry.manifest.digest in self._not_downloaded:
            self._not_downloaded.remove(entry.manifest.digest)
            self._run.report.not_downloaded -= entry.manifest.size

    def untrusted_summary(self) -> str:
        """Return the line on publishers whose wheels were checked in a copy; "" without any."""
        first = next(iter(self._distrust_reasons), "")
        for other in self._distrust_reasons:
            logger.debug("%s", other)
        more = len(self._distrust_reasons) - 1
        others = f"; so are those of {more} more" if more > 0 else ""
        return f"Shared store: {first}{others}" if first else ""
