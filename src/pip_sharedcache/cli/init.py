"""The command `init`, which makes a store."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.cli.stores import settings_in_use
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.setup import level
from pip_sharedcache.maintenance.stores import Made, make_store
from pip_sharedcache.model import LinkMode
from pip_sharedcache.store import PACKED, TREE, layout_name

HELP = "make a store, for a group or for yourself"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument(
        "directory", metavar="DIR", type=path_argument, help="make it in this directory"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of init and setup to ``parser``."""
    parser.add_argument("--group", default="", help="share the store with this group")
    parser.add_argument(
        "--layout",
        choices=[TREE, PACKED],
        help="keep the files of a wheel as a tree, or packed in one file (default: packed where "
        "the file system cannot reflink)",
    )
    parser.add_argument("--builds", action="store_true", help="also share wheels that users build")


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.directory == Path():
        raise UsageError("store init needs a directory")
    packed = is_packed(chosen.layout, output)
    made = make_store(chosen.directory, chosen.group, builds=chosen.builds, packed=packed)
    store, group = made.store, chosen.group
    whose = f"the members of {group}" if group else trust.user_name(store.owner)
    command = f"pip config {level()} set sharedcache.dir {shlex.quote(str(store.path))}"
    output.say(f"Store {store.path} is ready, for {whose}.")
    layout = layout_name(store.packed)
    output.say(f"Layout: {layout}")
    output.say(f"To use it: {command}")
    for warning in warnings(made):
        output.warn(warning)
    owner = trust.user_name(store.owner)
    trusted = dict.fromkeys(["root", owner, "yourself", *store.trusted])  # by its users
    output.detail(f"Trusted publishers: {', '.join(trusted)}")
    output.result(
        {"store": str(store.path), "group": group or None, "layout": layout, "to_use": command}
    )
    return FINE


def is_packed(layout: str | None, output: Output) -> bool | None:
    """Return whether to make a packed store; None to let the file system decide.

    ``layout``: the value of --layout, or None. Hard links and symlinks lead to files of a tree.
    """
    if layout is not None:
        return layout == PACKED
    links = settings_in_use(output).link_mode in (LinkMode.HARDLINK, LinkMode.SYMLINK)
    return False if links else None


def warnings(made: Made) -> list[str]:
    """Return the problems of the place of a store, each with a hint."""
    store, above = made.store, made.replaceable_in
    found = [] if above is None else [replaceable_warning(above, store.owner)]
    hint = f"hint: PIP_SHAREDCACHE_DIR={shlex.quote(str(store.path))} pip-sharedcache store doctor"
    if made.distrusted is not None:
        directory, why = made.distrusted
        members = f"Members of {store.group} are not trusted in {store.path}"
        found.append(f"{members}: {directory} {why}; {hint}")
    if made.refused is not None:
        user, shard, why = made.refused
        member = f"{trust.user_name(user)}, a member of {store.group}, cannot publish"
        found.append(f"{member}: {shard}: {why}; {hint}")
    return found


def replaceable_warning(above: Path, store_owner: int) -> str:
    """Return the warning that others can replace a store of ``store_owner`` below ``above``."""
    owner, who = above.stat().st_uid, "others"
    advice = trust.hint_for(f"chmod +t {shlex.quote(str(above))}", owner)
    if owner not in (0, store_owner, trust.user_id()):
        # They can rename files there in any mode of the directory.
        who, advice = trust.user_name(owner), "name a directory of root, or of yours"
    return (
        f"Others can replace the store: {above}: {who} can rename files in this directory; "
        "pip-sharedcache does not trust the store's owner, and copies wheels before it uses "
        f"them; hint: {advice}"
    )
