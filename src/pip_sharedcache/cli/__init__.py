"""The command line: pip's commands go to pip, ``store`` goes to ``cli.commands``.

Options may stand before ``store``, as before pip's commands. With ``--no-sharedcache``, pip's
commands go to plain pip. Exit status: pip's own for pip's
commands; that of ``cli.commands`` for ``store``; 2 where pip-sharedcache itself fails.
"""

from __future__ import annotations

from pip_sharedcache import interrupts

_WAS_QUIET = interrupts.is_quiet()
if not _WAS_QUIET:
    interrupts.exit_quietly()
try:
    import contextlib
    import os
    import sys
    from collections.abc import Callable, Sequence
    from dataclasses import replace

    from pip_sharedcache import config, pip_adapter
    from pip_sharedcache.errors import SharedCacheError, UsageError
finally:
    if not _WAS_QUIET:
        interrupts.raise_again()

_OPTION = "--sharedcache-"
_OFF, _OFFLINE = "--no-sharedcache", "--offline"
_STORE, _HELP = "store", "help"

#: Options of pip that may stand before a command and take the next argument as their value.
_WITH_VALUE = frozenset(
    {
        *("--python", "--log", "--log-file", "--local-log", "--keyring-provider", "--proxy"),
        *("--retries", "--timeout", "--default-timeout", "--exists-action", "--trusted-host"),
        *("--cert", "--client-cert", "--cache-dir", "--use-feature", "--use-deprecated"),
        "--resume-retries",
    }
)
#: Options that pip answers at once, whatever command follows them.
_ANSWERED = frozenset({"-h", "--help", "-V", "--version"})


def script() -> int:
    """Run `main` for the active environment: the entry of the script and of the archive."""
    return main(for_active=True)


def main(
    arguments: Sequence[str] | None = None, *, for_active: bool = False, as_pip: bool = False
) -> int:
    """Run ``arguments`` (None: those of the process) and return the exit status.

    Pip's commands raise SystemExit with pip's status. ``for_active``: use the active environment
    (cli.choosing), not the environment in which this process runs. ``as_pip``: the user, or pip,
    started pip: its help and version are pip's alone.
    """
    interrupts.exit_quietly()
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments), for_active, as_pip)
    finally:
        interrupts.raise_again()


def _main(rest: list[str], for_active: bool, as_pip: bool) -> int:
    if "PIP_AUTO_COMPLETE" in os.environ and _completed():
        return 1  # pip's status after a completion
    place = None
    pip_adapter.prefer_neighbours()
    try:
        place = _place_of_store(rest)
        rest = _help_of_store(_take_options(rest))
        place = _place_of_store(rest)
        if place is not None:
            return _store_command(rest[:place], rest[place + 1 :], for_active)
        run_pip, beside = pip_adapter.run_pip, not as_pip
        if _is_switched_off(rest):
            run_pip, beside = pip_adapter.run_plain_pip, False
        words = _for_active_environment(rest) if for_active else rest
        pip_adapter.exit_quietly_until_command(words)
        _run(run_pip, words, _said_beside_pip(rest) if beside else "")
    except SharedCacheError as error:
        if place is None:
            print(f"ERROR: {error}", file=sys.stderr)
            return 2
        return _fail(error, rest, place)
    except ImportError as error:
        if place is None:  # pip's command: show the traceback that plain pip shows
            raise
        what = "Cannot import a package that pip-sharedcache needs"
        hint = "PYTHONPATH can name another version of this package"
        return _fail(SharedCacheError(f"{what}: {error}", hint), rest, place)
    except KeyboardInterrupt:
        # pip handles it, except while it waits for the pip of --python
        print("ERROR: Operation cancelled by user", file=sys.stderr)
        return 1  # pip's status
    return 0


def _fail(error: SharedCacheError, words: Sequence[str], place: int) -> int:
    """Print ``error`` of the store command in ``words``; return the exit status.

    ``place``: the index of ``store``.
    """
    from pip_sharedcache.cli.output import Output, wants_json

    rest, command = words[place + 1 :], ""
    if (first := _place_of_command(rest)) is not None:
        with contextlib.suppress(ImportError):  # the error can be that this module has none
            from pip_sharedcache.cli.commands import is_command

            command = rest[first] if is_command(rest[first]) else ""
    return Output(as_json=wants_json(words), command=command).fail(error)


def _run(run_pip: Callable[[Sequence[str]], None], words: list[str], beside: str) -> None:
    """Run pip with ``words``; if pip succeeds, print ``beside`` after pip's output."""
    try:
        run_pip(words)
    except SystemExit as end:
        if beside and end.code in (0, None):
            print(beside)
        raise


def _said_beside_pip(arguments: Sequence[str]) -> str:
    """Return the text that follows pip's general help, or its version; "" for other commands."""
    command = _place_of_command(arguments)
    if command is not None and list(arguments[command:]) != [_HELP]:
        return ""
    from pip_sharedcache.cli import overview

    options = arguments[:command]
    return overview.version() if overview.asks_for_version(options) else overview.text()


