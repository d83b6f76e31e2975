"""The wheels that pip has in one run, with their origins and digests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from pip_sharedcache import wheel
from pip_sharedcache.model import Digest, Entry, Origin
from pip_sharedcache.store import Build


@dataclass
class RunWheel:
    """A wheel of one run.

    ``path``: the path at which pip has the wheel.
    ``origin``: the place that pip took it from; None (built here) for no lookup and no publishing.
    ``entry``: the entry whose own wheel this is; None where the file is pip's.
    ``digest``: the digest that the store or the index gives.
    ``verified``: whether pip checked ``digest``, or its publisher is trusted.
    ``hashed``: whether this run read all bytes for that.
    ``pulled``: whether the file came from a remote store, and has ``digest``.
    ``build``: the key and the build record of a wheel that was built here.
    ``download``: pip's link and directory, for a download after all.
    ``distributions``: pip's own distribution of the wheel, by the name that pip asks for.
    """

    path: str
    origin: Origin | None = None
    entry: Entry | None = None
    digest: Digest | None = None
    verified: bool = False
    hashed: bool = False
    pulled: bool = False
    build: tuple[Digest, Build] | None = None
    download: tuple[Any, str] | None = None
    distributions: dict[str, Any] = field(default_factory=dict)

    @property
    def is_gone(self) -> bool:
        """Whether this is an entry's own wheel, and its path does not exist any more."""
        return self.entry is not None and not os.path.lexists(self.path)

    def names(self) -> list[str] | None:
        """Return the names of the files in the wheel; None where it is unreadable."""
        if self.entry is not None:
            return [file.path for file in self.entry.manifest.files]
        return wheel.names_in(self.path)


class WantedWheel(NamedTuple):
    """A wheel for a transfer: its digest by the user's index, and its file name.

    ``is_public``: as in Origin, for a push.
    """

    digest: Digest
    filename: str
    is_public: bool = False


class RunWheels:
    """The wheels of one run, by their paths."""

    def __init__(self) -> None:
        self._by_path: dict[str, RunWheel] = {}

    def at(self, path: str) -> RunWheel:
        """Return the wheel at ``path``, a new one if the run does not know it."""
        return self._by_path.setdefault(os.path.abspath(path), RunWheel(path))

    def note(self, path: str, origin: Origin) -> RunWheel:
        """Record where pip took the wheel at ``path`` from, and return the wheel."""
        found = self.at(path)
        found.origin = origin
        return found

    def add(self, moved: RunWheel) -> None:
        """Record the wheel ``moved`` under its new path."""
        self._by_path[os.path.abspath(moved.path)] = moved

    def downloaded(self) -> list[RunWheel]:
        """Return the wheels that pip downloaded: no entry's own, none that was built here."""
        return [
            one
            for one in self._by_path.values()
            if one.entry is None and one.build is None and one.origin is not None and one.digest
        ]

    def public_builds(self) -> Iterator[tuple[Digest, Build]]:
        """Yield the keys and records of the wheels that were built here from public sources."""
        for one in self._by_path.values():
            if one.build is not None and one.origin is not None and one.origin.is_public:
                yield one.build

    @property
    def has_pulled(self) -> bool:
        """Whether a wheel of the run came from a remote store."""
        return any(one.pulled for one in self._by_path.values())

    def is_pulled(self, digest: Digest) -> bool:
        """Return whether the wheel of ``digest`` came from a remote store."""
        return any(one.pulled and one.digest == digest for one in self._by_path.values())

    def download_of(self, digest: Digest) -> tuple[Any, str] | None:
        """Return pip's link and directory to download the wheel of ``digest``, or None.

        pip got the wheel of an entry instead.
        """
        every = (one.download for one in self._by_path.values() if one.digest == digest)
        return next(filter(None, every), None)


def without_credentials(url: str) -> str:
    """Return ``url`` without user info, query and fragment, for messages and comparisons."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def has_credentials(url: str) -> bool:
    """Return whether ``url`` contains user info."""
    return "@" in urlsplit(url).netloc


def is_below(url: str, prefix: str) -> bool:
    """Return whether ``url`` is ``prefix`` or below it; each may be an absolute path."""
    start, whole = (
        without_credentials(text if "://" in text else Path(text).as_uri())
        for text in (prefix, url)
    )
    start = start.rstrip("/")
    return whole == start or whole.startswith(start + "/")
