"""A publisher whose quota on the file server is used up: the server says so late, or at once."""

from __future__ import annotations

import errno
import os

import pytest

from support.cluster import Version
from support.cluster_site import Site, local_environment, local_tree, plain_tree
from support.hosts import ACCOUNTS
from support.trees import differences
from support.wheels import make_wheel

USERA, USERB = ACCOUNTS.usera, ACCOUNTS.userb
LIMIT = 1 << 20  # bytes


def limit(site: Site, hard: int) -> None:
    """Let userb have so many bytes on the export; 0: any number."""
    command = f"limit -u bhard={hard} {USERB.uid}"
    site.cluster.server.run(["xfs_quota", "-x", "-c", command, "/export"])


@pytest.mark.parametrize(
    ("version", "layout"),
    [("4.2", "tree"), ("4.2", "packed"), ("3", "tree"), ("3", "packed")],
    indirect=["version"],
)
def test_used_up_quota_on_the_server_costs_one_line(
    site: Site, version: Version, layout: str
) -> None:
    data = os.urandom(3 * LIMIT)
    make_wheel(site.wheels, "demo", files={"demo/__init__.py": "", "demo/data.bin": data})
    first, second = site.clients
    site.init(second, USERA, layout)
    expected = plain_tree(site, first, USERB)
    limit(site, LIMIT)
    try:
        over = local_environment(first, USERB, "over")
        said = site.install(first, USERB, over, "demo")
    finally:
        limit(site, 0)
    assert said.count(os.strerror(errno.EDQUOT)) == 1, said
    (line,) = [one for one in said.splitlines() if os.strerror(errno.EDQUOT) in one]
    assert str(site.store) in line
    assert "Traceback" not in said
    assert differences(expected, local_tree(first, over)) == []
    assert site.cluster.server.sh('find "$1" -name ".new-*"', site.store) == ""

    again = local_environment(first, USERB, "again")
    assert "1 added to it" in site.install(first, USERB, again, "demo")
    assert differences(expected, local_tree(first, again)) == []
    assert "all are sound" in site.run(second, USERA, "store", "verify").stdout
