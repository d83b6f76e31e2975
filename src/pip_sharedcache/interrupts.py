"""Ctrl-C before a command begins: while the imports run, the process ends at once, and quietly.

Python would print the traceback of an import, which tells a user nothing. Imports nothing of the
project, and no module but built-in ones and those that Python has imported already: ``signal``
imports ``enum`` first.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os

#: The exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130


def quiet_exit(_number: int, _frame: object) -> None:
    """End this process. Nothing has been written so far that would need an end."""
    os._exit(INTERRUPTED)


def exit_quietly() -> bool:
    """Let SIGINT end this process until ``raise_again``; return whether that is so now.

    A handler of the program, or an ignored signal, stays. The handler of the script that started
    this process has the same name, and is replaced.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_known = handler is signal.default_int_handler or is_quiet()
    if handler is quiet_exit or not is_known:
        return is_known
    try:
        signal.signal(signal.SIGINT, quiet_exit)
    except ValueError:  # not the main thread
        return False
    return True


def is_quiet() -> bool:
    """Return whether SIGINT ends this process quietly."""
    return getattr(signal.getsignal(signal.SIGINT), "__name__", "") == quiet_exit.__name__


def raise_again() -> None:
    """Let SIGINT raise KeyboardInterrupt again, as Python does."""
    if is_quiet():
        signal.signal(signal.SIGINT, signal.default_int_handler)
