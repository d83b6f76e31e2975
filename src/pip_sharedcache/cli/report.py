"""The command `report`, which writes a page about the contents and savings of a store."""

from __future__ import annotations

import argparse

from pip_sharedcache.cli.files import path_argument, written
from pip_sharedcache.cli.output import FINDINGS, FINE, Output, reasons
from pip_sharedcache.cli.quantities import entries
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.maintenance.entries import unread_lines
from pip_sharedcache.maintenance.report import make_page

HELP = "write a page about the content and the savings of the store"
DESCRIPTION = (
    "Write one HTML file that needs no other file. The command stats prints the same numbers."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument(
        "--html", metavar="FILE", type=path_argument, required=True, help="write to this file"
    )


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_in_use(output)
    page = make_page(store, track=lambda items: output.progress(items, "Read"))
    text = page.text.encode("utf-8", "backslashreplace")
    with written(chosen.html) as file:
        file.write(text)
    output.result(
        {
            "file": str(chosen.html),
            "bytes": len(text),
            "entries": page.entries,
            "unread": reasons(page.unread),
        }
    )
    output.say(f"Wrote {chosen.html} with {entries(page.entries)} of {store.path}.")
    for line in unread_lines(page.unread, "not on the page"):
        output.find(line)
    return FINDINGS if page.unread else FINE
