"""The flow for one wheel: find or publish its entry, place its files, finish.

pip runs the installation. ``pip_adapter`` asks this module for entries, and hands over every file
that pip saves. If the store fails, pip installs by itself and a warning gives the reason.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pip_sharedcache import store as stores
from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs.workers import available_workers, limit_workers, map_in_workers
from pip_sharedcache.model import Entry, Identity, Installed, Policy, total_size
from pip_sharedcache.placement import Linker, Placement, RunReport, Unserved, make_visible
from pip_sharedcache.session import closing, notices, opening, restrictions
from pip_sharedcache.session.builds import SharedBuilds
from pip_sharedcache.session.bytecode import SharedBytecode
from pip_sharedcache.session.entries import RunEntries
from pip_sharedcache.session.head_start import (
    DownloadedWheel,
    HeadStart,
    Published,
    Request,
    StagedWheel,
)
from pip_sharedcache.session.judged_pages import SharedPages
from pip_sharedcache.session.lookup import WheelLookup
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.remotes import RunRemotes
from pip_sharedcache.session.resolutions import SharedResolutions
from pip_sharedcache.session.state import Progress, RunState, WorkerPart
from pip_sharedcache.session.turns import Turns
from pip_sharedcache.session.wheels import RunWheel
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

#: The most worker processes, where no setting gives their number.
MOST_WORKERS = 8

#: The name of private wheels in the record of a run, which other users can read.
_UNNAMED = "(not shared)"


class Session:
    """One run of ``pip install``.

    ``settings``: its settings.
    ``layers``: its stores.
    ``report``: its counts.
    ``wheels``: the wheels that pip has.
    ``links``: the link mode.
    ``sharing``: which wheels may be shared.
    ``lookup``: the wheels in the stores.
    ``builds``: the wheels that pip builds.
    ``bytecode``: the bytecode of the wheels.
    ``resolutions``: what pip's resolver was asked before, and answered.
    ``pages``: what pip's finder made of index pages.
    ``remotes``: its remote stores.
    ``turns``: the order of runs that miss the same wheels.
    ``compiles``: whether pip compiles what it installs.
    ``unusual``: why wheels are left to pip's own installer. A warning only if pip installs them.
    """

    def __init__(
        self, settings: Settings, layers: Layers, umask: int, on_progress: Progress | None = None
    ) -> None:
        """Make the parts of a run with ``layers``; ``on_progress`` is as for RunState."""
        notices.begin()
        self._began = time.monotonic()
        self._run = run = RunState(settings, layers, on_progress)
        self.settings, self.layers = settings, layers
        self.report, self.wheels = run.report, run.wheels
        self.links, self.sharing = run.links, run.sharing
        self._publishing = Publisher(run)
        self.unusual = self._publishing.unusual
        self.lookup = WheelLookup(run)
        self.remotes = RunRemotes(run)
        self.builds = SharedBuilds(run, self._publishing, self.remotes)
        self.bytecode = SharedBytecode(run, self._publishing, self.remotes)
        self.resolutions = SharedResolutions(run, self._publishing, self.remotes)
        self.pages = SharedPages(run, self._publishing)
        self._entries = RunEntries(run, self.lookup, self._publishing, self.builds, self.bytecode)
        self._linker = Linker(
            run.links,
            umask,
            group_environment=settings.group_environment,
            hashes=settings.verify,
            divide=map_in_workers,
        )
        self._complete: list[Placement] = []
        self._unnamed: set[Identity] = set()
        self._head_start = HeadStart(self._answer)
        self.turns = Turns(layers)
        self._staged_ahead: list[StagedWheel] | None = None  # None outside of its worker processes
        self.compiles = True

    @classmethod
    def start(
        cls, settings: Settings, on_progress: Progress | None = None, *, fills: bool = True
    ) -> Session:
        """Open the stores that ``settings`` name. An unusable store causes a warning, no error.

        ``fills``: whether missing stores of this user are made."""
        for note in (*settings.notes, *restrictions.unknown_names_in_trust(settings)):
            logger.warning(note)
        limit_workers(settings.processes)
        layers = opening.open_layers(settings, fills=fills)
        return cls(settings, layers, trust.current_umask(), on_progress)

    # -- one wheel

    def begin(self, path: str) -> Placement | None:
        """Begin to install the wheel at ``path``; return None to leave the wheel to pip.

        The caller commits or undoes the placement, and calls this once for every distribution.
        """
        self.report.installed += 1
        run_wheel = self.wheels.at(path)
        origin, main = run_wheel.origin, self.layers.main
        if main is None or origin is None:
            self._leave_to_pip(path, "it was built here", named=False)  # its source is unknown
            return None
        if main.trust.unknown:
            warn(restrictions.owners_unknown(main))
        private = self.sharing.is_private(origin)
        entry = self._entries.entry_for(run_wheel, origin)
        if entry is None:
            why = origin.private_because if private else self._publishing.refusal
            self._leave_to_pip(path, why, named=not private, pulled=run_wheel.pulled)
            return None
        self._run.symlinks.check(entry)
        home = self.layers.of(entry)
        if private or (home is not None and home.policy is Policy.PRIVATE):
            self._unnamed.add(entry.identity)
        try:
            return Placement(entry, stores.open_entry(entry), self._linker, RunReport())
        except DamagedEntry as error:
            self.lookup.skip(entry, str(error), "pip installs its own wheel")
            self.fall_back(entry)
            return None

    def before_placing(self) -> None:
        """Make the staged entries durable, if their files are going to be cloned."""
        if self.links.clones:
            self._publishing.make_durable()

    def begins_again(self, entry: Entry) -> None:
        """Correct the counts: the placement of ``entry`` was undone, and another one begins."""
        self.report.installed -= 1
        self._is_not_found(entry)

    def fall_back(self, entry: Entry) -> None:
        """Record that pip alone installs a wheel: its ``entry`` is unusable, or a disk is full."""
        self._is_not_found(entry)
        why = self._unusable_because(entry) or "a disk is full"
        named, pulled = entry.identity not in self._unnamed, self._is_pulled(entry)
        self._leave_to_pip(entry.manifest.filename, why, named=named, pulled=pulled)

    def _is_not_found(self, entry: Entry) -> None:
        self.report.found -= not self._entries.is_added(entry)

    def _is_pulled(self, entry: Entry) -> bool:
        """Return whether this run got the wheel of ``entry`` from a remote store."""
        return self._entries.is_added(entry) and self.wheels.is_pulled(entry.manifest.digest)

    def _leave_to_pip(self, path: str, why: str, *, named: bool, pulled: bool = False) -> None:
        name = os.path.basename(path)
        told = Installed(name if named else _UNNAMED, 0, "pip", why, pulled)
        self.report.distributions.append(told)
        self.report.unserved.append(Unserved(name, why, added=False))
        self.report.pulled += pulled

    def _unusable_because(self, entry: Entry) -> str:
        if entry.identity in self._run.repairs.damaged:
            return "its entry is damaged"
        return "its entry is gone" if self.lookup.is_vanished(entry) else ""

    def heal(self, entry: Entry, wheel_file: Path) -> None:
        """Publish the damaged ``entry`` anew at the end of the run, from ``wheel_file``.

        That is the entry's own wheel, or one that pip downloaded, and has the digest of the entry.
        """
        self._run.repairs.heal(entry, wheel_file)

    def settle(self, placement: Placement, *, later: bool) -> None:
        """End the installation of one wheel. Raises OSError.

        ``later``: the wheel replaces nothing, and waits for a commit with others.
        """
        entry, added = placement.entry, self._entries.is_added(placement.entry)
        staged = entry.path.name.startswith(".")
        if not staged and not added and entry.identity not in self._run.repairs.damaged:
            self.lookup.settle_damage(entry)
        if later:
            placement.record()
            placement.close()
            self._complete.append(placement)
        else:
            self._register([placement])
            placement.commit()
        self.report.add(placement.report)
        if self._unusable_because(entry):
            self.fall_back(entry)  # pip took some or all files from its own wheel
            return
        how, title = self._entries.how(entry), entry.manifest.filename
        if how == "added":
            self.report.unserved.append(Unserved(title, self._entries.added_because(entry), True))
        if entry.identity in self._unnamed:
            title = _UNNAMED
        size, pulled = total_size(entry.manifest.files), self._is_pulled(entry)
        self.report.distributions.append(Installed(title, size, how, pulled=pulled))
        self.report.pulled += pulled

    def make_visible(self, placements: Sequence[Placement]) -> None:
        """Make complete distributions visible, after registering their symlinks."""
        self._register(placements)
        make_visible(placements)

    def _register(self, placements: Iterable[Placement]) -> None:
        if self.links.places_symlinks:
            self._run.uses.register_links(placements)

    def take_complete(self) -> list[Placement]:
        """Return and clear the placements that wait for the commit."""
        complete, self._complete = self._complete, []
        return complete

    # -- while pip downloads

    def begin_head_start(self) -> None:
        """Start worker processes that stage wheels while pip downloads others, if several can."""
        size = min(MOST_WORKERS, available_workers())
        if size > 1 and self.layers.to_publish() is not None:
            self._head_start.start(size)

    def stage_ahead(self, run_wheel: RunWheel) -> None:
        """Let a worker process stage ``run_wheel``, whose digest and origin are known."""
        if run_wheel.digest is not None and run_wheel.origin is not None:
            code = self._run.pulled_bytecode.get(run_wheel.digest)
            self._head_start.add(
                DownloadedWheel(run_wheel.path, run_wheel.digest, run_wheel.origin, code)
            )

    def go_on(self) -> None:
        """Give work to worker processes that are free."""
        self._head_start.go_on()

    def end_head_start(self) -> None:
        """Delete what was staged while pip downloaded: the run has failed."""
        self._head_start.end()

    def use_head_start(self) -> None:
        """Use for the installation what was staged while pip downloaded.

        Make the temporary store if the run needs one.
        """
        self._run.get_ready_for_pulled()
        for staged in self._head_start.wheels():
            self._entries.adopt(staged.entry)
            self.bytecode.adopt(staged.entry, staged.bytecode, staged.warning)

    def free_head_start(self, device: int) -> bool:
        """Delete what was staged ahead on ``device`` (st_dev); return whether there was any."""
        self.bytecode.forget_staged()
        self.lookup.forget_all()
        return self._head_start.free(device)

    def _answer(self, asked: object) -> object:
        """Do in a worker process what HeadStart asks for."""
        if self._staged_ahead is None:
            self._staged_ahead = []
            self.enter_worker()
            self.report.take()
        with notices.kept() as warnings:
            if isinstance(asked, DownloadedWheel):
                self._stage_ahead(asked, self._staged_ahead)
            elif asked is Request.WHEELS:
                self._publishing.make_durable()
                return self._staged_ahead
            elif asked is Request.PUBLISH:
                self._publishing.make_visible()
                reported = frozenset(self._run.repairs.reported)
                return Published(self.report.take(), tuple(warnings), reported)
            elif asked is Request.DISCARD:
                self._publishing.discard()
            elif isinstance(asked, int):
                return self.give_up_publishing(asked)
        return None

    def _stage_ahead(self, one: DownloadedWheel, staged: list[StagedWheel]) -> None:
        try:
            entry = self._entries.stage_ahead(Path(one.path), one.digest, one.origin)
            if entry is not None:
                self._run.note_bytecode(one.digest, one.bytecode)
                code = self.bytecode.stage_ahead(entry) if self.compiles else None
                staged.append(StagedWheel(entry, code, self.bytecode.take_refusal()))
        except Exception:
            # The installation of the wheel stages it again, and its user sees the error.
            logger.debug("%s is not staged yet", one.path, exc_info=True)
        if self._publishing.give_up_where_full():
            staged.clear()

    # -- a full disk

    def takes_last_space(self, device: int) -> bool:
        """Return whether staged entries use the last free space of ``device`` (st_dev)."""
        return self._publishing.takes_last_space(device)

    def give_up_publishing(self, device: int) -> bool:
        """Stop publishing on the full ``device`` (st_dev); return whether that freed space."""
        self.lookup.forget_all()
        return self._publishing.give_up(device)

    # -- worker processes

    def enter_worker(self) -> None:
        """Leave to the parent process what it began before it started this worker process.

        That is the damage that it found, its staged entries, and its progress bars: bars of several
        processes would overwrite each other.
        """
        notices.begin()
        self._run.repairs.leave_to_parent()
        self._publishing.leave_to_parent()
        self._head_start.leave_to_parent()
        self._run.on_progress = None

    def begin_task(self) -> list[Placement]:
        """Return a new list, to which ``settle`` adds placements; ``report`` counts from 0."""
        self.report.take()
        self._complete = []
        return self._complete

    def end_worker(self, placements: Sequence[Placement]) -> tuple[WorkerPart, OSError | None]:
        """End the run in this worker process, and make the complete ``placements`` visible.

        Returns the part of the process, and the first error.
        """
        self.report.take()
        failure: OSError | None = None
        try:
            self.make_visible(placements)
        except OSError as error:
            failure = error
        self.finish()
        reported = frozenset(self._run.repairs.reported)
        refused = frozenset(self._run.refused_bytecode)
        return WorkerPart(self.report.take(), self.links.refusals, reported, refused), failure

    def add_worker(self, part: WorkerPart) -> None:
        """Add the ``part`` of a worker process, in its parent process."""
        self.report.add(part.report)
        self.links.refusals.update(part.refusals)
        self._run.refused_bytecode |= part.refused
        self._run.repairs.mark_reported(part.reported)

    # -- the end

    def finish(self) -> None:
        """Make the staged entries visible. The caller calls this however the run ended."""
        try:
            self._entries.stage_repairs()
            self._publishing.make_visible()
            for published in self._head_start.publish():
                self.report.add(published.report)
                for warning in published.warnings:
                    warn(warning)
                self._run.repairs.mark_reported(published.reported)
            self.turns.end()
            self.remotes.end()
            self._run.repairs.report_rest()
        finally:
            self._run.temporary.end()
            notices.end()

    def conclude(self, environment: str) -> bool:
        """Record this successful run, log its lines, push; return whether nobody interrupted that.

        ``environment``: the path to which the run has installed.
        """
        if self.settings.stats != "off":
            seconds = time.monotonic() - self._began
            shown = environment if self.settings.stats == "full" else ""
            self._run.uses.record_run(self.report, self.links, seconds, shown)
        for level, line in closing.closing_lines(self._run, self.lookup, self.unusual):
            logger.log(level, "%s", line)
        return self.remotes.push_published()

    def summary(self) -> str:
        """Return the last line of a run that installed something; "" where there is none."""
        return closing.summary(self._run)
