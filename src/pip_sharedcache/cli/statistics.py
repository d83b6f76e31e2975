"""What a store does for those who pay for it: stats."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINE, Output
from pip_sharedcache.cli.stores import store_in_use
from pip_sharedcache.model import Installed, megabytes
from pip_sharedcache.store import Store, history, inventory
from pip_sharedcache.store.history import Run

#: What the numbers may be told by.
_BY = ("package", "user", "environment", "month")


@dataclass
class Sums:
    """Of some runs, or of one distribution in all of them. ``apparent``: bytes of what was
    installed; ``not_copied``, ``not_downloaded``: bytes; ``seconds``: of all runs together."""

    runs: int = 0
    installed: int = 0
    found: int = 0
    added: int = 0
    by_pip: int = 0
    apparent: int = 0
    not_downloaded: int = 0
    not_copied: int = 0
    seconds: float = 0.0
    compiled: int = 0
    compile_seconds: float = 0.0
    reused: int = 0

    def count(self, one: Installed) -> None:
        """Count one distribution."""
        self.installed += 1
        self.found += one.how == "found"
        self.added += one.how == "added"
        self.by_pip += one.how == "pip"
        self.apparent += one.size

    def add(self, run: Run) -> None:
        """Count one run, and all distributions in it."""
        self.runs += 1
        for one in run.distributions:
            self.count(one)
        self.not_downloaded += run.not_downloaded
        self.not_copied += run.not_copied
        self.seconds += run.seconds
        self.compiled += run.compiled
        self.compile_seconds += run.compile_seconds
        self.reused += run.reused

    def saved_seconds(self, whole: Sums) -> float | None:
        """Seconds that compiling what was reused would have taken, at the pace of what ``whole``
        tells of; None where nothing was compiled."""
        if not whole.compiled:
            return None
        return self.reused / whole.compiled * whole.compile_seconds


@dataclass
class Statistics:
    """All that the records of a store tell. ``modes``: runs by the link mode that was used;
    ``refusals`` and ``reasons``: why there was another one than was asked for, and why pip did it
    alone, and how often."""

    whole: Sums = field(default_factory=Sums)
    groups: dict[str, Sums] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: Store, by: str) -> Statistics:
        """Read them one after another: there may be thousands of users."""
        told = cls()
        group = _group(by)
        for user, run in history.runs(store):
            told.whole.add(run)
            if run.refused:
                told.refusals[f"no {run.mode}: {run.refused}"] += 1
            for one in run.distributions:
                if one.how == "pip" and one.why:
                    told.reasons[one.why] += 1
                if by == "package":
                    told.groups.setdefault(_project(one.title), Sums()).count(one)
            if group is not None:
                told.groups.setdefault(group(user, run), Sums()).add(run)
        return told


def add(commands: Any) -> None:
    """Name the command of this module."""
    parser = commands.add_parser(
        "stats",
        help="tell what the store saves, and whom",
        description="Adds up what each installation has recorded of itself (setting stats).",
    )
    parser.add_argument("--by", choices=_BY, default="package", help="default: package")
    Output.add_options(parser)
    parser.set_defaults(run=_stats)


def _group(by: str) -> Callable[[int, Run], str] | None:
    if by == "user":
        return lambda user, run: trust.user_name(user)
    if by == "environment":
        return lambda user, run: run.environment or "(not told)"
    if by == "month":
        return lambda user, run: time.strftime("%Y-%m", time.gmtime(run.at))
    return None


def _project(title: str) -> str:
    try:
        return str(parse_wheel_filename(title)[0])
    except InvalidWheelFilename:
        return title  # a source tree, say: pip built it


def _stats(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    stored = entries = 0
    for item in inventory(store, {}, []):
        entries += 1
        stored += item.size
    told = Statistics.of(store, chosen.by)
    whole = told.whole
    output.result(
        {
            "store": str(store.path),
            "entries": entries,
            "stored": stored,
            **_facts(whole, whole),
            "refusals": dict(told.refusals),
            "left_to_pip": dict(told.reasons),
            chosen.by: {name: _facts(sums, whole) for name, sums in sorted(told.groups.items())},
        }
    )
    output.say(f"Stored:          {megabytes(stored)} in {entries} entries of {store.path}")
    output.say(f"Apparent:        {megabytes(whole.apparent)} were installed by {whole.runs} runs")
    share = f" ({whole.found * 100 // whole.installed}%)" if whole.installed else ""
    output.say(f"Found there:     {whole.found} of {whole.installed} distributions{share}")
    output.say(f"Not downloaded:  {megabytes(whole.not_downloaded)}")
    output.say(f"Not copied:      {megabytes(whole.not_copied)}")
    seconds = whole.saved_seconds(whole)
    output.say(f"Not compiled:    {'unknown' if seconds is None else f'{seconds:.0f} seconds'}")
    for what, times in (told.refusals + told.reasons).most_common():
        output.say(f"Fell back:       {times} times, {what}")
    biggest = sorted(told.groups.items(), key=lambda named: -named[1].apparent)
    head = [chosen.by, "installed", "found", "added", "by pip", "size"]
    more = [] if chosen.by == "package" else ["runs", "not downloaded", "not copied"]
    output.table([*head, *more], (_row(name, sums)[: len(head + more)] for name, sums in biggest))
    return FINE


def _row(name: str, sums: Sums) -> list[str]:
    """Those that are known of whole runs only come last."""
    counts = map(str, (sums.installed, sums.found, sums.added, sums.by_pip))
    of_runs = [str(sums.runs), megabytes(sums.not_downloaded), megabytes(sums.not_copied)]
    return [name, *counts, megabytes(sums.apparent), *of_runs]


def _facts(sums: Sums, whole: Sums) -> dict[str, Any]:
    seconds = sums.saved_seconds(whole)
    return {**vars(sums), "seconds_not_compiled": None if seconds is None else round(seconds, 3)}
