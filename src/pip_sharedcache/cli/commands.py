"""Our own commands, ``pip-sharedcache store ...``. Only this package prints.

Exit status: 0 fine, 1 when there are findings, 2 when it cannot be done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pip_sharedcache import __version__
from pip_sharedcache.cli import collecting, doctoring, listing, stores, verifying
from pip_sharedcache.cli.output import CANNOT, Output
from pip_sharedcache.errors import StoreUnusable, reason

#: Each has ``add(commands)``, which names its commands and what runs them.
_MODULES = (stores, listing, collecting, verifying, doctoring)

_INTERRUPTED = 130  # as shells have it


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
    output = Output.of(chosen)
    try:
        status: int = chosen.run(chosen, output)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        output.warn("Interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has gone; Python would try again, and complain, when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT
    except OSError as error:  # a file system that goes away
        where = f"{error.filename}: " if error.filename else ""
        raise StoreUnusable(f"The store cannot be used: {where}{reason(error)}") from error
