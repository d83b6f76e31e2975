"""The command `repack`, which changes entries from trees to packs, or back."""

from __future__ import annotations

import argparse
from collections import Counter

from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output, reasons
from pip_sharedcache.cli.quantities import entries
from pip_sharedcache.cli.stores import store_to_change
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.maintenance.repack import repack, set_layout
from pip_sharedcache.store import AREAS, PACKED, TREE, layout_name

HELP = "keep the files of entries packed, or as trees"
DESCRIPTION = (
    "Change entries to the layout of the store, which --layout changes first. Installations may "
    "go on meanwhile. Entries stay trees where symlinks lead to them, or may soon. Exit status 1 "
    "means that entries were left as they are."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)
    parser.add_argument(
        "--layout", choices=[TREE, PACKED], help="the layout of the store from now on"
    )


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_to_change(output)
    packed = store.packed if chosen.layout is None else chosen.layout == PACKED
    contents = read_entries(store, chosen.names, AREAS, uses=False)
    output.find_or_warn(contents.problems())
    if packed is not store.packed:
        set_layout(store, contents.items, packed)
    changed, total, left = 0, 0, Counter[str]()
    found = repack(store, contents.items, packed)
    for one in output.progress(found, "Changed", len(contents.items)):
        if one is None:
            continue  # the entry vanished or was replaced meanwhile
        total += 1
        changed += one.done
        if one.why:
            left[one.why] += 1
            output.detail(f"{one.item.path} ({one.item.title}): {one.why}")
    for why, number in left.items():
        output.find(f"Left as {'it is' if number == 1 else 'they are'}: {entries(number)}: {why}")
    output.result(
        {
            "store": str(store.path),
            "layout": layout_name(packed),
            "changed": changed,
            "left": sum(left.values()),
            "entries": total,
            "missing": list(contents.missing),
            "unread": reasons(contents.unread),
        }
    )
    output.say(f"{store.path} has the layout {layout_name(packed)}: {entries(changed)} changed.")
    if changed:
        output.say("Their old files are deleted by the next garbage collection (store gc).")
    return FINDINGS if left or contents.problems() else FINE
