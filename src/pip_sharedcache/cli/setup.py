"""The command `setup`, which makes a store and lets pip's configuration name it."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.activation import environments
from pip_sharedcache.cli import init
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.cli.stores import settings_in_use
from pip_sharedcache.maintenance.setup import Plan, plan, set_up
from pip_sharedcache.maintenance.stores import is_store, refuse_unsuitable, replaceable_in
from pip_sharedcache.store import layout_name

_MOST_NAMED = 10  # environments

HELP = "make a store, and let pip's configuration name it"
DESCRIPTION = (
    "Make a store and write the line of pip's configuration that names it; nothing is asked. "
    "Without DIR, root makes the site's store, which needs no line, and another user a store of "
    "their own. The end says what to type next."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "make the store in this directory (default: the site's store, or your own)"
    parser.add_argument("directory", metavar="DIR", type=path_argument, nargs="?", help=what)
    init.add_options(parser)
    what = "print what setup would do, and change nothing"
    parser.add_argument("--dry-run", action="store_true", help=what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    planned = plan(settings_in_use(output), chosen.directory, chosen.group)
    is_there = is_store(planned.path)
    # Without --layout, a store that is there keeps its layout.
    packed = None if is_there and not chosen.layout else init.is_packed(chosen.layout, output)
    # The dry run says what would go wrong, too.
    refuse_unsuitable(planned.path, planned.group, builds=chosen.builds, packed=packed)
    found = environments(os.environ, Path.cwd())
    result = {
        "store": str(planned.path),
        "group": planned.group or None,
        "dry_run": chosen.dry_run,
        "configuration": planned.configuration or None,
        "environments": [str(path) for path in found],
    }
    if chosen.dry_run:
        what = f"{planned.path} is there already" if is_there else f"Would make {planned.path}"
        _say(planned, what, "", output)
        owner = planned.path.stat().st_uid if is_there else trust.user_id()
        above = replaceable_in(planned.path, owner, planned.group, is_made=planned.path.exists())
        if above is not None:
            output.warn(init.replaceable_warning(above, owner))
        _say_environments(found, output)
        output.result({**result, "layout": None, "file": None})
        return FINE
    done = set_up(planned, builds=chosen.builds, packed=packed)
    layout = layout_name(done.made.store.packed)
    what = f"{planned.path} is there already" if is_there else f"Made {planned.path}"
    _say(planned, f"{what} (layout {layout})", done.file, output)
    for warning in init.warnings(done.made):
        output.warn(warning)
    if done.hidden:
        output.warn(
            f"Other users do not find the store: {done.hidden}: its mode lets only its owner and "
            f"group read it, and setup keeps the mode; hint: chmod o+r {shlex.quote(done.hidden)}"
        )
    _say_environments(found, output)
    output.say("Next: pip-sharedcache install REQUIREMENT")
    output.result({**result, "layout": layout, "file": done.file or None})
    return FINE


def _say(planned: Plan, made: str, file: str, output: Output) -> None:
    """Print what was ``made``, for whom, and how users find it; ``file``: "" in a dry run."""
    if planned.group:
        whose = f"the members of {planned.group}"
    elif trust.user_id() == 0:
        whose = "all users, who install from it; root publishes"
    else:
        whose = "you"
    output.say(f"{made}, for {whose}.")
    if planned.named_by:
        output.say(f"No setting is needed: {planned.named_by}.")
    elif file:
        output.say(f"Wrote {file}: {planned.configuration}")
    else:
        output.say(f"Would run: {planned.configuration}")
    if command := planned.members_command:
        output.say(f"Each other member of {planned.group} types: {command}")


def _say_environments(found: Sequence[Path], output: Output) -> None:
    """Print the command that lets each of the environments ``found`` use the store."""
    for path in found[:_MOST_NAMED]:
        output.say(
            f"To let its own pip use the store: pip-sharedcache store enable --python "
            f"{shlex.quote(str(path))}"
        )
    if more := found[_MOST_NAMED:]:
        output.say(f"The same for {len(more):,} more environments")
