"""The command `stats`, which shows the savings of a store."""

from __future__ import annotations

import argparse
from typing import Any

from pip_sharedcache.cli.output import FINDINGS, FINE, Output, numbers, reasons
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.quantities import entries as named
from pip_sharedcache.cli.remotes import add_remote_option, stats_remote
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.maintenance.entries import copied_lines, read_entries, unread_lines
from pip_sharedcache.maintenance.stats import GROUPS, Savings, Totals
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import (
    AREAS,
    BUILDS,
    BYTECODE,
    JUDGED_PAGE,
    RESOLUTIONS,
    WHEELS,
    count_signatures,
)

HELP = "show what the store saves, and for which users"
DESCRIPTION = "Add up the records that installations leave (setting stats)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument(
        "--by", choices=GROUPS, default="package", help="group by (default: package)"
    )
    what = "count the objects of this remote store, or of all that the setting dir names"
    add_remote_option(parser, what)


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.remote is not None:
        return stats_remote(chosen, output)
    store = store_in_use(output)
    contents = read_entries(store, areas=AREAS, uses=False)
    wheels, compiled = len(contents.of_area(WHEELS)), len(contents.of_area(BYTECODE))
    builds = len(contents.of_area(BUILDS))
    recorded = contents.of_area(RESOLUTIONS)
    pages = [item for item in recorded if item.title == JUDGED_PAGE]
    resolutions = len(recorded) - len(pages)
    judged = sum(item.size for item in pages)
    asked = sum(item.size for item in recorded) - judged
    signed = count_signatures(store)
    stored = sum(item.size for item in contents.items)
    damaged = sum(bool(item.damage) for item in contents.items)
    told = Savings.of(store, [chosen.by])
    whole, groups = told.whole, told.groups[chosen.by]
    output.result(
        {
            "store": str(store.path),
            "entries": contents.whole,
            "stored": stored,
            "damaged": damaged,
            "copied": sum(item.copied for item in contents.items),
            "wheels": wheels,
            "bytecode": compiled,
            "build_records": builds,
            "resolutions": resolutions,
            "resolutions_stored": asked,
            "judged_pages": len(pages),
            "judged_pages_stored": judged,
            **_facts(whole, whole),
            "refusals": numbers("reason", told.refusals),
            "left_to_pip": numbers("reason", told.reasons),
            "signatures": signed,
            "unread": reasons(contents.unread),
            "by": chosen.by,
            "groups": [
                {"name": name, **_facts(sums, whole)} for name, sums in sorted(groups.items())
            ],
        }
    )
    kinds = f"{counted(wheels, 'wheel', 'wheels')}, {compiled:,} bytecode, "
    kinds += f"{counted(builds, 'build record', 'build records')}, "
    kinds += f"{counted(resolutions, 'resolution', 'resolutions')}, "
    kinds += f"{counted(len(pages), 'judged page', 'judged pages')}"
    kinds += f", {counted(signed, 'signature', 'signatures')}" if signed else ""
    kinds += f"; {damaged:,} damaged" if damaged else ""
    output.say(
        f"Stored:          {megabytes(stored)} in {named(contents.whole)} of {store.path}: {kinds}"
    )
    output.say(
        f"Installed:       {counted(whole.installed, 'distribution', 'distributions')} by "
        f"{counted(whole.runs, 'run', 'runs')} of pip: {whole.found:,} found in the store, "
        f"{whole.added:,} added to it, {whole.by_pip:,} by pip alone"
        + (f"; {whole.pulled:,} pulled from remote stores" if whole.pulled else "")
    )
    output.say(f"From the store:  {megabytes(whole.apparent)} installed")
    share = f" ({whole.found * 100 // whole.installed}%)" if whole.installed else ""
    output.say(f"Found there:     {whole.found:,} of {whole.installed:,} distributions{share}")
    output.say(f"Not downloaded:  {megabytes(whole.not_downloaded)}")
    output.say(f"Not copied:      {megabytes(whole.not_copied)}")
    seconds = whole.saved_seconds(whole)
    spared = "unknown" if seconds is None else counted(round(seconds), "second", "seconds")
    output.say(f"Not compiled:    {spared}")
    output.say(
        f"Resolutions:     {resolutions:,} of {megabytes(asked)}: "
        f"{counted(whole.resolutions_recorded, 'run', 'runs')} recorded one, "
        f"{whole.resolutions_reused:,} reused one"
    )
    output.say(
        f"Not resolved:    {counted(round(whole.seconds_saved), 'second', 'seconds')}, "
        f"{counted(whole.requests_saved, 'request', 'requests')}"
    )
    output.say(f"Judged pages:    {len(pages):,} of {megabytes(judged)}")
    for what, times in (told.refusals + told.reasons).most_common():
        output.say(f"Fell back:       {counted(times, 'time', 'times')}, {what}")
    biggest = sorted(groups.items(), key=lambda named: -named[1].apparent)
    head = [chosen.by, "installed", "found", "added", "by pip", "size"]
    more = [] if chosen.by == "package" else ["runs", "not downloaded", "not copied"]
    output.table([*head, *more], (_row(name, sums)[: len(head + more)] for name, sums in biggest))
    lines = copied_lines(store, contents.items)
    lines += unread_lines(contents.unread, "not counted")
    for line in lines:
        output.find(line)
    return FINDINGS if lines else FINE


def _row(name: str, sums: Totals) -> list[str]:
    """Return the cells of a row: the sums that only whole runs have come last."""
    counts = map(str, (sums.installed, sums.found, sums.added, sums.by_pip))
    of_runs = [str(sums.runs), megabytes(sums.not_downloaded), megabytes(sums.not_copied)]
    return [name, *counts, megabytes(sums.apparent), *of_runs]


def _facts(sums: Totals, whole: Totals) -> dict[str, Any]:
    seconds = sums.saved_seconds(whole)
    return {**vars(sums), "seconds_not_compiled": None if seconds is None else round(seconds, 3)}
