"""The flow for one wheel: find or publish its entry, place its files, finish.

pip runs the installation; ``interception`` asks here what the store has, and hands over every file
that pip saves. Whatever goes wrong with the store ends in pip's own way and a line that says why.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache import caution, linker, trust, wheel
from pip_sharedcache import store as stores
from pip_sharedcache.compiling import Compiling
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry, StoreUnusable
from pip_sharedcache.linker import Linker, Placement
from pip_sharedcache.model import (
    Digest,
    Entry,
    Identity,
    Installed,
    LinkMode,
    Origin,
    Report,
    total_size,
)
from pip_sharedcache.origins import Origins
from pip_sharedcache.processes import at_most, side_by_side
from pip_sharedcache.publishing import Publishing
from pip_sharedcache.repair import Repairs
from pip_sharedcache.store import Build, Staged, Store
from pip_sharedcache.uses import Uses

logger = logging.getLogger(__name__)


class Session:
    """One run of ``pip install``: its settings, its store (None: unusable, said once), what it
    did so far."""

    def __init__(self, settings: Settings, store: Store | None, umask: int) -> None:
        self.settings = settings
        self.store = store
        self.report = Report()
        self.linker = Linker(
            settings.link_mode,
            umask,
            group_environment=settings.group_environment,
            hashes=settings.verify,
            divide=side_by_side,
        )
        self.origins = Origins(caution.shared_although_private(settings, store))
        self._found: dict[tuple[Digest, str], Entry] = {}
        self._by_wheel: dict[str, Entry] = {}
        self.repairs = Repairs(self.say_once)
        self.uses = Uses(store, self.say_once)
        self._served: set[Digest] = set()
        self._builds: dict[str, tuple[Digest, Build]] = {}
        self._complete: list[Placement] = []
        # What is placed as a symlink names the entry's own path, so that must be the final one.
        symlinks = settings.link_mode is LinkMode.SYMLINK
        self._publishing = Publishing(store, self.repairs, self.say_once, at_once=symlinks)
        self._compiling = Compiling(
            store, self._publishing, self.repairs, self.uses, self.say_once, verify=settings.verify
        )
        self._said: set[str] = set()
        self._added: set[Identity] = set()
        self._began = time.monotonic()
        if store is not None and symlinks:
            self._give_up_symlinks(caution.no_symlinks_because(store))

    @classmethod
    def start(cls, settings: Settings) -> Session:
        """Open the store that ``settings`` name. Never raises for the store's state: it warns."""
        for note in (*settings.notes, *caution.trust_in_nobody(settings)):
            logger.warning(note)
        at_most(settings.processes)
        store = None
        try:
            store = stores.open_store(settings)
        except StoreUnusable as error:
            logger.warning(
                "Installing without the shared store: %s (%s)", error, settings.dir_source
            )
        return cls(settings, store, trust.current_umask())

    # -- before pip downloads

    def find(self, digests: Iterable[Digest], filename: str) -> Entry | None:
        """The usable entry for ``filename`` with one of ``digests``, or None."""
        if self.store is None:
            return None
        for digest in digests:
            known = self._found.get((digest, filename))
            if known is not None:
                return known
            found = stores.find(self.store, digest, filename, self.repairs.spoiled)
            for objection in found.objections:
                self.say_once(f"Shared store: {objection}")
            for damage in found.damages:
                self.repairs.note(
                    digest, f"Damaged entry in the shared store is not used: {damage}"
                )
            if found.entry is not None:
                self._found[digest, filename] = found.entry
                return found.entry
        return None

    def copy_doubtful(
        self, digests: Iterable[Digest], filename: str, directory: Path
    ) -> Path | None:
        """Copy the wheel out of an entry that is damaged, or whose publisher is not trusted, if it
        has its digest then: that saves the download, and trusts nobody. None where there is none.
        """
        if self.store is None:
            return None
        for digest in digests:
            found = stores.find(self.store, digest, filename, self.repairs.spoiled)
            told = bool(found.damages)
            if found.doubtful and (copied := self.copy(found.doubtful, directory, told=told)):
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
                self.say_once(
                    f"{entry.wheel} is not the wheel it says it is "
                    f"(published by {trust.user_name(entry.publisher)}): downloaded instead"
                )
        except (OSError, DamagedEntry) as error:
            self.say_once(f"Not used from the shared store: {error}")
        return None

    def note_build(self, path: str, key: Digest, details: Mapping[str, Any]) -> None:
        """pip has built the wheel at ``path``, which may be shared."""
        digest, _ = wheel.digest_of(Path(path))
        self.origins.note(path, Origin(""))
        self.origins.note_digest(path, digest)
        self._builds[path] = key, Build(digest, os.path.basename(path), details)

    def serve(self, entry: Entry, digest: Digest) -> None:
        """Note that pip was handed the entry's own wheel instead of downloading it."""
        self._by_wheel[str(entry.wheel)] = entry
        self.uses.note(entry)
        self._count_download(digest, entry.manifest.size)

    def spoil(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and say whose it is."""
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)
        self.repairs.spoil(entry, what)

    def lose(self, entry: Entry) -> None:
        """``entry`` was deleted while this run went on, and is to be looked up anew."""
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)
        self.say_once(f"{entry.path} is gone from the shared store: downloaded after all")

    def check_everybody(self) -> None:
        """With --require-hashes, what others than root, the store's owner and ourselves published
        is checked like that of somebody who is not trusted."""
        if self.store is not None:
            self.store.narrow((), "is not believed with --require-hashes")
            self._found.clear()

    def _count_download(self, digest: Digest, size: int) -> None:
        if digest not in self._served:
            self._served.add(digest)
            self.report.not_downloaded += size

    def names_in(self, path: str) -> list[str] | None:
        """The files of the wheel at ``path``; None where it cannot be read."""
        served = self._by_wheel.get(path)
        if served is not None:
            return [file.path for file in served.manifest.files]
        return wheel.names_in(path)

    def shows_others(self) -> bool:
        """Whether what is published here is for others too, and not in a store of one's own."""
        store = self.store
        return store is not None and (bool(store.group) or store.owner != trust.user_id())

    def served(self, path: str) -> Entry | None:
        """The entry whose own wheel pip was handed as ``path``; None where it is pip's."""
        return self._by_wheel.get(path)

    def gone(self, path: str) -> Entry | None:
        """The entry whose wheel pip was handed as ``path``, if there is nothing any more."""
        entry = self._by_wheel.get(path)
        return None if entry is None or os.path.lexists(path) else entry

    def follow(self, path: str) -> str:
        """Where the wheel that pip was handed as ``path`` lies now: garbage collection may have
        taken its entry out of sight, which stays whole for a while."""
        entry = self.gone(path)
        retired = entry and stores.find_retired(entry)
        if retired is None:
            return path
        moved = str(retired.wheel)
        if self.linker.mode is not LinkMode.SYMLINK:  # no link may lead there: pip unpacks it
            self._by_wheel[moved] = retired
            self.origins.move(path, moved)
        return moved

    def begin(self, path: str) -> Placement | None:
        """Start to install the wheel at ``path``: a placement to be committed or undone, or None
        where pip does it all. Every distribution that is installed comes by here once."""
        self.report.installed += 1
        origin = self.origins.of(path)
        if self.store is None or origin is None:
            self._leave_to_pip(path, "it was built here")
            return None
        entry = self._find_or_publish(self.store, Path(path), origin)
        if entry is None:
            self._leave_to_pip(path, origin.private_because or "it is not published")
            return None
        self._give_up_symlinks(self.exposure(entry))
        try:
            return Placement(entry, stores.hold(entry), self.linker, self.report)
        except DamagedEntry as error:
            self.spoil(entry, str(error))
            self._leave_to_pip(path, "its entry is damaged")
            return None

    def _leave_to_pip(self, path: str, why: str) -> None:
        self.report.distributions.append(Installed(os.path.basename(path), 0, "pip", why))

    def _find_or_publish(self, store: Store, path: Path, origin: Origin) -> Entry | None:
        served = self._by_wheel.get(str(path))
        if served is not None:
            self.report.found += 1
            return served
        try:
            digest = self.origins.digest_of(str(path)) or wheel.digest_of(path)[0]
        except OSError:
            return None  # pip meets the same error, and words it
        found = self.find([digest], path.name)
        if found is not None:
            self.report.found += 1
            self.uses.note(found)
        elif origin.private_because and not self.origins.is_shared_anyway(origin.url):
            logger.debug("%s is not shared: %s", path.name, origin.private_because)
        else:
            found = self._stage(
                lambda: stores.stage(store, path, path.name, digest, self.repairs.spoiled),
                "Installed without publishing",
            )
            if found is not None:
                self._found[digest, path.name] = found
                self._added.add(found.identity)
        built = self._builds.get(str(path))
        if found is not None and built is not None:
            self._stage(
                lambda: stores.stage_build(store, *built, self.repairs.spoiled),
                "Installed without sharing",
            )
        return found

    def _stage(self, stage: Callable[[], Staged], otherwise: str) -> Entry | None:
        return self._publishing.add(stage, otherwise, self.report)

    def takes_last_room(self, device: int) -> bool:
        """Whether what is staged on the file system ``device`` (st_dev) takes all room there."""
        return self._publishing.takes_last_room(device)

    def give_up_publishing(self, device: int) -> bool:
        """The file system ``device`` (st_dev) is full: let go of what was staged there, and stage
        nothing more in this run. Whether that gave room."""
        self._found.clear()
        return self._publishing.give_up(device)

    def _give_up_symlinks(self, why: str) -> None:
        if why and self.linker.mode is LinkMode.SYMLINK:
            self.linker.give_up(LinkMode.SYMLINK, why)

    def exposure(self, entry: Entry) -> str:
        """Who may put something else in the place of ``entry``; "" if nobody may."""
        return "" if self.store is None else stores.exposure(self.store, entry)

    def provide_bytecode(self, placement: Placement) -> None:
        """Give ``placement`` this interpreter's bytecode, if that can be shared."""
        try:
            entry = self._compiling.bytecode_of(placement.entry, self.report)
            if entry is not None:
                self._give_up_symlinks(self.exposure(entry))
                placement.use_bytecode(entry, stores.hold(entry))
        except DamagedEntry as error:
            self.say_once(f"Bytecode in the shared store is not used: {error}")

    def before_placing(self) -> None:
        """What was staged is going to be placed."""
        if self.linker.mode is LinkMode.REFLINK and LinkMode.REFLINK not in self.linker.refusals:
            self._publishing.make_durable()

    def save_bytecode(self, placement: Placement, source: str) -> bool | None:
        """Place the shared bytecode of the placed ``source``: True; False where it is known not
        to compile; None where pip is to compile it."""
        try:
            return placement.save_bytecode(source)
        except DamagedEntry as error:
            self.repairs.spoil_bytecode(placement.bytecode, placement.entry, error)
        except OSError as error:
            # A colleague's __pycache__, a full disk: pip tries too, and goes on without.
            logger.debug("No bytecode for %s: %s", source, error)
        return None

    # -- the end

    def settle(self, placement: Placement, *, later: bool) -> None:
        """End the installation of one wheel. ``later``: nothing is replaced by it, so that it may
        appear together with others (``show``), made durable at once. Raises OSError."""
        manifest = placement.entry.manifest
        how = "added" if placement.entry.identity in self._added else "found"
        installed = Installed(manifest.filename, total_size(manifest.files), how)
        self.report.distributions.append(installed)
        if not later:
            self._register([placement])
            placement.commit()
            return
        placement.record()
        placement.close()
        self._complete.append(placement)

    def show(self, placements: Sequence[Placement]) -> None:
        """Let complete distributions appear (linker.show), their symlinks registered before."""
        self._register(placements)
        linker.show(placements)

    def _register(self, placements: Iterable[Placement]) -> None:
        if self.linker.mode is LinkMode.SYMLINK:
            self.uses.note_links(placements)

    def take_complete(self) -> list[Placement]:
        """What was settled for later since this was asked last."""
        complete, self._complete = self._complete, []
        return complete

    def finish(self) -> None:
        """Make visible what this run staged. To be called however the run ended."""
        if self.store is not None:
            self._stage_repairs(self.store)
        self._publishing.reveal(self.report)
        self.repairs.tell_rest()

    def _stage_repairs(self, store: Store) -> None:
        wheels, bytecode_of = self.repairs.take()
        for entry, path in wheels:
            filename, digest = entry.manifest.filename, entry.manifest.digest
            stage = functools.partial(
                stores.stage, store, path, filename, digest, self.repairs.spoiled
            )
            self._stage(stage, f"{filename} is not repaired")
        for entry in bytecode_of:
            try:
                self._compiling.bytecode_of(entry, self.report)
            except DamagedEntry as error:
                self.say_once(f"Bytecode in the shared store is not compiled anew: {error}")

    def note_run(self) -> None:
        """Leave a record of this run, which is over."""
        refused = self.linker.refusals.get(self.settings.link_mode, "")
        self.uses.note_run(self.report, self.settings, refused, time.monotonic() - self._began)

    @property
    def unusual(self) -> list[str]:
        """Wheels that were left to pip's own installer, and why. To be said if pip took them: its
        own errors are to stand alone."""
        return self._publishing.unusual

    def summary(self) -> str:
        """The line for the end of a run that installed something; "" where there is none."""
        if self.store is None or not self.report.installed:
            return ""
        line = self.report.sentence(self.store.path)
        refused = self.linker.refusals.get(self.settings.link_mode)
        if refused and self.settings.link_mode is not LinkMode.COPY:
            line += f" (no {self.settings.link_mode.value} here: {refused})"
        return line

    def say_once(self, message: str) -> None:
        """Warn, the first time."""
        if message not in self._said:
            self._said.add(message)
            logger.warning(message, extra={"once": True})
