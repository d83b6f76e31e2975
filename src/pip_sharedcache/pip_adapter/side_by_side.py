"""Calls that run in threads ahead of the time when their results are needed.

What such a call logs is logged when its result is taken, by the thread that takes it. The threads
do not outlive an interrupted process: concurrent.futures would wait for them.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

#: With the thread that takes results, eight calls run at once. pip's sessions keep ten connections
#: to a host.
_THREADS = 7

#: Seconds for which the end of a run waits for calls whose results nobody needs.
_PATIENCE = 1.0

#: A call without arguments.
Call = Callable[[], Any]

Argument = TypeVar("Argument")
Result = TypeVar("Result")

_aside: dict[int, list[logging.LogRecord]] = {}


def set_aside(record: logging.LogRecord) -> bool:
    """Return whether ``record`` is of a call that runs ahead; if so, keep it for its result.

    Handlers that stand in for pip's call this first.
    """
    records = _aside.get(record.thread or 0)
    if records is not None:
        records.append(record)
    return records is not None


class _SetAside(logging.Handler):
    """pip's handlers, for all records but those of calls that run ahead."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        super().__init__()
        self.handlers = handlers

    def emit(self, record: logging.LogRecord) -> None:
        """Hand ``record`` to pip's handlers, or set it aside."""
        if not set_aside(record):
            for handler in self.handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)


class LogAside:
    """What keeps the records of calls that run ahead from pip's handlers."""

    def __init__(self) -> None:
        self._handler: _SetAside | None = None

    def begin(self) -> None:
        """Stand in for the handlers that are in use now."""
        root = logging.getLogger()
        if root.handlers != [self._handler]:
            self._handler = _SetAside(root.handlers)
            root.handlers = [self._handler]

    def end(self) -> None:
        """Use the handlers again that were in use before."""
        root = logging.getLogger()
        if self._handler is not None and root.handlers == [self._handler]:
            root.handlers = self._handler.handlers
        self._handler = None


class _Task(Generic[Argument, Result]):
    """One call. ``done``: set at its end; then it has a ``result`` or an ``error``."""

    def __init__(self, argument: Argument) -> None:
        self.argument = argument
        self.done = threading.Event()
        self.result: Result | None = None
        self.error: Exception | None = None
        self.records: list[logging.LogRecord] = []


class SideBySide(Generic[Argument, Result]):
    """Calls of one function, by a key. As a context manager it ends its threads.

    ``function``: what is called; any thread may call it.
    """

    def __init__(self, function: Callable[[Argument], Result]) -> None:
        self._function = function
        self._tasks: dict[str, _Task[Argument, Result]] = {}
        self._waiting: collections.deque[_Task[Argument, Result]] = collections.deque()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._log = LogAside()

    def __contains__(self, key: str) -> bool:
        return key in self._tasks

    def begin(self, arguments: Mapping[str, Argument]) -> None:
        """Let the function be called with each of ``arguments`` that is not under way."""
        with self._lock:
            for key, argument in arguments.items():
                if key not in self._tasks:
                    self._tasks[key] = _Task(argument)
                    self._waiting.append(self._tasks[key])
            more = min(_THREADS - len(self._threads), len(self._waiting))
            threads = [threading.Thread(target=self._work, daemon=True) for _ in range(more)]
            self._threads += threads
        if threads:
            self._log.begin()
        for started, thread in enumerate(threads):
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # RLIMIT_NPROC, RLIMIT_AS: ``take`` makes the calls
                with self._lock:
                    self._threads = [one for one in self._threads if one not in threads[started:]]
                break

    def call(self, key: str, argument: Argument) -> None:
        """Call the function now, and keep the result for ``take``, unless the call is under way."""
        if key not in self._tasks:
            self._log.begin()
            self._tasks[key] = _Task(argument)
            self._run(self._tasks[key])

    def look(self, key: str) -> Result:
        """Return the result of the call ``key``, which stays for ``take``; raise its exception."""
        task = self._tasks[key]
        if self._withdraw(task):
            self._log.begin()
            self._run(task)
        return _result_of(task)

    def is_done(self, key: str) -> bool:
        """Return whether the call ``key`` has ended."""
        return self._tasks[key].done.is_set()

    def peek(self, key: str) -> Result | None:
        """Return the result of the call ``key``; None without one, so far."""
        task = self._tasks.get(key)
        return task.result if task is not None and task.done.is_set() else None

    def take(self, key: str) -> Result:
        """Return the result of the call ``key``, once; raise its exception.

        A call that no thread has begun is made here.
        """
        task = self._tasks.pop(key)
        if self._withdraw(task):
            return self._function(task.argument)
        result = _result_of(task)
        log_records(task.records)
        return result

    def _withdraw(self, task: _Task[Argument, Result]) -> bool:
        """Return whether no thread has begun ``task``; then none will."""
        with self._lock:
            waits = task in self._waiting
            if waits:
                self._waiting.remove(task)
        return waits

    def __enter__(self) -> SideBySide[Argument, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Begin no more calls, and wait a moment for those under way.

        While threads run, no worker processes can be started.
        """
        with self._lock:
            self._waiting.clear()
        self._tasks.clear()
        until = time.monotonic() + _PATIENCE
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        self._log.end()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads.remove(threading.current_thread())
                    return
                task = self._waiting.popleft()
            self._run(task)

    def _run(self, task: _Task[Argument, Result]) -> None:
        try:
            with keep_records(task.records):
                task.result = self._function(task.argument)
        except Exception as error:
            task.error = error
        finally:
            task.done.set()


def _result_of(task: _Task[Argument, Result]) -> Result:
    task.done.wait()
    if task.error is not None:
        raise task.error
    return task.result  # type: ignore[return-value]


@contextlib.contextmanager
def keep_records(records: list[logging.LogRecord]) -> Iterator[None]:
    """Add what this thread logs to ``records``, where calls run ahead; do not log it."""
    _aside[threading.get_ident()] = records
    try:
        yield
    finally:
        del _aside[threading.get_ident()]


def log_records(records: list[logging.LogRecord]) -> None:
    """Log ``records`` as this thread's own, and remove them from the list.

    The call that they are of can add more meanwhile.
    """
    pip: Any = importlib.import_module("pip._internal.utils.logging")
    while records:
        record = records.pop(0)
        record.thread = threading.get_ident()  # of which nothing is set aside
        with pip.indent_log(0):
            logging.getLogger(record.name).callHandlers(record)
