"""Garbage collection in a remote store, and commands whose server fails in the middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support import keys
from support.machines import BUILD_KEY, Machine, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import digest

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three")
DAY = 24 * 3600


def test_gc_deletes_what_is_old_and_not_used_here(
    full: Machine, signing: SigningFactory, server: ObjectServer, wheels: Path
) -> None:
    digests = {name: digest(wheels / f"{name}-1.0-py3-none-any.whl") for name in NAMES}
    all_keys = server.keys()
    server.age(40 * DAY)
    server.age(10 * DAY, f"/{digests['three']}")
    # The local store has just used all.
    found = full.told("gc", "--remote", "--older-than", "30d")
    assert (found["deleted"], found["used_here"]) == ([], 5)
    assert server.keys() == sorted([*all_keys, "probe"])
    other = signing("other")
    found = other.told("gc", "--remote", "--older-than", "30d", "--dry-run")
    old = [one for one in all_keys if digests["three"] not in one]
    assert sorted(one["key"] for one in found["deleted"]) == old
    assert found["left"] == sum(
        len(data) for name, data in server.objects.items() if digests["three"] in name
    )
    assert server.keys() == sorted([*all_keys, "probe"])
    assert other.told("gc", "--remote", "--older-than", "60d")["deleted"] == []
    found = other.told("gc", "--remote", "--older-than", "30d")
    assert sorted(one["key"] for one in found["deleted"]) == old
    kept = sorted(set(all_keys) - set(old))
    assert server.keys() == sorted([*kept, "probe"])
    done = full.run("store", "push")
    pushed = "Pushed 2 wheels, bytecode of 2 wheels, 0 build records, and 1 resolution ("
    assert pushed in done.stdout
    # All were put within the last hour but those of one wheel.
    found = other.told("gc", "--remote", "--max-size", "0")
    assert sorted(one["key"] for one in found["deleted"]) == kept
    assert len(server.keys()) == 6
    other.check_no_secrets()


def test_gc_deletes_derived_data_without_its_wheel(
    full: Machine, signing: SigningFactory, server: ObjectServer, wheels: Path
) -> None:
    digests = {name: digest(wheels / f"{name}-1.0-py3-none-any.whl") for name in NAMES}
    server.age(2 * DAY)
    # A listing that lags behind: the wheel is there.
    server.unlisted = {f"pip/wheels/{digests['one']}"}
    other = signing("other")
    assert other.told("gc", "--remote")["deleted"] == []
    for name in ("one", "two"):
        del server.objects[f"pip/wheels/{digests[name]}"]
    assert len(other.told("gc", "--remote", "--dry-run")["deleted"]) == 3
    gone = [one["key"] for one in other.told("gc", "--remote")["deleted"]]
    assert {one.partition("/")[0] for one in gone} == {"bytecode", "builds"}
    assert len(gone) == 3
    assert [one for one in server.keys("bytecode/") if digests["three"] not in one] == []
    assert len(server.keys("bytecode/")) == 1


def test_gc_deletes_nothing_by_a_wrong_clock_or_without_local_use(
    full: Machine, signing: SigningFactory, server: ObjectServer, tmp_path: Path
) -> None:
    other = signing("other")
    server.clock = -400 * DAY  # that of the bucket counts, not that of this machine
    assert other.told("gc", "--remote", "--older-than", "30d")["deleted"] == []
    assert len(server.keys()) == 2 * len(NAMES) + 3
    server.clock = 0
    server.age(40 * DAY)
    other.name_remote(f"{tmp_path}/missing/store read-only", server.url)
    before = dict(server.objects)
    done = other.attempt("store", "gc", "--remote", "--older-than", "1d")
    assert done.returncode == 2
    assert "No object is deleted, since what is in use here is not known" in done.stderr
    assert server.objects == before


def _hang(part: str, *verbs: str) -> Callable[[str], Fault | None]:
    """Return the fault of a server that answers nothing about objects whose keys have ``part``."""
    return lambda key: Fault(hang=60, verbs=verbs) if part in key else None


def test_gc_says_what_it_deleted_before_the_server_fell_silent(
    full: Machine, signing: SigningFactory, server: ObjectServer
) -> None:
    server.age(40 * DAY)
    before = dict(server.objects)
    other = signing("other")
    other.variables["PIP_SHAREDCACHE_REMOTE_TIMEOUT"] = "2"
    server.fault = _hang("/wheels/", "DELETE_ONE")
    done = other.attempt("store", "gc", "--remote", "--older-than", "30d")
    assert done.returncode == 1
    told, failure = done.stdout.splitlines()
    deleted = "Deleted 3 bytecode, 1 build record, 1 resolution ("
    assert told.startswith(deleted), told
    assert f") of {server.url}, of 8 chosen objects (" in told
    silent = "the server gave no answer in 2 seconds"
    assert failure == f"Remote store is only partly collected: {server.url}: {silent}"
    server.objects = before
    found = other.told("gc", "--remote", "--older-than", "30d", status=1)
    assert {one["area"] for one in found["deleted"]} == {"bytecode", "builds", "resolutions"}
    assert len(found["deleted"]) == 5
    assert found["problem"] == silent


def test_verify_says_what_it_did_before_the_server_fell_silent(
    full: Machine, signing: SigningFactory, server: ObjectServer, key: Path, tmp_path: Path
) -> None:
    before = dict(server.objects)
    revoked = tmp_path / "revoked-signers"
    revoked.write_text(keys.public(key) + "\n", encoding="ascii")
    other = signing("other", keys.line(key), revoked=revoked)
    other.variables["PIP_SHAREDCACHE_REMOTE_TIMEOUT"] = "2"
    silent = "the server gave no answer in 2 seconds"
    # While it deletes.
    server.fault = _hang("/bytecode/", "DELETE_ONE")
    done = other.attempt("store", "verify", "--remote", "--fix", "-v")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    kinds = [line.split("/pip/")[1].split("/")[0] for line in lines if line.startswith("Deleted ")]
    assert sorted(kinds) == ["builds", "resolutions"]
    assert lines[-2:] == [
        f"Checked 8 objects of {server.url}: 5 with a signature that does not count, "
        "2 of them deleted.",
        f"Not all of these objects were deleted: {server.url}: {silent}",
    ]
    # While it checks.
    server.objects = before
    server.fault = _hang("/wheels/", "GET")
    done = other.attempt("store", "verify", "--remote", "--fix")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == [
        f"Checked 5 of 8 objects of {server.url}: 5 with a signature that does not count, "
        "0 of them deleted.",
        f"Remote store is only partly checked: {server.url}: {silent}",
    ]
    assert server.keys("builds/") == [f"builds/{BUILD_KEY}"]


def test_push_and_pull_say_what_they_did_before_the_server_fell_silent(
    full: Machine, signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    second = signing("second", keys.line(key))
    for one in (full, second):
        one.variables["PIP_SHAREDCACHE_REMOTE_TIMEOUT"] = "2"
    silent = f"{server.url}: the server gave no answer in 2 seconds"
    server.fault = _hang("/bytecode/", "GET")
    done = second.attempt("store", "pull", "--all")
    assert done.returncode == 1
    told, failure = done.stdout.splitlines()
    assert told.startswith("Pulled 3 wheels (")
    assert failure == f"Not pulled: {silent}"
    server.objects = {}
    server.fault = _hang("/bytecode/", "PUT")
    done = full.attempt("store", "push")
    assert done.returncode == 1
    told = "Pushed 3 wheels, bytecode of 0 wheels, 0 build records, and 0 resolutions ("
    assert told in done.stdout
    (failure,) = done.stderr.splitlines()
    assert failure.startswith(f"WARNING: Not all was pushed: {server.url}: ")


def test_full_bucket_costs_a_line_of_push(full: Machine, server: ObjectServer) -> None:
    before = dict(server.objects)
    server.objects = {key: data for key, data in before.items() if "/wheels/" in key}
    kept = dict(server.objects)
    server.fault = lambda key: Fault(507, verbs=("PUT", "POST"))
    done = full.attempt("store", "push")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "Not all was pushed" in line]
    assert len(lines) == 1, done.stderr
    assert f"Not all was pushed: {server.url}: it is full (status 507)" in lines[0]
    assert server.objects == kept
    # It is full for some objects only, such as at a quota.
    server.fault = lambda key: Fault(507, verbs=("PUT",)) if "/bytecode/" in key else None
    server.objects = {}
    remote = full.told("push", status=1)
    assert (remote["pushed"], remote["bytecode"]) == (len(NAMES), 0)
    # gc asks for the time by an object, and deletes nothing without it.
    server.age(100 * DAY)
    server.fault = lambda key: Fault(507, verbs=("PUT",))
    done = full.attempt("store", "gc", "--remote", "--max-size", "0")
    assert done.returncode == 1
    assert f"Remote store is not collected: {server.url}: it is full" in done.stdout
    assert len(server.keys("wheels/")) == len(NAMES)
