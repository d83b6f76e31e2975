"""The command line: pip's arguments pass through, ``store`` is ours (``cli.commands``). As before
pip's commands, options may stand before it.

Exit status: pip's own for pip's commands; for ours 0 fine, 2 when it cannot be done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pip_sharedcache import config, pip_adapter
from pip_sharedcache.errors import SharedCacheError, UsageError

_OPTION = "--sharedcache-"
_STORE = "store"

#: Of pip's options that stand before a command: those that are followed by a value.
_WITH_VALUE = frozenset(
    {
        *("--python", "--log", "--log-file", "--local-log", "--keyring-provider", "--proxy"),
        *("--retries", "--timeout", "--default-timeout", "--exists-action", "--trusted-host"),
        *("--cert", "--client-cert", "--cache-dir", "--use-feature", "--use-deprecated"),
        "--resume-retries",
    }
)
#: Those that pip answers by itself, whatever follows.
_ANSWERED = frozenset({"-h", "--help", "-V", "--version"})


def script() -> int:
    """What the script pip-sharedcache and the archive run: `main`, for the active environment."""
    return main(for_active=True)


def main(arguments: Sequence[str] | None = None, *, for_active: bool = False) -> int:
    """Run ``arguments`` (default: those of the process) and return the exit status. pip's
    commands do not return: they end in SystemExit with pip's status. ``for_active``: for the
    environment that is active (cli.choosing), in place of the one that this process runs in."""
    rest = list(sys.argv[1:] if arguments is None else arguments)
    if "PIP_AUTO_COMPLETE" in os.environ and _completed():
        return 1  # as pip
    place = None
    pip_adapter.prefer_neighbours()
    try:
        place = _place_of_store(rest)
        rest = _take_options(rest)
        place = _place_of_store(rest)
        if place is not None:
            return _store_command(rest[:place], rest[place + 1 :], for_active)
        pip_adapter.run_pip(_for_active_environment(rest) if for_active else rest)
    except SharedCacheError as error:
        if place is None:
            print(f"ERROR: {error}", file=sys.stderr)
            return 2
        from pip_sharedcache.cli.output import Output, wants_json

        return Output(as_json=wants_json(rest)).fail(error)
    except ImportError as error:
        if place is None:  # pip's own, said as pip says it
            raise
        print(f"ERROR: {_unusable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while one pip waits for another (--python); else pip sees to it
        print("ERROR: Operation cancelled by user", file=sys.stderr)
        return 1  # as pip
    return 0


def _for_active_environment(arguments: list[str]) -> list[str]:
    from pip_sharedcache.cli.choosing import TargetEnvironment, pip_arguments

    place = TargetEnvironment.of(os.environ, sys.prefix, sys.argv[0])
    command = _place_of_command(arguments)
    return pip_arguments(place, "" if command is None else arguments[command], arguments)


def _store_command(options: list[str], arguments: list[str], for_active: bool) -> int:
    try:
        # pip's own commands do without what ours need. Every one of ours asks the last for the
        # default store, and an old version of it lacks a name.
        from platformdirs import site_cache_dir, user_cache_dir  # noqa: F401

        from pip_sharedcache.cli.choosing import TargetEnvironment
        from pip_sharedcache.cli.commands import store_command
    except Exception as error:
        raise ImportError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    where = (
        TargetEnvironment.of(os.environ, sys.prefix, sys.argv[0])
        if for_active
        else TargetEnvironment()
    )
    return store_command(options, arguments, where)


def _unusable(error: ImportError) -> str:
    return (
        f"What pip-sharedcache needs cannot be imported: {error}; PYTHONPATH may name another "
        "version of it"
    )


def join_pip() -> None:
    """Have the pip that is being imported in this process install through the store, and take our
    options out of its command line. Called by the hook of an environment (activation). Ends in
    SystemExit for an option of ours that is wrong."""
    try:
        sys.argv[1:] = _take_options(sys.argv[1:])
    except UsageError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    pip_adapter.join_pip()


def _completed() -> bool:
    """A shell asks what may stand where its cursor is: print what of ours may. Whether nothing of
    pip's may stand there."""
    from pip_sharedcache.cli.commands import complete
    from pip_sharedcache.cli.completion import words_of_line

    line = words_of_line(os.environ)
    return line is not None and complete(line[0], _place_of_store(line[0]), line[1])


def _place_of_store(arguments: Sequence[str]) -> int | None:
    """Where among ``arguments`` the command is that is ours; None where it is one of pip's."""
    place = _place_of_command(arguments)
    return place if place is not None and arguments[place] == _STORE else None


def _place_of_command(arguments: Sequence[str]) -> int | None:
    """Where among ``arguments`` the command is; None where there is none."""
    queue = iter(enumerate(arguments))
    for place, argument in queue:
        if argument in _ANSWERED or argument == "--":
            return None
        if not argument.startswith("-"):
            return place
        if argument in _WITH_VALUE or (argument.startswith(_OPTION) and "=" not in argument):
            next(queue, None)
    return None


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
