"""The usage marks of one run: garbage collection does not delete the entries that they name."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Iterable
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.model import Entry, Policy
from pip_sharedcache.placement import LinkChoice, Placement, RunReport
from pip_sharedcache.session.notices import warn
from pip_sharedcache.store import Store, run_log, symlink_registry, usage_marks
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

#: The errors of a user who may not write to the store, and so leaves no usage marks in it.
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class UsageRecorder:
    """The usage marks, run record and registered symlinks of one run in ``layers``."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._recorded: set[Path] = set()
        self._announced: dict[Store, float] = {}

    def record(self, entry: Entry) -> None:
        """Record that this user uses ``entry``. To be called before the entry is opened.

        Garbage collection reads the usage marks after it retires an entry, and restores a used one.
        Never raises.
        """
        store = self._layer_of(entry)
        if store is None or entry.path in self._recorded:
            return
        self._recorded.add(entry.path)
        self._mark(store, entry.path.name)

    def announce_links(self, entry: Entry) -> None:
        """Record that symlinks into ``entry`` may follow. To be called before the entry is opened.

        The command `repack` reads this after it replaces a tree by a pack, and then restores the
        tree: symlinks into it would break. Never raises.
        """
        store, now = self._layer_of(entry), time.monotonic()
        if store is not None and now - self._announced.get(store, -math.inf) > usage_marks.FRESH:
            self._announced[store] = now
            self._mark(store, usage_marks.SYMLINKS)

    def _mark(self, store: Store, name: str) -> None:
        try:
            usage_marks.mark_used(store, [name])
        except OSError as error:
            why, remedy = store.missing_directories(error)
            if error.errno in _READ_ONLY and not why:
                logger.debug("Usage marks are not written: %s: %s", store.path, error)
                return
            warn(
                f"Usage marks are not written: {store.path}: "
                f"{f'{why}; {remedy}' if why else reason(error)}; store gc may delete early what "
                "you use"
            )

    def record_run(
        self, report: RunReport, links: LinkChoice, seconds: float, environment: str
    ) -> None:
        """Record this run, of ``seconds``, in the store. Never raises.

        ``environment``: the directory to which the run installed; "" to leave that out.
        """
        store = self._layers.main
        if store is None or store.policy is Policy.READ_ONLY or not report.installed:
            return
        run = run_log.Run(
            at=int(time.time()),
            environment=environment,
            mode=links.asked.value,
            refused=links.refused,
            seconds=round(seconds, 3),
            not_downloaded=report.not_downloaded,
            not_copied=report.not_copied,
            compiled=report.compiled,
            compile_seconds=round(report.compile_seconds, 3),
            reused=report.reused,
            distributions=tuple(report.distributions),
            resolution=report.resolution,
            requests_saved=report.requests_saved,
            seconds_saved=round(report.seconds_saved, 3),
        )
        try:
            run_log.append_run(store, run)
        except OSError as error:
            # A read-only store or a full disk must not fail the run: nothing needs the record.
            logger.debug("Not recorded in %s: %s", store.path, error)

    def register_links(self, placements: Iterable[Placement]) -> None:
        """Register the symlinks of ``placements`` into their entries. Never raises."""
        found: dict[Store, list[symlink_registry.Link]] = {}
        for placement in placements:
            store, path = self._layer_of(placement.entry), placement.first_link()
            if store is not None and path:
                link = symlink_registry.Link(placement.entry.path.name, path, placement.library)
                found.setdefault(store, []).append(link)
        for store, some in found.items():
            try:
                symlink_registry.register(store, some)
            except OSError as error:
                warn(
                    f"Symlinks are not registered: {store.path}: {reason(error)}; "
                    "store gc may delete their targets"
                )

    def _layer_of(self, entry: Entry) -> Store | None:
        """Return the store for the usage mark of ``entry``; None where nothing may be written."""
        store = self._layers.of(entry)
        return None if store is None or store.policy is Policy.READ_ONLY else store
