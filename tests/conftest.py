"""Fixtures for all tests, and what keeps a test from touching the machine it runs on."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import INDEX_VARIABLES, environments, probes, slices
from support.accounts import Accounts, ensure_accounts, stop_all
from support.environments import Environment, EnvironmentFactory
from support.filesystems import keep_mounts_apart, remove_tree
from support.index import IndexFactory, LocalIndex, Public

_KEPT_OF_PIP = {*INDEX_VARIABLES, "PIP_DISABLE_PIP_VERSION_CHECK"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-capabilities",
        action="store_true",
        help="a test that this machine cannot run fails (as with PIP_SHAREDCACHE_TESTS_STRICT=1)",
    )
    parser.addoption(
        "--slice",
        metavar="K/N",
        help="of each test with parameters the K-th part of N, at least one cell, and of those "
        f"marked `product` each value; `rotating`: of {slices.RUNS} parts the one that the number "
        "of commits gives (default: all tests)",
    )
    parser.addoption("--full", action="store_true", help="all tests, whatever --slice says")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*probes): skipped where a probe gives a reason")
    if config.getoption("--strict-capabilities"):
        probes.set_strict(True)
    if config.getoption("--slice") and not config.getoption("--full"):
        try:
            slices.choose(slices.parse(config.getoption("--slice")))
        except ValueError as error:
            raise pytest.UsageError(f"--slice: {error}") from error
    keep_mounts_apart()
    # Started in the background of a script it is ignored, and so it would be by all that is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    chosen = slices.current()
    if chosen is None:
        return "tests with parameters: every cell"
    return f"tests with parameters: slice {chosen}; this one again: --slice {chosen}; all: --full"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = slices.current()
    if chosen is None:
        return
    functions: dict[str, dict[str, dict[str, object]]] = {}
    every: dict[str, Collection[str]] = {}
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            name = item.nodeid.partition("[")[0]
            functions.setdefault(name, {})[item.nodeid] = item.callspec.params
            mark = item.get_closest_marker("product")
            every[name] = (mark.args or item.callspec.params) if mark else ()
    left = {
        cell
        for name, cells in functions.items()
        for cell in cells.keys() - slices.taken(slices.numbered(cells), chosen, every[name])
    }
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left])
    items[:] = [item for item in items if item.nodeid not in left]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Before the fixtures of modules, which make environments.
    environments.keep_authorities(item.get_closest_marker("network") is not None)
    for mark in item.iter_markers("needs"):
        probes.require(*mark.args)


@pytest.fixture(autouse=True)
def _restored_umask() -> Iterator[None]:
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _no_processes_left() -> Iterator[None]:
    yield
    stop_all()


@pytest.fixture(autouse=True)
def _own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home, caches and configuration are throw-away; no setting of ours or of pip's is left."""
    home = tmp_path_factory.mktemp("home")
    for variable in list(os.environ):
        if variable.startswith("PIP_") and variable not in _KEPT_OF_PIP:
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HOME", str(home))
    for variable, place in (
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_CONFIG_DIRS", "etc/xdg"),
        ("XDG_DATA_DIRS", "usr/share"),
    ):
        monkeypatch.setenv(variable, str(home / place))


@pytest.fixture
def shared_tmp() -> Iterator[Path]:
    """A temporary directory that every user can reach and read (tmp_path is 0700)."""
    base = environments.public_directory()
    directory = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=base))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        # What still runs may hold files or mounts in there.
        stop_all()
        remove_tree(directory)


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    """An empty directory for wheels."""
    directory = tmp_path / "wheelhouse"
    directory.mkdir()
    return directory


@pytest.fixture
def index() -> Iterator[IndexFactory]:
    """A factory of running package indexes."""
    with ExitStack() as running:

        def start(
            directory: Path,
            *,
            hashes: bool = True,
            metadata: bool = True,
            credentials: tuple[str, str] | None = None,
            delay: float = 0,
            public: Public | None = None,
        ) -> LocalIndex:
            return running.enter_context(
                LocalIndex(
                    directory,
                    hashes=hashes,
                    metadata=metadata,
                    credentials=credentials,
                    delay=delay,
                    public=public,
                )
            )

        yield start


@pytest.fixture
def environment(tmp_path: Path) -> EnvironmentFactory:
    """A factory of virtual environments with pip and our command."""
    probes.require(probes.linux)

    def make(
        path: str | Path = "environment",
        *,
        python: Path | None = None,
        pip: str | None = None,
        ours: bool = True,
    ) -> Environment:
        return environments.make_environment(tmp_path / path, python=python, pip=pip, ours=ours)

    return make


@pytest.fixture(scope="session")
def accounts() -> Accounts:
    """The users usera and userb (in the group pkgshare) and userc (not in it)."""
    probes.require(probes.accounts)
    return ensure_accounts()


@pytest.fixture(scope="session")
def public_python() -> Iterator[Path]:
    """An interpreter that every user may run: base of environments for other accounts."""
    with environments.public_python() as python:
        yield python
