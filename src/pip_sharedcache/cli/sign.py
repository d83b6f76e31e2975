"""The command `sign`, which signs bytecode and build records."""

from __future__ import annotations

import argparse
from collections import Counter

from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output, reasons
from pip_sharedcache.cli.quantities import entries
from pip_sharedcache.cli.stores import main_store, settings_in_use
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.signatures import sign_entries, signed_builds
from pip_sharedcache.maintenance.stores import require_writable
from pip_sharedcache.store import BUILDS, BYTECODE, WHEELS

HELP = "sign the bytecode and the builds of publishers whom you trust"
DESCRIPTION = (
    "Sign bytecode and build records with the setting signing-key, so that users for whom the "
    "owners in this store mean nothing can use them, if their setting signers lists the key. Exit "
    "status 1 means that entries were not signed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    settings = settings_in_use(output)
    store = main_store(settings, output)
    require_writable(store)
    if settings.signing_key is None:
        raise UsageError(
            "Nothing is signed: no key is named",
            "pip config --user set sharedcache.signing-key /path/to/key",
        )
    contents = read_entries(store, chosen.names, (WHEELS, BYTECODE), uses=False)
    records = read_entries(store, areas=(BUILDS,), uses=False)
    wheels = {item.digest for item in contents.of_area(WHEELS)}
    items = [*contents.of_area(BYTECODE), *signed_builds(records.items, wheels)]
    signed, total, left = 0, 0, Counter[str]()
    found = sign_entries(store, items, settings.signing_key)
    for one in output.progress(found, "Signed", len(items)):
        if one is None:
            continue  # the entry vanished meanwhile
        total += 1
        signed += one.done
        if one.why:
            left[one.why] += 1
            output.detail(f"{one.item.path} ({one.item.title}): {one.why}")
    output.find_or_warn(contents.problems())
    for why, number in left.items():
        output.find(f"Not signed: {entries(number)}: {why}")
    output.result(
        {
            "store": str(store.path),
            "key": str(settings.signing_key),
            "signed": signed,
            "left": sum(left.values()),
            "entries": total,
            "missing": list(contents.missing),
            "unread": reasons(contents.unread),
        }
    )
    before = total - signed - sum(left.values())
    already = f", {before} were signed before" if before else ""
    output.say(f"Signed {entries(signed)} of {store.path}{already}.")
    return FINDINGS if left or contents.problems() else FINE
