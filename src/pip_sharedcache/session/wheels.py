"""The wheels that pip has in one run: where each comes from, and what is known of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pip_sharedcache import wheel
from pip_sharedcache.model import Digest, Entry, Origin
from pip_sharedcache.store import Build


@dataclass
class RunWheel:
    """A wheel of one run.

    ``path``: where pip has it.
    ``origin``: where pip took it from. None for a wheel that was built here, say: it is neither
    looked up nor published.
    ``entry``: the entry whose own wheel it is; None where the file is pip's.
    ``digest``: what the store or the index says, and what it is where it is ``verified``: pip
    found so, or its publisher is trusted.
    ``hashed``: its bytes were read for that, in this run.
    ``build``: what it was built from, and how.
    ``download``: pip's link and directory, to download it after all.
    ``distributions``: pip's own view of it, by the name that pip asks for.
    """

    path: str
    origin: Origin | None = None
    entry: Entry | None = None
    digest: Digest | None = None
    verified: bool = False
    hashed: bool = False
    build: tuple[Digest, Build] | None = None
    download: tuple[Any, str] | None = None
    distributions: dict[str, Any] = field(default_factory=dict)

    @property
    def is_gone(self) -> bool:
        """Whether pip was handed it out of an entry, and nothing is there any more."""
        return self.entry is not None and not os.path.lexists(self.path)

    def names(self) -> list[str] | None:
        """Return the files in it; None where it cannot be read."""
        if self.entry is not None:
            return [file.path for file in self.entry.manifest.files]
        return wheel.names_in(self.path)


class RunWheels:
    """The wheels of one run, by their paths."""

    def __init__(self) -> None:
        self._by_path: dict[str, RunWheel] = {}

    def at(self, path: str) -> RunWheel:
        """Return the wheel at ``path``, of which nothing may be known."""
        return self._by_path.setdefault(os.path.abspath(path), RunWheel(path))

    def note(self, path: str, origin: Origin) -> RunWheel:
        """Record where pip took the wheel at ``path`` from, and return the wheel."""
        found = self.at(path)
        found.origin = origin
        return found

    def add(self, moved: RunWheel) -> None:
        """Record a wheel under its new path."""
        self._by_path[os.path.abspath(moved.path)] = moved

    def download_of(self, digest: Digest) -> tuple[Any, str] | None:
        """Return what pip needs to download the wheel of ``digest``, if pip was handed an entry's
        instead."""
        every = (one.download for one in self._by_path.values() if one.digest == digest)
        return next(filter(None, every), None)


def without_credentials(url: str) -> str:
    """``url`` without user info, fragment and query, as it may be shown and compared."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def has_credentials(url: str) -> bool:
    """Whether ``url`` carries user info."""
    return "@" in urlsplit(url).netloc


def is_below(url: str, prefix: str) -> bool:
    """Whether ``url`` is ``prefix`` or below it; each may be an absolute path."""
    start, whole = (
        without_credentials(text if "://" in text else Path(text).as_uri())
        for text in (prefix, url)
    )
    start = start.rstrip("/")
    return whole == start or whole.startswith(start + "/")