def _help_of_store(arguments: list[str]) -> list[str]:
    """Return ``arguments`` with ``help store COMMAND`` as ``store COMMAND --help``."""
    place = _place_of_command(arguments)
    if place is None or arguments[place : place + 2] != [_HELP, _STORE]:
        return arguments
    return [*arguments[:place], *arguments[place + 1 :], "--help"]


def _for_active_environment(arguments: list[str]) -> list[str]:
    from pip_sharedcache.cli.choosing import TargetEnvironment, pip_arguments

    place = TargetEnvironment.of(os.environ, sys.prefix, sys.argv[0])
    command = _place_of_command(arguments)
    return pip_arguments(place, "" if command is None else arguments[command], arguments)


def _store_command(options: list[str], arguments: list[str], for_active: bool) -> int:
    try:
        # Import late: pip's commands need none of these, and must run without them. Every store
        # command asks platformdirs for the default store; an old platformdirs lacks a name.
        from platformdirs import site_cache_dir, user_cache_dir  # noqa: F401

        from pip_sharedcache.cli.choosing import TargetEnvironment
        from pip_sharedcache.cli.commands import store_command
    except Exception as error:
        raise ImportError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    where = TargetEnvironment()
    if for_active:
        where = TargetEnvironment.of(os.environ, sys.prefix, sys.argv[0])
    return store_command(options, arguments, where)


def join_pip() -> None:
    """Make the pip that this process imports install through the store.

    Also removes the ``--sharedcache-`` options from ``sys.argv``. The hook of an environment
    (activation) calls this function. Raises SystemExit (status 2) for a wrong option.
    """
    try:
        sys.argv[1:] = _take_options(sys.argv[1:])
        is_off = _is_switched_off(sys.argv[1:])
    except UsageError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if pip_adapter.is_started_as_pip(sys.argv[0]):
        pip_adapter.exit_quietly_until_command(sys.argv[1:])
    if is_off:
        pip_adapter.join_plain_pip(sys.argv[1:])
    else:
        pip_adapter.join_pip()


def _is_switched_off(arguments: Sequence[str]) -> bool:
    """Return whether plain pip is to run, here and in the pips that it starts."""
    if not config.is_switched_off(os.environ, isolated="--isolated" in arguments):
        return False
    config.switch_off(os.environ)
    return True


def _completed() -> bool:
    """Print pip-sharedcache's completions for a shell; return whether pip has none to add."""
    from pip_sharedcache.cli.commands import complete
    from pip_sharedcache.cli.completion import words_of_line

    line = words_of_line(os.environ)
    if line is None:
        return False
    with contextlib.suppress(UsageError):  # --sharedcache-dir names the store of the completions
        line = replace(line, words=tuple(_take_options([*line.words])))
    place = _place_of_command(line.words)
    if place is not None and line.words[place : place + 2] == (_HELP, _STORE):
        return complete(line, place + 1, help_only=True)
    return complete(line, _place_of_store(line.words))


def _place_of_store(arguments: Sequence[str]) -> int | None:
    """Return the index of ``store`` in ``arguments``; None where ``store`` is not the command."""
    place = _place_of_command(arguments)
    return place if place is not None and arguments[place] == _STORE else None


def _place_of_command(arguments: Sequence[str]) -> int | None:
    """Return the index of the command in ``arguments``; None where they have no command."""
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
    """Return ``arguments`` without our options for pip's commands.

    These are ``--no-sharedcache``, ``--offline`` and ``--sharedcache-NAME VALUE``. Sets a variable
    for each option: the pip processes that pip starts find the value there.
    Raises UsageError for an unknown option, or one without a value.
    """
    rest: list[str] = []
    queue, is_off = iter(arguments), False
    for argument in queue:
        if argument == "--":
            rest += [argument, *queue]
            break
        if argument == _OFF:
            is_off = True
            continue
        if argument == _OFFLINE:
            os.environ[config.option_variable("offline")] = "yes"
            continue
        if argument.startswith((f"{_OFF}=", f"{_OFFLINE}=")):
            raise UsageError(f"{argument.partition('=')[0]} takes no value: {argument}")
        if not argument.startswith(_OPTION):
            rest.append(argument)
            continue
        name, equals, value = argument[len(_OPTION) :].partition("=")
        if name not in config.NAMES:
            known = ", ".join([_OFF, _OFFLINE, *(_OPTION + known for known in config.NAMES)])
            raise UsageError(f"Unknown option: {_OPTION}{name}", f"use one of {known}")
        if not equals:
            following = next(queue, None)
            if following is None:
                raise UsageError(f"{_OPTION}{name} needs a value")
            value = following
        os.environ[config.option_variable(name)] = value
    if is_off:  # last: it holds at any position, also before --sharedcache-dir
        config.switch_off(os.environ)
    return rest
