"""The command `enable`, which makes plain pip install through the store."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache import pip_adapter, resources
from pip_sharedcache.activation import (
    Activation,
    Hook,
    Interpreter,
    Switch,
    registry,
    what_joins,
)
from pip_sharedcache.cli.choosing import add_python_option
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.errors import SharedCacheError, UsageError, reason

HELP = "make plain pip install through the store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of enable, disable and status to ``parser``."""
    what = "use this environment, or that of this interpreter (default: the active one)"
    add_python_option(parser, what)
    where = parser.add_mutually_exclusive_group()
    what = "apply to all environments of its interpreter"
    where.add_argument("--sitecustomize", action="store_true", help=what)
    what = "apply to shells in which conda has activated it"
    where.add_argument("--conda", action="store_true", help=what)


def carried() -> dict[str, Any]:
    """Return the data from which another pip finds pip-sharedcache; raise UsageError."""
    told = pip_adapter.carried()
    if told is None or resources.IN_ARCHIVE:
        raise UsageError("pip-sharedcache runs from an archive", "install it in a directory")
    return {**told, "runner": str(pip_adapter.RUNNER)}


def switches_of(chosen: argparse.Namespace, interpreter: Interpreter) -> list[Switch]:
    """Return the switch that the options name, or all switches of an environment."""
    if chosen.sitecustomize:
        return [Hook(interpreter, everywhere=True)]
    activation = Activation(interpreter)
    return [activation] if chosen.conda else [Hook(interpreter, everywhere=False), activation]


def is_enabled(interpreter: Interpreter) -> bool:
    """Return whether any file of enable is there for ``interpreter``."""
    hooks = (Hook(interpreter, everywhere=everywhere) for everywhere in (False, True))
    return any(switch.files() for switch in (*hooks, Activation(interpreter)))


def examine(interpreter: Interpreter) -> tuple[str, str, str, str]:
    """Return what_joins(interpreter); a pip that is too old and was not examined is unfit."""
    pip, ours, unfit, said = what_joins(interpreter)
    if pip and not ours and not unfit and pip_adapter.is_too_old(pip):
        library = interpreter.library if (interpreter.prefix / "pyvenv.cfg").is_file() else ""
        unfit = str(pip_adapter.unfit(pip, interpreter.executable, library=library))
    return pip, ours, unfit, said


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.python is None:
        chosen.place.refuse("--python ENV")
    interpreter = chosen.place.interpreter(chosen.python, output.verbose)
    written = switches_of(chosen, interpreter)[0].switch_on(carried())
    for path in written:
        output.say(f"Wrote {path}")
    try:
        registry.note(interpreter.prefix)
    except (SharedCacheError, OSError, RuntimeError) as error:  # RuntimeError: no home directory
        why = reason(error) if isinstance(error, OSError) else str(error)
        output.warn(f"status --all will not list {interpreter.prefix}: {why}")
    output.result({"prefix": str(interpreter.prefix), "written": list(map(str, written))})
    pip, ours, unfit, said = examine(interpreter)
    if unfit:
        output.warn(f"{interpreter.prefix}: pip installs without the store: {unfit}")
    elif chosen.conda:
        output.say("Shells that activate this environment from now on install through the store.")
        return FINE
    elif pip and not ours:
        why = f" ({said})" if said else ""
        output.warn(f"{interpreter.prefix}: pip {pip} installs without the store{why}")
    else:
        return FINE
    return FINDINGS
