"""Shows what costs grow with: entries in the store, users, files in a wheel, its size.

    python benchmarks/growth.py [--filesystem xfs|ext4|btrfs|tmpfs] [--directory DIR]
        [--entries N ...] [--publishers N ...] [--files N ...] [--big-mb MB]
        [--resolutions N ...]

Prints six tables, of synthetic stores and wheels, without a package index:

- looking up a wheel that is there and one that is not, publishing one, and installing a small one,
  in stores of different sizes and (as root) with entries of different numbers of users;
- list, stats, gc --dry-run and report in stores of different sizes, with the marks and the records
  of as many users as --publishers says at most (--only commands: this table alone);
- looking up a resolution that is there and one that is not, and publishing one, in stores with
  different numbers of resolutions; and the commands that read them all (--only resolutions: these
  two tables alone);
- installing wheels of different numbers of files from the store, and by plain pip;
- the resident peak of the largest process for the largest of these, and for one huge wheel.

As root, the stores of the first table are a group's, and used by a member of it; uids stand for
users, no accounts are needed. Everything compared takes turns. Needs disk space for four times
--big-mb, and 4 inodes for each entry.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from measuring import (
    Account,
    Bench,
    Cost,
    add_options,
    figure,
    median,
    quietly,
    remove,
    table,
    work_directory,
)
from synthetic import filename, write_wheel

FIRST_UID = GROUP = 200_000  # far from real accounts
SMALL = "benchmark_small"


class Growth:
    """One run: where it works, and the wheels that it installs."""

    def __init__(self, bench: Bench, options: argparse.Namespace) -> None:
        self.bench = bench
        self.options = options
        self.wheels = bench.work / "wheels"  # a find-links directory: what it lists is shared
        self.wheels.mkdir()

    def install(self, module: str, name: str, store: Path, account: Account | None = None) -> Cost:
        """Install the wheel ``name`` into a fresh environment."""
        environment = self.bench.make_environment(account)
        mode = f"--sharedcache-link-mode={self.options.link_mode}"
        command = [
            *(self.bench.python, "-m", module, *([mode] if module != "pip" else [])),
            *("--python", str(environment / "bin" / "python")),
            *("install", "--disable-pip-version-check"),
            *("--no-index", "--find-links", str(self.wheels), name),
        ]
        cost = self.bench.run(command, account, PIP_SHAREDCACHE_DIR=str(store))
        remove(environment)
        return cost

    # -- entries and users

    def entries(self) -> str:
        """The table of stores of different sizes."""
        root = os.geteuid() == 0
        member = Account(FIRST_UID, GROUP) if root else None
        group = str(GROUP) if root else ""
        if member:
            self.bench.check(member)
        self._make_wheel("files", SMALL, 5)
        sizes, publishers = self.options.entries, self.options.publishers if root else [1]
        shapes = [(size, publishers[-1]) for size in sizes]
        shapes += [(sizes[len(sizes) // 2], users) for users in publishers[:-1]]
        stores = {}
        for size, users in shapes:
            store = self.bench.work / f"store-{size}-{users}"
            self.bench.make_store(store, group)
            self._inside(None, "fill", str(store), str(size), str(users), str(FIRST_UID))
            stores[store] = size, users
        times = json.loads(
            self._inside(
                member,
                *("time", str(self._wheels_to_publish()), str(self.options.rounds)),
                *map(str, stores),
            )
        )
        installs: dict[Path, list[Cost]] = {store: [] for store in stores}
        for turn in range(self.options.runs + 1):  # the first one publishes
            for store in stores:
                cost = self.install("pip_sharedcache", SMALL, store, member)
                if turn:
                    installs[store].append(cost)
        rows = []
        for store, (size, users) in stores.items():
            took = {what: 1000 * median(values) for what, values in times[str(store)].items()}
            rows.append(
                [
                    *(f"{size:,}", str(users)),
                    *(figure(took[what]) for what in ("hit", "miss", "publish")),
                    figure(median(cost.wall for cost in installs[store])),
                    figure(median(cost.installation for cost in installs[store])),
                ]
            )
            remove(store)
        head = ["entries", "users", "hit ms", "miss ms", "publish ms"]
        return table([*head, "small install s", "of it installation s"], rows)

    def _inside(self, account: Account | None, *arguments: str) -> str:
        script = str(self.bench.work / "benchmarks" / "inside.py")
        return self.bench.run([self.bench.python, script, *arguments], account).output

    def _make_wheel(self, kind: str, name: str, number: int) -> None:
        script = str(self.bench.work / "benchmarks" / "synthetic.py")
        quietly(self.bench.python, script, kind, str(self.wheels), name, str(number))

    def _wheels_to_publish(self) -> Path:
        directory = self.bench.work / "to-publish"
        directory.mkdir()
        for number in range(self.options.rounds):
            name = f"benchmark_new{number}"
            with (directory / filename(name)).open("wb") as target:
                write_wheel(target, name, [])
        return directory

    # -- commands

    def commands(self) -> str:
        """The table of what goes through the whole store."""
        root = os.geteuid() == 0
        member = Account(FIRST_UID, GROUP) if root else None
        users = str(max(self.options.publishers) if root else 1)
        pages = self.bench.work / "pages"
        pages.mkdir()
        self.bench.hand_over(pages, member)
        kinds = {
            "list": ["list"],
            "stats": ["stats", "--by", "user"],
            "gc --dry-run": ["gc", "--dry-run", "--older-than", "90d", "--max-size", "1"],
            "report": ["report", "--html", str(pages / "page.html")],
        }
        rows = []
        for size in self.options.entries:
            store = self.bench.work / f"store-{size}"
            self.bench.make_store(store, str(GROUP) if root else "")
            self._inside(None, "fill", str(store), str(size), users, str(FIRST_UID))
            self._inside(None, "use", str(store), users, str(FIRST_UID))
            for name, words in kinds.items():
                costs = self._command(store, words, member)
                seconds = median(cost.wall for cost in costs)
                peak = median(cost.memory for cost in costs) / 1e6
                each = figure(1e6 * seconds / size)
                rows.append([name, f"{size:,}", users, figure(seconds), each, figure(peak)])
            remove(store)
        return table(["command", "entries", "users", "s", "µs an entry", "peak MB"], rows)

    def _command(self, store: Path, words: list[str], account: Account | None) -> list[Cost]:
        command = [self.bench.python, "-m", "pip_sharedcache", "store", *words, "--quiet"]
        return [
            self.bench.run(command, account, PIP_SHAREDCACHE_DIR=str(store))
            for _ in range(self.options.runs)
        ]

    # -- resolutions

    def resolutions(self) -> tuple[str, str]:
        """The tables of look-ups of resolutions, and of the commands that read them all."""
        stores = {}
        for count in self.options.resolutions:
            store = self.bench.work / f"store-resolutions-{count}"
            self.bench.make_store(store)
            self._inside(None, "record", str(store), str(count))
            stores[store] = count
        asked = self._inside(None, "ask", str(self.options.rounds), *map(str, stores))
        lookups = [
            [
                f"{stores[Path(store)]:,}",
                *(figure(1000 * median(took[what])) for what in ("hit", "miss", "publish")),
            ]
            for store, took in json.loads(asked).items()
        ]
        kinds = {
            "list --resolutions": ["list", "--resolutions"],
            "stats": ["stats"],
            "gc --dry-run": ["gc", "--dry-run", "--older-than", "90d", "--max-size", "1"],
            "verify": ["verify"],
        }
        rows = []
        for store, count in stores.items():
            for name, words in kinds.items():
                costs = self._command(store, words, None)
                peak = median(cost.memory for cost in costs) / 1e6
                cpu, there = median(cost.cpu for cost in costs), count + self.options.rounds
                rows.append([name, f"{there:,}", figure(cpu), figure(peak)])
            remove(store)
        return (
            table(["resolutions", "hit CPU ms", "miss CPU ms", "publish CPU ms"], lookups),
            table(["command", "resolutions", "CPU s", "peak MB"], rows),
        )

    # -- files and bytes

    def files(self) -> tuple[str, str]:
        """The tables of wheels with many files, and of memory."""
        store = self.bench.work / "store"
        self.bench.make_store(store)
        counts: dict[str, int] = {}
        for count in self.options.files:
            counts[f"benchmark_files{count}"] = count
            self._make_wheel("files", f"benchmark_files{count}", count)
        names = list(counts)
        largest = [(f"{max(counts.values()):,} files", max(names, key=lambda name: counts[name]))]
        if self.options.big_mb:
            self._make_wheel("megabytes", "benchmark_big", self.options.big_mb)
            largest.append((f"one wheel of {self.options.big_mb:,} MB", "benchmark_big"))
            names.append("benchmark_big")
        costs: dict[str, dict[str, list[Cost]]] = {
            name: {"pip": [], "cold": [], "warm": []} for name in names
        }
        for turn in range(self.options.runs + 1):
            for name, kept in costs.items():
                plain = self.install("pip", name, store)
                ours = self.install("pip_sharedcache", name, store)
                if turn:
                    kept["pip"].append(plain)
                    kept["warm"].append(ours)
                else:
                    kept["cold"].append(ours)
        placing = []
        for name, count in counts.items():
            seconds = [median(c.installation for c in costs[name][how]) for how in ("pip", "warm")]
            each = [figure(1e6 * value / count) for value in seconds]
            placing.append([f"{count:,}", *map(figure, seconds), *each])
        memory = [[words, *_megabytes(costs[name])] for words, name in largest]
        return (
            table(["files", "pip s", "ours s", "pip µs a file", "ours µs a file"], placing),
            table(["peak MB", "pip", "ours, cold", "ours, warm"], memory),
        )


def _megabytes(costs: dict[str, list[Cost]]) -> list[str]:
    return [
        figure(median(cost.memory for cost in costs[how]) / 1e6) for how in ("pip", "cold", "warm")
    ]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=3)

    def numbers(name: str, default: Sequence[int], what: str) -> None:
        shown = " ".join(map(str, default))
        parser.add_argument(
            name, type=int, nargs="+", default=default, metavar="N", help=f"{what}: {shown}"
        )

    numbers("--entries", (100, 10_000, 100_000), "entries in each store")
    numbers("--publishers", (1, 1000, 10), "users; the last for every size, the others for one")
    numbers("--resolutions", (1, 100, 10_000), "resolutions in each store")
    numbers("--files", (100, 1000, 10_000, 30_000), "files in each wheel")
    parser.add_argument("--rounds", type=int, default=200, help="of look-ups and publishing")
    parser.add_argument("--big-mb", type=int, default=512, help="the huge wheel, 0 for none")
    parser.add_argument("--link-mode", default="reflink")
    parser.add_argument("--only", choices=("commands", "resolutions"), help="one part alone")
    options = parser.parse_args()
    with work_directory(options) as work:
        bench = Bench(work, options)
        growth = Growth(bench, options)
        print(bench.header(f"medians of {options.runs}, of store operations of {options.rounds}"))
        if options.only != "resolutions":
            print(f"\n{growth.commands()}", flush=True)
        if options.only != "commands":
            lookups, commands = growth.resolutions()
            print(f"\n{lookups}\n\n{commands}", flush=True)
        if options.only:
            return
        print(f"\n{growth.entries()}", flush=True)
        placing, memory = growth.files()
        print(f"\nInstallation, {options.link_mode}:\n\n{placing}\n\n{memory}")


if __name__ == "__main__":
    main()
