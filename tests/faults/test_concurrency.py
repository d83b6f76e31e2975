"""Many installs of the same cold packages at once: all succeed, one entry is seen, and whole."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.accounts import Account, Accounts, home_of, run_as, start_as
from support.environments import Environment, make_environment, public_directory
from support.faults import (
    faults_of_distribution,
    faults_of_entry,
    faults_of_store,
    leftovers,
    visible_entries,
)
from support.filesystems import mounted, remove_tree
from support.index import IndexFactory, LocalIndex
from support.probes import accounts as accounts_probe
from support.probes import needs, tmpfs
from support.wheels import digest, make_wheel

pytestmark = [
    pytest.mark.multiuser,
    pytest.mark.filesystem,
    needs(accounts_probe, tmpfs),
]

PROCESSES = 8
# Each test has its own, so that they are cold and the environments can be shared.
OF_GROUP = [f"cold{number}" for number in range(6)]
OF_ALL = [f"open{number}" for number in range(6)]
LARGE = {"group-store": "large", "open-directory": "bulky"}
LARGE_FILES = 3000
# Said where somebody else's entry was found whose owner is not trusted.
CHECKED = re.compile(r"WARNING: .*user[ab] is not trusted there")


@dataclass(frozen=True)
class Installer:
    """A user with an environment of its own, as often as there are processes."""

    account: Account
    environment: Environment


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small packages, and two that take long to publish."""
    directory = tmp_path_factory.mktemp("wheels")
    for name in (*OF_GROUP, *OF_ALL):
        make_wheel(directory, name, entry_points=f"[console_scripts]\n{name} = {name}:main\n")
    for name in LARGE.values():
        files = {f"{name}/part{n % 40}/data{n}.txt": f"{n}\n" * 20 for n in range(LARGE_FILES)}
        make_wheel(directory, name, files={f"{name}/__init__.py": "", **files})
    return directory


@pytest.fixture
def index_of_wheels(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels)


@pytest.fixture(scope="module")
def environments_place() -> Iterator[Path]:
    """Many environments, in memory: the stores alone are on a disk."""
    directory = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=public_directory()))
    directory.chmod(0o755)
    try:
        with mounted("tmpfs", directory, size_mb=1024) as place:
            yield place
    finally:
        remove_tree(directory)


@pytest.fixture(scope="module")
def installers(
    accounts: Accounts, public_python: Path, environments_place: Path
) -> list[Installer]:
    """Two users, each with half of the environments."""
    found = []
    for number in range(PROCESSES):
        account = (accounts.usera, accounts.userb)[number % 2]
        home_of(account, environments_place)
        environment = make_environment(environments_place / f"e{number}", python=public_python)
        for directory, _, files in os.walk(environment.prefix):
            for path in [directory, *(os.path.join(directory, name) for name in files)]:
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
        found.append(Installer(account, environment))
    return found


def _settings(index: LocalIndex, store: Path) -> dict[str, str | None]:
    return {
        "PIP_NO_CACHE_DIR": "1",
        "PIP_INDEX_URL": index.url,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_SHAREDCACHE_DIR": str(store),
    }


@pytest.fixture
def group_store(accounts: Accounts, installers: list[Installer], shared_tmp: Path) -> Path:
    store = shared_tmp / "store"
    command = installers[0].environment.command(
        "store", "init", "--layout", "tree", store, "--group", accounts.group
    )
    run_as(None, command, check=True)
    return store


@pytest.fixture
def open_directory(shared_tmp: Path) -> Path:
    """A store made by hand: everybody may write, nobody is trusted."""
    store = shared_tmp / "open"
    store.mkdir()
    store.chmod(0o1777)
    return store


class Reader:
    """Looks at a store without a pause, and remembers what was not whole when it was seen."""

    def __init__(self, store: Path) -> None:
        self.faults: list[str] = []
        self.seen: set[str] = set()
        self.looks = 0
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            self.looks += 1
            for entry in visible_entries(self._store):
                if entry.name not in self.seen:
                    # Whole at the first sight: what is seen later was there before.
                    self.seen.add(entry.name)
                    self.faults += faults_of_entry(entry)


def _install_all(
    installers: list[Installer], settings: dict[str, str | None], *packages: str
) -> None:
    """All at once, each into its own environment; every one must succeed."""
    running = [
        start_as(one.account, one.environment.command("install", *packages), env=settings)
        for one in installers
    ]
    # One thread for each: a full pipe must not hold up one of them.
    outputs: list[tuple[str, str]] = [("", "")] * len(running)

    def wait(number: int) -> None:
        outputs[number] = running[number].communicate(timeout=300)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(len(running))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process, (stdout, stderr) in zip(running, outputs):
        assert process.returncode == 0, stdout + stderr
        assert "Successfully installed" in stdout
        assert [line for line in stderr.splitlines() if not CHECKED.search(line)] == []


def _check_environments(installers: list[Installer], *packages: str) -> None:
    for one in installers:
        for package in packages:
            library = one.environment.site_packages
            assert not faults_of_distribution(library, f"{package}-1.0.dist-info")
        assert not list(one.environment.site_packages.glob("*.installing"))


def _check_store(store: Path, wheels: Path, *packages: str) -> Counter[str]:
    """Nothing left over, all whole, one entry a publisher; how many there are of each digest."""
    assert not leftovers(store)
    assert not faults_of_store(store)
    entries = visible_entries(store)
    published = Counter((entry.lstat().st_uid, entry.name[:64]) for entry in entries)
    assert set(published.values()) == {1}, published
    digests = {digest(wheels / f"{package}-1.0-py3-none-any.whl") for package in packages}
    assert {entry.name[:64] for entry in entries} == digests
    return Counter(entry.name[:64] for entry in entries)


def test_cold_packages_at_once_in_a_group_store_give_one_entry_each(
    installers: list[Installer], group_store: Path, index_of_wheels: LocalIndex, wheels: Path
) -> None:
    with Reader(group_store) as reader:
        _install_all(installers, _settings(index_of_wheels, group_store), *OF_GROUP)
    assert not reader.faults
    assert reader.looks
    entries = _check_store(group_store, wheels, *OF_GROUP)
    # Members trust each other: nobody adds what another has published.
    assert set(entries.values()) == {1}
    _check_environments(installers, *OF_GROUP)


def test_cold_packages_at_once_in_an_open_directory_give_one_entry_a_publisher(
    installers: list[Installer],
    open_directory: Path,
    index_of_wheels: LocalIndex,
    wheels: Path,
    accounts: Accounts,
) -> None:
    with Reader(open_directory) as reader:
        _install_all(installers, _settings(index_of_wheels, open_directory), *OF_ALL)
    assert not reader.faults
    entries = _check_store(open_directory, wheels, *OF_ALL)
    assert set(entries.values()) <= {1, 2}
    owners = {entry.lstat().st_uid for entry in visible_entries(open_directory)}
    assert owners <= {accounts.usera.uid, accounts.userb.uid}
    _check_environments(installers, *OF_ALL)


@pytest.mark.parametrize("kind", sorted(LARGE))
def test_wheel_of_thousands_of_files_is_never_seen_half_made(
    kind: str,
    installers: list[Installer],
    index_of_wheels: LocalIndex,
    wheels: Path,
    request: pytest.FixtureRequest,
) -> None:
    store: Path = request.getfixturevalue(kind.replace("-", "_"))
    with Reader(store) as reader:
        _install_all(installers, _settings(index_of_wheels, store), LARGE[kind])
    assert not reader.faults
    assert reader.seen
    _check_store(store, wheels, LARGE[kind])
    _check_environments(installers, LARGE[kind])
