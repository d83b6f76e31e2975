"""gc, verify --fix and doctor on one host while the other one installs; root on a client."""

from __future__ import annotations

import pytest

from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
NAMES = [f"demo{n}" for n in range(6)]


def make_wheels(site: Site) -> None:
    """Six wheels of 30 modules each."""
    for name in NAMES:
        files = {f"{name}/module{n}.py": f"VALUE = {n}\n" * 20 for n in range(30)}
        make_wheel(site.wheels, name, files={f"{name}/__init__.py": "", **files})


@pytest.mark.parametrize("mode", ["reflink", "copy", "hardlink", "symlink"])
def test_maintenance_on_one_host_leaves_installation_on_the_other_alone(
    site: Site, mode: str
) -> None:
    make_wheels(site)
    first, second = site.clients
    site.run(first, USERA, "store", "init", "--group", ACCOUNTS.group, site.store)
    running = [
        site.start(
            first,
            account,
            site.environment(first, account, name),
            *NAMES,
            PIP_SHAREDCACHE_LINK_MODE=mode,
        )
        for account, name in ((USERA, "one"), (USERB, "two"))
    ]
    commands = (["gc", "--older-than", "1min", "--max-size", "1K"], ["verify", "--fix"], ["doctor"])
    statuses = []
    while not all(one.ended.is_set() for one in running):
        for command in commands:
            done = site.run(second, USERA, "store", *command, check=False)
            statuses.append((command[0], done.returncode, done.stdout + done.stderr))
    for one in running:
        done = one.wait()
        assert done.returncode == 0, done.stdout + done.stderr
    assert [status for status in statuses if status[1]] == []
    site.install(
        second,
        USERB,
        site.environment(second, USERB, "three"),
        *NAMES,
        PIP_SHAREDCACHE_LINK_MODE=mode,
    )

    plain = site.environment(first, USERB, "plain")
    expected = site.plain(first, USERB, plain, *NAMES)
    if mode in ("hardlink", "symlink"):  # these have the modes of the store
        site.resolve_links("one", "two", "three", "plain")
        expected = site.tree(plain)
    assert site.differences(expected, "one", "two", "three") == []
    assert "all are sound" in site.run(first, USERA, "store", "verify").stdout


def test_root_of_client_installs_and_leaves_nothing_of_nobody(site: Site) -> None:
    make_wheels(site)
    first, second = site.clients
    site.run(first, USERA, "store", "init", "--group", ACCOUNTS.group, site.store)
    site.install(first, USERA, site.environment(first, USERA, "one"), NAMES[0])
    second.sh('python3 -m venv --without-pip "$1"', "/root/environment")
    python = "/root/environment/bin/python"
    command = site.ours("--python", python, "install", *NAMES)
    variables = {"PIP_SHAREDCACHE_DIR": str(site.store), **site.index(second).variables}
    second.run(command, env=variables)
    for name in NAMES:
        second.run([python, "-c", f"import {name}.module7"])
    owners = site.cluster.server.sh('find "$1" -printf "%U\\n" | sort -u', site.store)
    assert owners.split() == [str(USERA.uid)]
    assert "all are sound" in site.run(first, USERA, "store", "verify").stdout
