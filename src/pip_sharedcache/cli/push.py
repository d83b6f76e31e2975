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
from pip_sharedcache.maintenance.push import push_entries, targets
from pip_sharedcache.maintenance.resolutions import list_resolutions
from pip_sharedcache.maintenance.signatures import signed_builds
from pip_sharedcache.model import Policy, megabytes
from pip_sharedcache.store import BUILDS, BYTECODE, WHEELS

HELP = "put public wheels of the store, and signed data about them, into the remote stores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)
    parser.add_argument(
        "--all",
        action="store_true",
        help="also wheels of which nothing says that they are public",
    )


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    settings = settings_in_use(output)
    targets(settings)
    store = main_store(settings, output)
    if store.policy is Policy.PRIVATE:
        raise UsageError(f"Cannot push: {store.path} keeps wheels that must not be shared")
    contents = read_entries(store, chosen.names, (WHEELS, BYTECODE), uses=False)
    problems = list(contents.problems())
    wheels = select(contents)
    found = contents.of_area(WHEELS)
    digests = {one.digest for one in found if one.public or chosen.all}
    public = [one for one in wheels if one.manifest.digest in digests]
    damaged = {one.digest: one for one in found if one.damage and one.digest not in digests}
    problems += [f"Not pushed: {one.path}: {one.damage}" for one in damaged.values()]
    left = len(wheels) - len(public) - len(damaged)
    remotes: list[dict[str, Any]] = []
    derived = [one for one in contents.of_area(BYTECODE) if one.digest in digests]
    if settings.signing_key is not None:
        records = read_entries(store, areas=(BUILDS,), uses=False)
        derived += signed_builds(records.items, digests)
        derived += [one.item for one in list_resolutions(store, chosen.names).found]
    for one in push_entries(settings, public, derived):
        problems += [f"Not all was pushed: {one.url}: {problem}" for problem in one.problems]
        counts = {
            "pushed": one.wheels.count,
            "bytecode": one.bytecode.count,
            "build_records": one.builds.count,
            "resolutions": one.resolutions.count,
            "bytes": one.size,
            "present": one.present,
        }
        remotes.append({"url": one.url, **counts})
        what = counted(one.wheels.count, "wheel", "wheels")
        if settings.signing_key is not None:
            what += f", bytecode of {counted(one.bytecode.count, 'wheel', 'wheels')}"
            what += f", {counted(one.builds.count, 'build record', 'build records')}"
            what += f", and {counted(one.resolutions.count, 'resolution', 'resolutions')}"
        size = megabytes(counts["bytes"])
        there = counted(counts["present"], "was", "were")
        output.say(f"Pushed {what} ({size}) to {one.url}; {there} there.")
    if left:
        output.say(
            f"{counted(left, 'wheel is', 'wheels are')} not pushed, since nothing in the store "
            "says that everybody can have them; hint: pip-sharedcache store push --all"
        )
    for problem in problems:
        output.warn(problem)
    output.result(
        {"store": str(store.path), "remotes": remotes, "left": left, "problems": problems}
    )
    return FINDINGS if problems else FINE
