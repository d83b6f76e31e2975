"""Which part of the tests with parameters a run takes, so that a number of runs takes all.

A run without a slice takes everything. A run with the slice 3/8 takes, of each test function with
parameters, a choice in which each value of each parameter occurs, and an eighth of the other cells.
For the parameters that the marker ``sampled`` names, not each value needs to occur in each run.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from support import REPOSITORY

#: So many runs take everything between them.
RUNS = 8
#: Fewer places than these are not divided.
FEWEST_PLACES = 12

T = TypeVar("T")


@dataclass(frozen=True)
class Slice:
    """The part ``number`` (from 1) of ``of`` parts."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, items: Sequence[T], shift: int = 0) -> list[T]:
        """Return every item of this part; ``shift`` says which part begins with the first item."""
        return list(items[(self.number - 1 + shift) % self.of :: self.of])


_current: Slice | None = None


def choose(chosen: Slice | None) -> None:
    """Set the slice of this run; None for everything."""
    global _current
    _current = chosen


def current() -> Slice | None:
    """Return the slice of this run."""
    return _current


def parse(text: str) -> Slice:
    """Return the slice of "3/8", or the one that the number of commits gives for "rotating"."""
    if text == "rotating":
        return Slice(_commits() % RUNS + 1, RUNS)
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"not K/N with K from 1 to N, and not rotating: {text}")
    return Slice(int(match[1]), int(match[2]))


def places(items: Sequence[T]) -> list[T]:
    """Return the places at which this run injects a fault, of all at which one is possible."""
    if _current is None or len(items) < FEWEST_PLACES:
        return list(items)
    return _current.part(items)


def numbered(cells: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, int]]:
    """Return the cells with a number for each value of each parameter: equal values, one number."""
    seen: dict[str, list[object]] = {}
    found: dict[str, dict[str, int]] = {}
    for name, cell in cells.items():
        found[name] = {}
        for parameter, value in cell.items():
            values = seen.setdefault(parameter, [])
            if value not in values:
                values.append(value)
            found[name][parameter] = values.index(value)
    return found


def taken(
    cells: Mapping[str, Mapping[str, int]], chosen: Slice, sampled: Collection[str] = ()
) -> set[str]:
    """Return the names of the cells of one test function that a run with this slice takes.

    cells: for each name the number of the value of each parameter.
    sampled: the parameters of which not every value needs to be in every run.
    """
    always = covering(cells, sampled)
    # Functions begin at different cells: the first of eight runs is no longer than the last.
    shift = _digest(min(cells, default=""))[0]
    return always | set(chosen.part([name for name in cells if name not in always], shift))


def covering(cells: Mapping[str, Mapping[str, int]], sampled: Collection[str] = ()) -> set[str]:
    """Return a small choice of cells in which each value of each parameter occurs.

    It is one cell where all parameters are ``sampled``.
    """
    columns = _independent(cells, sampled)
    missing = {name: {(c, cell.get(c, -1)) for c in columns} for name, cell in cells.items()}
    # Of equals the one with the smallest digest: no value is always joined with the first one.
    order = sorted(cells, key=_digest)
    chosen = set() if columns else set(order[:1])
    uncovered = set().union(*missing.values())
    while uncovered:
        best = max(order, key=lambda name: len(missing[name] & uncovered))
        chosen.add(best)
        uncovered -= missing[best]
    return chosen


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _independent(cells: Mapping[str, Mapping[str, int]], sampled: Collection[str]) -> list[str]:
    """Return the parameters that vary, without those that follow from one of the others."""
    columns: dict[str, list[int]] = {}
    for parameter in sorted({parameter for cell in cells.values() for parameter in cell}):
        columns[parameter] = [cell.get(parameter, -1) for cell in cells.values()]
    # Like a parameter, what follows from it (an exit status from a command) is sampled.
    kept = [name for name in sampled if name in columns]
    # The one with the most values first: what follows from it comes after it.
    for parameter in sorted(columns, key=lambda name: -len(set(columns[name]))):
        values = columns[parameter]
        follows = any(len(set(zip(columns[k], values))) == len(set(columns[k])) for k in kept)
        if not follows and len(set(values)) > 1:
            kept.append(parameter)
    return [name for name in kept if name not in sampled]


def _commits() -> int:
    """Return the number of commits; 0 where this is no clone, or one without the older ones."""
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"],
        capture_output=True,
        text=True,
    )
    return int(done.stdout) if done.returncode == 0 else 0
