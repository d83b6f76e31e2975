"""The wheels that remote stores give in place of pip's downloads."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pip_sharedcache.pip_adapter import local_wheels
from pip_sharedcache.pip_adapter.misses import Misses
from pip_sharedcache.pip_adapter.protocols import Link, Requirement
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import RunWheel, WantedWheel

logger = logging.getLogger(__name__)


class Pulls:
    """The wheels that remote stores gave in one run.

    ``misses``: tells which wheels may be shared.
    ``note``: records the wheel of a link with its path, and returns it.
    """

    def __init__(self, misses: Misses, note: Callable[[Session, Link, str], RunWheel]) -> None:
        self._misses, self._note = misses, note
        self._paths: dict[str, str] = {}  # by URL of the link

    def begin(self, session: Session, pip_session: Any) -> None:
        """Let the remote stores of ``session`` use ``pip_session`` for web servers."""
        self._paths.clear()
        timeout = float(session.settings.remote_timeout)

        def web(url: str) -> Any:
            # Late: a run that misses nothing imports no client.
            from pip_sharedcache.pip_adapter.web_remote import WebAccess

            return WebAccess(pip_session, url, timeout)

        session.remotes.web = web

    def fetch(self, session: Session, links: Sequence[Link], location: str) -> list[Link]:
        """Get the wheels of ``links`` from remote stores, into ``location``; return the others."""
        links = [link for link in links if link.url not in self._paths]
        if not links or not session.remotes.named:
            return links
        by_digest = self._misses.shareable(session, links)
        wanted = [WantedWheel(digest, link.filename) for digest, link in by_digest.items()]

        def arrived(wheel: WantedWheel, path: Path) -> None:
            link = by_digest[wheel.digest]
            found = self._note(session, link, str(path))
            found.digest, found.verified, found.pulled = wheel.digest, True, True
            self._paths[link.url] = str(path)
            session.stage_ahead(found)
            session.turns.renew()

        session.remotes.pull(wanted, Path(location), arrived, compiles=session.compiles)
        return [link for link in links if link.url not in self._paths]

    def fetch_bytecode(self, session: Session, requirements: Iterable[Requirement]) -> None:
        """Get the bytecode of those wheels of ``requirements`` that the store has without it."""
        paths = (one.local_file_path for one in requirements)
        entries = [session.wheels.at(path).entry for path in paths if path]
        found = (entry for entry in entries if entry is not None)
        session.bytecode.pull(found, lambda: Path(local_wheels.new_directory()))

    def metadata_digest(self, link: Link) -> str:
        """Return the sha256 of the METADATA of the pulled wheel of ``link``; "" without any."""
        path = self._paths.get(link.url)
        if path is None:
            return ""
        try:
            text = local_wheels.distribution_of(Path(path), link.filename).read_text("METADATA")
        except Exception as error:  # pip reads the wheel in the same way, and reports its own error
            logger.debug("%s: %s: %s", path, type(error).__name__, error)
            return ""
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def take(self, link: Link) -> str | None:
        """Return the path of the wheel of ``link`` that a remote store gave; None without one."""
        path = self._paths.get(link.url)
        if path is not None:
            logger.info("Using %s from the remote store", link.filename)
        return path
