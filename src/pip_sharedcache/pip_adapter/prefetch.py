"""The next wheels of a batch, asked for in threads before pip comes to them.

pip's own downloader runs unchanged, one wheel after another. Where it asks its session for a wheel,
it gets the response that a thread has asked for in the same session: with the same authentication,
proxies, certificates and HTTP cache. If the thread got no usable response, pip asks by itself. So
order, output, errors, retries and hash checks are pip's.

The threads never ask the user for anything, and retry nothing. They ask a host only after pip's own
request there has succeeded, and no more once it has refused a request of a thread.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pip_sharedcache.fs import can_open_pairs, can_start_threads, use_one_arena
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
from pip_sharedcache.pip_adapter.side_by_side import LogAside, keep_records, log_records

logger = logging.getLogger(__name__)

_FILES = 4  # per request: the connection, the file, the copy for the HTTP cache, its final copy
_RESERVE = 2  # threads and programs that pip can still start
_COPIES = 3  # of each wheel at one time: the file, the copy for the HTTP cache, pip's file
_WAIT = 0.5  # seconds for the threads to end; pip --python waits a short time after Ctrl-C


class _Fetch:
    """One wheel: its URL, and afterwards its response or none.

    ``begun``: whether a thread, or pip itself, has asked for it.
    ``answered``: whether ``response`` and ``body`` are final; without a response, pip must ask.
    ``ended``: whether the thread has received all, or has failed.
    ``records``: what was logged in the thread.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = host_of(url)
        self.begun = self.ended = self.answered = False
        self.response: Any = None
        self.body: GrowingFile | None = None
        self.records: list[logging.LogRecord] = []


