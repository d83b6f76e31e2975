"""Checking what the store holds, byte by byte, and healing it: verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import entries
from pip_sharedcache.cli.selecting import HELP, absent, named
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.errors import StoreUnusable, reason
from pip_sharedcache.maintenance.heal import heal
from pip_sharedcache.maintenance.verify import Verdict, verify
from pip_sharedcache.store import BUILDS, BYTECODE, WHEELS, Store, inventory


def add(commands: Any) -> None:
    """Name the commands of this module."""
    parser = commands.add_parser(
        "verify",
        help="check every byte of what the store holds",
        description="Checks every file of every entry against the entry's own wheel, whose digest "
        "is the entry's name. Exit status 1 where something is damaged, healed or not.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=HELP)
    parser.add_argument(
        "--fix", action="store_true", help="heal what is yours (as root: anybody's)"
    )
    Output.add_options(parser)
    parser.set_defaults(run=_verify)


def _verify(chosen: argparse.Namespace, output: Output) -> int:
    store = store_to_change(output) if chosen.fix else store_in_use(output)
    unread: list[tuple[Path, str]] = []
    everything = inventory(store, {}, unread, (WHEELS, BYTECODE, BUILDS))
    items, missing = named(list(everything), chosen.names)
    for line in (*(f"{path} cannot be read: {why}" for path, why in unread), *absent(missing)):
        (output.warn if output.as_json else output.find)(line)
    damaged: list[dict[str, Any]] = []
    checked = 0
    try:
        for verdict in output.progress(verify(items), "Checked", len(items)):
            if verdict is None:
                continue  # gone meanwhile
            checked += 1
            if verdict.damage:
                damaged.append(_tell(store, verdict, output, fix=chosen.fix))
            else:
                output.detail(f"{verdict.item.path}: {verdict.item.title} is sound")
    except OSError as error:
        raise StoreUnusable(
            f"{store.path} cannot be verified: {reason(error)}",
            f"{entries(checked)} of it had been checked",
        ) from error
    healed = sum(bool(facts["healed"]) for facts in damaged)
    output.result(
        {
            "checked": checked,
            "damaged": damaged,
            "missing": missing,
            "unread": {str(path): why for path, why in unread},
        }
    )
    line = f"Checked {entries(checked)} of {store.path}"
    if checked:
        line += f": {len(damaged)} damaged" if damaged else ": all are sound"
    output.say(line + (f", {healed} of them healed." if damaged and chosen.fix else "."))
    return FINDINGS if damaged or unread or missing else FINE


def _tell(store: Store, verdict: Verdict, output: Output, *, fix: bool) -> dict[str, Any]:
    """Say what is damaged in an entry and, if it is to be healed, what was done; the same for
    programs."""
    item, who = verdict.item, trust.user_name(verdict.item.publisher)
    for damage in verdict.damage:
        path = item.path / damage.path
        output.find(f"{path} {damage.what} ({item.title}, published by {who})")
    healed, how = heal(store, verdict) if fix else (None, "")
    if how:
        output.find(f"{item.path} of {who}: {how}")
    return {
        "path": str(item.path),
        "area": item.area,
        "title": item.title,
        "sha256": item.digest,
        "publisher": who,
        "damage": [vars(damage) for damage in verdict.damage],
        "healed": healed,
        "what_was_done": how or None,
    }
