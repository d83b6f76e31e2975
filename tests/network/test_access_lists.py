"""Access lists on real mounts, NFSv4's and POSIX's (over v3): one that lets others write is seen, a
harmless one does not disturb. The server sets them on its own file system, or a client does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.cluster import Version
from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA, USERB, USERC = ACCOUNTS.usera, ACCOUNTS.userb, ACCOUNTS.userc


def make_wheels(site: Site) -> None:
    """One wheel."""
    make_wheel(site.wheels, "demo", files={"demo/__init__.py": "", "demo/module.py": "A = 1\n"})


def findings(site: Site) -> dict[str, Any]:
    """What doctor finds on the second host, by kind."""
    done = site.run(site.clients[1], USERA, "store", "doctor", "--json", check=False)
    return {one["name"]: one for one in json.loads(done.stdout)["findings"]}


def install(site: Site, name: str) -> str:
    """Install on the second host, as the owner of the store."""
    second = site.clients[1]
    site.cluster.mount(second, site.version)
    return site.install(second, USERA, site.environment(second, USERA, name), "demo")


def check(site: Site, *names: str) -> None:
    """Environments are as plain pip makes them."""
    plain = site.environment(site.clients[0], USERB, "plain")
    expected = site.plain(site.clients[0], USERB, plain, "demo")
    assert site.differences(expected, *names) == []


LAYOUTS = pytest.mark.parametrize(
    ("version", "layout"),
    [("4.2", "tree"), ("4.2", "packed"), ("3", "tree"), ("3", "packed")],
    indirect=["version"],
)


@pytest.mark.parametrize(
    ("version", "layout", "when"),
    [
        ("4.2", "tree", "before init"),
        ("4.2", "packed", "before init"),
        ("4.2", "tree", "after init"),
        ("4.2", "packed", "after init"),
        ("3", "tree", "after init"),
        ("3", "packed", "after init"),
    ],
    indirect=["version"],
)
def test_list_of_the_shards_that_lets_others_write_is_seen(
    site: Site, version: Version, layout: str, when: str
) -> None:
    make_wheels(site)
    first = site.clients[0]
    if when == "before init":
        said = init_below_a_default_list(site, layout)
        assert f"Members of {ACCOUNTS.group} are not trusted" in said
    else:
        site.init(first, USERA, layout)
        site.cluster.server.sh('setfacl -m u:userc:rwx "$1"/wheels/??', site.store)
        site.cluster.mount(first, version)
    site.install(first, USERB, site.environment(first, USERB, "one"), "demo")

    said = install(site, "two")
    assert f"wheels of userb in {site.store} are checked in a copy" in said, said
    assert "has an access list that lets others write" in said
    assert ("access-list" if version == "3" else "nfs4-access-list") in findings(site)
    check(site, "one", "two")


@pytest.mark.parametrize(
    ("version", "layout"), [("3", "tree"), ("3", "packed")], indirect=["version"]
)
def test_init_deletes_an_inherited_list_where_the_protocol_can(
    site: Site, version: Version, layout: str
) -> None:
    make_wheels(site)
    first, second = site.clients
    assert "not trusted" not in init_below_a_default_list(site, layout)
    lists = 'getfacl -p -n "$1" "$1"/* "$1"/wheels/?? | grep "^[a-z]*:[0-9]" || :'
    assert site.cluster.server.sh(lists, site.store) == ""
    site.install(first, USERB, site.environment(first, USERB, "one"), "demo")

    assert "WARNING" not in install(site, "two")
    assert site.index(second).wheels() == []
    assert {"access-list", "nfs4-access-list"} & set(findings(site)) == set()
    check(site, "one", "two")


def init_below_a_default_list(site: Site, layout: str) -> str:
    """Make the store where a list is inherited that lets another user write; return what was said.

    The environments do not inherit it: they would be shared ones.
    """
    site.cluster.server.sh('setfacl -d -m u:userc:rwx "$1"', site.area)
    said = site.init(site.clients[0], USERA, layout)
    site.cluster.server.sh('setfacl -k "$1"', site.area)
    for client in site.clients:
        site.cluster.mount(client, site.version)
    return said


@LAYOUTS
@pytest.mark.parametrize("where", ["server", "client"])
def test_list_of_an_entry_that_lets_others_write_is_seen(
    site: Site, version: Version, layout: str, where: str
) -> None:
    if where == "client" and version == "3":
        where = "server"
    make_wheels(site)
    first = site.clients[0]
    site.init(first, USERA, layout)
    site.install(first, USERB, site.environment(first, USERB, "one"), "demo")
    if where == "server":
        script = 'find "$1" -name demo-1.0-py3-none-any.whl -exec setfacl -m u:userc:rw {} +'
        site.cluster.server.sh(script, site.store / "wheels")
    else:
        # Without the right to append, the server gives none to write.
        script = 'find "$1" -name "*.whl" -exec nfs4_setfacl -a A::54103:rwa {} \\;'
        first.run(["sh", "-c", script, "sh", site.store / "wheels"], USERB)

    said = install(site, "two")
    assert "userb" in said and ("Damaged" in said or "checked in a copy" in said), said
    check(site, "one", "two")


@LAYOUTS
def test_harmless_lists_do_not_disturb(site: Site, version: Version, layout: str) -> None:
    make_wheels(site)
    first, second = site.clients
    site.init(first, USERA, layout)
    script = 'setfacl -m u:userc:rx "$1" "$1"/* "$1"/*/??; setfacl -d -m u:userc:rx,g::rx "$1"/*/??'
    site.cluster.server.sh(script, site.store)
    site.cluster.mount(first, version)
    said = site.install(first, USERB, site.environment(first, USERB, "one"), "demo")
    assert "WARNING" not in said
    # The mask, which is the group's part of the mode, stays.
    script = 'find "$1" -type f -exec setfacl -n -m u:userc:r {} +'
    site.cluster.server.sh(script, site.store / "wheels")

    said = install(site, "two")
    assert site.index(second).wheels() == []
    assert "WARNING" not in said and "trusted" not in said, said
    script = 'find "$1" -mindepth 2 -maxdepth 2 | wc -l'
    assert site.cluster.server.sh(script, site.store / "wheels").strip() == "1"
    assert "all are sound" in site.run(second, USERA, "store", "verify").stdout
    check(site, "one", "two")
