"""Every link mode on real file systems: the tree, and what is shared with the store."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support import offline
from support.accounts import Account, Accounts, home_of, run_as
from support.environments import Environment, make_environment, public_directory
from support.faults import faults_of_distribution, faults_of_store, state_of, visible_entries
from support.filesystems import Kind, mounted, remove_tree, shares_extents
from support.probes import accounts as accounts_probe
from support.probes import btrfs, linux, loop_mounts, needs, protected_hardlinks, tmpfs, xfs
from support.trees import Node, differences, snapshot
from support.wheels import make_wheel

pytestmark = [
    pytest.mark.filesystem,
    needs(linux, loop_mounts, tmpfs, xfs, btrfs, accounts_probe),
]

KINDS: tuple[Kind, ...] = ("ext4", "xfs", "btrfs", "tmpfs")
CLONING = ("xfs", "btrfs")
MODES = ("reflink", "hardlink", "symlink", "copy")
WAYS = {
    "reflink": "reflinked",
    "hardlink": "hard-linked",
    "symlink": "symlinked",
    "copy": "copied",
}
INFO = "demo-1.0.dist-info"
SCRIPT = "#!python\nprint('tool')\n"


@dataclass(frozen=True)
class Disk:
    """A mounted file system with two environments."""

    kind: Kind
    place: Path
    one: Environment
    other: Environment


@dataclass(frozen=True)
class Run:
    """What an install said, and where its files come from."""

    output: str
    entry: Path

    @property
    def summary(self) -> str:
        (line,) = (line for line in self.output.splitlines() if line.startswith("Shared store:"))
        return line


@pytest.fixture(scope="module")
def mounts() -> Iterator[Path]:
    """Where file systems are mounted so that every user can reach them."""
    directory = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=public_directory()))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        remove_tree(directory)


@pytest.fixture(scope="module")
def wheels(mounts: Path) -> Path:
    directory = mounts / "wheels"
    make_wheel(
        directory,
        files={
            "demo/__init__.py": "def main():\n    print('demo')\n",
            "demo/empty.txt": "",
            "demo/tool.sh": "#!/bin/sh\n",
            "demo/part/__init__.py": "PART = 1\n",
            "demo/part/data.txt": "data\n",
            "demo/large.bin": random.Random(7).randbytes(3 << 20),
            "demo-1.0.data/scripts/demo-tool": SCRIPT,
        },
        executables=["demo/tool.sh", "demo-1.0.data/scripts/demo-tool"],
        entry_points="[console_scripts]\ndemo = demo:main\n",
    )
    return directory


@pytest.fixture(scope="module")
def disks(mounts: Path, public_python: Path) -> Iterator[dict[str, Disk]]:
    with ExitStack() as mounted_now:
        found = {}
        for kind in KINDS:
            place = mounted_now.enter_context(mounted(kind, mounts, size_mb=400))
            one, other = (
                make_environment(place / name, python=public_python) for name in ("one", "other")
            )
            found[kind] = Disk(kind, place, one, other)
        yield found


@pytest.fixture(scope="module")
def elsewhere(mounts: Path) -> Iterator[Path]:
    """One more file system, for stores that are not on the environments'."""
    with mounted("xfs", mounts, size_mb=400) as place:
        yield place


@pytest.fixture
def new_store(request: pytest.FixtureRequest) -> Iterator[list[Path]]:
    """Stores made here are removed, and demo leaves every environment."""
    made: list[Path] = []
    yield made
    disks: dict[str, Disk] = request.getfixturevalue("disks")
    for disk in disks.values():
        for environment in (disk.one, disk.other):
            if (environment.site_packages / INFO).exists():
                run_as(None, environment.command("uninstall", "-y", "demo"), check=True)
    for store in made:
        remove_tree(store)


def _store(below: Path, made: list[Path]) -> Path:
    store = Path(tempfile.mkdtemp(prefix="store-", dir=below))
    store.chmod(0o755)
    made.append(store)
    return store


def _settings(wheels: Path, store: Path, mode: str) -> dict[str, str | None]:
    return offline(wheels, store, PIP_SHAREDCACHE_LINK_MODE=mode)


def _install(
    environment: Environment,
    wheels: Path,
    store: Path,
    mode: str,
    account: Account | None = None,
) -> Run:
    env = _settings(wheels, store, mode)
    result = run_as(account, environment.command("install", "demo"), env=env, check=True)
    assert not result.stderr, result.stderr
    assert not faults_of_store(store)
    (entry,) = visible_entries(store)
    return Run(result.stdout, entry)


