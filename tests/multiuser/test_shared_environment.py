"""An environment that a group shares: each member upgrades and uninstalls what others installed;
everywhere else the modes are pip's own."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, foreign_changes, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.environments import Environment
from support.trees import Node, differences, snapshot

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

UMASKS = (0o022, 0o002, 0o077)
OFF = {"PIP_SHAREDCACHE_GROUP_ENVIRONMENT": "no"}


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for version in ("1.0", "2.0"):
            rich_wheel(found.wheels, "alpha", version)
        rich_wheel(found.wheels, "beta")
        yield found


@pytest.fixture
def store(site: Site) -> Path:
    """A store for the group, with nothing in it."""
    return site.make_store(None)


def shared_environment(site: Site) -> Environment:
    """usera's, made at umask 002, then chmod g+ws on all its directories."""
    usera = site.accounts.usera
    parent = site.directory(usera)
    environment = site.environment(usera, parent / "environment")
    prefix = environment.prefix
    subprocess.run(["chgrp", "-hR", "pkgshare", prefix], check=True)
    subprocess.run(["chmod", "-R", "g+w", prefix], check=True)
    subprocess.run(["find", prefix, "-type", "d", "-exec", "chmod", "g+ws", "{}", "+"], check=True)
    return environment


def new_paths(before: dict[str, Node], environment: Environment) -> list[Path]:
    return [
        environment.prefix / path for path in snapshot(environment.prefix) if path not in before
    ]


def not_open_to_the_group(site: Site, paths: list[Path]) -> list[str]:
    """What a colleague could not write, or enter, of these."""
    lines = []
    for path in paths:
        status = path.lstat()
        needed = 0o2070 if stat.S_ISDIR(status.st_mode) else 0o060
        if status.st_gid != site.accounts.group_gid or status.st_mode & needed != needed:
            lines.append(f"{path}: {oct(status.st_mode)}, gid {status.st_gid}")
    return lines


def uninstall(site: Site, account: Account, environment: Environment, *names: str) -> str:
    done = run_as(
        account,
        environment.command("uninstall", "-y", *names),
        env=site.settings(),
        check=True,
    )
    return done.stdout + done.stderr


def version_of(environment: Environment, name: str) -> list[str]:
    found = environment.site_packages.glob(f"{name}-*.dist-info")
    return sorted(path.stem.split("-")[1] for path in found)


def leftovers(environment: Environment) -> list[str]:
    """What pip or we leave where something went wrong."""
    return [
        path.name
        for path in environment.site_packages.iterdir()
        if path.name.startswith(("~", ".")) or path.name.endswith(".replaced")
    ]


