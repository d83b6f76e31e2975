"""The command `ban`, which withdraws wheels of a store, lists bans and lifts them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.cli.gc import tell_refused, with_size
from pip_sharedcache.cli.output import FINDINGS, FINE, Output, reasons
from pip_sharedcache.cli.quantities import moment
from pip_sharedcache.cli.stores import settings_in_use, store_to_change
from pip_sharedcache.errors import StoreNotMade, UsageError
from pip_sharedcache.maintenance.banning import Banned, ban, lift
from pip_sharedcache.maintenance.entries import unread_lines
from pip_sharedcache.store.bans import Ban
from pip_sharedcache.store.layers import Layers

HELP = "withdraw wheels that turned out malicious or broken"
DESCRIPTION = (
    "Ban wheels in the store in use: no run serves, publishes or copies them any more, in this "
    "store and in those that are used together with it. Retire their entries at once. Only the "
    "owner of the store and root may ban and lift bans."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "ban this wheel (digest), or all wheels of this version (demo==1.0)"
    parser.add_argument("what", metavar="DIGEST|NAME==VERSION", nargs="*", help=what)
    parser.add_argument("--because", metavar="TEXT", default="", help="tell users this reason")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="list the bans of the stores in use")
    how.add_argument("--lift", action="store_true", help="lift these bans")


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.list == bool(chosen.what):
        why = "--list takes no" if chosen.list else "store ban needs a"
        raise UsageError(f"{why} DIGEST or NAME==VERSION")
    if chosen.because and (chosen.list or chosen.lift):
        raise UsageError("--because belongs to a new ban")
    if chosen.list:
        return _list(output)
    if chosen.lift:
        return _lift(chosen.what, output)
    store = store_to_change(output)
    done = ban(
        store, chosen.what, chosen.because, track=lambda items: output.progress(items, "Read")
    )
    return _tell(done, output)


def _tell(done: Banned, output: Output) -> int:
    output.result(
        {
            "bans": [_facts(one) for one in done.bans],
            "retired": [str(item.path) for item in done.retired],
            "refused": reasons((one.path, one.reason) for one in done.refused),
            "linked": [
                {"user": trust.user_name(one.user), "environment": one.place} for one in done.linked
            ],
            "unread": reasons(done.unread),
        }
    )
    for one in done.bans:
        output.say(f"{one.what} is {one}.")
    output.say(f"Retired {with_size(done.retired)}.")
    for item in done.retired:
        output.detail(f"{item.title} of {trust.user_name(item.publisher)}, {item.path}")
    for holder in done.linked:
        where = f"{trust.user_name(holder.user)} in {holder.place}"
        output.find(f"Symlinks into a banned wheel are broken now: of {where}")
    command = "{able} can run `pip-sharedcache store remove` for it"
    tell_refused(done.refused, "retire", output, hint=command)
    for line in unread_lines(done.unread):
        output.find(line)
    words = " ".join(one.what for one in done.bans)
    output.say(f"hint: pip-sharedcache store who-has {words} names the environments that have it")
    return FINDINGS if done.refused or done.linked or done.unread else FINE


def _lift(words: Sequence[str], output: Output) -> int:
    lifted, missing = lift(store_to_change(output), words)
    output.result({"lifted": [_facts(one) for one in lifted], "missing": list(missing)})
    for one in lifted:
        output.say(f"{one.what} is not banned any more.")
    for word in missing:
        output.find(f"Not banned: {word}")
    return FINDINGS if missing else FINE


def _list(output: Output) -> int:
    layers, unusable = Layers.of_settings(settings_in_use(output), make=False)
    listed = list(dict.fromkeys(one for store in layers for one in store.bans.listed))
    unknown = [error for error in unusable if not isinstance(error, StoreNotMade)]
    if not unknown:
        output.result({"bans": [_facts(one) for one in listed]})
    head = ["what", "wheel", "because", "by", "since", "store"]
    output.table(
        head,
        (
            [one.what, one.title, one.because, one.by, _day(one.at), str(one.store)]
            for one in listed
        ),
    )
    for line in dict.fromkeys(line for store in layers for line in store.bans.ignored):
        output.warn(line)
    for error in unknown[1:]:
        output.warn(str(error))
    if unknown:  # its bans are not known
        raise unknown[0]
    if not listed:
        output.say("No wheel is banned.")
    return FINE


def _facts(one: Ban) -> dict[str, Any]:
    return {
        "sha256": one.digest or None,
        "name": one.name or None,
        "version": one.version or None,
        "wheel": one.title or None,
        "because": one.because or None,
        "by": one.by,
        "at": moment(one.at),
        "store": str(one.store),
    }


def _day(at: int) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return "unknown"
