"""The command `add`, which fills a store before users install from it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from pip_sharedcache.activation import executable_of
from pip_sharedcache.cli.choosing import add_python_option
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import store_to_fill
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.add import add_distributions, freeze, options_for

HELP = "add wheels without installing them"
DESCRIPTION = (
    "Let pip resolve the requirements, and add the wheels and their bytecode to "
    "the store. Further arguments of pip install can follow --."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    option = parser.add_argument
    repeated: dict[str, Any] = {"action": "append", "default": []}
    option("requirements", metavar="REQUIREMENT", nargs="*", help="add this, as for pip install")
    option("-r", "--requirement", metavar="FILE", help="add those of this file", **repeated)
    what = "add the distributions that the environment has"
    option("--installed", action="store_true", help=what)
    option("--from-env", metavar="ENV", type=path_argument, help=argparse.SUPPRESS)
    what = "resolve and compile for this environment; repeatable (default: the active one)"
    add_python_option(parser, what, "--for", **repeated)
    what = "pass this to pip, and add no bytecode"
    option("--python-version", metavar="VERSION", help=what)
    option("--platform", metavar="TAG", help=what, **repeated)
    option("--abi", metavar="TAG", help=what, **repeated)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_to_fill(output)
    cross = bool(chosen.python_version or chosen.platform or chosen.abi)
    if cross and (chosen.python or chosen.installed or chosen.from_env):
        raise UsageError("--python-version, --platform and --abi exclude --python and --installed")
    wanted = [*chosen.requirements, *(f"--requirement={file}" for file in chosen.requirement)]
    wanted += chosen.beyond
    pythons, frozen = [*map(executable_of, chosen.python)], None
    if chosen.installed or chosen.from_env is not None:
        named = chosen.from_env or next(iter(pythons), None)
        executable = chosen.place.interpreter(named, output.verbose).executable
        pythons = pythons or [executable]
        frozen = freeze(executable)
        for line in frozen.left_out:
            output.warn(f"Not added: {line}: no index has it")
    if not wanted and frozen is None:
        raise UsageError("store add needs requirements, -r or --installed")
    if cross:
        wanted += options_for(chosen.python_version, chosen.platform, chosen.abi)
    if not pythons and chosen.place.prefix is not None:
        pythons = [chosen.place.executable()]
        if output.verbose:
            chosen.place.tell(pythons[0])
    done = add_distributions(
        *(store, wanted, frozen, pythons), quiet=output.quiet, silent=output.as_json
    )
    missing = [one for one in done.distributions if not one.stored]
    for one in missing:
        why = one.banned or ("built here, and not shared" if one.built else f"from {one.url}")
        output.find(f"Not in {store.path}: {one.name} {one.version}: {why}")
    rows = [{**asdict(one), "banned": one.banned or None} for one in done.distributions]
    output.result({"store": str(store.path), "new": done.new, "distributions": rows})
    there = counted(len(rows) - len(missing), "distribution is", "distributions are")
    output.say(f"{there} in {store.path}, {done.new} of them new.")
    return FINDINGS if missing else FINE
