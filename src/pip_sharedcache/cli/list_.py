"""The command `list`, which lists the entries of a store."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output, reasons
from pip_sharedcache.cli.quantities import counted, moment
from pip_sharedcache.cli.remotes import add_remote_option, list_remote
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.entries import Contents, copied_lines, read_entries
from pip_sharedcache.maintenance.resolutions import ListedResolution, list_resolutions
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import BYTECODE, RESOLUTIONS, WHEELS, Store, StoredEntry

_SHORT_KEY = 12  # digits
_MOST_NAMED = 3  # requirements

HELP = "list the entries of the store in use"

#: What entries can be sorted by.
SORTS = ("name", "size", "used")
_KEYS: dict[str, Callable[[StoredEntry], Any]] = {
    "name": lambda item: (item.title.lower(), item.path.name),
    "size": lambda item: -item.size,
    "used": lambda item: -item.used(time.time()),
}

#: Cached: a name service can be slow, and a store has thousands of entries.
user_name = functools.cache(trust.user_name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("--bytecode", action="store_true", help="also list the bytecode")
    parser.add_argument(
        "--resolutions", action="store_true", help="list the resolutions instead of the wheels"
    )
    what = "sort by name, by size (the largest first) or by last use (the latest first)"
    parser.add_argument("--sort", choices=SORTS, default="name", help=what)
    what = "list the objects of this remote store, or of all that the setting dir names"
    add_remote_option(parser, what)
    parser.add_argument("names", metavar="NAME", nargs="*", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.resolutions and chosen.bytecode:
        raise UsageError("--resolutions lists no wheels, and so no --bytecode of them")
    if chosen.remote is not None:
        return list_remote(chosen, output)
    store = store_in_use(output)
    if chosen.resolutions:
        return _list_resolutions(store, chosen.names, chosen.sort, output)
    contents = read_entries(store, chosen.names)
    areas = (WHEELS, BYTECODE) if chosen.bytecode else (WHEELS,)
    shown = [item for area in areas for item in sorted_items(contents, area, chosen.sort)]
    output.result(
        {
            "store": str(store.path),
            "entries": [facts_of(item) for item in shown],
            "totals": [_facts_of_area(area, contents.of_area(area)) for area in areas],
            "missing": list(contents.missing),
            "unread": reasons(contents.unread),
        }
    )
    head = ["wheel", "files", "size", "publisher", "published", "last used", "trusted", "path"]
    width = len(head) if output.verbose else len(head) - 2
    now = time.time()
    rows = [
        [
            *(item.title, str(item.files), megabytes(item.size), user_name(item.publisher)),
            *(day(item.published), day(item.used(now)), trusted(item), str(item.path)),
        ][:width]
        for item in shown
        if not item.damage
    ]
    output.table(head[:width], rows)
    if shown:
        output.say(f"Total: {_totals(shown)}")
    if not contents.whole and not contents.unread:
        output.say(f"{store.path} holds no wheels yet.")
    return report_problems(output, store, shown, contents)


def _facts_of_area(area: str, items: Sequence[StoredEntry]) -> dict[str, Any]:
    """Return the totals of the listed entries in one area, for the JSON result."""
    return {
        "area": area,
        "entries": len(items),
        "bytes": sum(item.size for item in items),
        "damaged": sum(bool(item.damage) for item in items),
    }


def _totals(shown: Sequence[StoredEntry]) -> str:
    """Return the number and the size of the entries in each area, in words."""
    parts = []
    for area, one, many in ((WHEELS, "wheel", "wheels"), (BYTECODE, "bytecode", "bytecode")):
        some = [item for item in shown if item.area == area]
        if some:
            size = megabytes(sum(item.size for item in some))
            damaged = sum(bool(item.damage) for item in some)
            more = f" ({damaged:,} damaged)" if damaged else ""
            parts.append(f"{counted(len(some), one, many)}{more}, {size}")
    return "; ".join(parts)


def _list_resolutions(store: Store, names: Sequence[str], sort: str, output: Output) -> int:
    listing = list_resolutions(store, names)
    found = list(listing.found)  # the latest first
    if sort != "name":
        found.sort(key=lambda one: _KEYS[sort](one.item))
    whole = [replace(one.item, damage=one.damage) for one in found]
    output.result(
        {
            "store": str(store.path),
            "resolutions": [_facts_of_resolution(one) for one in found],
            "totals": [_facts_of_area(RESOLUTIONS, whole)],
            "missing": list(listing.missing),
            "unread": reasons(listing.unread),
        }
    )
    head = ["key", "distributions", "requirements", "publisher", "recorded", "last used", "size"]
    head += ["trusted", "path"]
    width = len(head) if output.verbose else len(head) - 2
    now = time.time()
    rows = [
        [
            *(one.item.digest[:_SHORT_KEY], _known(one.distributions), _names(one.requirements)),
            *(user_name(one.item.publisher), day(one.item.published if one.at is None else one.at)),
            *(day(one.item.used(now)), megabytes(one.item.size)),
            *(trusted(one.item), str(one.item.path)),
        ][:width]
        for one in found
        if not one.damage
    ]
    output.table(head[:width], rows)
    if rows:
        size = megabytes(sum(one.item.size for one in found if not one.damage))
        output.say(f"Total: {counted(len(rows), 'resolution', 'resolutions')}, {size}")
    if not listing.found and not listing.problems:
        output.say(f"{store.path} holds no resolutions yet.")
    lines = [_damage(one.item, one.damage) for one in found if one.damage]
    lines += copied_lines(store, (one.item for one in found))
    lines += listing.problems
    output.find_or_warn(lines)
    return FINDINGS if lines else FINE


def _facts_of_resolution(one: ListedResolution) -> dict[str, Any]:
    facts = facts_of(one.item)
    for name in ("title", "files"):
        del facts[name]
    facts["key"] = facts.pop("sha256")
    return {
        **facts,
        "recorded": moment(one.at),
        "distributions": one.distributions,
        "requirements": list(one.requirements),
        "damage": one.damage or None,
    }


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _names(names: Sequence[str]) -> str:
    """Return the first of ``names``, and the number of the others; "unknown" for none."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more if names else "unknown"


