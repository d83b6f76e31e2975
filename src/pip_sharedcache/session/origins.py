"""Where the wheels of one run come from, and which of them may be shared."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pip_sharedcache.model import Digest, Origin


class Origins:
    """What is known of the wheels that pip has, by their paths. ``share``: prefixes of URLs whose
    wheels are shared whatever speaks against it."""

    def __init__(self, share: tuple[str, ...]) -> None:
        self._share = share
        self._origins: dict[str, Origin] = {}
        self._digests: dict[str, Digest] = {}

    def note(self, path: str, origin: Origin) -> None:
        """Remember where pip took the wheel at ``path`` from. A wheel nothing is noted of was
        built here, and is neither looked up nor published."""
        self._origins[os.path.abspath(path)] = origin

    def note_digest(self, path: str, digest: Digest) -> None:
        """pip itself has found that the file at ``path`` has this ``digest``."""
        self._digests[os.path.abspath(path)] = digest

    def move(self, path: str, moved: str) -> None:
        """The wheel at ``path`` lies at ``moved`` now."""
        self._origins[os.path.abspath(moved)] = self._origins[os.path.abspath(path)]

    def of(self, path: str) -> Origin | None:
        """Where the wheel at ``path`` came from, if that is known."""
        return self._origins.get(os.path.abspath(path))

    def knows(self, path: str) -> bool:
        """Whether ``path`` is a wheel that came with a known origin, and stays as it is while this
        run lasts."""
        return self.of(path) is not None

    def digest_of(self, path: str) -> Digest | None:
        """The digest of the wheel at ``path``, if pip has found it."""
        return self._digests.get(os.path.abspath(path))

    def is_shared_anyway(self, url: str) -> bool:
        """Whether ``url`` (or an absolute path) is below a prefix in the setting ``share``."""
        return any(is_below(url, prefix) for prefix in self._share)


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
