"""The text of pip-sharedcache beside pip's own help and version."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from pip_sharedcache import __version__, config

_VERSION = re.compile(r"-[qv]*V[qvV]*|--version")
_HELP = re.compile(r"-[qvV]*h.*|--help")
_INDENT = 30  # columns, as in pip's own help

_COMMANDS = (
    ("store", "Manage the shared store: pip-sharedcache store --help lists the commands."),
)
_OPTIONS = (
    ("--no-sharedcache", "Run plain pip, without the shared store."),
    ("--offline", "Find the wheels of the shared store alone, and make no request."),
    (
        "--sharedcache-<setting> <value>",
        f"Set one of the settings of the shared store: {', '.join(config.NAMES)}.",
    ),
)


def asks_for_version(options: Iterable[str]) -> bool:
    """Return whether pip answers ``options``, which stand before any command, with its version."""
    named = list(options)
    return any(map(_VERSION.fullmatch, named)) and not any(map(_HELP.fullmatch, named))


def version() -> str:
    """Return the line that follows pip's version, in pip's form."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"pip-sharedcache {__version__} from {Path(__file__).parents[1]} (python {python})"


def text() -> str:
    """Return the part that follows pip's general help."""
    lines = [f"\nAdded by pip-sharedcache {__version__}, which installs through a shared store:"]
    lines += _section("Commands", _COMMANDS)
    lines += _section("Options, before or after any command", _OPTIONS)
    return "\n".join(lines)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = ["", f"{title}:"]
    for name, what in rows:
        head = f"  {name}"
        filled = textwrap.wrap(what, 78 - _INDENT, break_on_hyphens=False)
        if len(head) < _INDENT:
            lines.append(f"{head.ljust(_INDENT)}{filled.pop(0)}")
        else:
            lines.append(head)
        lines += [" " * _INDENT + line for line in filled]
    return lines
