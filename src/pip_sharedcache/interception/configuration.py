"""Which configuration files pip reads, asked of pip itself."""

from __future__ import annotations

import os
from pathlib import Path

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
    # Enum members or plain strings, by version.
    named = {kind.rpartition(".")[2].lower(): files for kind, files in by_kind.items()}
    if os.devnull in named.get("env", ()):
        return []  # PIP_CONFIG_FILE=/dev/null: pip then reads no file at all
    return [Path(file) for kind in _ORDER for file in named.get(kind, ())]
