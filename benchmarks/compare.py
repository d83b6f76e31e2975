"""Times plain pip, this project and (where it is installed) uv on the same sets, in one run.

    python benchmarks/compare.py [--directory DIR] [--set NAME ...] [--runs N] [--link-mode MODE]

DIR chooses the file system for store and environments. Every command installs into a fresh virtual
environment, from the package index, with a warm HTTP cache; commands take turns, so that a drifting
machine drifts for all. As root, the second user's install is run by another account ("--second-user
NAME"), against a store of the group "--group NAME".

Prints medians of wall and CPU seconds and the ratio to plain pip, and two floors: `cp -a
--reflink=auto` and `cp -al` of the resulting tree.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SETS = {
    "small": "six",
    "web": "flask django fastapi requests sqlalchemy celery",
    "science": "jupyterlab pandas scikit-learn matplotlib flask django fastapi requests "
    "sqlalchemy black pytest mypy ipython sphinx celery",
    "huge": "scipy pyarrow llvmlite",
    "many-tiny": "six attrs idna certifi click toml tomli pluggy iniconfig zipp colorama "
    "decorator wcwidth parso pickleshare backcall mccabe pycodestyle pyflakes toolz",
}

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Row:
    """One command: how to run it, and what it took (seconds)."""

    name: str
    run: Callable[[Path], Sequence[str]]
    store: Path | None = None
    cold: bool = False
    user: str = ""
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def measure(command: Sequence[str], env: dict[str, str], user: str) -> tuple[float, float]:
    """Run ``command`` (as ``user`` if given) and return its wall and CPU seconds."""
    if user:
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout.decode()}")
    cpu = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return wall, cpu


def installer(work: Path) -> Path:
    """A virtual environment with pip and this project; its Python."""
    environment = work / "installer"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "-U", "pip", str(ROOT)], check=True)
    return python


def rows_for(
    python: Path, requirements: list[str], work: Path, options: argparse.Namespace
) -> list[Row]:
    """Every command to be compared, in the order in which they take turns."""

    def pip(*extra: str) -> Callable[[Path], list[str]]:
        return lambda env: [
            *(str(python), "-m", "pip", "--python", str(env / "bin" / "python")),
            *("install", "-q", "--disable-pip-version-check", *extra, *requirements),
        ]

    def ours(mode: str, *extra: str) -> Callable[[Path], list[str]]:
        return lambda env: [
            *(str(python), "-m", "pip_sharedcache", f"--sharedcache-link-mode={mode}"),
            *("--python", str(env / "bin" / "python")),
            *("install", "-q", "--disable-pip-version-check", *extra, *requirements),
        ]

    store = work / "store"
    rows = [
        Row("pip", pip()),
        Row("pip --no-compile", pip("--no-compile")),
        Row("pip --dry-run", pip("--dry-run")),
    ]
    for mode in options.link_mode:
        rows.append(Row(f"ours, {mode}, cold", ours(mode), work / f"cold-{mode}", cold=True))
        rows.append(Row(f"ours, {mode}, warm", ours(mode), store))
        rows.append(Row(f"ours, {mode}, warm, --no-compile", ours(mode, "--no-compile"), store))
        if options.second_user:
            name = f"ours, {mode}, warm, second user"
            rows.append(Row(name, ours(mode), store, user=options.second_user))
    if options.second_user:
        rows.append(Row("pip, second user", pip(), user=options.second_user))
    if uv := shutil.which("uv"):
        modes = ("hardlink", "clone", "copy")
        rows += [Row(f"uv, {mode}", _uv(uv, mode, requirements)) for mode in modes]
        rows.append(Row("uv, copy, bytecode", _uv(uv, "copy", requirements, "--compile-bytecode")))
    return rows


def _uv(uv: str, mode: str, requirements: list[str], *extra: str) -> Callable[[Path], list[str]]:
    return lambda env: [
        *(uv, "pip", "install", "-q", "--link-mode", mode, *extra),
        *("--python", str(env / "bin" / "python"), *requirements),
    ]


def compare(name: str, python: Path, work: Path, options: argparse.Namespace) -> None:
    """Time the set ``name`` and print its table."""
    requirements = SETS[name].split()
    rows = rows_for(python, requirements, work, options)
    make_store(python, work / "store", options.group)
    reference = work / "reference"
    for turn in range(options.runs + 1):  # the first one warms caches and store, and is not kept
        for row in rows:
            if row.cold and row.store is not None:
                remove(row.store)
                make_store(python, row.store, "")
            environment = work / f"environment{turn}"
            home = work / f"home-{row.user or 'own'}"
            home.mkdir(exist_ok=True)
            subprocess.run(
                [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True
            )
            if row.user:
                for owned in (environment, home):
                    subprocess.run(["chown", "-R", f"{row.user}:", str(owned)], check=True)
            places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
            env = {**os.environ, **places}
            if row.store is not None:
                env["PIP_SHAREDCACHE_DIR"] = str(row.store)
            wall, cpu = measure(row.run(environment), env, row.user)
            if turn:
                row.wall.append(wall)
                row.cpu.append(cpu)
            if row.name == "pip" and not reference.exists():
                environment.rename(reference)
            else:
                remove(environment)
    report(name, rows, floors(reference, work, options.runs), reference)
    for left in (reference, work / "store", *(row.store for row in rows if row.store)):
        remove(left)


def make_store(python: Path, store: Path, group: str) -> None:
    """Make a store with our own command, shared by ``group`` if one is given."""
    shared = ["--group", group] if group else []
    command = [str(python), "-m", "pip_sharedcache", "store", "init", *shared, str(store)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def floors(reference: Path, work: Path, runs: int) -> list[Row]:
    """What copying and hard-linking the finished tree costs."""
    rows = [
        Row("cp -a --reflink=auto", lambda copy: ["cp", "-a", "--reflink=auto"]),
        Row("cp -al", lambda copy: ["cp", "-al"]),
    ]
    for _ in range(runs):
        for row in rows:
            copy = work / "copy"
            command = [*row.run(copy), str(reference), str(copy)]
            wall, cpu = measure(command, dict(os.environ), "")
            row.wall.append(wall)
            row.cpu.append(cpu)
            remove(copy)
    return rows


def report(name: str, rows: list[Row], floor: list[Row], reference: Path) -> None:
    """Print one table."""
    files = sum(1 for path in reference.rglob("*") if path.is_file())
    distributions = sum(1 for _ in reference.rglob("*.dist-info"))
    base = statistics.median(rows[0].wall)
    print(f"\n{name}: {distributions} distributions, {files} files\n")
    print("| command | wall s | CPU s | wall, relative to pip |")
    print("| --- | ---: | ---: | ---: |")
    for row in [*rows, *floor]:
        wall, cpu = statistics.median(row.wall), statistics.median(row.cpu)
        print(f"| {row.name} | {wall:.2f} | {cpu:.2f} | {wall / base:.2f} |")


def remove(path: Path | None) -> None:
    """Delete a tree, read-only directories included."""
    if path is not None and path.exists():
        subprocess.run(["chmod", "-R", "u+w", str(path)], check=True)
        shutil.rmtree(path)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--set", action="append", choices=sorted(SETS), dest="sets")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--link-mode", action="append", help="default: reflink")
    parser.add_argument("--second-user", default="", metavar="NAME")
    parser.add_argument("--group", default="", metavar="NAME")
    options = parser.parse_args()
    options.link_mode = options.link_mode or ["reflink"]
    work = Path(tempfile.mkdtemp(prefix="compare-", dir=options.directory))
    work.chmod(0o755)
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(work)], capture_output=True, text=True)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{kind.stdout.strip()}, Python {platform.python_version()}, {options.runs} runs"
    )
    try:
        python = installer(work)
        for name in options.sets or ["small", "web"]:
            compare(name, python, work, options)
    finally:
        remove(work)


if __name__ == "__main__":
    main()
