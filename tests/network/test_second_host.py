"""What one user stores on one host serves another user on another host, at once and later."""

from __future__ import annotations

import pytest

from support.cluster import Version
from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA, USERB, USERC = ACCOUNTS.usera, ACCOUNTS.userb, ACCOUNTS.userc


def make_wheels(site: Site) -> None:
    """Three wheels: demo needs library; other is what the second user has installed before."""
    for name, requires in (("demo", ["library"]), ("library", []), ("other", [])):
        make_wheel(
            site.wheels,
            name,
            files={
                f"{name}/__init__.py": "VALUE = 1\n",
                f"{name}/empty.py": "",
                f"{name}/deep/data.txt": f"{name}\n" * 500,
                f"{name}/tool": "#!/bin/sh\n",
            },
            executables=[f"{name}/tool"],
            entry_points=f"[console_scripts]\n{name} = {name}:main\n",
            requires=requires,
        )


@pytest.mark.parametrize(
    ("version", "layout", "umask"),
    [
        pytest.param("4.2", "tree", 0o022, id="4.2-tree-022"),
        pytest.param("4.2", "packed", 0o077, id="4.2-packed-077"),
        pytest.param("3", "tree", 0o077, id="3-tree-077"),
        pytest.param("3", "packed", 0o022, id="3-packed-022"),
        pytest.param("moosefs", "tree", 0o022, id="moosefs-tree-022"),
        pytest.param("moosefs", "packed", 0o077, id="moosefs-packed-077"),
    ],
    indirect=["version"],
)
def test_second_host_installs_what_the_first_stored(
    site: Site, version: Version, layout: str, umask: int
) -> None:
    make_wheels(site)
    first, second = site.clients
    site.init(first, USERA, layout, umask=umask)
    # The second host knows the store as it was: what is stored later is hidden by its caches.
    before = site.environment(second, USERB, "before", umask)
    site.install(second, USERB, before, "other", umask=umask)

    one = site.environment(first, USERA, "one", umask)
    site.install(first, USERA, one, "demo", umask=umask)
    at_once = site.environment(second, USERB, "at-once", umask)
    site.install(second, USERB, at_once, "demo", umask=umask)

    site.cluster.mount(second, version)
    downloaded = len(site.index(second).wheels())
    text = ""
    for account, name in ((USERB, "later"), (USERC, "stranger")):
        if account is USERC:
            site.cluster.server.sh(
                'mkdir "$1"; chown "$2" "$1"', site.area / name, str(account.uid)
            )
        environment = site.environment(second, account, name, umask)
        text += site.install(second, account, environment, "demo", umask=umask)
    assert site.index(second).wheels()[downloaded:] == []

    plain = site.environment(first, USERB, "plain", umask)
    expected = site.plain(first, USERB, plain, "demo", umask=umask)
    assert site.differences(expected, "one", "at-once", "later", "stranger") == []
    for account in (USERA, USERB):
        site.run(second, account, "store", "verify")
        site.run(first, account, "store", "doctor")
    assert "hint" not in text
