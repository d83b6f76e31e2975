"""The command line: pip's arguments pass through, ``store`` is ours (``cli.commands``).

Exit status: pip's own for pip's commands; for ours 0 fine, 2 when it cannot be done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pip_sharedcache import config, interception
from pip_sharedcache.errors import SharedCacheError, UsageError

_OPTION = "--sharedcache-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``arguments`` (default: those of the process) and return the exit status. pip's
    commands do not return: they end in SystemExit with pip's status."""
    rest = list(sys.argv[1:] if arguments is None else arguments)
    try:
        rest = _take_options(rest)
        if rest[:1] == ["store"]:
            # pip's own commands do without what ours need.
            from pip_sharedcache.cli.commands import store_command

            return store_command(rest[1:])
        interception.run_pip(rest)
    except SharedCacheError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return 0


def _take_options(arguments: list[str]) -> list[str]:
    """Take ``--sharedcache-NAME VALUE`` out of ``arguments`` and into the environment, where the
    pips that pip starts find it too."""
    rest: list[str] = []
    queue = iter(arguments)
    for argument in queue:
        if argument == "--":
            rest += [argument, *queue]
            break
        if not argument.startswith(_OPTION):
            rest.append(argument)
            continue
        name, equals, value = argument[len(_OPTION) :].partition("=")
        if name not in config.NAMES:
            known = ", ".join(_OPTION + known for known in config.NAMES)
            raise UsageError(f"There is no option {_OPTION}{name}", f"there are {known}")
        if not equals:
            following = next(queue, None)
            if following is None:
                raise UsageError(f"{_OPTION}{name} needs a value")
            value = following
        os.environ[config.option_variable(name)] = value
    return rest
