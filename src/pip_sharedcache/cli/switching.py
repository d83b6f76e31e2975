"""The commands that make plain pip use the store: enable, disable, status, shell-init."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pip_sharedcache import pip_adapter, resources
from pip_sharedcache.activation import (
    SHELLS,
    Activation,
    Hook,
    Interpreter,
    Switch,
    function,
    libraries_of,
    what_joins,
)
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.errors import SharedCacheError, UsageError


def add(commands: Any) -> None:
    """Register the commands of this module in ``commands``."""
    for name, what, run in (
        ("enable", "make plain pip install through the store", _enable),
        ("disable", "remove the files that enable wrote", _disable),
        ("status", "show whether plain pip installs through the store", _status),
    ):
        parser = commands.add_parser(name, help=what)
        parser.add_argument(
            "--prefix",
            metavar="ENV",
            type=Path,
            help="use this environment (default: the active one)",
        )
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--sitecustomize",
            action="store_true",
            help="apply to all environments of its interpreter",
        )
        where.add_argument(
            "--conda", action="store_true", help="apply to shells in which conda has activated it"
        )
        parser.set_defaults(run=run)

    shell = commands.add_parser(
        "shell-init", help="print a shell function that makes pip install through the store"
    )
    shell.add_argument(
        "shell", choices=SHELLS, metavar="SHELL", help=f"name the shell: {', '.join(SHELLS)}"
    )
    shell.set_defaults(run=_shell_init)


def _shell_init(chosen: argparse.Namespace, output: Output) -> int:
    output.script(chosen.shell, function(chosen.shell, _told()))
    return FINE


def _told() -> dict[str, Any]:
    told = pip_adapter.carried()
    if told is None or resources.IN_ARCHIVE:
        raise UsageError("pip-sharedcache runs from an archive", "install it in a directory")
    return {**told, "runner": str(pip_adapter.RUNNER)}


def _switches(chosen: argparse.Namespace, interpreter: Interpreter) -> list[Switch]:
    """Return the switch that the options name, or all switches of an environment."""
    if chosen.sitecustomize:
        return [Hook(interpreter, everywhere=True)]
    activation = Activation(interpreter)
    return [activation] if chosen.conda else [Hook(interpreter, everywhere=False), activation]


def _enable(chosen: argparse.Namespace, output: Output) -> int:
    if chosen.prefix is None:
        chosen.place.refuse("--prefix ENV")
    interpreter = chosen.place.interpreter(chosen.prefix, output.verbose)
    switch = _switches(chosen, interpreter)[0]
    written = switch.switch_on(_told())
    for path in written:
        output.say(f"Wrote {path}")
    output.result({"prefix": str(interpreter.prefix), "written": list(map(str, written))})
    pip, ours, unfit, said = _what_joins(interpreter)
    if unfit:
        output.warn(f"{interpreter.prefix}: pip installs without the store: {unfit}")
        return FINDINGS
    if chosen.conda:
        output.say("Shells that activate this environment from now on install through the store.")
        return FINE
    if pip and not ours:
        why = f" ({said})" if said else ""
        output.warn(f"{interpreter.prefix}: pip {pip} installs without the store{why}")
        return FINDINGS
    return FINE


def _what_joins(interpreter: Interpreter) -> tuple[str, str, str, str]:
    """Return what_joins(interpreter); a pip that is too old is unfit, examined or not."""
    pip, ours, unfit, said = what_joins(interpreter)
    if pip and not unfit and pip_adapter.is_too_old(pip):
        unfit = str(pip_adapter.unfit(pip, interpreter.executable))
    return pip, ours, unfit, said


def _disable(chosen: argparse.Namespace, output: Output) -> int:
    try:
        found = [chosen.place.interpreter(chosen.prefix, output.verbose)]
    except SharedCacheError as error:
        prefix = chosen.prefix or chosen.place.prefix
        found = libraries_of(prefix) if prefix else []
        if not found:
            raise
        output.warn(f"{error}; disable looks for files of enable in {prefix} itself")
    removed = []
    for interpreter in found:
        switches = _switches(chosen, interpreter)
        gone = [path for switch in switches for path in switch.switch_off()]
        for path in gone:
            output.say(f"{'Cleared' if path.exists() else 'Removed'} {path}")
        if not gone:
            output.say(f"Nothing was enabled in {switches[0].directory}")
        if chosen.sitecustomize and (left := Hook(interpreter, everywhere=True).lines_elsewhere()):
            output.warn(left)
        wider = not (chosen.sitecustomize or chosen.conda)
        if wider and Hook(interpreter, everywhere=True).files():
            output.say(
                f"{interpreter.prefix}: pip still installs through the store, which is enabled in "
                f"{interpreter.standard} for all environments of this interpreter; hint: "
                "pip-sharedcache store disable --sitecustomize"
            )
        removed += gone
    output.result({"prefix": str(found[0].prefix), "removed": list(map(str, removed))})
    return FINE


def _status(chosen: argparse.Namespace, output: Output) -> int:
    interpreter = chosen.place.interpreter(chosen.prefix, output.verbose)
    everywhere, activation = Hook(interpreter, everywhere=True), Activation(interpreter)
    activated = [] if chosen.sitecustomize else activation.files()
    own = [] if chosen.sitecustomize else Hook(interpreter, everywhere=False).files()
    files = [*own, *everywhere.files()]
    pip, ours, unfit, said = _what_joins(interpreter)
    if not pip:
        state = "has no pip"
    elif unfit:
        state = f"pip installs without the store: {unfit}"
    elif ours:
        state = f"pip {pip} installs through the store (pip-sharedcache {ours})"
    elif files:
        state = f"pip {pip} installs without the store, although it is enabled"
        state += f" ({said})" if said else ": pip-sharedcache is missing or cannot be read"
    elif activated:
        state = (
            f"pip {pip} installs without the store, except in shells where conda has activated it"
        )
    else:
        state = f"pip {pip} installs without the store; hint: pip-sharedcache store enable"
    output.find(f"{interpreter.prefix}: {state}")
    files += activated
    for path in files:
        output.say(f"  {path}")
    if left := everywhere.lines_elsewhere():
        output.warn(left)
    output.result(
        {
            "prefix": str(interpreter.prefix),
            "pip": pip or None,
            "pip_sharedcache": None if unfit else ours or None,
            "activation": bool(activated),
            "files": list(map(str, files)),
        }
    )
    return FINE if (ours or activated) and not unfit else FINDINGS
