"""The command `export`, which writes wheels of a store into one archive."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pip_sharedcache.cli.files import path_argument, written
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.archive import pack, select
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.store import WHEELS

HELP = "write wheels of the store into one archive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    what = "write this file; - is standard output"
    parser.add_argument("file", metavar="FILE", type=path_argument, help=what)
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    contents = read_entries(store_in_use(output), chosen.names, (WHEELS,), uses=False)
    entries, file = select(contents), chosen.file
    packed: list[str] = []
    if contents.missing and not entries:
        file = None  # write no file: an archive without a wheel has no use
    elif file == Path("-"):
        if output.as_json or sys.stdout.isatty():
            why = "standard output is a terminal, or has the JSON result"
            raise UsageError(f"Cannot write the archive: {why}", "name a file")
        packed = [*output.progress(pack(entries, sys.stdout.buffer), "Written", len(entries))]
        output = Output(quiet=True)  # a message on standard output would damage the archive
    else:
        with written(file) as opened:
            packed = [*output.progress(pack(entries, opened), "Written", len(entries))]
    problems = [*contents.problems(), *filter(None, packed)]
    for problem in problems:
        output.warn(problem)
    count = packed.count("")
    output.result({"file": file and str(file), "wheels": count, "problems": problems})
    wheels = counted(count, "wheel", "wheels")
    output.say(f"Wrote {wheels} to {file}." if file else f"Did not write {chosen.file}.")
    return FINDINGS if problems else FINE
