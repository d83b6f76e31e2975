"""What an installation asks of a file server for each file, as the client's kernel counts it."""

from __future__ import annotations

from collections import Counter

import pytest

from support import rpcs
from support.cluster import MOUNT_POINT
from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA = ACCOUNTS.usera
FILES = 300
#: Requests that do not depend on the number of files.
FEW = 100


def install_counted(site: Site, layout: str, mode: str, end: str = ".txt") -> Counter[str]:
    """Install a wheel whose files have this ``end`` twice, the second time with a client that has
    just mounted; the requests of the second time, with the delegations that are given back."""
    client, name = site.clients[0], "demo"
    paths = {number: f"{name}/{number % 3}/m{number}{end}" for number in range(FILES)}
    make_wheel(
        site.wheels, name, files={path: f"{number}\n" * 300 for number, path in paths.items()}
    )
    site.run(client, USERA, "store", "init", "--layout", layout, site.store)
    calls: Counter[str] = Counter()
    for number in "12":
        environment = site.environment(client, USERA, number)
        site.cluster.mount(client, site.version)
        before = rpcs.count(client, MOUNT_POINT)
        site.install(client, USERA, environment, name, PIP_SHAREDCACHE_LINK_MODE=mode)
        client.sh("echo 2 >/proc/sys/vm/drop_caches; sleep 2")
        calls = rpcs.count(client, MOUNT_POINT) - before
    return calls


@pytest.mark.parametrize(("layout", "mode"), [("packed", "copy"), ("tree", "reflink")])
def test_new_file_in_a_new_directory_is_made_by_one_request(
    site: Site, layout: str, mode: str
) -> None:
    calls = install_counted(site, layout, mode)
    if site.version == "4.2":
        assert calls["SETATTR"] < FEW, calls
        assert calls["OPEN"] < (1 if layout == "packed" else 2) * FILES + FEW, calls


def test_source_in_a_packed_entry_costs_no_request_for_its_time(site: Site) -> None:
    calls = install_counted(site, "packed", "copy", ".py")
    assert calls["CREATE" if site.version == "3" else "OPEN"] >= 2 * FILES  # with bytecode
    if site.version == "3":  # with 4.2, the server copies the bytecode as it is
        # O_EXCL costs one request for each file.
        assert calls["SETATTR"] < 2 * FILES + FEW, calls


def test_shared_file_leaves_no_delegation_behind(site: Site) -> None:
    calls = install_counted(site, "tree", "reflink")
    if site.version == "4.2":
        assert calls["CLONE"] >= FILES, calls
        assert calls["DELEGRETURN"] < FEW, calls


def test_bytecode_beside_a_tree_is_packed_but_for_those_who_link(site: Site) -> None:
    """Each file of a tree is opened and closed; of a pack, only the copy is."""
    calls = install_counted(site, "tree", "reflink", ".py")
    if site.version == "4.2":
        assert calls["CLONE"] >= FILES, calls
        assert calls["COPY"] >= FILES, calls
        assert calls["OPEN"] < 3 * FILES + FEW, calls


def test_bytecode_beside_a_tree_is_linked_by_those_who_link(site: Site) -> None:
    calls = install_counted(site, "tree", "hardlink", ".py")
    assert calls["LINK"] >= 2 * FILES, calls


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_linked_file_is_neither_looked_up_nor_asked_for_its_status(site: Site, mode: str) -> None:
    calls = install_counted(site, "tree", mode)
    assert calls["LINK" if mode == "hardlink" else "SYMLINK"] >= FILES, calls
    # Of a hard link, the client's kernel asks whether the source may be written
    # (fs.protected_hardlinks).
    assert calls["ACCESS"] < (FILES if mode == "hardlink" else 0) + FEW, calls
    assert calls["LOOKUP"] + calls["GETATTR"] < 2 * FEW, calls
