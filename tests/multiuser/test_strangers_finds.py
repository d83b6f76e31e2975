"""What somebody who knew nothing of the code found: private directories, foreign containers, what
one member's environment does to the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entries, rich_wheel, running_site
from support.accounts import Accounts, run_as
from support.probes import needs, setpriv, tmpfs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, needs(tmpfs, setpriv)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        sources = {"odd/__init__.py": 'R = "\\d+"\nMARK = 1\n'}
        make_wheel(found.wheels, "odd", files=sources)
        yield found


@pytest.mark.parametrize("closed", ["file", "directory", "nothing"])
def test_a_local_wheel_is_shared_only_if_others_may_read_it(site: Site, closed: str) -> None:
    usera = site.accounts.usera
    store = site.make_store(None)
    directory = site.directory(usera) / "wheels"
    directory.mkdir()
    shutil.copy(next(site.wheels.glob("alpha-*.whl")), directory)
    (wheel,) = directory.iterdir()
    for path in (directory, wheel):
        os.chown(path, usera.uid, usera.gid)
    directory.chmod(0o700 if closed == "directory" else 0o755)
    wheel.chmod(0o600 if closed == "file" else 0o644)
    said = site.install(
        usera, site.environment(usera), store, "--no-index", "--find-links", str(directory), "alpha"
    )
    assert len(entries(store)) == (1 if closed == "nothing" else 0), said


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONWARNINGS": "error"}, {"PYTHONNODEBUGRANGES": "1"}, {"PYTHONDEVMODE": "1"}],
    ids=lambda variables: next(iter(variables)),
)
def test_own_environment_makes_no_other_bytecode(site: Site, variables: dict[str, str]) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(None)
    site.install(usera, site.environment(usera), store, "odd", **variables)
    environment = site.environment(userb)
    site.install(userb, environment, store, "odd")
    plain = site.environment(userb)
    run_as(userb, plain.plain("install", "odd"), env=site.settings(), check=True)
    assert differences(snapshot(plain.prefix), snapshot(environment.prefix)) == []
    for one in (plain, environment):
        assert len(list(one.site_packages.glob("odd/__pycache__/*.pyc"))) == 1


def test_a_container_does_not_take_what_is_made_outside_for_left_over(site: Site) -> None:
    """Another name space of processes: there, the number of the publisher is nobody's."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    shown = "import pip_sharedcache.fs as l; print(l.HOST)"
    python = str(site.template.python)
    here = run_as(None, [python, "-c", shown], env=site.settings(), check=True).stdout
    there = subprocess.run(
        ["unshare", "-pf", "--mount-proc", python, "-c", shown],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert here.strip()
    assert here != there


@pytest.mark.parametrize(
    ("trusted", "unknown"),
    [
        ("zoe", "zoe"),
        ("{usera}, {userb}", "{usera},"),
        ("@nogroup-of-ours {usera} zoe", "@nogroup-of-ours, zoe"),
        ("{usera} @pkgshare", ""),
        ("owner", ""),
    ],
)
def test_trust_in_an_unknown_user_is_reported_once(site: Site, trusted: str, unknown: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    names = {"usera": usera.name, "userb": userb.name}
    store = site.make_store(None)
    site.install(usera, site.environment(usera), store, "alpha", "odd")
    settings = {"PIP_SHAREDCACHE_TRUST": trusted.format(**names)}
    said = site.install(userb, site.environment(userb), store, "alpha", "odd", **settings)
    lines = [line for line in said.splitlines() if "trust names" in line]
    if not unknown:
        assert lines == []
        return
    (line,) = lines
    assert f"trust names {unknown.format(**names)}, whom this machine does not know" in line
    assert "environment variable PIP_SHAREDCACHE_TRUST" in line
    assert ("by spaces" in line) is ("," in trusted)


def test_unknown_name_is_reported_wherever_it_narrows_trust(site: Site) -> None:
    userb = site.accounts.userb
    store, environment = site.make_store(None), site.environment(userb)
    file = site.directory() / "pip.conf"
    file.write_text("[sharedcache]\ntrust = zoe\n")
    changes = {"PIP_CONFIG_FILE": str(file), "PIP_SHAREDCACHE_TRUST": "@pkgshare"}
    said = site.install(userb, environment, store, "odd", **changes)
    (line,) = [line for line in said.splitlines() if "trust names" in line]
    assert "trust names zoe, whom this machine does not know" in line
    assert f"({file} or environment variable PIP_SHAREDCACHE_TRUST)" in line
