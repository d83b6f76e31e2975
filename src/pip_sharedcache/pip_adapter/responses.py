"""The responses that pip gets in one run: how many there are, and what in them is public.

What came with credentials is private. pip's HTTP cache answers without a request, and does not know
whether its content once needed a password: such content is public only if its server gives it
without credentials in this run, too.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from pip_sharedcache.model import Origin
from pip_sharedcache.pip_adapter.protocols import HttpResponse, Link
from pip_sharedcache.pip_adapter.requests_ahead import (
    LIMITED,
    RequestsAhead,
    host_of,
    without_retries,
)
from pip_sharedcache.pip_adapter.resolver_seams import CACHED_REQUEST
from pip_sharedcache.pip_adapter.side_by_side import SideBySide
from pip_sharedcache.session.restrictions import Sharing
from pip_sharedcache.session.wheels import has_credentials, without_credentials

logger = logging.getLogger(__name__)

_TIMEOUT = 5.0  # seconds; who has everything in pip's HTTP cache may be without a network
_NO_HEAD = (405, 501)  # the status codes of servers that do not answer HEAD requests


class Responses:
    """What pip's sessions were answered.

    ``requests``: the number of responses that came from servers, not from pip's HTTP cache.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()
        self._session: Any = None
        # Of adapters, whose look-ups are noted; those for threads have the same ones.
        self._controllers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._from_cache_alone: weakref.WeakSet[Any] = weakref.WeakSet()  # requests
        self._redirects: dict[str, str] = {}
        self._authorised: set[str] = set()
        self._public: set[str] = set()
        self._refused: set[str] = set()  # without credentials
        self._cached: set[str] = set()
        self._hosts_with_credentials: set[str] = set()
        self._public_hosts: set[str] = set()
        self._unreachable: set[str] = set()  # hosts
        self._reasons: dict[str, str] = {}  # "" for a public URL, by each that was asked for

    def watch(self, pip_session: Any) -> None:
        """Note all responses of ``pip_session`` from now on."""
        self._session = pip_session
        hooks = pip_session.hooks.setdefault("response", [])
        if self._note not in hooks:
            hooks.append(self._note)
        for adapter in getattr(pip_session, "adapters", {}).values():
            controller = getattr(adapter, "controller", None)
            if controller is None or controller in self._controllers or CACHED_REQUEST.problem():
                continue
            look_up = functools.partial(self._look_up, controller.cached_request)
            controller.cached_request = look_up
            self._controllers.add(controller)

    def _look_up(self, original: Callable[[Any], Any], request: Any) -> Any:
        """Return the response in pip's HTTP cache that needs no request, if there is one."""
        found = original(request)
        if found:
            with self._lock:
                self._from_cache_alone.add(request)
        return found

    def _note(self, response: HttpResponse, **_: Any) -> None:
        cached, request = getattr(response, "from_cache", False), response.request
        with self._lock:
            self.requests += not cached
            if request is None:  # for a file: URL
                return
            url = _key(request.url)
            # A confirmed response (304) is in pip's HTTP cache, too, but was asked for.
            adapter = getattr(response, "connection", None)
            is_noted = getattr(adapter, "controller", None) in self._controllers
            if "Authorization" in request.headers:
                self._authorised.add(url)
                self._hosts_with_credentials.add(_host(url))
            elif cached and (not is_noted or request in self._from_cache_alone):
                self._cached.add(url)
            elif getattr(response, "status_code", 200) < 400:
                self._public.add(url)
                self._public_hosts.add(_host(url))
            else:
                self._refused.add(url)
            if getattr(response, "is_redirect", False):
                target = getattr(response, "headers", {}).get("location", "")
                self._redirects[url] = _key(urljoin(request.url, target))

    def private(self, session: Any, link: Link, sharing: Sharing | None = None) -> str:
        """Return why a downloaded file must not be shared; "" where all users can download it.

        ``session``: pip's; None for the one that is watched.
        ``sharing``: what the run may share. If it can show the file to other users, the file must
        be seen to be public (``not_public``). Without ``sharing``, only what is known counts.
        """
        for url in (link.url, _page_of(link)):
            if has_credentials(url) or any(map(self._had_credentials, self._steps(url))):
                return "pip downloaded it with credentials"
        if getattr(session or self._session, "cert", None):
            return "pip downloaded it with a client certificate"
        if sharing is not None and sharing.shows_new() and not sharing.is_shared_anyway(link.url):
            return self.not_public([link])
        return ""

    def origin(self, link: Link, sharing: Sharing | None = None, *, asks: bool = True) -> Origin:
        """Return the origin of the downloaded file of ``link``; ``sharing`` is as for ``private``.

        ``asks``: whether requests are made to see that the file is public, if the run pushes.
        """
        private, url = self.private(None, link, sharing), without_credentials(link.url)
        if sharing is not None and sharing.is_shared_anyway(link.url):
            return Origin(url, private, is_public=True)
        asks = asks and sharing is not None and sharing.pushes
        public = not private and self.are_public([link], asks=asks)
        return Origin(url, private, is_public=public)

    def are_public(self, links: Iterable[Link], *, asks: bool) -> bool:
        """Return whether everybody can get the files of ``links`` from web servers.

        ``asks``: as for ``origin``; without requests, files that this run has not seen to be public
        count as others.
        """
        links = tuple(links)
        if not all(_is_remote(link.url) for link in links):
            return False
        if asks:
            return not self.not_public(links)
        with self._lock:
            unseen = {url for link in links for url in self._unseen(link, ())}
        return not any(self._reasons.get(url, "unknown") for url in unseen)

    def not_public(self, links: Iterable[Link]) -> str:
        """Return why ``links`` are not public, as far as this run has seen; "" if all are.

        A page that pip's HTTP cache answered for is asked for again, without credentials; so is one
        file of each host that has answered nothing in this run, and a file that no page lists. All
        this is done side by side, and once for each URL.
        """
        with self._lock:
            wanted: dict[str, None] = {}
            for link in links:
                wanted.update(dict.fromkeys(self._unseen(link, wanted)))
        left = [url for url in wanted if url not in self._reasons]
        if left:
            self._ask(left)
        with self._lock:
            self._public_hosts |= {_host(url) for url in wanted if not self._reasons[url]}
        return next(filter(None, (self._reasons[url] for url in wanted)), "")

    def _unseen(self, link: Link, wanted: Collection[str]) -> Iterator[str]:
        """Yield the URLs that must be asked for, to know whether ``link`` is public.

        ``wanted``: those that are asked for anyway.
        """
        page, hosts = _page_of(link), {*self._public_hosts, *map(_host, wanted)}
        for url in filter(_is_remote, self._steps(page if _is_remote(page) else link.url)):
            if url not in self._public and (url not in self._refused or url in self._cached):
                hosts.add(_host(url))
                yield url
        if _is_remote(page):
            for url in filter(_is_remote, self._steps(link.url)):
                if url not in self._public and _host(url) not in hosts:
                    yield url

    def _steps(self, url: str) -> Sequence[str]:
        """Return ``url``, and those to which pip was redirected from there."""
        steps = [_key(url)]
        while (url := self._redirects.get(steps[-1], "")) and url not in steps:
            steps.append(url)
        return steps

    def _had_credentials(self, url: str) -> bool:
        if url in self._authorised:
            return True
        # pip would use the same credentials for this one, which it had without a request.
        return url not in self._public and _host(url) in self._hosts_with_credentials

    # -- requests without credentials

    def _ask(self, urls: Sequence[str]) -> None:
        try:
            asking = _without_credentials_and_cache(self._session)
        except Exception as error:  # a pip with other insides
            logger.debug("%s: %s", type(error).__name__, error)
            why = "pip has it in its HTTP cache, and nothing says whether it is public"
            self._reasons.update(dict.fromkeys(urls, why))
            return
        if len(urls) == 1:
            self._reasons[urls[0]] = self._reason(asking, urls[0])
            return
        with SideBySide(functools.partial(self._reason, asking)) as asked:
            asked.begin({url: url for url in urls})
            for url in urls:
                self._reasons[url] = asked.take(url)

    def _reason(self, pip_session: Any, url: str) -> str:
        """Return why the content of ``url`` is not public, by one request; "" if it is."""
        host = _host(url)
        why = "it cannot be reached"
        if host not in self._unreachable:
            try:
                status, target = _status(pip_session, url)
            except Exception as error:  # pip has its file, and the run goes on
                logger.debug("%s: %s: %s", url, type(error).__name__, error)
                self._unreachable.add(host)
            else:
                # Another target can be a page to log in at.
                known = self._redirects.get(url)
                if 200 <= status < 300 or status == 304 or (target and target == known):
                    return ""
                why = f"status {status}"
                if status in LIMITED:
                    RequestsAhead.of(self._session).refused(host_of(url))
        return (
            f"pip has it in its HTTP cache, and {host} does not give it without credentials ({why})"
        )


