"""The command `push`, which puts wheels of the store into the remote stores."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.archive import select
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.push import push_wheels, targets
from pip_sharedcache.model import Policy, megabytes
from pip_sharedcache.store import WHEELS

HELP = "put wheels of the store into the remote stores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    settings = settings_in_use(output)
    targets(settings)
    store = main_store(settings, output)
    if store.policy is Policy.PRIVATE:
        raise UsageError(f"Cannot push: {store.path} keeps wheels that must not be shared")
    contents = read_entries(store, chosen.names, (WHEELS,), uses=False)
    entries = select(contents)
    problems = contents.problems()
    remotes: list[dict[str, Any]] = []
    for one in push_wheels(settings, entries, lambda: None):
        pushed = one.pushed
        found = [f"{one.url}: {problem}" for problem in pushed.problems]
        found += [f"{one.url}: {one.failure}"] if one.failure else []
        problems = [*problems, *(f"Not all was pushed: {problem}" for problem in found)]
        counts = {"pushed": pushed.count, "bytes": pushed.size, "present": pushed.present}
        remotes.append({"url": one.url, **counts})
        wheels = counted(pushed.count, "wheel", "wheels")
        output.say(
            f"Pushed {wheels} ({megabytes(pushed.size)}) to {one.url}; {pushed.present} were there."
        )
    for problem in problems:
        output.warn(problem)
    output.result({"store": str(store.path), "remotes": remotes, "problems": list(problems)})
    return FINDINGS if problems else FINE
