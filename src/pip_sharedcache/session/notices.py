"""Warnings of one run, each shown once: by this process, or by one of its workers."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class _Once(logging.Filter):
    """Lets each message pass once. What workers logged passes here, too, when it is relayed."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message of ``record`` was not shown yet."""
        message, before = record.getMessage(), len(self.shown)
        self.shown.add(message)
        return len(self.shown) > before


_once = _Once()
logger.addFilter(_once)


def warn(message: str) -> None:
    """Warn the user, the first time in this run."""
    logger.warning(message)


def begin() -> None:
    """Forget what was shown: another run begins."""
    _once.shown.clear()
