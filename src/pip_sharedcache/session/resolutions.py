"""Resolutions: what one run of pip's resolver was asked, what it read, and what it answered.

A resolution leads a later run with the same question to the few candidates that matter. It decides
nothing: pip's own resolver runs on these candidates, and its answer counts only if everything that
the recorded answer rested on is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pip_sharedcache import store as stores
from pip_sharedcache import trust
from pip_sharedcache.errors import NotPublished
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.remotes import RunRemotes
from pip_sharedcache.session.state import RunState
from pip_sharedcache.signing import SignedData
from pip_sharedcache.store import NONE_YET, StoredResolution
from pip_sharedcache.store.resolutions import PUBLIC, RESOLUTION_FORMAT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """One index page that the resolver read.

    ``url``: its URL without credentials, query and fragment.
    ``digest``: the sha256 of its content; "" where the index has no such page.
    ``etag``: the ETag of the response; "" without one.
    ``location``: the URL that pip read it from, after redirects.
    ``content_type``: the media type of the content.
    ``encoding``: the character encoding that the response gave; "" if none.
    ``links``: the content, reduced to the links of candidates that the resolver looked at.
    """

    url: str
    digest: str
    etag: str
    location: str
    content_type: str
    encoding: str
    links: str


@dataclass(frozen=True)
class Resolution:
    """One run of pip's resolver.

    ``question``: JSON values: everything that pip was asked.
    ``pages``: the index pages that it read, by URL.
    ``candidates``: the URL of each candidate that it looked at, and the sha256 of its metadata; ""
        for a candidate that pip discarded.
    ``installed``: the version and the sha256 of the metadata of each project that pip looked for in
        the environment; "" if not installed.
    ``host``: the release and the version of the operating system, if a marker reads them; else "".
    ``result``: the distributions that pip was to install, as ``name url``.
    ``requests``: the number of requests that the run made.
    ``seconds``: the duration of the run of the resolver.
    """

    question: Mapping[str, Any]
    pages: Mapping[str, Page]
    candidates: Mapping[str, str]
    installed: Mapping[str, str]
    host: str
    result: tuple[str, ...]
    requests: int
    seconds: float

    def count_installed(self) -> int:
        """Return how many distributions in the environment the resolver took into account."""
        return sum(map(bool, self.installed.values()))

    def with_etags(self, etags: Mapping[str, str]) -> Resolution:
        """Return the resolution with other ETags of its pages, by URL."""
        pages = {
            url: replace(page, etag=etags.get(url, page.etag)) for url, page in self.pages.items()
        }
        return replace(self, pages=pages)

    def to_data(self) -> dict[str, Any]:
        """Return the resolution as JSON values."""
        return {
            "format": RESOLUTION_FORMAT,
            "question": self.question,
            "pages": [asdict(page) for page in self.pages.values()],
            "candidates": dict(self.candidates),
            "installed": dict(self.installed),
            "host": self.host,
            "result": list(self.result),
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Resolution | None:
        """Return the resolution in ``data``; None if a value is missing or has a wrong type."""
        try:
            if data["format"] != RESOLUTION_FORMAT or not isinstance(data["question"], dict):
                return None
            if not isinstance(data["pages"], list):
                return None
            pages = [Page(**as_texts(page)) for page in data["pages"]]
            return cls(
                data["question"],
                {page.url: page for page in pages},
                as_texts(data["candidates"]),
                as_texts(data["installed"]),
                as_text(data["host"]),
                tuple(map(as_text, data["result"])),
                int(data["requests"]),
                float(data["seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None


def as_texts(values: Any) -> dict[str, str]:
    """Return the object ``values`` of texts. Raises TypeError, AttributeError for another value."""
    return {as_text(name): as_text(value) for name, value in values.items()}


def as_text(value: Any) -> str:
    """Return ``value`` if it is a text. Raises TypeError for another value.

    Raises UnicodeEncodeError for a text of which no file or request has the characters.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no string")
    value.encode("utf-8")
    return value


