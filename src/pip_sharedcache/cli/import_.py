"""The command `import`, which adds the wheels of an archive to a store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pip_sharedcache.cli.files import path_argument
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import store_to_fill
from pip_sharedcache.errors import FileError
from pip_sharedcache.maintenance.archive import unpack

HELP = "add the wheels of an exported archive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "read this file; - is standard input"
    parser.add_argument("file", metavar="FILE", type=path_argument, help=what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    store = store_to_fill(output)
    try:
        file = sys.stdin.buffer if chosen.file == Path("-") else chosen.file.open("rb")
    except OSError as error:
        raise FileError.of(chosen.file, "read", error) from error
    arrived = []
    with file:
        for one in output.progress(unpack(store, file), "Read"):
            arrived.append(one)
            if one.problem:
                output.find(f"Not added: {one.title}: {one.problem}")
            else:
                output.detail(f"{'Added' if one.new else 'Already there'}: {one.title}")
    new, bad = sum(one.new for one in arrived), sum(bool(one.problem) for one in arrived)
    facts = [
        {
            "title": one.title,
            "sha256": one.digest,
            "new": one.new,
            "problem": one.problem or None,
        }
        for one in arrived
    ]
    output.result({"store": str(store.path), "wheels": facts})
    wheels = counted(len(arrived), "wheel", "wheels")
    are = "is" if len(arrived) == 1 else "are"
    output.say(f"{new} of {wheels} {are} new in {store.path}, {bad} left out.")
    return FINDINGS if bad else FINE
