"""Which part of the large products of tests a run takes, so that a number of runs takes all.

A run without a slice takes everything. A run with the slice 3/8 takes of each marked product a
choice that every run takes, and of the rest every eighth test, beginning with the third.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from support import REPOSITORY

#: So many runs take everything between them.
RUNS = 8
#: Fewer places than these are not divided.
FEWEST_PLACES = 40

T = TypeVar("T")


@dataclass(frozen=True)
class Slice:
    """The part ``number`` (from 1) of ``of`` parts."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def part(self, items: Sequence[T]) -> list[T]:
        """Return every item of this part."""
        return list(items[self.number - 1 :: self.of])


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


def taken(cells: Mapping[str, Mapping[str, int]], chosen: Slice) -> set[str]:
    """Return the names of the cells of one product that a run with this slice takes.

    cells: for each name the number of the value of each parameter.
    """
    always = covering(cells)
    return always | set(chosen.part([name for name in cells if name not in always]))


def covering(cells: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Return a small choice of cells in which each value of each parameter occurs.

    Where the parameters are three or more, each pair of values of two parameters occurs.
    """
    columns = _independent(cells)
    together = 2 if len(columns) >= 3 else 1
    missing = {name: _groups(cell, columns, together) for name, cell in cells.items()}
    chosen: set[str] = set()
    # Of equals the one with the smallest digest: no value is always joined with the first one.
    order = sorted(cells, key=lambda name: hashlib.sha256(name.encode()).digest())
    uncovered = set().union(*missing.values())
    while uncovered:
        best = max(order, key=lambda name: len(missing[name] & uncovered))
        chosen.add(best)
        uncovered -= missing[best]
    return chosen


def _independent(cells: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the parameters that vary, without those that follow from one of the others."""
    columns: dict[str, list[int]] = {}
    for parameter in sorted({parameter for cell in cells.values() for parameter in cell}):
        columns[parameter] = [cell.get(parameter, -1) for cell in cells.values()]
    # The one with the most values first: what follows from it comes after it.
    kept: list[str] = []
    for parameter in sorted(columns, key=lambda name: -len(set(columns[name]))):
        values = columns[parameter]
        follows = any(len(set(zip(columns[k], values))) == len(set(columns[k])) for k in kept)
        if not follows and len(set(values)) > 1:
            kept.append(parameter)
    return kept


def _groups(
    cell: Mapping[str, int], columns: Sequence[str], together: int
) -> set[tuple[tuple[str, int], ...]]:
    values = [(column, cell.get(column, -1)) for column in columns]
    return set(itertools.combinations(values, together))


def _commits() -> int:
    """Return the number of commits; 0 where this is no clone, or one without the older ones."""
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"],
        capture_output=True,
        text=True,
    )
    return int(done.stdout) if done.returncode == 0 else 0
