"""The command `gc`, which retires and deletes unused entries."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, Output, numbers, reasons
from pip_sharedcache.cli.quantities import age, counted, entries, size
from pip_sharedcache.cli.remotes import add_remote_option, gc_remote
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.maintenance.entries import unread_lines
from pip_sharedcache.maintenance.gc import Collection, Refusal, collect
from pip_sharedcache.maintenance.retention import GRACE, Kept
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import (
    BUILDS,
    BYTECODE,
    JUDGED_PAGE,
    RESOLUTIONS,
    USE,
    WHEELS,
    Store,
    StoredEntry,
    usage_marks,
)

#: The kinds of entries, in words: one, and several of them. Judged pages lie among the resolutions.
_KINDS = {
    WHEELS: ("wheel", "wheels"),
    BYTECODE: ("bytecode", "bytecode"),
    BUILDS: ("build record", "build records"),
    RESOLUTIONS: ("resolution", "resolutions"),
    "judged_pages": ("judged page", "judged pages"),
}
_MOST_REASONS = 20  # lines: a user can register symlinks of any number of hosts

HELP = "retire and delete unused entries"
DESCRIPTION = (
    "Retire entries that nobody has used for AGE, then the least recently used "
    "entries until the others fit into SIZE. Retire bytecode without a wheel a month after its "
    "last use. Delete entries that were retired an hour ago or earlier. Keep entries that were "
    "used within the last hour, and entries of other users unless you are root."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "retire entries not used for AGE: 12h, 30d, 8w (30: days)"
    parser.add_argument("--older-than", metavar="AGE", type=age, help=what)
    what = "leave at most SIZE: 500M, 50GB, 200GiB (500: bytes)"
    parser.add_argument("--max-size", metavar="SIZE", type=size, help=what)
    what = "print what gc would retire, and change nothing"
    parser.add_argument("--dry-run", action="store_true", help=what)
    what = "delete objects of this remote store, or of all that the setting dir names, instead"
    add_remote_option(parser, what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.remote is not None:
        return gc_remote(chosen, output)
    store = store_in_use(output) if chosen.dry_run else store_to_change(output)
    done = collect(
        store,
        older_than=chosen.older_than,
        max_size=chosen.max_size,
        dry_run=chosen.dry_run,
        track=lambda items: output.progress(items, "Read"),
    )
    for item, user, where in done.linked:
        output.detail(f"Kept for symlinks of {trust.user_name(user)} in {where}: {item.title}")
    _tell(chosen, output, done, store)
    squatters = [
        f"Usage marks of {trust.user_name(user)} ignored: {path}: belongs to "
        f"{trust.user_name(owner)}; entries that only {trust.user_name(user)} uses count as unused"
        for path, user, owner in usage_marks.squatters(store)
    ]
    output.find_or_warn(squatters)
    return FINDINGS if done.refused or done.unread or squatters else FINE


def _tell(chosen: argparse.Namespace, output: Output, done: Collection, store: Store) -> None:
    output.result(
        {
            "dry_run": done.dry_run,
            "retired": [str(item.path) for item in done.retired],
            "bytes": sum(item.size for item in done.retired),
            "left": done.left,
            "used_within_the_hour": _sum(done.spared.recent),
            "kept_for_symlinks": _sum(done.spared.linked),
            "kept_because": kept_facts(done.reasons),
            "deleted": done.deleted,
            "kept": done.kept,
            "refused": reasons((one.path, one.reason) for one in done.refused),
            "unread": reasons(done.unread.items()),
        }
    )
    for item in done.retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path}")
    output.say(f"{'Would retire' if done.dry_run else 'Retired'} {with_size(done.retired)}.")
    if why := _why_no_more(chosen, done):
        output.say(why)
        tell_kept(done.reasons, output.say)
    if not done.dry_run:
        output.say(
            f"Deleted {entries(done.deleted)} retired at least {GRACE // 60} minutes ago; "
            f"{counted(done.kept, 'is', 'are')} kept until then."
        )
    elif others := [
        item for item in done.retired if trust.user_id() not in (0, item.publisher, store.owner)
    ]:
        output.say(f"Only their publishers or root can retire {with_size(others)} of these.")
    if not why:
        tell_kept(done.reasons, output.detail)
    for line in _unread(done, store):
        output.find(line)
    # The owner of a sticky shard may rename other publishers' entries, but not empty them.
    tell_refused(done.refused, "retire or delete", output)


def tell_refused(
    refused: Iterable[Refusal],
    verb: str,
    output: Output,
    hint: str = "{able} can run the same command",
    others: Sequence[str] = (),
) -> None:
    """Print a line for each owner of entries that this user cannot ``verb``.

    ``hint``: what helps, with {who} for the owner and {able} for all others who can do it; none is
    printed where {able} is nobody. ``others``: the users who can, beside root and the owner.
    """
    by_owner: dict[int, list[Refusal]] = defaultdict(list)
    for one in refused:
        by_owner[one.owner].append(one)
    for owner, some in by_owner.items():
        who = trust.user_name(owner)
        able = {who: None, **dict.fromkeys(others), "root": None}
        able.pop(trust.user_name(trust.user_id()), None)  # what this user may was refused
        helps = hint.replace("{who}", who).replace("{able}", " or ".join(able))
        output.find(
            f"Cannot {verb} {entries(len(some))} of {who}: {some[0].path}: {some[0].reason}"
            f"{f'; hint: {helps}' if able else ''}"
        )
        for one in some:
            output.detail(f"{one.path}: {one.reason}")


def tell_kept(some: Sequence[Kept], say: Callable[[str], None]) -> None:
    """Print a line for each reason for which entries stay."""
    for kept in some[:_MOST_REASONS]:
        users = ", ".join(f"{name} {number:,}" for name, number in _by_name(kept).items())
        hint = kept.hint and f"; hint: {kept.hint}"
        say(f"Kept {with_size(kept.items)}: {kept.reason} (by {users}){hint}")


def kept_facts(some: Iterable[Kept]) -> list[dict[str, Any]]:
    """Return the reasons for which entries stay, for the JSON result."""
    return [
        {"reason": one.reason, **_sum(one.items), "users": numbers("user", _by_name(one))}
        for one in some
    ]


def _unread(done: Collection, store: Store) -> list[str]:
    """Return a line for each path that could not be read, with the consequence."""
    use = store.path / USE
    marks = [one for one in done.unread.items() if use in (one[0], *one[0].parents)]
    others = [one for one in done.unread.items() if one not in marks]
    return [
        *unread_lines(marks, "gc retired nothing, since entries in use may look unused"),
        *unread_lines(others, "gc collected nothing in it"),
    ]


def _why_no_more(chosen: argparse.Namespace, done: Collection) -> str:
    """Return why nothing was retired, or less than --max-size asks for; "" where neither is so."""
    by_age, most = chosen.older_than is not None, chosen.max_size
    too_much = most is not None and done.left > most
    if (done.retired or done.refused) and not too_much:
        return ""
    if not by_age and most is None:
        return "No limit is given; hint: add --older-than AGE or --max-size SIZE."
    if too_much:
        return f"{megabytes(done.left)} are left, more than --max-size."
    if by_age:
        return "No entry is unused for so long."
    return f"{megabytes(done.left)} are left, not more than --max-size."


def with_size(items: Sequence[StoredEntry]) -> str:
    """Return the number of ``items``, their size, and the kinds where there are several."""
    said = f"{entries(len(items))} of {megabytes(sum(item.size for item in items))}"
    kinds = [counted(number, *_KINDS[kind]) for kind, number in _kinds(items).items()]
    return f"{said} ({', '.join(kinds)})" if len(kinds) > 1 else said


def _kinds(items: Sequence[StoredEntry]) -> dict[str, int]:
    """Return the number of ``items`` of each kind that there is, in the order of _KINDS."""
    found = Counter(
        "judged_pages" if (item.area, item.title) == (RESOLUTIONS, JUDGED_PAGE) else item.area
        for item in items
    )
    return {kind: found[kind] for kind in _KINDS if found[kind]}


def _by_name(kept: Kept) -> dict[str, int]:
    """Return the number of entries that each user keeps, the largest first."""
    named: Counter[str] = Counter()
    for user, number in kept.users.items():
        named[trust.user_name(user)] += number
    return dict(named.most_common())


def _sum(items: Sequence[StoredEntry]) -> dict[str, Any]:
    size = sum(item.size for item in items)
    kinds = {"build_records" if kind == BUILDS else kind: n for kind, n in _kinds(items).items()}
    return {"entries": len(items), "bytes": size, "kinds": numbers("kind", kinds)}
