"""The command `clean`, which deletes a whole store."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.gc import tell_refused
from pip_sharedcache.cli.output import FINDINGS, FINE, Output, reasons
from pip_sharedcache.cli.quantities import counted, entries
from pip_sharedcache.cli.stores import store_to_change
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.clean import Cleaned, Doomed, clean, look
from pip_sharedcache.maintenance.gc import Refusal
from pip_sharedcache.store import USE

_MOST_NAMED = 20  # environments: a user can register symlinks of any number of them
_MOST_LINES = 3  # of one kind

HELP = "delete a whole store"
DESCRIPTION = (
    "Delete the store in use, or the store DIR, although its directories are read-only. The store "
    "must be yours, or you must be root. Files that only other users can delete are named, and "
    "stay. No symlink is followed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "delete the store in this directory (default: the store in use)"
    parser.add_argument("directory", metavar="DIR", type=path_argument, nargs="?", help=what)
    parser.add_argument("-y", "--yes", action="store_true", help="delete without a question")


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.directory is None:
        path = store_to_change(output).path
    else:
        path = Path(os.path.abspath(chosen.directory))
    doomed = look(path)
    for place in doomed.linked[:_MOST_NAMED]:
        output.warn(f"Symlinks of an environment lead into the store, and will break: {place}")
    if more := doomed.linked[_MOST_NAMED:]:
        output.warn(f"So will those of {len(more):,} more environments")
    if not chosen.yes and not _agrees(doomed):
        output.result(_facts(doomed, None))
        output.find(f"{path} is not deleted.")
        return FINDINGS
    done = clean(doomed)
    output.result(_facts(doomed, done))
    _tell_refused(path, done.refused, output)
    for name in done.left[:_MOST_LINES] if len(done.left) > 1 else ():
        output.find(f"Left, since it is of no store: {path / name}")
    if done.stays_because:
        output.find(f"Deleted {entries(done.deleted)}. {path} stays: {done.stays_because}.")
        return FINDINGS
    output.say(f"Deleted {path} with {entries(done.deleted)}.")
    return FINE


def _tell_refused(path: Path, refused: Sequence[Refusal], output: Output) -> None:
    foreign = [one for one in refused if one.owner != trust.user_id()]
    marks = [one for one in foreign if one.path.parent.name == USE]
    # The system refused it to root, too: for example a file server (root_squash).
    is_root = trust.user_id() == 0
    by_root = "" if is_root else "; hint: root can run the same command"
    owners = {
        one.owner: [other for other in foreign if other.owner == one.owner] for one in foreign
    }
    for owner, some in owners.items():
        entries_of = [one for one in some if one not in marks]
        # Not `store remove`: it keeps what was used within the hour, and all usage marks.
        found = f"find {shlex.quote(str(path))} -xdev -uid {owner}"
        remove = f"{found} -type d -exec chmod u+w {{}} + && {found} -delete"
        hint = (
            f"{{who}} can run {remove}"
            if is_root
            else (f"root can run the same command, or {{who}}: {remove}")
        )
        tell_refused(entries_of, "delete", output, hint=hint)
    if len(marks) > _MOST_LINES:
        output.find(
            f"Cannot delete the usage marks of {len(marks):,} users: {marks[0].path}: "
            f"{marks[0].reason}{by_root}"
        )
    for one in marks if len(marks) <= _MOST_LINES else ():
        who = trust.user_name(one.owner)
        output.find(f"Cannot delete the usage marks of {who}: {one.path}: {one.reason}{by_root}")
    by_reason: dict[str, list[Refusal]] = defaultdict(list)
    for one in refused:
        if one not in foreign:
            by_reason[one.reason].append(one)
    for why, some in by_reason.items():
        if len(some) > _MOST_LINES:
            output.find(f"Cannot delete {len(some):,} files: {some[0].path}: {why}")
        for one in some:
            tell = output.find if len(some) <= _MOST_LINES else output.detail
            tell(f"Cannot delete {one.path}: {why}")


def _agrees(doomed: Doomed) -> bool:
    """Return whether the user at the terminal agrees; raise UsageError without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"{doomed.path} is not deleted: nobody can be asked without a terminal", "add --yes"
        )
    wheels = counted(doomed.wheels, "wheel", "wheels")
    print(f"Delete {doomed.path} with {wheels}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _facts(doomed: Doomed, done: Cleaned | None) -> dict[str, object]:
    return {
        "store": str(doomed.path),
        "wheels": doomed.wheels,
        "linked": list(doomed.linked),
        "deleted": done.deleted if done else 0,
        "refused": reasons((one.path, one.reason) for one in done.refused) if done else [],
        "left": list(done.left) if done else [],
        "gone": done is not None and not done.stays_because,
    }
