"""A host loses its power, the server restarts or is out of reach, while a host installs."""

from __future__ import annotations

import time

import pytest

from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb

#: Patterns in a shard: an entry that is being made, one that is visible.
STAGING, VISIBLE = ".new-*", "[0-9a-f]*"


def make_wheels(site: Site) -> None:
    """Three wheels of 150 modules each: enough to be in the middle."""
    for name, requires in (("demo", ["left", "right"]), ("left", []), ("right", [])):
        files = {f"{name}/module{n}.py": f"VALUE = {n}\n" * 20 for n in range(150)}
        make_wheel(site.wheels, name, files={f"{name}/__init__.py": "", **files}, requires=requires)


def wait_for(site: Site, pattern: str) -> None:
    """Wait until a shard of the store has such a name, which the server sees at once."""
    script = """
        n=0
        until ls -d "$1"/wheels/*/$2 >/dev/null 2>&1; do
            n=$((n + 1)); [ $n -lt 3000 ] || exit 1
            sleep 0.02
        done
    """
    site.cluster.server.sh(script, site.store, pattern)


def check_all(site: Site, names: list[str]) -> None:
    """Environments are as plain pip makes them, and the store is sound on both hosts."""
    first, second = site.clients
    plain = site.environment(second, USERB, "plain")
    expected = site.plain(second, USERB, plain, "demo")
    assert site.differences(expected, *names) == []
    for host in (first, second):
        text = site.run(host, USERA, "store", "verify").stdout
        assert "all are sound" in text


@pytest.mark.parametrize("moment", [STAGING, VISIBLE], ids=["staging", "visible"])
def test_host_without_power_leaves_nothing_that_others_take_for_whole(
    site: Site, moment: str
) -> None:
    make_wheels(site)
    first, second = site.clients
    site.run(first, USERA, "store", "init", "--group", ACCOUNTS.group, site.store)
    broken = site.environment(first, USERA, "broken")
    running = site.start(first, USERA, broken, "demo")
    wait_for(site, moment)
    first.off()
    assert running.status is None, "the installation had ended before"

    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    first.start()
    site.cluster.mount(first, site.version)
    listed = site.run(first, USERA, "--python", broken / "bin" / "python", "list").stdout
    if moment == STAGING:
        assert "demo" not in listed
    # Leaves alone what pip takes for installed: that is compared, too.
    site.install(first, USERA, broken, "demo")
    check_all(site, ["other", "broken"])


def test_server_without_power_delays_installation(site: Site) -> None:
    make_wheels(site)
    first, second = site.clients
    site.run(first, USERA, "store", "init", "--group", ACCOUNTS.group, site.store)
    one = site.environment(first, USERA, "one")
    running = site.start(first, USERA, one, "demo")
    wait_for(site, STAGING)
    site.cluster.server.off()
    site.cluster.start_server()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr

    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    check_all(site, ["one", "other"])


def test_client_out_of_reach_for_30_seconds_goes_on(site: Site) -> None:
    make_wheels(site)
    first, second = site.clients
    site.run(first, USERA, "store", "init", "--group", ACCOUNTS.group, site.store)
    one = site.environment(first, USERA, "one")
    running = site.start(first, USERA, one, "demo")
    wait_for(site, STAGING)
    site.cluster.cut(first)
    other = site.environment(second, USERB, "other")
    site.install(second, USERB, other, "demo")
    time.sleep(30)
    site.cluster.join(first)
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    check_all(site, ["one", "other"])
