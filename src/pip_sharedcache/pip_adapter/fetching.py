"""The runs of ``pip download``, ``pip wheel`` and ``pip lock``, which take wheels from the stores.

pip reads the metadata from the entry's own wheel, as in an installation. ``download`` and ``wheel``
keep a copy whose every byte is checked. No entry is published: neither wheels nor resolutions.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from optparse import Values
from pathlib import Path
from typing import Any

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import without_store
from pip_sharedcache.pip_adapter import offline, seams
from pip_sharedcache.pip_adapter.downloads import Downloads
from pip_sharedcache.pip_adapter.protocols import Requirement
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session import notices
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import RunWheel

logger = logging.getLogger(__name__)


def _warn_of_ban(session: Session, path: str) -> None:
    """Warn that the wheel at ``path``, which pip keeps, is banned in a store."""
    banning = any(store.bans.listed for store in session.layers)
    if not banning or not path.endswith(".whl"):
        return
    try:
        digest, _ = wheel.digest_of(Path(path))
    except OSError:
        return  # pip gets the same error, and reports it
    name = os.path.basename(path)
    if (ban := session.layers.ban_of(digest, name)) is not None:
        notices.warn(f"{name} is {ban}; pip keeps it without the shared store")


def store_unusable(error: Exception) -> str:
    """Return the warning that pip runs without the store because of ``error``."""
    why = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{without_store()}: the store cannot be used: {why}"


class Fetching:
    """The wrappers around the commands that fetch wheels and install none.

    ``start``: opens the session of a run; ``fills``: whether it may make and fill stores.
    ``declines``: returns whether plain pip makes the run with these options of pip.
    ``downloads``: the wrappers around pip's preparation of requirements.
    """

    def __init__(
        self,
        start: Callable[..., Session],
        declines: Callable[[Values], bool],
        downloads: Downloads,
    ) -> None:
        self._start, self._declines, self._downloads = start, declines, downloads

    def put_in(self) -> None:
        """Wrap the command that pip has imported, if this pip has the seam to keep its files."""
        if problem := seams.KEEP_FILE.problem():
            logger.debug("Wheels to keep are not taken from the store: %s", problem)
            return
        for seam in seams.RUN_FETCHING:
            if seam.module in sys.modules:  # an import for nothing would slow down installations
                seams.wrap(seam, seams.during(lambda: self._start, self._run))
        seams.wrap(seams.KEEP_FILE, seams.during(lambda: self._downloads.fetching, self._keep_file))

    def _run(self, start: Callable[..., Session], call: Call) -> Any:
        options: Values = call.named["options"]
        if self._declines(options):
            return call.proceed()
        try:
            session = start(fills=False)
        except Exception as error:
            logger.warning("%s", store_unusable(error))
            return call.proceed()
        self._downloads.begin(session, options, fetches=True)
        if options.verbose <= options.quiet:
            notices.hold()
        try:
            with offline.only_the_store(session, options):
                status = call.proceed()
        finally:
            self._downloads.end()
            session.finish()
        if status == 0 and (line := session.lookup.untrusted_summary()):
            logger.info("%s", line)
        return status

    def _keep_file(self, session: Session, call: Call) -> Any:
        """Give pip a checked copy of an entry's wheel, which gets the modes of a download."""
        requirement: Requirement = call.named["req"]
        found = session.lookup.relocate(requirement.local_file_path or "")
        if found.entry is None:
            _warn_of_ban(session, found.path)
            return call.proceed()
        before = requirement.local_file_path
        with fs.temporary_directory() as directory:
            requirement.local_file_path = self._checked(session, found, directory)
            try:
                return call.proceed()
            finally:
                requirement.local_file_path = before

    def _checked(self, session: Session, found: RunWheel, directory: Path) -> str:
        """Return the path of a file with the digest of ``found``, an entry's wheel.

        That is a copy in ``directory``, or, if no sound entry is there, what pip downloads. Raises
        pip's own errors and InstallationError.
        """
        path, entry = found.path, found.entry
        while entry is not None:
            copied = session.lookup.copy_trusted(entry, directory)
            if copied is not None:
                return str(copied)
            other = self._downloads.another(session, path, entry)
            if other is None:
                return self._downloads.fetch(session, entry, "it is damaged, or was deleted")
            path, entry = other.path, other.entry
        return path
