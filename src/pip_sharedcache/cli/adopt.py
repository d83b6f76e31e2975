"""The command `adopt`, for a store that was restored under another owner."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.init import add_options, is_packed, warnings
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.maintenance.adopt import adopt, look
from pip_sharedcache.store import layout_name

HELP = "make a store that was restored under another owner your own"
DESCRIPTION = (
    "Let a new store of yours take the place of the store in use, or of the store DIR, which "
    "belongs to another user. It gets each wheel whose bytes match its digest. Bytecode, built "
    "wheels' records and resolutions cannot be checked, and are left out. The old store is set "
    "aside, unchanged. Adopt only a copy whose origin you trust: its wheels become yours. Nobody "
    "may install from the store meanwhile. Exit status 1 means that wheels were left out."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "adopt the store in this directory (default: the store in use)"
    parser.add_argument("directory", metavar="DIR", type=path_argument, nargs="?", help=what)
    add_options(parser)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.directory is None:
        path = store_in_use(output).path
    else:
        path = Path(os.path.abspath(chosen.directory))
    orphan = look(path)
    before = orphan.store
    done = adopt(
        orphan,
        chosen.group,
        builds=chosen.builds,
        packed=is_packed(chosen.layout, output),
        track=lambda wheels: output.progress(wheels, "Copied", len(orphan.wheels)),
    )
    output.find_or_warn(orphan.problems)
    for entry, why in done.left:
        output.find(f"Left out: {entry.wheel}: {why}")
    for warning in warnings(done.made):
        output.warn(warning)
    store = done.made.store
    output.result(
        {
            "store": str(store.path),
            "group": chosen.group or None,
            "layout": layout_name(store.packed),
            "old": str(done.aside),
            "wheels": [
                {"title": entry.manifest.filename, "sha256": entry.manifest.digest, "problem": why}
                for entry, why in (*((one, None) for one in done.taken), *done.left)
            ],
            "not_taken_over": orphan.underived,
        }
    )
    wheels = counted(len(done.taken), "wheel", "wheels")
    output.say(
        f"{store.path} is yours now, with {wheels}; it belonged to {trust.user_name(before.owner)}."
    )
    if orphan.underived:
        other = counted(orphan.underived, "other entry", "other entries")
        output.say(f"Not taken over, since no digest can tell whether it is right: {other}.")
    if before.group and not chosen.group:
        output.say(f"The old store was for the group {before.group}; the new one is for you alone.")
    delete = f"pip-sharedcache store clean {shlex.quote(str(done.aside))}"
    output.say(f"The old store is in {done.aside}; its owner or root can delete it: {delete}")
    return FINDINGS if done.left or orphan.problems else FINE
