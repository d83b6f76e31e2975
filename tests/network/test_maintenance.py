"""gc, verify --fix, doctor and repack on one host while the other one installs."""

from __future__ import annotations

import json

import pytest

from support.cluster import Version
from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
NAMES = [f"demo{n}" for n in range(6)]


def make_wheels(site: Site) -> None:
    """Six wheels of 30 modules each; of eight for MooseFS, which takes ten times as long."""
    modules = 8 if site.version == "moosefs" else 30
    for name in NAMES:
        files = {f"{name}/module{n}.py": f"VALUE = {n}\n" * 20 for n in range(modules)}
        make_wheel(site.wheels, name, files={f"{name}/__init__.py": "", **files})


@pytest.mark.parametrize(
    ("version", "layout", "mode"),
    [
        ("4.2", "tree", "reflink"),
        ("4.2", "tree", "symlink"),
        ("4.2", "packed", "copy"),
        ("4.2", "packed", "hardlink"),
        ("3", "tree", "copy"),
        ("3", "tree", "hardlink"),
        ("3", "packed", "reflink"),
        ("3", "packed", "symlink"),
        ("moosefs", "tree", "hardlink"),
        ("moosefs", "packed", "copy"),
    ],
    indirect=["version"],
)
def test_maintenance_on_one_host_leaves_installation_on_the_other_alone(
    site: Site, version: Version, layout: str, mode: str
) -> None:
    make_wheels(site)
    first, second = site.clients
    site.init(first, USERA, layout)
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
    if layout == "tree" and mode in ("hardlink", "symlink"):  # these have the modes of the store
        site.resolve_links("one", "two", "three", "plain")
        expected = site.tree(plain)
    assert site.differences(expected, "one", "two", "three") == []
    assert "all are sound" in site.run(first, USERA, "store", "verify").stdout


@pytest.mark.parametrize(
    ("version", "layout"),
    [("4.2", "tree"), ("3", "packed"), ("moosefs", "tree")],
    indirect=["version"],
)
def test_repack_on_one_host_leaves_installation_on_the_other_alone(
    site: Site, version: Version, layout: str
) -> None:
    make_wheels(site)
    first, second = site.clients
    site.init(first, USERA, layout)
    site.install(first, USERA, site.environment(first, USERA, "one"), *NAMES)
    layouts = ["packed", "tree"] if layout == "tree" else ["tree", "packed"]
    others = [site.environment(first, USERB, f"other{n}") for n in range(3)]
    running = [site.start(first, USERB, other, *NAMES) for other in others]
    while not all(one.ended.is_set() for one in running):
        for wanted in layouts:
            done = site.run(second, USERA, "store", "repack", "--json", "--layout", wanted)
            assert json.loads(done.stdout)["left"] == 0, done.stdout
            text = site.run(second, USERA, "store", "verify").stdout
            assert "all are sound" in text
    for one in running:
        done = one.wait()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Damaged" not in done.stdout + done.stderr

    plain = site.environment(first, USERB, "plain")
    expected = site.plain(first, USERB, plain, *NAMES)
    assert site.differences(expected, "one", *(other.name for other in others)) == []
    assert "all are sound" in site.run(first, USERA, "store", "verify").stdout
