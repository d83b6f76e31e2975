"""pip's own progress bar for the unpacking of a large wheel into the store."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterator
from optparse import Values
from typing import Any

logger = logging.getLogger(__name__)


def bars(options: Values) -> Callable[[str], Callable[[int, int], None]] | None:
    """Return a function that returns the progress callback for a wheel's name, or None.

    ``options`` are pip's. None: stdout is no terminal, or pip is to show less.
    """
    kind = getattr(options, "progress_bar", "off")
    if kind in ("off", "raw") or not os.isatty(1) or not logger.isEnabledFor(logging.INFO):
        return None
    try:
        module = importlib.import_module("pip._internal.cli.progress_bars")
        renderer = module.get_download_progress_renderer
    except (ImportError, AttributeError):  # a pip without this function: no bar is shown
        return None
    colourless = bool(getattr(options, "no_color", False) or os.environ.get("NO_COLOR"))
    return lambda name: _Bar(renderer, kind, name, colourless=colourless).show


class _Bar:
    """One progress bar, which exists from the first call of ``show`` until all bytes are ready."""

    def __init__(self, renderer: Any, kind: str, name: str, *, colourless: bool) -> None:
        self._colourless = colourless
        self._renderer = renderer
        self._kind = kind
        self._name = name
        self._ready = 0
        self._fresh: list[range] = []
        self._drawn: Iterator[object] | None = None

    def show(self, ready: int, whole: int) -> None:
        """Draw ``ready`` bytes of ``whole`` bytes."""
        if self._drawn is None:
            logger.info("Adding %s to the shared store", self._name)
            if self._colourless:  # old pips' bars obey only NO_COLOR, new pips' bars --no-color
                importlib.import_module("pip._vendor.rich").get_console().no_color = True
            self._drawn = iter(self._renderer(bar_type=self._kind, size=whole)(self._steps()))
        self._fresh.append(range(ready - self._ready))  # pip uses only the length
        self._ready = ready
        next(self._drawn, None)
        if ready >= whole:
            for _ in self._drawn:  # the bar ends at the end of its iterator
                pass

    def _steps(self) -> Iterator[range]:
        while self._fresh:
            yield self._fresh.pop()
