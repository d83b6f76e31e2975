"""The bytecode of the wheels in one run: found in the store, or compiled once and published."""

from __future__ import annotations

import functools
import time
from pathlib import Path

from pip_sharedcache import bytecode
from pip_sharedcache import store as stores
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Compiled, Entry, Identity, RunReport, total_size
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.repairs import Repairs
from pip_sharedcache.session.usage import UsageRecorder
from pip_sharedcache.store.entry_checks import copy_checked
from pip_sharedcache.store.layers import Layers


class SharedBytecode:
    """The bytecode of entries, found in ``layers`` or compiled for them.

    ``verify``: check the sha256 of each source before its compilation.
    """

    def __init__(
        self,
        layers: Layers,
        publishing: Publisher,
        repairs: Repairs,
        uses: UsageRecorder,
        *,
        verify: bool,
    ) -> None:
        self._layers = layers
        self._farther: dict[Identity, Entry] = {}
        self._publishing = publishing
        self._repairs = repairs
        self._uses = uses
        self._verify = verify

    def is_as(self, entry: Entry, farther: Entry) -> None:
        """Record that ``entry`` has the times of ``farther``: bytecode of one fits the other."""
        self._farther[entry.identity] = farther

    def bytecode_of(self, entry: Entry, report: RunReport) -> Entry | None:
        """Return the bytecode of ``entry`` for this interpreter; None where none can be shared.

        Without usable bytecode in the layers, the method copies or compiles it and publishes it.
        ``report`` counts. Raises DamagedEntry where a source is damaged.
        """
        tag, key = bytecode.tag(), bytecode.fits(entry)
        if not tag:
            return None
        sources = total_size(file for file in entry.manifest.files if file.path.endswith(".py"))
        spoiled = self._repairs.damaged
        found = self._layers.find_bytecode(entry, tag, key, spoiled)
        for what in found.damages:
            warn(f"Damaged bytecode in the shared store is compiled anew: {what}")
        if found.entry is not None and found.own is not None:
            own, what = found.own
            self._repairs.mark_bytecode_damaged(own, entry, what, told=not self._layers.heals(own))
        there, near = found.entry, self._layers.of(entry)
        if there is not None and (near is None or self._layers.to_backfill(there) is not near):
            self._uses.record(there)
            report.reused += sources
            return there
        compile_it = functools.partial(_compile, entry, self._verify)
        farther = self._to_relay(entry, there, tag)
        began = time.monotonic()
        made = None
        if farther is not None:
            try:
                made = self._add(entry, tag, key, functools.partial(_copy, farther), report)
            except DamagedEntry as error:
                self._repairs.mark_bytecode_damaged(farther, entry, str(error), told=False)
                there = farther = None
        if farther is None:
            made = self._add(entry, tag, key, compile_it, report)
        if there is not None and made is None:
            self._uses.record(there)
        if farther is not None:
            report.reused += sources
        elif made is not None:
            report.compiled += sources
            report.compile_seconds += time.monotonic() - began
        return made or there

    def replacement(self, damaged: Entry, entry: Entry, what: str) -> Entry | None:
        """Return bytecode of ``entry`` other than ``damaged``; None for pip to compile it.

        ``what`` describes the damage. If no other bytecode exists, or if this user may replace
        ``damaged``, the run publishes bytecode anew at its end.
        """
        without = {*self._repairs.damaged, damaged.identity}
        key = bytecode.fits(entry)
        there = self._layers.find_bytecode(entry, bytecode.tag(), key, without).entry
        told = there is not None and not self._layers.heals(damaged)
        self._repairs.mark_bytecode_damaged(damaged, entry, what, told=told)
        if there is not None:
            self._uses.record(there)
        return there

    def renew(self, entry: Entry, report: RunReport) -> None:
        """Publish the bytecode of ``entry`` anew, because the present one is damaged.

        The new one is a copy of sound bytecode, if all users of the layer trust its publisher; else
        it is compiled. Raises DamagedEntry.
        """
        tag, key, spoiled = bytecode.tag(), bytecode.fits(entry), self._repairs.damaged
        there = self._layers.find_bytecode(entry, tag, key, spoiled).entry
        home = self._layers.of(entry)
        if there is not None and home is not None and self._layers.may_relay((there, entry), home):
            self._add(entry, tag, key, functools.partial(_copy, there), report)
        else:
            self._add(entry, tag, key, functools.partial(_compile, entry, self._verify), report)

    def _add(
        self, entry: Entry, tag: str, key: str, fill: stores.Compile, report: RunReport
    ) -> Entry | None:
        spoiled = self._repairs.damaged
        return self._publishing.add(
            lambda: self._layers.to_complete(entry),
            lambda store: stores.stage_bytecode(store, entry, tag, key, fill, spoiled),
            "Installed without sharing bytecode",
            report,
        )

    def _to_relay(self, entry: Entry, there: Entry | None, tag: str) -> Entry | None:
        """Return bytecode of a farther layer to copy beside ``entry``; None to compile it.

        The candidate is ``there``, or else the bytecode of the entry that was recorded with
        ``is_as``.
        """
        near, source = self._layers.of(entry), self._farther.get(entry.identity)
        if there is None and source is not None:
            key, spoiled = bytecode.fits(source), self._repairs.damaged
            there = self._layers.find_bytecode(source, tag, key, spoiled).entry
        if there is None or near is None:
            return None
        return there if self._layers.may_relay((there, source or entry), near) else None


def _copy(compiled: Entry, target: Path) -> Compiled:
    """Copy the bytecode ``compiled`` to ``target``, with the result of bytecode.compile_all.

    Raises DamagedEntry, OSError.
    """
    manifest = compiled.manifest
    with stores.open_entry(compiled) as held:
        for file in manifest.files:
            copy_checked(held, file, target)
    return Compiled([file.path for file in manifest.files], manifest.failed)


def _compile(entry: Entry, verify: bool, target: Path) -> Compiled:
    """Compile the sources of ``entry`` to ``target``, with the result of bytecode.compile_all.

    The sources come from the open directory of the entry that was looked up and trusted: another
    user may have put other sources at its path. Raises DamagedEntry, OSError.
    """
    with stores.open_entry(entry) as held:
        if verify:
            return bytecode.compile_checked(entry, held, target)
        return bytecode.compile_all(entry, held.proc_path / "files", target)
