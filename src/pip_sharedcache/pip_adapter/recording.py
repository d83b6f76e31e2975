"""Runs of pip's resolver that are recorded."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from packaging.utils import canonicalize_name

from pip_sharedcache import fs
from pip_sharedcache.errors import reason
from pip_sharedcache.pip_adapter import page_contents
from pip_sharedcache.pip_adapter.foresight import Foresight
from pip_sharedcache.pip_adapter.index_pages import UNCHANGED, IndexPages
from pip_sharedcache.pip_adapter.judging import Judgement, Judging, ServedPage
from pip_sharedcache.pip_adapter.links import source_url, url_of
from pip_sharedcache.pip_adapter.protocols import Distribution, Link
from pip_sharedcache.pip_adapter.questions import OF_HOST, host
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.resolutions import Page, Resolution
from pip_sharedcache.session.wheels import without_credentials

logger = logging.getLogger(__name__)

#: The name of each project in a METADATA file that the distribution requires.
_REQUIRES = re.compile(r"^Requires-Dist:\s*([A-Za-z0-9._-]+)", re.MULTILINE)

_DISCARDED = ""  # in place of the metadata of a candidate that pip discarded


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
        size, kind, encoding, url = self._file.tell() - start, *page_contents.facts_of(content)

        def read() -> Any:
            self._file.seek(start)
            return page_contents.content_of(self._file.read(size), kind, encoding, url)

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
    ``judging``: what pip's finder made of pages before; None to let it judge all of them.
    ``foresight``: what is made ready while pip waits.
    ``problem``: why the run cannot be recorded, or "".
    ``changeable``: which candidate can be another file under the same page, or "".
    ``follows``: whether pip looks for what distributions require (not with --no-deps).
    ``needs_metadata``: returns whether pip asks the index for the metadata of a wheel.
    """

    def __init__(
        self,
        resolver: Any,
        pages: IndexPages,
        judging: Judging | None = None,
        *,
        follows: bool = False,
        needs_metadata: Callable[[Link], bool] = lambda link: False,
    ) -> None:
        self.resolver = resolver
        self.pages = pages
        self.judging = judging
        self._follows = follows
        self._asked_ahead: set[str] = set()
        self.foresight = Foresight(self.finder, pages, self._judge, needs_metadata)
        self.began = time.monotonic()
        self.candidates: dict[str, str] = {}
        self.origins: list[Link] = []  # of all pages and candidates
        self._read: dict[str, Callable[[], Page | None]] = {}
        self._projects: set[str] = set()  # of the pages that were read
        self._ready: dict[str, Any] = {}
        self._of_host = False
        self._installed = _Installed(self.resolver.factory._installed_dists)
        self.resolver.factory._installed_dists = self._installed
        self._file: _PageFile | None = None
        self._pages: list[Page | None] | None = None  # reduced; None for one that cannot be
        self.problem = ""
        self.changeable = ""
        self._requires: dict[str, set[str]] = {}

    @property
    def finder(self) -> Any:
        """Pip's PackageFinder of this run."""
        return self.resolver.factory._finder

    def end_threads(self) -> None:
        """End the threads that ask for pages and metadata: pip takes no more of their answers."""
        self.foresight.meanwhile.end()
        self.pages.end()

    def close(self) -> None:
        """Delete what the run keeps on disk."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # nothing in the file is needed any more
                self._file.close()
            self._file = None

    def ask_ahead(self, wanted: Iterable[tuple[str, Any]]) -> None:
        """Ask for the pages of projects, and of those that they led to before, before pip does.

        ``wanted``: names of projects, and which versions can be chosen: pip's specifiers or None.
        pip needs no page of a project that is installed, or in its lock file.
        """
        scope, pages = self.finder.search_scope, {}
        left = collections.deque(wanted)
        without = {*dict.keys(self._installed), *getattr(self.finder, "_locked_links", ())}
        while left:
            name, specifier = left.popleft()
            if name in self._asked_ahead:
                self.foresight.narrow(name, specifier)
            if name in self._asked_ahead or name in without:
                continue
            self._asked_ahead.add(name)
            for address in scope.get_index_urls_locations(name):
                url = without_credentials(address)
                known = self.judging and self.judging.known(url, name)
                pages[url] = known.page if known else None
                if known and self._follows:
                    left.extend((further, None) for further in known.leads_to)
                elif self.judging is not None and not known:
                    self.foresight.expect(url, name, address, specifier)
        self.pages.ask_ahead(pages)

    def project_at(self, url: str) -> str:
        """Return the project of the page at ``url`` of an index; "" for other pages.

        A page of --find-links can have the files of several projects.
        """
        name = page_contents.project_of(url)
        pages = self.finder.search_scope.get_index_urls_locations(name)
        return name if url in map(without_credentials, pages) else ""

    def is_read_by(self, collector: object) -> bool:
        """Return whether pip's LinkCollector ``collector`` is that of this run."""
        return collector is self.finder._link_collector

    def page(self, location: Link) -> Any:
        """Return pip's content of the index page at ``location``, or None."""
        url = without_credentials(location.url)
        if url in self._ready:
            return self._ready.pop(url)
        self.origins.append(location)
        content, etag = self.pages.take(location)
        self._keep(url, content, etag)
        return content

    def process(self, location: Link, evaluator: Any, call: Call) -> list[Any]:
        """Return pip's candidates from the page at ``location``, as ``evaluator`` judges it.

        ``call``: of pip's process_project_url.
        """
        judging, url = self.judging, without_credentials(location.url)
        if judging is None or not self.project_at(url):
            found: list[Any] = call.proceed()
            return found
        self.origins.append(location)
        known = judging.known(url, evaluator.project_name)
        early = self.foresight.take(url)
        if early is not None and early.is_for(evaluator):
            return self._accept(url, early.judgement(), early.content, early.etag)
        content, etag = self.pages.take(location, known.page if known else None)
        if known is not None and (content is UNCHANGED or _is_page(content, known.page)):
            served = judging.serve(known, etag, evaluator)
            if served is not None:
                self._serve(url, served, etag)
                return served.candidates
        if content is UNCHANGED:
            content, etag = self.pages.take(location)
        judgement = self._judge(url, content, etag, evaluator, call.proceed)
        return self._accept(url, judgement, content, etag)

    def _accept(self, url: str, judgement: Judgement, content: Any, etag: str) -> list[Any]:
        assert self.judging is not None
        self.judging.accept(judgement)
        if judgement.served is None:
            self._keep(url, content, etag)
        else:
            self._serve(url, judgement.served, etag)
        return judgement.candidates

    def _judge(
        self, url: str, content: Any, etag: str, evaluator: Any, proceed: Callable[[], list[Any]]
    ) -> Judgement:
        assert self.judging is not None
        self._ready[url] = content
        try:
            return self.judging.judge(url, content, etag, evaluator, proceed)
        finally:
            self._ready.pop(url, None)

    def _serve(self, url: str, served: ServedPage, etag: str) -> None:
        self._read[url] = lambda: served.reduced(self.candidates, etag)
        self._projects.add(page_contents.project_of(url))

    def _keep(self, url: str, content: Any, etag: str) -> None:
        read: Callable[[], Any] = _no_page
        if content is not None and not self.problem:
            try:
                self._file = self._file or _PageFile()
                read = self._file.add(content)
            except OSError as error:  # a full disk: pip needs what is left of it
                self.problem = ": ".join(filter(None, [tempfile.tempdir, reason(error)]))
                self.close()
        self._read[url] = lambda: page_contents.reduced(url, read(), etag, self.candidates)
        self._projects.add(page_contents.project_of(url))

    def before(self, link: Link, *, pinned: bool = False) -> None:
        """Record that pip is going to look at the candidate ``link``.

        ``pinned``: whether the user gives its digest.
        """
        self.origins.append(link)
        self.candidates[url_of(link)] = _DISCARDED
        if not pinned and _can_change(link):
            self.changeable = f"{url_of(link)} has neither a hash nor metadata beside it"

    def after(self, link: Link, distribution: Distribution, extras: Iterable[str] = ()) -> None:
        """Record the metadata of the candidate ``link``, and ask for the pages that it leads to.

        ``extras``: those that pip is going to look for at once.
        """
        text = _metadata(distribution)
        self._of_host |= _reads_host(text)
        self.candidates[url_of(link)] = _digest(text)
        if self.judging is not None:
            self._requires[url_of(link)] = set(map(canonicalize_name, _REQUIRES.findall(text)))
        if not self._follows:
            return
        try:
            needed = [
                (str(canonicalize_name(one.name)), one.specifier)
                for one in distribution.iter_dependencies(tuple(extras))
            ]
        except Exception as error:  # pip comes to the same requirements, and reports them
            logger.debug("%s: %s: %s", link, type(error).__name__, error)
            return
        self.ask_ahead(needed)

    def leads_to(self, served: ServedPage) -> set[str]:
        """Return the projects that pip looked for because of a candidate of the page ``served``."""
        required = {name for url in served.made for name in self._requires.get(url, ())}
        return required & self._projects

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
            self._pages = [read() for read in self._read.values()]
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
        if self.changeable:
            logger.debug("The resolution is not recorded: %s", self.changeable)
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
            result_of(requirements),
            requests,
            time.monotonic() - self.began,
        )


def _is_page(content: Any, page: Page) -> bool:
    """Return whether pip's ``content`` of a page is that of ``page``."""
    if content is None or (content.url, content.content_type) != (page.location, page.content_type):
        return False  # with another type, pip reads it in another way
    return page_contents.digest_of(content) == page.digest


def _can_change(link: Link) -> bool:
    """Return whether pip must download the file of ``link`` to see that its metadata has changed.

    A replay would end only then, when pip has shown the download, and would show it again.
    """
    if link.is_vcs or link.scheme not in ("http", "https") or link.hash_name:
        return False
    metadata_link = getattr(link, "metadata_link", None)
    return not link.is_wheel or metadata_link is None or metadata_link() is None


def _no_page() -> None:
    """Return None: the content of a page that the index does not have."""


def result_of(requirements: Iterable[Any]) -> tuple[str, ...]:
    """Return each requirement that pip is to install, as ``name url``.

    For a wheel that was built before, that is the URL of its source: each cache has another path.
    """
    return tuple(sorted(f"{canonicalize_name(one.name)} {source_url(one)}" for one in requirements))


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
