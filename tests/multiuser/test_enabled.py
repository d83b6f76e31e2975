"""`store status --all` of environments that their user cannot read any more."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, running_site
from support import probes
from support.accounts import Accounts, run_as

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        yield found


@pytest.mark.parametrize("closed", ["environment", "above"])
def test_status_of_all_lists_unreadable_environments(site: Site, closed: str) -> None:
    usera = site.accounts.usera
    one = site.environment(usera)
    env = {**site.settings(), "XDG_DATA_HOME": str(site.directory(usera))}
    enable = site.template.command("store", "enable", "--python", one.prefix)
    command = site.template.command("store", "status", "--all", "--json")
    run_as(usera, enable, env=env, check=True)
    place = one.prefix if closed == "environment" else one.prefix.parent
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        for _ in range(2):  # it is not forgotten
            done = run_as(usera, command, env=env)
            assert done.returncode == 1, done.stdout + done.stderr
            told = json.loads(done.stdout)
            assert (told["environments"], told["gone"]) == ([], [])
            (unread,) = told["unread"]
            assert unread["path"] == str(one.prefix)
            assert "Permission denied" in unread["reason"]
    finally:
        place.chmod(mode & 0o7777)


def test_root_writes_no_record_into_the_home_of_a_user(site: Site) -> None:
    usera = site.accounts.usera
    one, home = site.environment(usera), site.directory(usera)
    env = {**site.settings(), "HOME": str(home), "XDG_DATA_HOME": None}
    enable = site.template.command("store", "enable", "--python", one.prefix)
    done = run_as(None, enable, env=env, check=True)
    (line,) = done.stderr.splitlines()
    assert f"status --all will not list {one.prefix}: {home} belongs to {usera.name}" in line
    assert list(home.iterdir()) == []
    two = site.environment(usera)
    enable = site.template.command("store", "enable", "--python", two.prefix)
    run_as(usera, enable, env=env, check=True)
    records = [path for path in home.rglob("*") if path.is_file()]
    assert [path.stat().st_uid for path in records] == [usera.uid]
    run_as(None, site.template.command("store", "disable", "--python", two.prefix), env=env)
    assert [path for path in home.rglob("*") if path.is_file()] == records


def test_a_user_whose_records_root_owns_is_told_the_command(site: Site) -> None:
    usera = site.accounts.usera
    one, home = site.environment(usera), site.directory(usera)
    env = {**site.settings(), "HOME": str(home), "XDG_DATA_HOME": None}
    (home / ".local" / "share").mkdir(parents=True)
    os.chown(home / ".local", usera.uid, usera.gid)
    share = home / ".local" / "share"
    enable = site.template.command("store", "enable", "--python", one.prefix)
    done = run_as(usera, enable, env=env, check=True)
    (line,) = done.stderr.splitlines()
    assert f"{share} cannot be written: Permission denied (it belongs to root)" in line
    command = f"chown -R {usera.name} {share}"
    assert line.endswith(f"hint: root can run {command}")
    subprocess.run(command.split(), check=True)
    assert run_as(usera, enable, env=env, check=True).stderr == ""
