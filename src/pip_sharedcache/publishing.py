"""What one run publishes: staged while it installs, made visible at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pip_sharedcache import linker
from pip_sharedcache import store as stores
from pip_sharedcache.errors import NoRoom, NotPublished, NotWritable, UnusualWheel, reason
from pip_sharedcache.model import Entry, Report
from pip_sharedcache.repair import Repairs
from pip_sharedcache.store import Staged, Store

logger = logging.getLogger(__name__)

_MANY = 300  # files: one sync takes about as long as it takes to flush so many by themselves


class Publishing:
    """The entries on their way into ``store`` (None: nothing is published). ``at_once``: each
    becomes visible as soon as it is staged. ``say`` warns the user, each line once. ``unusual``:
    wheels that are left to pip's own installer, and why."""

    def __init__(
        self, store: Store | None, repairs: Repairs, say: Callable[[str], None], *, at_once: bool
    ) -> None:
        self._store = store
        self._repairs = repairs
        self._say = say
        self._at_once = at_once
        self._staged: list[Staged] = []
        self._given_up = False
        self._durable = 0
        self._failure: NotPublished | None = None
        self._full = False
        self.unusual: list[str] = []

    def add(self, stage: Callable[[], Staged], otherwise: str, report: Report) -> Entry | None:
        """The entry that ``stage`` stages; None where that cannot be, which is said: ``otherwise``
        is what happens instead. ``report`` counts."""
        if self._given_up:
            return None
        try:
            staged = stage()
        except UnusualWheel as error:
            self.unusual.append(str(error))
        except NotWritable as error:
            logger.debug("%s: %s", otherwise, error)
            report.read_only = True
        except NotPublished as error:
            self._tell(otherwise, error)
        else:
            self._staged.append(staged)
            return self.reveal(report)[-1] if self._at_once else staged.entry
        return None

    def reveal(self, report: Report) -> list[Entry | None]:
        """Make visible what was staged, and return it; say what could not be. ``report`` counts."""
        staged, self._staged, self._durable = self._staged, [], 0
        if self._store is None or not staged:
            return []
        if self._failure is not None:
            # The system tells of a write that failed once only: a second sync would succeed.
            stores.discard(staged)
            self._say(f"Installed without publishing: {self._failure}")
            self._failure = None
            return [None for _ in staged]
        revealed: list[Entry | None] = []
        for one, outcome in zip(staged, stores.reveal(self._store, staged)):
            if not isinstance(outcome, Entry):
                if outcome is not None:
                    self._tell("Installed without publishing", outcome)
                revealed.append(None)
                continue
            if outcome.identity == one.entry.identity and outcome.manifest.size:
                report.published += 1
                self._repairs.done(outcome)
            revealed.append(outcome)
        return revealed

    def _tell(self, otherwise: str, error: NotPublished) -> None:
        """Say that ``otherwise`` happened; where there is no room, once for all that find none."""
        cause = error.__cause__
        if self._store is None or not isinstance(error, NoRoom) or not isinstance(cause, OSError):
            self._say(f"{otherwise}: {error}")
            return
        self._full = True
        logger.debug("%s: %s", otherwise, error)
        # The same words in each process that installs: each line is shown once.
        self._say(f"Installed without publishing: {self._store.path} has no room: {reason(cause)}")

    def make_durable(self) -> None:
        """Many files that were just written are going to be cloned: FICLONE waits for the dirty
        pages of each file by itself, one sync for all of them together."""
        fresh = self._staged[self._durable :]
        if self._store is None or sum(len(one.entry.manifest.files) for one in fresh) < _MANY:
            return
        try:
            stores.make_durable(self._store, fresh)
        except NotPublished as error:
            self._failure = error
        self._durable = len(self._staged)

    def takes_last_room(self, device: int) -> bool:
        """Whether the file system ``device`` (st_dev) was too full for an entry, so that what is
        staged there takes room that something else needs."""
        return self._full and not self._given_up and self._is_on(device)

    def give_up(self, device: int) -> bool:
        """The file system ``device`` (st_dev) is full: delete what is staged there, and stage
        nothing more in this run. Whether there was anything."""
        if self._store is None or self._given_up or not self._is_on(device):
            return False
        staged, self._staged, self._given_up = self._staged, [], True
        stores.discard(staged)
        if staged:
            self._say(f"Installed without publishing: {self._store.path} has no room left")
        return bool(staged)

    def _is_on(self, device: int) -> bool:
        return self._store is not None and linker.device_of(str(self._store.path)) == device
