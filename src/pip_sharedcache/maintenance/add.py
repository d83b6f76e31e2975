"""The addition of wheels to a store before users install from it.

pip resolves the requirements and installs them through the store into a temporary directory.
"""

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

#: Lines of `pip freeze` that pip can install again from an index or a URL.
_AGAIN = re.compile(r"[^@]+==.+|[^@]+ @ (?!file:).+")


@dataclass(frozen=True)
class Distribution:
    """A distribution that pip chose.

    ``name``: the name.
    ``version``: the version.
    ``url``: the source from which pip took the distribution.
    ``sha256``: the digest of the source; None if pip does not report a digest.
    ``built``: whether pip built the wheel from a source.
    ``stored``: whether the store has the wheel now.
    ``banned``: where and why the wheel is banned, in words that follow "is"; "" if it is not.
    """

    name: str
    version: str
    url: str
    sha256: Digest | None
    built: bool
    stored: bool
    banned: str = ""


@dataclass(frozen=True)
class Addition:
    """The result of an addition.

    ``distributions``: the distributions that pip chose for all interpreters together.
    ``new``: the number of wheels that are new in the store.
    """

    distributions: tuple[Distribution, ...]
    new: int


@dataclass(frozen=True)
class Frozen:
    """The lines of `pip freeze`.

    ``lines``: the lines that pip can install again from an index or a URL.
    ``left_out``: all other lines.
    """

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
    """Add to ``store`` the distributions that pip would install for ``wanted`` and ``frozen``.

    ``wanted``: arguments of `pip install`. ``pythons``: pip runs once for each of these
    interpreters, or once for the running one. pip prints to standard output unless ``silent`` is
    set, and less if ``quiet`` is set. Raise UsageError if pip fails.
    """
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
    """Return pip's options for another Python or another machine than the present one."""
    return [
        *(f"--platform={tag}" for tag in platforms),
        *(f"--abi={tag}" for tag in abis),
        *([f"--python-version={python_version}"] if python_version else ()),
        *("--only-binary=:all:", "--no-compile"),
    ]


def freeze(executable: Path) -> Frozen:
    """Return the distributions that pip finds beside the interpreter ``executable``.

    Raise UsageError if pip fails.
    """
    argv = [*ourselves(), "--python", str(executable), "freeze"]
    environ = {**_environ(), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(argv, stdout=subprocess.PIPE, encoding="utf-8", env=environ)
    if done.returncode:
        raise UsageError(
            f"Cannot list the distributions of an interpreter: {executable}: pip freeze failed"
        )
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return Frozen(
        tuple(line for line in lines if _AGAIN.fullmatch(line)),
        tuple(line for line in lines if not _AGAIN.fullmatch(line)),
    )


def _resolve(
    store: Store, python: Path | None, wanted: Sequence[str], place: Path, *, silent: bool
) -> list[Distribution]:
    """Have pip install ``wanted`` through ``store`` into a directory below ``place``.

    pip adds the wheels to ``store`` even if another configured store has them. Raise UsageError if
    pip fails.
    """
    report = place / "report.json"
    argv = ourselves()
    if python is not None:
        argv += ["--python", str(python)]
    # These options come last: the user's arguments, which can follow --, may name another target.
    argv += ["install", *wanted, "--ignore-installed", f"--target={place / 'target'}"]
    argv += [f"--report={report}", "--no-warn-conflicts", "--root-user-action=ignore"]
    environ = {**_environ(), ONLY: str(store.path)}
    done = subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL if silent else None)
    if done.returncode or not report.is_file():
        raise UsageError(
            "pip cannot resolve or install the requirements: not all of them were added"
        )
    told = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_distribution(store, one) for one in told]


def _distribution(store: Store, told: Any) -> Distribution:
    """Return one distribution of pip's installation report.

    The source is https://pip.pypa.io/en/stable/reference/installation-report.
    """
    source = told["download_info"]
    digest = as_digest(source.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
    name, version = told["metadata"]["name"], told["metadata"]["version"]
    filename = unquote(urlsplit(source["url"]).path).rpartition("/")[2]
    built = not filename.endswith(".whl")  # only pip knows the name of the wheel
    if built:
        title = f"{canonicalize_name(name).replace('-', '_')}-{version}-*.whl"
        stored = any(store.path.glob(f"{WHEELS}/*/*/{title}"))
    elif digest is not None:
        stored = find(store, digest, filename).entry is not None
    else:  # older pips do not report the digest
        stored = any(store.path.glob(f"{WHEELS}/*/*/{glob.escape(filename)}"))
    # The version is banned for every wheel of it, also for one that was built here.
    known = f"{name}-{version}-py3-none-any.whl" if built else filename
    ban = store.bans.find("" if digest is None else digest, known)
    why = "" if ban is None else str(ban)
    return Distribution(name, version, source["url"], digest, built, stored, why)


def ourselves() -> list[str]:
    """Return the command that runs pip through this package, as this process was started."""
    if resources.IN_ARCHIVE:
        return [sys.executable, os.path.abspath(sys.argv[0])]
    return [sys.executable, "-m", "pip_sharedcache"]


def _environ() -> dict[str, str]:
    """Return the environment variables for pip.

    PIP_USER is 0 because pip refuses --target if the configuration asks for a user installation.
    The statistics are off because no user has installed these distributions.
    """
    more = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**os.environ, **more, option_variable("stats"): "off"}
