"""The power fails: whatever the disk had not written yet, what can be seen afterwards is whole.

A store and environments lie on a file system whose disk notes every write and every flush (see
support.fuse). A cut is a moment in these notes: everything up to the last flush is there, and of
each block written since, chance decides, as in a drive with a cache of its own. The image of that
moment is mounted, so that the file system recovers, and looked at.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import offline, slices
from support.accounts import run_as
from support.environments import Environment, make_environment
from support.faults import faults_of_distribution, faults_of_store, visible_entries
from support.filesystems import Kind, make_image, mounted, mounted_image
from support.fuse import recorded, replay
from support.packed import is_packed
from support.probes import btrfs, fuse, loop_mounts, needs, strace, xfs
from support.wheels import Content, make_wheel

pytestmark = [pytest.mark.filesystem, needs(loop_mounts, xfs, btrfs, fuse)]

KINDS: tuple[Kind, ...] = ("ext4", "xfs", "btrfs")
SIZES = {"ext4": 96, "xfs": 320, "btrfs": 160}  # MB, about the least that each takes
#: Metadata is written after a second: more different states in the same time.
OPTIONS = {"ext4": "commit=1", "xfs": "", "btrfs": "commit=1,nodiscard"}
PROJECTS = [f"demo{number}" for number in range(5)]
NAMES = ("one", "two", "three")  # of the environments
CUTS = 104  # of each file system
BLOCK = 4096  # bytes that a drive writes as a whole
_SYNCS = "syncfs,fsync,fdatasync,sync,sync_file_range"
#: Runs a command whose calls that make something durable are answered without doing it; those for
#: single file systems are refused, and with them clones, which write their source to the disk.
LYING = ["strace", "-f", "--seccomp-bpf", "-o", os.devnull]
LYING += ["-e", f"trace={_SYNCS},ioctl", "-e", f"inject={_SYNCS}:retval=0"]
LYING += ["-e", "inject=ioctl:error=ENOTTY"]
MENDED = 20  # so many cuts, and one is installed into again


@dataclass
class Seen:
    """What cuts showed: how many there were, and entries (some of them packed) and distributions
    in all of them."""

    cuts: int = 0
    entries: int = 0
    packed: int = 0
    distributions: int = 0
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    noise = random.Random(7)
    for project in PROJECTS:
        for version in ("1.0", "2.0"):
            files: dict[str, Content] = {
                f"{project}/part{number}.py": f"def main():\n    return {number}, {version!r}\n" * 9
                for number in range(4)
            }
            for number in range(4):
                files[f"{project}/blob{number}.bin"] = noise.randbytes(noise.randrange(60_000))
            entry_points = f"[console_scripts]\n{project} = {project}.part0:main\n"
            make_wheel(directory, project, version, files=files, entry_points=entry_points)
    return directory


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What installs into the environments on the disk; itself it lies elsewhere."""
    return make_environment(tmp_path_factory.mktemp("driver") / "environment")


