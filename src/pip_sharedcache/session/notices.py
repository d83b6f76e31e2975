"""The warnings of one run: each is shown once, and many of one kind in one line.

Without -v, a run keeps its warnings until its end. A worker process logs its warnings at once: the
first process gets the log records, and keeps them.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: The level of the lines that pip shows with -v (pip/_internal/utils/_log.py).
VERBOSE = 15

#: The most warnings of one kind that the user sees without -v.
MOST = 3

_PACKAGE = __name__.partition(".")[0]
#: Paths, and names of wheels: warnings of one kind differ in these.
_NAMES = re.compile(r"\S*(?:/|\.whl)\S*")


def kind_of(message: str) -> str:
    """Return the part of ``message`` that it shares with the other warnings of its kind."""
    return _NAMES.sub("...", message.partition(": ")[0])


class _Collector(logging.Filter):
    """A filter that lets each warning of a run pass once, and can keep warnings to the end.

    It is a filter of all loggers of this package. The warnings that the worker processes logged
    also pass here, when this process relays them.

    ``runs``: whether a run is in progress; else all records pass.
    ``keeps``: whether warnings wait for ``release``; else they pass at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs = self.keeps = False
        self._shown: set[str] = set()
        self._kept: dict[str, list[logging.LogRecord]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be shown now."""
        if record.levelno < logging.WARNING or not self.runs:
            return True
        message = record.getMessage()
        if message in self._shown:
            return False
        self._shown.add(message)
        if self.keeps:
            self._kept.setdefault(kind_of(message), []).append(record)
        return not self.keeps

    def begin(self) -> None:
        """Begin a run, whose warnings pass at once."""
        self.runs, self.keeps = True, False
        self._shown.clear()
        self._kept.clear()

    def release(self) -> None:
        """End the run, and show the kept warnings: the first and their number of a large kind.

        The others of this kind appear in pip's log file.
        """
        kept = list(self._kept.values())
        self.begin()
        self.runs = False
        for first, *others in kept:
            if len(others) >= MOST:
                more = f" (and {len(others)} more of this kind: -v shows each)"
                first.msg, first.args = first.getMessage() + more, ()
                for record in others:
                    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            for record in (first, *others):
                _handle(record)


def _handle(record: logging.LogRecord) -> None:
    """Show ``record``, which has passed the filter."""
    source = logging.getLogger(record.name)
    if source.isEnabledFor(record.levelno):
        source.callHandlers(record)


class _Kept(logging.Handler):
    """A handler that keeps the warnings of ``warn``, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of ``record`` if it comes from ``warn``."""
        if record.name == logger.name:
            self.warnings.append(record.getMessage())


_collector = _Collector()


def warn(message: str) -> None:
    """Warn the user of ``message``, once in each run."""
    logger.warning("%s", message)


@contextlib.contextmanager
def kept() -> Iterator[list[str]]:
    """Keep the warnings in the yielded list, and show no log record meanwhile.

    For a worker process, which left the warnings before it to its parent process.
    """
    begin()
    root, handler = logging.getLogger(), _Kept()
    before, root.handlers = root.handlers, [handler]
    try:
        yield handler.warnings
    finally:
        root.handlers = before


def begin() -> None:
    """Begin a run, or the part of a worker process in one: each warning is shown at once."""
    _collector.begin()
    for name, one in list(logging.root.manager.loggerDict.items()):
        if name.partition(".")[0] == _PACKAGE and isinstance(one, logging.Logger):
            one.addFilter(_collector)  # logging adds a filter once


def hold() -> None:
    """Keep the warnings of the run from now on until its end."""
    _collector.keeps = True


def end() -> None:
    """End the run, and show the warnings that it has kept."""
    _collector.release()
