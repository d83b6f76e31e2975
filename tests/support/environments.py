"""Interpreters, wheels from the package index, and virtual environments made in no time."""

from __future__ import annotations

import base64
import csv
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support import REPOSITORY, SESSION_ENVIRONMENT, measured
from support.filesystems import remove_tree
from support.wheels import digest

NEWEST_PIP = "26.3"
NEWEST_PIP_FOR_39 = "25.3"
SUPPORT_PROJECTS = ("wrapt", "packaging", "platformdirs")

_VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
_PROBE = (
    "import sys, json, venv, ssl, zlib;"
    "print(json.dumps([sys.implementation.name, '%d.%d' % sys.version_info[:2],"
    " getattr(sys, '_base_executable', None) or sys.executable, sys.base_prefix,"
    " '%d.%d.%d' % sys.version_info[:3]]))"
)
# What no run of the tests has used for so many seconds is removed from the cache.
_UNUSED_FOR = 30 * 86400
# The certificate authorities that pip reads whenever it starts: about 120, for some 45 ms.
_AUTHORITIES = "pip/_vendor/certifi/cacert.pem"
_DATA = "share"  # where wheels put manual pages and the like, below the prefix
_LAST_LINE = b"-----END CERTIFICATE-----\n"
# Linux reads a longer first line in part only, and pip then writes another kind of script.
_LONGEST_SHEBANG_PREFIX = 100


@dataclass(frozen=True)
class Environment:
    """A virtual environment with a pip in it."""

    prefix: Path
    python: Path
    site_packages: Path
    scripts: Path

    def command(self, *args: str | os.PathLike[str]) -> list[str]:
        """argv that runs our command in this environment."""
        return [str(self.python), "-m", "pip_sharedcache", *map(str, args)]

    def plain(self, *args: str | os.PathLike[str]) -> list[str]:
        """argv that runs pip itself in this environment."""
        return [str(self.python), "-m", "pip", *map(str, args)]


class EnvironmentFactory(Protocol):
    """The fixture `environment`: make_environment, where a relative path is below tmp_path."""

    def __call__(
        self,
        path: str | Path = "environment",
        *,
        python: Path | None = None,
        pip: str | None = None,
        ours: bool = True,
    ) -> Environment: ...


@dataclass(frozen=True)
class _Interpreter:
    executable: Path
    version: str
    full_version: str
    base_prefix: Path


@functools.cache
def cache_directory() -> Path:
    """Where downloads and templates are kept between runs, for all clones of this user.

    PIP_SHAREDCACHE_TEST_CACHE names another one. Where neither can be written: in the clone.
    """
    chosen = SESSION_ENVIRONMENT.get("PIP_SHAREDCACHE_TEST_CACHE")
    home = SESSION_ENVIRONMENT.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    places = [
        Path("/var/cache" if os.geteuid() == 0 else home, "pip-sharedcache-tests"),
        REPOSITORY / ".cache" / "tests",
    ]
    for directory in [Path(chosen)] if chosen else places:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            mine = bool(chosen) or directory.stat().st_uid == os.geteuid()
            if mine and os.access(directory, os.W_OK):
                break
        except OSError:
            # A read-only file system, or a home that does not exist: the next one.
            continue
    else:
        raise LookupError(f"no directory for downloads and templates: {chosen or places}")
    ignored = directory / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n", encoding="utf-8")
    return directory.resolve()


@functools.cache
def interpreters() -> dict[str, Path]:
    """The CPythons 3.9 to 3.15 on this machine: "3.11" to the (base) executable."""
    candidates = [Path(sys.executable)]
    roots = [SESSION_ENVIRONMENT.get("PYENV_ROOT"), str(Path("~/.pyenv").expanduser())]
    for root in filter(None, roots):
        directory = Path(root, "versions")
        if not os.access(directory, os.R_OK | os.X_OK):
            continue
        versions = sorted(directory.glob("3.*"), key=_numbers, reverse=True)
        candidates += [version / "bin" / "python3" for version in versions]
    directories = SESSION_ENVIRONMENT.get("PATH", os.defpath).split(os.pathsep)
    candidates += [
        Path(directory, f"python{name}") for name in _VERSIONS for directory in directories
    ]
    found: dict[str, Path] = {}
    for candidate in candidates:
        interpreter = _inspect(candidate)
        if interpreter is not None and interpreter.version in _VERSIONS:
            found.setdefault(interpreter.version, interpreter.executable)
    return {version: found[version] for version in _VERSIONS if version in found}


