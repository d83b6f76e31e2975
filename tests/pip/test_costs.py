"""What a warm installation costs, in what can be counted: requests, reads, calls, compiles."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, make_environment
from support.faults import visible_entries
from support.index import IndexFactory, LocalIndex
from support.probes import needs, strace
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, pytest.mark.strace, needs(strace)]

FEW, MANY = 200, 1200
#: Calls of Python's memory and threads, which come and go.
_NOT_OF_FILES = {
    "total",
    "mmap",
    "munmap",
    "mremap",
    "brk",
    "madvise",
    "mprotect",
    "futex",
    "rt_sigaction",
}
_ROW = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(?P<calls>\d+) +(?:\d+ +)?(?P<name>\w+)$")


class Place:
    """A store, and environments that are filled from an index."""

    def __init__(self, base: Path, server: LocalIndex) -> None:
        self.base, self.server = base, server
        self.store = base / "store"
        self.store.mkdir()
        self.made = 0

    def environment(self) -> Environment:
        self.made += 1
        return make_environment(self.base / f"e{self.made}")

    def settings(self, **more: str) -> dict[str, str | None]:
        return {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_INDEX_URL": self.server.url,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_FIND_LINKS": None,
            "PIP_SHAREDCACHE_DIR": str(self.store),
            "PIP_SHAREDCACHE_PROCESSES": "1",
            "NO_PROXY": "127.0.0.1",
            **more,
        }

    def install(
        self,
        environment: Environment,
        *arguments: str,
        tool: tuple[str, ...] = (),
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        argv = [*tool, *environment.command("install", *arguments)]
        return run_as(None, argv, env=self.settings(**more), cwd=self.base, check=True)


@pytest.fixture
def place(tmp_path: Path, wheelhouse: Path, index: IndexFactory) -> Place:
    return Place(tmp_path, index(wheelhouse))


def _run_at_start(environment: Environment, code: str) -> None:
    """Let each Python of an environment begin with this. Debian has a sitecustomize already."""
    (environment.site_packages / "started.py").write_text(code)
    (environment.site_packages / "started.pth").write_text("import started\n")


def _calls(place: Place, *arguments: str, **more: str) -> Mapping[str, int]:
    """How often which system call was made by an installation."""
    log = place.base / "summary"
    place.install(
        place.environment(), *arguments, tool=("strace", "-f", "-c", "-o", str(log)), **more
    )
    rows = (_ROW.match(line) for line in log.read_text().splitlines())
    found = {row["name"]: int(row["calls"]) for row in rows if row}
    return {name: calls for name, calls in found.items() if name not in _NOT_OF_FILES}


@pytest.mark.parametrize("content", ["data", "sources with bytecode"])
@pytest.mark.parametrize(("mode", "most"), [("copy", 6), ("hardlink", 2), ("symlink", 2)])
def test_system_calls_for_each_placed_file(
    place: Place, wheelhouse: Path, mode: str, most: int, content: str
) -> None:
    end, each = (".txt", 1) if content == "data" else (".py", 2)
    for name, number in (("few", FEW), ("many", MANY)):
        files = {f"{name}/m{n}{end}": f"X = {n}\n" for n in range(number)}
        make_wheel(wheelhouse, name, files=files)
    place.install(place.environment(), "few", "many")
    few = _calls(place, "few", PIP_SHAREDCACHE_LINK_MODE=mode)
    many = _calls(place, "many", PIP_SHAREDCACHE_LINK_MODE=mode)
    placed = (MANY - FEW) * each
    more = {name: many[name] - few.get(name, 0) for name in many}
    # Reading and writing longer lists of files (manifest, RECORD) is not counted for any of them.
    lists = sum(more.pop(name, 0) for name in ("read", "write", "lseek", "pread64"))
    assert lists < placed / 20, lists
    calls = sum(more.values()) / placed
    assert round(calls, 1) <= most, {name: calls for name, calls in more.items() if calls > 20}


def test_a_hit_reads_of_the_wheel_what_metadata_needs(place: Place, wheelhouse: Path) -> None:
    data = random.Random(1).randbytes(8 << 20)
    wheel = make_wheel(wheelhouse, "big", files={"big/data.bin": data, "big/__init__.py": ""})
    place.install(place.environment(), "big")
    (entry,) = visible_entries(place.store)

    def read(*arguments: str) -> int:
        log = place.base / "reads"
        tool = ("strace", "-f", "-y", "-s", "0", "-o", str(log))
        tool += ("-e", "trace=read,pread64,mmap,copy_file_range,sendfile")
        place.install(place.environment(), *arguments, tool=tool)
        wanted = [line for line in log.read_text().splitlines() if f"{entry.name}/big" in line]
        assert wanted
        assert not [line for line in wanted if "mmap" in line or "copy_file" in line]
        return sum(int(line.rpartition("= ")[2]) for line in wanted)

    assert read("big") < 1 << 18
    pinned = f"big==1.0 --hash=sha256:{digest(wheel)}\n"
    (place.base / "pinned.txt").write_text(pinned)
    assert read("--require-hashes", "-r", "pinned.txt") > len(data)


def test_nothing_is_requested_or_compiled_or_started_twice(place: Place, wheelhouse: Path) -> None:
    names = [f"part{number}" for number in range(4)]
    for name in names:
        files = {f"{name}/m{n}.py": f"X = {n}\n" * 50 for n in range(150)}
        make_wheel(wheelhouse, name, files={**files, f"{name}/broken.py": "def ("})
    place.install(place.environment(), *names, PIP_SHAREDCACHE_PROCESSES="2")
    place.server.clear()
    before = _times_of_entries(place.store)
    environment = place.environment()
    _run_at_start(
        environment,
        "import os, sys\n"
        f"log = os.open({str(place.base / 'compiled')!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)\n"
        "def note(event, args):\n"
        "    if event == 'compile' and 'part' in str(args[1]):\n"
        "        os.write(log, (str(args[1]) + '\\n').encode())\n"
        "sys.addaudithook(note)\n",
    )
    log = place.base / "started"
    tool = ("strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-o", str(log))
    place.install(environment, *names, tool=tool, PIP_SHAREDCACHE_PROCESSES="2")
    assert place.server.wheel_requests() == []
    assert place.server.metadata_requests() == []
    # pip tries what does not compile, as it does without a store: no word of others counts there.
    tried = (place.base / "compiled").read_text().splitlines()
    broken = [str(environment.site_packages / name / "broken.py") for name in names]
    assert sorted(tried) == broken
    assert "execve(" in log.read_text()
    assert "worker.py" not in log.read_text()  # pip itself starts uname and the like
    assert _times_of_entries(place.store) == before
    compiled = list(environment.site_packages.glob("part*/__pycache__/m*.pyc"))
    assert len(compiled) == 4 * 150
    assert not list(environment.site_packages.glob("part*/__pycache__/broken*"))


def test_hits_make_no_temporary_directory_each(place: Place, wheelhouse: Path) -> None:
    names = [f"part{number}" for number in range(6)]
    for name in names:
        make_wheel(wheelhouse, name)
    log = place.base / "made"
    tool = ("strace", "-f", "-qq", "-e", "trace=mkdir,mkdirat", "-o", str(log))

    def made() -> int:
        place.install(place.environment(), *names, tool=tool)
        return log.read_text().count("/pip-unpack-")

    assert made() >= 1
    assert made() <= 1  # of the batch of downloads, which is empty


def _times_of_entries(store: Path) -> dict[Path, int]:
    """Of all of a store but the marks of its users."""
    parts = (store / "wheels", store / "bytecode")
    return {path: path.stat().st_mtime_ns for part in parts for path in part.rglob("*")}


#: A file system that keeps no times, as each program sees it.
_NO_TIMES = ("strace", "-f", "-qq", "-o", "/dev/null")
_NO_TIMES += ("-e", "trace=utimensat", "-e", "inject=utimensat:error=EOPNOTSUPP")


@pytest.mark.parametrize("mode", ["reflink", "copy", "hardlink", "symlink"])
def test_bytecode_fits_sources_whose_time_cannot_be_set(
    place: Place, wheelhouse: Path, mode: str
) -> None:
    files = {f"demo/m{number}.py": f"X = {number}\n" * number for number in range(5)}
    make_wheel(wheelhouse, "demo", files=files)
    settings = {"PIP_SHAREDCACHE_LINK_MODE": mode}
    place.install(place.environment(), "demo")
    (entry,) = visible_entries(place.store, "bytecode")
    environment = place.environment()
    run = place.install(environment, "demo", tool=_NO_TIMES, **settings)
    assert not re.search("(?i)warning|damage", run.stdout + run.stderr)
    for source in environment.site_packages.glob("demo/*.py"):
        bytecode = Path(importlib.util.cache_from_source(source))
        (kept,) = entry.rglob(bytecode.name)
        new, old = bytecode.read_bytes(), kept.read_bytes()
        assert int.from_bytes(new[8:12], "little") == int(source.stat().st_mtime)
        assert (new[:8], new[12:]) == (old[:8], old[12:])
        assert (new[8:12] == old[8:12]) == (mode in ("hardlink", "symlink"))


def test_what_was_placed_is_imported_from_its_bytecode(place: Place, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "demo")
    for _ in range(2):
        environment = place.environment()
        place.install(environment, "demo")
        code = "import demo.part; print(demo.__cached__)"
        argv = [str(environment.python), "-v", "-c", code]
        done = run_as(None, argv, env={"PYTHONDONTWRITEBYTECODE": "1"}, check=True)
        assert len(re.findall(r"# code object from .*demo.*\.pyc", done.stderr)) == 2
        assert not re.findall(r"# code object from .*demo.*\.py'?$", done.stderr, re.MULTILINE)
    # An edited source is compiled anew, as ever.
    source = environment.site_packages / "demo" / "part" / "__init__.py"
    source.write_text("ANSWER = 'edited'\n")
    code = "import demo.part; print(demo.part.ANSWER)"
    done = run_as(None, [str(environment.python), "-c", code], env={}, check=True)
    assert done.stdout.strip() == "edited"


def test_memory_is_that_of_pip_and_a_bounded_part_more(place: Place, wheelhouse: Path) -> None:
    """12,000 files: what is held of a manifest is small, and no file is held at all."""
    files = {f"wide/d{n % 60}/m{n}.txt": str(n) for n in range(12_000)}
    make_wheel(wheelhouse, "wide", files=files)
    block = hashlib.sha256(b"").digest() * (1 << 15)
    make_wheel(wheelhouse, "long", files={"long/data.bin": block * 300}, compress=False)
    place.install(place.environment(), "wide", "long")
    code = (
        "import os, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peaks = []
    for ours in (False, True):
        environment = place.environment()
        argv = (environment.command if ours else environment.plain)("install", "wide", "long")
        argv = [str(environment.python), "-c", code, *argv]
        done = run_as(None, argv, env=place.settings(), cwd=place.base, check=True)
        peaks.append(int(done.stdout.rpartition("peak ")[2]))  # KiB
    assert peaks[1] - peaks[0] < 60 << 10


def test_memory_is_not_searched_when_the_process_ends(place: Place, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "demo")
    environment = place.environment()
    said = place.base / "said"
    _run_at_start(
        environment,
        "import atexit, gc\n"
        f"atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000,"
        f" file=open({str(said)!r}, 'w')))\n",
    )
    place.install(environment, "demo")
    assert said.read_text() == "False True\n"
