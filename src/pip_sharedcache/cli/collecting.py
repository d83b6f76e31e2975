"""Taking away what nobody uses: gc."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.errors import reason
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import (
    GRACE,
    WHEELS,
    Item,
    Store,
    choose,
    delete_retired,
    history,
    inventory,
    links,
    marks,
    retire,
    retire_notes,
)

_AGES = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600, "": 24 * 3600}  # seconds
_SIZES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}  # bytes


@dataclass
class _Outcome:
    """What one run did. ``refused``: paths, each with the owner and why."""

    retired: list[Item] = field(default_factory=list)
    deleted: int = 0
    kept: int = 0
    refused: list[tuple[Path, int, str]] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)


def add(commands: Any) -> None:
    """Name the commands of this module."""
    gc = commands.add_parser(
        "gc",
        help="take away what nobody uses",
        description="Takes entries out of sight that were not used for long, and deletes what was "
        "taken out of sight before. Without an age or a size: only the second, and bytecode of "
        "wheels that are gone, a month after it was used last. Only one's own, unless one is root.",
    )
    gc.add_argument("--older-than", metavar="AGE", type=_age, help="not used for: 12h, 30d, 8w")
    gc.add_argument("--max-size", metavar="SIZE", type=_size, help="leave at most: 500M, 50G")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be taken away")
    Output.add_options(gc)
    gc.set_defaults(run=_gc)


def _age(text: str) -> float:
    return _number(text.lower(), _AGES, "an age, like 12h, 30d or 8w")


def _size(text: str) -> float:
    return _number(text.upper().removesuffix("B"), _SIZES, "a size, like 500M or 50G")


def _number(text: str, units: dict[str, int], wanted: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]?)", text)
    if match is None or match[2] not in units:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2]]


def _gc(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output) if chosen.dry_run else store_to_change(output)
    now = marks.now(store)
    unread: list[tuple[Path, str]] = []
    found = inventory(store, marks.last_uses(store), unread)
    items = list(output.progress(found, "Looked at"))
    linked = links.linked(store)
    doomed = choose(items, linked, now, older_than=chosen.older_than, max_size=chosen.max_size)
    for item in items:
        for user, where in linked.get(item.path.name, ()):
            who = trust.user_name(user)
            output.detail(f"{item.title} is kept for symlinks of {who} in {where}")
    if chosen.dry_run:
        outcome = _Outcome(retired=doomed)
    else:
        outcome = _collect(store, items, doomed, now)
        _record(store, outcome.retired, now)
        marks.forget(store, {item.path.name for item in items}, now - GRACE)
        links.forget(store)
    outcome.unread.update(unread)
    _tell(chosen, output, outcome)
    squatters = [
        f"{path} is for the marks of {trust.user_name(user)} and was put there by "
        f"{trust.user_name(owner)}: what {trust.user_name(user)} uses counts as unused"
        for path, user, owner in marks.squatters(store)
    ]
    for line in squatters:
        (output.warn if output.as_json else output.find)(line)
    return FINDINGS if outcome.refused or outcome.unread or squatters else FINE


def _record(store: Store, retired: list[Item], now: float) -> None:
    """For those who look at how the store grows."""
    if retired:
        size = sum(item.size for item in retired)
        with contextlib.suppress(OSError):  # the disk may be full: what was taken makes room
            history.note_collection(store, history.Collection(int(now), len(retired), size))


def _collect(store: Store, items: list[Item], doomed: list[Item], now: float) -> _Outcome:
    outcome = _Outcome()
    for item in doomed:
        try:
            if retire(store, item, now):
                outcome.retired.append(item)
        except OSError as error:
            outcome.refused.append((item.path, item.publisher, reason(error)))
    gone = set(outcome.retired)
    wheels = {item.digest for item in items if item.area == WHEELS and item not in gone}
    retire_notes(store, wheels, now)
    done = delete_retired(store, now)
    outcome.deleted, outcome.kept = done.deleted, done.kept
    outcome.refused += done.refused
    outcome.unread.update(done.unread)
    return outcome


def _tell(chosen: argparse.Namespace, output: Output, outcome: _Outcome) -> None:
    retired = outcome.retired
    output.result(
        {
            "dry_run": chosen.dry_run,
            "retired": [str(item.path) for item in retired],
            "bytes": sum(item.size for item in retired),
            "deleted": outcome.deleted,
            "kept": outcome.kept,
            "refused": {str(path): why for path, _, why in outcome.refused},
            "unread": {str(path): why for path, why in outcome.unread.items()},
        }
    )
    for item in retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path}")
    size = megabytes(sum(item.size for item in retired))
    would = "Would take" if chosen.dry_run else "Took"
    output.say(f"{would} {_entries(len(retired))} of {size} out of sight.")
    if not chosen.dry_run:
        output.say(
            f"Deleted {outcome.deleted} that were out of sight for {GRACE // 60} minutes; "
            f"{outcome.kept} are kept until then."
        )
    for path, why in outcome.unread.items():
        output.find(f"{path} cannot be read, and nothing in it was collected: {why}")
    by_owner = defaultdict(list)
    for path, owner, why in outcome.refused:
        by_owner[owner].append((path, why))
    for owner, refused in by_owner.items():
        # In a sticky shard its owner may rename what others published, and not empty it.
        who = trust.user_name(owner)
        output.find(
            f"{_entries(len(refused))} of {who} cannot be taken away by you ({refused[0][1]}): "
            f"{who} can, with the same command, and so can root"
        )
        for path, why in refused:
            output.detail(f"{path}: {why}")


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"
