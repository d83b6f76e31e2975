"""Filling a store ahead of those who install from it: add, export, import."""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from pip_sharedcache import fs, resources
from pip_sharedcache.activation import interpreter_of
from pip_sharedcache.cli.files import written
from pip_sharedcache.cli.output import FINDINGS, FINE, Output
from pip_sharedcache.cli.quantities import counted
from pip_sharedcache.cli.selecting import HELP, absent, named
from pip_sharedcache.cli.stores import store_in_use, store_to_change
from pip_sharedcache.config import option_variable
from pip_sharedcache.errors import FileError, StoreUnusable, UsageError
from pip_sharedcache.maintenance.archive import pack, unpack
from pip_sharedcache.model import Entry, as_digest
from pip_sharedcache.store import ONLY, WHEELS, Item, Store, find, inventory, names

_STREAM = Path("-")
#: What can be asked of an index again, of the lines of `pip freeze`.
_AGAIN = re.compile(r"[^@]+==.+|[^@]+ @ (?!file:).+")


def add(commands: Any) -> None:
    """Name the commands of this module."""
    adding = commands.add_parser(
        "add",
        help="add what pip would install, without installing it",
        description="Has pip resolve requirements, and adds the wheels and their bytecode to the "
        "store. Arguments of pip install may follow after --.",
    )
    adding.add_argument(
        "requirements", metavar="REQUIREMENT", nargs="*", help="as pip install takes it"
    )
    adding.add_argument(
        *("-r", "--requirement"), metavar="FILE", action="append", default=[], help="as pip's"
    )
    adding.add_argument(
        "--from-env", metavar="ENV", type=Path, help="what is installed in that environment"
    )
    adding.add_argument(
        "--for",
        metavar="PYTHON",
        dest="pythons",
        action="append",
        default=[],
        type=Path,
        help="the interpreter to resolve and to compile for; several times (default: that of "
        "the active environment)",
    )
    adding.add_argument("--python-version", metavar="VERSION", help="as pip's, without bytecode")
    for option in ("--platform", "--abi"):
        adding.add_argument(option, metavar="TAG", action="append", default=[], help="as pip's")
    exporting = commands.add_parser(
        "export", help="write wheels of the store into one file, for where no network is"
    )
    importing = commands.add_parser("import", help="add the wheels of such a file to the store")
    for parser, what in ((exporting, "write"), (importing, "read")):
        parser.add_argument("file", metavar="FILE", type=Path, help=f"the file to {what}; or -")
    exporting.add_argument("names", nargs="*", metavar="NAME", help=HELP)
    for parser, run in ((adding, _add), (exporting, _export), (importing, _import)):
        Output.add_options(parser)
        parser.set_defaults(run=run)


# -- add


def _add(chosen: argparse.Namespace, output: Output) -> int:
    store = _writable(output)
    cross = bool(chosen.python_version or chosen.platform or chosen.abi)
    if cross and (chosen.pythons or chosen.from_env):
        raise UsageError("--python-version, --platform and --abi do without an interpreter")
    wanted = [*chosen.requirements, *(f"--requirement={file}" for file in chosen.requirement)]
    wanted += chosen.beyond
    pythons: list[Path | None] = [*chosen.pythons]
    with fs.temporary_directory() as directory:
        if chosen.from_env is not None:
            executable = interpreter_of(chosen.from_env).executable
            pythons = pythons or [executable]
            wanted += _installed(executable, directory, output)
        if not wanted:
            raise UsageError("store add needs to be told what: requirements, -r or --from-env")
        if cross:
            wanted += _for_another(chosen)
        if not pythons and chosen.place.prefix is not None:
            pythons = [chosen.place.executable("--for")]
            if output.verbose:
                chosen.place.tell(pythons[0])
        before = names(store, WHEELS)
        resolved: dict[str, dict[str, Any]] = {}
        for number, python in enumerate(pythons or [None]):
            place = directory / str(number)
            place.mkdir()
            for row in _resolve(store, python, wanted, place, output):
                resolved[row["url"]] = row
    missing = [row for row in resolved.values() if not row["stored"]]
    for row in missing:
        why = "built here, and not shared" if row["built"] else f"from {row['url']}"
        output.find(f"{row['name']} {row['version']} is not in {store.path}: {why}")
    new = len(names(store, WHEELS) - before)
    output.result({"store": str(store.path), "new": new, "distributions": list(resolved.values())})
    there = counted(len(resolved) - len(missing), "distribution is", "distributions are")
    output.say(f"{there} in {store.path}, {new} of them new.")
    return FINDINGS if missing else FINE


def _writable(output: Output) -> Store:
    store = store_to_change(output, make=True)
    if not store.may_publish():
        why, remedy = store.lacks()
        raise StoreUnusable(
            f"You may not publish in {store.path}{why and f': {why}'}",
            remedy or "PIP_SHAREDCACHE_DIR names another store",
        )
    return store


def _for_another(chosen: argparse.Namespace) -> list[str]:
    """pip's options for another Python, or another machine, than there is here."""
    more = [f"--platform={tag}" for tag in chosen.platform]
    more += [f"--abi={tag}" for tag in chosen.abi]
    if chosen.python_version:
        more.append(f"--python-version={chosen.python_version}")
    return [*more, "--only-binary=:all:", "--no-compile"]


def _installed(executable: Path, directory: Path, output: Output) -> list[str]:
    """What is installed beside ``executable``, as arguments for pip."""
    argv = [*_ourselves(), "--python", str(executable), "freeze"]
    environ = {**_environ(), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, encoding="utf-8", env=environ)
    if done.returncode:
        raise UsageError(f"pip cannot tell what is installed beside {executable}")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    for line in lines:
        if not _AGAIN.fullmatch(line):
            output.warn(f"Not added, since no index has it: {line}")
    file = directory / "installed.txt"
    again = ["# coding: utf-8", *(line for line in lines if _AGAIN.fullmatch(line))]
    file.write_text("".join(f"{line}\n" for line in again), encoding="utf-8")
    return ["--no-deps", f"--requirement={file}"]


