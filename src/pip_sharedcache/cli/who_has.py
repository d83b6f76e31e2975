"""The command `who-has`, which names the environments that have a distribution of the store."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache.cli.list_ import day, user_name
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted, moment
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.maintenance.installed import NOWHERE, Installation, installations
from pip_sharedcache.maintenance.selectors import Selector

HELP = "name the environments into which a distribution was installed"
DESCRIPTION = (
    "Name the environments into which users installed a distribution through the store in use, by "
    "the records of their installations (setting stats) and of their symlinks, and say whether it "
    "is still there."
)

#: What follows for a digest.
_OF_DIGEST = (
    " Records have no digests, and no wheel in the store has this one; hint: pip-sharedcache store "
    "who-has NAME==VERSION"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", metavar="NAME", nargs="+", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_in_use(output)
    banned = [(one.digest, one.title) for one in store.bans.listed if one.digest and one.title]
    banned += [wheel for one in store.bans.listed for wheel in one.wheels]
    every, missing = installations(store, chosen.names, banned)
    nowhere = [one for one in every if one.there == NOWHERE]
    found = [one for one in every if one.there != NOWHERE]
    output.result(
        {
            "installations": [_facts(one) for one in found],
            "nowhere": [_facts(one) for one in nowhere],
            "missing": missing,
        }
    )
    output.table(
        ["distribution", "environment", "user", "installed", "still there", "files"],
        (
            [
                *(one.title, one.environment or "(withheld)", user_name(one.user)),
                *("unknown" if one.at is None else day(one.at), one.there),
                *(_files(one),),
            ]
            for one in (every if output.verbose else found)
        ),
    )
    for word in missing:
        output.find(f"No record names {word}.{_OF_DIGEST if Selector(word).is_digest else ''}")
    if found:
        output.say(
            f"{counted(len(found), 'environment', 'environments')}, by the records there are."
        )
    if nowhere:
        lead = counted(len(nowhere), "record leads", "records lead")
        more = "" if output.verbose else "; -v lists them"
        output.say(f"{lead} to no directory of this host: deleted, or of another host{more}.")
    return FINE if found and not missing else FINDINGS


def _files(one: Installation) -> str:
    """Return whose the files are: the store's, by symlinks, or the environment's own."""
    if not one.symlinks:
        return "own"
    return "broken symlinks" if one.broken else "symlinks"


def _facts(one: Installation) -> dict[str, Any]:
    return {
        "title": one.title,
        "environment": one.environment or None,
        "user": user_name(one.user),
        "at": moment(one.at),
        "how": one.how or None,
        "symlinks": one.symlinks,
        "broken": one.broken,
        "there": one.there,
    }
