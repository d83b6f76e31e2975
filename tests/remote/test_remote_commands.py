"""The store commands with --remote: what is there, and whether it is sound."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from pip_sharedcache.model import Digest
from pip_sharedcache.remote.build_objects import write_build
from pip_sharedcache.signing import BytecodeStatement, SignedData, read_signed
from pip_sharedcache.signing.statements import read_statement
from pip_sharedcache.store import Build
from support import keys
from support.machines import BUILD_KEY, Machine, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import digest

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three")
HOSTILE = (
    "wheels/evil",
    "wheels/" + "A" * 64,
    "wheels/" + "a" * 64 + "/b",
    "wheels/\u00e9 " + "x" * 300,
    "builds/" + "a" * 63,
    "bytecode/" + "a" * 64 + ".cpython-311-zzzzzzzz",
)


def test_list_and_stats_show_what_is_there(
    full: Machine, server: ObjectServer, signing: SigningFactory, wheels: Path
) -> None:
    server.page = 2
    found = full.told("list", "--remote")
    assert [one["title"] for one in found["objects"]] == [
        f"{name}-1.0-py3-none-any.whl" for name in sorted(NAMES)
    ]
    by_title = {one["title"]: one for one in found["objects"]}
    for path in wheels.glob("*.whl"):
        one = by_title[path.name]
        assert one["sha256"] == digest(path)
        assert one["bytes"] == path.stat().st_size
        assert one["modified"].endswith("Z")
    assert len(full.told("list", "--remote", "--bytecode")["objects"]) == 2 * len(NAMES)
    (one,) = full.told("list", "--remote", "one")["objects"]
    assert one["title"].startswith("one-")
    assert full.told("list", "--remote", server.url, one["sha256"][:8])["objects"] == [one]
    assert full.told("list", "--remote", "unknown", status=1)["missing"] == ["unknown"]
    assert full.told("verify", "--remote", "unknown", status=1)["missing"] == ["unknown"]
    counts = full.told("stats", "--remote")
    assert (counts["wheels"], counts["bytecode"], counts["build_records"]) == (3, 3, 1)
    assert counts["wheels_stored"] == sum(path.stat().st_size for path in wheels.glob("*.whl"))
    assert (counts["resolutions"], counts["ignored"]) == (1, 0)
    (one,) = full.told("list", "--remote", "--resolutions")["objects"]
    assert (one["area"], one["sha256"], one["title"]) == ("resolutions", None, None)
    # Another machine knows no names. Names of other forms are counted.
    server.objects.update({f"pip/{name}": b"?" for name in HOSTILE})
    second = signing("second")
    found = second.told("list", "--remote", server.url, "--bytecode")
    assert {one["title"] for one in found["objects"]} == {None}
    assert len(found["objects"]) == 2 * len(NAMES)
    counts = second.told("stats", "--remote", server.url)
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
            counts = second.told("stats", "--remote", server.url)
            assert (counts["wheels"], counts["bytecode"], counts["build_records"]) == (3, 3, 1)
            assert counts["ignored"] > len(HOSTILE)
            assert second.told("verify", "--remote")["problem"] is None
            assert second.told("gc", "--remote", "--older-than", "1d")["deleted"] == []
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
    found = full.told("verify", "--remote")
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
        tmp_path / "forged",
        BUILD_KEY,
        Build(Digest("e" * 64), "one-1.0-py3-none-any.whl", {}),
        other,
    )
    server.objects[f"pip/builds/{BUILD_KEY}"] = (tmp_path / "forged").read_bytes()
    found = full.told("verify", "--remote", status=1)
    reasons = {one["key"]: one["damage"] for one in found["damaged"]}
    expected = {
        wheel: "its bytes do not match its name",
        codes[0]: "has other bytes than were signed",
        codes[1]: "ci@example.org signed bytecode",
        codes[2]: "it has more bytes than were signed",
    }
    for name, part in expected.items():
        assert part in reasons.pop(name[len("pip/") :])
    assert reasons == {}
    # What another key signed is sound.
    (forged,) = found["not_counted"]
    assert (forged["key"], forged["signed_by"]) == (f"builds/{BUILD_KEY}", None)
    assert "belongs to no signer" in forged["reason"]
    assert not any(one["deleted"] for one in (*found["damaged"], forged))
    found = full.told("verify", "--remote", "--fix", status=1)
    assert all(one["deleted"] for one in (*found["damaged"], *found["not_counted"]))
    assert set(server.objects) == set(sound) - {*expected, f"pip/builds/{BUILD_KEY}"}
    assert full.told("verify", "--remote")["checked"] == 3
    # An object of a later version is left alone.
    server.objects = {**sound, codes[0]: sound[codes[0]].replace(b'"format": 1', b'"format": 2', 1)}
    found = full.told("verify", "--remote", "--fix", status=1)
    assert (found["damaged"], found["not_counted"]) == ([], [])
    assert "this version reads 1" in found["unread"][0]["reason"]
    # A statement that nobody signed, about more bytes than there are, is not trusted to allocate.
    signed = read_signed(io.BytesIO(sound[codes[0]]))
    statement = read_statement(signed.statement)
    assert isinstance(statement, BytecodeStatement)
    large = replace(statement, files=(statement.files[0]._replace(size=(1 << 32) - 1),))
    server.objects[codes[0]] = SignedData.of(large, signed.signature).to_bytes()
    found = full.told("verify", "--remote", status=1)
    assert [one["damage"] for one in found["damaged"]] == ["it has fewer bytes than were signed"]
    # Without signers, the signed bytes are checked, but not who signed them.
    server.objects = {**sound, codes[0]: _changed(sound[codes[0]])}
    (full.environment.prefix / "pip.conf").write_text("", encoding="ascii")
    found = full.told("verify", "--remote", status=1)
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
        found = machine.told("verify", "--remote", status=1)
        assert found["damaged"] == [], name
        refused = found["not_counted"]
        assert {one["area"] for one in refused} == {"bytecode", "builds", "resolutions"}
        assert len(refused) == 5, name
        assert name in refused[0]["reason"], found
    found = full.told("verify", "--remote")
    assert (found["damaged"], found["not_counted"]) == ([], [])
    done = cases["expired"].attempt("store", "verify", "--remote")
    assert done.stdout.count("Signature does not count: s3://bucket/pip/") == 5
    assert "Damaged" not in done.stdout
    assert "hint: --fix deletes damaged objects, and those whose signature does" in done.stdout
    done = cases["revoked"].attempt("store", "verify", "--remote", "--fix")
    assert ": 5 with a signature that does not count, 5 of them deleted." in done.stdout
    assert len(server.keys("wheels/")) == len(server.keys()) == 3
    # What was deleted can be put again.
    assert full.told("push")["bytecode"] == 3
