"""Index pages: asked for ahead and side by side, and compared with recorded ones.

pip's own functions make each request, with pip's session: its authentication, proxies, certificates
and HTTP cache apply as always. The first request to a host is made in pip's thread, and is pip's
own: it can ask the user for a password, and its answer stands. Threads ask the user nothing and
retry nothing; pip itself asks for the pages that they do not get.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pip_sharedcache.pip_adapter.fresh_pages import FreshPages, lifetime
from pip_sharedcache.pip_adapter.page_contents import digest_of, project_of
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.pip_adapter.requests_ahead import (
    NOT_THERE,
    UNAUTHORISED,
    RequestsAhead,
    host_of,
    is_refusal,
    quiet,
)
from pip_sharedcache.pip_adapter.side_by_side import Call, SideBySide
from pip_sharedcache.session.resolutions import Page
from pip_sharedcache.session.wheels import without_credentials

#: The content of a page that the index confirmed (RFC 9110, 304): it is the recorded one.
UNCHANGED = object()


def _refuse(record: logging.LogRecord) -> bool:
    return False


class Answer(NamedTuple):
    """What an index answered.

    ``content``: pip's content of the page; None without one; UNCHANGED for the recorded page.
    ``digest``: the sha256 of the page; "" without one.
    ``etag``: its ETag; "" without one.
    ``location``: the URL that pip read it from, after redirects; "" without a page.
    ``content_type``: its media type, with the encoding; "" without a page.
    ``final``: whether the same request would get the same answer again.
    """

    content: Any
    digest: str
    etag: str
    location: str
    content_type: str = ""
    final: bool = True

    def is_of(self, page: Page) -> bool:
        """Return whether pip would make the same of ``page``: with another type, it would not."""
        facts = (page.digest, page.location, page.content_type)
        return (self.digest, self.location, self.content_type) == facts


def _unchanged(page: Page) -> Answer:
    """Return the answer of an index that still has the recorded ``page``."""
    return Answer(UNCHANGED, page.digest, page.etag, page.location, page.content_type)


_NOT_ASKED = Answer(None, "", "", "", final=False)


#: ``etag``: the one that the request of this thread asks about; "" or none without such a request.
_asked = threading.local()


def _without_known_bodies(session: Any) -> Any:
    """Let pip's HTTP cache leave a confirmation of a recorded page (304) as it is.

    Otherwise it reads the page, which nobody needs, and writes what it knows of it again.
    ``session``: for threads, with adapters of its own, which this changes.
    """

    def build(original: Callable[..., Any], request: Any, response: Any, **kw: Any) -> Any:
        etag = getattr(_asked, "etag", "")
        if etag and response.status == 304 and request.headers.get("If-None-Match") == etag:
            kw["cacheable_methods"] = ("",)  # none
        return original(request, response, **kw)

    for adapter in getattr(session, "adapters", {}).values():
        original = getattr(adapter, "build_response", None)
        if original and "cacheable_methods" in inspect.signature(original).parameters:
            adapter.build_response = functools.partial(build, original)
    return session


class _NotModified(Exception):
    """The index answered 304: it still has the recorded ``page``."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.url)
        self.page = page


class _Asking:
    """pip's session during one request for a page.

    ``known``: the recorded page, which the index need not send again; None to get it in any case.
    ``etag``: afterwards the ETag of the response.
    ``lifetime``: for how many seconds the response is fresh.
    ``status``: its status code; 0 without a response.
    """

    def __init__(self, session: Any, known: Page | None) -> None:
        self._session = session
        self._known = known
        self.etag = ""
        self.lifetime = 0
        self.status = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get(self, url: str, **kw: Any) -> Any:
        """Get ``url``. Raise _NotModified for status 304, and requests' own errors."""
        known = self._known
        if known is not None and known.etag:
            headers = {**(kw.get("headers") or {}), "If-None-Match": known.etag}
            _asked.etag = known.etag
            try:
                response = self._session.get(url, **{**kw, "headers": headers})
            finally:
                _asked.etag = ""
            if response.status_code == 304 and _confirms(response, known):
                self.etag, self.lifetime = known.etag, _lifetime(response)
                raise _NotModified(known)
            if response.status_code != 304:
                return self._got(response)
        return self._got(self._session.get(url, **kw))

    @property
    def refusal(self) -> int:
        """The status of a refusal, -1 where no response came, or 0."""
        if not self.status:
            return -1
        return self.status if is_refusal(self.status) else 0

    def _got(self, response: Any) -> Any:
        self.status = response.status_code
        self.etag = response.headers.get("ETag", "")
        self.lifetime = _lifetime(response)
        return response


