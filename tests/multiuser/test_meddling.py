"""What site tools do to environments: owners and modes changed all over, moved, copied; and what
pip and Python tell of an environment afterwards. Nothing of that reaches the store."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import probes
from support.accounts import Accounts, run_as
from support.environments import Environment

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]

#: Without any setting (a copy where the file system has no clones), and as people may choose.
MODES: dict[str, dict[str, str | None]] = {
    "default": {},
    "symlink": {"PIP_SHAREDCACHE_LINK_MODE": "symlink"},
}
METADATA = """
import importlib.metadata as m, json
print(json.dumps(sorted(
    [d.name, d.version, d.requires, sorted(map(str, d.files)), d.read_text("INSTALLER")]
    for d in m.distributions()
)))
"""
USE = "import alpha.deep.er, beta; print(alpha.__version__)"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", requires="beta")
        rich_wheel(found.wheels, "beta")
        yield found


@pytest.fixture
def store(site: Site) -> Path:
    """A store for the group in which usera has published alpha and beta."""
    return site.filled_store("alpha")


def _owners(directory: Path) -> list[tuple[str, int, int, int, int]]:
    found = []
    for path in sorted(directory.rglob("*")):
        if "use" not in path.relative_to(directory).parts:
            status = path.lstat()
            times = status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns
            found.append((str(path), *times))
    return found


def _installed(site: Site, store: Path, mode: str) -> Environment:
    """An environment of userb's, who publishes nothing."""
    userb = site.accounts.userb
    environment = site.environment(userb)
    said = site.install(userb, environment, store, "alpha", **MODES[mode])
    assert "Shared store: 2 of 2 distributions" in said
    return environment


def _is_sound(site: Site, store: Path) -> None:
    done = run_as(
        None,
        [site.template.python, "-m", "pip_sharedcache", "store", "verify"],
        env={"PIP_SHAREDCACHE_DIR": str(store)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "command",
    [
        ["chown", "-R", "{userc}:{group}"],
        ["chgrp", "-R", "{group}"],
        ["chmod", "-R", "a=rwX"],
        ["chmod", "-R", "go-rwx"],
        ["setfacl", "-R", "-P", "-m", "g:{group}:rwX"],
        ["find"],
    ],
    ids=["chown", "chgrp", "chmod wider", "chmod narrower", "setfacl", "touch"],
)
def test_owners_and_modes_changed_all_over_an_environment(
    site: Site, store: Path, mode: str, command: list[str]
) -> None:
    environment, userc = _installed(site, store, mode), site.accounts.userc
    before = _owners(store)
    words = [part.format(userc=userc.uid, group=site.accounts.group_gid) for part in command]
    words.append(str(environment.prefix))
    if command == ["find"]:
        words += ["-exec", "touch", "-h", "{}", "+"]
    subprocess.run(words, check=True)
    assert _owners(store) == before
    _is_sound(site, store)
    assert run_as(None, [environment.python, "-c", USE], check=True).stdout == "1.0\n"


@pytest.mark.parametrize("mode", MODES)
def test_pip_and_python_tell_what_they_tell_of_a_plain_environment(
    site: Site, store: Path, mode: str
) -> None:
    userb = site.accounts.userb
    plain, ours = site.environment(userb), _installed(site, store, mode)
    run_as(userb, plain.plain("install", "alpha"), env=site.settings(), check=True)

    def told(environment: Environment, *command: str) -> str:
        done = run_as(userb, command, env=site.settings(), check=True)
        return done.stdout.replace(str(environment.prefix), "ENVIRONMENT")

    for arguments in (["check"], ["freeze"], ["list"], ["show", "-f", "alpha", "beta"]):
        said = [told(one, str(one.python), "-m", "pip", *arguments) for one in (plain, ours)]
        assert said[0] == said[1] != ""
    said = [told(one, str(one.python), "-m", "pip", "inspect") for one in (plain, ours)]
    assert json.loads(said[0])["installed"] == json.loads(said[1])["installed"]
    said = [told(one, str(one.python), "-c", METADATA) for one in (plain, ours)]
    assert json.loads(said[0]) == json.loads(said[1])
    assert [row[0] for row in json.loads(said[0])][:2] == ["alpha", "beta"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["mv", "cp -a", "cp -rL", "copytree"])
def test_moved_and_copied_environments_work(site: Site, store: Path, mode: str, how: str) -> None:
    environment = _installed(site, store, mode)
    new = environment.prefix.parent / "elsewhere"
    if how == "copytree":
        shutil.copytree(environment.prefix, new, symlinks=True)
    else:
        subprocess.run([*how.split(), environment.prefix, new], check=True)
    if how == "mv":
        assert not environment.prefix.exists()
    python = new / "bin" / "python"
    assert run_as(None, [python, "-c", USE], check=True).stdout == "1.0\n"
    moved = Environment(new, python, _library(new), new / "bin")
    userb = site.accounts.userb
    subprocess.run(["chown", "-R", f"{userb.uid}:{userb.gid}", new], check=True)
    before = _owners(store)
    run_as(userb, moved.plain("uninstall", "-y", "alpha"), env=site.settings(), check=True)
    assert not (moved.site_packages / "alpha").exists()
    assert _owners(store) == before
    site.install(userb, moved, store, "alpha", **MODES[mode])
    assert run_as(None, [python, "-c", USE], check=True).stdout == "1.0\n"


def _library(prefix: Path) -> Path:
    (library,) = prefix.glob("lib/python*/site-packages")
    return library
