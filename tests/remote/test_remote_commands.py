"""The store commands with --remote: what is there, whether it is sound, what goes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.model import Digest
from pip_sharedcache.remote.build_objects import write_build
from pip_sharedcache.store import Build
from support import keys
from support.accounts import Accounts, home_of, run_as
from support.environments import environment_with, make_environment
from support.index import LocalIndex
from support.index_server import make_certificate
from support.machines import Machine, MachineFactory, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import accounts as accounts_of_tests
from support.probes import linux, needs, openssh
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three")
DAY = 24 * 3600
KEY = Digest("d" * 64)  # of a build record
HOSTILE = (
    "wheels/evil",
    "wheels/" + "A" * 64,
    "wheels/" + "a" * 64 + "/b",
    "wheels/\u00e9 " + "x" * 300,
    "builds/" + "a" * 63,
    "bytecode/" + "a" * 64 + ".cpython-311-zzzzzzzz",
)


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        make_wheel(wheelhouse, name, files={f"{name}/__init__.py": f"NAME = {name!r}\n"})
    return wheelhouse


@pytest.fixture
def full(
    signing: SigningFactory, server: ObjectServer, key: Path, wheels: Path, tmp_path: Path
) -> Machine:
    """A machine that has pushed wheels, bytecode and a resolution; a build record is there, too."""
    first: Machine = signing("first", keys.line(key), key)
    first.run("install", *NAMES)
    wheel = wheels / "one-1.0-py3-none-any.whl"
    build = Build(Digest(digest(wheel)), wheel.name, {})
    write_build(tmp_path / "build", KEY, build, key)
    server.objects[f"pip/builds/{KEY}"] = (tmp_path / "build").read_bytes()
    assert len(server.objects) == 2 * len(NAMES) + 2
    return first


def told(machine: Machine, *arguments: str, status: int = 0) -> Any:
    """The JSON result of a command for the only remote store."""
    done = machine.attempt("store", *arguments, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    (remote,) = json.loads(done.stdout)["remotes"]
    return remote


def test_list_and_stats_show_what_is_there(
    full: Machine, server: ObjectServer, signing: SigningFactory, wheels: Path
) -> None:
    server.page = 2
    found = told(full, "list", "--remote")
    assert [one["title"] for one in found["objects"]] == [
        f"{name}-1.0-py3-none-any.whl" for name in sorted(NAMES)
    ]
    by_title = {one["title"]: one for one in found["objects"]}
    for path in wheels.glob("*.whl"):
        one = by_title[path.name]
        assert one["sha256"] == digest(path)
        assert one["bytes"] == path.stat().st_size
        assert one["modified"].endswith("Z")
    assert len(told(full, "list", "--remote", "--bytecode")["objects"]) == 2 * len(NAMES)
    (one,) = told(full, "list", "--remote", "one")["objects"]
    assert one["title"].startswith("one-")
    assert told(full, "list", "--remote", server.url, one["sha256"][:8])["objects"] == [one]
    assert told(full, "list", "--remote", "unknown", status=1)["missing"] == ["unknown"]
    assert told(full, "verify", "--remote", "unknown", status=1)["missing"] == ["unknown"]
    counts = told(full, "stats", "--remote")
    assert (counts["wheels"], counts["bytecode"], counts["build_records"]) == (3, 3, 1)
    assert counts["wheels_stored"] == sum(path.stat().st_size for path in wheels.glob("*.whl"))
    assert (counts["resolutions"], counts["ignored"]) == (1, 0)
    (one,) = told(full, "list", "--remote", "--resolutions")["objects"]
    assert (one["area"], one["sha256"], one["title"]) == ("resolutions", None, None)
    # Another machine knows no names. Names of other forms are counted.
    server.objects.update({f"pip/{name}": b"?" for name in HOSTILE})
    second = signing("second")
    found = told(second, "list", "--remote", server.url, "--bytecode")
    assert {one["title"] for one in found["objects"]} == {None}
    assert len(found["objects"]) == 2 * len(NAMES)
    counts = told(second, "stats", "--remote", server.url)
    assert (counts["wheels"], counts["ignored"]) == (3, len(HOSTILE))
    done = second.run("store", "list", "--remote")
    assert by_title["one-1.0-py3-none-any.whl"]["sha256"][:12] in done.stdout
    assert "evil" not in done.stdout
    assert "4 objects have another name, and are ignored" in done.stdout
    second.check_no_secrets()
    # The library refuses the answer of the server with such names. They are counted, too.
    for refused in (["a//b", "b/../c", "b/../d"], ["//evil", "/evil"], ["../evil", "./evil", ".."]):
        evil = {f"pip/{area}/{name}": b"?" for name in refused for area in ("wheels", "builds")}
        server.objects.update(evil)
        for page in (1000, 2):
            server.page = page
            done = second.run("store", "list", "--remote")
            assert "objects have another name, and are ignored" in done.stdout
            assert "evil" not in done.stdout
            counts = told(second, "stats", "--remote", server.url)
            assert (counts["wheels"], counts["bytecode"], counts["build_records"]) == (3, 3, 1)
            assert counts["ignored"] > len(HOSTILE)
            assert told(second, "verify", "--remote")["problem"] is None
            assert told(second, "gc", "--remote", "--older-than", "1d")["deleted"] == []
        for key in evil:
            del server.objects[key]
    server.page = 1000
    # Objects that come before such a name cannot be listed.
    server.objects["pip/wheels/a\x01b"] = b"?"
    done = second.attempt("store", "list", "--remote")
    assert done.returncode == 1
    expected = "an object there has a name that the client library refuses"
    assert done.stdout.splitlines() == [f"Remote store is not listed: {server.url}: {expected}"], (
        done.stdout
    )


def test_store_that_cannot_be_listed_costs_a_line(
    full: Machine, server: ObjectServer, tmp_path: Path
) -> None:
    server.fault = lambda key: Fault(403, verbs=("LIST",))
    before = dict(server.objects)
    for command in ("list", "stats", "verify", "gc"):
        done = full.attempt("store", command, "--remote")
        assert done.returncode == 1, command
        lines = [line for line in done.stdout.splitlines() if "Remote store is not" in line]
        assert len(lines) == 1, done.stdout
        assert "the server refuses access (status 403); hint: check your" in lines[0]
        assert done.stderr == ""
    assert server.objects == before
    for words, expected in (
        (("https://localhost/pip",), "https://localhost/pip: a web server lists nothing"),
        (("s3://me:secret@bucket/pip",), "is not the URL of a remote store"),
        (("s3://bucket/missing?a=b",), "is not the URL of a remote store"),
    ):
        done = full.attempt("store", "list", "--remote", *words)
        assert done.returncode == 2
        assert expected in done.stderr
        assert "secret" not in done.stderr
    full.name_remote(f"{server.url} read-only")
    done = full.attempt("store", "gc", "--remote")
    assert "Cannot delete objects: s3://bucket/pip: the setting dir calls it" in done.stderr
    full.name_remote()
    done = full.attempt("store", "gc", "--remote")
    assert "the setting dir names no remote store" in done.stderr


def _changed(data: bytes) -> bytes:
    return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]


def test_verify_names_damaged_objects_and_deletes_them(
    full: Machine, server: ObjectServer, wheels: Path, tmp_path: Path, key: Path
) -> None:
    found = told(full, "verify", "--remote")
    assert (found["checked"], found["damaged"], found["unread"]) == (8, [], [])
    sound = dict(server.objects)
    wheel = f"pip/wheels/{digest(wheels / 'one-1.0-py3-none-any.whl')}"
    codes = sorted(name for name in sound if "/bytecode/" in name)
    server.objects[wheel] = _changed(sound[wheel])
    server.objects[codes[0]] = _changed(sound[codes[0]])
    server.objects[codes[1]] = sound[codes[2]]
    server.objects[codes[2]] = sound[codes[2]] + b"more"
    other = keys.make_key(tmp_path, "other")
    write_build(
        tmp_path / "forged", KEY, Build(Digest("e" * 64), "one-1.0-py3-none-any.whl", {}), other
    )
    server.objects[f"pip/builds/{KEY}"] = (tmp_path / "forged").read_bytes()
    found = told(full, "verify", "--remote", status=1)
    reasons = {one["key"]: one["damage"] for one in found["damaged"]}
    expected = {
        wheel: "its bytes do not match its name",
        codes[0]: "has other bytes than were signed",
        codes[1]: "ci@example.org signed bytecode",
        codes[2]: "it has more bytes than were signed",
        f"pip/builds/{KEY}": "belongs to no signer",
    }
    for name, part in expected.items():
        assert part in reasons.pop(name[len("pip/") :])
    assert reasons == {}
    assert not any(one["deleted"] for one in found["damaged"])
    found = told(full, "verify", "--remote", "--fix", status=1)
    assert all(one["deleted"] for one in found["damaged"])
    assert set(server.objects) == set(sound) - set(expected)
    assert told(full, "verify", "--remote")["checked"] == 3
    # Without signers, the signed bytes are checked, but not who signed them.
    server.objects = {**sound, codes[0]: _changed(sound[codes[0]])}
    (full.environment.prefix / "pip.conf").write_text("", encoding="ascii")
    found = told(full, "verify", "--remote", status=1)
    assert [one["key"] for one in found["damaged"]] == [codes[0][len("pip/") :]]
    assert found["signatures_not_checked"] == 5
    # Right to list, but none to delete.
    for verb in ("DELETE", "DELETE_ONE"):
        server.fault = lambda key, verb=verb: Fault(403, verbs=(verb,))  # type: ignore[misc]
        done = full.attempt("store", "verify", "--remote", "--fix")
        assert done.returncode == 1
        assert done.stdout.count("the server refuses access (status 403)") == 1, done.stdout
        assert codes[0] in server.objects
    full.check_no_secrets()


def test_verify_counts_no_revoked_and_no_expired_key(
    full: Machine, signing: SigningFactory, server: ObjectServer, key: Path, tmp_path: Path
) -> None:
    revoked = tmp_path / "revoked-signers"
    revoked.write_text(keys.public(key) + "\n", encoding="ascii")
    cases = {
        "expired": signing("expired", keys.line(key, options='valid-before="20200101"')),
        "revoked": signing("revoked", keys.line(key), revoked=revoked),
    }
    for name, machine in cases.items():
        found = told(machine, "verify", "--remote", status=1)
        assert {one["area"] for one in found["damaged"]} == {"bytecode", "builds", "resolutions"}
        assert len(found["damaged"]) == 5, name
        assert name in found["damaged"][0]["damage"], found
    assert told(full, "verify", "--remote")["damaged"] == []
    done = cases["revoked"].attempt("store", "verify", "--remote", "--fix")
    assert "5 damaged, 5 of them deleted" in done.stdout
    assert len(server.keys("wheels/")) == len(server.keys()) == 3
    # What was deleted can be put again.
    assert told(full, "push")["bytecode"] == 3


def test_gc_deletes_what_is_old_and_not_used_here(
    full: Machine, signing: SigningFactory, server: ObjectServer, wheels: Path
) -> None:
    digests = {name: digest(wheels / f"{name}-1.0-py3-none-any.whl") for name in NAMES}
    all_keys = server.keys()
    server.age(40 * DAY)
    server.age(10 * DAY, f"/{digests['three']}")
    # The local store has just used all.
    found = told(full, "gc", "--remote", "--older-than", "30d")
    assert (found["deleted"], found["used_here"]) == ([], 5)
    assert server.keys() == sorted([*all_keys, "probe"])
    other = signing("other")
    found = told(other, "gc", "--remote", "--older-than", "30d", "--dry-run")
    old = [one for one in all_keys if digests["three"] not in one]
    assert sorted(one["key"] for one in found["deleted"]) == old
    assert found["left"] == sum(
        len(data) for name, data in server.objects.items() if digests["three"] in name
    )
    assert server.keys() == sorted([*all_keys, "probe"])
    assert told(other, "gc", "--remote", "--older-than", "60d")["deleted"] == []
    found = told(other, "gc", "--remote", "--older-than", "30d")
    assert sorted(one["key"] for one in found["deleted"]) == old
    kept = sorted(set(all_keys) - set(old))
    assert server.keys() == sorted([*kept, "probe"])
    done = full.run("store", "push")
    pushed = "Pushed 2 wheels, bytecode of 2 wheels, 0 build records, and 1 resolution ("
    assert pushed in done.stdout
    # All were put within the last hour but those of one wheel.
    found = told(other, "gc", "--remote", "--max-size", "0")
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
    assert told(other, "gc", "--remote")["deleted"] == []
    for name in ("one", "two"):
        del server.objects[f"pip/wheels/{digests[name]}"]
    assert len(told(other, "gc", "--remote", "--dry-run")["deleted"]) == 3
    gone = [one["key"] for one in told(other, "gc", "--remote")["deleted"]]
    assert {one.partition("/")[0] for one in gone} == {"bytecode", "builds"}
    assert len(gone) == 3
    assert [one for one in server.keys("bytecode/") if digests["three"] not in one] == []
    assert len(server.keys("bytecode/")) == 1


def test_gc_deletes_nothing_by_a_wrong_clock_or_without_local_use(
    full: Machine, signing: SigningFactory, server: ObjectServer, tmp_path: Path
) -> None:
    other = signing("other")
    server.clock = -400 * DAY  # that of the bucket counts, not that of this machine
    assert told(other, "gc", "--remote", "--older-than", "30d")["deleted"] == []
    assert len(server.keys()) == 2 * len(NAMES) + 3
    server.clock = 0
    server.age(40 * DAY)
    other.name_remote(f"{tmp_path}/missing/store read-only", server.url)
    before = dict(server.objects)
    done = other.attempt("store", "gc", "--remote", "--older-than", "1d")
    assert done.returncode == 2
    assert "No object is deleted, since what is in use here is not known" in done.stderr
    assert server.objects == before


def test_pull_gets_wheels_and_signed_bytecode(
    full: Machine,
    signing: SigningFactory,
    server: ObjectServer,
    key: Path,
    wheels: Path,
    pages: LocalIndex,
) -> None:
    digests = {name: digest(wheels / f"{name}-1.0-py3-none-any.whl") for name in NAMES}
    second = signing("second", keys.line(key))
    done = second.attempt("store", "pull")
    assert done.returncode == 2
    assert "needs either digests of wheels, or --all; hint: " in done.stderr
    # A whole digest needs no right to list.
    server.fault = lambda name: Fault(403, verbs=("LIST",))
    found = told(second, "pull", digests["one"].upper())
    assert (found["pulled"], found["bytecode"]) == (1, 1)
    done = second.attempt("store", "pull", "--all")
    assert done.returncode == 1
    assert done.stdout.count("(status 403)") == 1
    server.fault = lambda name: None
    found = told(second, "pull", digests["one"], digests["two"][:10])
    assert (found["pulled"], found["bytecode"]) == (1, 1)
    done = second.attempt("store", "pull", "three", "f" * 64)
    assert done.returncode == 1
    assert "known as three; hint: pip-sharedcache store add" in done.stdout
    assert "known as " + "f" * 64 in done.stdout
    # Objects that are no wheels, under sound and under wrong names.
    noise = b"no wheel at all"
    server.objects[f"pip/wheels/{hashlib.sha256(noise).hexdigest()}"] = noise
    server.objects[f"pip/wheels/{'e' * 64}"] = (wheels / "one-1.0-py3-none-any.whl").read_bytes()
    done = second.attempt("store", "pull", "--all")
    assert done.returncode == 1
    assert "Pulled 1 wheel, and bytecode of 1 wheel (" in done.stdout, done.stdout
    assert "it is no wheel: " in done.stdout
    assert f"wheels/{'e' * 64}: its bytes do not match its name" in done.stdout
    server.requests.clear()
    assert second.run("install", *NAMES).stderr == ""
    assert server.count("GET", "/wheels/") == server.count("GET", "/bytecode/") == 0
    stats = json.loads(second.run("store", "stats", "--json").stdout)
    assert (stats["wheels"], stats["bytecode"], stats["compiled"]) == (3, 3, 0)
    second.check_no_secrets()
    # Without signers, and with names that another local store knows.
    third = signing("third")
    third.name_remote(f"{second.store} read-only", server.url)
    found = told(third, "pull", "three")
    assert (found["pulled"], found["bytecode"]) == (1, 0)
    # Names that the index knows.
    third.name_remote(server.url)
    pages.clear()
    assert "Pulled 1 wheel" in third.run("store", "add", "two").stdout
    assert pages.wheel_requests() == []


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_pull_takes_digests_from_a_web_server(
    pip: str, machine: MachineFactory, wheels: Path, tmp_path: Path, pages: LocalIndex
) -> None:
    certificate = make_certificate(tmp_path / "certificate")
    wheel = wheels / "one-1.0-py3-none-any.whl"
    with ObjectServer(certificate=certificate, credentials=("me", "kept-secret")) as server:
        server.objects[f"pip/wheels/{digest(wheel)}"] = wheel.read_bytes()
        one = machine("one", server.web_url, variables=pages.variables, pip=pip)
        one.variables["REQUESTS_CA_BUNDLE"] = str(certificate.authority)
        netrc = one.home / ".netrc"
        netrc.write_text("machine localhost login me password kept-secret\n", encoding="utf-8")
        netrc.chmod(0o600)
        assert told(one, "pull", digest(wheel))["pulled"] == 1
        done = one.attempt("store", "pull", "--all")
        assert "is left out: a web server lists nothing" in done.stdout
        assert "kept-secret" not in "".join(one.outputs)


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
    remote = told(full, "push", status=1)
    assert (remote["pushed"], remote["bytecode"]) == (len(NAMES), 0)
    # gc asks for the time by an object, and deletes nothing without it.
    server.age(100 * DAY)
    server.fault = lambda key: Fault(507, verbs=("PUT",))
    done = full.attempt("store", "gc", "--remote", "--max-size", "0")
    assert done.returncode == 1
    assert f"Remote store is not collected: {server.url}: it is full" in done.stdout
    assert len(server.keys("wheels/")) == len(NAMES)


@needs(accounts_of_tests)
def test_pull_shares_no_bytecode_by_the_signers_of_one_user(
    accounts: Accounts, shared_tmp: Path, public_python: Path, wheels: Path, key: Path
) -> None:
    """Others in the group would take it without a signature."""
    ours = make_environment(shared_tmp / "ours", python=public_python)
    library = environment_with(shared_tmp / "library", "obstore", python=public_python)
    store, bucket, home = shared_tmp / "store", shared_tmp / "bucket", shared_tmp / "home"
    home.mkdir()
    who = accounts.usera
    home_of(who, home)
    run_as(None, ours.command("store", "init", "--group", accounts.group, store), check=True)
    bucket.mkdir(mode=0o777)
    bucket.chmod(0o777)
    signers = home / "signers"
    signers.write_text(keys.line(key), encoding="ascii")
    os.chown(signers, who.uid, who.gid)
    env: dict[str, str | None] = {
        "PIP_SHAREDCACHE_DIR": f"{store}\nfile://{bucket}",
        "PIP_SHAREDCACHE_REMOTE_PYTHON": str(library.python),
    }
    # root fills another store, and pushes from there.
    filled = shared_tmp / "filled"
    run_as(None, ours.command("store", "init", filled), check=True)
    of_root = {
        **env,
        "PIP_SHAREDCACHE_DIR": f"{filled}\nfile://{bucket}",
        "PIP_SHAREDCACHE_SIGNING_KEY": str(key),
    }
    options = ["--no-index", "--find-links", str(wheels)]
    run_as(None, ours.command("install", *options, *NAMES), env=of_root, check=True)
    done = run_as(None, ours.command("store", "push", "--all"), env=of_root, check=True)
    assert "bytecode of 3 wheels" in done.stdout, done.stdout
    env["PIP_SHAREDCACHE_SIGNERS"] = str(signers)
    done = run_as(who, ours.command("store", "pull", "--all", "-v"), env=env, check=True)
    assert "No bytecode is pulled: others use" in done.stdout, done.stdout + done.stderr
    assert "Pulled 3 wheels (" in done.stdout
    assert len(list(store.glob("wheels/*/*/*.whl"))) == 3
    assert not list(store.glob("bytecode/*/*"))
    # A store of their own gets the bytecode, too.
    env["PIP_SHAREDCACHE_DIR"] = f"{home}/{who.name}/store\nfile://{bucket}"
    run_as(who, ours.command("store", "init", f"{home}/{who.name}/store"), env=env, check=True)
    done = run_as(who, ours.command("store", "pull", "--all"), env=env, check=True)
    assert "Pulled 3 wheels, and bytecode of 3 wheels (" in done.stdout, done.stdout + done.stderr
