"""Wheels that one machine builds, signs and pushes, and another one does not build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import keys
from support.environments import NEWEST_PIP
from support.index import IndexFactory, LocalIndex
from support.machines import Machine, MachineFactory
from support.object_server import ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import make_sdist

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

BUILDS = "Building wheel for built"


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer() as running:
        yield running


@pytest.fixture
def pages(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    make_sdist(wheelhouse, "built")
    return index(wheelhouse)


@pytest.mark.parametrize("pip", ["23.0.1", NEWEST_PIP])
def test_second_machine_builds_only_without_a_signature_that_counts(
    pip: str, machine: MachineFactory, server: ObjectServer, pages: LocalIndex, tmp_path: Path
) -> None:
    key, other = keys.make_key(tmp_path, "key"), keys.make_key(tmp_path, "other")

    def make(name: str, *lines: str) -> Machine:
        variables = {**pages.variables, **server.variables}
        made = machine(name, server.url, variables=variables, pip=pip)
        made.run("store", "init", "--builds", made.store)
        file = made.environment.prefix / "pip.conf"
        file.write_text("\n".join(["[sharedcache]", *lines, ""]), encoding="ascii")
        made.variables["PIP_CONFIG_FILE"] = None
        return made

    def signers(of: Path) -> str:
        listed = tmp_path / f"signers-{of.name}"
        line = f"ci@example.org {keys.NAMESPACES} {keys.public(of)}\n"
        listed.write_text(line, encoding="ascii")
        return f"signers = {listed}"

    first = make("first", f"signing-key = {key}")
    done = first.run("install", "built")
    assert BUILDS in done.stdout
    assert "Pushed 1 build record" in done.stdout, done.stdout + done.stderr
    assert len(server.keys("builds/")) == len(server.keys("wheels/")) == 1

    second = make("second", signers(key))
    done = second.run("install", "built")
    assert BUILDS not in done.stdout, done.stdout
    assert "a build that ci@example.org signed" in done.stdout
    assert "; 1 pulled from remote stores; " in done.stdout
    assert done.stdout.count("Collecting built") == 1
    assert json.loads(second.run("store", "stats", "--json").stdout)["resolutions_reused"] == 1
    assert done.stderr == ""
    assert second.installed("built").keys() == first.installed("built").keys() != set()
    # The record is in the local store, too: the next run asks nobody.
    # (With a log file, pip judges all index pages anew, and another answer could save that.)
    second.run("install", "--force-reinstall", "--no-cache-dir", "built", PIP_LOG=None)
    requests = len(server.requests)
    done = second.run("install", "--force-reinstall", "built", PIP_LOG=None)
    assert BUILDS not in done.stdout
    assert server.requests[requests:] == []

    server.objects.clear()
    told = json.loads(first.run("store", "push", "--json").stdout)
    (remote,) = told["remotes"]
    assert (remote["pushed"], remote["build_records"], remote["present"]) == (1, 1, 0), told
    assert len(server.keys("builds/")) == 1
    (remote,) = json.loads(first.run("store", "push", "--json").stdout)["remotes"]
    assert (remote["pushed"], remote["build_records"]) == (0, 0)
    third = make("third", signers(other))
    done = third.run("install", "built")
    assert BUILDS in done.stdout
    assert len(done.stderr.splitlines()) == 1
    # It asks for the resolution first. Of one store, one refused object is named.
    assert "Remote object is not used: s3://bucket/pip/resolutions/" in done.stderr
    assert ": its key" in done.stderr
    # Nothing says that everybody can have a pulled wheel: its bytecode stays where it came from.
    (code,) = (one for one in server.objects if "/bytecode/" in one)
    del server.objects[code]
    relay = make("relay", f"signing-key = {key}", signers(key))
    relay.name_remote(server.url, "s3://bucket/other")
    done = relay.run("install", "built")
    assert BUILDS not in done.stdout, done.stdout
    assert "Pushed the bytecode of 1 wheel (" in done.stdout
    assert code in server.objects
    assert not [one for one in server.objects if one.startswith("other/") and "/byte" in one]
    fourth = make("fourth")
    done = fourth.run("install", "built")
    assert BUILDS in done.stdout
    assert done.stderr == ""
    (name,) = (one for one in server.objects if "/wheels/" in one)
    server.objects[name] = b"another wheel"
    fifth = make("fifth", signers(key))
    done = fifth.run("install", "built")
    assert BUILDS in done.stdout
    assert "it is not the wheel built-1.0" in done.stderr
    for one in (first, second, third, fourth, fifth):
        one.check_no_secrets()
