"""What the benchmarks share: a file system to work on, what a command costs, tables.

Units: seconds for times, bytes for memory, unless a name says otherwise.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import pwd
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent

_MAKE = {
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "btrfs": ["mkfs.btrfs", "-q"],
    "tmpfs": [],
}


@dataclass(frozen=True)
class Cost:
    """What one command took.

    ``wall`` and ``cpu`` in seconds; ``memory``, the resident peak of its largest process, in bytes,
    nan where this process had more, which the kernel counts; ``installation``, the seconds from the
    return of pip's resolver to the end, None where no pip resolved; ``output``, what it printed.
    """

    wall: float
    cpu: float
    memory: float
    installation: float | None
    output: str


@dataclass(frozen=True)
class Account:
    """Another user to run commands as; ``name`` is "" where there is no such account."""

    uid: int
    gid: int
    name: str = ""

    @classmethod
    def named(cls, name: str) -> Account:
        """The account called ``name``. Ends the program where there is none."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            raise SystemExit(f"There is no account {name!r}") from None
        return cls(found.pw_uid, found.pw_gid, name)

    def command(self, command: Sequence[str]) -> list[str]:
        """``command`` as this user."""
        groups = "--init-groups" if self.name else "--clear-groups"
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups, "--", *command]


class Bench:
    """A work directory with an environment that has pip and this project, to start pip from."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work = work
        self._base = options.python
        self._environments = 0
        shutil.copytree(
            PROJECT / "benchmarks",
            work / "benchmarks",  # where every account can read it
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        installer = work / "installer"
        quietly(self._base, "-m", "venv", str(installer))
        self.python = str(installer / "bin" / "python")
        pip = f"pip=={options.pip}" if options.pip else "pip"
        quietly(self.python, "-m", "pip", "install", "-U", pip)
        quietly(self.python, "-m", "pip", "install", str(PROJECT))

    def make_environment(self, account: Account | None = None) -> Path:
        """A fresh virtual environment without pip, owned by ``account``."""
        self._environments += 1
        path = self.work / f"environment{self._environments}"
        quietly(self._base, "-m", "venv", "--without-pip", str(path))
        self.hand_over(path, account)
        return path

    def make_store(self, store: Path, group: str = "", layout: str = "") -> None:
        """Make a store with the project's own command, shared by ``group`` if one is given.

        ``layout``: "tree" or "packed"; "" for the one that the command chooses.
        """
        options = ["--group", group] if group else []
        options += ["--layout", layout] if layout else []
        quietly(self.python, "-m", "pip_sharedcache", "store", "init", *options, str(store))

    def check(self, account: Account) -> None:
        """End the program if ``account`` cannot run the interpreter: one below somebody's home
        is started all the same, and finds half of itself."""
        try:
            self.run([self.python, "-c", "import os, sys; os.stat(sys.executable)"], account)
        except SystemExit as end:
            who = account.name or f"uid {account.uid}"
            raise SystemExit(
                f"{end}\n{who} cannot use {self._base}: name another --python"
            ) from None

    def hand_over(self, path: Path, account: Account | None) -> None:
        """Give a tree to ``account``; None: leave it."""
        if account is not None:
            quietly("chown", "-R", f"{account.uid}:{account.gid}", str(path))

    def run(self, command: Sequence[str], account: Account | None = None, **variables: str) -> Cost:
        """Run ``command`` with these further environment ``variables``, and return its cost.

        What was written before it is on disk when it starts. Ends the program if it fails.
        """
        stamps, output = self.work / "stamps", self.work / "output"
        stamps.write_bytes(b"")
        self.hand_over(stamps, account)
        environ = {**self._environ(account), "BENCHMARK_STAMPS": str(stamps), **variables}
        started = account.command(command) if account else list(command)
        quietly("sync", "--file-system", str(self.work))
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with output.open("wb") as stream:
            start = time.monotonic()
            process = subprocess.Popen(
                started,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                start_new_session=True,
            )
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            end = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        text = output.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(started)} failed ({process.returncode}):\n{text}")
        resolved = stamps.read_text().split()
        return Cost(
            wall=end - start,
            cpu=usage.ru_utime + usage.ru_stime,
            memory=usage.ru_maxrss * 1024 if usage.ru_maxrss > own else math.nan,
            installation=end - float(resolved[-1]) if resolved else None,
            output=text,
        )

    def _environ(self, account: Account | None) -> dict[str, str]:
        """The environment as it is, with every cache below the work directory. Another user has a
        home there as well."""
        owner = self.work / (f"home-{account.uid}" if account else "home")
        if not owner.exists():
            owner.mkdir()
            self.hand_over(owner, account)
        hook = str(self.work / "benchmarks" / "hook")
        return {
            **os.environ,
            **({"HOME": str(owner)} if account else {}),
            "XDG_CACHE_HOME": str(owner / "cache"),
            "PIP_CACHE_DIR": str(owner / "cache" / "pip"),
            "UV_CACHE_DIR": str(owner / "cache" / "uv"),
            "PYTHONPATH": os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")])),
        }

    def header(self, *more: str) -> str:
        """Date and machine, in one line."""
        ask = "import platform, pip, pip_sharedcache as p; "
        ask += "print(platform.python_version(), pip.__version__, p.__version__)"
        python, pip, ours = quietly(self.python, "-c", ask).split()
        parts = [
            datetime.date.today().isoformat(),
            f"{platform.machine()}, {os.cpu_count()} cores",
            f"{file_system(self.work)}, {platform.system()} {platform.release().split('-')[0]}",
            f"Python {python}, pip {pip}, pip_sharedcache {ours}",
        ]
        return ", ".join([*parts, *filter(None, more)])


def add_options(parser: argparse.ArgumentParser, runs: int) -> None:
    """The options that every benchmark takes."""
    parser.add_argument("--directory", type=Path, help="where to work (default: temporary)")
    kinds = sorted(_MAKE)
    parser.add_argument("--filesystem", choices=kinds, help="make one there to work on (root)")
    parser.add_argument("--image-gb", type=int, default=12, help="its size (default: 12, sparse)")
    parser.add_argument("--runs", type=int, default=runs, help=f"default: {runs}")
    parser.add_argument("--python", default=sys.executable, help="makes the environments")
    parser.add_argument("--pip", default="", metavar="VERSION", help="default: the newest")


@contextmanager
def work_directory(options: argparse.Namespace) -> Iterator[Path]:
    """A directory that everybody may read, on the file system that ``options`` choose; both are
    removed in the end, whatever happens."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    os.umask(0o022)
    path = Path(tempfile.mkdtemp(prefix="benchmark-", dir=options.directory)).resolve()
    path.chmod(0o755)
    try:
        if options.filesystem:
            with _mounted(options.filesystem, path, options.image_gb) as mounted:
                yield mounted
        else:
            yield path
    finally:
        remove(path)


