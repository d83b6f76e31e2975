"""Many runs that miss the same wheels at the same time: 64 here, and a thousand nodes simulated.

    python benchmarks/herd.py [--filesystem xfs|ext4|btrfs|tmpfs] [--directory DIR] [--runs N]
        [--set NAME] [--processes N] [--delay MS] [--nodes N] [--seed N]
        [--into docs/benchmarks.md]

The first table is measured: one run on an empty store, one on a full one, and --processes runs that
start at once on an empty store, each into an environment of its own. Index and bucket are those of
benchmarks/remote.py.

The second table is simulated, with the times of the first one. Each node starts within --spread
seconds, claims what it misses, and looks whether an older claim is gone at the intervals of
session.turns. The oldest claim's node gets all objects, fills the store and deletes its claim; all
others go on then. A node waits no longer than session.turns.PATIENCE, and a claim of another host
counts for store.claims.LIFETIME after it was renewed: a node renews its claim while it waits.
All transfers share the bucket's rate. Of the nodes that get objects, a
share is switched off in the middle. The figures are means of --rounds simulations, and the worst
one in brackets.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from compare import SETS, parts_of
from measuring import (
    PROJECT,
    Bench,
    add_options,
    figure,
    file_system,
    quietly,
    remove,
    table,
    work_directory,
)
from recorded import RecordedIndex
from resolutions import recording

from pip_sharedcache.session.turns import PATIENCE, RENEWAL, pauses
from pip_sharedcache.store.claims import LIFETIME
from remote import Machines

sys.path.insert(0, str(PROJECT / "tests"))

from support.object_server import ObjectServer


@dataclass(frozen=True)
class Model:
    """What is simulated; times in seconds, sizes in bytes, rates in bytes a second.

    ``nodes``, ``stores``: how many there are; each store belongs to equally many nodes.
    ``spread``: within which the nodes start. ``before``: from a start to the first request.
    ``fill``: what the oldest claim's node needs beside its transfer. ``after``: what each node
    needs once the store has everything. ``size``: of all objects together. ``rate``: of one node;
    ``total``: of the bucket. ``lost``: the share of transfers whose node is switched off.
    """

    nodes: int
    stores: int
    spread: float
    before: float
    fill: float
    after: float
    size: float
    rate: float
    total: float
    lost: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """``reads``: the times that each object was read. ``end``: when the last node was done."""

    reads: int
    end: float


@dataclass
class _Store:
    """``claims``: the nodes with a claim, in their order, and when it was renewed last.

    ``full``: whether the store has everything.
    """

    claims: dict[int, float]
    full: bool = False


class Simulation:
    """One simulation of a ``model``; ``seed`` decides all that is random."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, str, int]] = []
        self._numbers = itertools.count()
        self._stores = [_Store({}) for _ in range(model.stores)]
        self._transfers: dict[int, float] = {}  # node: bytes left
        self._moved = 0.0  # when the transfers were last brought up to date
        self._since: dict[int, float] = {}  # when a node began to wait
        self._pauses: dict[int, Iterator[float]] = {}
        self._version = 0
        self.reads, self.end = 0, 0.0

    def run(self) -> Simulated:
        """Simulate until every node is done or lost."""
        model = self.model
        for node in range(model.nodes):
            self._at(self._random.uniform(0, model.spread) + model.before, "claim", node)
        while self._events:
            now, _, what, node = heapq.heappop(self._events)
            store = self._stores[node % model.stores]
            if what == "transferred":
                if node != self._version:  # the rates have changed since
                    continue
                self._move(now)
                for one in [one for one, left in self._transfers.items() if left <= 1]:
                    del self._transfers[one]
                    self._at(now + model.fill, "filled", one)
                self._expect(now)
                continue
            if what == "claim":
                if store.full:
                    self._done(now)
                    continue
                store.claims[node] = now
                self._since[node], self._pauses[node] = now, pauses()
                self._look(now, node, store)
            elif what == "look":
                self._look(now, node, store)
            elif what == "lost":
                self._move(now)
                self._transfers.pop(node, None)
                self._expect(now)
            elif what == "filled":
                store.full = True
                store.claims.pop(node, None)
                self._done(now)
        return Simulated(self.reads, self.end)

    def _look(self, now: float, node: int, store: _Store) -> None:
        """Let ``node`` look once whether it must wait."""
        if store.full:
            store.claims.pop(node, None)
            self._done(now)
            return
        counting = (one for one, since in store.claims.items() if now - since < LIFETIME)
        older = next(counting, node) != node  # they are in their order
        if now - store.claims[node] > RENEWAL or not older:
            store.claims[node] = now
        if older and now - self._since[node] < PATIENCE:
            self._at(now + next(self._pauses[node]), "look", node)
            return
        self.reads += 1
        self._move(now)
        self._transfers[node] = self.model.size
        if self._random.random() < self.model.lost:
            alone = self.model.size / self.model.rate
            self._at(now + self._random.uniform(0, alone), "lost", node)
        self._expect(now)

    def _done(self, now: float) -> None:
        self.end = max(self.end, now + self.model.after)

    def _move(self, now: float) -> None:
        """Bring the transfers up to date."""
        if self._transfers:
            moved = (now - self._moved) * self._rate()
            self._transfers = {one: left - moved for one, left in self._transfers.items()}
        self._moved = now

    def _rate(self) -> float:
        return min(self.model.rate, self.model.total / len(self._transfers))

    def _expect(self, now: float) -> None:
        """Expect the end of the next transfer."""
        self._version += 1
        if self._transfers:
            left = max(0.0, min(self._transfers.values()))
            self._at(now + left / self._rate(), "transferred", self._version)

    def _at(self, when: float, what: str, node: int) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what, node))


