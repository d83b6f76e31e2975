"""Times plain pip, this project and (where it is installed) uv on the same sets, in one run.

    python benchmarks/compare.py [--filesystem xfs|ext4|btrfs|tmpfs] [--directory DIR]
        [--set NAME ...] [--way reflink|copy|hardlink|symlink|packed ...] [--runs N]
        [--second-user NAME --group NAME] [--into docs/why.md]

Every command installs into a fresh virtual environment, from the package index, with a warm HTTP
cache: the first turn warms caches and store, and is not counted. Commands take turns, so that a
drifting machine drifts for all. Caches, stores and environments lie on one file system: that of
DIR, or a new one made there (root only). As root, another account can install from the store that
the first user filled; --group is the group that shares it. A way is a link mode, for entries that
are trees, or "packed": copies from packed entries.

What is printed, as medians of seconds: the whole command (wall, CPU), and of pip's commands the
"installation": from the return of pip's resolver to the end of the process. And of the tree that
plain pip made, bytecode included, two floors: `cp -a --reflink=auto` and `cp -al`.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measuring import (
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

SETS = {
    "small": "six",
    "web": "flask django fastapi requests sqlalchemy celery",
    "science": "jupyterlab pandas scikit-learn matplotlib flask django fastapi requests "
    "sqlalchemy black pytest mypy ipython sphinx celery",
    "huge": "scipy pyarrow llvmlite",
    "many-tiny": "six attrs idna certifi click toml tomli pluggy iniconfig zipp colorama "
    "decorator wcwidth parso pickleshare backcall mccabe pycodestyle pyflakes toolz",
}

DRY_RUN = "pip --dry-run"
CLONE, LINK = "cp -a --reflink=auto", "cp -al"
PACKED = "packed"
#: The floor for each way.
FLOORS = {"reflink": CLONE, "copy": CLONE, "hardlink": LINK, "symlink": LINK, PACKED: CLONE}

_PLACED = re.compile(r"^Shared store:.*?; files ([^;]+)", re.MULTILINE)


@dataclass
class Row:
    """One command, and what it took. ``command`` gives it for the environment to install into;
    ``layout`` is that of its store; ``floor`` names the row that its installation is compared
    to."""

    name: str
    command: Callable[[Path], Sequence[str]]
    store: Path | None = None
    layout: str = ""
    cold: bool = False
    account: Account | None = None
    floor: str = ""
    costs: list[Cost] = field(default_factory=list)
    distributions: frozenset[str] = frozenset()

    def wall(self) -> float:
        """Median seconds of the whole command."""
        return median(cost.wall for cost in self.costs)

    def installation(self) -> float:
        """Median seconds from the return of pip's resolver to the end; nan where nothing is
        installed, or not by pip."""
        if self.name == DRY_RUN:
            return math.nan
        return median(cost.installation for cost in self.costs)

    def placed(self) -> str:
        """How the last run placed the files, in the words of the project's own summary."""
        found = _PLACED.search(self.costs[-1].output) if self.costs else None
        return found[1] if found else ""


def rows_for(bench: Bench, requirements: list[str], options: argparse.Namespace) -> list[Row]:
    """Every command to be compared, in the order in which they take turns."""

    def pip(*program: str, extra: Sequence[str] = ()) -> Callable[[Path], list[str]]:
        return lambda env: [
            *(bench.python, "-m", *program, "--python", str(env / "bin" / "python")),
            *("install", "--disable-pip-version-check", *extra, *requirements),
        ]

    def copy(*how: str) -> Callable[[Path], list[str]]:
        return lambda env: ["cp", *how, str(bench.work / "reference"), str(env)]

    other = Account.named(options.second_user) if options.second_user else None
    no_bytecode = ["--no-compile"]
    rows = [
        Row("pip", pip("pip")),
        Row("pip --no-compile", pip("pip", extra=no_bytecode)),
        Row(DRY_RUN, pip("pip", extra=["--dry-run"])),
        Row(CLONE, copy("-a", "--reflink=auto")),
        Row(LINK, copy("-al")),
    ]
    for way in options.way:
        layout = PACKED if way == PACKED else "tree"
        ours = ["pip_sharedcache", *([] if way == PACKED else [f"--sharedcache-link-mode={way}"])]
        store, cold, floor = bench.work / layout, bench.work / "cold", FLOORS[way]
        name = f"ours, {way}"
        rows += [
            Row(f"{name}, cold", pip(*ours), cold, layout, cold=True, floor=floor),
            Row(f"{name}, warm", pip(*ours), store, layout, floor=floor),
            Row(f"{name}, warm, --no-compile", pip(*ours, extra=no_bytecode), store, layout),
        ]
        if other:
            second = f"{name}, warm, second user"
            rows.append(Row(second, pip(*ours), store, layout, account=other, floor=floor))
    if other:
        rows.append(Row("pip, second user", pip("pip"), account=other))
    if uv := find_uv():
        for mode in ("hardlink", "clone", "copy"):
            rows.append(Row(f"uv, {mode}, no bytecode", _uv(uv, mode, requirements)))
        rows.append(Row("uv, copy", _uv(uv, "copy", requirements, "--compile-bytecode")))
    return rows