@contextmanager
def public_python(version: str | None = None) -> Iterator[Path]:
    """An interpreter that every user of the machine may read and run.

    The running one, one on PATH, any other; if none is in reach of others, a copy of the first
    of them (standard library only) that goes at the end. version: "3.11" insists on that one.
    """
    running = Path(getattr(sys, "_base_executable", "") or sys.executable)
    directories = SESSION_ENVIRONMENT.get("PATH", os.defpath).split(os.pathsep)
    candidates = [
        running,
        *(Path(directory, "python3") for directory in directories),
        *(Path(directory, f"python{name}") for name in _VERSIONS for directory in directories),
        *interpreters().values(),
    ]
    usable: list[_Interpreter] = []
    for candidate in candidates:
        interpreter = _inspect(candidate)
        if (
            interpreter is None
            or interpreter.version not in _VERSIONS
            or version not in (None, interpreter.version)
        ):
            continue
        if _public(interpreter.executable) and _public(interpreter.base_prefix):
            yield interpreter.executable
            return
        usable.append(interpreter)
    if not usable:
        raise LookupError(f"no Python {version or '3.9 or newer'} here")
    place = Path(tempfile.mkdtemp(prefix="python-", dir=public_directory()))
    place.chmod(0o755)
    try:
        python = _public_copy(usable[0], place / "prefix")
        _check_as_nobody(python)
        yield python
    finally:
        remove_tree(place)


def own_python(prefix: Path) -> Path:
    """A copy of the newest interpreter at prefix, standard library only; gives its executable."""
    interpreter = _inspect(list(interpreters().values())[-1])
    assert interpreter is not None
    return _public_copy(interpreter, prefix)


def python_version(python: Path) -> str:
    """The version of an interpreter, as in "3.11"."""
    interpreter = _inspect(python)
    assert interpreter is not None
    return interpreter.version


def full_version(python: Path) -> str:
    """The version of an interpreter, as in "3.11.7"."""
    interpreter = _inspect(python)
    assert interpreter is not None
    return interpreter.full_version


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """A directory in the cache; where it is missing, ``make`` fills a new one."""
    target = cache_directory() / kind / key
    if not _in_use(target):
        # One of the workers makes it: the others need it to go on.
        with _locked(target):
            if not _in_use(target):
                with _publishing(target) as new:
                    make(new)
    return target


def pip_wheel(version: str) -> Path:
    """The wheel of this version of pip."""
    # Any Python's answer will do: the wheel is the same for all of them.
    newest = list(interpreters())[-1]
    python_version = newest if int(version.split(".")[0]) >= 24 else None
    return download_wheels([f"pip=={version}"], python_version=python_version)[0]


def environment_with(path: Path, *requires: str, python: Path | None = None) -> Environment:
    """An environment at path in which these packages lie, with all that they need, from the
    package index; without us."""
    environment = make_environment(path, python=python, ours=False)
    version = python_version(environment.python)
    wheels = download_wheels(requires, python_version=version, no_deps=False)
    _install(environment, pip_wheel(NEWEST_PIP), wheels)
    return environment


def download_wheels(
    requirements: Sequence[str], *, python_version: str | None = None, no_deps: bool = True
) -> list[Path]:
    """Wheels for the requirements from the package index, for the running Python or another.

    Kept in the cache: the same question is asked of the index once, whatever comes out later.
    """
    version = python_version or f"{sys.version_info[0]}.{sys.version_info[1]}"
    question = json.dumps(
        [sorted(requirements), version, no_deps, sys.platform, platform.machine()]
    )
    name = hashlib.sha256(question.encode()).hexdigest()[:20]

    def download(new: Path) -> None:
        options = ["--python-version", python_version] if python_version else []
        options += ["--no-deps"] if no_deps else []
        _pip("download", "--only-binary", ":all:", *options, "-d", str(new), *requirements)

    target = kept("downloads", name, download)
    wheels = sorted(target.glob("*.whl"))
    if not wheels:
        raise LookupError(f"no wheels in {target}: remove it")
    return wheels


@functools.cache
def our_wheel() -> Path:
    """The project's wheel, built once for each state of the sources."""

    def build(new: Path) -> None:
        options = []
        if importlib.util.find_spec("hatchling") is not None:
            options = ["--no-build-isolation"]
        _pip("wheel", "--no-deps", *options, "-w", str(new), str(REPOSITORY))

    return next(kept("ours", _state_of_sources(), build).glob("*.whl"))


