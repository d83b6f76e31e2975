"""Runs of pip's resolver: one that is recorded, and one on the candidates of an earlier record."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from packaging.utils import canonicalize_name

from pip_sharedcache import fs
from pip_sharedcache.errors import reason
from pip_sharedcache.pip_adapter import index_pages
from pip_sharedcache.pip_adapter.index_pages import IndexPages
from pip_sharedcache.pip_adapter.protocols import Distribution, Link
from pip_sharedcache.pip_adapter.questions import OF_HOST, host
from pip_sharedcache.session.resolutions import Page, Resolution
from pip_sharedcache.session.wheels import without_credentials

_DISCARDED = ""  # in place of the metadata of a candidate that pip discarded


class Abandoned(Exception):
    """A replay has met something that the recorded run did not."""


class HeldLog(logging.Handler):
    """The log of a replay, held back until its answer counts."""

    def __init__(self) -> None:
        super().__init__()
        self._pip: Any = importlib.import_module("pip._internal.utils.logging")
        self._root = logging.getLogger()
        self._before: list[logging.Handler] | None = None
        self._records: list[tuple[logging.LogRecord, int]] = []

    def hold(self) -> None:
        """Hold all records from now on."""
        self._before = self._root.handlers[:]
        self._root.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record`` with pip's indentation."""
        self._records.append((record, self._pip.get_indentation()))

    def drop(self) -> None:
        """Forget the records, and log as before."""
        if self._before is not None:
            self._root.handlers[:], self._before = self._before, None
        self._records.clear()

    def release(self) -> None:
        """Log all held records, and then as before."""
        records = self._records[:]
        self.drop()
        for record, indentation in records:
            with self._pip.indent_log(indentation - self._pip.get_indentation()):
                logging.getLogger(record.name).callHandlers(record)


class _PageFile:
    """The contents of index pages, kept on disk: in memory they would double what pip needs.

    Methods raise OSError."""

    def __init__(self) -> None:
        # Without a buffer: close would write the rest of it, and fail on a full disk.
        self._file = tempfile.TemporaryFile(prefix="pip-sharedcache-", buffering=0)  # noqa: SIM115

    def add(self, content: Any) -> Callable[[], Any]:
        """Keep pip's ``content`` of a page; return a function that returns it again."""
        start = self._file.seek(0, os.SEEK_END)
        fs.write_all(self._file.fileno(), content.content)
        size, kind, encoding, url = self._file.tell() - start, *index_pages.facts_of(content)

        def read() -> Any:
            self._file.seek(start)
            return index_pages.content_of(self._file.read(size), kind, encoding, url)

        return read

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class _Installed(dict[str, Any]):
    """The distributions in the environment, by project, and which of them pip asked for."""

    def __init__(self, distributions: Mapping[str, Any]) -> None:
        super().__init__(distributions)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the distribution of the project ``name``, or ``default``."""
        self.asked.add(name)
        return super().get(name, default)


class Recording:
    """One run of pip's resolver, and what it reads.

    ``resolver``: pip's Resolver.
    ``pages``: the index pages of the run.
    ``problem``: why the run cannot be recorded, or "".
    """

    def __init__(self, resolver: Any, pages: IndexPages) -> None:
        self.resolver = resolver
        self.pages = pages
        self.began = time.monotonic()
        self.candidates: dict[str, str] = {}
        self.origins: list[Link] = []  # of all pages and candidates
        self._read: dict[str, tuple[Callable[[], Any], str]] = {}
        self._of_host = False
        self._installed = _Installed(self.resolver.factory._installed_dists)
        self.resolver.factory._installed_dists = self._installed
        self._file: _PageFile | None = None
        self._pages: list[Page | None] | None = None  # reduced; None for one that cannot be
        self.problem = ""

    def close(self) -> None:
        """Delete what the run keeps on disk."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # nothing in the file is needed any more
                self._file.close()
            self._file = None

    def is_read_by(self, collector: object) -> bool:
        """Return whether pip's LinkCollector ``collector`` is that of this run."""
        return collector is self.resolver.factory._finder._link_collector

    def page(self, location: Link) -> Any:
        """Return pip's content of the index page at ``location``, or None."""
        self.origins.append(location)
        content, etag = self.pages.take(location)
        if not self.problem:
            try:
                self._read[without_credentials(location.url)] = self._keep(content), etag
            except OSError as error:  # a full disk: pip needs what is left of it
                self.problem = ": ".join(filter(None, [tempfile.tempdir, reason(error)]))
                self.close()
        return content

    def _keep(self, content: Any) -> Callable[[], Any]:
        if content is None:
            return _no_page
        self._file = self._file or _PageFile()
        return self._file.add(content)

    def before(self, link: Link) -> None:
        """Record that pip is going to look at the candidate ``link``."""
        self.origins.append(link)
        self.candidates[url_of(link)] = _DISCARDED

    def after(self, link: Link, distribution: Distribution) -> None:
        """Record the metadata of the candidate ``link``."""
        text = _metadata(distribution)
        self._of_host |= _reads_host(text)
        self.candidates[url_of(link)] = _digest(text)

    def _asks_host(self, question: Mapping[str, Any]) -> bool:
        """Return whether a requirement, or an installed distribution, has a marker of the host."""
        found = [dict.get(self._installed, name) for name in self._installed.asked]
        texts = [_metadata(distribution) for distribution in found if distribution is not None]
        return any(map(_reads_host, [*texts, repr(question["requirements"])]))

    def finish(self) -> None:
        """Reduce the pages at the end of the resolution: pip needs the disk for its downloads.

        Raises OSError.
        """
        if self._pages is None:
            self._pages = [
                index_pages.reduced(url, read(), etag, self.candidates)
                for url, (read, etag) in self._read.items()
            ]
            self.close()

    def resolution(
        self,
        question: Mapping[str, Any],
        installed: Callable[[str], str],
        requests: int,
        requirements: Iterable[Any],
    ) -> Resolution | None:
        """Return what the run has read and answered; None if there is nothing to reuse in it.

        ``installed``: as for SharedResolutions.find. ``requests``: the number of requests.
        ``requirements``: pip's answer.
        """
        if not self._read or not self.candidates:
            return None
        self.finish()
        pages = [page for page in self._pages or () if page is not None]
        if len(pages) < len(self._read):
            return None
        return Resolution(
            question,
            {page.url: page for page in pages},
            self.candidates,
            {name: installed(name) for name in sorted(self._installed.asked)},
            host() if self._of_host or self._asks_host(question) else "",
            _result(requirements),
            requests,
            time.monotonic() - self.began,
        )