def _resolve(
    store: Store, python: Path | None, wanted: Sequence[str], place: Path, output: Output
) -> list[dict[str, Any]]:
    """Have pip install ``wanted`` into a directory that is thrown away, through the store, which is
    to have it even where another one that is configured has it; give what that was, and whether it
    is in the store now."""
    report = place / "report.json"
    argv = _ourselves()
    if python is not None:
        argv += ["--python", str(python)]
    # Ours last: what follows -- may name another target.
    argv += ["install", *wanted, "--ignore-installed", f"--target={place / 'target'}"]
    argv += [f"--report={report}", "--no-warn-conflicts", "--root-user-action=ignore"]
    if output.quiet or output.as_json:
        argv.append("--quiet")
    environ = {**_environ(), ONLY: str(store.path)}
    done = subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL if output.as_json else None)
    if done.returncode or not report.is_file():
        raise UsageError("pip cannot resolve or install that, so that not all of it was added")
    told = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_row(store, one) for one in told]


def _row(store: Store, told: Any) -> dict[str, Any]:
    """One distribution of pip's report (https://pip.pypa.io/en/stable/reference/installation-report)."""
    source = told["download_info"]
    digest = as_digest(source.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
    filename = unquote(urlsplit(source["url"]).path).rpartition("/")[2]
    built = not filename.endswith(".whl")  # only pip knows to which wheel
    if built:
        name = canonicalize_name(told["metadata"]["name"]).replace("-", "_")
        title = f"{name}-{told['metadata']['version']}-*.whl"
        stored = any(store.path.glob(f"{WHEELS}/*/*/{title}"))
    elif digest is not None:
        stored = find(store, digest, filename).entry is not None
    else:  # older pips do not say what they have hashed
        stored = any(store.path.glob(f"{WHEELS}/*/*/{glob.escape(filename)}"))
    return {
        "name": told["metadata"]["name"],
        "version": told["metadata"]["version"],
        "url": source["url"],
        "sha256": digest,
        "built": built,
        "stored": stored,
    }


def _ourselves() -> list[str]:
    if resources.IN_ARCHIVE:
        return [sys.executable, os.path.abspath(sys.argv[0])]
    return [sys.executable, "-m", "pip_sharedcache"]


def _environ() -> dict[str, str]:
    """pip refuses --target beside what a configuration may say of other places. No record: what
    is added here nobody has installed."""
    more = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **more, option_variable("stats"): "off"}


# -- export, import


def _export(chosen: argparse.Namespace, output: Output) -> int:
    store = store_in_use(output)
    unread: list[tuple[Path, str]] = []
    items, missing = named(list(inventory(store, {}, unread, (WHEELS,))), chosen.names)
    entries = [item.entry for item in _one_each(items)]
    problems = [f"{path} cannot be read: {why}" for path, why in unread] + absent(missing)
    count, file = 0, chosen.file
    if missing and not entries:
        file = None  # an archive without a wheel is of no use
    elif chosen.file == _STREAM:
        if output.as_json or sys.stdout.isatty():
            raise UsageError("The archive needs a file where the result goes to the same place")
        count = _pack(entries, sys.stdout.buffer, problems, output)
        output = Output(quiet=True)  # what it says would be part of the archive
    else:
        with written(chosen.file) as opened:
            count = _pack(entries, opened, problems, output)
    for problem in problems:
        output.warn(problem)
    output.result({"file": file and str(file), "wheels": count, "problems": problems})
    wheels = counted(count, "wheel", "wheels")
    output.say(f"Wrote {wheels} to {file}." if file else f"Did not write {chosen.file}.")
    return FINDINGS if problems else FINE


def _pack(entries: Sequence[Entry], file: IO[bytes], problems: list[str], output: Output) -> int:
    """How many are in the archive; why others are not is added to ``problems``."""
    count = 0
    for problem in output.progress(pack(entries, file), "Written", len(entries)):
        if problem:
            problems.append(problem)
        count += not problem
    return count


def _one_each(items: Sequence[Item]) -> list[Item]:
    """One entry for each wheel, by title: believed ones and sound ones before others."""
    best: dict[tuple[str, str], Item] = {}
    for item in sorted(items, key=lambda item: (bool(item.damage), bool(item.objection))):
        if item.title.endswith(".whl"):
            best.setdefault((item.title, item.digest), item)
    return [best[key] for key in sorted(best)]


def _import(chosen: argparse.Namespace, output: Output) -> int:
    store = _writable(output)
    try:
        file = sys.stdin.buffer if chosen.file == _STREAM else chosen.file.open("rb")
    except OSError as error:
        raise FileError.of(chosen.file, "read", error) from error
    arrived = []
    with file:
        for one in output.progress(unpack(store, file), "Read"):
            arrived.append(one)
            if one.problem:
                output.find(f"{one.title} {one.problem}")
            else:
                output.detail(f"{one.title} is {'new' if one.new else 'there already'}")
    new, bad = sum(one.new for one in arrived), sum(bool(one.problem) for one in arrived)
    output.result({"store": str(store.path), "wheels": [vars(one) for one in arrived]})
    wheels = counted(len(arrived), "wheel", "wheels")
    are = "is" if len(arrived) == 1 else "are"
    output.say(f"{new} of {wheels} {are} new in {store.path}, {bad} left out.")
    return FINDINGS if bad else FINE