def find_uv() -> str | None:
    """The program uv, asked of itself: what is on PATH may be a shim, whose time is not uv's."""
    if shutil.which("uv") is None:
        return None
    return quietly("uv", "run", "--no-project", "--no-cache", "--offline", "printenv", "UV").strip()


def _uv(uv: str, mode: str, requirements: list[str], *extra: str) -> Callable[[Path], list[str]]:
    return lambda env: [
        *(uv, "pip", "install", "--link-mode", mode, *extra),
        *("--python", str(env / "bin" / "python"), *requirements),
    ]


def compare(name: str, bench: Bench, options: argparse.Namespace) -> str:
    """Time the set ``name``; return its table."""
    rows = rows_for(bench, SETS[name].split(), options)
    reference = bench.work / "reference"
    stores = {row.store: row.layout for row in rows if row.store and not row.cold}
    for store, layout in stores.items():
        bench.make_store(store, options.group, layout)
    for turn in range(options.runs + 1):
        for row in rows:
            cost, target = run(row, bench)
            if turn:
                row.costs.append(cost)
            else:
                row.distributions = frozenset(path.name for path in target.rglob("*.dist-info"))
            if row.name == "pip" and not turn:
                target.rename(reference)
            else:
                remove(target)
    files = sum(path.is_file() for path in reference.rglob("*"))
    local = len(re.findall("^ *Processing ", rows[0].costs[-1].output, re.MULTILINE))
    where = f" ({local} from local files, not over HTTP)" if local else ""
    head = f"**{name}**: {len(rows[0].distributions)} distributions{where}, {files} files"
    text = f"{head}\n\n{report(rows)}"
    others = [row.name for row in rows if row.distributions - rows[0].distributions]
    if others:
        text += f"\n\nNot the versions that pip chose: {'; '.join(others)}."
    for left in (reference, bench.work / "cold", *stores):
        remove(left)
    return text


def run(row: Row, bench: Bench) -> tuple[Cost, Path]:
    """Run one row; return its cost and the environment that it filled."""
    if row.cold and row.store is not None:
        remove(row.store)
        bench.make_store(row.store, layout=row.layout)
    variables = {"PIP_SHAREDCACHE_DIR": str(row.store)} if row.store else {}
    if row.name in FLOORS.values():
        environment = bench.work / "copy"
    else:
        environment = bench.make_environment(row.account)
    return bench.run(row.command(environment), row.account, **variables), environment


def report(rows: list[Row]) -> str:
    """The table of one set."""
    named = {row.name: row for row in rows}
    base, resolving = named["pip"].wall(), named[DRY_RUN].wall()

    def cells(row: Row) -> Iterator[str]:
        yield row.name
        yield figure(row.wall())
        yield figure(median(cost.cpu for cost in row.costs))
        yield figure(row.wall() / base)
        yield figure(row.installation())
        floor = named[row.floor].wall() if row.floor else math.nan
        yield figure(row.installation() / floor)
        yield figure(row.wall() / (resolving + row.installation()) if row.store else math.nan)
        yield row.placed()

    head = ["command", "wall s", "CPU s", "wall / pip", "installation s", "installation / cp"]
    return table(
        [*head, "wall / (dry run + installation)", "files placed"], map(list, map(cells, rows))
    )


def parts_of(file: Path, key: str) -> tuple[str, str]:
    """What lies before and after the tables of ``key`` in a Markdown file: they go between the
    comments ``<!-- benchmark KEY -->`` and ``<!-- /benchmark KEY -->``. Ends the program where
    those are missing."""
    opening, closing = f"<!-- benchmark {key} -->", f"<!-- /benchmark {key} -->"
    text = file.read_text(encoding="utf-8")
    if opening not in text or closing not in text:
        raise SystemExit(f"{file} has no {opening} and {closing}")
    return text.partition(opening)[0] + opening, closing + text.partition(closing)[2]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, runs=3)
    parser.add_argument("--set", action="append", choices=[*SETS], dest="sets", help="default: all")
    parser.add_argument("--way", action="append", choices=[*FLOORS], help="default: all")
    parser.add_argument("--second-user", default="", metavar="NAME", help="an account (root only)")
    parser.add_argument("--group", default="", metavar="NAME", help="who shares the store")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write the tables there, too")
    options = parser.parse_args()
    options.way = options.way or [*FLOORS]
    with work_directory(options) as work:
        if options.into:
            parts_of(options.into, file_system(work))
        bench = Bench(work, options)
        if options.second_user:
            bench.check(Account.named(options.second_user))
        uv = find_uv()
        texts = [
            bench.header(
                quietly(uv, "--version").strip() if uv else "", f"medians of {options.runs}"
            )
        ]
        print(texts[0], flush=True)
        for name in options.sets or SETS:
            texts.append(compare(name, bench, options))
            print(f"\n{texts[-1]}", flush=True)
        if options.into:
            before, after = parts_of(options.into, file_system(work))
            text = "\n\n".join([before, *texts, after])
            options.into.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
