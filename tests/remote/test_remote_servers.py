"""Remote stores of other makers' servers, other interpreters, and many runs at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import keys
from support.accounts import run_as
from support.bucket_servers import BUCKET_SERVERS, bucket_server, nginx, web_server
from support.environments import (
    EnvironmentFactory,
    download_wheels,
    interpreters,
)
from support.index import IndexFactory, LocalIndex
from support.index_server import make_certificate
from support.machines import Machine, MachineFactory, SigningFactory
from support.object_server import ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three", "four", "five")


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        make_wheel(wheelhouse, name, files={f"{name}/data": os.urandom(20_000)})
    make_wheel(wheelhouse, "large", files={"large/data": os.urandom(20 << 20)})
    return wheelhouse


@pytest.fixture
def pages(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels)


def test_pip_of_an_interpreter_without_the_library_uses_that_of_ours(
    machine: MachineFactory, pages: LocalIndex, wheels: Path, environment: EnvironmentFactory
) -> None:
    with ObjectServer() as server:
        for path in wheels.glob("*.whl"):
            server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
        one = machine("one", server.url, variables={**pages.variables, **server.variables})
        del one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"]
        library = download_wheels(["obstore"], no_deps=False)
        install = one.environment.plain("install", "--quiet", "--no-index", "--no-deps", *library)
        run_as(None, install, check=True)
        other = environment("other", ours=False)
        done = one.run("--python", other.prefix, "install", *NAMES)
        assert f"Pulled {len(NAMES)} wheels" in done.stdout, done.stdout + done.stderr
        assert pages.wheel_requests() == []


@pytest.mark.parametrize("source", ["index", "find-links"])
def test_library_beside_pip_is_used_for_a_push(
    source: str, machine: MachineFactory, pages: LocalIndex, wheels: Path
) -> None:
    """pip 26.3 refuses imports, and the search for modules, once it installs."""
    with ObjectServer() as server:
        one = machine("one", server.url, variables={**pages.variables, **server.variables})
        del one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"]
        library = download_wheels(["obstore"], no_deps=False)
        install = one.environment.plain("install", "--quiet", "--no-index", "--no-deps", *library)
        run_as(None, install, check=True)
        options = ["--no-index", "--find-links", str(wheels)] if source == "find-links" else []
        done = one.run("install", *options, *NAMES)
        assert done.stderr == ""
        # Wheels of a directory have no digest of an index.
        pushed = 0 if source == "find-links" else len(NAMES)
        assert (f"Pushed {pushed} wheels" in done.stdout) == bool(pushed), done.stdout
        assert len(server.keys()) == pushed


_PLANT = """
import sys
import obstore
from obstore.store import LocalStore, from_url
where = sys.argv[1]
if where.startswith("file://"):
    store = LocalStore(where[len("file://"):])
else:
    store = from_url(where, client_options={"allow_http": True})
