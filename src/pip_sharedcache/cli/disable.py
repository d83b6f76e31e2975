"""The command `disable`, which removes the files that `enable` wrote."""

from __future__ import annotations

import argparse

from pip_sharedcache import trust
from pip_sharedcache.activation import Hook, libraries_of, registry
from pip_sharedcache.cli import enable
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.errors import SharedCacheError

HELP = "remove the files that enable wrote"
add_arguments = enable.add_arguments


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    try:
        found = [chosen.place.interpreter(chosen.python, output.verbose)]
    except SharedCacheError as error:
        prefix = chosen.python or chosen.place.prefix
        found = libraries_of(prefix) if prefix else []
        if not found:
            raise
        output.warn(f"{error}; disable looks for files of enable in {prefix} itself")
    removed: list[str] = []
    for interpreter in found:
        switches, everywhere = (
            enable.switches_of(chosen, interpreter),
            Hook(interpreter, everywhere=True),
        )
        gone = [path for switch in switches for path in switch.switch_off()]
        for path in gone:
            output.say(f"{'Cleared' if path.exists() else 'Removed'} {path}")
        if not gone:
            output.say(f"Nothing was enabled in {switches[0].directory}")
        if chosen.sitecustomize and (left := everywhere.lines_elsewhere()):
            output.warn(left)
        if not (chosen.sitecustomize or chosen.conda) and everywhere.files():
            command = "pip-sharedcache store disable --sitecustomize"
            output.say(
                f"{interpreter.prefix}: pip still installs through the store, which is enabled in "
                f"{interpreter.standard} for all environments of this interpreter; hint: "
                f"{trust.hint_in(interpreter.standard, command)}"
            )
        if not enable.is_enabled(interpreter):
            registry.forget(interpreter.prefix)
        removed += map(str, gone)
    output.result({"prefix": str(found[0].prefix), "removed": removed})
    return FINE
