"""Full and failing disks where a store is packed: its own, and that of temporary files."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import offline, packed
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.faults import faults_of_store, leftovers, run_with_fault, spread, visible_entries
from support.filesystems import Kind, limit, mounted
from support.grounds import compare, make_grounds
from support.index import IndexFactory
from support.packed import PACK
from support.probes import loop_mounts, needs, quotas, strace, tmpfs
from support.trees import Node, differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.filesystem, needs(tmpfs, loop_mounts)]

MEGABYTE = 1 << 20
MODULES = 12


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """large: 6 MB that do not compress. code: 3 MB of sources, and as much bytecode."""
    directory = tmp_path_factory.mktemp("wheels")
    noise = random.Random(7)
    blobs = {f"large/blob{n}.bin": noise.randbytes(MEGABYTE) for n in range(6)}
    make_wheel(directory, "large", files={"large/__init__.py": "", **blobs})
    text = "\n".join(f'"{noise.randbytes(500).hex()}"' for _ in range(250))
    modules = {f"code/m{n}.py": f"NUMBER = {n}\nTEXT = (\n{text}\n)\n" for n in range(MODULES)}
    make_wheel(directory, "code", files=modules)
    files = {f"demo/m{n}.py": f"NUMBER = {n}\n" for n in range(3)}
    files["demo/__init__.py"] = "def main():\n    print('demo')\n"
    make_wheel(directory, "demo", files={**files, "demo/data.bin": noise.randbytes(MEGABYTE)})
    return directory


def _make(environment: Environment, store: Path, layout: str = "packed") -> None:
    run_as(None, environment.command("store", "init", "--layout", layout, str(store)), check=True)


def _plain(environment: Environment, env: dict[str, str | None], *names: str) -> dict[str, Node]:
    run_as(None, environment.plain("install", *names), env=env, check=True)
    tree = snapshot(environment.prefix)
    run_as(None, environment.plain("uninstall", "-y", *names), env=env, check=True)
    return tree


def _warnings(said: str) -> list[str]:
    return [line for line in said.splitlines() if "WARNING" in line]


# -- the store's disk


@pytest.mark.parametrize(
    ("kind", "size_mb", "what"),
    [
        ("tmpfs", 3, errno.ENOSPC),
        ("tmpfs", 9, errno.ENOSPC),
        ("ext4", 14, errno.ENOSPC),
        pytest.param("btrfs", 9, errno.EDQUOT, marks=needs(quotas)),
    ],
    ids=["in the wheel", "in the pack", "in the pack on ext4", "over quota"],
)
def test_full_packed_store_is_reported_in_one_line_and_the_install_succeeds(
    kind: Kind,
    size_mb: int,
    what: int,
    environment: EnvironmentFactory,
    wheels: Path,
    tmp_path: Path,
) -> None:
    one = environment()
    with mounted(kind, tmp_path, size_mb=256 if kind == "btrfs" else size_mb) as place:
        if kind == "btrfs":
            limit(place, size_mb)
        store = place / "store"
        _make(one, store)
        env = offline(wheels, store)
        expected = _plain(one, env, "large")
        result = run_as(None, one.command("install", "large"), env=env)
        assert result.returncode == 0, result.stderr
        (said,) = _warnings(result.stderr)
        assert str(store) in said
        assert os.strerror(what) in said
        assert differences(expected, snapshot(one.prefix)) == []
        assert not leftovers(store)
        assert not visible_entries(store)


@pytest.mark.parametrize("free", [4, 7], ids=["in the pack", "in the bytecode"])
def test_packed_store_that_fills_up_keeps_what_fits(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path, free: int
) -> None:
    """code takes 1.6 MB as a wheel, 3 MB in its pack, and 3 MB compiled."""
    one = environment()
    with mounted("tmpfs", tmp_path, size_mb=64) as place:
        store = place / "store"
        _make(one, store)
        env = offline(wheels, store)
        expected = _plain(one, env, "code")
        _fill(place, free * MEGABYTE - MEGABYTE // 2)
        result = run_as(None, one.command("install", "code"), env=env)
        assert result.returncode == 0, result.stderr
        (said,) = _warnings(result.stderr)
        assert os.strerror(errno.ENOSPC) in said
        assert differences(expected, snapshot(one.prefix)) == []
        assert not leftovers(store)
        assert faults_of_store(store) == []
        assert len(visible_entries(store)) == (free > 4)
        assert not visible_entries(store, "bytecode")


def _fill(disk: Path, free: int) -> None:
    """Leave about this many bytes for others."""
    status = os.statvfs(disk)
    with (disk / "ballast").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, status.f_bfree * status.f_frsize - free)


# -- the disk of temporary files


@pytest.fixture
def temporary(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small disk for temporary files."""
    with mounted("tmpfs", tmp_path, options=f"size={request.param}k") as place:
        yield place


