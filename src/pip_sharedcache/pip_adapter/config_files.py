"""Which configuration files pip reads, and what they say, asked of pip itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: In pip's own order: later ones win (pip/_internal/configuration.py: OVERRIDE_ORDER).
_ORDER = ("global", "user", "site", "env")


def configuration_files(*, isolated: bool = False) -> list[Path]:
    """pip's configuration files, those that win last; [] where this pip does not tell."""
    try:
        from pip._internal.configuration import Configuration

        kinds = Configuration(isolated=isolated).iter_config_files()
        by_kind = {str(kind): files for kind, files in kinds}
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
    except RuntimeError:  # no HOME, and a user whom no account is known for: pip itself stops there
        return []
    # Enum members or plain strings, by version.
    named = {kind.rpartition(".")[2].lower(): files for kind, files in by_kind.items()}
    if os.devnull in named.get("env", ()):
        return []  # PIP_CONFIG_FILE=/dev/null: pip then reads no file at all
    return [Path(file) for kind in _ORDER for file in named.get(kind, ())]


def configured(command: str, *, isolated: bool = False) -> dict[str, str]:
    """The options of pip's ``command`` that its configuration and its variables set, by their long
    names; {} where pip cannot read them: it stops with the reason for that."""
    try:
        from pip._internal.configuration import Configuration
        from pip._internal.exceptions import PipError
    except (ImportError, RuntimeError):
        return {}
    by_section: dict[str, dict[str, str]] = {}
    try:
        configuration = Configuration(isolated=isolated)
        configuration.load()
        for key, value in _flat(configuration.items()):
            section, _, option = key.partition(".")
            if value:  # pip ignores the others
                by_section.setdefault(section, {})[option] = str(value)
    except (PipError, AttributeError, TypeError, ValueError, OSError):
        return {}
    # In pip's own order, too (pip/_internal/cli/parser.py).
    sections = (by_section.get(name, {}) for name in ("global", command, ":env:"))
    return {option: value for section in sections for option, value in section.items()}


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Key and value of each setting. Newer pips group them by file."""
    for key, value in items:
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield key, value
