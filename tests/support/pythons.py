"""Pythons that are newer than the machine's: from Debian's testing suite, in a prefix of their own.

Nothing is installed on the machine: apt-get, with directories of its own, finds and checks the
packages and all that they need, the C library included; they are unpacked into the cache, and each
interpreter is made to load these libraries.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from support import SESSION_ENVIRONMENT
from support.environments import _in_use, _publishing, cache_directory, interpreters
from support.probes import Probe

NEW_PYTHONS = ("3.14", "3.15")

_SUITE = "testing"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def new_python(version: str) -> Path:
    """Return the machine's own interpreter of this version, else Debian's.

    Raises LookupError, which says why there is none.
    """
    own = interpreters().get(version)
    if own is not None:
        return own
    place, problem = _unpacked()
    if place is None:
        raise LookupError(f"no Python {version} here: {problem}")
    return place / "usr" / "bin" / f"python{version}"


@functools.cache
def new(version: str) -> Probe:
    """Return a probe for an interpreter: needs(new("3.15"))."""

    def available() -> str | None:
        try:
            new_python(version)
        except LookupError as error:
            return str(error)
        return None

    return available


@functools.cache
def _unpacked() -> tuple[Path | None, str]:
    """Return the prefix with the interpreters, or None and the reason."""
    for program in ("apt-get", "dpkg-deb", "patchelf"):
        if shutil.which(program) is None:
            return None, f"{program} is not installed"
    if not _KEYS.exists():
        return None, f"{_KEYS} is not there"
    target = cache_directory() / "pythons" / "-".join((_SUITE, *NEW_PYTHONS))
    target.parent.mkdir(exist_ok=True)
    # One run downloads, the others wait for it.
    with (cache_directory() / "pythons.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _in_use(target):
            try:
                with _publishing(target) as new:
                    _unpack(new)
                    for version in NEW_PYTHONS:
                        _load_from(new, target, f"usr/bin/python{version}")
            except RuntimeError as error:
                return None, str(error)
    return target, ""


def _unpack(place: Path) -> None:
    """Download the packages and unpack them at ``place``."""
    with tempfile.TemporaryDirectory() as temporary:
        apt = Path(temporary)
        for name in ("state/lists/partial", "cache/archives/partial", "none"):
            (apt / name).mkdir(parents=True)
        (apt / "status").touch()
        source = f"deb [signed-by={_KEYS}] {_mirror(apt)} {_SUITE} main\n"
        (apt / "sources.list").write_text(source, encoding="utf-8")
        options = {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": apt / "none",
            "Dir::Etc::preferences": apt / "none",
            "Dir::Etc::preferencesparts": apt / "none",
            "Dir::State": apt / "state",
            "Dir::State::status": apt / "status",
            "Dir::Cache": apt / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
        }
        command = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
        _run(*command, "update")
        packages = [f"python{version}-venv" for version in NEW_PYTHONS]
        _run(*command, "install", "--yes", "--download-only", *packages)
        for package in sorted((apt / "cache" / "archives").glob("*.deb")):
            _run("dpkg-deb", "--extract", str(package), str(place))
    for path in place.rglob("*"):
        # Debian's links into /etc and /usr: those of this prefix are meant.
        if path.is_symlink() and os.path.isabs(os.readlink(path)):
            leads_to = place / os.readlink(path).lstrip("/")
            path.unlink()
            path.symlink_to(os.path.relpath(leads_to, path.parent))


def _mirror(apt: Path) -> str:
    """Return where this machine's apt gets Debian's packages from."""
    form = ["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    found = _run("apt-get", *form)
    if not found:
        # The lists that tell are not there, as in many an image: into a directory of our own.
        own = [f"-oDir::State={apt / 'state'}", f"-oDir::Cache={apt / 'cache'}"]
        _run("apt-get", "-qq", *own, "update")
        found = _run("apt-get", *own, *form)
    for line in found.splitlines():
        origin, codename, address = line.rsplit(" ", 2)
        if origin == "Debian" and not codename.endswith("-security"):
            return address
    raise RuntimeError("apt gets nothing from Debian here")


def _load_from(place: Path, target: Path, name: str) -> None:
    """Have the program ``name`` below ``place``, which will be ``target``, load the libraries that
    lie there, and not the machine's."""
    program = str(place / name)
    loader = _run("patchelf", "--print-interpreter", program).strip()
    libraries = [path.relative_to(place) for path in place.glob("usr/lib/*-linux-gnu*")]
    paths = os.pathsep.join(str(target / path) for path in libraries)
    # Not the run path, in which only the program itself looks: its extension modules, too.
    _run("patchelf", "--force-rpath", "--set-rpath", paths, program)
    _run("patchelf", "--set-interpreter", f"{target}/usr{loader}", program)


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=SESSION_ENVIRONMENT, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"{command[0]}: {last}")
    return done.stdout