@dataclass(frozen=True)
class Measured:
    """What was measured: seconds of one run on an empty store, of one on a full store, and of many
    at once, until the last was done; ``most``: how often a wheel or its bytecode was read then."""

    empty: float
    full: float
    many: float
    most: int
    size: float


def measure(machines: Machines, processes: int) -> Measured:
    """Measure on one machine whose bucket is full."""
    bench, bucket = machines.bench, machines.bucket
    machines.run(machines.first)
    size = float(sum(map(len, bucket.objects.values())))
    empty = machines.run(machines.second).wall
    full = machines.run(machines.second, keep=True).wall
    machines.clear()
    environments = [bench.make_environment(machines.account) for _ in range(processes)]
    before, start = len(bucket.requests), time.monotonic()
    codes = [one.wait() for one in machines.start(machines.second, environments)]
    many = time.monotonic() - start
    if any(codes):
        raise SystemExit(f"{sum(map(bool, codes))} of {processes} runs failed")
    for environment in environments:
        remove(environment)
    got = Counter(name for verb, name, _ in bucket.requests[before:] if verb == "GET")
    most = max(got[name] for name in got if "/wheels/" in name or "/bytecode/" in name)
    return Measured(empty, full, many, most, size)


def simulated(found: Measured, options: argparse.Namespace) -> str:
    """The table of the simulations."""
    rate = options.rate * 1e6
    base = Model(
        nodes=options.nodes,
        stores=1,
        spread=options.spread,
        before=0.5,
        fill=max(0.0, found.empty - found.size / rate),
        after=found.full,
        size=found.size,
        rate=rate,
        total=options.total * 1e6,
    )
    cases = {
        "one store for all": base,
        "20 stores": replace(base, stores=20),
        "20 stores, 5 % of transfers lost": replace(base, stores=20, lost=0.05),
        "a store on each node": replace(base, stores=options.nodes),
        "objects 20 times as large, one store": replace(base, size=20 * found.size),
    }

    def cells(name: str, model: Model) -> list[str]:
        ended = [Simulation(model, options.seed + turn).run() for turn in range(options.rounds)]
        reads, times = [one.reads for one in ended], [one.end for one in ended]
        volume = statistics.mean(reads) * model.size / 1e9
        return [
            name,
            f"{model.stores}",
            f"{statistics.mean(reads):.1f} ({max(reads)})",
            figure(volume),
            f"{figure(statistics.mean(times))} ({figure(max(times))})",
        ]

    head = ["nodes", "stores", "reads of each object", "GB", "until the last is done s"]
    return table(head, [cells(name, model) for name, model in cases.items()])


def main() -> None:
    """Parse the command line, measure, simulate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=1)
    parser.add_argument("--set", choices=[*SETS], default="web", help="default: web")
    parser.add_argument("--processes", type=int, default=64, help="default: 64")
    parser.add_argument("--delay", type=float, default=5, metavar="MS", help="default: 5")
    parser.add_argument("--user", default="daemon", help="as whom root runs (default: daemon)")
    parser.add_argument("--nodes", type=int, default=1000, help="default: 1000")
    parser.add_argument("--spread", type=float, default=2, metavar="S", help="default: 2")
    parser.add_argument("--rate", type=float, default=100, metavar="MB/S", help="of a node: 100")
    parser.add_argument("--total", type=float, default=2500, metavar="MB/S", help="default: 2500")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--rounds", type=int, default=20, help="default: 20")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    with work_directory(options) as work:
        key = f"herd {file_system(work)}"
        if options.into:
            parts_of(options.into, key)
        bench = Bench(work, options)
        quietly(bench.python, "-m", "pip", "install", "obstore")
        target = recording(bench, options.set, None)
        os.environ.pop("PIP_SHAREDCACHE_TEST_CACHE", None)  # each run warns of it
        seconds = options.delay / 1000
        with RecordedIndex(target) as index, ObjectServer(delay=seconds) as bucket:
            index.set(seconds, 0, 600)
            found = measure(Machines(bench, index, bucket, options), options.processes)
        rows = [
            ["one, empty store", figure(found.empty), "1"],
            ["one, full store", figure(found.full), "0"],
            [f"{options.processes} at once, empty store", figure(found.many), f"{found.most}"],
        ]
        text = "\n\n".join(
            [
                bench.header(f"seed {options.seed}", f"{options.rounds} simulations"),
                f"**{options.set}**: measured, {figure(found.size / 1e6)} MB of objects, "
                f"{options.delay:g} ms before each answer",
                table(["runs", "until the last is done s", "reads of each wheel"], rows),
                f"Simulated: {options.nodes} nodes, which start within {options.spread:g} s; "
                f"{options.rate:g} MB/s for each, {options.total:g} MB/s for all",
                simulated(found, options),
            ]
        )
        print(text, flush=True)
        if options.into:
            before, after = parts_of(options.into, key)
            options.into.write_text("\n\n".join([before, text, after]), encoding="utf-8")


if __name__ == "__main__":
    main()
