"""The command `status`, which shows whether plain pip installs through the store."""

from __future__ import annotations

import argparse
import os
import shlex
import stat
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.activation import Activation, Hook, Interpreter, changeable_by, registry
from pip_sharedcache.cli import enable
from pip_sharedcache.cli.output import FINDINGS, FINE, Output, reasons
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.errors import FileError, SharedCacheError, UsageError, reason

HELP = "show whether plain pip installs through the store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    enable.add_arguments(parser)
    what = "show all environments that you enabled, and forget those that are gone"
    parser.add_argument("--all", action="store_true", help=what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.all:
        if chosen.python or chosen.sitecustomize:
            raise UsageError("--all shows every environment: it excludes --python, --sitecustomize")
        return _show_all(chosen, output)
    interpreter = chosen.place.interpreter(chosen.python, output.verbose)
    everywhere = Hook(interpreter, everywhere=True)
    fine, facts = _show(
        interpreter,
        output,
        with_others=not chosen.sitecustomize,
        named=bool(chosen.python),
    )
    if left := everywhere.lines_elsewhere():
        output.warn(left)
    output.result(facts)
    return FINE if fine else FINDINGS


def _show(
    interpreter: Interpreter, output: Output, *, with_others: bool, named: bool = True
) -> tuple[bool, dict[str, Any]]:
    """Print the state of ``interpreter``; return whether it is fine, and the facts.

    ``with_others``: whether the files of the environment alone, and those for conda, count.
    ``named``: whether a hint must name the environment, because it is not the active one.
    """
    hook, activated = Hook(interpreter, everywhere=True).files(), []
    if with_others:
        hook = [*Hook(interpreter, everywhere=False).files(), *hook]
        activated = Activation(interpreter).files()
    pip, ours, unfit, said = enable.examine(interpreter)
    without = f"pip {pip} installs without the store"
    if not pip:
        state = "has no pip"
    elif unfit:
        state = f"pip installs without the store: {unfit}"
    elif ours:
        state = f"pip {pip} installs through the store (pip-sharedcache {ours})"
    elif hook:
        why = f" ({said})" if said else ": pip-sharedcache is missing or cannot be read"
        state = f"{without}, although it is enabled{why}"
    elif activated:
        state = f"{without}, except in shells where conda has activated it"
    else:
        enables = f"pip-sharedcache store enable{_option(interpreter, named=named)}"
        command = trust.hint_in(interpreter.library, enables)
        state = f"{without}; hint: {command}"
    output.find(f"{interpreter.prefix}: {state}")
    files = list(map(str, [*hook, *activated]))
    for path in files:
        output.say(f"  {path}")
    facts = {
        "prefix": str(interpreter.prefix),
        "pip": pip or None,
        "pip_sharedcache": None if unfit else ours or None,
        "activation": bool(activated),
        "files": files,
    }
    return bool(ours or activated) and not unfit, facts


def _option(interpreter: Interpreter, *, named: bool) -> str:
    return f" --python {shlex.quote(str(interpreter.prefix))}" if named else ""


def _show_all(chosen: argparse.Namespace, output: Output) -> int:
    """Show each environment that this user enabled; forget those that are gone."""
    with FileError.where_not("read"):
        known = registry.known()
    for record, why in known.unread:
        output.find(f"{record}: {why}")
    shown, gone, unread, fine = [], [], list(known.unread), True
    for one in known.environments:
        try:
            if why := _gone(one):
                gone.append(_forgotten(one.prefix, why, output))
                continue
            interpreter = _asked(one.prefix, chosen, output)
            if not enable.is_enabled(interpreter):
                gone.append(_forgotten(one.prefix, "is not enabled any more", output))
                continue
            is_fine, facts = _show(interpreter, output, with_others=True)
        except (SharedCacheError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            output.find(f"{one.prefix}: {why}")
            unread.append((one.prefix, why))
            continue
        fine &= is_fine
        shown.append(facts)
    number = counted(len(shown), "environment", "environments")
    output.say(f"{number} enabled by you.")
    output.result({"environments": shown, "gone": gone, "unread": reasons(unread)})
    return FINE if fine and not unread else FINDINGS


def _gone(one: registry.Recorded) -> str:
    """Return why the environment ``one`` is gone for good; "" if it is there.

    Raises UsageError if its file system is not mounted, and OSError.
    """
    if _is_directory(one.prefix):
        return ""
    if one.is_unmounted:
        raise UsageError(f"its file system is not mounted at {one.mount_point}")
    return "is gone"


def _asked(prefix: Path, chosen: argparse.Namespace, output: Output) -> Interpreter:
    """Return the interpreter of ``prefix``, whose Python runs for that.

    Raises UsageError if another user could have changed what would run as this user; FileError,
    OSError.
    """
    if who := changeable_by(prefix):
        asks = f"pip-sharedcache store status --python {shlex.quote(str(prefix))}"
        raise UsageError(f"not asked: {who}", f"{asks} runs its Python all the same")
    interpreter: Interpreter = chosen.place.interpreter(prefix, output.verbose)
    return interpreter


def _is_directory(path: Path) -> bool:
    """Return whether ``path`` is a directory. Raises OSError if the system does not tell."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _forgotten(prefix: Path, why: str, output: Output) -> str:
    registry.forget(prefix)
    output.say(f"{prefix}: {why}")
    return str(prefix)
