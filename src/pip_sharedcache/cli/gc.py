"""Taking away what nobody uses: gc."""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import age, counted, entries, size
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.errors import reason
from pip_sharedcache.maintenance.gc import (
    GRACE,
    Spared,
    choose,
    delete_retired,
    retire,
    retire_notes,
    spared,
)
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import (
    WHEELS,
    Item,
    Store,
    inventory,
    run_log,
    symlink_registry,
    usage_marks,
)


@dataclass
class _Outcome:
    """What one run did. ``spared``: what no age and no size takes now; ``left``: bytes of what
    stays; ``refused``: paths, each with the owner and why."""

    spared: Spared
    left: int
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
        "wheels that are gone, a month after it was used last. Never what was used within the last "
        "hour. Only one's own, unless one is root.",
    )
    gc.add_argument(
        "--older-than", metavar="AGE", type=age, help="not used for: 12h, 30d, 8w (30 is days)"
    )
    gc.add_argument(
        "--max-size", metavar="SIZE", type=size, help="leave at most: 500M, 50GB, 200GiB"
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would be taken away")
    Output.add_options(gc)
    gc.set_defaults(run=_gc)


def _gc(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output) if chosen.dry_run else store_to_change(output)
    now = usage_marks.now(store)
    unread: list[tuple[Path, str]] = []
    found = inventory(store, usage_marks.last_uses(store), unread)
    items = list(output.progress(found, "Looked at"))
    linked = symlink_registry.linked(store)
    doomed = choose(items, linked, now, older_than=chosen.older_than, max_size=chosen.max_size)
    for item in items:
        for user, where in linked.get(item.path.name, ()):
            who = trust.user_name(user)
            output.detail(f"{item.title} is kept for symlinks of {who} in {where}")
    outcome = _Outcome(spared(items, linked, now), 0)
    if chosen.dry_run:
        outcome.retired = doomed
    else:
        _collect(store, items, doomed, now, outcome)
        _record(store, outcome.retired, now)
        usage_marks.forget(store, {item.path.name for item in items}, now - GRACE)
        symlink_registry.forget(store)
    outcome.unread.update(unread)
    gone = set(outcome.retired)
    outcome.left = sum(item.size for item in items if item not in gone)
    _tell(chosen, output, outcome, store)
    squatters = [
        f"{path} is for the marks of {trust.user_name(user)} and was put there by "
        f"{trust.user_name(owner)}: what {trust.user_name(user)} uses counts as unused"
        for path, user, owner in usage_marks.squatters(store)
    ]
    for line in squatters:
        (output.warn if output.as_json else output.find)(line)
    return FINDINGS if outcome.refused or outcome.unread or squatters else FINE


def _record(store: Store, retired: list[Item], now: float) -> None:
    """For those who look at how the store grows."""
    if retired:
        size = sum(item.size for item in retired)
        with contextlib.suppress(OSError):  # the disk may be full: what was taken makes room
            run_log.note_collection(store, run_log.Collection(int(now), len(retired), size))


def _collect(
    store: Store, items: list[Item], doomed: list[Item], now: float, outcome: _Outcome
) -> None:
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


def _tell(chosen: argparse.Namespace, output: Output, outcome: _Outcome, store: Store) -> None:
    retired = outcome.retired
    output.result(
        {
            "dry_run": chosen.dry_run,
            "retired": [str(item.path) for item in retired],
            "bytes": sum(item.size for item in retired),
            "left": outcome.left,
            "used_within_the_hour": _sum(outcome.spared.recent),
            "kept_for_symlinks": _sum(outcome.spared.linked),
            "deleted": outcome.deleted,
            "kept": outcome.kept,
            "refused": {str(path): why for path, _, why in outcome.refused},
            "unread": {str(path): why for path, why in outcome.unread.items()},
        }
    )
    for item in retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path}")
    would = "Would take" if chosen.dry_run else "Took"
    output.say(f"{would} {_of(retired)} out of sight.")
    if why := _why_no_more(chosen, outcome):
        output.say(why)
    if not chosen.dry_run:
        output.say(
            f"Deleted {entries(outcome.deleted)} that had been out of sight for "
            f"{GRACE // 60} minutes; {counted(outcome.kept, 'is', 'are')} kept until then."
        )
    elif others := [item for item in retired if _is_of_others(item, store)]:
        output.say(f"{_of(others)} of that can only be taken by those who published it, or root.")
    for path, why in outcome.unread.items():
        output.find(f"{path} cannot be read, and nothing in it was collected: {why}")
    by_owner = defaultdict(list)
    for path, owner, why in outcome.refused:
        by_owner[owner].append((path, why))
    for owner, refused in by_owner.items():
        # In a sticky shard its owner may rename what others published, and not empty it.
        who = trust.user_name(owner)
        output.find(
            f"{entries(len(refused))} of {who} cannot be taken away by you ({refused[0][1]}): "
            f"{who} can, with the same command, and so can root"
        )
        for path, why in refused:
            output.detail(f"{path}: {why}")


def _why_no_more(chosen: argparse.Namespace, outcome: _Outcome) -> str:
    """Why nothing was taken, or less than the size asks for; "" where neither is so."""
    by_age, most = chosen.older_than is not None, chosen.max_size
    too_much = most is not None and outcome.left > most
    if (outcome.retired or outcome.refused) and not too_much:
        return ""
    if not by_age and most is None:
        return "Nothing was asked for: name an age with --older-than, or a size with --max-size."
    what = [
        f"{_of(some)} {why}"
        for some, why in (
            (outcome.spared.recent, "used or published within the last hour"),
            (outcome.spared.linked, "that symlinks in environments lead to"),
        )
        if some
    ]
    kept = f" Kept in any case: {'; '.join(what)}." if what else ""
    if too_much:
        return f"{megabytes(outcome.left)} are left, more than the size that was asked for.{kept}"
    if by_age:
        return f"Nothing is unused for so long.{kept}"
    return f"{megabytes(outcome.left)} are left, no more than the size that was asked for."


def _is_of_others(item: Item, store: Store) -> bool:
    return trust.user_id() not in (0, item.publisher, store.owner)


def _of(items: Sequence[Item]) -> str:
    return f"{entries(len(items))} of {megabytes(sum(item.size for item in items))}"


def _sum(items: Sequence[Item]) -> dict[str, int]:
    return {"entries": len(items), "bytes": sum(item.size for item in items)}