def _plain_snapshot(environment: Environment, wheels: Path) -> dict[str, Node]:
    env = _settings(wheels, Path("/nonexistent"), "copy")
    run_as(None, environment.plain("install", "demo"), env=env, check=True)
    expected = snapshot(environment.prefix)
    run_as(None, environment.plain("uninstall", "-y", "demo"), env=env, check=True)
    return expected


def _linked_differences(environment: Environment, expected: dict[str, Node], run: Run) -> list[str]:
    """Differences apart from what a link brings: the store's modes, and a symlink for a file."""
    actual = snapshot(environment.prefix)
    expected = dict(expected)
    store = run.entry.parents[2]
    for name, node in actual.items():
        path = environment.prefix / name
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and str(store) in os.readlink(path):
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            # Bytecode is judged, not compared: its target is valid for its source, or is not.
            content = sha256 if path.suffix != ".pyc" else expected[name].content
            actual[name] = Node(expected[name].kind, None, content)
            expected[name] = replace(expected[name], mode=None)
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            assert stat.S_IMODE(status.st_mode) in (0o444, 0o555), name
            assert bool(node.mode and node.mode & 0o111) == bool((expected[name].mode or 0) & 0o111)
            actual[name] = replace(node, mode=None)
            expected[name] = replace(expected[name], mode=None)
    return differences(expected, actual)


def _placed(environment: Environment, run: Run) -> dict[Path, Path]:
    """Files of the package in the environment, and the store's files that they were made from."""
    package = run.entry / "files" / "demo"
    return {
        environment.site_packages / "demo" / source.relative_to(package): source
        for source in package.rglob("*")
        if source.is_file()
    }


def _private(environment: Environment) -> list[Path]:
    """Files that pip writes or rewrites: never the store's."""
    info = [path for path in (environment.site_packages / INFO).rglob("*") if path.is_file()]
    return [*info, environment.scripts / "demo", environment.scripts / "demo-tool"]


