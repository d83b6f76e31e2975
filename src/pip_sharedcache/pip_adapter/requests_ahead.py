"""Requests that threads make ahead of pip, and how pip's own requests get along with them.

A server can limit how many requests it answers at once or within some time. Requests ahead must not
use up what pip's own requests need. So threads ask a host that refused one of them no more in this
run. pip's own requests there wait for those that are under way, and are repeated if the server
refuses them because of what threads asked for.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

#: The status codes that say that there is nothing at an address.
NOT_THERE = (404, 410)

#: The status code after which pip asks the user for a password.
UNAUTHORISED = 401

#: The status codes of a server that limits requests.
LIMITED = (429, 503)

#: Seconds before each repetition of pip's own request that a server still refuses with these.
_PAUSES = (1, 2, 4, 8)

_NAME = "_pip_sharedcache_requests_ahead"  # of an attribute of pip's session


def host_of(url: str) -> str:
    """Return the host and port in ``url``, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_refusal(status: int) -> bool:
    """Return whether a server with this ``status`` refuses to answer, which it can do later."""
    return status >= 400 and status not in NOT_THERE


def turns_away(status: int) -> bool:
    """Return whether a server with this ``status`` refuses, and not for want of a password."""
    return is_refusal(status) and status != UNAUTHORISED


def download_options() -> dict[str, Any]:
    """Return the options with which pip's downloader gets a file from its session."""
    utils = importlib.import_module("pip._internal.network.utils")
    return {"headers": utils.HEADERS, "stream": True}


def piece_size() -> int:
    """Return how many bytes pip's downloader reads at once.

    Where a connection breaks, pip has received whole pieces of this size.
    """
    utils = importlib.import_module("pip._internal.network.utils")
    size: int = inspect.signature(utils.response_chunks).parameters["chunk_size"].default
    return size


def length_of(response: Any) -> int | None:
    """Return the length of the body in bytes, as the server gives it; None if it does not."""
    text = str(response.headers.get("content-length", ""))
    return int(text) if text.isdecimal() else None


def quiet(session: Any, **changes: Any) -> Any:
    """Return pip's ``session`` for threads: it asks the user nothing, and retries nothing.

    Connections, HTTP cache and known passwords are those of ``session``. ``changes``: as for
    without_retries.
    """
    twin = without_retries(session, **changes)
    if hasattr(getattr(twin, "auth", None), "handle_401"):
        twin.auth = copy.copy(twin.auth)
        twin.auth.handle_401 = lambda response, **_: response
    return twin


def without_retries(session: Any, **changes: Any) -> Any:
    """Return pip's ``session`` without the retries of urllib3, which sleep out a Retry-After.

    ``changes``: other attributes of the adapters for http and https.
    """
    twin = _twin(session)
    twin.__dict__.pop("request", None)  # of RequestsAhead, it would ask in pip's own session
    adapters = getattr(session, "adapters", None)
    if adapters is not None:
        twin.adapters = type(adapters)()
        for prefix, adapter in adapters.items():
            retries: Any = getattr(adapter, "max_retries", None)
            if hasattr(retries, "new"):
                none = retries.new(total=0, status_forcelist=())
                twin.adapters[prefix] = _twin(adapter, max_retries=none, **changes)
            else:
                twin.adapters[prefix] = adapter
    return twin


def _twin(original: Any, **changes: Any) -> Any:
    """Return a copy with the same attributes: copy.copy keeps only those that requests knows."""
    twin = object.__new__(type(original))
    twin.__dict__.update(original.__dict__, **changes)
    return twin


class Unusable(Exception):
    """A response of a thread that pip does not get."""


class _Outcome(NamedTuple):
    """The end of one request of pip: a response or an exception."""

    response: Any = None
    error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the server refused the request, for another reason than a missing password."""
        status = 0 if self.response is None else self.response.status_code
        return self.error is not None or turns_away(status)

    @property
    def limited(self) -> bool:
        """Whether the server refused the request as one too many."""
        if self.response is not None:
            return self.response.status_code in LIMITED
        # What urllib3 says once it has made all retries.
        return any(f"too many {status} error" in str(self.error) for status in LIMITED)


class RequestsAhead:
    """The requests ahead in one session of pip, by host, and pip's own requests beside them.

    ``session``: pip's. From now on, its ``request`` is the one of this.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._request: Callable[..., Any] | None = getattr(session, "request", None)
        if self._request is not None:
            session.request = self.request
        self._changed = threading.Condition()
        self._closed: set[str] = set()
        self._owing: set[str] = set()  # after a refusal: pip's own requests are repeated
        self._under_way: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()

    @classmethod
    def of(cls, session: Any) -> RequestsAhead:
        """Return the one of pip's ``session``."""
        found = vars(session).get(_NAME)
        if found is None:
            found = vars(session)[_NAME] = cls(session)
        return found  # type: ignore[no-any-return]

    def is_closed(self, host: str) -> bool:
        """Return whether only pip itself may ask ``host``."""
        return host in self._closed

    def begin(self, host: str) -> Callable[[], None] | None:
        """Return the function to call at the end of a request ahead; None if none may be made."""
        with self._changed:
            if host in self._closed:
                return None
            self._begun[host] += 1
            under_way = self._under_way
            under_way[host] += 1

        def end() -> None:
            with self._changed:
                under_way[host] -= 1
                self._changed.notify_all()

        return end

    def abandon(self) -> None:
        """Let pip wait no more for what is under way: nobody needs it."""
        with self._changed:
            self._under_way = Counter()

    def close(self, host: str) -> None:
        """Let only pip itself ask ``host`` from now on."""
        with self._changed:
            self._closed.add(host)

    def refused(self, host: str) -> None:
        """Record that ``host`` refused a request ahead."""
        with self._changed:
            if host not in self._closed:
                logger.debug("Only pip itself asks %s: it refused a request ahead", host)
            self._closed.add(host)
            self._owing.add(host)

    # -- in pip's thread

    def request(self, method: str, url: str, *args: Any, **kw: Any) -> Any:
        """Make one of pip's own requests. Returns and raises what ``request`` of its session does.

        If threads can be the reason for a refusal, it is made again. pip has retried by then.
        """
        host = host_of(url)
        busy, begun = self._wait_for(host), self._begun[host]
        first = outcome = _outcome_of(self._request, method, url, *args, **kw)

        def again() -> _Outcome:
            _drop(outcome)
            request = without_retries(self._session).request
            return _outcome_of(request, method, url, *args, **kw)

        if outcome.failed and (busy or self._begun[host] != begun):
            self.refused(host)
            self._wait_for(host)
            outcome = again()
        if outcome.limited and host in self._owing:
            for pause in _PAUSES:
                time.sleep(pause)
                outcome = again()
                if not outcome.limited:
                    break
            else:
                self._owing.discard(host)  # what it refuses now, it refuses to pip alone
        if outcome.failed and first.error is not None:
            _drop(outcome)
            raise first.error
        if outcome.error is not None:
            raise outcome.error
        return outcome.response

    def _wait_for(self, host: str) -> bool:
        """Wait for the requests ahead to ``host`` if it is closed; return whether some go on."""
        with self._changed:
            while host in self._closed and self._under_way[host]:
                self._changed.wait()
            return bool(self._under_way[host])


def _outcome_of(request: Any, *args: Any, **kw: Any) -> _Outcome:
    try:
        return _Outcome(request(*args, **kw))
    except Exception as error:
        return _Outcome(error=error)


def _drop(outcome: _Outcome) -> None:
    """Give back the connection of a response that pip does not get."""
    if outcome.response is not None:
        with suppress(Exception):
            outcome.response.close()
