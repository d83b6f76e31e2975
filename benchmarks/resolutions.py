"""Times what resolving costs: plain pip, this project and uv, on an index like the public one.

    python benchmarks/resolutions.py [--filesystem xfs|ext4|btrfs|tmpfs] [--directory DIR]
        [--case KEY ...] [--runs N] [--second-user NAME --group NAME] [--no-uv]
        [--into docs/benchmarks.md]

The index's pages and wheels are recorded once, from the index that pip is configured for, in the
directory that PIP_SHAREDCACHE_TEST_CACHE names or else in .cache, and are served from there on
127.0.0.1, with gzip, ETag, Cache-Control, 304 and PEP 658. Where the recorded index does not say
that metadata can be had, the pages say so all the same: the public index's do.

Each case (--case, default: all) has a table, of medians: seconds of the whole command, and of it
those until pip's resolver has returned; CPU seconds; what the index was asked; the resident peak of
the largest process. Commands take turns; each has caches and a store of its own, which are as the
case says whenever it starts, and installs into a fresh environment. uv has one cache for all users.
Without --second-user, the second user is the same account, with other caches.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from recorded import RecordedIndex, Requests, links, record

PIP, OURS, OFF, UV, UV_BYTECODE = (
    *("pip", "ours", "ours, resolutions off"),
    *("uv, copy, no bytecode", "uv, copy"),
)
_SWITCH = "PIP_SHAREDCACHE_RESOLUTIONS"


@dataclass(frozen=True)
class Case:
    """One table. ``delay``, ``rate``, ``max_age``: of the index, as RecordedIndex.set has them.

    ``further``: asked for besides the set. ``cold``: caches and store are empty. ``second``: a user
    other than the one who filled the store asks, whose caches are empty, or, if ``primed``, as the
    last run left them. In all other cases each run starts from the first user's caches.
    """

    title: str
    delay: float = 0
    rate: float = 0
    max_age: int = 0
    further: tuple[str, ...] = ()
    cold: bool = False
    second: bool = False
    primed: bool = False


_MAX_AGE = 600
_FAR: dict[str, Any] = {"delay": 0.03, "rate": 40e6, "max_age": _MAX_AGE}
CASES = {
    "same": Case("the same question again; pages are stale, no delay"),
    "more": Case("one new requirement more; pages are stale, no delay", further=("rich",)),
    "second": Case("a second user, empty HTTP cache; 30 ms, 40 MB/s", **_FAR, second=True),
    "fresh": Case(
        "the second user again, within max-age; 30 ms, 40 MB/s", **_FAR, second=True, primed=True
    ),
    "cold": Case("nothing cached, empty store; 30 ms, 40 MB/s", **_FAR, cold=True),
}


@dataclass
class Row:
    """One program, in one case. ``program`` gives its command for an environment and requirements;
    ``variables`` are its own."""

    name: str
    program: Callable[[Path, Sequence[str]], list[str]]
    variables: dict[str, str] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    requests: list[Requests] = field(default_factory=list)
    distributions: frozenset[str] = frozenset()

    @property
    def slug(self) -> str:
        """Its name for a directory."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name)

    def wall(self) -> float:
        """Median seconds of the whole command."""
        return median(cost.wall for cost in self.costs)

    def resolved(self) -> float:
        """Median seconds until pip's resolver has returned; nan for uv."""
        return median(
            cost.wall - cost.installation for cost in self.costs if cost.installation is not None
        )