@contextmanager
def _mounted(kind: str, base: Path, gigabytes: int) -> Iterator[Path]:
    """A new file system below ``base``."""
    point, image = base / "mount", base / "image"
    point.mkdir()
    if kind == "tmpfs":
        quietly("mount", "-t", kind, "-o", f"size={gigabytes}g", kind, str(point))
    else:
        with image.open("wb") as stream:
            stream.truncate(gigabytes << 30)
        quietly(*_MAKE[kind], str(image))
        quietly("mount", "-t", kind, "-o", "loop", str(image), str(point))
        image.unlink()  # it goes with the mount, even if this process is killed
    try:
        point.chmod(0o755)
        yield point
    finally:
        for _ in range(20):
            if subprocess.run(["umount", str(point)], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.25)
        else:
            quietly("umount", "--lazy", str(point))


def file_system(path: Path) -> str:
    """The kind of file system that ``path`` lies on."""
    return quietly("df", "--output=fstype", str(path)).split()[-1]


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def remove(path: Path) -> None:
    """Delete a tree, read-only directories included. Modes of files are left alone: they may be
    hard links of the store's."""
    if not os.path.lexists(path):
        return
    if os.geteuid() != 0:
        writable = ["!", "-perm", "-u+w", "-exec", "chmod", "u+w", "{}", "+"]
        quietly("find", str(path), "-type", "d", *writable)
    quietly("rm", "-rf", "--one-file-system", str(path))


def quietly(*command: str) -> str:
    """Run a command that is not measured; return what it printed. Ends the program if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def median(values: Iterable[float | None]) -> float:
    """The median of those that are there; nan where there are none."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def figure(value: float) -> str:
    """A number for a table, three digits of it; "-" for nan."""
    if math.isnan(value):
        return "-"
    value = float(f"{value:.3g}")
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else f"{value:g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
