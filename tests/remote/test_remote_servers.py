"""Remote stores of other makers' servers, other interpreters, and many runs at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import slices
from support.accounts import run_as, start_as
from support.environments import (
    EnvironmentFactory,
    download_wheels,
    environment_with,
    interpreters,
)
from support.index import IndexFactory, LocalIndex
from support.machines import MachineFactory
from support.object_server import SECRETS, ObjectServer
from support.probes import linux, needs
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

NAMES = ("one", "two", "three", "four", "five")
_PROCESSES = 6


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        make_wheel(wheelhouse, name, files={f"{name}/data": os.urandom(20_000)})
    make_wheel(wheelhouse, "large", files={"large/data": os.urandom(20 << 20)})
    return wheelhouse


@pytest.fixture
def pages(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels)


def test_each_object_is_got_once_for_many_runs_on_one_store(
    machine: MachineFactory, pages: LocalIndex, wheels: Path, environment: EnvironmentFactory
) -> None:
    with ObjectServer(delay=0.02) as server:
        for path in wheels.glob("*.whl"):
            server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
        one = machine("one", server.url, variables={**pages.variables, **server.variables})
        one.run("store", "init", one.store)
        others = [environment(f"other-{number}") for number in range(_PROCESSES)]
        started = [
            start_as(None, other.command("install", *NAMES, "large"), env=one.variables)
            for other in others
        ]
        outputs = [process.communicate(timeout=250) for process in started]
        assert [process.returncode for process in started] == [0] * _PROCESSES, outputs
        assert all(errors == "" for _, errors in outputs), outputs
        assert pages.wheel_requests() == []
        assert server.count("GET", "/wheels/") == len(NAMES) + 1


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


@contextmanager
def _moto(directory: Path) -> Iterator[str]:
    """moto's server; its address. All tests (--full) install it if it is not on PATH."""
    program = shutil.which("moto_server")
    if program is None:
        if slices.current() is not None:
            pytest.skip("moto_server is not on PATH")
        made = environment_with(directory / "moto", "moto[server,s3]")
        program = str(made.scripts / "moto_server")
    with open(directory / "moto.log", "wb") as log:
        words = [program, "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = ""
        for _ in range(600):
            text = (directory / "moto.log").read_text(encoding="utf-8", errors="replace")
            found = [word for word in text.split() if word.startswith("http://127.0.0.1:")]
            if found:
                address = found[0]
                break
            assert process.poll() is None, text
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


def test_servers_of_other_makers_serve_the_second_machine(
    machine: MachineFactory, pages: LocalIndex, tmp_path: Path
) -> None:
    with _moto(tmp_path) as address:
        made = urllib.request.Request(f"{address}/bucket", method="PUT")
        urllib.request.urlopen(made).close()
        variables: dict[str, str | None] = {
            **pages.variables,
            **SECRETS,
            "AWS_SESSION_TOKEN": None,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }
        first = machine("first", "s3://bucket/some/prefix", variables=variables)
        done = first.run("install", *NAMES, "large")
        assert f"Pushed {len(NAMES) + 1} wheels" in done.stdout, done.stdout + done.stderr
        pages.clear()
        second = machine("second", "s3://bucket/some/prefix", variables=variables)
        done = second.run("install", *NAMES, "large")
        assert f"Pulled {len(NAMES) + 1} wheels" in done.stdout, done.stdout + done.stderr
        assert done.stderr == ""
        assert pages.wheel_requests() == []
        assert second.installed(*NAMES, "large") == first.installed(*NAMES, "large")
        second.check_no_secrets()


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
