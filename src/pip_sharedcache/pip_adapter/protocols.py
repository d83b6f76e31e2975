"""pip's classes, with only those attributes that pip-sharedcache uses.

Each protocol names the module of pip with the class. ``seams`` checks at run time that a pip has
the attributes. Attributes that not every pip has are not listed: the code reads them by getattr.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol


class Link(Protocol):
    """A file or a source tree that pip can fetch (models/link.py).

    ``comes_from``: the index page (its URL, or an object with ``url``); None for a direct URL.
    ``file_path``: the local path; only for a file: URL.
    ``hash_name``, ``hash``: the digest that the index gives; None without one.
    """

    url: str
    scheme: str
    filename: str
    file_path: str
    comes_from: object
    is_file: bool
    is_vcs: bool
    is_wheel: bool
    hash_name: str | None
    hash: str | None
    subdirectory_fragment: str | None

    def metadata_link(self) -> Link | None:
        """Return the link of the wheel's metadata file (PEP 658); None without one."""


class Requirement(Protocol):
    """One distribution to be installed (req/req_install.py: InstallRequirement).

    ``link``: the file of the candidate; None for an installed distribution.
    ``original_link``: the link that the user gave; None where pip found it in an index.
    ``hash_options``: the digests of --hash, by the name of the algorithm.
    ``local_file_path``: the path of the downloaded or built wheel; None before.
    """

    name: str | None
    link: Link | None
    original_link: Link | None
    hash_options: dict[str, list[str]]
    local_file_path: str | None

    def install(self, **how: Any) -> None:
        """Install the wheel at ``local_file_path``."""


class Preparer(Protocol):
    """pip's downloads for one resolution (operations/prepare.py: RequirementPreparer).

    ``download_dir``: the directory for copies of the files (pip download); None to install.
    ``finder``: the search in indexes and in the directories of --find-links.
    """

    download_dir: str | None
    finder: object


class Downloader(Protocol):
    """The download of one file (network/download.py)."""

    def __call__(self, link: Link, location: str) -> tuple[str, str]:
        """Download ``link`` into the directory ``location``; return path and content type."""


class HttpRequest(Protocol):
    """A request of pip (_vendor/requests: PreparedRequest)."""

    url: str
    headers: Mapping[str, str]


class HttpResponse(Protocol):
    """A response to pip (_vendor/requests: Response). ``request``: None for a file: URL."""

    request: HttpRequest | None


class Hashes(Protocol):
    """The digests that pip accepts for one file (utils/hashes.py)."""

    def is_hash_allowed(self, hash_name: str, hex_digest: str) -> bool:
        """Return whether pip accepts the digest ``hex_digest``."""


class EntryPoint(Protocol):
    """An entry point of a distribution (metadata/base.py: BaseEntryPoint)."""

    name: str
    group: str


class Distribution(Protocol):
    """A distribution with its metadata (metadata/base.py: BaseDistribution)."""

    def read_text(self, path: str) -> str:
        """Return a file of .dist-info."""

    def iter_dependencies(self, extras: Collection[str] = ()) -> Iterable[Any]:
        """Return the requirements whose markers apply, each with a ``name``."""

    def iter_entry_points(self) -> Iterable[EntryPoint]:
        """Return the entry points."""


class WheelFile(Protocol):
    """One file of a wheel that pip installs (operations/install/wheel.py: ZipBackedFile).

    ``written``: whether it was saved; only pip 26.3 and later read it.
    """

    src_record_path: str
    dest_path: str
    written: bool


class RecoveryRecord(Protocol):
    """The files that pip 26.3 records after a blocked import (operations/install/wheel.py)."""

    info_dir: str
    installed: dict[str, str]
    generated: list[str]
