"""The access to a remote store on a web server, through pip's own session.

So proxies, certificates and passwords (.netrc, keyring) are pip's. Threads make the requests; they
ask the user nothing, retry nothing, and keep nothing in pip's HTTP cache.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from pip_sharedcache.fs import can_start_threads
from pip_sharedcache.pip_adapter.requests_ahead import NOT_THERE, download_options, quiet
from pip_sharedcache.remote.access import (
    MISSING,
    Answer,
    Fetch,
    List,
    Patience,
    RemoteFailed,
    Request,
    local_problem,
    refusal,
)

logger = logging.getLogger(__name__)

_AT_ONCE = 8
_PIECE = 1 << 18  # bytes
_RESERVE = 2  # threads that pip can still start
_PAUSE = 0.5  # seconds for the threads to end after a failure
_PAUSE_INTERRUPTED = 0.1  # after Ctrl-C: a program that started this one soon kills it


class WebAccess:
    """The access to the store at ``url`` by pip's ``session``.

    ``timeout``: seconds without an answer or a byte. ``ahead``: seconds by which the clock of the
    server is ahead of this machine's; None before an answer says it.
    """

    ahead: float | None = None

    def __init__(self, session: Any, url: str, timeout: float) -> None:
        # Without a method, pip's HTTP cache keeps nothing.
        self._session = quiet(session, cacheable_methods=("",))
        self._url, self._timeout = url, timeout
        self._over = threading.Event()

    def ask(
        self,
        requests: Sequence[Request],
        answered: Callable[[Request, Answer], None],
        within: float | None = None,
    ) -> None:
        """As Access has it, for objects to fetch only; fails for other requests."""
        if any(isinstance(one, List) for one in requests):
            raise RemoteFailed("a web server lists nothing")
        if not all(isinstance(one, Fetch) for one in requests):
            raise RemoteFailed("a web server is only read")
        waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
        replies: queue.SimpleQueue[tuple[Request, Answer | RemoteFailed] | int] = (
            queue.SimpleQueue()
        )
        for one in requests:
            waiting.put(one)
        count = min(_AT_ONCE, len(requests))
        if not can_start_threads(count + _RESERVE):
            raise RemoteFailed("this process may start no more threads")
        threads = [
            threading.Thread(target=self._work, args=(waiting, replies), daemon=True)
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        left = {id(one): one for one in requests}
        try:
            self._wait(left, replies, answered)
        except BaseException as error:
            self._over.set()
            pause = _PAUSE if isinstance(error, Exception) else _PAUSE_INTERRUPTED
            end = time.monotonic() + pause
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            raise
        finally:
            for one in left.values():
                _delete(one)

    def _wait(
        self,
        left: dict[int, Request],
        replies: queue.SimpleQueue[tuple[Request, Answer | RemoteFailed] | int],
        answered: Callable[[Request, Answer], None],
    ) -> None:
        patience = Patience(self._timeout)
        while left:
            now = time.monotonic()
            if now >= patience.end:
                patience.check()
            with suppress(queue.Empty):
                reply = replies.get(timeout=max(0.0, patience.end - now))
                if isinstance(reply, int):
                    patience.moved(reply)
                    continue
                request, answer = reply
                if isinstance(answer, RemoteFailed):
                    raise answer
                del left[id(request)]
                if answer.size < 0:
                    _delete(request)
                answered(request, answer)
                patience.answered()

    def end(self) -> None:
        """Let no further request begin."""
        self._over.set()

    # -- in the threads

    def _work(
        self,
        waiting: queue.SimpleQueue[Request],
        replies: queue.SimpleQueue[tuple[Request, Answer | RemoteFailed] | int],
    ) -> None:
        with suppress(queue.Empty):
            while not self._over.is_set():
                request = waiting.get_nowait()
                answer: Answer | RemoteFailed
                try:
                    assert isinstance(request, Fetch)
                    answer = self._get(request, replies.put)
                except RemoteFailed as error:
                    answer = error
                except OSError as error:
                    # Errors of requests are OSErrors, too, and have no errno.
                    if error.filename is not None or error.errno == errno.ENOSPC:
                        answer = Answer(problem=local_problem(error.errno or 0))
                    else:
                        answer = self._broken(error)
                except Exception as error:
                    answer = self._broken(error)
                replies.put((request, answer))

    def _broken(self, error: Exception) -> RemoteFailed:
        logger.debug("%s: %s", self._url, type(error).__name__)
        if "SSL" in type(error).__name__:
            return RemoteFailed("pip does not accept its certificate", "pip's option --cert")
        return RemoteFailed("it cannot be reached, or the connection breaks")

    def _get(self, request: Fetch, moved: Callable[[int], None]) -> Answer:
        how = download_options()
        response = self._session.get(f"{self._url}/{request.key}", timeout=self._timeout, **how)
        try:
            with suppress(ValueError, TypeError):  # also for a header that is missing
                at = parsedate_to_datetime(response.headers.get("date"))
                self.ahead = at.timestamp() - time.time()
            if response.status_code in NOT_THERE:
                return MISSING
            if response.status_code >= 400:
                raise refusal(response.status_code)
            return self._save(response.raw, request, moved)
        finally:
            response.close()

    def _save(self, body: Any, request: Fetch, moved: Callable[[int], None]) -> Answer:
        hasher, size = hashlib.sha256(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(request.path, flags, 0o666), "wb") as file:
            for piece in body.stream(_PIECE, decode_content=False):
                size += len(piece)
                if size > request.most:
                    return Answer(problem="it is too large")
                if self._over.is_set():
                    raise RemoteFailed("it is not used any more")
                hasher.update(piece)
                file.write(piece)
                moved(len(piece))
        return Answer(size, hasher.hexdigest())


def _delete(request: Request) -> None:
    """Delete the file of ``request``, which has no result."""
    if isinstance(request, Fetch):
        with suppress(OSError):
            os.unlink(request.path)