def support_wheels(python_version: str | None = None) -> list[Path]:
    """The wheels that ours depends on, pip apart."""
    return download_wheels(SUPPORT_PROJECTS, python_version=python_version)


_all_authorities = False


def keep_authorities(every: bool) -> None:
    """Set whether the pips of new environments know every certificate authority, or the first only.

    Only the tests with the marker ``network`` need an authority: the tests' own index uses http.
    """
    global _all_authorities
    _all_authorities = every


def make_environment(
    path: Path, *, python: Path | None = None, pip: str | None = None, ours: bool = True
) -> Environment:
    """A new virtual environment at path, with this pip and (ours) our command, open to readers.

    python: the interpreter, the running one without; pip: a version, else the newest that the
    interpreter can run. From a template in the cache, so that all after the first are quick.
    """
    interpreter = _inspect(python or Path(sys.executable))
    if interpreter is None:
        raise LookupError(f"{python} is no CPython with venv")
    version = pip or (NEWEST_PIP_FOR_39 if interpreter.version == "3.9" else NEWEST_PIP)
    installer = pip_wheel(version)
    # Ours apart: it changes all the time, and templates of it alone are small.
    layers = [[installer]]
    if ours:
        layers = [[installer, *support_wheels(interpreter.version)], [our_wheel()]]
    with _umask(0o022):
        path.parent.mkdir(parents=True, exist_ok=True)
        environment = _bare_environment(path, interpreter)
        if len(str(path)) > _LONGEST_SHEBANG_PREFIX or " " in str(path):
            _install(environment, installer, [wheel for layer in layers for wheel in layer])
        else:
            templates: list[Path] = []
            for layer in layers:
                templates.append(_template(interpreter, installer, layer, list(templates)))
            for template in templates:
                _fill(environment, template)
        measured.measure(environment.site_packages)
    return environment


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


@functools.cache
def _inspect(executable: Path) -> _Interpreter | None:
    """What an executable is; None for no CPython, none with venv, a pyenv shim without version."""
    if not os.access(executable, os.X_OK):
        return None
    done = subprocess.run(
        [str(executable), "-I", "-c", _PROBE],
        capture_output=True,
        text=True,
        env=_clean_environment(),
    )
    if done.returncode:
        return None
    implementation, version, base_executable, base_prefix, full_version = json.loads(done.stdout)
    if implementation != "cpython":
        return None
    return _Interpreter(Path(base_executable), version, full_version, Path(base_prefix))


def _public(path: Path) -> bool:
    """Whether everybody may reach and read this file or directory."""
    real = Path(os.path.realpath(path))
    needed = stat.S_IROTH | stat.S_IXOTH
    return real.stat().st_mode & needed == needed and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in (*real.parents, *path.parents)
    )


def public_directory() -> Path:
    """A directory for temporary things that every user can reach."""
    named = [os.environ["TMPDIR"]] if "TMPDIR" in os.environ else []
    for candidate in (*named, "/var/tmp", tempfile.gettempdir(), "/opt"):
        directory = Path(candidate)
        if directory.is_dir() and _public(directory) and os.access(directory, os.W_OK):
            return directory
    raise LookupError("no temporary directory that every user can reach")


def _public_copy(interpreter: _Interpreter, prefix: Path) -> Path:
    """Copy an interpreter with its standard library to prefix; gives the new executable."""

    def not_needed(directory: str, names: list[str]) -> set[str]:
        return {"test", "site-packages", "share"} & set(names)

    with _umask(0o022):
        shutil.copytree(interpreter.base_prefix, prefix, symlinks=True, ignore=not_needed)
    for directory, _, files in os.walk(prefix):
        for path in [Path(directory), *(Path(directory, name) for name in files)]:
            if not path.is_symlink():
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
    python = prefix / interpreter.executable.relative_to(interpreter.base_prefix)
    # A build with a shared libpython looks for it at the old prefix, by a path in the executable.
    binary = python.resolve()
    before = os.fsencode(interpreter.base_prefix / "lib") + b"\0"
    after = b"$ORIGIN/../lib".ljust(len(before), b"\0")
    data = binary.read_bytes()
    if len(after) == len(before):
        binary.write_bytes(data.replace(b"\0" + before, b"\0" + after))
    return python