@pytest.mark.parametrize("umask", UMASKS, ids=lambda mask: f"first-{mask:03o}")
@pytest.mark.parametrize("second_umask", UMASKS, ids=lambda mask: f"second-{mask:03o}")
def test_colleagues_upgrade_and_uninstall_each_others_distributions(
    site: Site, store: Path, umask: int, second_umask: int
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    environment = shared_environment(site)
    untouched = snapshot(environment.prefix)

    site.install(usera, environment, store, "alpha==1.0", "beta", umask=umask)
    directories = [path for path in new_paths(untouched, environment) if path.is_dir()]
    assert directories
    assert not_open_to_the_group(site, directories) == []

    site.install(userb, environment, store, "-U", "alpha", umask=second_umask)
    assert version_of(environment, "alpha") == ["2.0"]
    said = uninstall(site, userb, environment, "beta")
    assert "Successfully uninstalled beta-1.0" in said
    directories = [path for path in new_paths(untouched, environment) if path.is_dir()]
    assert not_open_to_the_group(site, directories) == []

    site.install(usera, environment, store, "--force-reinstall", "alpha", umask=umask)
    site.install(usera, environment, store, "alpha==1.0", "beta", umask=umask)
    assert version_of(environment, "alpha") == ["1.0"]
    site.install(userb, environment, store, "alpha==2.0", umask=second_umask)
    uninstall(site, usera, environment, "alpha", "beta")
    assert leftovers(environment) == []
    # pip removes a distribution's own directories, not "share", which was there before.
    assert differences(untouched, snapshot(environment.prefix)) == []


@pytest.mark.parametrize("umask", UMASKS, ids=lambda mask: f"{mask:03o}")
def test_placed_files_are_the_groups(site: Site, store: Path, umask: int) -> None:
    """A colleague may write them too, as the environment's owner meant it."""
    environment = shared_environment(site)
    untouched = snapshot(environment.prefix)
    site.install(site.accounts.usera, environment, store, "--no-compile", "alpha", umask=umask)
    placed = [
        path
        for path in new_paths(untouched, environment)
        if path.is_dir()
        or path.relative_to(environment.prefix).parts[0] == "share"
        or path.parent.name in ("alpha", "er")
    ]
    assert len(placed) > 8
    assert not_open_to_the_group(site, placed) == []
    tool = environment.site_packages / "alpha" / "bin" / "tool"
    assert oct(tool.stat().st_mode & 0o070) == oct(0o070)
    assert tool.stat().st_mode & 0o002 == 0
    for path in placed:
        assert path.lstat().st_uid == site.accounts.usera.uid


def test_upgrade_changes_no_inode_of_the_colleague(site: Site, store: Path) -> None:
    """The files that go are unlinked; those that stay, and all directories, stay as they are."""
    usera, userb = site.accounts.usera, site.accounts.userb
    environment = shared_environment(site)
    site.install(usera, environment, store, "alpha==1.0", "beta")
    before = inodes(environment.prefix)
    site.install(userb, environment, store, "-U", "alpha")
    after = inodes(environment.prefix)
    kept = {
        path: status
        for path, status in before.items()
        if path in after and after[path].inode == status.inode
    }
    assert any("/beta/" in path for path in kept)
    assert not any(path.endswith("alpha/__init__.py") for path in kept)
    changed = foreign_changes(kept, {path: after[path] for path in kept}, userb.uid)
    # A directory in which names came and went has another mtime, and that is all.
    assert [line for line in changed if not os.path.isdir(line.partition(":")[0])] == []
    for path, status in kept.items():
        assert (after[path].mode, after[path].uid, after[path].gid) == (
            status.mode,
            status.uid,
            status.gid,
        )


def plain_tree(
    site: Site, environment: Environment, account: Account, umask: int, *arguments: str
) -> dict[str, Node]:
    """What plain pip makes of an environment."""
    run_as(
        account,
        environment.plain("install", *arguments),
        umask=umask,
        env=site.settings(),
        check=True,
    )
    return snapshot(environment.prefix)


@pytest.mark.parametrize("umask", UMASKS, ids=lambda mask: f"{mask:03o}")
@pytest.mark.parametrize("how", ["variable", "option", "file"])
def test_switched_off_the_modes_are_pips(site: Site, store: Path, umask: int, how: str) -> None:
    userb = site.accounts.userb
    expected = plain_tree(site, shared_environment(site), userb, umask, "alpha", "beta")
    environment = shared_environment(site)
    arguments, changes = ["alpha", "beta"], {}
    if how == "variable":
        changes = dict(OFF)
    elif how == "option":
        arguments += ["--sharedcache-group-environment", "no"]
    else:
        file = store.parent / "pip.conf"
        file.write_text("[sharedcache]\ngroup-environment = no\n")
        changes = {"PIP_CONFIG_FILE": str(file)}
    site.install(userb, environment, store, *arguments, umask=umask, **changes)
    assert differences(expected, snapshot(environment.prefix)) == []


@pytest.mark.parametrize("umask", UMASKS, ids=lambda mask: f"{mask:03o}")
def test_switched_on_only_the_groups_bits_differ_from_pips(
    site: Site, store: Path, umask: int
) -> None:
    usera = site.accounts.usera
    expected = plain_tree(site, shared_environment(site), usera, umask, "alpha")
    environment = shared_environment(site)
    site.install(usera, environment, store, "alpha", umask=umask)
    actual = snapshot(environment.prefix)
    assert differences(_without_group(expected), _without_group(actual)) == []
    for path, node in expected.items():
        more = (actual[path].mode or 0) & ~(node.mode or 0)
        less = (node.mode or 0) & ~(actual[path].mode or 0)
        assert (oct(more & ~0o2070), oct(less)) == (oct(0), oct(0)), path


def _without_group(tree: dict[str, Node]) -> dict[str, Node]:
    return {
        path: Node(node.kind, None if node.mode is None else node.mode & ~0o2070, node.content)
        for path, node in tree.items()
    }


def _ordinary(site: Site) -> Environment:
    return site.environment(site.accounts.userb)


def _group_writable_only(site: Site) -> Environment:
    environment = site.environment(site.accounts.userb)
    subprocess.run(["chmod", "-R", "g+w", environment.prefix], check=True)
    return environment


def _setgid_only(site: Site) -> Environment:
    environment = site.environment(site.accounts.userb)
    subprocess.run(["chgrp", "-hR", "pkgshare", environment.prefix], check=True)
    command = ["find", environment.prefix, "-type", "d", "-exec", "chmod", "g+s", "{}", "+"]
    subprocess.run(command, check=True)
    return environment


def _default_acl(site: Site) -> Environment:
    environment = site.environment(site.accounts.userb)
    acl = "g:pkgshare:rwx,o::---"
    command = ["find", environment.prefix, "-type", "d", "-exec", "setfacl", "-d", "-m", acl]
    subprocess.run([*command, "{}", "+"], check=True)
    return environment


@pytest.mark.parametrize("umask", UMASKS, ids=lambda mask: f"{mask:03o}")
@pytest.mark.parametrize(
    "make",
    [_ordinary, _group_writable_only, _setgid_only, _default_acl],
    ids=["ordinary", "group-writable", "setgid", "default-acl"],
)
def test_where_no_group_shares_the_modes_are_pips(
    site: Site, store: Path, umask: int, make: object
) -> None:
    assert callable(make)
    userb = site.accounts.userb
    expected = plain_tree(site, make(site), userb, umask, "alpha", "beta")
    environment = make(site)
    site.install(userb, environment, store, "alpha", "beta", umask=umask)
    assert differences(expected, snapshot(environment.prefix)) == []
    groups = {status.gid for status in inodes(environment.prefix).values()}
    assert groups == {
        site.accounts.group_gid if make is _setgid_only else userb.gid,
    }
