"""Times the second machine: an empty store, and nothing in common with the first but a bucket.

    python benchmarks/remote.py [--filesystem xfs|ext4|btrfs|tmpfs] [--directory DIR] [--runs N]
        [--set NAME] [--delay MS] [--fewer] [--into docs/benchmarks.md]

The index is the recorded one (benchmarks/resolutions.py), the bucket an object store in this
process; both answer each request after the delay. Every run has empty caches of pip, an empty local
store and a fresh environment. The first machine fills the bucket; its row has the time of the
pushes in it. As root, the commands run as another user, who can name allowed signers in a variable.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from compare import SETS, parts_of
from measuring import (
    PROJECT,
    Account,
    Bench,
    Cost,
    add_options,
    figure,
    file_system,
    median,
    quietly,
    remove,
    table,
    work_directory,
)
from recorded import RecordedIndex, Requests
from resolutions import recording

sys.path.insert(0, str(PROJECT / "tests"))

from support.keys import NAMESPACES, make_key, public
from support.object_server import ObjectServer

PIP, ALONE, FIRST, WHEELS, SECOND = (
    *("pip", "ours, no bucket", "ours, first machine, with the push"),
    *("ours, second machine, wheels only", "ours, second machine"),
)

OURS = "pip_sharedcache"


@dataclass
class Row:
    """One way to install; ``variables`` are its own."""

    name: str
    module: str
    variables: dict[str, str] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    requests: list[Requests] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)


class Machines:
    """Machines that have the index and the bucket in common; one exists at a time.

    ``first``: pushes, and signs. ``second``: pulls. ``wheels``: pulls, and has no signers.
    """

    def __init__(
        self, bench: Bench, index: RecordedIndex, bucket: ObjectServer, options: argparse.Namespace
    ) -> None:
        self.bench, self.index, self.bucket, self.options = bench, index, bucket, options
        self.account = Account.named(options.user) if os.geteuid() == 0 else None
        keys = bench.work / "keys"
        keys.mkdir()
        key = make_key(keys, "key")
        signers = keys / "signers"
        signers.write_text(f"benchmark {NAMESPACES} {public(key)}\n", encoding="ascii")
        bench.hand_over(keys, self.account)
        reads, writes = f"{bucket.url} read-only", f"{bucket.url} publish"
        signed = {"PIP_SHAREDCACHE_SIGNERS": str(signers)}
        signs = {"PIP_SHAREDCACHE_SIGNING_KEY": str(key)}
        self.pip, self.alone = Row(PIP, "pip"), Row(ALONE, OURS)
        self.first = Row(FIRST, OURS, {"remote": writes, **signs})
        self.wheels = Row(WHEELS, OURS, {"remote": reads})
        self.second = Row(SECOND, OURS, {"remote": reads, **signed})

    def clear(self) -> None:
        """Begin with a machine that has nothing."""
        machine = self.bench.work / "machine"
        remove(machine)
        (machine / "store").mkdir(parents=True)
        self.bench.hand_over(machine, self.account)

    def command(self, row: Row, environment: Path) -> tuple[list[str], dict[str, str]]:
        """The command of ``row``, and its variables."""
        machine = self.bench.work / "machine"
        variables = dict(row.variables)
        remote = variables.pop("remote", "")
        given = {name: value or "" for name, value in self.bucket.variables.items()}
        python = str(environment / "bin" / "python")
        words = ["--python", python, "install", "--disable-pip-version-check"]
        command = [self.bench.python, "-m", row.module, *words]
        return [*command, *SETS[self.options.set].split()], {
            **self.index.variables,
            **given,
            "HOME": str(machine),
            "XDG_CACHE_HOME": str(machine / "cache"),
            "PIP_CACHE_DIR": str(machine / "cache" / "pip"),
            "PIP_SHAREDCACHE_DIR": "\n".join(filter(None, [str(machine / "store"), remote])),
            **variables,
        }

    def run(self, row: Row, *, keep: bool = False) -> Cost:
        """Run ``row`` once, on a machine that has nothing; ``keep``: on the last one."""
        if not keep:
            self.clear()
        environment = self.bench.make_environment(self.account)
        command, variables = self.command(row, environment)
        cost = self.bench.run(command, self.account, **variables)
        for line in cost.output.splitlines():
            if line.startswith(("WARNING", "ERROR")):
                raise SystemExit(f"{row.name}: {line}")
        remove(environment)
        return cost

    def start(self, row: Row, environments: Iterable[Path]) -> list[subprocess.Popen[bytes]]:
        """Start ``row`` for each of ``environments``, on the last machine."""
        started = []
        for environment in environments:
            command, variables = self.command(row, environment)
            argv = self.account.command(command) if self.account else command
            started.append(
                subprocess.Popen(
                    argv,
                    env={**os.environ, **variables},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            )
        return started


def measure(machines: Machines, runs: int, *, fewer: bool) -> str:
    """Run all rows in turns, the first turn uncounted; return the table.

    ``fewer``: without the rows that have nothing to do with signatures.
    """
    rows = [machines.pip, machines.alone, machines.first, machines.wheels, machines.second]
    if fewer:
        rows = [machines.pip, machines.first, machines.second]
    for turn in range(runs + 1):
        for row in rows:
            if row is machines.first:
                machines.bucket.objects.clear()
            machines.index.count()
            before = len(machines.bucket.requests)
            cost = machines.run(row)
            if turn:
                row.costs.append(cost)
                row.requests.append(machines.index.count())
                row.objects.append(len(machines.bucket.requests) - before)
            print(f"{row.name}: {cost.wall:.1f} s", file=sys.stderr, flush=True)
    return report(rows)


def report(rows: list[Row]) -> str:
    """The table of all rows."""
    base = median(cost.wall for cost in rows[0].costs)

    def cells(row: Row) -> list[str]:
        wall = median(cost.wall for cost in row.costs)
        return [
            row.name,
            figure(wall),
            figure(wall / base),
            figure(median(cost.installation for cost in row.costs)),
            figure(median(cost.cpu for cost in row.costs)),
            f"{median(requests.wheels for requests in row.requests):g}",
            f"{median(requests.all for requests in row.requests):g}",
            f"{median(row.objects):g}",
        ]

    head = ["command", "wall s", "this / pip", "after the resolver s", "CPU s"]
    head += ["wheels of the index", "requests there", "requests to the bucket"]
    return table(head, map(cells, rows))


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=3)
    parser.add_argument("--set", choices=[*SETS], default="science", help="default: science")
    parser.add_argument("--delay", type=float, default=5, metavar="MS", help="default: 5")
    parser.add_argument("--user", default="daemon", help="as whom root runs (default: daemon)")
    parser.add_argument("--fewer", action="store_true", help="pip and the signed rows alone")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the table there, too")
    options = parser.parse_args()
    with work_directory(options) as work:
        key = f"remote {file_system(work)}"
        if options.into:
            parts_of(options.into, key)
        bench = Bench(work, options)
        quietly(bench.python, "-m", "pip", "install", "obstore")
        target = recording(bench, options.set, None)
        os.environ.pop("PIP_SHAREDCACHE_TEST_CACHE", None)  # each run warns of it
        seconds = options.delay / 1000
        with RecordedIndex(target) as index, ObjectServer(delay=seconds) as bucket:
            index.set(seconds, 0, 600)
            machines = Machines(bench, index, bucket, options)
            measured = measure(machines, options.runs, fewer=options.fewer)
        head = bench.header(f"medians of {options.runs}", f"load {os.getloadavg()[0]:.1f} after")
        what = f"**{options.set}**: {options.delay:g} ms before each answer of index and bucket"
        text = "\n\n".join([head, what, measured])
        print(text, flush=True)
        if options.into:
            before, after = parts_of(options.into, key)
            options.into.write_text("\n\n".join([before, text, after]), encoding="utf-8")


if __name__ == "__main__":
    main()
