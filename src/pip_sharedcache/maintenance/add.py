"""Filling a store ahead of those who install from it: pip resolves and installs into a directory
that is thrown away, through the store."""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from pip_sharedcache import fs, resources
from pip_sharedcache.config import option_variable
from pip_sharedcache.errors import UsageError
from pip_sharedcache.model import Digest, as_digest
from pip_sharedcache.store import ONLY, WHEELS, Store, find, names

#: What can be asked of an index again, of the lines of `pip freeze`.
_AGAIN = re.compile(r"[^@]+==.+|[^@]+ @ (?!file:).+")


@dataclass(frozen=True)
class Distribution:
    """What pip chose: where it came from (``url``), with which digest if pip says so; whether it
    was ``built``, and whether it is in the store now (``stored``)."""

    name: str
    version: str
    url: str
    sha256: Digest | None
    built: bool
    stored: bool


@dataclass(frozen=True)
class Addition:
    """What pip chose for all interpreters together, and how many wheels are ``new`` in the
    store."""

    distributions: tuple[Distribution, ...]
    new: int


@dataclass(frozen=True)
class Frozen:
    """Lines of `pip freeze`: those that an index can be asked for again, and those ``left_out``."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...]


def add_distributions(
    store: Store,
    wanted: Sequence[str],
    frozen: Frozen | None = None,
    pythons: Sequence[Path] = (),
    *,
    quiet: bool = False,
    silent: bool = False,
) -> Addition:
    """Add to ``store`` what pip would install for the arguments ``wanted`` and for what is
    ``frozen``: once for each interpreter of ``pythons``, or for the running one. pip prints to
    standard output unless ``silent``, and less if ``quiet``. Raises UsageError where pip fails."""
    with fs.temporary_directory() as directory:
        arguments = [*wanted]
        if frozen is not None:
            file = directory / "installed.txt"
            lines = ["# coding: utf-8", *frozen.lines]
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            arguments += ["--no-deps", f"--requirement={file}"]
        if quiet or silent:
            arguments.append("--quiet")
        before = names(store, WHEELS)
        resolved: dict[str, Distribution] = {}
        for number, python in enumerate(pythons or [None]):
            place = directory / str(number)
            place.mkdir()
            for one in _resolve(store, python, arguments, place, silent=silent):
                resolved[one.url] = one
    return Addition(tuple(resolved.values()), len(names(store, WHEELS) - before))


def options_for(
    python_version: str | None, platforms: Sequence[str], abis: Sequence[str]
) -> list[str]:
    """Return pip's options for another Python, or another machine, than there is here."""
    more = [f"--platform={tag}" for tag in platforms]
    more += [f"--abi={tag}" for tag in abis]
    if python_version:
        more.append(f"--python-version={python_version}")
    return [*more, "--only-binary=:all:", "--no-compile"]


def freeze(executable: Path) -> Frozen:
    """Ask pip what is installed beside the interpreter ``executable``. Raises UsageError."""
    argv = [*_ourselves(), "--python", str(executable), "freeze"]
    environ = {**_environ(), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, encoding="utf-8", env=environ)
    if done.returncode:
        raise UsageError(f"pip cannot tell what is installed beside {executable}")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return Frozen(
        tuple(line for line in lines if _AGAIN.fullmatch(line)),
        tuple(line for line in lines if not _AGAIN.fullmatch(line)),
    )


def _resolve(
    store: Store, python: Path | None, wanted: Sequence[str], place: Path, *, silent: bool
) -> list[Distribution]:
    """Have pip install ``wanted`` into a directory below ``place``, through ``store``, which is to
    have it even where another store that is configured has it."""
    report = place / "report.json"
    argv = _ourselves()
    if python is not None:
        argv += ["--python", str(python)]
    # Ours last: what follows -- may name another target.
    argv += ["install", *wanted, "--ignore-installed", f"--target={place / 'target'}"]
    argv += [f"--report={report}", "--no-warn-conflicts", "--root-user-action=ignore"]
    environ = {**_environ(), ONLY: str(store.path)}
    done = subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL if silent else None)
    if done.returncode or not report.is_file():
        raise UsageError("pip cannot resolve or install that, so that not all of it was added")
    told = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_distribution(store, one) for one in told]


def _distribution(store: Store, told: Any) -> Distribution:
    """Return one distribution of pip's report
    (https://pip.pypa.io/en/stable/reference/installation-report)."""
    source = told["download_info"]
    digest = as_digest(source.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
    name, version = told["metadata"]["name"], told["metadata"]["version"]
    filename = unquote(urlsplit(source["url"]).path).rpartition("/")[2]
    built = not filename.endswith(".whl")  # only pip knows to which wheel
    if built:
        title = f"{canonicalize_name(name).replace('-', '_')}-{version}-*.whl"
        stored = any(store.path.glob(f"{WHEELS}/*/*/{title}"))
    elif digest is not None:
        stored = find(store, digest, filename).entry is not None
    else:  # older pips do not say what they have hashed
        stored = any(store.path.glob(f"{WHEELS}/*/*/{glob.escape(filename)}"))
    return Distribution(name, version, source["url"], digest, built, stored)


def _ourselves() -> list[str]:
    if resources.IN_ARCHIVE:
        return [sys.executable, os.path.abspath(sys.argv[0])]
    return [sys.executable, "-m", "pip_sharedcache"]


def _environ() -> dict[str, str]:
    """pip refuses --target beside what a configuration may say of other places. No record: what
    is added here nobody has installed."""
    more = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **more, option_variable("stats"): "off"}
