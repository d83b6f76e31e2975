"""The command pull: wheels and signed bytecode of remote stores, without an installation."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from support import keys
from support.accounts import Accounts, home_of, run_as
from support.environments import environment_with, make_environment
from support.index import LocalIndex
from support.index_server import make_certificate
from support.machines import Machine, MachineFactory, SigningFactory
from support.object_server import Fault, ObjectServer
from support.probes import accounts as accounts_of_tests
from support.probes import linux, needs, openssh
from support.wheels import digest

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three")


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
    found = second.told("pull", digests["one"].upper())
    assert (found["pulled"], found["bytecode"]) == (1, 1)
    got = [data for key, data in server.objects.items() if f"/{digests['one']}" in key]
    assert found["bytes"] == sum(map(len, got))
    assert len(got) == 2
    done = second.run("store", "pull", digests["one"])
    assert done.stdout == f"1 wheel was in {second.store} before.\n"
    done = second.attempt("store", "pull", "--all")
    assert done.returncode == 1
    assert done.stdout.count("(status 403)") == 1
    server.fault = lambda name: None
    found = second.told("pull", digests["one"], digests["two"][:10])
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
    found = third.told("pull", "three")
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
        assert one.told("pull", digest(wheel))["pulled"] == 1
        done = one.run("store", "pull", digest(wheel))
        assert done.stdout == f"1 wheel was in {one.store} before.\n"
        for words in (["--all"], ["two"], [digest(wheel)[:8]]):
            done = one.attempt("store", "pull", *words)
            assert done.returncode == 2
            assert (
                f"Cannot pull: {server.web_url}: a web server lists nothing; hint: " in done.stderr
            )
            assert done.stdout == ""
        # Others are left out beside a store that can be listed.
        one.name_remote(server.web_url, f"file://{tmp_path}/bucket")
        done = one.run("store", "pull", "--all")
        assert f"{server.web_url} is left out: a web server lists nothing" in done.stdout
        assert "kept-secret" not in "".join(one.outputs)


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
