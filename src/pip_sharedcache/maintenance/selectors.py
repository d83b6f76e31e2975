"""The words with which users select entries: distributions, wheel file names, digests."""

from __future__ import annotations

import contextlib
import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pip_sharedcache.errors import UsageError
from pip_sharedcache.store import StoredEntry

#: The beginning of a digest; a shorter word, such as "facade", is a name.
_BEGINNING = re.compile(r"[0-9a-fA-F]{8,64}")
#: A distribution, and its versions.
WITH_VERSIONS = re.compile(r"([^\s<>=!~]+)\s*([<>=!~].*)", re.DOTALL)


class Selector:
    """One word that selects entries.

    The word is a distribution (demo, demo==1.0) or the file name of a wheel, either with ``*`` for
    any characters, or the first characters of a digest, at least eight. ``sha256:`` may stand
    before a digest. Raise UsageError for an empty word.
    """

    def __init__(self, word: str) -> None:
        self.word = word = word.strip()
        if not word:
            raise UsageError(
                "An empty NAME selects nothing", "name a distribution, or leave it out"
            )
        word = bare_digest(word)
        self._beginning = word.lower() if _BEGINNING.fullmatch(word) else ""
        self._file = _pattern(word) if word.endswith(".whl") else None
        versions = WITH_VERSIONS.fullmatch(word)
        self._versions: SpecifierSet | None = None
        if versions is not None:
            with contextlib.suppress(InvalidSpecifier):  # such a word selects nothing
                self._versions, word = SpecifierSet(versions[2]), versions[1]
        self._project = _pattern(canonicalize_name(word))

    def selects(self, item: StoredEntry) -> bool:
        """Return whether the word selects ``item``: a wheel, or an entry of this digest."""
        return self.selects_digest(item.digest) or self.selects_title(item.title)

    def selects_title(self, title: str) -> bool:
        """Return whether the word selects a wheel with the file name ``title``."""
        if not title.endswith(".whl"):
            return False
        if self._file is not None:
            return self._file.fullmatch(title) is not None
        project, version = project_and_version(title)
        if self._project.fullmatch(project) is None:
            return False
        if self._versions is None:
            return True
        return version is not None and self._versions.contains(version, prereleases=True)

    @property
    def is_digest(self) -> bool:
        """Return whether the word can be the beginning of a digest."""
        return bool(self._beginning)

    def selects_digest(self, digest: str) -> bool:
        """Return whether the word is the beginning of ``digest``."""
        return bool(self._beginning) and digest.startswith(self._beginning)

    def selects_name(self, name: str) -> bool:
        """Return whether the word is the distribution ``name``, in any version."""
        return self._project.fullmatch(canonicalize_name(name)) is not None


def bare_digest(word: str) -> str:
    """Return ``word`` without the ``sha256:`` that other programs put before a digest."""
    _, found, digest = word.strip().rpartition("sha256:")
    return digest if found and _BEGINNING.fullmatch(digest) else word


def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, word.split("*"))))


def project_and_version(title: str) -> tuple[str, Version | None]:
    """Return the distribution and the version in the file name of a wheel.

    The publisher of an entry can choose any file name: the version is None if the name is not
    valid.
    """
    try:
        name, version, _, _ = parse_wheel_filename(title)
    except (InvalidWheelFilename, InvalidVersion):
        return canonicalize_name(title.partition("-")[0]), None
    return name, version
