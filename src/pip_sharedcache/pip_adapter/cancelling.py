"""Ctrl-C while pip is imported: the process ends quietly until pip's command begins.

From then on, pip handles Ctrl-C.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pip_sharedcache import interrupts
from pip_sharedcache.pip_adapter.import_hooks import when_imported

_COMMANDS = "pip._internal.commands"
_PARSER = "pip._internal.cli.main_parser"
_IN_OTHER_PYTHON = "_PIP_RUNNING_IN_SUBPROCESS"  # set by pip for the pip that --python starts
_PIP = re.compile(r"pip[\d.]*(\.exe)?|.*[\\/]pip[\\/]__main__\.py|.*[\\/]__pip-runner__\.py")


def exit_quietly_until_command(arguments: Sequence[str]) -> None:
    """Let Ctrl-C end this process until pip begins its command with ``arguments``.

    pip is not imported yet. Does nothing where the program handles SIGINT.
    """
    if not interrupts.exit_quietly():
        return
    # With --python, pip starts another pip before its own command, and waits for that pip.
    named = any(one.partition("=")[0] == "--python" for one in arguments)
    if (named or "PIP_PYTHON" in os.environ) and _IN_OTHER_PYTHON not in os.environ:
        when_imported(_PARSER, _ended)
    else:
        when_imported(_COMMANDS, _ended_by_command)


def is_started_as_pip(script: str) -> bool:
    """Return whether the process that runs ``script`` was started to run pip.

    Other programs import pip for their own use.
    """
    return any(map(_PIP.fullmatch, (script, os.path.basename(script))))


def _ended(_: ModuleType) -> None:
    interrupts.raise_again()


def _ended_by_command(commands: ModuleType) -> None:
    """Let pip handle Ctrl-C once its function that imports a command has returned."""
    create: Any = getattr(commands, "create_command", None)
    if create is None:
        interrupts.raise_again()
        return

    @functools.wraps(create)
    def created(*args: Any, **kw: Any) -> Any:
        command = create(*args, **kw)
        interrupts.raise_again()
        return command

    vars(commands)["create_command"] = created
