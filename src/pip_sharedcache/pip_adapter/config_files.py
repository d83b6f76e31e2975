"""The configuration files that pip reads, and their settings, as pip itself reports them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: pip's own order: later kinds win (pip/_internal/configuration.py: OVERRIDE_ORDER).
_ORDER = ("global", "user", "site", "env")


def configuration_files(*, isolated: bool = False) -> list[Path]:
    """Return pip's configuration files, the strongest last; [] where pip does not list them."""
    try:
        from pip._internal.configuration import Configuration

        kinds = Configuration(isolated=isolated).iter_config_files()
        by_kind = {str(kind): files for kind, files in kinds}
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
    except RuntimeError:  # no HOME, and a uid without an account: pip itself stops there
        return []
    # Enum members or plain strings, depending on pip's version.
    named = {kind.rpartition(".")[2].lower(): files for kind, files in by_kind.items()}
    if os.devnull in named.get("env", ()):
        return []  # PIP_CONFIG_FILE=/dev/null: pip then reads no file at all
    return [Path(file) for kind in _ORDER for file in named.get(kind, ())]


def configured(command: str, *, isolated: bool = False) -> dict[str, str]:
    """Return the options of pip's ``command`` that its configuration and variables set.

    The keys are the long names of the options. {} where pip cannot read its configuration: pip then
    stops with the reason.
    """
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
            if value:  # pip ignores empty values
                by_section.setdefault(section, {})[option] = str(value)
    except (PipError, AttributeError, TypeError, ValueError, OSError):
        return {}
    # Also in pip's own order: later sections win (pip/_internal/cli/parser.py).
    sections = (by_section.get(name, {}) for name in ("global", command, ":env:"))
    return {option: value for section in sections for option, value in section.items()}


def _flat(items: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the key and the value of each setting. Newer pips group the settings by file."""
    for key, value in items:
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield key, value