@pytest.mark.parametrize("temporary", [8, 1024], ids=["nothing", "a part"], indirect=True)
@pytest.mark.parametrize("verify", ["changed", "always"])
def test_bytecode_is_packed_where_temporary_files_do_not_fit(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path, temporary: Path, verify: str
) -> None:
    one, store = environment(), tmp_path / "store"
    _make(one, store)
    env = offline(wheels, store, PIP_SHAREDCACHE_VERIFY=verify)
    expected = _plain(one, env, "code")
    small = {**env, "TMPDIR": str(temporary)}
    for _ in range(2):
        result = run_as(None, one.command("install", "code"), env=small)
        assert result.returncode == 0, result.stderr
        assert _warnings(result.stderr) == []
        assert differences(expected, snapshot(one.prefix)) == []
        run_as(None, one.plain("uninstall", "-y", "code"), env=env, check=True)
        (wheel,), (bytecode,) = visible_entries(store), visible_entries(store, "bytecode")
        assert packed.is_packed(wheel)
        assert packed.is_packed(bytecode)
    assert faults_of_store(store) == []
    assert not leftovers(store)
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("temporary", [1024], indirect=True)
def test_bytecode_that_fits_nowhere_is_left_to_pip_with_one_line(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path, temporary: Path
) -> None:
    one = environment()
    with mounted("tmpfs", tmp_path, size_mb=64) as place:
        store = place / "store"
        _make(one, store)
        env = offline(wheels, store)
        expected = _plain(one, env, "code")
        _fill(place, 7 * MEGABYTE)
        small = {**env, "TMPDIR": str(temporary)}
        result = run_as(None, one.command("install", "code"), env=small)
        assert result.returncode == 0, result.stderr
        (said,) = _warnings(result.stderr)
        assert str(store) in said
        assert differences(expected, snapshot(one.prefix)) == []
        assert faults_of_store(store) == []
        assert not leftovers(store)
        assert os.listdir(temporary) == []


@pytest.mark.strace
@needs(strace)
def test_what_a_killed_compilation_leaves_goes_with_the_next_one(
    wheels: Path, tmp_path: Path
) -> None:
    (ground,) = make_grounds(tmp_path, wheels, number=1, layout="packed")
    argv = ground.install("demo")
    calls = [
        call
        for call in ground.calls(argv, ground.temporary)
        if call.touches(ground.temporary) and "/0" in call.text and "O_CREAT" in call.text
    ]
    assert calls
    for call in spread(calls, 4):
        ground.restore()
        ground.fresh_store()
        run_with_fault(argv, call, "signal=SIGKILL", env=ground.settings)
    assert list(ground.temporary.rglob("pip-sharedcache-*"))
    ground.restore()
    ground.succeed(argv)
    assert not list(ground.temporary.rglob("pip-sharedcache-*"))
    assert not leftovers(ground.store)


# -- a dying disk


@pytest.mark.strace
@needs(strace)
@pytest.mark.parametrize("first", [1, 2, 4])
def test_pack_that_cannot_be_read_is_reported_and_the_install_is_right(
    wheels: Path, tmp_path: Path, index: IndexFactory, first: int
) -> None:
    """At the look-up, and later: from the wheel beside the pack, all is right."""
    (ground,) = make_grounds(tmp_path, wheels, number=1, layout="packed")
    # From an index, pip is handed the store's own wheel; nothing is replayed.
    ground.other_settings = {"PIP_NO_INDEX": None, "PIP_FIND_LINKS": None}
    ground.other_settings |= {"PIP_INDEX_URL": index(wheels).url}
    ground.other_settings |= {"PIP_SHAREDCACHE_RESOLUTIONS": "off"}
    expected = ground.plain_tree("demo")
    argv = ground.install("demo")
    ground.succeed(argv)
    ground.restore()
    (entry,) = visible_entries(ground.store)
    options = ["-f", "-o", os.devnull, "-P", str(entry / PACK)]
    options += ["-e", "trace=copy_file_range,pread64"]
    for call in ("copy_file_range", "pread64"):
        options += ["-e", f"inject={call}:error=EIO:when={first}+"]
    result = run_as(None, ["strace", *options, *argv], env=ground.settings)
    assert result.returncode == 0, result.stderr
    assert compare(expected, ground.tree()) == []
    assert os.strerror(errno.EIO) in result.stderr, result.stderr
    assert len(_warnings(result.stderr)) == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert faults_of_store(ground.store) == []
    assert not leftovers(ground.store)
