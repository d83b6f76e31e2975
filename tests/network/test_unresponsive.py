"""A server that does not answer: mounts that wait for ever (hard), and mounts that fail (soft)."""

from __future__ import annotations

import pytest

from support.cluster import Version
from support.cluster_site import Site, local_environment, local_tree, plain_tree, wait_for_files
from support.hosts import ACCOUNTS
from support.trees import differences

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
NAMES = ["demo", "left", "right"]
SILENCE = "does not answer for 10 seconds"


@pytest.mark.parametrize(
    ("version", "layout", "known"),
    [
        pytest.param("4.2", "tree", True, id="4.2-tree-known"),
        pytest.param("4.2", "packed", False, id="4.2-packed-new"),
        pytest.param("3", "packed", True, id="3-packed-known"),
        pytest.param("3", "tree", False, id="3-tree-new"),
        pytest.param("moosefs", "packed", True, id="moosefs-packed-known"),
    ],
    indirect=["version"],
)
def test_no_command_waits_for_a_server_that_is_out_of_reach(
    site: Site, version: Version, layout: str, known: bool
) -> None:
    """Whether the host knows the store from just before, or not yet."""
    site.make_wheels()
    first, second = site.clients
    site.init(second, USERA, layout)
    site.install(second, USERA, site.environment(second, USERA, "one"), "demo")
    if known:
        site.install(first, USERB, local_environment(first, USERB, "before"), "demo")
    expected = plain_tree(site, first, USERB)
    while_cut = local_environment(first, USERB, "while-cut")
    site.cluster.cut(first)

    said = site.install(first, USERB, while_cut, "demo")
    lines = [line for line in said.splitlines() if SILENCE in line]
    assert len(lines) == 1, said
    assert str(site.store) in lines[0]
    assert differences(expected, local_tree(first, while_cut)) == []
    for command in ("doctor", "gc", "verify", "list", "stats", "info", "repack"):
        done = site.run(first, USERB, "store", command, check=False, timeout=120)
        text = done.stdout + done.stderr
        assert done.returncode in (1, 2), (command, text)
        assert SILENCE in text, (command, text)
        assert "Traceback" not in text, (command, text)

    site.cluster.join(first)
    after = local_environment(first, USERB, "after")
    assert SILENCE not in site.install(first, USERB, after, "demo")
    assert differences(expected, local_tree(first, after)) == []
    assert "all are sound" in site.run(second, USERA, "store", "verify").stdout


@pytest.mark.parametrize(
    ("version", "layout", "moment", "option"),
    [
        ("4.2", "tree", "publishing", "soft"),
        ("4.2", "packed", "placing", "softerr"),
        ("3", "packed", "publishing", "softerr"),
        ("3", "tree", "placing", "soft"),
    ],
    indirect=["version"],
)
def test_mount_that_fails_in_the_middle_costs_the_store_alone(
    site: Site, version: Version, layout: str, moment: str, option: str
) -> None:
    """A soft mount ends a call with EIO (softerr: ETIMEDOUT) where a hard one waits."""
    site.make_wheels()
    first, second = site.clients
    site.init(second, USERA, layout)
    if moment == "placing":
        site.install(second, USERA, site.environment(second, USERA, "one"), "demo")
    expected = plain_tree(site, first, USERA)
    local = local_environment(first, USERA, "local")
    site.cluster.mount(first, version, f"{option},timeo=10,retrans=1")
    running = site.start(first, USERA, local, "demo", PIP_SHAREDCACHE_PROCESSES="1")
    if moment == "publishing":
        site.wait_for_staging()
    else:
        wait_for_files(first, local)
    assert running.status is None, "the installation had ended before"
    site.cluster.cut(first)
    done = running.wait()
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "Traceback" not in text, text
    assert differences(expected, local_tree(first, local)) == []

    site.cluster.join(first)
    site.cluster.mount(first, version)
    again = local_environment(first, USERA, "again")
    site.install(first, USERA, again, "demo")
    assert differences(expected, local_tree(first, again)) == []
    left = site.cluster.server.sh('find "$1" -name ".new-*"', site.store)
    assert left == ""
    for host in (first, second):
        assert "all are sound" in site.run(host, USERA, "store", "verify").stdout
