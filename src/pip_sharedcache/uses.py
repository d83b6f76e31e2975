"""What one run uses of a store, noted there so that garbage collection spares it."""

from __future__ import annotations

import errno
import logging
import sys
import time
from collections.abc import Callable, Iterable

from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.linker import Placement
from pip_sharedcache.model import Entry, Report
from pip_sharedcache.store import Store, history, links, marks

logger = logging.getLogger(__name__)

#: Who may not write the store leaves no notes in it.
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Uses:
    """The notes of one run in ``store`` (None: there is none). ``say`` warns the user, each line
    once."""

    def __init__(self, store: Store | None, say: Callable[[str], None]) -> None:
        self._store = store
        self._say = say
        self._noted: set[str] = set()

    def note(self, entry: Entry) -> None:
        """This user uses ``entry``. To be noted before it is opened: garbage collection, which
        looks for that after it has taken an entry out of sight, brings it back then. Never raises.
        """
        name = entry.path.name
        if self._store is None or name in self._noted:
            return
        self._noted.add(name)
        try:
            marks.mark(self._store, [name])
        except OSError as error:
            if error.errno in _READ_ONLY:
                logger.debug("Not noted as used in %s: %s", self._store.path, error)
                return
            self._say(
                f"What you use is not noted in {self._store.path}, and store gc may take it away "
                f"early: {reason(error)}"
            )

    def note_run(self, report: Report, settings: Settings, refused: str, seconds: float) -> None:
        """Leave a record of what this run did, if its user wants that. Never raises."""
        if self._store is None or not report.installed or settings.stats == "off":
            return
        run = history.Run(
            at=int(time.time()),
            environment=sys.prefix if settings.stats == "full" else "",
            mode=settings.link_mode.value,
            refused=refused,
            seconds=round(seconds, 3),
            not_downloaded=report.not_downloaded,
            not_copied=report.not_copied,
            compiled=report.compiled,
            compile_seconds=round(report.compile_seconds, 3),
            reused=report.reused,
            distributions=tuple(report.distributions),
        )
        try:
            history.note(self._store, run)
        except (
            OSError
        ) as error:  # a store that may only be read, a full disk: nothing depends on it
            logger.debug("Not recorded in %s: %s", self._store.path, error)

    def note_links(self, placements: Iterable[Placement]) -> None:
        """Symlinks of ``placements`` lead into their entries. Never raises."""
        if self._store is None:
            return
        found = [
            links.Link(placement.entry.path.name, path, placement.library)
            for placement in placements
            if (path := placement.first_link())
        ]
        try:
            links.register(self._store, found)
        except OSError as error:
            self._say(
                f"Symlinks are not registered in {self._store.path}: {reason(error)}; "
                "store gc may take away what they lead to"
            )
