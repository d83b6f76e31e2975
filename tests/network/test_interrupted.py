"""A host loses its power, the server restarts or is out of reach, while a host installs."""

from __future__ import annotations

import time

import pytest

from support.cluster import Version
from support.cluster_site import STAGING, VISIBLE, Site
from support.hosts import ACCOUNTS

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb


def check_all(site: Site, names: list[str]) -> None:
    """Environments are as plain pip makes them, and the store is sound on both hosts."""
    first, second = site.clients
    plain = site.environment(second, USERB, "plain")
    expected = site.plain(second, USERB, plain, "demo")
    assert site.differences(expected, *names) == []
    for host in (first, second):
        text = site.run(host, USERA, "store", "verify").stdout
        assert "all are sound" in text


@pytest.mark.parametrize(
    ("version", "layout", "moment"),
    [
        pytest.param("4.2", "tree", STAGING, id="4.2-tree-staging"),
        pytest.param("4.2", "packed", VISIBLE, id="4.2-packed-visible"),
        pytest.param("3", "tree", VISIBLE, id="3-tree-visible"),
        pytest.param("3", "packed", STAGING, id="3-packed-staging"),
        pytest.param("moosefs", "tree", VISIBLE, id="moosefs-tree-visible"),
        pytest.param("moosefs", "packed", STAGING, id="moosefs-packed-staging"),
    ],
    indirect=["version"],
)
def test_host_without_power_leaves_nothing_that_others_take_for_whole(
    site: Site, version: Version, layout: str, moment: str
) -> None:
    site.make_wheels()
    first, second = site.clients
    site.init(first, USERA, layout)
    broken = site.environment(first, USERA, "broken")
    running = site.start(first, USERA, broken, "demo")
    site.wait_for_shard(moment)
    first.off()
    assert running.status is None, "the installation had ended before"

    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    first.start()
    site.cluster.mount(first, version)
    listed = site.run(first, USERA, "--python", broken / "bin" / "python", "list").stdout
    if moment == STAGING:
        assert "demo" not in listed
    # What is left half made, in the environment and in the store, goes after six hours by the clock
    # of the server. What pip takes for installed is left alone, and compared, too.
    site.cluster.shift_clock(site.cluster.server, 7)
    site.install(first, USERA, broken, "demo")
    check_all(site, ["other", "broken"])


@pytest.mark.parametrize(
    ("version", "layout", "fault"),
    [
        pytest.param("4.2", "tree", "power", id="4.2-tree-power"),
        pytest.param("4.2", "packed", "power", id="4.2-packed-power"),
        pytest.param("3", "tree", "power", id="3-tree-power"),
        pytest.param("3", "packed", "power", id="3-packed-power"),
        pytest.param("moosefs", "tree", "crash", id="moosefs-tree-crash"),
        pytest.param("moosefs", "packed", "crash", id="moosefs-packed-crash"),
    ],
    indirect=["version"],
)
def test_server_that_starts_again_delays_installation(
    site: Site, version: Version, layout: str, fault: str
) -> None:
    """MooseFS does not lose its power: its one chunk server has confirmed what is not on its disk,
    where a site has a second copy. A client of NFS sends again what the server has lost."""
    site.make_wheels()
    first, second = site.clients
    site.init(first, USERA, layout)
    one = site.environment(first, USERA, "one")
    running = site.start(first, USERA, one, "demo")
    site.wait_for_staging()
    assert running.status is None, "the installation had ended before"
    if fault == "crash":
        site.cluster.crash_moosefs()
    else:
        site.cluster.server.off()
        site.cluster.start_server()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr

    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    check_all(site, ["one", "other"])


@pytest.mark.parametrize(
    ("version", "layout"),
    [("4.2", "tree"), ("4.2", "packed"), ("3", "tree"), ("3", "packed"), ("moosefs", "packed")],
    indirect=["version"],
)
def test_client_out_of_reach_longer_than_its_lease_goes_on(
    site: Site, version: Version, layout: str
) -> None:
    """The lease of v4.2 is ten seconds here; after it, the server drops all that the client has."""
    site.make_wheels()
    first, second = site.clients
    site.init(first, USERA, layout)
    one = site.environment(first, USERA, "one")
    running = site.start(first, USERA, one, "demo")
    site.wait_for_staging()
    assert running.status is None, "the installation had ended before"
    site.cluster.cut(first)
    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    time.sleep(30)
    if version == "4.2":
        site.cluster.forget(first)
    site.cluster.join(first)
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    check_all(site, ["one", "other"])
