"""What must never reach a bucket: wheels and builds of this machine, and what is not public."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support import keys
from support.machines import Machine, SigningFactory
from support.object_server import ObjectServer
from support.probes import linux, needs, openssh
from support.wheels import digest, make_sdist, make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    make_wheel(wheelhouse, "one", files={"one/__init__.py": "NAME = 'one'\n"})
    make_sdist(wheelhouse, "built")
    return wheelhouse


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A directory of the user with a wheel."""
    directory = tmp_path / "mine"
    directory.mkdir(mode=0o700)
    make_wheel(directory, "mine", files={"mine/__init__.py": "NAME = 'mine'\n"}).chmod(0o600)
    return directory


def _push(machine: Machine, *arguments: str) -> dict[str, int]:
    told = json.loads(machine.run("store", "push", "--json", *arguments).stdout)
    (remote,) = told["remotes"]
    return {"left": told["left"], **remote}


@pytest.mark.parametrize("how", ["find-links", "path"])
def test_wheel_of_a_local_directory_is_not_pushed(
    how: str,
    signing: SigningFactory,
    server: ObjectServer,
    key: Path,
    private: Path,
    wheels: Path,
) -> None:
    first = signing("first", key=key)
    words = [f"--find-links={private}", "mine"]
    if how == "path":
        words = [str(next(private.glob("*.whl")))]
    done = first.run("install", *words, "one")
    assert "Pushed 1 wheel" in done.stdout, done.stdout
    assert first.installed("mine")
    first.run("store", "push")
    for area in ("wheels/", "bytecode/"):
        (name,) = server.keys(area)
        assert name.startswith(area + digest(next(wheels.glob("*.whl")))), server.keys()


def test_store_push_leaves_what_nothing_calls_public(
    signing: SigningFactory, server: ObjectServer, key: Path, private: Path
) -> None:
    first = signing("first", key=key)
    first.run("install", "--no-index", f"--find-links={private}", "mine")
    first.run("install", "one")
    assert len(server.keys("wheels/")) == len(server.keys("bytecode/")) == 1
    server.objects.clear()
    found = _push(first)
    assert (found["pushed"], found["bytecode"], found["left"]) == (1, 1, 1)
    done = first.run("store", "push", "mine")
    assert "1 wheel is not pushed" in done.stdout
    assert "hint: pip-sharedcache store push --all" in done.stdout
    assert len(server.keys("wheels/")) == 1
    # In the other form, too.
    first.run("store", "repack")
    assert _push(first)["left"] == 1
    found = _push(first, "--all")
    assert (found["pushed"], found["bytecode"], found["left"]) == (1, 1, 0)


def test_local_wheel_that_share_names_is_pushed(
    signing: SigningFactory, server: ObjectServer, private: Path
) -> None:
    first = signing("first")
    file = first.environment.prefix / "pip.conf"
    file.write_text(f"[sharedcache]\nshare = {private}\n", encoding="ascii")
    first.run("install", f"--find-links={private}", "mine")
    found = _push(first)
    assert (found["pushed"], found["left"]) == (1, 0)


def test_build_of_a_local_repository_is_not_pushed(
    signing: SigningFactory, server: ObjectServer, key: Path, wheels: Path, shared_tmp: Path
) -> None:
    repository = shared_tmp / "repository"
    (sdist,) = wheels.glob("*.tar.gz")
    repository.mkdir()
    subprocess.run(["tar", "-xzf", sdist, "-C", repository, "--strip-components=1"], check=True)

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
        return subprocess.run(
            command, cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q", ".")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    first = signing("first", key=key)
    first.run("store", "init", "--builds", first.store)
    done = first.run("install", f"built @ git+file://{repository}@{git('rev-parse', 'HEAD')}")
    assert first.installed("built")
    assert list(first.store.glob("builds/*/*")), done.stdout
    assert "Pushed" not in done.stdout, done.stdout
    first.run("store", "push")
    assert server.keys("wheels/") == server.keys("builds/") == server.keys("bytecode/") == []
    first.run("store", "push", "--all")
    assert len(server.keys("wheels/")) == 1
    assert server.keys("builds/") == []


def test_pushed_build_record_names_nobody(
    signing: SigningFactory, server: ObjectServer, key: Path
) -> None:
    first = signing("first", key=key)
    first.run("store", "init", "--builds", first.store)
    done = first.run("install", "built")
    assert "Pushed 1 build record" in done.stdout, done.stdout
    (by_run,) = (server.objects[f"pip/{name}"] for name in server.keys("builds/"))
    server.objects.clear()
    assert _push(first)["build_records"] == 1
    (by_store,) = (server.objects[f"pip/{name}"] for name in server.keys("builds/"))
    for data in (by_run, by_store):
        assert b'"source"' in data
        for name in (b'"by"', b'"on"', os.uname().nodename.encode()):
            assert name not in data, data


def test_signers_that_cannot_count_let_nothing_signed_be_asked_for(
    signing: SigningFactory, server: ObjectServer, key: Path, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("the rule is for root")
    signing("first", key=key).run("install", "one")
    signers = tmp_path / "signers"
    signers.write_text(keys.line(key), encoding="ascii")
    second = signing("second")
    second.variables["PIP_SHAREDCACHE_SIGNERS"] = str(signers)
    server.requests.clear()
    done = second.run("install", "one")
    assert "Pulled 1 wheel" in done.stdout, done.stdout
    assert done.stderr.count("No signature counts") == 1, done.stderr
    assert server.count("GET", "/bytecode/") == 0


def test_dry_run_pushes_nothing(signing: SigningFactory, server: ObjectServer, key: Path) -> None:
    first = signing("first", key=key)
    done = first.run("install", "--dry-run", "one")
    assert "Pushed" not in done.stdout, done.stdout
    assert server.keys() == []
    assert list(first.store.rglob("*")) == []
    assert "Pushed 1 wheel" in first.run("install", "one").stdout
