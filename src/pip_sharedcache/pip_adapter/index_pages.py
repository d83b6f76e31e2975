"""Index pages: asked for side by side, compared with recorded ones, and reduced to some links.

pip's own functions make each request, with pip's session: its authentication, proxies, certificates
and HTTP cache apply as always.
"""

from __future__ import annotations

import copy
import hashlib
import html
import importlib
import inspect
import json
import posixpath
import queue
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from pip_sharedcache.pip_adapter.fresh_pages import FreshPages, lifetime
from pip_sharedcache.session.resolutions import Page
from pip_sharedcache.session.wheels import has_credentials, without_credentials

#: pip's sessions keep ten connections to a host.
_AT_ONCE = 8

_JSON = "application/vnd.pypi.simple.v1+json"

#: The answer to a conditional request (RFC 9110, 304): the page is the recorded one.
UNCHANGED = object()


class _NotModified(Exception):
    """The index answered 304: the page is the recorded one, with the sha256 ``digest``."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class _Asking:
    """pip's session during one request for a page.

    ``known``: the recorded page, which the index need not send again; None to get it in any case.
    ``etag``: afterwards the ETag of the response.
    ``lifetime``: for how many seconds the response is fresh.
    """

    def __init__(self, session: Any, known: Page | None) -> None:
        self._session = session
        self._known = known
        self.etag = ""
        self.lifetime = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get(self, url: str, **kw: Any) -> Any:
        """Get ``url``. Raise _NotModified for status 304, and requests' own errors."""
        known = self._known
        if known is not None and known.etag:
            headers = {**(kw.get("headers") or {}), "If-None-Match": known.etag}
            response = self._session.get(url, **{**kw, "headers": headers})
            if response.status_code == 304 and response.url == known.location:
                self.etag, self.lifetime = known.etag, lifetime(response.headers)
                raise _NotModified(known.digest)
            if response.status_code != 304:
                return self._got(response)
        return self._got(self._session.get(url, **kw))

    def _got(self, response: Any) -> Any:
        self.etag = response.headers.get("ETag", "")
        self.lifetime = lifetime(response.headers)
        return response


class IndexPages:
    """The pages that one run has got from its indexes.

    ``collector``: pip's LinkCollector.
    ``fresh``: the pages that need no request.
    ``etags``: of recorded pages that have the same content under another ETag, by URL.
    """

    def __init__(self, collector: Any, fresh: FreshPages) -> None:
        # The function below our wrapper, to which each request would come back.
        self._fetch: Callable[..., Any] = inspect.unwrap(type(collector).fetch_response)
        self._collector = collector
        self._fresh = fresh
        self.etags: dict[str, str] = {}
        self._named = "package_name" in inspect.signature(self._fetch).parameters
        self._answers: dict[str, tuple[Any, str]] = {}
        indexes = collector.search_scope.index_urls
        self._indexes: dict[str, str] = {
            without_credentials(url).rstrip("/"): url.rstrip("/") for url in indexes
        }

    def take(self, location: Any) -> tuple[Any, str]:
        """Return pip's content of the page at ``location``, or None, and its ETag.

        The answer of ``changed`` is used once. pip asks for each page once.
        """
        known = self._answers.pop(without_credentials(location.url), None)
        return self._ask(location, None) if known is None else known

    def changed(self, pages: Iterable[Page]) -> str:
        """Ask for all ``pages`` side by side; return the URL of one that has changed, or "".

        If one has changed, the contents of all are kept for ``take``. A page that could not be had
        is asked for again there: an index may limit how many requests it answers at once.
        """
        pages = tuple(pages)
        answers = self._each(pages, conditional=True)
        changed = next((one.url for one in pages if not _is_same(one, answers[one.url][0])), "")
        if changed:
            # pip's resolver is going to read them all.
            missing = [page for page in pages if answers[page.url][0] is UNCHANGED]
            answers |= self._each(missing, conditional=False)
            self._answers = {url: one for url, one in answers.items() if one[0] is not None}
        self.etags = {
            page.url: etag for page in pages if (etag := answers[page.url][1]) and etag != page.etag
        }
        self._fresh.save()
        return changed

    def _each(self, pages: Iterable[Page], *, conditional: bool) -> dict[str, tuple[Any, str]]:
        link = importlib.import_module("pip._internal.models.link").Link

        def ask(page: Page) -> tuple[Any, str]:
            if conditional and self._is_fresh(page):
                return UNCHANGED, page.etag
            location = link(self._with_credentials(page.url))
            return self._ask(location, page if conditional else None)

        pages = list(pages)
        # One at first: pip asks the user for a password only once if nothing else runs.
        answers = {page.url: ask(page) for page in pages[:1]}
        answers.update(_side_by_side(ask, pages[1:]))
        return answers

    def _is_fresh(self, page: Page) -> bool:
        """Return whether pip, with a copy of the page in its HTTP cache, would make no request."""
        if not self._named or not page.digest or not self._fresh.has(page.url, page.digest):
            return False  # up to pip 26.1, pip asks for each page in each run
        session = self._collector.session
        refresh = getattr(session, "refresh_package", ())
        if ":all:" in refresh or project_of(page.url) in refresh:
            return False
        return hasattr(session.get_adapter(page.location), "cache")

    def _ask(self, location: Any, known: Page | None) -> tuple[Any, str]:
        """Return pip's content of a page, or UNCHANGED, and its ETag.

        ``known``: the recorded page, where the content is not needed if it is the same.
        """
        collector = copy.copy(self._collector)
        collector.session = asking = _Asking(collector.session, known)
        named = {"package_name": project_of(location.url)} if self._named else {}
        url = without_credentials(location.url)
        try:
            content = self._fetch(collector, location, **named)
        except _NotModified as confirmed:
            self._fresh.record(url, confirmed.digest, asking.lifetime)
            return UNCHANGED, asking.etag
        if content is not None and asking.lifetime:
            self._fresh.record(url, digest_of(content), asking.lifetime)
        return content, asking.etag

    def _with_credentials(self, url: str) -> str:
        """Return ``url`` with the user info of the index below which it is."""
        for index, live in self._indexes.items():
            if url.startswith(index + "/"):
                return live + url[len(index) :]
        return url