def _confirms(response: Any, page: Page) -> bool:
    """Return whether the ``response`` with status 304 is about the recorded ``page``.

    pip would take over a media type in it, and read the page in another way.
    """
    kind = response.headers.get("Content-Type", page.content_type)
    return bool(response.url == page.location and kind == page.content_type)


def _fact_of(page: Page | Answer) -> str:
    """Return what FreshPages keeps of a page: digest and media type."""
    return f"{page.digest} {page.content_type}"


def _lifetime(response: Any) -> int:
    """Return for how many seconds pip would not ask for the page again; 0 if it would.

    A redirect is asked for again each time, and can lead to another page then.
    """
    return 0 if getattr(response, "history", ()) else lifetime(response.headers)


class IndexPages:
    """The pages that one run gets from its indexes. As a context manager it ends its threads.

    ``collector``: pip's LinkCollector.
    ``fresh``: the pages that need no request.
    ``calls``: the requests that run ahead of pip, by URL.
    ``etags``: of recorded pages that have the same content under another ETag, by URL.
    """

    def __init__(self, collector: Any, fresh: FreshPages) -> None:
        # The function below our wrapper, to which each request would come back.
        self._fetch: Callable[..., Any] = inspect.unwrap(type(collector).fetch_response)
        self._collector = collector
        self._fresh = fresh
        self.etags: dict[str, str] = {}
        self._named = "package_name" in inspect.signature(self._fetch).parameters
        self._answers: dict[str, Answer] = {}
        self.calls: SideBySide[Call, Any] = SideBySide(lambda call: call())
        self._requests = RequestsAhead.of(collector.session)
        self._quiet = _without_known_bodies(quiet(collector.session))
        self._thread = threading.get_ident()
        self._hosts: set[str] = set()  # that have answered pip's own request
        indexes = collector.search_scope.index_urls
        self._indexes: dict[str, str] = {
            without_credentials(url).rstrip("/"): url.rstrip("/") for url in indexes
        }

    def __enter__(self) -> IndexPages:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the threads, and keep what the index said about the age of pages."""
        self.calls.end()
        self._requests.abandon()
        self._fresh.save()

    def ask_ahead(self, wanted: Mapping[str, Page | None]) -> None:
        """Ask for pages side by side, by URL, before pip does; but not twice for one.

        The value is the recorded page, whose content is not needed again if it is the same.
        """
        link = importlib.import_module("pip._internal.models.link").Link
        asked: dict[str, Call] = {}
        for url, known in wanted.items():
            if url in self.calls or self._serves(self._answers.get(url), known):
                continue
            self._answers.pop(url, None)
            if known is not None and self._is_fresh(known):
                self._answers[url] = _unchanged(known)
                continue
            location, host = (
                link(self._with_credentials(url), cache_link_parsing=False),
                host_of(url),
            )
            if self._requests.is_closed(host) or not self._may_ask(location):
                self._answers[url] = _NOT_ASKED
            elif host in self._hosts:
                asked[url] = functools.partial(self._answer, location, known)
            else:
                # One at first: pip asks the user for a password only once if nothing else runs.
                self.calls.call(url, functools.partial(self._answer, location, known))
        self.calls.begin(asked)

    def is_awaited(self, url: str) -> bool:
        """Return whether the page at ``url`` was asked for ahead, and no answer is there yet."""
        return url not in self._answers and url in self.calls and not self.calls.is_done(url)

    def has_arrived(self, url: str) -> bool:
        """Return whether ``take`` has the content of the page at ``url`` without a request."""
        answer = self._answers.get(url) or self.calls.peek(url)
        if answer is None or not answer.final:
            return False
        return answer.content not in (None, UNCHANGED)

    def take(self, location: Link, known: Page | None = None) -> tuple[Any, str]:
        """Return pip's content of the page at ``location``, or None, and its ETag.

        UNCHANGED is in place of the content if the page is the recorded one, ``known``. An answer
        is used once: pip asks for each page once. A page that could not be had ahead is asked for
        again: an index may limit how many requests it answers at once. Raises pip's errors.
        """
        url = without_credentials(location.url)
        answer = self._answers.pop(url, None)
        if answer is None and url in self.calls:
            try:
                answer = self.calls.take(url)
            except Exception:  # pip asks again, and gets and reports its own error
                answer = None
        if not self._serves(answer, known):
            answer = None
        if answer is None and known is not None and self._is_fresh(known):
            return UNCHANGED, known.etag
        answer = answer or self._ask(location, known)
        return answer.content, answer.etag

    def changed(self, pages: Iterable[Page]) -> str:
        """Ask for all ``pages`` side by side; return which one has changed and how, or "".

        The answers are kept for ``take``. Raises pip's errors.
        """
        pages = tuple(pages)
        self.ask_ahead({page.url: page for page in pages})
        changed = ""
        for page in pages:
            answer = self._answers.get(page.url)
            if answer is None:
                answer = self.calls.look(page.url)
            same = answer.is_of(page)
            if same and page.url in self.calls:
                # What pip logs of other answers is logged when it comes to them.
                self._answers[page.url] = self.calls.take(page.url)
            if not same and not changed:
                how = "cannot be fetched" if answer.content is None else "has changed"
                changed = f"{page.url} {how}"
            if answer.etag and answer.etag != page.etag:
                self.etags[page.url] = answer.etag
        return changed

    def _may_ask(self, location: Link) -> bool:
        """Return whether pip would ask: not without encryption, but for hosts that are trusted."""
        session = self._collector.session
        logger = logging.getLogger(type(session).__module__)
        logger.addFilter(_refuse)  # pip warns when it comes to the page itself
        try:
            return bool(session.is_secure_origin(location))
        finally:
            logger.removeFilter(_refuse)

    def _serves(self, answer: Answer | None, known: Page | None) -> bool:
        """Return whether ``answer`` answers a request for which ``known`` is the recorded page."""
        if answer is None or not answer.final:
            return False
        if answer.content is not UNCHANGED:
            return True
        return known is not None and answer.is_of(known)

    def _is_fresh(self, page: Page) -> bool:
        """Return whether pip, with a copy of the page in its HTTP cache, would make no request."""
        if not self._named or not page.digest or not self._fresh.has(page.url, _fact_of(page)):
            return False  # up to pip 26.1, pip asks for each page in each run
        if page.location != page.url:
            return False  # pip asks where the page is now
        session = self._collector.session
        refresh = getattr(session, "refresh_package", ())
        if ":all:" in refresh or project_of(page.url) in refresh:
            return False
        return hasattr(session.get_adapter(page.location), "cache")

    def _answer(self, location: Link, known: Page | None) -> Answer:
        """Return the answer for one page ahead; if a thread's is not final, pip itself asks."""
        host = host_of(location.url)
        if threading.get_ident() == self._thread:
            answer, refused = self._ask_in(self._collector.session, location, known)
            if refused:
                self._requests.close(host)
            else:
                self._hosts.add(host)
            return answer._replace(final=True)
        end = self._requests.begin(host) if host in self._hosts else None
        if end is None:
            return _NOT_ASKED
        try:
            answer, refused = self._ask_in(self._quiet, location, known)
            if refused == UNAUTHORISED:
                self._hosts.discard(host)  # until pip has asked the user
            elif refused:
                self._requests.refused(host)
        finally:
            end()
        return answer

    def _ask(self, location: Link, known: Page | None) -> Answer:
        """Return the answer to pip's own request for one page."""
        return self._ask_in(self._collector.session, location, known)[0]

    def _ask_in(self, session: Any, location: Link, known: Page | None) -> tuple[Answer, int]:
        """Return the answer of the index for one page, and the status of a refusal, or 0.

        ``session``: pip's, or its copy for threads.
        ``known``: the recorded page, where the content is not needed if it is the same.
        """
        collector = copy.copy(self._collector)
        collector.session = asking = _Asking(session, known)
        named = {"package_name": project_of(location.url)} if self._named else {}
        url = without_credentials(location.url)
        try:
            content = self._fetch(collector, location, **named)
        except _NotModified as confirmed:
            page = confirmed.page
            self._fresh.record(url, _fact_of(page), asking.lifetime)
            return _unchanged(page), 0
        if content is None:
            final = asking.status in NOT_THERE
            return Answer(None, "", asking.etag, "", final=final), asking.refusal
        digest, kind = digest_of(content), content.content_type
        answer = Answer(content, digest, asking.etag, str(content.url), kind)
        if asking.lifetime:
            self._fresh.record(url, _fact_of(answer), asking.lifetime)
        return answer, 0

    def _with_credentials(self, url: str) -> str:
        """Return ``url`` with the user info of the index below which it is."""
        for index, live in self._indexes.items():
            if url.startswith(index + "/"):
                return live + url[len(index) :]
        return url
