"""Bytecode that one machine signs and pushes, and another one checks and uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import keys
from support.index import LocalIndex
from support.machines import FIVE, Machine, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs, openssh

pytestmark = [pytest.mark.pips, needs(linux, openssh)]


def _compiled(machine: Machine) -> tuple[int, int]:
    """The bytes of sources that the installations of a machine compiled, and that they did not."""
    told = json.loads(machine.run("store", "stats", "--json").stdout)
    return told["compiled"], told["reused"]


def test_second_machine_compiles_nothing(
    signing: SigningFactory, server: ObjectServer, pages: LocalIndex, key: Path
) -> None:
    first = signing("first", key=key)
    done = first.run("install", *FIVE)
    assert f"Pushed the bytecode of {len(FIVE)} wheels" in done.stdout, done.stdout + done.stderr
    assert len(server.keys("bytecode/")) == len(FIVE)
    second = signing("second", keys.line(key))
    done = second.run("install", *FIVE)
    assert done.stderr == ""
    assert f"Pulled {len(FIVE)} wheels" in done.stdout
    assert " with bytecode) from " in done.stdout
    assert second.installed(*FIVE).keys() == first.installed(*FIVE).keys()
    compiled, reused = _compiled(second)
    assert compiled == 0
    assert reused > 0
    # The times of the sources are those of this machine: Python uses the bytecode.
    done = second.python("-v", "-c", f"import {', '.join(FIVE)}")
    for name in FIVE:
        assert f"{name}/__pycache__/__init__" in done.stderr
        assert f"wrote '{second.environment.site_packages}/{name}" not in done.stderr
    requests = len(server.requests)
    third = signing("third", keys.line(key))
    third.store = second.store
    third.name_remote(server.url)
    third.run("install", *FIVE)
    assert len(server.requests) == requests
    assert _compiled(third) == (0, 2 * reused)


def test_few_wheels_without_head_start_use_it_too(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    signing("first", key=key).run("install", "one")
    second = signing("second", keys.line(key))
    assert second.run("install", "one").stderr == ""
    assert _compiled(second)[0] == 0


def test_bytecode_without_a_signature_that_counts_is_not_used(
    signing: SigningFactory, server: ObjectServer, key: Path, tmp_path: Path
) -> None:
    """Pip's result, one line at most, and everything is compiled here."""
    other = keys.make_key(tmp_path, "other")
    first = signing("first", key=key)
    first.run("install", *FIVE)
    sound = dict(server.objects)
    codes = [name for name in sound if "/bytecode/" in name]
    assert len(codes) == len(FIVE)

    def cut(data: bytes) -> bytes:
        return data[: len(data) // 2]

    def edited(data: bytes) -> bytes:
        return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]

    def replayed(data: bytes) -> bytes:
        return sound[codes[0]] if data != sound[codes[0]] else sound[codes[1]]

    cases: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
        "another signer": (keys.line(other), bytes, "belongs to no signer"),
        "expired": (keys.line(key, options='valid-before="20200101"'), bytes, ""),
        "another namespace": (f'ci namespaces="git" {keys.public(key)}\n', bytes, ""),
        "empty": (keys.line(key), lambda data: b"", "no signed data"),
        "noise": (keys.line(key), lambda data: b"\xff" * 5000, "no signed data"),
        "cut": (keys.line(key), cut, ""),
        "edited": (keys.line(key), edited, "other bytes than were signed"),
        "another wheel's": (keys.line(key), replayed, "signed bytecode"),
    }
    failures = []
    for name, (signers, change, expected) in cases.items():
        server.objects.update({code: change(sound[code]) for code in codes})
        second = signing(name.replace(" ", "-").replace("'", ""), signers)
        done = second.run("install", *FIVE)
        warnings = done.stderr.splitlines()
        if len(warnings) != 1 or expected not in done.stderr or server.url not in done.stderr:
            failures.append(f"{name}: {done.stderr!r}")
        if "Pulled 5 wheels (" not in done.stdout or "with bytecode" in done.stdout:
            failures.append(f"{name}: {done.stdout!r}")
        if second.installed(*FIVE).keys() != first.installed(*FIVE).keys():
            failures.append(f"{name}: another result")
        if _compiled(second)[1]:
            failures.append(f"{name}: {_compiled(second)}")
    assert not failures, "\n".join(failures)


