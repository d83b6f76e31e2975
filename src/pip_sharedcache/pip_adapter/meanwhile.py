"""pip's requests for the metadata of wheels, made by threads while pip's own thread works."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from pip_sharedcache.pip_adapter.growing_files import GrowingFile, close_response
from pip_sharedcache.pip_adapter.requests_ahead import (
    RequestsAhead,
    Unusable,
    download_options,
    host_of,
    length_of,
    piece_size,
    quiet,
    turns_away,
)
from pip_sharedcache.pip_adapter.side_by_side import Call, SideBySide

logger = logging.getLogger(__name__)


class Meanwhile:
    """The requests of pip's downloader, and the work between them and their answers.

    Threads ask a host only after pip's own request there has succeeded.

    ``requests``: the calls that run ahead in this run. Their owner ends the threads.
    ``work``: does a piece of work that pip is going to need; returns False if there is none.
    """

    def __init__(self, requests: SideBySide[Call, Any], work: Callable[[], bool]) -> None:
        self._how, self._piece = download_options(), piece_size()
        self._requests = requests
        self._work = work
        self._hosts: set[str] = set()  # those that threads may ask
        self._asked: set[str] = set()
        self._ahead: RequestsAhead
        self._session: Any = None  # for threads

    def end(self) -> None:
        """Delete the answers that pip did not take."""
        for url in self._asked:
            response = self._requests.peek(url)
            if response is not None:
                response.raw.close()

    @contextlib.contextmanager
    def requests_of(self, preparer: Any) -> Iterator[None]:
        """Let threads make the requests of pip's ``preparer``, and work until it has an answer."""
        downloader = getattr(preparer, "_download", None)
        holder: Any = getattr(downloader, "_downloader", downloader)  # pip 25.1
        session = getattr(holder, "_session", None)
        if session is None:
            yield
            return
        self._ahead, self._session = RequestsAhead.of(session), quiet(session)
        holder._session = _Session(session, self._get)
        try:
            yield
        finally:
            holder._session = session

    def ask_ahead(self, url: str) -> None:
        """Ask for ``url`` in a thread: pip is going to ask for it."""
        if host_of(url) in self._hosts and url not in self._asked:
            self._asked.add(url)
            self._requests.begin({url: functools.partial(self._ask, url)})

    def _get(self, session: Any, url: str, **kw: Any) -> Any:
        response = self._answer(url) if kw == self._how else None
        if response is None:
            response = session.get(url, **kw)
            if response.status_code < 400:
                self._hosts.add(host_of(url))
        return response

    def _answer(self, url: str) -> Any:
        """Return the response that a thread got; None where pip must ask by itself."""
        self.ask_ahead(url)
        if url not in self._requests:
            return None
        while not self._requests.is_done(url) and self._work():
            pass
        try:
            return self._requests.take(url)
        except Exception as error:  # pip asks again, and gets and reports its own error
            logger.debug("pip itself asks for %s: %r", url, error)
            self._hosts.discard(host_of(url))
            return None

    def _ask(self, url: str) -> Any:
        """Return the response for ``url``, with its whole body. Raises an exception without one.

        Each open response would occupy a connection, and pip's session keeps only ten.
        """
        end = self._ahead.begin(host_of(url))
        if end is None:
            raise Unusable("only pip itself asks there")
        status = 0
        try:
            response = self._session.get(url, **self._how)
            status = response.status_code
            if status >= 400:
                close_response(response.raw)
                raise Unusable(f"status {status}")
            if not getattr(response, "from_cache", False):
                response.raw = self._body_of(response)
        except Exception:
            if not status or turns_away(status):
                self._ahead.refused(host_of(url))
            raise
        finally:
            end()
        return response

    def _body_of(self, response: Any) -> GrowingFile:
        """Return a file with the whole body of ``response``. Raises Unusable and OSError."""
        size = length_of(response)
        body = GrowingFile(response.raw, size, self._piece, tempfile.gettempdir())
        body.fill()
        if not body.begin_reading():
            body.close()
            raise Unusable("the body is not complete")
        return body


class _Session:
    """pip's session, for its downloader."""

    def __init__(self, session: Any, get: Callable[..., Any]) -> None:
        self._session = session
        self._get = get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get(self, url: str, **kw: Any) -> Any:
        """Get ``url``. Raises the errors of pip's session."""
        return self._get(self._session, url, **kw)