class Disk:
    """A disk with a store and environments, and what was written to it."""

    def __init__(self, kind: Kind, place: Path, driver: Environment, wheels: Path) -> None:
        self.kind = kind
        self.place = place
        self._driver, self._wheels = driver, wheels
        self.log, self._before = place / "log", place / "before"
        self._live, self._point = place / "live", place / "fuse"
        self._top = place / "mount"
        for directory in (self._point, self._top):
            directory.mkdir(parents=True)

    def record(self, *, sync: bool = True) -> None:
        """Publish packs and then trees, install in every link mode, upgrade, uninstall, while the
        disk takes notes; without ``sync`` with nothing made durable."""
        make_image(self.kind, self._live, SIZES[self.kind])
        with mounted_image(self.kind, self._live, self._top):
            how = ["--layout", "packed", str(self._top / "store")]
            run_as(None, self._driver.command("store", "init", *how), check=True)
            for name in NAMES:
                argv = [sys.executable, "-m", "venv", "--without-pip", self._top / name]
                run_as(None, argv, check=True)
        shutil.copyfile(self._live, self._before)
        with (
            recorded(self._point, self._live, self.log) as disk,
            mounted_image(self.kind, disk, self._top, OPTIONS[self.kind]),
            _neighbour(self._top / "neighbour"),
        ):
            everything = [f"{project}==1.0" for project in PROJECTS]
            self._pip("one", "reflink", "install", *everything[:3], sync=sync)
            told = json.loads((self._top / "store" / "store.json").read_text())
            (self._top / "store" / "store.json").write_text(json.dumps({**told, "layout": "tree"}))
            self._pip("one", "reflink", "install", *everything[3:], sync=sync)
            self._pip("two", "hardlink", "install", *PROJECTS, sync=sync)
            self._pip("three", "symlink", "install", *PROJECTS, sync=sync)
            self._pip("one", "reflink", "install", "--upgrade", *PROJECTS[:3], sync=sync)
            self._pip("two", "hardlink", "uninstall", "-y", *PROJECTS[1:], sync=sync)
            self._pip("two", "copy", "install", *PROJECTS, sync=sync)

    def _pip(self, name: str, mode: str, *arguments: str, sync: bool = True) -> None:
        argv = self._driver.command("--python", self._top / name / "bin" / "python", *arguments)
        env = _settings(self._wheels, self._top / "store", mode)
        run_as(None, argv if sync else [*LYING, *argv], env=env, check=True)

    def cuts(self, number: int, chance: random.Random) -> Iterator[Path]:
        """Images of as many moments, chosen by ``chance``. The caller deletes them."""
        length = sum(1 for _ in replay(self.log))
        chosen = sorted(chance.sample(range(length), number))
        image = self.place / "durable"
        shutil.copyfile(self._before, image)
        cached: list[tuple[int, bytes]] = []
        with image.open("r+b", buffering=0) as durable:
            for moment, written in enumerate(replay(self.log)):
                if chosen and moment == chosen[0]:
                    chosen.pop(0)
                    cut = self.place / f"cut{moment}"
                    subprocess.run(["cp", "--sparse=always", image, cut], check=True)
                    kept = chance.random()
                    with cut.open("r+b", buffering=0) as stream:
                        _write(stream.fileno(), [one for one in cached if chance.random() < kept])
                    yield cut
                if written is None:
                    _write(durable.fileno(), cached)
                    cached = []
                else:
                    cached += _blocks(*written)

    def look(self, cut: Path, *, mend: bool) -> Seen:
        """Mount what is left after a cut, and see whether it is whole; where it is to ``mend``,
        see that after the next installation, too. The image is deleted."""
        # At the old place, to which symlinks in the environments lead.
        with mounted_image(self.kind, cut, self._top, OPTIONS[self.kind]):
            seen = self._visible()
            if mend:
                for name in NAMES:
                    self._pip(name, "copy", "install", *(f"{project}==2.0" for project in PROJECTS))
                mended = self._visible()
                seen.faults += [f"after the next installation: {x}" for x in mended.faults]
                if mended.distributions != len(NAMES) * len(PROJECTS):
                    seen.faults.append(f"then pip lists {mended.distributions} distributions")
        seen.faults = [f"{self.kind}, {cut.name}: {fault}" for fault in seen.faults]
        cut.unlink()
        return seen

    def _visible(self) -> Seen:
        store = self._top / "store"
        entries = [*visible_entries(store), *visible_entries(store, "bytecode")]
        packs = sum(map(is_packed, entries))
        seen = Seen(1, len(entries), packs, 0, faults_of_store(store))
        for library in self._top.glob("*/lib/*/site-packages"):
            # What pip lists; "~" is what pip itself had put aside.
            for info in library.glob("[!~.]*.dist-info"):
                seen.distributions += 1
                lacks = faults_of_distribution(library, info.name)
                lacks = lacks or _bytecode_faults(library, info.name)
                seen.faults += [f"{info.relative_to(self._top)}: {fault}" for fault in lacks]
        return seen

    def look_at_all(self, number: int, *, mend: bool = False, seed: int = 0) -> Seen:
        """As many cuts, taken together."""
        seen = Seen()
        for cut in self.cuts(number, random.Random(number + seed)):
            one = self.look(cut, mend=mend and seen.cuts % MENDED == MENDED // 2)
            seen.cuts += one.cuts
            seen.entries += one.entries
            seen.packed += one.packed
            seen.distributions += one.distributions
            seen.faults += one.faults
        return seen


def _settings(wheels: Path, store: Path, mode: str) -> dict[str, str | None]:
    return offline(wheels, store, PIP_SHAREDCACHE_LINK_MODE=mode)


@contextmanager
def _neighbour(path: Path) -> Iterator[None]:
    """Somebody else on the same file system who makes a small file durable all the time: that
    writes the metadata of everybody, without anybody's data."""
    stop = threading.Event()

    def work() -> None:
        with path.open("wb", buffering=0) as stream:
            while not stop.wait(0.01):
                stream.write(b"a line\n")
                os.fsync(stream.fileno())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _blocks(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    starts = range(0, len(data), BLOCK)
    return [(offset + start, data[start : start + BLOCK]) for start in starts]


def _write(descriptor: int, blocks: Sequence[tuple[int, bytes]]) -> None:
    for offset, data in blocks:
        os.pwrite(descriptor, data, offset)


def _bytecode_faults(library: Path, info: str) -> list[str]:
    """Bytecode that the distribution lists and no interpreter could load: it has no hash there."""
    found = []
    for line in (library / info / "RECORD").read_text(encoding="utf-8").splitlines():
        name = line.split(",")[0]
        if not name.endswith(".pyc"):
            continue
        try:
            data = (library / name).read_bytes()
            marshal.loads(data[16:])
            if data[:4] != importlib.util.MAGIC_NUMBER:
                found.append(f"{name} is of another Python")
        except (OSError, ValueError, EOFError, TypeError) as error:
            found.append(f"{name} is damaged: {error!r}")
    return found


@pytest.fixture
def disks(tmp_path: Path, driver: Environment, wheels: Path) -> Iterator[list[Disk]]:
    """One of each file system, in memory."""
    with mounted("tmpfs", tmp_path, size_mb=4096) as place:
        yield [Disk(kind, place / kind, driver, wheels) for kind in KINDS]


def test_after_a_power_cut_all_that_is_visible_is_whole(
    disks: list[Disk],
) -> None:
    # Each slice has a seed of its own, so that runs with slices take different moments.
    cuts, part = slices.share(CUTS), slices.current()
    seed = part.number if part else 0

    def cut(disk: Disk) -> Seen:
        disk.record()
        return disk.look_at_all(cuts, mend=True, seed=seed)

    for seen in _all(disks, cut):
        assert not seen.faults, "\n".join(seen.faults[:50])
        assert seen.cuts == cuts
        # Else the cuts were all made before there was anything.
        assert seen.entries - seen.packed > cuts, seen
        assert seen.packed > cuts, seen
        assert seen.distributions > cuts, seen


@needs(strace)
def test_such_cuts_find_what_was_not_made_durable(
    disks: list[Disk],
) -> None:
    def cut(disk: Disk) -> Seen:
        disk.record(sync=False)
        return disk.look_at_all(30)

    found = _all(disks, cut)
    assert all(seen.faults for seen in found), found
    everything = [fault for seen in found for fault in seen.faults]
    for place in (" wheels/", " bytecode/", ".dist-info: "):
        assert any(place in fault for fault in everything), f"nothing in {place}: {everything}"


def _all(disks: list[Disk], look: Callable[[Disk], Seen]) -> list[Seen]:
    with ThreadPoolExecutor(len(disks)) as pool:
        found = list(pool.map(look, disks))
    for disk, seen in zip(disks, found):
        print(f"{disk.kind}: {seen.cuts} cuts, in them {seen.entries} entries", end=" ")
        print(f"({seen.packed} of them packed)", end=" ")
        print(f"and {seen.distributions} distributions; {len(seen.faults)} faults")
    return found
