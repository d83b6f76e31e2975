"""The flow for one wheel: find or publish its entry, place its files, finish.

pip runs the installation. ``pip_adapter`` asks this module for entries, and hands over every file
that pip saves. If the store fails, pip installs by itself and a warning gives the reason.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache import store as stores
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry, DamagedFile
from pip_sharedcache.fs.workers import limit_workers, map_in_workers
from pip_sharedcache.model import (
    Digest,
    Entry,
    Identity,
    Installed,
    LinkMode,
    Origin,
    Policy,
    RunReport,
    total_size,
)
from pip_sharedcache.placement import Linker, Placement, make_visible
from pip_sharedcache.session import notices, restrictions
from pip_sharedcache.session.bytecode import SharedBytecode
from pip_sharedcache.session.lookup import WheelLookup
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.wheels import RunWheel
from pip_sharedcache.store import Build, Staged, Store
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

#: The most files that a run has open at once, including those for pip and worker processes.
_DESCRIPTORS = 48

#: The name of private wheels in the record of a run, which other users can read.
_UNNAMED = "(not shared)"


class Session(WheelLookup):
    """One run of ``pip install``: its settings, its stores and its results.

    ``store``: the store that the run publishes to, or else the nearest one; None without stores."""

    def __init__(self, settings: Settings, layers: Layers, umask: int) -> None:
        notices.begin()
        placing = Linker(
            settings.link_mode,
            umask,
            group_environment=settings.group_environment,
            hashes=settings.verify,
            divide=map_in_workers,
        )
        super().__init__(settings, layers, placing)
        self._complete: list[Placement] = []
        # A symlink contains the path of the entry: a staged entry's link would dangle later.
        symlinks = settings.link_mode is LinkMode.SYMLINK
        self._publishing = Publisher(layers, self.repairs, at_once=symlinks)
        #: Why wheels are left to pip's own installer. A warning only if pip installs them.
        self.unusual = self._publishing.unusual
        self._compiling = SharedBytecode(
            layers, self._publishing, self.repairs, self.uses, verify=settings.verify
        )
        self._added: set[Identity] = set()
        self._unnamed: set[Identity] = set()
        self._began = time.monotonic()
        self._no_symlinks: dict[Store, str] = {}
        if symlinks:
            self._no_symlinks = {one: restrictions.no_symlinks_because(one) for one in layers}
            if all(self._no_symlinks.values()):
                self._give_up_symlinks(next(iter(self._no_symlinks.values()), ""))

    @classmethod
    def start(cls, settings: Settings) -> Session:
        """Open the stores that ``settings`` name. An unusable store causes a warning, no error."""
        for note in (*settings.notes, *restrictions.trust_in_nobody(settings)):
            logger.warning(note)
        limit_workers(settings.processes)
        if not fs.can_open_pairs(_DESCRIPTORS // 2):
            logger.warning(
                "Installing without the shared store: this process may not open %s more files "
                "(see ulimit -n)",
                _DESCRIPTORS,
            )
            return cls(settings, Layers(()), trust.current_umask())
        layers, unusable = Layers.of_settings(settings)
        which = "one of the shared stores" if layers else "the shared store"
        for error in unusable:
            logger.warning("Installing without %s: %s (%s)", which, error, settings.dir_source)
        return cls(settings, layers, trust.current_umask())

    # -- one wheel

    def record_build(self, path: str, key: Digest, details: Mapping[str, Any]) -> None:
        """Record that pip built the wheel at ``path``, which may be shared as ``key``."""
        built = self.wheels.note(path, Origin(""))
        built.digest, built.verified = wheel.digest_of(Path(path))[0], True
        built.build = key, Build(built.digest, os.path.basename(path), details)

    def begin(self, path: str) -> Placement | None:
        """Begin to install the wheel at ``path``; return None to leave the wheel to pip.

        The caller commits or undoes the placement, and calls this once for every distribution."""
        self.report.installed += 1
        run_wheel = self.wheels.at(path)
        origin = run_wheel.origin
        if self.store is None or origin is None:
            self._leave_to_pip(path, "it was built here", named=False)  # its source is unknown
            return None
        if self.store.trust.unknown:
            warn(restrictions.owners_unknown(self.store))
        private = self._is_private(origin)
        entry = self._find_or_publish(run_wheel, origin)
        if entry is None:
            why = origin.private_because or "it is not published"
            self._leave_to_pip(path, why, named=not private)
            return None
        self._give_up_symlinks(self._no_links_into(entry))
        home = self.layers.of(entry)
        if private or (home is not None and home.policy is Policy.PRIVATE):
            self._unnamed.add(entry.identity)
        try:
            return Placement(entry, stores.open_entry(entry), self.linker, RunReport())
        except DamagedEntry as error:
            self.mark_damaged(entry, str(error))
            self._fall_back(entry)
            return None

    def begins_again(self, entry: Entry) -> None:
        """Correct the counts: the placement of ``entry`` was undone, and another one begins."""
        self.report.installed -= 1
        self._is_not_found(entry)

    def _is_not_found(self, entry: Entry) -> None:
        self.report.found -= entry.identity not in self._added

    def _leave_to_pip(self, path: str, why: str, *, named: bool) -> None:
        title = os.path.basename(path) if named else _UNNAMED
        self.report.distributions.append(Installed(title, 0, "pip", why))

    def fall_back(self, placement: Placement) -> None:
        """Record that pip alone installs the wheel of ``placement``: unusable entry or no space."""
        self._fall_back(placement.entry)

    def _fall_back(self, entry: Entry) -> None:
        self._is_not_found(entry)
        why = self._unusable_because(entry) or "there was no room"
        self._leave_to_pip(entry.manifest.filename, why, named=entry.identity not in self._unnamed)

    def _unusable_because(self, entry: Entry) -> str:
        if entry.identity in self.repairs.damaged:
            return "its entry is damaged"
        return "its entry is gone" if self.is_lost(entry) else ""

    def _find_or_publish(self, run_wheel: RunWheel, origin: Origin) -> Entry | None:
        if run_wheel.entry is not None:
            self.report.found += 1
            return self._backfill(run_wheel.entry, origin)
        path, digest = Path(run_wheel.path), run_wheel.digest
        try:
            if digest is None or not run_wheel.verified:
                digest, _ = wheel.digest_of(path)
        except OSError:
            return None  # pip gets the same error, and reports it
        found = self.find([digest], path.name)
        if found is not None:
            self.report.found += 1
            self.uses.record(found)
            found = self._backfill(found, origin)
        else:
            where = self.layers.to_publish
            if self._is_private(origin):
                logger.debug("%s is not shared: %s", path.name, origin.private_because)
                where = self.layers.to_keep
            elif where() is None:
                self.report.read_only = any(
                    one.policy is Policy.READ_ONLY and not one.trust.unknown for one in self.layers
                )
            found = self._stage(
                where,
                functools.partial(self._unpack, path, path.name, digest),
                "Installed without publishing",
            )
            if found is not None:
                self._found[digest, path.name] = found
                self._added.add(found.identity)
        if found is not None and run_wheel.build is not None:
            self._share_build(*run_wheel.build)
        return found

    def heal_build_record(self, key: Digest, build: Build) -> None:
        """Replace this user's damaged build record for ``key`` by a copy of ``build``."""
        self.repairs.skip_build_record(build.damaged)
        self._share_build(key, build)

    def _share_build(self, key: Digest, build: Build) -> None:
        self._stage(
            self._where_builds_are_shared,
            lambda store: stores.stage_build(store, key, build, self.repairs.damaged),
            "Installed without sharing",
        )

    def _where_builds_are_shared(self) -> Store | None:
        store = self.layers.to_publish()
        return store if store is not None and store.shares_builds else None

    def _is_private(self, origin: Origin) -> bool:
        return bool(origin.private_because) and not self.is_shared_anyway(origin.url)

    def _backfill(self, entry: Entry, origin: Origin) -> Entry:
        """Return ``entry``, or its new copy in a nearer layer that takes copies (backfill)."""
        if self._is_private(origin) or self.layers.to_backfill(entry) is None:
            return entry
        if self.replaceable_by(entry):  # another wheel may be at the path by now
            return entry
        manifest = entry.manifest
        mtime = max((file.mtime for file in manifest.files), default=None)
        filename, digest = manifest.filename, manifest.digest
        near = self._stage(
            lambda: self.layers.to_backfill(entry),
            functools.partial(self._unpack, entry.wheel, filename, digest, mtime=mtime),
            "Installed from where it was found",
        )
        if near is None:
            return entry
        self._found[digest, filename] = near
        self._compiling.is_as(near, entry)
        return near

    def _unpack(
        self, path: Path, filename: str, digest: Digest, store: Store, *, mtime: int | None = None
    ) -> Staged:
        on_progress = self.on_progress(filename) if self.on_progress is not None else None
        damaged = self.repairs.damaged
        return stores.stage_wheel(
            store, path, filename, digest, damaged, mtime=mtime, on_progress=on_progress
        )

    def _stage(
        self, where: Callable[[], Store | None], stage: Callable[[Store], Staged], otherwise: str
    ) -> Entry | None:
        return self._publishing.add(where, stage, otherwise, self.report)

    def takes_last_room(self, device: int) -> bool:
        """Return whether staged entries use the last free space of ``device`` (st_dev)."""
        return self._publishing.takes_last_room(device)

    def give_up_publishing(self, device: int) -> bool:
        """Stop publishing on the full ``device`` (st_dev); return whether that freed space."""
        self._found.clear()
        return self._publishing.give_up(device)

    def _give_up_symlinks(self, why: str) -> None:
        if why and self.linker.mode is LinkMode.SYMLINK:
            self.linker.give_up(LinkMode.SYMLINK, why)

    def _no_links_into(self, entry: Entry) -> str:
        store = self.layers.of(entry)
        return (self._no_symlinks.get(store, "") if store else "") or self.replaceable_by(entry)

    def provide_bytecode(self, placement: Placement) -> None:
        """Give ``placement`` the bytecode for this interpreter, if it can be shared."""
        try:
            entry = self._compiling.bytecode_of(placement.entry, self.report)
        except DamagedFile as error:
            logger.debug("No bytecode, the source will not be placed either: %s", error)
        except DamagedEntry as error:
            warn(f"Bytecode in the shared store is not used: {error}")
        else:
            self._use_bytecode(placement, entry)

    def _use_bytecode(self, placement: Placement, entry: Entry | None) -> bool:
        if entry is None:
            return False
        self._give_up_symlinks(self._no_links_into(entry))
        try:
            placement.use_bytecode(entry, stores.open_entry(entry))
        except DamagedEntry as error:
            warn(f"Bytecode in the shared store is not used: {error}")
            return False
        return True

    def replace_bytecode(self, placement: Placement, what: str) -> bool:
        """Return whether sound bytecode replaces that of ``placement``, damaged by ``what``."""
        damaged = placement.bytecode
        if damaged is None or damaged.identity in self.repairs.damaged:
            return False
        return self._use_bytecode(
            placement, self._compiling.replacement(damaged, placement.entry, what)
        )

    def before_placing(self) -> None:
        """Make the staged entries durable, if their files are going to be cloned."""
        if self.linker.mode is LinkMode.REFLINK and LinkMode.REFLINK not in self.linker.refusals:
            self._publishing.make_durable()

    def save_bytecode(self, placement: Placement, source: str) -> bool:
        """Place the shared bytecode of the placed ``source``; return False to let pip compile."""
        try:
            return placement.save_bytecode(source)
        except DamagedEntry as error:
            if self.replace_bytecode(placement, str(error)):
                return self.save_bytecode(placement, source)
        except OSError as error:
            # Another user's __pycache__ or a full disk does not stop pip, and must not here.
            logger.debug("No bytecode for %s: %s", source, error)
        return False

    # -- the end

    def settle(self, placement: Placement, *, later: bool) -> None:
        """End the installation of one wheel. Raises OSError.

        ``later``: the wheel replaces nothing, and waits for a commit with others."""
        manifest, identity = placement.entry.manifest, placement.entry.identity
        staged = placement.entry.path.name.startswith(".")
        if not staged and identity not in self._added and identity not in self.repairs.damaged:
            self.settle_damage(placement.entry)
        if later:
            placement.record()
            placement.close()
            self._complete.append(placement)
        else:
            self._register([placement])
            placement.commit()
        self.report.add(placement.report)
        if self._unusable_because(placement.entry):
            self._fall_back(placement.entry)  # pip took some or all files from its own wheel
            return
        how = "added" if identity in self._added else "found"
        title = _UNNAMED if identity in self._unnamed else manifest.filename
        self.report.distributions.append(Installed(title, total_size(manifest.files), how))

    def make_visible(self, placements: Sequence[Placement]) -> None:
        """Make complete distributions visible, after registering their symlinks."""
        self._register(placements)
        make_visible(placements)

    def _register(self, placements: Iterable[Placement]) -> None:
        if self.linker.mode is LinkMode.SYMLINK:
            self.uses.register_links(placements)

    def begin_complete(self) -> list[Placement]:
        """Return a new list, to which ``settle`` adds placements until the next call."""
        self._complete = []
        return self._complete

    def take_complete(self) -> list[Placement]:
        """Return and clear the placements that wait for the commit."""
        complete, self._complete = self._complete, []
        return complete

    def finish(self) -> None:
        """Make the staged entries visible. The caller calls this however the run ended."""
        self._stage_repairs()
        self._publishing.make_visible(self.report)
        self.repairs.report_rest()

    def _stage_repairs(self) -> None:
        wheels, bytecode_of = self.repairs.take()
        for entry, path in wheels:
            filename, digest = entry.manifest.filename, entry.manifest.digest
            self._stage(
                functools.partial(self.layers.to_complete, entry),
                functools.partial(self._unpack, path, filename, digest),
                f"{filename} is not repaired",
            )
        for entry in bytecode_of:
            try:
                self._compiling.renew(entry, self.report)
            except DamagedEntry as error:
                warn(f"Bytecode in the shared store is not compiled anew: {error}")

    def record_run(self, environment: str) -> None:
        """Record this run, which has installed to ``environment``, in the store."""
        refused = self.linker.refusals.get(self.settings.link_mode, "")
        seconds = time.monotonic() - self._began
        self.uses.record_run(self.report, self.settings, refused, seconds, environment)

    def summary(self) -> str:
        """Return the last line of a run that installed something; "" where there is none."""
        if self.store is None or not self.report.installed:
            return ""
        line = self.report.sentence([store.path for store in self.layers])
        refused = self.linker.refusals.get(self.settings.link_mode)
        if refused and self.settings.link_mode is not LinkMode.COPY:
            line += f" (no {self.settings.link_mode.value} here: {refused})"
        return line
