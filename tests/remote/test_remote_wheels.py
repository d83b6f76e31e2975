"""Wheels that one machine pushes to an object store, and another one pulls."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from support.faults import visible_entries
from support.index import IndexFactory, LocalIndex
from support.index_server import make_certificate
from support.machines import MachineFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

NAMES = ("one", "two", "three", "four", "five", "large")


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        files: dict[str, bytes | str] = {f"{name}/__init__.py": f"NAME = {name!r}\n"}
        if name == "large":
            files[f"{name}/data.bin"] = os.urandom(9 << 20)
        make_wheel(wheelhouse, name, files=files)
    return wheelhouse


@pytest.mark.parametrize("pip", ["23.0.1", "25.1", "26.3"])
def test_second_machine_needs_no_wheel_of_the_index(
    pip: str, machine: MachineFactory, server: ObjectServer, pages: LocalIndex, wheels: Path
) -> None:
    variables = {**pages.variables, **server.variables}
    first = machine("first", server.url, variables=variables, pip=pip)
    done = first.run("install", *NAMES)
    assert f"Pushed {len(NAMES)} wheels" in done.stdout, done.stdout
    digests = {digest(path): path for path in wheels.glob("*.whl")}
    assert server.keys() == sorted(f"wheels/{one}" for one in digests)
    for one, path in digests.items():
        assert server.objects[f"pip/wheels/{one}"] == path.read_bytes()

    pages.clear()
    second = machine("second", server.url, variables=variables, pip=pip)
    done = second.run("install", *NAMES)
    assert f"Pulled {len(NAMES)} wheels" in done.stdout, done.stdout
    assert "Pushed" not in done.stdout
    count = len(NAMES)
    told = f"0 of {count} distributions from {second.store}; {count} added to it"
    assert f"{told}; {count} pulled from remote stores; " in done.stdout
    assert "not downloaded" not in done.stdout, "all was, from the bucket"
    stats = json.loads(second.run("store", "stats", "--json", "--by", "package").stdout)
    assert (stats["found"], stats["added"], stats["pulled"]) == (0, count, count)
    assert {row["pulled"] for row in stats["groups"]} == {1}
    assert f"; {count} pulled from remote stores\n" in second.run("store", "stats").stdout
    assert pages.wheel_requests() == []
    assert len(visible_entries(second.store)) == len(visible_entries(first.store))
    assert second.installed(*NAMES) == first.installed(*NAMES) != {}
    requests = len(server.requests)
    again = machine("again", server.url, variables=variables, pip=pip)
    again.variables["PIP_SHAREDCACHE_DIR"] = f"{second.store}\n{server.url}"
    again.run("install", *NAMES)
    assert len(server.requests) == requests, "all is in the local store"
    for each in (first, second, again):
        each.check_no_secrets()


@pytest.mark.parametrize("pip", ["23.0.1", "25.1", "26.3"])
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "wheels alone"])
def test_what_is_pulled_costs_one_line(
    metadata: bool,
    pip: str,
    machine: MachineFactory,
    server: ObjectServer,
    index: IndexFactory,
    wheels: Path,
) -> None:
    """Without metadata of the index, pip's resolver comes to one wheel after the other."""
    wanted = ["top", *NAMES]
    make_wheel(wheels, "top", requires=list(NAMES))
    pages = index(wheels, metadata=metadata)
    for path in wheels.glob("*.whl"):
        server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
    one = machine("one", server.url, variables={**pages.variables, **server.variables}, pip=pip)
    done = one.run("install", "top")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Pulled ")]
    size = sum(path.stat().st_size for path in wheels.glob("*.whl"))
    assert line == f"Pulled {len(wanted)} wheels ({size / 1e6:.1f} MB) from {server.url}"
    assert pages.wheel_requests() == []
    log = (one.home / "pip.log").read_text(encoding="utf-8")
    batch = f"{len(wanted)} wheels of {len(wanted)} are in {server.url}"
    assert log.count(batch) == metadata
    assert log.count(f"1 wheels of 1 are in {server.url}") == (0 if metadata else len(wanted))