def sorted_items(contents: Contents, area: str, sort: str = "name") -> list[StoredEntry]:
    """Return the entries of an area; ``sort``: one of SORTS."""
    items = sorted(contents.of_area(area), key=_KEYS["name"])
    return sorted(items, key=_KEYS[sort])


def report_problems(
    output: Output, store: Store, items: Sequence[StoredEntry], contents: Contents
) -> int:
    """Print damaged entries and other problems of ``store``, and return the exit status."""
    lines = [_damage(item, item.damage) for item in items if item.damage]
    lines += [*copied_lines(store, items), *contents.problems()]
    output.find_or_warn(lines)
    return FINDINGS if lines else FINE


def _damage(item: StoredEntry, damage: str) -> str:
    where = "" if damage.startswith(f"{item.path}") else f"{item.path}: "
    return f"Damaged entry of {user_name(item.publisher)}: {where}{damage}"


def facts_of(item: StoredEntry) -> dict[str, Any]:
    """Return the facts about an entry, for the JSON result."""
    last = item.last(time.time())
    return {
        "path": str(item.path),
        "area": item.area,
        "title": item.title,
        "sha256": item.digest,
        "publisher": user_name(item.publisher),
        "trusted": not item.distrust_reason,
        "distrust_reason": item.distrust_reason or None,
        "files": item.files,
        "bytes": item.size,
        "published": moment(item.published),
        "used": moment(last.when),
        "used_by": user_name(last.user),
        "damage": item.damage or None,
        "copied": item.copied,
    }


def trusted(item: StoredEntry) -> str:
    """Return whether the publisher of ``item`` is trusted, in words."""
    if not item.distrust_reason:
        return "yes"
    return f"no, since {user_name(item.publisher)} {item.distrust_reason}"


def day(seconds: float) -> str:
    """Return the local date of ``seconds`` since the epoch."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "unknown"  # a file can have a timestamp that localtime refuses