class Measurement:
    """All cases on one file system.

    Each row has a directory, with the users' caches in ``first`` and ``second`` (of pip, of uv, and
    what else is in XDG_CACHE_HOME), those of a cold run in ``cold``, and the stores.
    """

    def __init__(
        self, bench: Bench, index: RecordedIndex, uv: str | None, options: argparse.Namespace
    ) -> None:
        self.bench = bench
        self.index = index
        self.options = options
        self.requirements = SETS[options.set].split()
        self.second = Account.named(options.second_user) if options.second_user else None
        self.uv = uv

    def rows(self) -> list[Row]:
        """The programs, in the order in which they take turns."""

        def pip(module: str) -> Callable[[Path, Sequence[str]], list[str]]:
            return lambda env, asked: [
                *(self.bench.python, "-m", module, "--python", str(env / "bin" / "python")),
                *("install", "--disable-pip-version-check", *asked),
            ]

        def uv(*extra: str) -> Callable[[Path, Sequence[str]], list[str]]:
            return lambda env, asked: [
                *(str(self.uv), "pip", "install", "--link-mode", "copy", *extra),
                *("--python", str(env / "bin" / "python"), *asked),
            ]

        known = "import pip_sharedcache.config as c; print('resolutions' in c.NAMES)"
        rows = [Row(PIP, pip("pip"))]
        if quietly(self.bench.python, "-c", known).strip() == "True":
            rows.append(Row(OURS, pip("pip_sharedcache"), {_SWITCH: "on"}))
            rows.append(Row(OFF, pip("pip_sharedcache"), {_SWITCH: "off"}))
        else:
            rows.append(Row(OFF, pip("pip_sharedcache")))
        if self.uv:
            rows.append(Row(UV, uv()))
            rows.append(Row(UV_BYTECODE, uv("--compile-bytecode")))
        return rows

    def prime(self) -> None:
        """Fill each row's caches and store: with what the further requirements of the cases need,
        too, which leaves no resolution; then, where there are resolutions, let the set be resolved
        twice. Keep a copy of what a run changes."""
        self.index.set(0, 0, 0)
        for row in self.rows():
            place = self.bench.work / row.slug
            place.mkdir()
            self.bench.make_store(place / "store", self.options.group)
            for case in CASES.values():
                if case.further:
                    switch = {_SWITCH: "off"} if row.name == OURS else {}
                    self.run(row, "first", None, [*self.requirements, *case.further], **switch)
            for _ in range(2 if row.name == OURS else 0):
                self.run(row, "first", None, self.requirements)
            for changed, kept in self.changed(row).items():
                if changed.exists():
                    quietly("cp", "-a", "--reflink=auto", str(changed), str(kept))

    def changed(self, row: Row) -> dict[Path, Path]:
        """What a run of the first user changes, the user's caches and the store's resolutions; and
        where a copy of each is kept."""
        place = self.bench.work / row.slug
        changed = (place / "first", place / "store" / "resolutions")
        return {path: place / f"kept-{path.name}" for path in changed}

    def measure(self, case: Case) -> str:
        """Run a case; return its table."""
        rows = self.rows()
        self.index.set(case.delay, case.rate, case.max_age)
        for turn in range(self.options.runs + 1):
            for row in rows:
                shared = row.name in (UV, UV_BYTECODE)
                if turn == 0 and not (case.second and (case.primed or shared)):
                    continue  # the state in which each run starts is there
                self.put_back(case, row)
                second = case.second and not shared
                self.index.count()
                cost = self.run(
                    row,
                    "cold" if case.cold else "second" if second else "first",
                    self.second if second else None,
                    [*self.requirements, *case.further],
                )
                if turn:
                    row.costs.append(cost)
                    row.requests.append(self.index.count())
        return report(rows)

    def put_back(self, case: Case, row: Row) -> None:
        """Let caches and store be as the case has them."""
        place = self.bench.work / row.slug
        if case.cold:
            remove(place / "cold")
            remove(place / "cold-store")
            self.bench.make_store(place / "cold-store")
        elif not case.second:
            for changed, kept in self.changed(row).items():
                remove(changed)
                if kept.exists():
                    quietly("cp", "-a", "--reflink=auto", str(kept), str(changed))
        elif not case.primed:
            remove(place / "second")

    def run(
        self, row: Row, who: str, account: Account | None, asked: Sequence[str], **variables: str
    ) -> Cost:
        """Run a row once, into a fresh environment, with the caches of ``who``."""
        place = self.bench.work / row.slug
        cache, store = place / who, place / ("cold-store" if who == "cold" else "store")
        if not cache.exists():
            cache.mkdir()
            self.bench.hand_over(cache, account)
        environment = self.bench.make_environment(account)
        cost = self.bench.run(
            row.program(environment, asked),
            account,
            **{
                **self.index.variables,
                "XDG_CACHE_HOME": str(cache),
                "PIP_CACHE_DIR": str(cache / "pip"),
                "UV_CACHE_DIR": str(cache / "uv"),
                "PIP_SHAREDCACHE_DIR": str(store),
                **row.variables,
                **variables,
            },
        )
        found = environment.glob("lib/python*/site-packages/*.dist-info")
        row.distributions = frozenset(path.name for path in found)
        remove(environment)
        return cost


