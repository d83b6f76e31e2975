"""Our own commands, ``pip-sharedcache store ...``. Only this package prints.

Exit status: 0 fine, 1 when there are findings, 2 when it cannot be done.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pip_sharedcache import __version__
from pip_sharedcache.cli import collecting, stores, verifying
from pip_sharedcache.cli.output import Output

#: Each has ``add(commands)``, which names its commands and what runs them.
_MODULES = (stores, collecting, verifying)


def store_command(arguments: Sequence[str]) -> int:
    """Run ``store`` with ``arguments`` and return the exit status. Raises SharedCacheError."""
    parser = argparse.ArgumentParser(
        prog="pip-sharedcache store", description="Look after the shared store of wheels."
    )
    parser.add_argument("--version", action="version", version=f"pip-sharedcache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _MODULES:
        module.add(commands)
    chosen = parser.parse_args(arguments)
    status: int = chosen.run(chosen, Output.of(chosen))
    return status
