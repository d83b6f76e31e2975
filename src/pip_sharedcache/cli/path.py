"""The command `path`, which prints the path of the store in use."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.store import open_store


def add(commands: Any) -> None:
    """Register the command of this module in ``commands``."""
    parser = commands.add_parser("path", help="print the path of the store in use")
    parser.set_defaults(run=_path)


def _path(chosen: argparse.Namespace, output: Output) -> int:
    settings = settings_in_use(output)
    one = settings.dir if len(settings.layers) < 2 else main_store(settings, output).path
    path = str(one or open_store(settings).path)
    output.find(path)
    output.detail(f"from {settings.dir_source}")
    output.result({"path": path, "source": settings.dir_source})
    return FINE
