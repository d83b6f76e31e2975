"""The warnings of one run: this process, or one of its worker processes, shows each once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

logger = logging.getLogger(__name__)


class _Once(logging.Filter):
    """A filter that lets each message pass once.

    The messages that the worker processes logged also pass here, when this process relays them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message of ``record`` was not shown before."""
        message, before = record.getMessage(), len(self.shown)
        self.shown.add(message)
        return len(self.shown) > before


class _Kept(logging.Handler):
    """A handler that keeps the warnings of ``warn``, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of ``record`` if it comes from ``warn``."""
        if record.name == logger.name:
            self.warnings.append(record.getMessage())


_once = _Once()
logger.addFilter(_once)


def warn(message: str) -> None:
    """Warn the user of ``message``, once in each run."""
    logger.warning(message)


@contextlib.contextmanager
def kept() -> Iterator[list[str]]:
    """Keep the warnings in the yielded list, and show no log record meanwhile."""
    begin()
    root, handler = logging.getLogger(), _Kept()
    before, root.handlers = root.handlers, [handler]
    try:
        yield handler.warnings
    finally:
        root.handlers = before


def begin() -> None:
    """Forget the shown messages, because another run begins."""
    _once.shown.clear()
