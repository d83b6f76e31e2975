"""Hosts whose clocks are hours apart: what is old is decided by the clock of the server."""

from __future__ import annotations

import json
import time

import pytest

from support.cluster import Version
from support.cluster_site import Site
from support.hosts import ACCOUNTS, Host

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
NAMES = ["demo", "left", "right"]


def retired(site: Site, host: Host, age: str = "1h") -> list[str]:
    """Let gc on a host take what was not used for so long; return the wheels that it retired."""
    argv = ["store", "gc", "--older-than", age, "--json"]
    done = site.run(host, USERA, *argv, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: retired ones of userb stay
    return [path for path in json.loads(done.stdout)["retired"] if "/wheels/" in path]


def staged(site: Site) -> set[str]:
    """What is being made in the store, or was left there half made."""
    script = 'find "$1" -mindepth 3 -maxdepth 3 -name ".new-*"'
    return set(site.cluster.server.sh(script, site.store).split())


@pytest.mark.parametrize(
    ("version", "layout", "hours"),
    [
        ("4.2", "tree", 12),
        ("4.2", "packed", -12),
        ("3", "tree", -12),
        ("3", "packed", 12),
        ("moosefs", "packed", 12),
    ],
    indirect=["version"],
)
def test_host_with_another_time_judges_age_by_the_clock_of_the_server(
    site: Site, version: Version, layout: str, hours: float
) -> None:
    site.make_wheels()
    first, second = site.clients
    site.init(first, USERA, layout)
    site.cluster.shift_clock(second, hours)

    # What another host is making is not left over.
    one = site.environment(first, USERA, "one")
    running = site.start(first, USERA, one, "demo")
    site.wait_for_staging()
    running.pause()
    assert running.status is None, "the installation had ended before"
    before = staged(site)
    while before != (before := staged(site)):
        time.sleep(1)  # a call that was on its way when it was stopped
    assert before
    assert retired(site, second) == []
    assert before - staged(site) == set(), before
    running.resume()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr

    # Fresh marks of the one are fresh for the other, and no fresher than they are.
    two = site.environment(second, USERB, "two")
    site.install(second, USERB, two, "demo")
    assert retired(site, first) == []
    assert retired(site, second) == []
    site.cluster.shift_clock(site.cluster.server, 2)
    three = site.environment(second, USERB, "three")
    site.install(second, USERB, three, "left")
    assert len(retired(site, second)) == 2
    assert retired(site, first) == []

    # What a killed publisher left is deleted after six hours.
    four = site.environment(second, USERA, "four")
    killed = site.start(second, USERA, four, "demo")
    site.wait_for_staging()
    killed.kill()
    killed.ended.wait(60)
    left = staged(site)
    assert left, "the installation had ended before"
    retired(site, first)
    assert staged(site) == left
    site.cluster.shift_clock(site.cluster.server, 10)
    assert retired(site, first, "30d") == []
    assert staged(site) == set()

    plain = site.environment(first, USERB, "plain")
    expected = site.plain(first, USERB, plain, "demo")
    assert site.differences(expected, "one", "two") == []
    for host in (first, second):
        assert "all are sound" in site.run(host, USERA, "store", "verify").stdout