def _side_by_side(
    ask: Callable[[Page], tuple[Any, str]], pages: Collection[Page]
) -> dict[str, tuple[Any, str]]:
    """Return the answers of ``ask``, by the URL of the page; raise what one of them raised.

    The threads do not outlive an interrupted process: concurrent.futures would wait for them.
    """
    left: queue.SimpleQueue[Page] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, tuple[Any, str] | None, Exception | None]]
    done = queue.SimpleQueue()
    for page in pages:
        left.put(page)

    def work() -> None:
        try:
            while True:
                page = left.get_nowait()
                try:
                    done.put((page.url, ask(page), None))
                except Exception as error:
                    done.put((page.url, None, error))
        except queue.Empty:
            return

    threads: list[threading.Thread] = []
    try:
        for _ in range(min(_AT_ONCE, len(pages))):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError):  # a limit of this user's processes, or of memory
        work()
    answers = {}
    for _ in pages:
        url, answer, error = done.get()
        if answer is None:
            raise error or AssertionError(url)
        answers[url] = answer
    for thread in threads:
        thread.join()
    return answers


def project_of(url: str) -> str:
    """Return the normalized project name at the end of the URL of an index page."""
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    return str(canonicalize_name(name))


def _is_same(page: Page, content: Any) -> bool:
    if content is UNCHANGED:
        return True
    if content is None or not page.digest:
        return content is None and not page.digest
    return page.digest == digest_of(content) and page.location == str(content.url)


def digest_of(content: Any) -> str:
    """Return the sha256 of the bytes of a page."""
    return hashlib.sha256(content.content).hexdigest()


def reduced(url: str, content: Any, etag: str, links: Collection[str]) -> Page | None:
    """Return a page with only the ``links`` (URLs) of ``content``; None if that is impossible.

    Entries stay as the index wrote them: pip parses and judges them again. A page is not recorded
    if its address or an entry has credentials, or a query, which can be a secret.
    """
    if content is None:
        return Page(url, "", "", "", "", "", "")
    names = {_file_of(link) for link in links}
    is_json = content.content_type.lower().startswith(_JSON)
    encoding = content.encoding or ""
    try:
        _check_address(content.url)
        if is_json:
            data = json.loads(content.content)
            files = [
                one for one in data.get("files", []) if _file_of(one.get("url") or "") in names
            ]
            for one in files:
                _check_address(one["url"])
            text = json.dumps({**data, "files": files, "versions": []})
        else:
            text, encoding = _reduced_html(content, names), "utf-8"
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None  # if pip cannot read the page either, it reports that
    return Page(url, digest_of(content), etag, content.url, content.content_type, encoding, text)


def _reduced_html(content: Any, names: Collection[str]) -> str:
    collector = importlib.import_module("pip._internal.index.collector")
    parser = collector.HTMLLinkParser(content.url)
    parser.feed(content.content.decode(content.encoding or "utf-8"))
    lines = [f'<base href="{html.escape(parser.base_url)}">'] if parser.base_url else []
    for anchor in parser.anchors:
        target = anchor.get("href") or ""
        if _file_of(target) in names:
            _check_address(target)
            parts = (
                name if value is None else f'{name}="{html.escape(value)}"'
                for name, value in anchor.items()
            )
            lines.append(f"<a {' '.join(parts)}></a>")
    return "\n".join(lines)


def _check_address(url: str) -> None:
    if has_credentials(url) or urlsplit(url).query:
        raise ValueError(f"{without_credentials(url)} has credentials or a query")


def _file_of(url: str) -> str:
    return unquote(posixpath.basename(urlsplit(url).path))


def as_content(page: Page) -> Any:
    """Return the page as pip's IndexContent; None where the index has no such page."""
    if not page.digest:
        return None
    links = page.links.encode("utf-8")
    return content_of(links, page.content_type, page.encoding or None, page.location)


def facts_of(content: Any) -> tuple[str, str | None, str]:
    """Return the media type, the encoding and the URL of pip's ``content`` of a page."""
    return content.content_type, content.encoding, content.url


def content_of(data: bytes, content_type: str, encoding: str | None, url: str) -> Any:
    """Return pip's IndexContent with these values, from which pip parses links each time."""
    return importlib.import_module("pip._internal.index.collector").IndexContent(
        data, content_type, encoding=encoding, url=url, cache_link_parsing=False
    )
