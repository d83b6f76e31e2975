"""The command `shell-init`, which prints a function `pip` for a shell."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache.activation import SHELLS, function
from pip_sharedcache.cli.enable import carried
from pip_sharedcache.cli.output import FINE, Output


def add(commands: Any) -> None:
    """Register the command of this module in ``commands``."""
    what = "print a shell function that makes pip install through the store"
    parser = commands.add_parser("shell-init", help=what)
    names = f"name the shell: {', '.join(SHELLS)}"
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=names)
    parser.set_defaults(run=_shell_init)


def _shell_init(chosen: argparse.Namespace, output: Output) -> int:
    output.script(chosen.shell, function(chosen.shell, carried()))
    return FINE
