"""Counts the RPCs of plain pip and of this project on NFS, by operation: exact where times are not.

    python benchmarks/network.py [--nfs 4.2|3 ...] [--delay MS ...] [--way NAME ...]
        [--requirement NAME ...]

Runs hosts with kernels of their own (tests/support/hosts.py): a server whose xfs has reflinks, and
a client that has the store and the environments on it, mounted by NFS as a kernel does by default.
pip's cache and its index are local to the client. Each command installs into a new environment, as
an ordinary user, and finds a client that has just mounted: nothing of the store is in its memory.
Seconds are those of user-mode Linux, where each system call is slow; what a longer round trip adds
to them is real.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measuring import PROJECT, figure, quietly, table, work_directory

sys.path.insert(0, str(PROJECT / "tests"))

from support import rpcs
from support.cluster import MOUNT_POINT, VERSIONS, Cluster, GuestIndex, running_cluster
from support.hosts import ACCOUNTS, PYTHON, Host, missing

REQUIREMENTS = "numpy networkx sqlalchemy flask requests rich pytest"
PLAIN = "pip"
#: Kinds of stores, and the link modes in which something is installed from each. The first user of
#: one that is called "linked" has the link mode of the others: bytecode is a tree, too, then.
MODES = {"tree": ("reflink", "copy"), "linked": ("hardlink", "symlink"), "packed": ("copy",)}
WAYS = (
    PLAIN,
    *(f"ours, {layout}, {mode}" for layout, modes in MODES.items() for mode in ("cold", *modes)),
)
#: Calls that are fewer than this share of the files stand in one sum.
_RARE = 0.05


@dataclass(frozen=True)
class Measured:
    """One run. ``files``: what it installed; ``seconds``: the whole command."""

    way: str
    files: int
    calls: Counter[str]
    seconds: float


class Client:
    """The client that is measured: its account, index and store."""

    def __init__(self, cluster: Cluster, installer: Path, wheels: Path, what: list[str]) -> None:
        self._cluster = cluster
        self.host: Host = cluster.clients[0]
        self._installer = installer
        self._what = what
        self._index = GuestIndex(self.host, wheels)
        self._number = 0

    def measure(self, version: str, milliseconds: float, ways: list[str]) -> Iterator[Measured]:
        """Run each way once, in this version of NFS and with this delay."""
        area = MOUNT_POINT / f"v{version}-{milliseconds:g}"
        self._remount(version)
        self._as_user("mkdir", area)
        if not self._number:
            self._install(area, PLAIN, version, 0, None)  # fills pip's cache
        if PLAIN in ways:
            yield self._install(area, PLAIN, version, milliseconds, None)
        for layout, modes in MODES.items():
            warm = [way for mode in modes if (way := f"ours, {layout}, {mode}") in ways]
            cold = f"ours, {layout}, cold"
            if not warm and cold not in ways:
                continue
            store = area / layout
            python = self._installer / "bin" / "python"
            init = ["store", "init", "--layout", "packed" if layout == "packed" else "tree"]
            self._as_user(python, "-m", "pip_sharedcache", *init, store)
            measured = self._install(area, cold, version, milliseconds, store)
            if cold in ways:
                yield measured
            for way in warm:
                yield self._install(area, way, version, milliseconds, store)

    def _install(
        self, area: Path, way: str, version: str, milliseconds: float, store: Path | None
    ) -> Measured:
        self._number += 1
        environment = area / f"environment{self._number}"
        self._as_user(PYTHON, "-m", "venv", "--without-pip", environment)
        before = self._files(environment)
        program = ["pip"]
        if store is not None:
            program = ["pip_sharedcache"]
            mode = "hardlink" if way.startswith("ours, linked") else ""
            mode = mode if way.endswith("cold") else way.split()[-1]
            program += [f"--sharedcache-link-mode={mode}"] * bool(mode)
        variables = {**self._index.variables, "PIP_SHAREDCACHE_DIR": str(store or "")}
        self._remount(version)
        self._cluster.delay(self.host, milliseconds)
        start = time.monotonic()
        python, target = self._installer / "bin" / "python", environment / "bin" / "python"
        command: list[str | Path] = [python, "-m", *program, "--python", target, "install"]
        self.host.run([*command, *self._what], ACCOUNTS.usera, env=variables, timeout=3600)
        seconds = time.monotonic() - start
        calls = self._calls()
        self._cluster.delay(self.host, 0)
        files = self._files(environment) - before
        return Measured(way, files, calls, seconds)

    def _calls(self) -> Counter[str]:
        # The client returns the delegation of each file that it forgets, after a lease in which it
        # did not use the file: a part of the cost, and late.
        self.host.sh("echo 2 >/proc/sys/vm/drop_caches")
        calls = rpcs.count(self.host, MOUNT_POINT)
        while True:
            time.sleep(1)
            before, calls = calls, rpcs.count(self.host, MOUNT_POINT)
            if before["DELEGRETURN"] == calls["DELEGRETURN"]:
                return calls

    def _files(self, environment: Path) -> int:
        # On the server: the client's memory does not matter.
        return int(self._cluster.server.sh('find "$1" ! -type d | wc -l', environment))

    def _as_user(self, *argv: str | Path) -> None:
        self.host.run(list(argv), ACCOUNTS.usera)

    def _remount(self, version: str) -> None:
        self._cluster.mount(self.host, "3" if version == "3" else "4.2")


def report(found: list[Measured]) -> str:
    """The table of one version and delay."""
    plain = next((one for one in found if one.way == PLAIN), None)

    def cells(one: Measured) -> list[str]:
        total = one.calls.total()
        common = [(name, calls) for name, calls in one.calls.most_common()]
        shown = [
            f"{name} {calls / one.files:.2f}"
            for name, calls in common
            if calls / one.files >= _RARE
        ]
        rest = sum(calls for _, calls in common if calls / one.files < _RARE)
        return [
            one.way,
            str(total),
            f"{total / one.files:.2f}",
            figure(total / plain.calls.total() if plain else math.nan),
            figure(one.seconds),
            figure(one.seconds / plain.seconds if plain else math.nan),
            ", ".join([*shown, f"others {rest / one.files:.2f}"]),
        ]

    head = ["way", "RPCs", "per file", "/ pip", "wall s", "/ pip", "per file, by operation"]
    return table(head, map(cells, found))


def prepare(work: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """Make the environment to start pip from, and download the wheels; return both directories."""
    installer, wheels = work / "installer", work / "wheels"
    quietly(PYTHON, "-m", "venv", str(installer))
    python = str(installer / "bin" / "python")
    pip = f"pip=={options.pip}" if options.pip else "pip"
    quietly(python, "-m", "pip", "install", "-U", pip)
    quietly(python, "-m", "pip", "install", str(PROJECT))
    quietly(
        python,
        "-m",
        "pip",
        "download",
        "--only-binary",
        ":all:",
        "-d",
        str(wheels),
        *options.requirement,
    )
    return installer, wheels


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nfs", action="append", choices=VERSIONS, help="default: both")
    parser.add_argument(
        "--delay", action="append", type=float, metavar="MS", help="default: 0, 0.5"
    )
    parser.add_argument("--way", action="append", choices=WAYS, help="default: all")
    parser.add_argument("--requirement", action="append", help=f"default: {REQUIREMENTS}")
    parser.add_argument("--directory", type=Path, help="where to work (default: temporary)")
    parser.add_argument("--pip", default="", metavar="VERSION", help="default: the newest")
    parser.set_defaults(filesystem="")
    options = parser.parse_args()
    options.requirement = options.requirement or REQUIREMENTS.split()
    if reason := missing():
        raise SystemExit(reason)
    with work_directory(options) as work, running_cluster(work) as cluster:
        installer, wheels = prepare(cluster.shared, options)
        client = Client(cluster, installer, wheels, options.requirement)
        for version in options.nfs or VERSIONS:
            for milliseconds in options.delay or (0, 0.5):
                found = []
                for one in client.measure(version, milliseconds, options.way or [*WAYS]):
                    found.append(one)
                    print(f"{one.way}: {one.calls.total()} RPCs", file=sys.stderr, flush=True)
                delayed = f", {milliseconds:g} ms delay" if milliseconds else ""
                head = f"**NFS {version}{delayed}**: {found[0].files} files"
                print(f"{head}\n\n{report(found)}\n", flush=True)


if __name__ == "__main__":
    main()
