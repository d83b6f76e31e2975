"""`store status --all` of environments that their user cannot read any more."""

from __future__ import annotations

import grp
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


def test_status_of_all_shows_the_rest_beside_records_that_it_cannot_use(site: Site) -> None:
    usera = site.accounts.usera
    data = site.directory(usera)
    env = {**site.settings(), "XDG_DATA_HOME": str(data)}
    kept, closed, damaged = (site.environment(usera) for _ in range(3))
    for one in (closed, damaged, kept):
        enable = site.template.command("store", "enable", "--python", one.prefix)
        run_as(usera, enable, env=env, check=True)
    records = data / "pip-sharedcache" / "enabled"
    of = {record.read_bytes().partition(b"\0")[0].decode(): record for record in records.iterdir()}
    os.chown(of[str(closed.prefix)], 0, 0)
    os.truncate(of[str(damaged.prefix)], 5)
    command = site.template.command("store", "status", "--all")
    done = run_as(usera, command, env=env)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    for one, owner, why in (
        (closed, "root", "cannot be read: Permission denied"),
        (damaged, usera.name, "is damaged"),
    ):
        record = of[str(one.prefix)]
        whose = f"(it belongs to {owner})"
        hint = f"rm {record}, and enable that environment again"
        assert f"{record}: this record of an environment {why} {whose}; hint: {hint}" in lines
    assert [line for line in lines if line.startswith(f"{kept.prefix}: pip ")]
    assert lines[-1] == "1 environment enabled by you."
    told = json.loads(run_as(usera, [*command, "--json"], env=env).stdout)
    assert [one["prefix"] for one in told["environments"]] == [str(kept.prefix)]
    assert {one["path"] for one in told["unread"]} == {
        str(of[str(one.prefix)]) for one in (closed, damaged)
    }


def test_status_of_all_shows_the_rest_beside_an_environment_that_it_cannot_examine(
    site: Site,
) -> None:
    """Its Python answers, and the hook cannot be read."""
    usera = site.accounts.usera
    env = {**site.settings(), "XDG_DATA_HOME": str(site.directory(usera))}
    pair = site.environment(usera), site.environment(usera)
    for one in pair:
        enable = site.template.command("store", "enable", "--python", one.prefix)
        run_as(usera, enable, env=env, check=True)
    kept, closed = pair
    (closed.site_packages / "_pip_sharedcache.py").chmod(0)
    command = site.template.command("store", "status", "--all", "--json")
    told = json.loads(run_as(usera, command, env=env).stdout)
    assert [one["prefix"] for one in told["environments"]] == [str(kept.prefix)]
    (unread,) = told["unread"]
    assert unread["path"] == str(closed.prefix)
    assert "_pip_sharedcache.py cannot be read: Permission denied" in unread["reason"]


@pytest.mark.parametrize("how", ["interpreter", "pth", "directory", "remade"])
@pytest.mark.parametrize("root", [False, True], ids=["user", "root"])
def test_status_of_all_runs_nothing_that_others_can_change(
    site: Site, how: str, root: bool
) -> None:
    """An environment that was enabled once can belong to somebody else by now."""
    usera, userb = site.accounts.usera, site.accounts.userb
    who = None if root or how == "remade" else usera
    one = site.environment(userb if how == "remade" else who)
    data, traces = site.directory(usera), site.directory(userb)
    traces.chmod(0o777)
    env = {**site.settings(), "XDG_DATA_HOME": str(data)}
    if who is None:
        os.chown(data, 0, 0)
    enable = site.template.command("store", "enable", "--python", one.prefix)
    run_as(who, enable, env=env, check=True)
    trace = traces / "ran"
    python = one.prefix / "bin" / "python"
    if how in ("interpreter", "remade"):
        python.unlink()
        python.write_text(f"#!/bin/sh\ntouch {trace}\n")
        python.chmod(0o755)
        os.chown(python, userb.uid, userb.gid)
    elif how == "pth":
        evil = one.site_packages / "zz.pth"
        evil.write_text(f"import os; open({str(trace)!r}, 'w')\n")
        os.chown(evil, userb.uid, userb.gid)
    else:
        one.site_packages.chmod(0o777)
    command = site.template.command("store", "status", "--all", "--json")
    for _ in range(2):  # it is not forgotten
        done = run_as(who, command, env=env)
        assert done.returncode == 1, done.stdout + done.stderr
        (unread,) = json.loads(done.stdout)["unread"]
        assert unread["path"] == str(one.prefix)
        assert unread["reason"].startswith("not asked: ")
        changer = "others can change" if how == "directory" else f"{userb.name} owns"
        assert changer in unread["reason"]
    assert not trace.exists()


def test_status_of_all_asks_an_environment_that_the_private_group_may_write(site: Site) -> None:
    """As under umask 002 where each account has a group of its own."""
    usera = site.accounts.usera
    env = {**site.settings(), "XDG_DATA_HOME": str(site.directory(usera))}
    one = site.environment(usera)
    enable = site.template.command("store", "enable", "--python", one.prefix)
    run_as(usera, enable, env=env, check=True)
    private = f"groupadd -f {usera.name} && usermod -g {usera.name} {usera.name}"
    before = usera.gid
    subprocess.run(["sh", "-ec", private], check=True)
    try:
        gid = grp.getgrnam(usera.name).gr_gid
        subprocess.run(["chgrp", "-R", str(gid), one.prefix], check=True)
        subprocess.run(["chmod", "-R", "g+w", one.prefix], check=True)
        command = site.template.command("store", "status", "--all", "--json")
        done = run_as(usera, command, env=env)
        told = json.loads(done.stdout)
        assert [fact["prefix"] for fact in told["environments"]] == [str(one.prefix)], done.stdout
    finally:
        subprocess.run(["usermod", "-g", str(before), usera.name], check=True)
        subprocess.run(["groupdel", usera.name], check=False)


def test_an_environment_whose_file_system_is_not_mounted_is_not_forgotten(site: Site) -> None:
    usera = site.accounts.usera
    env = {**site.settings(), "XDG_DATA_HOME": str(site.directory(usera))}
    point = site.directory(usera) / "disk"
    run_as(usera, ["mkdir", point], check=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"uid={usera.uid},mode=0755", "none", str(point)]
    subprocess.run(mount, check=True)
    try:
        one = site.environment(usera, point / "env")
        enable = site.template.command("store", "enable", "--python", one.prefix)
        run_as(usera, enable, env=env, check=True)
    finally:
        subprocess.run(["umount", point], check=True)
    command = site.template.command("store", "status", "--all", "--json")
    for _ in range(2):
        told = json.loads(run_as(usera, command, env=env).stdout)
        assert told["gone"] == []
        (unread,) = told["unread"]
        assert unread["reason"] == f"its file system is not mounted at {point}"


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
