"""The command `shell-init`, which prints a function `pip` for a shell."""

from __future__ import annotations

import argparse

from pip_sharedcache.activation import SHELLS, function
from pip_sharedcache.cli.enable import carried
from pip_sharedcache.cli.output import FINE, Output

HELP = "print a shell function that makes pip install through the store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    names = f"name the shell: {', '.join(SHELLS)}"
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=names)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    output.script(chosen.shell, function(chosen.shell, carried()))
    return FINE
