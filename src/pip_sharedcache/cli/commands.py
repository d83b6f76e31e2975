"""Our own commands, ``pip-sharedcache store ...``. Only this package prints.

Exit status: 0 fine, 1 when there are findings, 2 when it cannot be done.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from pip_sharedcache import __version__
from pip_sharedcache.cli import (
    add,
    archive,
    completion,
    doctor,
    gc,
    listing,
    report,
    stats,
    stores,
    switching,
    verify,
)
from pip_sharedcache.cli.choosing import TargetEnvironment
from pip_sharedcache.cli.output import CANNOT, Output, wants_json
from pip_sharedcache.errors import SharedCacheError, StoreUnusable, UsageError, reason

#: Each has ``add(commands)``, which names its commands and what runs them.
_MODULES = (
    *(stores, listing, stats, report, add, archive, gc, verify),
    *(doctor, switching, completion),
)

_INTERRUPTED = 130  # as shells have it

#: The options that every command takes, as Output.add_options has them.
_OURS = re.compile(r"-[qv]+|--quiet|--verbose|--json")


class _Parser(argparse.ArgumentParser):
    """Its errors can be told to programs, too, before it prints them and ends the process."""

    asked: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        wrong = UsageError(message, self.format_usage().strip())
        Output(as_json=wants_json(self.asked)).tell_programs(wrong)
        super().error(message)


def store_command(before: Sequence[str], arguments: Sequence[str], place: TargetEnvironment) -> int:
    """Run ``store`` with ``arguments``, which had ``before`` in front of it, for the environment
    ``place``, and return the exit status; what cannot be done is told. Raises UsageError for an
    option of pip's in front."""
    for option in before:
        if not _OURS.fullmatch(option):
            raise UsageError(
                f"{option} means nothing to pip-sharedcache store",
                "of options before it, it takes -q, -v and --json",
            )
    arguments, beyond = _options_last([*before, *arguments]), []
    if arguments[:1] == ["add"] and "--" in arguments:
        end = arguments.index("--")
        arguments, beyond = arguments[:end], arguments[end + 1 :]
    _Parser.asked = arguments
    chosen = _parser()[0].parse_args(arguments)
    chosen.beyond, chosen.place = beyond, place
    output = Output.of(chosen)
    try:
        status: int = chosen.run(chosen, output)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        output.warn("Interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        output.give_up()
        return CANNOT
    except OSError as error:  # a file system that goes away
        path = error.filename if isinstance(error.filename, str) else None
        where = f"{path}: " if path else ""
        what = f"The store cannot be used: {where}{reason(error)}"
        return output.fail(StoreUnusable(what, path=path, errno=error.errno))
    except SharedCacheError as error:
        return output.fail(error)


def _parser() -> tuple[_Parser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and that of each command."""
    parser = _Parser(
        prog="pip-sharedcache store", description="Look after the shared store of wheels."
    )
    parser.add_argument("--version", action="version", version=f"pip-sharedcache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _MODULES:
        module.add(commands)
    for command in commands.choices.values():
        Output.add_options(command)
    return parser, commands.choices


def complete(words: Sequence[str], place: int | None, current: str) -> bool:
    """Print what of ours may stand behind ``words`` and begins with ``current``; ``place``: where
    among them our command is. Whether nothing of pip's may stand there."""
    if place is None:
        found = completion.beside_pip(words, current)
    else:
        found = completion.of_store(words[place + 1 :], current, _parser()[1])
    if found:
        print("\n".join(found))
    return place is not None


def _options_last(arguments: list[str]) -> list[str]:
    """Put those options behind the command that stand before it: pip takes them in both places."""
    place = 0
    while place < len(arguments) and _OURS.fullmatch(arguments[place]):
        place += 1
    return [*arguments[place : place + 1], *arguments[:place], *arguments[place + 1 :]]
