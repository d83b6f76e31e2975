"""Fixtures of the tests of remote stores: an interpreter with the client library, machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.environments import EnvironmentFactory, environment_with
from support.index import IndexFactory, LocalIndex
from support.machines import Machine, MachineFactory
from support.object_server import ObjectServer


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has obstore."""
    return environment_with(tmp_path_factory.mktemp("library") / "environment", "obstore").python


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    """An object store that runs."""
    with ObjectServer() as running:
        yield running


@pytest.fixture
def pages(index: IndexFactory, wheels: Path) -> LocalIndex:
    """The index of the wheels that the test module makes."""
    return index(wheels)


@pytest.fixture
def machine(tmp_path: Path, environment: EnvironmentFactory, library: Path) -> MachineFactory:
    """machine(name, *remotes, variables): a new machine whose setting dir has these remotes."""

    def make(
        name: str, *remotes: str, variables: Mapping[str, str | None], pip: str | None = None
    ) -> Machine:
        home, store = tmp_path / f"home-{name}", tmp_path / f"store-{name}"
        home.mkdir()
        store.mkdir()
        given = {
            **variables,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PIP_SHAREDCACHE_REMOTE_PYTHON": str(library),
        }
        made = Machine(environment(name, pip=pip), store, home, given)
        made.name_remote(*remotes)
        return made

    return make