def _status(pip_session: Any, url: str) -> tuple[int, str]:
    """Return the status of ``url``, and where it redirects to, or "". Raises pip's errors."""
    how = {"auth": _no_credentials, "allow_redirects": False, "timeout": _TIMEOUT, "stream": True}
    response = pip_session.request("HEAD", url, **how)
    if response.status_code in _NO_HEAD:
        response.close()
        response = pip_session.request("GET", url, **how)
    response.close()
    location = response.headers.get("location") if response.is_redirect else None
    return response.status_code, _key(urljoin(url, location)) if location else ""


def _no_credentials(request: Any) -> Any:
    """Return ``request`` as it is: without this, requests looks for credentials in .netrc."""
    return request


def _without_credentials_and_cache(pip_session: Any) -> Any:
    """Return pip's ``pip_session`` as somebody has it who has no account, and asks once."""
    # Without a method, pip's HTTP cache keeps nothing.
    other = without_retries(pip_session, cacheable_methods=("",))
    other.auth, other.cookies = None, type(pip_session.cookies)()
    other.hooks = {"response": []}
    return other


def _page_of(link: Link) -> str:
    """Return the URL of the page that lists ``link``; "" without one."""
    page = link.comes_from
    return str(page if isinstance(page, str) else getattr(page, "url", "") or "")


def _is_remote(url: str) -> bool:
    return url.startswith(("http:", "https:"))


def _key(url: str) -> str:
    """Return ``url`` without credentials, query and fragment, and its host in lower case."""
    plain = without_credentials(url)
    host = urlsplit(plain).netloc
    return plain.replace(host, host.lower(), 1) if host else plain


def _host(url: str) -> str:
    return urlsplit(url).netloc
