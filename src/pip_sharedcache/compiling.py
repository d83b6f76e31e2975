"""The bytecode of what one run installs: found in the store, or compiled once and published."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

from pip_sharedcache import bytecode
from pip_sharedcache import store as stores
from pip_sharedcache.model import Entry, Report, total_size
from pip_sharedcache.publishing import Publishing
from pip_sharedcache.repair import Repairs
from pip_sharedcache.store import Store
from pip_sharedcache.uses import Uses


class Compiling:
    """The bytecode in ``store`` (None: there is none). ``say`` warns the user, each line once;
    ``verify``: sources are hashed before they are compiled."""

    def __init__(
        self,
        store: Store | None,
        publishing: Publishing,
        repairs: Repairs,
        uses: Uses,
        say: Callable[[str], None],
        *,
        verify: bool,
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._repairs = repairs
        self._uses = uses
        self._say = say
        self._verify = verify

    def bytecode_of(self, entry: Entry, report: Report) -> Entry | None:
        """The bytecode of ``entry`` for this interpreter, found or else compiled and published;
        None where bytecode cannot be shared. ``report`` counts. Raises DamagedEntry."""
        store, tag, key = self._store, bytecode.tag(), bytecode.fits(entry)
        if store is None or not tag:
            return None
        sources = total_size(file for file in entry.manifest.files if file.path.endswith(".py"))
        spoiled = self._repairs.spoiled
        found = stores.find_bytecode(store, entry.manifest.digest, tag, key, spoiled)
        for what in found.damages:
            self._say(f"Damaged bytecode in the shared store is compiled anew: {what}")
        if found.entry is not None:
            self._uses.note(found.entry)
            report.reused += sources
            return found.entry
        compile_it = functools.partial(_compile, entry, self._verify)
        began = time.monotonic()
        made = self._publishing.add(
            lambda: stores.stage_bytecode(store, entry, tag, key, compile_it, spoiled),
            "Installed without sharing bytecode",
            report,
        )
        if made is not None:
            report.compiled += sources
            report.compile_seconds += time.monotonic() - began
        return made


def _compile(entry: Entry, verify: bool, target: Path) -> tuple[list[str], list[str]]:
    """As bytecode.compile_all, from the very directory that was looked up and believed: its path
    may lead to somebody else's sources by now. Raises DamagedEntry, OSError."""
    with stores.hold(entry) as held:
        if verify:
            return bytecode.compile_checked(entry, held, target)
        return bytecode.compile_all(entry, held.steady / "files", target)
