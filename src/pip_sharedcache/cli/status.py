"""The command `status`, which shows whether plain pip installs through the store."""

from __future__ import annotations

import argparse

from pip_sharedcache.activation import Activation, Hook
from pip_sharedcache.cli import enable
from pip_sharedcache.cli.output import FINDINGS, FINE, Output

HELP = "show whether plain pip installs through the store"
add_arguments = enable.add_arguments


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    interpreter = chosen.place.interpreter(chosen.python, output.verbose)
    everywhere = Hook(interpreter, everywhere=True)
    hook, activated = everywhere.files(), []
    if not chosen.sitecustomize:
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
        state = f"{without}; hint: pip-sharedcache store enable"
    output.find(f"{interpreter.prefix}: {state}")
    files = list(map(str, [*hook, *activated]))
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
            "files": files,
        }
    )
    return FINE if (ours or activated) and not unfit else FINDINGS
