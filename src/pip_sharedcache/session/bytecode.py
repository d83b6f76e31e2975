"""The bytecode of the wheels in one run: found in the store, or compiled once and published."""

from __future__ import annotations

import functools
import importlib.util
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import bytecode, fs
from pip_sharedcache import store as stores
from pip_sharedcache.errors import DamagedEntry, DamagedFile, NotSigned
from pip_sharedcache.model import Compiled, Entry, Identity, total_size
from pip_sharedcache.placement import Placement
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.remotes import RunRemotes
from pip_sharedcache.session.state import PulledBytecode, RunState
from pip_sharedcache.store import Staged, Store

logger = logging.getLogger(__name__)


class SharedBytecode:
    """The bytecode of entries, found in the stores of ``run`` or compiled for them."""

    def __init__(self, run: RunState, publishing: Publisher, remotes: RunRemotes) -> None:
        self._run, self._remotes = run, remotes
        self._layers, self._repairs, self._report = run.layers, run.repairs, run.report
        self._publishing = publishing
        self._verify = run.settings.verify  # the sha256 of each source before its compilation
        self._farther: dict[Identity, Entry] = {}
        self._staged: dict[Identity, Entry] = {}
        self._refusal = ""

    def stage_ahead(self, entry: Entry) -> Entry | None:
        """Return the bytecode of the staged ``entry``, compiled and staged; None on failure."""
        try:
            return self._bytecode_of(entry)
        except DamagedEntry as error:
            logger.debug("No bytecode yet: %s", error)
            return None

    def adopt(self, entry: Entry, staged: Entry | None, warning: str) -> None:
        """Use the bytecode ``staged`` of ``entry``, which a worker process will publish.

        ``warning``: why signed bytecode of a remote store was not used; "" if it was, or without.
        """
        if staged is not None:
            self._staged[entry.identity] = staged
        pulled = self._run.pulled_bytecode.get(entry.manifest.digest)
        if warning and pulled is not None:
            self._refuse(entry, pulled, warning)

    def forget_staged(self) -> None:
        """Use no bytecode of worker processes, which have deleted it."""
        self._staged.clear()

    def pull(self, entries: Iterable[Entry], directory: Callable[[], Path]) -> None:
        """Get from remote stores the bytecode of ``entries`` that the local stores lack.

        ``directory``: makes the directory for the files.
        """
        tag, signatures = bytecode.tag(), self._run.signatures
        if not tag or not signatures.count or not self._remotes.named:
            return
        without = self._repairs.damaged
        lacking = [
            one.manifest.digest
            for one in entries
            if any(file.path.endswith(".py") for file in one.manifest.files)
            and not self._layers.find_bytecode(one, tag, bytecode.fits(one), without).entry
        ]
        self._remotes.pull_bytecode(lacking, directory)

    def provide(self, placement: Placement) -> None:
        """Give ``placement`` the bytecode for this interpreter, if it can be shared."""
        try:
            self._use(placement, self._bytecode_of(placement.entry))
        except DamagedFile as error:
            logger.debug("No bytecode, the source will not be placed either: %s", error)
        except DamagedEntry as error:
            warn(f"Bytecode in the shared store is not used: {error}")

    def _use(self, placement: Placement, entry: Entry | None) -> bool:
        if entry is None:
            return False
        self._run.symlinks.check(entry)
        try:
            placement.use_bytecode(entry, stores.open_entry(entry))
        except DamagedEntry as error:
            warn(f"Bytecode in the shared store is not used: {error}")
            return False
        return True

    def replace(self, placement: Placement, what: str) -> bool:
        """Return whether sound bytecode replaces that of ``placement``, damaged by ``what``."""
        damaged = placement.bytecode
        if damaged is None or damaged.identity in self._repairs.damaged:
            return False
        return self._use(placement, self._replacement(damaged, placement.entry, what))

    def save(self, placement: Placement, source: str) -> bool:
        """Place the shared bytecode of the placed ``source``; return False to let pip compile."""
        try:
            return placement.save_bytecode(source)
        except DamagedEntry as error:
            if self.replace(placement, str(error)):
                return self.save(placement, source)
        except OSError as error:
            # Another user's __pycache__ or a full disk does not stop pip, and must not here.
            logger.debug("No bytecode for %s: %s", source, error)
        return False

    def is_as(self, entry: Entry, farther: Entry) -> None:
        """Record that ``entry`` has the times of ``farther``: bytecode of one fits the other."""
        self._farther[entry.identity] = farther

    def _bytecode_of(self, entry: Entry) -> Entry | None:
        """Return the bytecode of ``entry`` for this interpreter; None where none can be shared.

        Without usable bytecode in the layers, the method copies or compiles it and publishes it.
        Raises DamagedEntry where a source is damaged.
        """
        staged = self._staged.get(entry.identity)
        if staged is not None and staged.identity not in self._repairs.damaged:
            return staged
        tag, key = bytecode.tag(), bytecode.fits(entry)
        if not tag:
            return None
        sources = total_size(file for file in entry.manifest.files if file.path.endswith(".py"))
        found = self._layers.find_bytecode(entry, tag, key, self._repairs.damaged)
        for what in found.damages:
            warn(f"Damaged bytecode in the shared store is compiled anew: {what}")
        if found.entry is not None and found.own is not None:
            own, what = found.own
            self._repairs.mark_bytecode_damaged(own, entry, what, told=not self._layers.heals(own))
        there, near = found.entry, self._layers.of(entry)
        if there is not None and (near is None or self._layers.to_backfill(there) is not near):
            self._run.uses.record(there)
            self._report.reused += sources
            return there
        compile_it = functools.partial(_compile, entry, self._verify)
        farther = self._to_relay(entry, there, tag)
        began = time.monotonic()
        made = None
        if farther is not None:
            try:
                made = self._add(entry, tag, key, functools.partial(_copy, farther))
            except DamagedEntry as error:
                self._repairs.mark_bytecode_damaged(farther, entry, str(error), told=False)
                there = farther = None
        signed = None
        if farther is there is None:
            signed = self._add_pulled(entry, tag, key) or self._add_signed(entry, tag, key)
        if farther is None and signed is None:
            made = self._add(entry, tag, key, compile_it)
        if there is not None and made is None:
            self._run.uses.record(there)
        if farther is not None or signed is not None:
            self._report.reused += sources
        elif made is not None:
            self._report.compiled += sources
            self._report.compile_seconds += time.monotonic() - began
        return made or signed or there

    def _add_pulled(self, entry: Entry, tag: str, key: str) -> Entry | None:
        """Publish the signed bytecode of ``entry`` that a remote store gave; None without any."""
        pulled = self._run.pulled_bytecode.get(entry.manifest.digest)
        signers = None if pulled is None else self._run.signatures.signers
        if pulled is None or signers is None:
            return None
        # Late, as all of the remote stores.
        from pip_sharedcache.remote.bytecode_objects import spool_object

        magic = importlib.util.MAGIC_NUMBER.hex()
        fill = functools.partial(spool_object, pulled.path, signers, entry, tag, magic)
        try:
            return self._stage_signed(entry, tag, key, fill)
        except NotSigned as error:
            self._refusal = str(error)
            self._refuse(entry, pulled, self._refusal)
            return None

    def _refuse(self, entry: Entry, pulled: PulledBytecode, why: str) -> None:
        self._run.refused_bytecode.add(entry.manifest.digest)
        self._run.warn_of_object(pulled.url, pulled.key, f"{entry.manifest.filename}: {why}")

    def take_refusal(self) -> str:
        """Return and clear why signed bytecode was not used, for another process to show, or ""."""
        refusal, self._refusal = self._refusal, ""
        return refusal

    def _stage_signed(self, entry: Entry, tag: str, key: str, fill: stores.Compile) -> Entry | None:
        """Publish signed bytecode, but use it in this run alone if not all have its signers.

        Raises NotSigned.
        """
        signatures, damaged = self._run.signatures, self._repairs.damaged

        def stage(store: Store) -> Staged:
            links = self._run.links.needs_trees
            staged = stores.stage_bytecode(store, entry, tag, key, fill, damaged, links=links)
            return replace(staged, unshared=not signatures.may_relay_to(store))

        # The wheel can be in a store that this user may only read.
        once = self._layers.to_use_once
        where = once if once() is not None else lambda: self._layers.to_complete(entry)
        return self._publishing.add(where, stage, "Installed without sharing bytecode")

    def _add_signed(self, entry: Entry, tag: str, key: str) -> Entry | None:
        """Publish the bytecode of ``entry`` that an allowed signer signed; None if there is none.

        It is copied from entries of untrusted publishers.
        """
        fill = self._run.signatures.bytecode_of(entry, tag)
        if fill is None:
            return None
        try:
            return self._stage_signed(entry, tag, key, fill)
        except NotSigned as error:
            warn(f"Signed bytecode in the shared store is not used: {error}")
            return None

    def _replacement(self, damaged: Entry, entry: Entry, what: str) -> Entry | None:
        """Return bytecode of ``entry`` other than ``damaged``; None for pip to compile it.

        ``what`` describes the damage. If no other bytecode exists, or if this user may replace
        ``damaged``, the run publishes bytecode anew at its end: not if garbage collection has
        deleted ``damaged`` since the lookup, which is no damage.
        """
        without = {*self._repairs.damaged, damaged.identity}
        key = bytecode.fits(entry)
        gone = fs.is_gone(damaged.path)
        there = self._layers.find_bytecode(entry, bytecode.tag(), key, without).entry
        told = there is not None and not self._layers.heals(damaged)
        if gone:
            self._repairs.mark_bytecode_vanished(damaged, told=there is not None)
        else:
            self._repairs.mark_bytecode_damaged(damaged, entry, what, told=told)
        if there is not None:
            self._run.uses.record(there)
        return there

    def renew(self, entry: Entry) -> None:
        """Publish the bytecode of ``entry`` anew, because the present one is damaged.

        The new one is a copy of sound bytecode, if all users of the layer trust its publisher; else
        it is compiled. Raises DamagedEntry.
        """
        tag, key = bytecode.tag(), bytecode.fits(entry)
        there = self._layers.find_bytecode(entry, tag, key, self._repairs.damaged).entry
        home = self._layers.of(entry)
        fill = functools.partial(_compile, entry, self._verify)
        if there is not None and home is not None and self._layers.may_relay((there, entry), home):
            fill = functools.partial(_copy, there)
        self._add(entry, tag, key, fill)

    def _add(self, entry: Entry, tag: str, key: str, fill: stores.Compile) -> Entry | None:
        damaged, links = self._repairs.damaged, self._run.links.needs_trees
        return self._publishing.add(
            lambda: self._layers.to_complete(entry),
            lambda store: stores.stage_bytecode(store, entry, tag, key, fill, damaged, links=links),
            "Installed without sharing bytecode",
        )

    def _to_relay(self, entry: Entry, there: Entry | None, tag: str) -> Entry | None:
        """Return bytecode of a farther layer to copy beside ``entry``; None to compile it.

        The candidate is ``there``, or else the bytecode of the entry that was recorded with
        ``is_as``.
        """
        near, source = self._layers.of(entry), self._farther.get(entry.identity)
        if there is None and source is not None:
            key, damaged = bytecode.fits(source), self._repairs.damaged
            there = self._layers.find_bytecode(source, tag, key, damaged).entry
        if there is None or near is None:
            return None
        return there if self._layers.may_relay((there, source or entry), near) else None


def _copy(compiled: Entry, spools: stores.Spools) -> Compiled:
    """Copy the bytecode ``compiled`` to ``spools``, with the result of bytecode.compile_all.

    Raises DamagedEntry, OSError.
    """
    with stores.Source.of(compiled, stores.open_entry(compiled)) as source:
        return source.spool(compiled.manifest, spools)


def _compile(entry: Entry, verify: bool, spools: stores.Spools) -> Compiled:
    """Compile the sources of ``entry`` to ``spools``, with the result of bytecode.compile_all.

    The sources come from the open directory of the entry that was looked up and trusted: another
    user may have put other sources at its path. Raises DamagedEntry, OSError.
    """
    with stores.Source.of(entry, stores.open_entry(entry)) as source:
        return bytecode.compile_all(entry, source, spools, hashes=verify)