obstore.put(store, "wheels/" + "e" * 64, b"no wheel")
"""


def _check_commands(one: Machine, count: int) -> None:
    """The remote store can be counted, checked, and freed of a wrong object; all else stays."""
    before = json.loads(one.run("store", "stats", "--remote", "--json").stdout)["remotes"][0]
    assert (before["wheels"], before["ignored"]) == (count, 0)
    library = str(one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"])
    run_as(None, [library, "-c", _PLANT, one.remote], env=one.variables, check=True)
    done = one.attempt("store", "verify", "--remote", "--fix")
    assert done.returncode == 1
    assert ": 1 damaged, 1 of them deleted." in done.stdout, done.stdout + done.stderr
    after = json.loads(one.run("store", "stats", "--remote", "--json").stdout)["remotes"][0]
    assert after == before
    done = one.run("store", "gc", "--remote", "--max-size", "0")
    assert "Deleted no object" in done.stdout, "nothing is an hour old"
    one.check_no_secrets()


@pytest.mark.parametrize("name", [*BUCKET_SERVERS])
def test_servers_of_other_makers_serve_the_second_machine(
    name: str, signing: SigningFactory, key: Path, pages: LocalIndex, tmp_path: Path
) -> None:
    with bucket_server(name, tmp_path) as address:
        first, second = signing("first", key=key), signing("second", keys.line(key))
        for one in (first, second):
            one.variables.update(AWS_SESSION_TOKEN=None, AWS_ENDPOINT_URL=address)
            one.name_remote("s3://bucket/some/prefix")
        done = first.run("install", *NAMES, "large")
        pushed = done.stdout
        assert f"Pushed {len(NAMES) + 1} wheels" in pushed, done.stdout + done.stderr
        assert f"Pushed the bytecode of {len(NAMES) + 1} wheels" in pushed, pushed
        assert "Pushed 1 resolution" in pushed, pushed
        pages.clear()
        done = second.run("install", *NAMES, "large")
        assert f"Pulled {len(NAMES) + 1} wheels" in done.stdout, done.stdout + done.stderr
        assert done.stderr == ""
        assert pages.wheel_requests() == []
        told = json.loads(second.run("store", "stats", "--json").stdout)
        assert (told["compiled"], told["resolutions_reused"]) == (0, 1)
        assert second.installed(*NAMES, "large").keys() == first.installed(*NAMES, "large").keys()
        second.check_no_secrets()
        # What is there already is not put again.
        again = json.loads(first.run("store", "push", "--json").stdout)["remotes"][0]
        assert (again["pushed"], again["bytecode"]) == (0, 0)
        _check_commands(first, len(NAMES) + 1)


@needs(nginx)
def test_web_server_of_another_maker_serves_copies_of_the_objects(
    signing: SigningFactory, server: ObjectServer, key: Path, pages: LocalIndex, tmp_path: Path
) -> None:
    signing("first", key=key).run("install", *NAMES, "large")
    for name, data in server.objects.items():
        path = tmp_path / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    certificate = make_certificate(tmp_path / "certificate")
    pages.clear()
    with web_server(tmp_path / "www", certificate, tmp_path) as address:
        second = signing("second", keys.line(key))
        second.variables["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
        second.name_remote(f"{address}/pip read-only")
        done = second.run("install", *NAMES, "large")
    assert done.stderr == ""
    assert f"Pulled {len(NAMES) + 1} wheels" in done.stdout
    assert pages.wheel_requests() == []
    told = json.loads(second.run("store", "stats", "--json").stdout)
    assert (told["compiled"], told["resolutions_reused"]) == (0, 1)


def test_oldest_interpreter_has_an_older_library_which_serves(
    machine: MachineFactory, pages: LocalIndex, environment: EnvironmentFactory
) -> None:
    version, oldest = next(iter(interpreters().items()))
    made = environment("oldest", python=oldest, ours=False)
    library = download_wheels(["obstore"], python_version=version, no_deps=False)
    install = made.plain("install", "--quiet", "--no-index", "--no-deps", *library)
    run_as(None, install, check=True)
    with ObjectServer() as server:
        variables = {**pages.variables, **server.variables}
        first = machine("first", server.url, variables=variables)
        first.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"] = str(made.python)
        assert "Pushed 6 wheels" in first.run("install", *NAMES, "large").stdout
        pages.clear()
        second = machine("second", server.url, variables=variables)
        second.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"] = str(made.python)
        assert "Pulled 6 wheels" in second.run("install", *NAMES, "large").stdout
        assert pages.wheel_requests() == []
        _check_commands(second, 6)


def test_directory_serves_as_remote_store(
    machine: MachineFactory, pages: LocalIndex, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/bucket"
    first = machine("first", url, variables=pages.variables)
    assert "Pushed 6 wheels" in first.run("install", *NAMES, "large").stdout
    pages.clear()
    second = machine("second", url, variables=pages.variables)
    assert "Pulled 6 wheels" in second.run("install", *NAMES, "large").stdout
    assert pages.wheel_requests() == []
    _check_commands(second, 6)
