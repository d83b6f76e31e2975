"""Resolutions that one machine signs and pushes, and another one reuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import keys
from support.index import IndexFactory, LocalIndex, Public
from support.machines import Machine, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

#: What `top` requires: pip goes back from the newest shared and side.
NAMES = ("top", "side", "shared")
VERSIONS = {"top": "2.0", "side": "1.0", "shared": "1.5"}


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    make_wheel(wheelhouse, "top", "2.0", requires=["side", "shared"])
    make_wheel(wheelhouse, "side", "1.0", requires=["shared<2"])
    make_wheel(wheelhouse, "side", "2.0", requires=["shared<1"])
    make_wheel(wheelhouse, "shared", "1.5")
    make_wheel(wheelhouse, "shared", "2.0")
    return wheelhouse


@pytest.fixture
def pages(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels, public=Public())


def _versions(machine: Machine) -> dict[str, str]:
    listed = json.loads(machine.python("-m", "pip", "list", "--format=json").stdout)
    return {one["name"]: one["version"] for one in listed if one["name"] in NAMES}


def _reused(machine: Machine) -> int:
    """How many runs of a machine reused a resolution."""
    told = json.loads(machine.run("store", "stats", "--json").stdout)
    return int(told["resolutions_reused"])


def test_second_machine_resolves_with_what_the_first_one_signed(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path
) -> None:
    first = signing("first", key=key)
    done = first.run("install", "top")
    assert "Pushed 1 resolution" in done.stdout, done.stdout + done.stderr
    assert len(server.keys("resolutions/")) == 1
    second = signing("second", keys.line(key))
    pages.clear()
    done = second.run("install", "top")
    assert done.stderr == ""
    assert "Pulled 3 wheels" in done.stdout
    assert _versions(second) == _versions(first) == VERSIONS
    assert _reused(second) == 1
    # Each page is confirmed; no page is sent, no wheel, and only metadata of what pip discards.
    assert pages.count("page") == pages.count("page", 304) == len(NAMES)
    asked = {path.rpartition("/")[2] for path in pages.metadata_requests()}
    assert asked <= {f"{name}-2.0-py3-none-any.whl.metadata" for name in ("side", "shared")}
    assert pages.count("file") == 0
    # The local store has the resolution now, with its signature.
    requests = len(server.requests)
    third = signing("third", keys.line(key))
    third.store = second.store
    third.name_remote(server.url)
    assert third.run("install", "top").stderr == ""
    assert _reused(third) == 2
    assert len(server.requests) == requests
    # It counts no longer than the key.
    fourth = signing("fourth", keys.line(key, options='valid-before="20200101"'))
    fourth.store = second.store
    fourth.name_remote()
    assert fourth.run("install", "top").stderr == ""
    assert _versions(fourth) == VERSIONS
    assert _reused(fourth) == 2
    told = json.loads(third.run("store", "verify", "--signatures", "--json").stdout)
    assert len(told["signatures"]) == 1, told
    for one in (first, second):
        one.check_no_secrets()


def test_resolution_without_a_signature_that_counts_is_not_used(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path, tmp_path: Path
) -> None:
    """Pip's result, and one line."""
    other = keys.make_key(tmp_path, "other")
    signing("first", key=key).run("install", "top")
    (name,) = (one for one in server.objects if "/resolutions/" in one)
    sound = server.objects[name]
    old = sound.replace(b"shared-1.5", b"shared-0.5")
    assert old != sound
    cases: dict[str, tuple[str, bytes]] = {
        "another signer": (keys.line(other), sound),
        "expired": (keys.line(key, options='valid-before="20200101"'), sound),
        "older version": (keys.line(key), old),
        "cut": (keys.line(key), sound[: len(sound) // 2]),
        "noise": (keys.line(key), b"\xff" * 5000),
    }
    failures = []
    for case, (signers, data) in cases.items():
        server.objects[name] = data
        second = signing(case.replace(" ", "-"), signers)
        done = second.run("install", "top")
        told = [line for line in done.stderr.splitlines() if "Remote object is not used: " in line]
        if len(told) != 1 or server.url not in told[0]:
            failures.append(f"{case}: {done.stderr!r}")
        if _versions(second) != VERSIONS or _reused(second):
            failures.append(f"{case}: {_versions(second)} {_reused(second)}")
    assert not failures, "\n".join(failures)


def test_resolution_of_an_older_index_leads_to_nothing_old(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path, wheels: Path
) -> None:
    """An old object that is put back, soundly signed, is noticed by the pages of the index."""
    signing("first", key=key).run("install", "top")
    old = dict(server.objects)
    make_wheel(wheels, "shared", "1.9")
    second = signing("second", keys.line(key), key)
    done = second.run("install", "top")
    assert _versions(second) == {**VERSIONS, "shared": "1.9"}
    assert _reused(second) == 0
    # What this machine has recorded takes the place of what did not count.
    assert "Pushed 1 resolution" in done.stdout
    (name,) = (one for one in old if "/resolutions/" in one)
    assert server.objects[name] != old[name]
    third = signing("third", keys.line(key))
    third.run("install", "top")
    assert _versions(third)["shared"] == "1.9"
    assert _reused(third) == 1
    server.objects.update(old)
    fourth = signing("fourth", keys.line(key))
    assert fourth.run("install", "top").stderr == ""
    assert _versions(fourth)["shared"] == "1.9"
    assert _reused(fourth) == 0


def test_what_came_from_a_private_place_is_not_pushed(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path, wheels: Path
) -> None:
    first = signing("first", key=key)
    make_wheel(wheels / "private", "own", requires=["shared"])
    (wheels / "private").chmod(0o700)
    done = first.run("install", "--find-links", wheels / "private", "own")
    assert "resolution" not in done.stdout, done.stdout
    assert server.keys("resolutions/") == []


def test_wheel_that_the_remote_store_lacks_is_downloaded(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path
) -> None:
    signing("first", key=key).run("install", "top")
    for name in [one for one in server.objects if "/wheels/" in one][:2]:
        del server.objects[name]
    second = signing("second", keys.line(key))
    pages.clear()
    done = second.run("install", "top")
    assert done.stderr == ""
    assert _versions(second) == VERSIONS
    assert _reused(second) == 1
    assert pages.count("file") == 2


def test_remote_store_that_fails_in_the_replay_costs_one_line(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    signing("first", key=key).run("install", "top")
    second = signing("second", keys.line(key))
    server.fault = lambda name: Fault(403) if "/wheels/" in name else None
    done = second.run("install", "top")
    assert len(done.stderr.splitlines()) == 1
    assert f"Remote store is not used in this run: {server.url}" in done.stderr
    assert _versions(second) == VERSIONS


def test_store_push_pushes_public_resolutions(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path, wheels: Path
) -> None:
    first = signing("first", key=key)
    first.name_remote()
    first.run("install", "top")
    make_wheel(wheels / "private", "own")
    first.run("install", "--find-links", wheels / "private", "own")
    assert server.objects == {}
    first.name_remote(server.url)
    told = json.loads(first.run("store", "push", "--json", "side").stdout)["remotes"][0]
    assert (told["pushed"], told["resolutions"]) == (1, 0)
    told = json.loads(first.run("store", "push", "--json").stdout)["remotes"][0]
    assert (told["pushed"], told["resolutions"]) == (2, 1)
    assert len(server.keys("resolutions/")) == 1
    done = first.run("store", "push")
    assert "and 0 resolutions (0 bytes)" in done.stdout
    # A page has another ETag: the resolution is recorded anew, and stays public.
    pages.new_etag("side")
    first.run("uninstall", "-y", "own", *NAMES)
    first.run("install", "top", PIP_NO_CACHE_DIR="1")
    assert _reused(first) == 1
    server.objects.clear()
    assert "and 1 resolution (" in first.run("store", "push", "top").stdout
    first.run("store", "push")
    second = signing("second", keys.line(key))
    pages.clear()
    assert second.run("install", "top").stderr == ""
    assert _versions(second) == VERSIONS
    assert _reused(second) == 1
    assert pages.count("file") == 0
