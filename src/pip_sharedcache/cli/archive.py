"""The commands `export` and `import`: wheels in one file, for a machine without network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pip_sharedcache.cli.files import written
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.stores import store_in_use, store_to_fill
from pip_sharedcache.errors import FileError, UsageError
from pip_sharedcache.maintenance.archive import pack, select, unpack
from pip_sharedcache.maintenance.entries import read_entries
from pip_sharedcache.store import WHEELS

_STREAM = Path("-")


def add(commands: Any) -> None:
    """Register the commands of this module in ``commands``."""
    exporting = commands.add_parser("export", help="write wheels of the store into one archive")
    importing = commands.add_parser("import", help="add the wheels of such an archive to the store")
    for parser, what in ((exporting, "write"), (importing, "read")):
        parser.add_argument("file", metavar="FILE", type=Path, help=f"{what} this file; or -")
    exporting.add_argument("names", nargs="*", metavar="NAME", help=NAMES)
    for parser, run in ((exporting, _export), (importing, _import)):
        parser.set_defaults(run=run)


def _export(chosen: argparse.Namespace, output: Output) -> int:
    contents = read_entries(store_in_use(output), chosen.names, (WHEELS,), uses=False)
    entries, file = select(contents), chosen.file
    packed: list[str] = []
    if contents.missing and not entries:
        file = None  # write no file: an archive without a wheel has no use
    elif file == _STREAM:
        if output.as_json or sys.stdout.isatty():
            raise UsageError(
                "Cannot write the archive to standard output: it is a terminal, or has the JSON",
                "name a file",
            )
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


def _import(chosen: argparse.Namespace, output: Output) -> int:
    store = store_to_fill(output)
    try:
        file = sys.stdin.buffer if chosen.file == _STREAM else chosen.file.open("rb")
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
    output.result({"store": str(store.path), "wheels": [vars(one) for one in arrived]})
    wheels = counted(len(arrived), "wheel", "wheels")
    are = "is" if len(arrived) == 1 else "are"
    output.say(f"{new} of {wheels} {are} new in {store.path}, {bad} left out.")
    return FINDINGS if bad else FINE
