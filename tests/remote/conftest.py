"""Fixtures of the tests of remote stores: an interpreter with the client library, machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pip_sharedcache.model import Digest
from pip_sharedcache.remote.build_objects import write_build
from pip_sharedcache.store import Build
from support import keys
from support.environments import EnvironmentFactory, environment_with
from support.index import IndexFactory, LocalIndex
from support.machines import BUILD_KEY, FIVE, Machine, MachineFactory, SigningFactory
from support.object_server import ObjectServer
from support.wheels import digest, make_wheel


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
def wheels(wheelhouse: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with the wheels NAMES of the test module, or FIVE, each of two modules."""
    for name in getattr(request.module, "NAMES", FIVE):
        files = {f"{name}/__init__.py": f"NAME = {name!r}\n", f"{name}/more.py": "MORE = 1\n"}
        make_wheel(wheelhouse, name, files=files)
    return wheelhouse


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


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key that signs."""
    return keys.make_key(tmp_path, "key")


@pytest.fixture
def signing(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, tmp_path: Path
) -> SigningFactory:
    """signing(name, signers=lines, key=path, revoked=path): a machine with these settings.

    They are in the configuration of its interpreter: for root, other places do not count.
    """

    def make(
        name: str, signers: str = "", key: Path | None = None, revoked: Path | None = None
    ) -> Machine:
        made = machine(name, server.url, variables={**pages.variables, **server.variables})
        allowed = tmp_path / f"signers-{name}"
        allowed.write_text(signers, encoding="ascii")
        lines = ["[sharedcache]"]
        lines += [f"signers = {allowed}"] if signers else []
        lines += [f"signing-key = {key}"] if key else []
        lines += [f"revoked-signers = {revoked}"] if revoked else []
        file = made.environment.prefix / "pip.conf"
        file.write_text("\n".join(lines) + "\n", encoding="ascii")
        made.variables["PIP_CONFIG_FILE"] = None
        return made

    return make


@pytest.fixture
def full(
    signing: SigningFactory, server: ObjectServer, key: Path, wheels: Path, tmp_path: Path
) -> Machine:
    """A machine that has pushed wheels, bytecode and a resolution; a build record is there, too."""
    first: Machine = signing("first", keys.line(key), key)
    names = [path.name.partition("-")[0] for path in sorted(wheels.glob("*.whl"))]
    first.run("install", *names)
    wheel = wheels / "one-1.0-py3-none-any.whl"
    build = Build(Digest(digest(wheel)), wheel.name, {})
    write_build(tmp_path / "build", BUILD_KEY, build, key)
    server.objects[f"pip/builds/{BUILD_KEY}"] = (tmp_path / "build").read_bytes()
    assert len(server.objects) == 2 * len(names) + 2
    return first
