"""The staging of wheels in worker processes while pip still downloads others.

The worker processes start before pip downloads the first wheel. They keep what they stage until the
end of the run, and publish it then. A wheel that they do not stage, for whatever reason, is staged
when pip installs it, and problems are reported there.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pip_sharedcache.fs.workers import WorkerPool
from pip_sharedcache.model import Digest, Entry, Origin
from pip_sharedcache.placement import RunReport
from pip_sharedcache.session.state import PulledBytecode

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadedWheel:
    """A wheel that pip has downloaded: its path, the sha256 that it must have, and its origin.

    ``bytecode``: its signed bytecode of a remote store; None without any.
    """

    path: str
    digest: Digest
    origin: Origin
    bytecode: PulledBytecode | None = None


@dataclass(frozen=True)
class StagedWheel:
    """The staged entry of a wheel, and that of its bytecode, or None.

    ``warning``: why signed bytecode of a remote store is not used; "" if it is, or without any.
    """

    entry: Entry
    bytecode: Entry | None
    warning: str = ""


@dataclass(frozen=True)
class Published:
    """The end of a worker process: its counts, its warnings, and the damage in these."""

    report: RunReport
    warnings: tuple[str, ...]
    reported: frozenset[str]


class Request(enum.Enum):
    """What a worker process is asked for, beside wheels and the number of a full device."""

    WHEELS = "all staged wheels"
    PUBLISH = "publish them"
    DISCARD = "delete them"


class HeadStart:
    """The worker processes of one run. ``end`` must be called.

    ``answer``: called in a worker process with a DownloadedWheel, which it stages, returning None;
    with a Request or st_dev of a full file system, which it answers.
    """

    def __init__(self, answer: Callable[[object], object]) -> None:
        self._answer = answer
        self._pool: WorkerPool | None = None
        self._backlog: list[DownloadedWheel] = []
        self._is_used = False

    def start(self, size: int) -> bool:
        """Start up to ``size`` worker processes; return whether one runs."""
        if self._pool is None:
            self._pool = WorkerPool.start(size, (), lambda number: None, self._answer)
        return self._pool is not None

    def add(self, wheel: DownloadedWheel) -> None:
        """Let a worker process stage ``wheel``, once one is free."""
        if self._pool is not None:
            self._backlog.append(wheel)
            self.go_on()

    def go_on(self) -> None:
        """Give work to worker processes that are free; do not wait."""
        if self._pool is None or not self._backlog:
            return
        self._pool.take_replies()
        while self._backlog and self._pool.post(self._backlog[0]):
            del self._backlog[0]

    def wheels(self) -> list[StagedWheel]:
        """Wait for what is being staged, begin no more, and return all staged wheels."""
        self._backlog.clear()
        self._is_used = True
        return [staged for some in self._ask(Request.WHEELS) for staged in some]

    def free(self, device: int) -> bool:
        """Delete what is staged on ``device`` (st_dev); return whether there was any."""
        self._backlog.clear()
        return any(self._ask(device))

    def publish(self) -> list[Published]:
        """Make the staged wheels visible if the run has used them, and end the worker processes."""
        if not self._is_used:
            self.end()
            return []
        try:
            return self._ask(Request.PUBLISH)
        finally:
            self._end()

    def end(self) -> None:
        """Delete what was not published, and end the worker processes. Further calls do nothing."""
        self._backlog.clear()
        if self._pool is not None:
            try:
                self._pool.abandon()
                self._ask(Request.DISCARD)
            finally:
                self._end()

    def leave_to_parent(self) -> None:
        """Leave the worker processes to the parent process, in another worker process."""
        self._pool = None
        self._backlog = []

    def _ask(self, question: object) -> list[Any]:
        return [] if self._pool is None else self._pool.ask(question)

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.end()
