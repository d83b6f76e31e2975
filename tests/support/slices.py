"""Which part of the tests with parameters a run takes, so that a number of runs takes all.

A run without a slice takes everything. A run with the slice 3/8 takes, of each test function with
parameters, every eighth cell, at least one. Of a function that is marked ``product`` a run takes
each value of each parameter, too; ``product("mode")`` is about one parameter only.
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
FEWEST_PLACES = 8

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


def share(times: int) -> int:
    """Return how often this run tries what a run without a slice tries so many times."""
    return times if _current is None else max(1, times // _current.of)


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
    cells: Mapping[str, Mapping[str, int]], chosen: Slice, every: Collection[str] = ()
) -> set[str]:
    """Return the names of the cells of one test function that a run with this slice takes.

    cells: for each name the number of the value of each parameter.
    every: the parameters of which each value is to be in every run.
    """
    always = covering(cells, every)
    # In the order of their digests: no part has only the cells with one value of a parameter.
    rest = [name for name in sorted(cells, key=_digest) if name not in always]
    # Functions begin at different cells: the first of eight runs is no longer than the last.
    number = chosen.number - 1 + _digest(min(cells))[0]
    part = rest[number % chosen.of :: chosen.of]
    return always | set(part) or {rest[number % len(rest)]}


def covering(cells: Mapping[str, Mapping[str, int]], every: Collection[str]) -> set[str]:
    """Return a small choice of cells in which these parameters have each of their values."""
    missing = {
        name: {(parameter, cell.get(parameter, -1)) for parameter in every}
        for name, cell in cells.items()
    }
    # Of equals the one with the smallest digest: no value is always joined with the first one.
    order = sorted(cells, key=_digest)
    chosen: set[str] = set()
    uncovered = set().union(*missing.values())
    while uncovered:
        best = max(order, key=lambda name: len(missing[name] & uncovered))
        chosen.add(best)
        uncovered -= missing[best]
    return chosen


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _commits() -> int:
    """Return the number of commits; 0 where this is no clone, or one without the older ones."""
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"],
        capture_output=True,
        text=True,
    )
    return int(done.stdout) if done.returncode == 0 else 0
