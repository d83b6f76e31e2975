"""gc on one host retires and deletes what the other one is in the middle of installing."""

from __future__ import annotations

import json

import pytest

from support.cluster import Version
from support.cluster_site import Site, wait_for_files
from support.hosts import ACCOUNTS

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
NAMES = ["demo", "left", "right"]


def collect(site: Site) -> dict[str, object]:
    """Let gc on the second host take what was not used for an hour, and return what it did."""
    argv = ["store", "gc", "--older-than", "1h", "--json"]
    done = site.run(site.clients[1], USERA, *argv)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("version", "layout", "mode", "what"),
    [
        ("4.2", "tree", "copy", "retired"),
        ("4.2", "tree", "hardlink", "deleted"),
        ("4.2", "packed", "copy", "deleted"),
        ("3", "tree", "copy", "deleted"),
        ("3", "tree", "hardlink", "retired"),
        ("3", "packed", "copy", "retired"),
        ("moosefs", "tree", "hardlink", "deleted"),
        ("moosefs", "packed", "copy", "retired"),
    ],
    indirect=["version"],
)
def test_installation_goes_on_when_its_entries_vanish(
    site: Site, version: Version, layout: str, mode: str, what: str
) -> None:
    """It was stopped for hours by the clock of the server, as on a host that was suspended."""
    site.make_wheels()
    first, second = site.clients
    site.init(first, USERA, layout)
    site.install(first, USERA, site.environment(first, USERA, "one"), *NAMES)
    two = site.environment(first, USERB, "two")
    running = site.start(
        first,
        USERB,
        two,
        *NAMES,
        PIP_SHAREDCACHE_LINK_MODE=mode,
        PIP_SHAREDCACHE_PROCESSES="1",
    )
    wait_for_files(site.cluster.server, two)
    running.pause()
    assert running.status is None, "the installation had ended before"

    site.cluster.shift_clock(site.cluster.server, 2)
    found = collect(site)
    retired = found["retired"]
    assert isinstance(retired, list)
    assert len([path for path in retired if "/wheels/" in path]) == len(NAMES), found
    if what == "deleted":
        site.cluster.shift_clock(site.cluster.server, 4)
        assert collect(site)["deleted"] == len(retired)
        left = site.cluster.server.sh('find "$1" -mindepth 2 -maxdepth 2', site.store / "wheels")
        assert left == ""
    running.resume()
    done = running.wait()
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "Traceback" not in text, text
    assert "Damaged" not in text, text

    # What it made without the store, and what others install now, is as with plain pip.
    site.install(second, USERB, site.environment(second, USERB, "three"), *NAMES)
    plain = site.environment(first, USERB, "plain")
    expected = site.plain(first, USERB, plain, *NAMES)
    if layout == "tree" and mode == "hardlink":  # these have the modes of the store
        site.resolve_links("two", "three", "plain")
        expected = site.tree(plain)
    assert site.differences(expected, "two", "three") == []
    for host in (first, second):
        assert "all are sound" in site.run(host, USERA, "store", "verify").stdout