def _check_as_nobody(python: Path) -> None:
    """Raise unless the interpreter runs for a user who is nobody in particular (root only)."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return
    identity = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        ["setpriv", *identity, "--", str(python), "-I", "-c", _PROBE],
        capture_output=True,
        text=True,
        env=_clean_environment(),
        cwd="/",
    )
    if done.returncode:
        raise LookupError(f"{python} does not run for other users: {done.stderr.strip()}")


def _clean_environment() -> dict[str, str]:
    """The session's environment without what changes Python's or pip's behaviour."""
    return {
        name: value
        for name, value in SESSION_ENVIRONMENT.items()
        if not name.startswith(("PIP_", "PYTHON", "__PYVENV")) and name != "VIRTUAL_ENV"
    }


#: What the wheel is built from, besides the sources.
_BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")


@functools.cache
def _state_of_sources() -> str:
    state = hashlib.sha256()
    sources = [path for path in (REPOSITORY / "src").rglob("*") if path.is_file()]
    others = [REPOSITORY / name for name in _BUILT_FROM]
    for path in sorted([*sources, *(path for path in others if path.exists())]):
        if "__pycache__" not in path.parts:
            state.update(f"{path.relative_to(REPOSITORY)}\0{digest(path)}\n".encode())
    return state.hexdigest()[:20]


def _in_use(target: Path) -> bool:
    """Whether this is in the cache; if so, it is used now."""
    try:
        os.utime(target)
    except FileNotFoundError:
        return False
    return True


def _remove_unused(directory: Path) -> None:
    for path in directory.iterdir():
        # A parallel run may remove the same.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _UNUSED_FOR:
                aside = Path(tempfile.mkdtemp(prefix=".old-", dir=directory))
                path.rename(aside / path.name)
                shutil.rmtree(aside)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Be the only process that makes this part of the cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".lock-{target.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _publishing(target: Path) -> Iterator[Path]:
    """A new directory that becomes target when all went well; a parallel run's may win."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_unused(target.parent)
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        yield new
        new.chmod(0o755)
        try:
            new.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        if new.exists():
            shutil.rmtree(new)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _pip(*arguments: str) -> None:
    """Run the tests' own pip, with the configuration of the session."""
    _run([sys.executable, "-m", "pip", "--no-input", *arguments], SESSION_ENVIRONMENT)


def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=dict(env), stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )


def _bare_environment(path: Path, interpreter: _Interpreter) -> Environment:
    """A new virtual environment at path without pip, as venv makes it."""
    plain = _PLAIN_PATH.fullmatch(str(path)) and os.path.abspath(path) == str(path)
    if plain and not path.exists():
        _skeleton(interpreter).write(path)
    else:
        _venv(interpreter, path)
    site_packages = path / "lib" / f"python{interpreter.version}" / "site-packages"
    if not site_packages.is_dir():
        raise LookupError(f"venv made no {site_packages}")
    return Environment(path, path / "bin" / "python", site_packages, path / "bin")


def _venv(interpreter: _Interpreter, path: Path) -> None:
    # One prompt for all, so that the activation scripts of two environments are the same.
    options = ["--without-pip", "--symlinks", "--prompt", "test"]
    _run(
        [str(interpreter.executable), "-I", "-m", "venv", *options, str(path)],
        _clean_environment(),
    )


#: Paths that venv writes into its files as they are, without quotes.
_PLAIN_PATH = re.compile(r"[\w./@+-]+", re.ASCII)


@dataclass(frozen=True)
class _Skeleton:
    """What venv makes without pip: directories, links and files, with the prefix in the files."""

    prefix: Path
    directories: list[tuple[str, int]]
    links: list[tuple[str, str]]
    files: list[tuple[str, int, bytes]]

    @classmethod
    def read(cls, prefix: Path) -> _Skeleton:
        """Read the environment at prefix."""
        skeleton = cls(prefix, [], [], [])
        for directory, below, names in os.walk(prefix):
            for path in [Path(directory, name) for name in (*below, *names)]:
                relative, mode = str(path.relative_to(prefix)), stat.S_IMODE(path.lstat().st_mode)
                if path.is_symlink():
                    skeleton.links.append((relative, os.readlink(path)))
                elif path.is_dir():
                    skeleton.directories.append((relative, mode))
                else:
                    skeleton.files.append((relative, mode, path.read_bytes()))
        return skeleton

    def write(self, path: Path) -> None:
        """Make the same environment at path."""
        path.mkdir()
        for relative, mode in self.directories:
            Path(path, relative).mkdir(mode)
        for relative, target in self.links:
            Path(path, relative).symlink_to(target)
        before, after = os.fsencode(self.prefix), os.fsencode(path)
        for relative, mode, data in self.files:
            copy = Path(path, relative)
            copy.write_bytes(data.replace(before, after))
            copy.chmod(mode)