class Replay(Recording):
    """One run of a copy of pip's resolver on the candidates of ``recorded``.

    ``counts``: whether its answer was seen to be the recorded one.
    """

    def __init__(
        self, resolver: Any, pages: IndexPages, recorded: Resolution, log: HeldLog
    ) -> None:
        super().__init__(_twin(resolver), pages)
        self.recorded = recorded
        self.counts = False
        self._log = log
        self._confirmed = False

    def page(self, location: Link) -> Any:
        """Return the recorded links of the page, once all recorded pages are seen to be the same.

        Raises Abandoned.
        """
        if not self._confirmed:
            if changed := self.pages.changed(self.recorded.pages.values()):
                raise Abandoned(f"{changed} has changed")
            self._confirmed = True
        url = without_credentials(location.url)
        if url not in self.recorded.pages:
            raise Abandoned(f"{url} was not read")
        self.origins.append(location)
        return index_pages.as_content(self.recorded.pages[url])

    def before(self, link: Link) -> None:
        """Raise Abandoned unless the recorded run looked at the candidate ``link``."""
        if url_of(link) not in self.recorded.candidates:
            raise Abandoned(f"{url_of(link)} was no candidate")
        if not link.is_wheel:
            self._log.release()  # pip may build it, and shows that at once
        super().before(link)

    def after(self, link: Link, distribution: Distribution) -> None:
        """Raise Abandoned unless the metadata of the candidate ``link`` is the recorded one."""
        super().after(link, distribution)
        url = url_of(link)
        if self.candidates[url] != self.recorded.candidates[url]:
            raise Abandoned(f"{url} has other metadata")

    def answer(self, requirements: Iterable[Any]) -> None:
        """Let the answer count, and log what was held. Raises Abandoned for another answer."""
        if self.counts:
            return
        result = _result(requirements)
        if result != self.recorded.result:
            different = set(result) ^ set(self.recorded.result)
            raise Abandoned(f"{min(different)} is in one of the two answers only")
        for url, digest in self.candidates.items():
            if digest != self.recorded.candidates[url]:
                raise Abandoned(f"{url} was not discarded")
        self.counts = True
        self._log.release()


def _no_page() -> None:
    """Return None: the content of a page that the index does not have."""


def url_of(link: Link) -> str:
    """Return the URL of ``link`` without its fragment."""
    return link.url.partition("#")[0]


def _result(requirements: Iterable[Any]) -> tuple[str, ...]:
    """Return each requirement that pip is to install, as ``name url``."""
    links = ((one.name, getattr(one, "source_link", None) or one.link) for one in requirements)
    return tuple(sorted(f"{canonicalize_name(name)} {url_of(link)}" for name, link in links))


def installed_fact(distributions: Mapping[str, Any], name: str) -> str:
    """Return the version and the sha256 of the metadata of one of pip's ``distributions``.

    "" without one of this name.
    """
    distribution = distributions.get(name)
    if distribution is None:
        return ""
    try:
        return f"{distribution.version} {_digest(_metadata(distribution))}"
    except Exception as error:  # no metadata, or no valid version: pip reports it if it matters
        return f"{type(error).__name__}: {error}"


def _reads_host(text: str) -> bool:
    return any(name in text for name in OF_HOST)


def _metadata(distribution: Any) -> str:
    """Return the METADATA of pip's ``distribution``, with one kind of line ends."""
    try:
        text: str = distribution.read_text("METADATA")
    except Exception:  # none, or not in UTF-8: pip parses what there is, and reports that
        text = str(distribution.metadata)
    return text.replace("\r\n", "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _twin(resolver: Any) -> Any:
    """Return a copy of pip's resolver whose caches are its own."""
    twin = _copy(resolver)
    twin.factory = _copy(resolver.factory)
    twin.factory._finder = _copy(resolver.factory._finder)
    twin.factory._finder._link_collector = _copy(resolver.factory._finder._link_collector)
    return twin


def _copy(original: Any) -> Any:
    twin = copy.copy(original)
    for name, value in vars(twin).items():
        if type(value) in (dict, set, list):
            setattr(twin, name, copy.copy(value))
    return twin
