"""Taking away what nobody uses: gc."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import (
    GRACE,
    Item,
    choose,
    delete_retired,
    forget,
    inventory,
    linked,
    retire,
    used,
)

_AGES = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600, "": 24 * 3600}  # seconds
_SIZES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}  # bytes


def add(commands: Any) -> None:
    """Name the commands of this module."""
    gc = commands.add_parser(
        "gc",
        help="take away what nobody uses",
        description="Takes entries out of sight that were not used for long, and deletes what was "
        "taken out of sight before. Without an age or a size: only the second, and bytecode of "
        "wheels that are gone. Only one's own, unless one is root.",
    )
    gc.add_argument("--older-than", metavar="AGE", type=_age, help="not used for: 12h, 30d, 8w")
    gc.add_argument("--max-size", metavar="SIZE", type=_size, help="leave at most: 500M, 50G")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be taken away")
    Output.add_options(gc)
    gc.set_defaults(run=_gc)


def _age(text: str) -> float:
    return _number(text, _AGES, "an age, like 12h, 30d or 8w")


def _size(text: str) -> float:
    return _number(text.upper().removesuffix("B"), _SIZES, "a size, like 500M or 50G")


def _number(text: str, units: dict[str, int], wanted: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]?)", text)
    if match is None or match[2] not in units:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2]]


def _gc(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    items = choose(
        inventory(store, used(store)),
        linked(store),
        older_than=chosen.older_than,
        max_size=chosen.max_size,
    )
    retired: list[Item] = []
    refused: list[tuple[str, str]] = []
    deleted = 0
    kept: Counter[int] = Counter()
    if chosen.dry_run:
        retired = items
    else:
        for item in items:
            if why := retire(item):
                refused.append((str(item.path), why))
                kept[item.publisher] += item.size
            else:
                retired.append(item)
        deleted, left = delete_retired(store)
        refused += [(str(path), why) for path, why in left]
        forget(store)
    output.result(
        {
            "dry_run": chosen.dry_run,
            "retired": [str(item.path) for item in retired],
            "bytes": sum(item.size for item in retired),
            "deleted": deleted,
            "refused": dict(refused),
        }
    )
    for item in retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path.name}")
    size = megabytes(sum(item.size for item in retired))
    would = "Would take" if chosen.dry_run else "Took"
    output.say(f"{would} {len(retired)} entries of {size} out of sight.")
    if not chosen.dry_run:
        output.say(f"Deleted {deleted} that were out of sight for {GRACE // 60} minutes.")
    for publisher, bytes_kept in kept.items():
        output.find(
            f"{megabytes(bytes_kept)} are left of {trust.user_name(publisher)}, "
            "who can take them away with the same command, as root can"
        )
    for path, why in refused:
        output.detail(f"{path}: {why}")
    return FINDINGS if refused else FINE