class SharedResolutions:
    """The resolutions of one run: those in its stores, and the one that it adds."""

    def __init__(self, run: RunState, publishing: Publisher, remotes: RunRemotes) -> None:
        self._run, self._remotes = run, remotes
        self._layers, self._report, self._uses = run.layers, run.report, run.uses
        self._publishing = publishing
        self._found: StoredResolution | None = None
        self._pulled: Resolution | None = None
        self._signed: SignedData | None = None
        self._fewest: int | None = None

    def find(
        self, question: Mapping[str, Any], installed: Callable[[str], str], host: str
    ) -> Resolution | None:
        """Return the newest resolution of ``question`` by a trusted publisher, or None.

        ``installed`` returns, and ``host`` is, what Resolution has of them. A resolution counts
        only if pip finds the same in this environment, on this host.
        """
        key = stores.key_of(question)
        for stored in self._layers.find_resolutions(key):
            resolution = Resolution.from_data(stored.data)
            if resolution is not None and self._fits(resolution, question, installed, host):
                self._found = stored
                return resolution
        record = self._run.signatures.resolution_of(key)
        resolution = None if record is None else Resolution.from_data(record)
        if resolution is None or not self._fits(resolution, question, installed, host):
            return None
        return resolution

    def find_signed(
        self, question: Mapping[str, Any], installed: Callable[[str], str], host: str
    ) -> Resolution | None:
        """Return the resolution of a remote store that an allowed signer has signed, or None.

        All is as for ``find``, which has found none.
        """
        signed = self._remotes.resolution_of(stores.key_of(question))
        pulled = None if signed is None else Resolution.from_data(signed.record)
        if signed is None or pulled is None or not self._fits(pulled, question, installed, host):
            return None
        logger.debug("A resolution that %s signed is looked at", signed.signed_by)
        self._pulled, self._signed = pulled, signed.data
        return pulled

    def _fits(
        self,
        resolution: Resolution,
        question: Mapping[str, Any],
        installed: Callable[[str], str],
        host: str,
    ) -> bool:
        """Return whether ``resolution`` is of ``question`` in this environment, on this host."""
        if resolution.question != question or resolution.host not in ("", host):
            return False
        differs = [
            name for name, version in resolution.installed.items() if installed(name) != version
        ]
        if not differs:
            return True
        logger.debug("The resolution is not reused: %s is installed otherwise", differs[0])
        count = resolution.count_installed()
        self._fewest = min(count, self._fewest) if self._fewest is not None else count
        return False

    def is_pulled(self, resolution: Resolution) -> bool:
        """Return whether ``resolution`` came from a remote store, where its wheels can be, too."""
        return resolution is self._pulled

    def record_reuse(self, *, requests: int, seconds: float) -> None:
        """Record that pip gave the answer that ``find`` returned.

        ``requests``, ``seconds``: what the run of the resolver took less than the recorded one.
        """
        if self._found is not None:
            self._uses.record(self._found.entry)
        self._report.resolution = "reused"
        self._report.requests_saved = max(0, requests)
        self._report.seconds_saved = max(0.0, seconds)

    def renew(self, etags: Mapping[str, str], private_because: Callable[[], str]) -> None:
        """Share the resolution that ``find`` returned, and that counted, where this saves requests.

        That is this user's own, with other ``etags``, by URL: another publisher's content would get
        the name, and so the trust, of this user. That of a remote store is kept as it was signed:
        it counts for each run that has its signer, and as long as the key counts.
        """
        store = self._layers.to_publish()
        if self._signed is not None:
            try:
                if store is not None and store.may_publish():
                    stores.write_signed(store, self._signed)
            except NotPublished as error:
                logger.debug("The resolution is not kept: %s", error)
        elif etags and self._found is not None and self._found.publisher == trust.user_id():
            resolution = Resolution.from_data(self._found.data)
            if resolution is not None:
                private = private_because()
                public = not private and self._found.data.get(PUBLIC) is True
                self._share(resolution.with_etags(etags), private, public)

    @property
    def are_recorded(self) -> bool:
        """Whether this user can add a resolution to one of the stores."""
        stores_for_new = (self._layers.to_publish(), self._layers.to_keep())
        return any(store is not None and store.may_publish() for store in stores_for_new)

    def share(
        self, resolution: Resolution, *, private_because: str, is_public: bool = False
    ) -> None:
        """Stage ``resolution``: in a private store if there is a reason ``private_because``.

        ``is_public``: whether everybody may have it, so that it is pushed to remote stores, too.
        Most environments are new: a resolution that rests on more installed distributions than one
        that is there does not take its place.
        """
        if self._fewest is not None and resolution.count_installed() >= self._fewest:
            return
        if self._share(resolution, private_because, is_public) and is_public:
            record = resolution.to_data()
            self._run.new_resolutions[stores.key_of(resolution.question)] = record

    def _share(self, resolution: Resolution, private_because: str, is_public: bool) -> bool:
        """Stage ``resolution``, as ``share`` does, and return whether a store takes it."""
        where = self._layers.to_publish
        if private_because:
            logger.debug("The resolution is not shared: %s", private_because)
            where = self._layers.to_keep
        key, replaces, data = stores.key_of(resolution.question), self._found, resolution.to_data()
        if is_public:
            data[PUBLIC] = True
        staged = self._publishing.add(
            where,
            lambda store: stores.stage_resolution(
                store, key, data, replaces=replaces.record if replaces else NONE_YET
            ),
            "Installed without sharing the resolution",
        )
        if staged is not None:
            self._report.resolution = "recorded"
        return staged is not None