def test_nothing_is_started_where_nothing_is_missed(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, tmp_path: Path
) -> None:
    """Nor is the client imported: a script that stands for the interpreter leaves a mark."""
    variables = {**pages.variables, **server.variables}
    first = machine("first", server.url, variables=variables)
    mark, python = tmp_path / "mark", tmp_path / "python"
    real = first.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"]
    python.write_text(f'#!/bin/sh\ntouch {mark}\nexec {real} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    first.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"] = str(python)
    first.run("install", "one")
    assert mark.exists()
    mark.unlink()
    for arguments in (["install", "one"], ["install", "--force-reinstall", "one"], ["list"]):
        done = first.run(*arguments, PYTHONPROFILEIMPORTTIME="1")
        assert not mark.exists(), arguments
        assert "pip_sharedcache.remote" not in done.stderr
    first.run("uninstall", "-y", "one")
    assert not mark.exists()


def test_wheels_of_no_index_and_offline_runs_stay_here(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, wheels: Path
) -> None:
    variables = {**pages.variables, **server.variables}
    first = machine("first", server.url, variables=variables)
    first.run("install", wheels / "one-1.0-py3-none-any.whl")
    first.attempt("--offline", "install", "two")
    assert server.requests == []


def test_read_only_remote_store_gets_nothing(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, wheels: Path
) -> None:
    variables = {**pages.variables, **server.variables}
    first = machine("first", f"{server.url} read-only", variables=variables)
    wheel = wheels / "two-1.0-py3-none-any.whl"
    server.objects[f"pip/wheels/{digest(wheel)}"] = wheel.read_bytes()
    done = first.run("install", "one", "two")
    assert "Pulled 1 wheel" in done.stdout
    assert server.keys() == [f"wheels/{digest(wheel)}"]
    assert server.count("PUT") == 0
    assert [path.rpartition("/")[2] for path in pages.wheel_requests()] == [
        "one-1.0-py3-none-any.whl"
    ]


def test_pip_download_takes_wheels_from_the_remote_store(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, wheels: Path, tmp_path: Path
) -> None:
    variables = {**pages.variables, **server.variables}
    first = machine("first", server.url, variables=variables)
    wheel = wheels / "two-1.0-py3-none-any.whl"
    server.objects[f"pip/wheels/{digest(wheel)}"] = wheel.read_bytes()
    target = tmp_path / "target"
    done = first.run("download", "-d", target, "two")
    assert done.stdout.count("Pulled 1 wheel (") == 1
    assert (target / wheel.name).read_bytes() == wheel.read_bytes()
    assert (target / wheel.name).stat().st_mode & 0o777 == 0o644
    assert pages.wheel_requests() == []


def test_wheels_come_from_a_web_server_with_the_password_of_netrc(
    machine: MachineFactory, pages: LocalIndex, wheels: Path, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "certificate")
    with ObjectServer(certificate=certificate, credentials=("me", "kept-secret")) as server:
        for path in wheels.glob("*.whl"):
            server.objects[f"pip/wheels/{digest(path)}"] = path.read_bytes()
        variables = {**pages.variables, "REQUESTS_CA_BUNDLE": str(certificate.authority)}
        one = machine("one", server.web_url, variables=variables)
        del one.variables["PIP_SHAREDCACHE_REMOTE_PYTHON"]  # nothing of obstore is needed
        netrc = one.home / ".netrc"
        netrc.write_text("machine localhost login me password kept-secret\n", encoding="utf-8")
        netrc.chmod(0o600)
        done = one.run("-v", "install", *NAMES)
        assert f"Pulled {len(NAMES)} wheels" in done.stdout
        assert pages.wheel_requests() == []
        assert "kept-secret" not in "".join(one.outputs)
        assert server.count("PUT") + server.count("HEAD") == 0
        # No copies in pip's HTTP cache, which would double the writes.
        assert not list((one.home / "cache" / "pip").rglob("*.body"))


def test_store_push_puts_what_is_not_there(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, wheels: Path
) -> None:
    variables = {**pages.variables, **server.variables}
    one = machine("one", variables=variables)
    one.run("install", *NAMES)
    failed = one.attempt("store", "push")
    assert failed.returncode == 2
    assert "the setting dir names no remote store" in failed.stderr
    one.name_remote(server.url)
    told = json.loads(one.run("store", "push", "--json", "one").stdout)
    assert told["remotes"][0]["pushed"] == 1
    told = json.loads(one.run("store", "push", "--json").stdout)
    (remote,) = told["remotes"]
    assert (remote["url"], remote["pushed"], remote["present"]) == (server.url, len(NAMES) - 1, 1)
    assert len(server.keys("wheels/")) == len(NAMES)
    # A damaged wheel is not put under the name of a sound one.
    server.objects.clear()
    (wheel,) = one.store.glob("wheels/*/*/two-*.whl")
    wheel.chmod(0o644)
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"?")
    done = one.attempt("store", "push")
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "Not pushed" in line)
    assert str(wheel.parent) in line
    done = one.attempt("store", "push", "--all")
    assert done.returncode == 1
    assert done.stderr.count("it is not the expected one") == 1, done.stderr
    assert len(server.keys("wheels/")) == len(NAMES) - 1
    server.fault = lambda key: Fault(403, verbs=("GET", "HEAD", "PUT"))
    done = one.attempt("store", "push")
    assert done.returncode == 1
    assert "Not all was pushed: s3://bucket/pip: the server refuses access" in done.stderr
    one.check_no_secrets()