def test_objects_that_are_all_wrong_cost_one_line(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    """As those of a web server that answers every request with a page for its login."""
    signing("first", key=key).run("install", *FIVE)
    server.objects.update(dict.fromkeys(server.objects, b"<!DOCTYPE html>\n"))
    done = signing("second", keys.line(key)).run("install", *FIVE)
    (line,) = done.stderr.splitlines()
    assert f"Remote object is not used: {server.url}/" in line
    assert "Error" not in line


def test_bytecode_is_pulled_for_wheels_that_the_local_store_has(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    signing("first", key=key).run("install", *FIVE)
    second = signing("second", keys.line(key))
    second.run("install", "--no-compile", *FIVE)
    before = server.count("GET", "/wheels/")
    third = signing("third", keys.line(key))
    third.store = second.store
    third.name_remote(server.url)
    done = third.run("install", *FIVE)
    assert done.stderr == ""
    assert f"Pulled the bytecode of {len(FIVE)} wheels" in done.stdout
    assert server.count("GET", "/wheels/") == before
    assert _compiled(third)[0] == 0


def test_without_signers_no_bytecode_is_asked_for(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    signing("first", key=key).run("install", *FIVE)
    before = server.count("GET", "/bytecode/")
    second = signing("second")
    assert second.run("install", *FIVE).stderr == ""
    assert server.count("GET", "/bytecode/") == before
    third = signing("third", keys.line(key))
    third.run("install", "--no-compile", *FIVE)
    assert server.count("GET", "/bytecode/") == before


def test_machine_with_a_key_adds_the_bytecode_that_is_missing(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    signing("first").run("install", *FIVE)
    assert server.keys("bytecode/") == []
    second = signing("second", keys.line(key), key)
    done = second.run("install", *FIVE)
    assert f"Pulled {len(FIVE)} wheels" in done.stdout
    assert f"Pushed the bytecode of {len(FIVE)} wheels" in done.stdout
    third = signing("third", keys.line(key), key)
    server.fault = lambda name: Fault(500, verbs=("PUT",))
    done = third.run("install", *FIVE)
    assert done.stderr == ""
    assert _compiled(third)[0] == 0


@pytest.mark.parametrize("names", [FIVE, FIVE[:1]], ids=["many", "one"])
def test_bytecode_of_an_old_key_is_signed_anew(
    names: tuple[str, ...],
    signing: SigningFactory,
    server: ObjectServer,
    key: Path,
    tmp_path: Path,
) -> None:
    new = keys.make_key(tmp_path, "new")
    signing("first", key=key).run("install", *names)
    second = signing("second", keys.line(new), new)
    done = second.run("install", *names)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    count = "1 wheel" if len(names) == 1 else f"{len(names)} wheels"
    assert f"Pushed the bytecode of {count}" in done.stdout
    third = signing("third", keys.line(new))
    assert third.run("install", *names).stderr == ""
    assert _compiled(third)[0] == 0


def test_key_that_cannot_sign_costs_one_line(
    signing: SigningFactory, server: ObjectServer, tmp_path: Path
) -> None:
    locked = keys.make_key(tmp_path, "locked", "a passphrase")
    first = signing("first", key=locked)
    done = first.run("install", *FIVE)
    assert len(done.stderr.splitlines()) == 1
    assert f"Only wheels are pushed: {locked} cannot sign" in done.stderr
    assert len(server.keys("wheels/")) == len(FIVE)
    assert server.keys("bytecode/") == []


def test_store_push_signs_the_bytecode_of_the_store(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    first = signing("first", key=key)
    first.run("install", *FIVE)
    server.objects.clear()
    told = json.loads(first.run("store", "push", "--json").stdout)
    (remote,) = told["remotes"]
    assert (remote["pushed"], remote["bytecode"], remote["present"]) == (5, 5, 0)
    assert remote["resolutions"] == 1
    assert told["problems"] == []
    again = json.loads(first.run("store", "push", "--json").stdout)["remotes"][0]
    assert (again["pushed"], again["bytecode"], again["present"]) == (0, 0, 11)
    second = signing("second", keys.line(key))
    assert second.run("install", *FIVE).stderr == ""
    assert _compiled(second)[0] == 0