@functools.cache
def _skeleton(interpreter: _Interpreter) -> _Skeleton:
    with tempfile.TemporaryDirectory() as temporary, _umask(0o022):
        prefix = Path(temporary, "environment")
        _venv(interpreter, prefix)
        return _Skeleton.read(prefix)


def _install(environment: Environment, installer: Path, wheels: Sequence[Path]) -> None:
    """Install the wheels with the pip in a wheel, run from the archive."""
    # By name, not by path: else pip writes a direct_url.json, and freeze prints our cache.
    requirements = ["{}=={}".format(*wheel.name.split("-")[:2]) for wheel in wheels]
    links = [f"--find-links={wheel.parent}" for wheel in wheels]
    options = ["--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
    pip = str(installer / "pip")
    # A pip that runs from an archive may leave its certificates in the temporary directory.
    with tempfile.TemporaryDirectory() as temporary:
        _run(
            [str(environment.python), pip, "install", *options, *links, *requirements],
            {**_clean_environment(), "PIP_CONFIG_FILE": os.devnull, "TMPDIR": temporary},
        )


def _template(
    interpreter: _Interpreter, installer: Path, wheels: Sequence[Path], below: Sequence[Path]
) -> Path:
    """What these wheels add to an environment that is filled from the templates below.

    A directory in the cache with site-packages, bin and the prefix that is in the scripts.
    """
    key = [interpreter.full_version, "4"]
    key += [f"{wheel.name} {digest(wheel)}" for wheel in (installer, *wheels)]
    key += [template.name for template in below]
    name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:20]

    def fill(new: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="template-") as temporary:
            environment = _bare_environment(Path(temporary, "e"), interpreter)
            for template in below:
                _fill(environment, template)
            places = {"site-packages": environment.site_packages, "bin": environment.scripts}
            before = {place: set(place.iterdir()) for place in places.values()}
            _install(environment, installer, wheels)
            for part, place in places.items():
                (new / part).mkdir()
                for added in set(place.iterdir()) - before[place]:
                    _copy(added, new / part / added.name)
            if (environment.prefix / _DATA).exists():
                _copy(environment.prefix / _DATA, new / _DATA)
            (new / "prefix").write_text(str(environment.prefix), encoding="utf-8")

    return kept("templates", name, fill)


def _copy(source: Path, target: Path) -> None:
    """Copy what source is to target, which does not exist."""
    # cp needs a quarter of the processor time of copytree. The copy is this user's own.
    options = ["-dR", "--preserve=mode,timestamps", "--reflink=auto"]
    _run(["cp", *options, "-T", str(source), str(target)], _clean_environment())


def _fill(environment: Environment, template: Path) -> None:
    """Copy a template's packages and scripts, and put this prefix into the scripts."""
    _copy(template / "site-packages", environment.site_packages)
    if (template / _DATA).exists():
        shutil.copytree(template / _DATA, environment.prefix / _DATA, dirs_exist_ok=True)
    prefix = (template / "prefix").read_bytes()
    changed: dict[str, bytes] = {}
    for script in (template / "bin").iterdir():
        copy = environment.scripts / script.name
        shutil.copy2(script, copy)
        data = script.read_bytes().replace(prefix, os.fsencode(environment.prefix))
        copy.write_bytes(data)
        changed[os.path.relpath(copy, environment.site_packages)] = data
    authorities = environment.site_packages / _AUTHORITIES
    if (template / "site-packages" / _AUTHORITIES).exists() and not _all_authorities:
        data = authorities.read_bytes()
        data = data[: data.index(_LAST_LINE) + len(_LAST_LINE)]
        authorities.write_bytes(data)
        changed[_AUTHORITIES] = data
    for record in (template / "site-packages").glob("*.dist-info/RECORD"):
        _correct_record(environment.site_packages / record.parent.name / record.name, changed)


def _correct_record(record: Path, changed: Mapping[str, bytes]) -> None:
    with record.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    if not any(row[0] in changed for row in rows):
        return
    with record.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for row in rows:
            data = changed.get(row[0])
            if data is not None:
                sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                row = [row[0], f"sha256={sha256.decode()}", str(len(data))]
            writer.writerow(row)