def test_doctor_tries_each_remote_store(
    machine: MachineFactory, server: ObjectServer, pages: LocalIndex, tmp_path: Path
) -> None:
    variables = {**pages.variables, **server.variables, "PIP_SHAREDCACHE_REMOTE_TIMEOUT": "2"}
    certificate = make_certificate(tmp_path / "certificate")
    variables["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
    with ObjectServer(certificate=certificate) as web:
        one = machine("one", server.url, web.web_url, variables=variables)
        one.run("install", "one")
        done = one.attempt("store", "doctor")
        assert f"{server.url} (publish): can be read and written; " in done.stdout, done.stdout
        assert f"{web.web_url} (read-only): can be read; " in done.stdout
        assert "MB a second" in done.stdout
        assert "Remote store" not in done.stdout
        assert "The clock of" not in done.stdout
        told = json.loads(one.attempt("store", "doctor", "--json").stdout)
        rows = told["facts"]["remotes"]
        assert [row["works"] for row in rows] == [True, True]
        assert rows[0]["rate"] > 0
        assert [row["lists"] for row in rows] == [True, None]
        assert [abs(row["clock_ahead"]) <= 1 for row in rows] == [True, True]
        assert server.keys("probe") == ["probe", "probe-1mb"]
        assert web.keys() == []
        # Installations list nothing: the exit status stays.
        before = one.attempt("store", "doctor")
        server.fault = lambda key: Fault(403, verbs=("LIST",))
        done = one.attempt("store", "doctor")
        assert done.returncode == before.returncode
        assert "MB a second; cannot be listed" in done.stdout
        assert f"Remote store cannot be listed: {server.url}: the server refuses" in done.stdout
        assert "need that; installations do not." in done.stdout
        told = json.loads(one.attempt("store", "doctor", "--json").stdout)
        assert [row["lists"] for row in told["facts"]["remotes"]] == [False, None]
        assert [row["works"] for row in told["facts"]["remotes"]] == [True, True]
        minor = [finding["name"] for finding in told["findings"] if finding["minor"]]
        assert minor == ["remote-listing"]
        server.fault = lambda key: None
        server.clock, web.clock = 3700.0, -86400.0
        done = one.attempt("store", "doctor")
        # The times of a server are whole seconds.
        assert re.search(rf"clock of {server.url} is 3(700|699) seconds ahead of", done.stdout)
        assert re.search(rf"clock of {web.web_url} is 8640[01] seconds behind that", done.stdout)
        server.clock = 0.0
        web.fault = lambda key: Fault(403)
        done = one.attempt("store", "doctor")
        assert f"Remote store is not used: {web.web_url}: the server refuses" in done.stdout
        one.name_remote(server.url)
    for fault, expected in (
        (Fault(403, verbs=("PUT",)), "Remote store cannot be written: s3://bucket/pip: the server"),
        (Fault(403), "Remote store is not used: s3://bucket/pip: the server refuses access"),
        (Fault(hang=60), "s3://bucket/pip: the server gave no answer in 2 seconds"),
    ):
        server.fault = lambda key, fault=fault: fault  # type: ignore[misc]
        done = one.attempt("store", "doctor")
        assert done.returncode == 1
        assert expected in done.stdout + done.stderr, done.stdout + done.stderr
    one.check_no_secrets()