def _used(mode: str, kind: str, *, same: bool) -> str:
    """The way that a mode takes on such a file system."""
    if mode == "symlink" or mode == "copy":
        return mode
    if mode == "hardlink" and same:
        return mode
    return "reflink" if same and kind in CLONING else "copy"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_store_on_the_same_file_system(
    kind: str, mode: str, disks: dict[str, Disk], wheels: Path, new_store: list[Path]
) -> None:
    disk = disks[kind]
    store = _store(disk.place, new_store)
    expected = _plain_snapshot(disk.one, wheels)

    run = _install(disk.one, wheels, store, mode)

    used = _used(mode, kind, same=True)
    assert _linked_differences(disk.one, expected, run) == []
    assert re.search(rf"\b[1-9]\d* {WAYS[used]}", run.summary), run.summary
    if mode == "reflink" and used == "copy":
        assert "reflink" in run.summary, run.summary
        assert os.strerror(errno.EOPNOTSUPP) in run.summary, run.summary
    for path, source in _placed(disk.one, run).items():
        linked = path.lstat()
        assert path.read_bytes() == source.read_bytes()
        if used == "hardlink":
            assert linked.st_ino == source.stat().st_ino, path
            assert linked.st_nlink == 2
        elif used == "symlink":
            assert path.is_symlink()
            assert path.resolve() == source.resolve()
        else:
            assert stat.S_ISREG(linked.st_mode)
            assert linked.st_nlink == 1
            assert linked.st_ino != source.stat().st_ino
    for path in _private(disk.one):
        assert stat.S_ISREG(path.lstat().st_mode), path
        assert path.lstat().st_nlink == 1, path
    large, stored = disk.one.site_packages / "demo/large.bin", run.entry / "files/demo/large.bin"
    if used == "reflink":
        assert shares_extents(large, stored)
    script = run_as(None, [str(disk.one.scripts / "demo-tool")], check=True)
    assert script.stdout == "tool\n"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_store_on_another_file_system(
    kind: str,
    mode: str,
    disks: dict[str, Disk],
    elsewhere: Path,
    wheels: Path,
    new_store: list[Path],
) -> None:
    disk = disks[kind]
    store = _store(elsewhere, new_store)
    expected = _plain_snapshot(disk.one, wheels)

    run = _install(disk.one, wheels, store, mode)

    used = _used(mode, kind, same=False)
    assert _linked_differences(disk.one, expected, run) == []
    assert re.search(rf"\b[1-9]\d* {WAYS[used]}", run.summary), run.summary
    if mode in ("reflink", "hardlink"):
        assert os.strerror(errno.EXDEV) in run.summary, run.summary
        assert mode in run.summary, run.summary
    for path, source in _placed(disk.one, run).items():
        assert path.is_symlink() == (used == "symlink")
        assert path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("mode", ["reflink", "copy"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_in_one_environment_reaches_nothing_else(
    kind: str, mode: str, disks: dict[str, Disk], wheels: Path, new_store: list[Path]
) -> None:
    disk = disks[kind]
    store = _store(disk.place, new_store)
    _install(disk.one, wheels, store, mode)
    _install(disk.other, wheels, store, mode)
    stored, other = state_of(store), state_of(disk.other.prefix)
    for path in (disk.one.site_packages / "demo").rglob("*"):
        if path.is_file():
            with path.open("r+b") as stream:
                stream.write(b"edited")
            os.utime(path, (1, 1))
            path.chmod(0o600)
    os.sync()
    assert state_of(store) == stored
    assert state_of(disk.other.prefix) == other
    assert not faults_of_distribution(disk.other.site_packages, INFO)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
@pytest.mark.parametrize("kind", KINDS)
def test_uninstall_leaves_the_store_untouched(
    kind: str, mode: str, disks: dict[str, Disk], wheels: Path, new_store: list[Path]
) -> None:
    disk = disks[kind]
    store = _store(disk.place, new_store)
    run = _install(disk.one, wheels, store, mode)
    before = state_of(store)
    result = run_as(None, disk.one.command("uninstall", "-y", "demo"), check=True)
    assert "Successfully uninstalled demo-1.0" in result.stdout
    assert not (disk.one.site_packages / "demo").exists()
    assert state_of(store) == before
    assert all(path.stat().st_nlink == 1 for path in run.entry.rglob("*") if path.is_file())


def _give(environment: Environment, account: Account) -> None:
    for directory, _, files in os.walk(environment.prefix):
        for path in [directory, *(os.path.join(directory, name) for name in files)]:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


@pytest.mark.multiuser
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_uninstall_of_a_directory_that_cannot_be_cleared_leaves_the_store_untouched(
    mode: str, mounts: Path, public_python: Path, wheels: Path, accounts: Accounts
) -> None:
    """pip's rmtree makes writable what it cannot delete: the store's own file, through a link."""
    user = accounts.userb
    with mounted("ext4", mounts, size_mb=128) as place:
        home_of(user, place)
        environment = make_environment(place / "environment", python=public_python)
        _give(environment, user)
        store = place / "store"
        store.mkdir(mode=0o755)
        # The user's own store: there the kernel would allow a chmod.
        os.chown(store, user.uid, user.gid)
        run = _install(environment, wheels, store, mode, user)
        before = state_of(store)
        part = environment.site_packages / "demo" / "part"
        linked = part / "data.txt"
        assert linked.is_symlink() or linked.stat().st_nlink == 2
        part.chmod(0o555)

        result = run_as(user, environment.command("uninstall", "-y", "demo"))

        assert "Traceback" not in result.stderr, result.stderr
        left = list(environment.site_packages.rglob("data.txt"))
        assert left, "the directory was cleared: this shows nothing"
        assert state_of(store) == before
        assert run.entry.is_dir()


@pytest.mark.multiuser
@needs(protected_hardlinks)
@pytest.mark.parametrize(("kind", "used"), [("ext4", "copy"), ("xfs", "reflink")])
def test_hard_link_to_another_users_file_falls_to_the_next_mode(
    kind: Kind,
    used: str,
    mounts: Path,
    public_python: Path,
    wheels: Path,
    accounts: Accounts,
) -> None:
    with mounted(kind, mounts, size_mb=400) as place:
        environments = {}
        for user in (accounts.usera, accounts.userb):
            home_of(user, place)
            environments[user] = make_environment(place / f"of-{user.name}", python=public_python)
            _give(environments[user], user)
        store = place / "store"
        init = environments[accounts.usera].command("store", "init", "--layout", "tree", store)
        run_as(None, [*init, "--group", accounts.group], check=True)
        first = _install(environments[accounts.usera], wheels, store, "hardlink", accounts.usera)
        assert WAYS["hardlink"] in first.summary
        before = state_of(store)

        run = _install(environments[accounts.userb], wheels, store, "hardlink", accounts.userb)

        assert run.entry == first.entry
        assert re.search(rf"\b[1-9]\d* {WAYS[used]}", run.summary), run.summary
        assert WAYS["hardlink"] not in run.summary
        assert os.strerror(errno.EPERM) in run.summary, run.summary
        for path, source in _placed(environments[accounts.userb], run).items():
            assert path.lstat().st_uid == accounts.userb.uid
            assert path.lstat().st_nlink == 1
            assert path.read_bytes() == source.read_bytes()
        assert state_of(store) == before
        if used == "reflink":
            large = environments[accounts.userb].site_packages / "demo/large.bin"
            assert shares_extents(large, run.entry / "files/demo/large.bin")