class Prefetch:
    """The requests for the wheels of one batch. ``end`` must be called.

    As pip's session, which it replaces in pip's downloader, it answers ``get``.

    ``session``: pip's own session.
    ``urls``: the wheels that pip is going to ask for, in pip's order.
    ``most``: the most requests at one time, those of pip included.
    ``directory``: the directory for temporary files.
    """

    def __init__(self, session: Any, urls: Sequence[str], most: int, directory: str) -> None:
        self._how, self._piece = download_options(), piece_size()
        self._session = session
        self._ahead = RequestsAhead.of(session)
        self._quiet = quiet(session)
        self._fetches = {url: _Fetch(url) for url in urls}
        self._order = list(self._fetches.values())
        self._most = most
        self._directory = directory
        self._changed = threading.Condition()
        self._next = self._active = 0
        self._current: _Fetch | None = None
        self._open: set[str] = set()  # hosts
        self._over = False
        self._threads: list[threading.Thread] = []
        self._log = LogAside()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def start(self) -> bool:
        """Start the threads; return False where fewer than two wheels or requests are possible."""
        wanted = min(self._most, len(self._order) - 1)
        if self._most < 2 or wanted < 1 or not hasattr(os, "pread"):
            return False
        if not can_open_pairs(self._most * _FILES // 2) or not can_start_threads(wanted + _RESERVE):
            logger.debug("Wheels are downloaded one after another: limits allow no more")
            return False
        self._log.begin()
        use_one_arena()
        with suppress(RuntimeError, MemoryError):  # a limit of this moment: fewer threads
            for _ in range(wanted):
                thread = threading.Thread(target=self._work, daemon=True)
                thread.start()
                self._threads.append(thread)
        return True

    def end(self) -> None:
        """Let the threads end, and delete what pip did not take. Further calls do nothing."""
        for body in self._stop():
            body.end()
        self._wait()
        self._ahead.abandon()
        self._log.end()

    def _wait(self) -> None:
        """Wait a short time for the end of the threads."""
        deadline = time.monotonic() + _WAIT
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def _stop(self) -> list[GrowingFile]:
        """Let no further request begin; return the bodies of those that did."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
            return [fetch.body for fetch in self._order if fetch.body is not None]

    def give_up(self) -> bool:
        """Free the disk space that this uses; return whether it used any."""
        if self._over or not self._threads:
            return False
        self.end()
        return True

    # -- in pip's thread

    def get(self, url: str, **kw: Any) -> Any:
        """Answer ``get`` of pip's session: with the response of a thread, if there is one."""
        fetch = self._come_to(url, kw)
        response = None if fetch is None else self._take(fetch)
        if response is not None:
            return response
        if self._over:
            self._wait()  # for the disk space that they use
        response = self._session.get(url, **kw)
        if response.status_code < 400:
            with self._changed:
                self._open.add(host_of(url))
                self._changed.notify_all()
        return response

    def _come_to(self, url: str, kw: dict[str, Any]) -> _Fetch | None:
        """Record that pip asks for ``url``; return what a thread has begun for it, or None."""
        fetch = self._fetches.pop(url, None)
        if fetch is None:
            return None
        with self._changed:
            self._over |= kw != self._how  # this pip asks in another manner
            self._next = self._order.index(fetch)
            begun, fetch.begun = fetch.begun and not self._over, True
            self._current = fetch if begun else None
            self._changed.notify_all()
        return self._current

    def _take(self, fetch: _Fetch) -> Any:
        """Return the response for pip; None where pip must ask by itself."""
        with self._changed:
            while not fetch.answered:
                self._changed.wait()
        body = fetch.body
        if body is not None and not body.begin_reading():
            body.close()
            return None
        if fetch.response is not None:
            log_records(fetch.records)
            if body is not None:
                body.before_end = functools.partial(log_records, fetch.records)
                fetch.response.raw = body
        return fetch.response

    # -- in the threads

    def _work(self) -> None:
        while (fetch := self._claim()) is not None:
            try:
                with keep_records(fetch.records):
                    self._ask(fetch)
            finally:
                with self._changed:
                    fetch.answered = fetch.ended = True
                    self._active -= 1
                    self._changed.notify_all()

    def _claim(self) -> _Fetch | None:
        """Wait for the next wheel that may be asked for, and return it; None at the end."""
        with self._changed:
            while not self._over:
                left = [fetch for fetch in self._order[self._next :] if not fetch.begun]
                if not left:
                    return None
                window = self._order[self._next : self._next + self._most]
                found = (one for one in window if not one.begun and self._is_open(one.host))
                if self._may_ask() and (fetch := next(found, None)) is not None:
                    fetch.begun = True
                    self._active += 1
                    return fetch
                self._changed.wait()
        return None

    def _is_open(self, host: str) -> bool:
        return host in self._open and not self._ahead.is_closed(host)

    def _may_ask(self) -> bool:
        """Return whether one more request is possible, beside the one that pip itself can make."""
        waits = self._current is not None and not self._current.ended
        return self._active < (self._most if waits else self._most - 1)

    def _ask(self, fetch: _Fetch) -> None:
        """Get the response for ``fetch``, and its body, unless pip had better ask by itself."""
        end = self._ahead.begin(fetch.host)
        if end is None:
            return
        try:
            if self._get(fetch) and fetch.body is not None and not fetch.body.fill():
                self._free()
        finally:
            end()

    def _get(self, fetch: _Fetch) -> bool:
        """Get the response for ``fetch``; return False if pip had better ask by itself."""
        response = None
        refused = True
        try:
            response = self._quiet.get(fetch.url, **self._how)
            status = response.status_code
            refused = turns_away(status)
            if status >= 400:
                raise Unusable(f"status {status}")
            with self._changed:
                if self._over:
                    raise Unusable("the batch has ended")
                if not getattr(response, "from_cache", False):
                    fetch.body = self._body_of(response)
                fetch.response, fetch.answered = response, True
                self._changed.notify_all()
        except Exception as error:
            logger.debug("pip itself asks for %s: %r", fetch.url, error)
            if response is not None:
                close_response(response.raw)
            if refused:
                self._ahead.refused(fetch.host)
            if isinstance(error, _DiskFull):
                self._free()
            with self._changed:
                self._open.discard(fetch.host)
            return False
        return True

    def _free(self) -> None:
        """Leave the rest of the batch to pip, which needs all disk space."""
        for body in self._stop():
            body.give_up()

    def _body_of(self, response: Any) -> GrowingFile:
        """Return a file for the body of ``response``. Raises _DiskFull if space is scarce."""
        size = length_of(response)
        bodies = [fetch.body for fetch in self._order if fetch.body is not None]
        needed = sum(body.bytes_held for body in bodies) + (size or 0)
        status = os.statvfs(self._directory)
        if status.f_bavail * status.f_frsize < _COPIES * needed:
            raise _DiskFull
        return GrowingFile(response.raw, size, self._piece, self._directory)


class _DiskFull(Exception):
    """Too little disk space for a file that pip itself does not make."""
