"""The command `path`, which prints the path of the store in use."""

from __future__ import annotations

import argparse

from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.store import open_store

HELP = "print the path of the store in use"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    settings = settings_in_use(output)
    one = settings.dir if len(settings.layers) < 2 else main_store(settings, output).path
    path = str(one or open_store(settings).path)
    output.value(path)
    output.detail(f"from {settings.dir_source}")
    output.result({"store": path, "source": settings.dir_source})
    return FINE
