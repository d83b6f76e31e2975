"""The commands ``pip-sharedcache store ...``. Only the package ``cli`` prints.

Exit status: 0 success, 1 findings, 2 failure, 130 interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NoReturn

from pip_sharedcache import __version__, interrupts, trust
from pip_sharedcache.cli import (
    add,
    adopt,
    ban,
    clean,
    completion,
    disable,
    doctor,
    enable,
    export,
    gc,
    import_,
    info,
    init,
    list_,
    path,
    pull,
    push,
    remove,
    repack,
    report,
    setup,
    shell_init,
    sign,
    stats,
    status,
    verify,
    who_has,
)
from pip_sharedcache.cli.choosing import TargetEnvironment
from pip_sharedcache.cli.output import CANNOT, Output, wants_json
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.errors import SharedCacheError, StoreUnusable, UsageError, reason
from pip_sharedcache.store import Store, releases

#: One module for each command, named after it. A module has ``HELP``, can have ``DESCRIPTION``, and
#: has ``add_arguments`` (parser) and ``run`` (arguments and output; returns the exit status).
_MODULES = (
    *(setup, init, path, info, list_, stats, report, add, export, import_),
    *(push, pull, adopt, repack),
    *(remove, clean, ban, who_has, gc, verify, sign),
    *(doctor, enable, disable, status, shell_init, completion),
)


#: Options of Output.add_options that may also stand before the command.
_OURS = re.compile(r"-[qv]+|--quiet|--verbose|--json")


class _Parser(argparse.ArgumentParser):
    """A parser that prints its errors also as a JSON result, where ``asked`` has --json."""

    asked: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        wrong = UsageError(message, self.format_usage().strip())
        first = next((word for word in self.asked if not word.startswith("-")), "")
        command = first if is_command(first) else ""
        Output(as_json=wants_json(self.asked), command=command).tell_programs(wrong)
        super().error(message)


def store_command(before: Sequence[str], arguments: Sequence[str], place: TargetEnvironment) -> int:
    """Run ``store`` with ``arguments`` for the environment ``place``; return the exit status.

    ``before``: the options in front of ``store``. Prints the errors of the command. Raises
    UsageError where an option in front is not one of the store commands.
    """
    for option in before:
        if not _OURS.fullmatch(option):
            raise UsageError(
                f"Option that cannot stand before store: {option}",
                "only -q, -v and --json can stand there: write it behind the command",
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
        interrupts.raise_again()
        status: int = chosen.run(chosen, output)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        output.warn("Interrupted")
        return interrupts.INTERRUPTED
    except BrokenPipeError:
        output.give_up()
        return CANNOT
    except OSError as error:  # for example, a file system that became unreachable
        name = error.filename if isinstance(error.filename, str) else None
        what = f"Cannot use the store: {f'{name}: ' if name else ''}{reason(error)}"
        return output.fail(StoreUnusable(what, path=name, errno=error.errno))
    except SharedCacheError as error:
        return output.fail(error)


def is_command(word: str) -> bool:
    """Return whether ``word`` is the name of a store command."""
    return word in map(_name_of, _MODULES)


def _name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-")


def _parser() -> tuple[_Parser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of the whole line, and that of each command."""
    parser = _Parser(prog="pip-sharedcache store", description="Manage the shared store of wheels.")
    parser.add_argument("--version", action="version", version=f"pip-sharedcache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _MODULES:
        name = _name_of(module)
        description = getattr(module, "DESCRIPTION", None)
        command = commands.add_parser(name, help=module.HELP, description=description)
        command.set_defaults(run=module.run)
        module.add_arguments(command)
        Output.add_options(command)
    return parser, commands.choices


def complete(line: completion.Line, place: int | None, *, help_only: bool = False) -> bool:
    """Print pip-sharedcache's completions of ``line``; return whether pip has none to add.

    ``place``: the index of ``store`` in the words of the line, or None. ``help_only``: whether only
    the name of a command can follow, as behind ``help store``.
    """
    words, current = line.words, line.current
    values = completion.of_setting(words, current)
    if help_only and place is not None:
        found = [] if words[place + 1 :] else completion.of_store((), current, _parser()[1], {})
    elif values:
        found = values
    elif place is None:
        found = completion.beside_pip(words, current)
    else:
        found = completion.of_store(words[place + 1 :], current, _parser()[1], _OFFERED)
    if found:
        print("\n".join(line.show(found)))
    return place is not None or bool(values)


def _store_to_read() -> Store | None:
    """Return the store in use; None if it cannot be used: the command itself says why."""
    try:
        output = Output()
        settings = settings_in_use(output)
        if settings.dir is None or not settings.dir.is_dir():  # a private one would be made
            return None
        return main_store(settings, output)
    except (SharedCacheError, OSError):
        return None


def _distributions() -> set[str]:
    store = _store_to_read()
    return set() if store is None else {name for name, _ in releases(store)}


def _versions() -> set[str]:
    store = _store_to_read()
    return set() if store is None else {f"{name}=={version}" for name, version in releases(store)}


def _banned() -> set[str]:
    store = _store_to_read()
    return set() if store is None else {one.what for one in store.bans.listed}


#: What completion offers (see completion.of_store).
_OFFERED = {
    "names": _distributions,
    "group": lambda: set(trust.group_names()),
    "ban": _versions,
    "ban --lift": _banned,
    "ban --list": lambda: set(),
    "who-has": lambda: _distributions() | _banned(),
}


def _options_last(arguments: list[str]) -> list[str]:
    """Move the options before the command behind it: pip takes its options in both places."""
    options = list(itertools.takewhile(_OURS.fullmatch, arguments))
    rest = arguments[len(options) :]
    return [*rest[:1], *options, *rest[1:]]
