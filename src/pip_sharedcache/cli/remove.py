"""The command `remove`, which retires the entries that its arguments name."""

from __future__ import annotations

import argparse

from pip_sharedcache import trust
from pip_sharedcache.cli.gc import kept_facts, tell_kept, tell_refused, with_size
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output, reasons
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.maintenance.entries import unread_lines
from pip_sharedcache.maintenance.removal import Removal, remove
from pip_sharedcache.maintenance.retention import GRACE
from pip_sharedcache.store import Store

HELP = "retire the entries of distributions"
DESCRIPTION = (
    "Retire your entries of these distributions, with their bytecode; as root or as the owner of "
    "the store, the entries of all publishers. Keep entries that were used within the last hour, "
    "and entries to which symlinks lead. The next gc that runs an hour later deletes the files."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", metavar="NAME", nargs="+", help=NAMES)
    what = "print what remove would retire, and change nothing"
    parser.add_argument("--dry-run", action="store_true", help=what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_in_use(output) if chosen.dry_run else store_to_change(output)
    done = remove(
        store,
        chosen.names,
        dry_run=chosen.dry_run,
        track=lambda items: output.progress(items, "Read"),
    )
    output.result(
        {
            "dry_run": done.dry_run,
            "retired": [str(item.path) for item in done.retired],
            "bytes": sum(item.size for item in done.retired),
            "kept_because": kept_facts(done.kept),
            "refused": reasons((one.path, one.reason) for one in done.refused),
            "missing": list(done.missing),
            "unread": reasons(done.unread),
        }
    )
    _tell(store, done, output)
    found = done.kept or done.refused or done.missing or done.unread
    return FINDINGS if found else FINE


def _tell(store: Store, done: Removal, output: Output) -> None:
    for item in done.retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path}")
    output.say(f"{'Would retire' if done.dry_run else 'Retired'} {with_size(done.retired)}.")
    if done.retired and not done.dry_run:
        output.say(
            f"The next store gc, at least {GRACE // 60} minutes from now, deletes the files."
        )
    tell_refused(done.refused, "retire", output, others=[trust.user_name(store.owner)])
    tell_kept(done.kept, output.find)
    then = "remove retired nothing, since entries in use may look unused"
    for line in unread_lines(done.unread, then if done.marks_unread else ""):
        output.find(line)
    for name in done.missing:
        output.find(f"Not in the store: {name}")
