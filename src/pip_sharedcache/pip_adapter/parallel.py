"""The parallel installation of distributions in worker processes.

Each worker process runs pip's own installation of one wheel at a time. pip's loop in the parent
process takes the results, in its own order.

Worker processes are used only where nothing is replaced, and only for distributions that share no
path with another one: of those the last one wins, so the parent process installs them one after
another. A worker process that fails undoes its installation, and the parent process repeats it: so
the pip that the user started gets and reports every error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pip_sharedcache import fs
from pip_sharedcache.fs.workers import WorkerPool
from pip_sharedcache.pip_adapter import seams
from pip_sharedcache.pip_adapter.path_conflicts import PathClaims, Scheme
from pip_sharedcache.pip_adapter.protocols import Requirement
from pip_sharedcache.placement import Placement, RunReport
from pip_sharedcache.session.session import MOST_WORKERS, Session
from pip_sharedcache.session.state import WorkerPart
from pip_sharedcache.trust import mounts

logger = logging.getLogger(__name__)

#: Number of files. With fewer, the start of the worker processes takes longer than the work. A
#: wheel to be published counts for one more file per _BYTES_A_FILE bytes.
_WORTH_IT = 400
_BYTES_A_FILE = 2000

#: Processes that place files on a file server, however few processors there are: while one waits
#: for an answer, another asks. More than these gain little, and each has the memory of pip.
_ON_SERVERS = 4

#: The message of a log record that pip draws with rich (pip/_internal/utils/logging.py).
_DRAWN = "[present-rich] %s"


class LeftToOthers(Exception):
    """The request of a worker process that the parent process installs this wheel.

    The store is not used for the wheel, and files that pip itself installs are visible at once.
    """


@dataclass(frozen=True)
class WorkerInstall:
    """The result of a worker process for one distribution.

    ``records``: the log records of the installation.
    ``report``: the counts of the installation.
    """

    records: tuple[logging.LogRecord, ...]
    report: RunReport


@dataclass(frozen=True)
class WorkerSummary:
    """The result of a worker process at its end.

    ``part``: the part of the worker process in the run.
    ``error``: the error on making its distributions visible, or None.
    ``records``: the log records of this last step.
    """

    part: WorkerPart
    error: OSError | None
    records: tuple[logging.LogRecord, ...]


@dataclass(frozen=True)
class GiveUpRequest:
    """A request to a worker process to publish nothing on a full file system.

    ``device``: st_dev of the file system.
    """

    device: int


class ParallelInstall:
    """One run of pip's installation loop. ``end`` must be called, however the loop ended."""

    def __init__(
        self, session: Session, requirements: Sequence[Requirement], how: Mapping[str, Any]
    ):
        self._session = session
        self._requirements = requirements
        self._how = how
        self._numbers: dict[str, int] = {}
        self._accepted: dict[int, RunReport] = {}
        self._placements: dict[int, list[Placement]] = {}
        self._log = _Log()
        self._pool: WorkerPool | None = None
        self.is_worker = False

    def start(self, size: int, entry_points: Callable[[Requirement], Iterable[str]]) -> None:
        """Start up to ``size`` worker processes, if there is enough work; 0: as many as serve.

        ``entry_points``: returns the names of the scripts that pip generates for a requirement.
        """
        claims = PathClaims(self._scheme_of)
        weights: dict[int, int] = {}
        for number, requirement in enumerate(self._requirements):
            path = str(getattr(requirement, "local_file_path", None) or "")
            wheel = self._session.wheels.at(path)
            names = wheel.names() if path else None
            if names is None:
                continue
            scripts, whole = [], True
            try:
                scripts = list(entry_points(requirement))
            except Exception:
                # An unusual wheel must not stop the others: pip reports it when it installs it.
                logger.debug("The scripts of %s cannot be read", path, exc_info=True)
                whole = False
            claims.add(number, str(requirement.name), names, scripts)
            if whole and wheel.origin is not None:
                more = 0 if wheel.entry is not None else os.path.getsize(path) // _BYTES_A_FILE
                weights[number] = len(names) + more
        order = [number for number in weights if claims.apart(number)]
        order.sort(key=lambda number: weights[number], reverse=True)
        size = size or self._serving()
        if min(size, len(order)) < 2 or sum(weights[number] for number in order) < _WORTH_IT:
            return
        self._pool = WorkerPool.start(min(size, len(order)), order, self._install, self._reply)
        if self._pool is not None:
            logger.debug("%s distributions are installed in parallel", len(order))
            self._numbers = {str(self._requirements[number].name): number for number in order}

    def _serving(self) -> int:
        """Return how many worker processes serve: those of a file server wait most of the time."""
        names = (str(one.name) for one in self._requirements[:1])
        places = [self._scheme_of(name)["purelib"] for name in names]
        places += [str(store.path) for store in self._session.layers]
        local = all(mounts.is_local(path) for path in places if os.path.isdir(path))
        return max(0 if local else _ON_SERVERS, min(MOST_WORKERS, fs.cpus()))

    def _scheme_of(self, name: str) -> Scheme:
        """Return pip's target directories for the distribution ``name``."""
        get_scheme, how = seams.SCHEME.find(), self._how
        assert get_scheme is not None  # seams.check has found this seam
        scheme = get_scheme(
            name,
            user=bool(how.get("use_user_site")),
            home=how.get("home"),
            root=how.get("root"),
            isolated=any(getattr(one, "isolated", False) for one in self._requirements),
            prefix=how.get("prefix"),
        )
        return {key: str(getattr(scheme, key)) for key in seams.SCHEME_KEYS}

    def take(self, name: str) -> bool:
        """Return whether a worker process has installed ``name``, and log its log records."""
        number = self._numbers.get(name)
        if self._pool is None or number is None:
            return False
        done = self._pool.result(number)
        if done is None:
            return False
        self._relay(done.records)
        self._accepted[number] = done.report
        return True

    def give_up_publishing(self, device: int) -> bool:
        """Call Session.give_up_publishing in the worker processes; return whether one freed space.

        Each does so after its present task, and begins no more tasks. ``device``: st_dev.
        """
        if self._pool is None:
            return False
        self._pool.stop()
        return any(self._pool.ask(GiveUpRequest(device)))

    def end(self, *, failed: bool) -> None:
        """Make all accepted distributions visible, and undo the others.

        ``failed``: pip's loop ended early. Raises the first OSError, after all other work.
        """
        first: OSError | None = None
        lost: set[int] = set()
        if self._pool is not None:
            try:
                if failed:
                    # After Ctrl-C, pip --python waits only a short time before it kills us.
                    self._pool.abandon()
                for shown in self._pool.ask(frozenset(self._accepted)):
                    first = first or shown.error
                    self._session.add_worker(shown.part)
                    self._relay(shown.records)
                lost = self._pool.lost() & self._accepted.keys()
                installed = len(self._accepted.keys() - lost)
                logger.debug("Worker processes installed %s distributions", installed)
            except BaseException:  # Ctrl-C during the wait for the worker processes
                for placement in self._session.take_complete():
                    placement.undo()
                raise
            finally:
                self._pool.end()
                self._pool = None
        for number in self._accepted.keys() - lost:
            self._session.report.add(self._accepted[number])
        try:
            for number in () if failed else lost:
                self._requirements[number].install(**self._how)
        finally:
            self._session.make_visible(self._session.take_complete())
        if first is not None:
            raise first

    def _relay(self, records: Iterable[logging.LogRecord]) -> None:
        for record in records:
            logging.getLogger(record.name).handle(record)  # notices lets each warning pass once

    # -- in the worker processes

    def _install(self, number: int) -> WorkerInstall | None:
        self._enter()
        # Recorded first: else work that is interrupted at its very end would not be undone.
        self._placements[number] = self._session.begin_task()
        with self._log as records:
            try:
                self._requirements[number].install(**self._how)
            except Exception:
                # Undone already. The parent process repeats it, and its user sees the error.
                logger.debug("The parent process repeats this installation", exc_info=True)
                return None
        return WorkerInstall(tuple(records), self._session.report.take())

    def _enter(self) -> None:
        """Record once that this is a worker process."""
        if not self.is_worker:
            self._pool, self.is_worker = None, True
            self._session.enter_worker()

    def _reply(self, question: frozenset[int] | GiveUpRequest) -> WorkerSummary | bool:
        self._enter()
        if isinstance(question, GiveUpRequest):
            with self._log:  # the parent process logs the same, which would appear twice
                return self._session.give_up_publishing(question.device)
        return self._end(question)

    def _end(self, accepted: frozenset[int]) -> WorkerSummary:
        with self._log as records:
            for number in self._placements.keys() - accepted:
                for placement in self._placements.pop(number):
                    placement.undo()
            placements = self._placements.values()
            part, error = self._session.end_worker([one for some in placements for one in some])
        return WorkerSummary(part, error, tuple(records))


class _Log(logging.Handler):
    """A handler that keeps log records instead of showing them.

    As a context manager it returns the list of records.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []
        self._before: list[logging.Handler] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record`` as text, because its arguments may be of any type.

        If pip drew the record with rich, its only argument is the drawing, which can be kept.
        """
        if record.msg != _DRAWN:
            record.msg, record.args = record.getMessage(), ()
        record.exc_info = None
        self._records.append(record)

    def __enter__(self) -> list[logging.LogRecord]:
        root = logging.getLogger()
        self._records, self._before = [], root.handlers
        root.handlers = [self]
        return self._records

    def __exit__(self, *_: object) -> None:
        logging.getLogger().handlers = self._before