def report(rows: list[Row]) -> str:
    """The table of one case."""
    base = rows[0]

    def cells(row: Row) -> Iterator[str]:
        def asked(what: Callable[[Requests], int]) -> str:
            return f"{median(what(requests) for requests in row.requests):g}"

        yield row.name
        yield figure(row.wall())
        yield figure(base.wall() / row.wall())
        yield figure(row.resolved())
        yield figure(median(cost.cpu for cost in row.costs))
        yield asked(lambda requests: requests.all)
        yield asked(lambda requests: requests.pages)
        yield asked(lambda requests: requests.unchanged)
        yield asked(lambda requests: requests.metadata)
        yield asked(lambda requests: requests.wheels)
        yield figure(median(requests.size for requests in row.requests) / 1e6)
        yield asked(lambda requests: requests.concurrent)
        yield figure(median(cost.memory for cost in row.costs) / 1e6)

    head = ["command", "wall s", "pip / this", "until resolved s", "CPU s", "requests"]
    head += ["page bodies", "304", "metadata", "wheels", "MB", "at once", "peak MB"]
    text = table(head, map(list, map(cells, rows)))
    others = [row.name for row in rows if row.distributions != base.distributions]
    if others:
        text += f"\n\nNot the versions that pip chose: {'; '.join(others)}."
    return text


def install_uv(bench: Bench) -> str | None:
    """The program uv, from the index that pip is configured for; None where that has none."""
    environment = bench.work / "uv"
    quietly(bench.python, "-m", "venv", str(environment))
    words = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "uv"]
    done = subprocess.run(words, capture_output=True)
    return None if done.returncode else str(environment / "bin" / "uv")


def recording(bench: Bench, name: str, uv: str | None) -> Path:
    """The recorded index, made if it is not there: for this set and Python."""
    cache = Path(os.environ.get("PIP_SHAREDCACHE_TEST_CACHE") or PROJECT / ".cache")
    target = cache / "index" / f"{name}-{version_of(bench.python)}"
    commands = []
    for case in CASES.values():
        asked = [*SETS[name].split(), *case.further]
        pip = [bench.python, "-m", "pip", "install", "--ignore-installed", "--no-cache-dir"]
        commands.append([*pip, "--dry-run", *asked])
        if uv:
            words = [uv, "pip", "install", "--no-cache", "--python", bench.python]
            commands.append([*words, "--target", str(bench.work / "aside"), *asked])
    further = sorted({one for case in CASES.values() for one in case.further})
    record(target, bench.python, [*SETS[name].split(), *further], commands)
    remove(bench.work / "aside")
    return target


def version_of(python: str) -> str:
    """Such as 3.11."""
    return quietly(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=3)
    parser.add_argument("--set", choices=[*SETS], default="science", help="default: science")
    parser.add_argument("--case", action="append", choices=[*CASES], dest="cases")
    parser.add_argument("--no-uv", action="store_true", help="measure without uv")
    parser.add_argument("--second-user", default="", metavar="NAME", help="an account (root only)")
    parser.add_argument("--group", default="", metavar="NAME", help="who shares the store")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    with work_directory(options) as work:
        key = f"resolutions {file_system(work)}"
        if options.into:
            parts_of(options.into, key)
        bench = Bench(work, options)
        if options.second_user:
            bench.check(Account.named(options.second_user))
        uv = None if options.no_uv else install_uv(bench)
        target = recording(bench, options.set, uv)
        pages, files = links(target)
        texts = [
            bench.header(
                quietly(uv, "--version").strip() if uv else "",
                f"medians of {options.runs}",
                f"load {os.getloadavg()[0]:.1f} before",
            ),
            f"**{options.set}**: {len(SETS[options.set].split())} requirements; the index has "
            f"{pages} pages with {files} files",
        ]
        print("\n\n".join(texts), flush=True)
        with RecordedIndex(target) as index:
            measurement = Measurement(bench, index, uv, options)
            measurement.prime()
            for name in options.cases or CASES:
                texts.append(
                    f"**{name}**: {CASES[name].title}\n\n{measurement.measure(CASES[name])}"
                )
                print(f"\n{texts[-1]}", flush=True)
        if options.into:
            before, after = parts_of(options.into, key)
            options.into.write_text("\n\n".join([before, *texts, after]), encoding="utf-8")


if __name__ == "__main__":
    main()
