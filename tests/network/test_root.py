"""Root of a client, whom the server takes for nobody: said once, and no file of nobody is left."""

from __future__ import annotations

import pytest

from support.cluster import Version
from support.cluster_site import Site
from support.hosts import ACCOUNTS
from support.wheels import make_wheel

USERA = ACCOUNTS.usera
NAMES = ["alpha", "beta", "gamma"]
PYTHON = "/root/environment/bin/python"
WHY = "the file server gives the files of root to nobody (uid 65534)"

pytestmark = pytest.mark.parametrize(
    ("version", "layout"),
    [("4.2", "tree"), ("3", "packed"), ("moosefs", "packed")],
    indirect=["version"],
)


def owners(site: Site) -> list[str]:
    """The owners of all that lies in the place of the test, as the server has them."""
    return site.cluster.server.sh('find "$1" -printf "%U\\n" | sort -u', site.area).split()


@pytest.mark.parametrize("group", [[], ["--group", ACCOUNTS.group]], ids=["alone", "group"])
def test_init_says_who_gets_the_store_and_leaves_nothing(
    site: Site, version: Version, layout: str, group: list[str]
) -> None:
    site.cluster.server.sh('chmod 1777 "$1"', site.area)
    for place in ("store", "deeper/store"):
        argv = ["store", "init", "--layout", layout, *group, str(site.area / place)]
        done = site.run(site.clients[0], None, *argv, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith(f"ERROR: {site.area / place} cannot be made: ")
        assert WHY in done.stderr
        assert done.stderr.count("\n") == 1
        assert site.cluster.server.sh('ls -A "$1"', site.area) == ""


def install(site: Site) -> list[str]:
    """Install as root of the second client, and return what was said of the store."""
    second = site.clients[1]
    second.sh('[ -e "$1" ] || python3 -m venv --without-pip "${1%/bin/python}"', PYTHON)
    command = site.ours("--python", PYTHON, "install", "--ignore-installed", *NAMES)
    variables = {"PIP_SHAREDCACHE_DIR": str(site.store), **site.index(second).variables}
    done = second.run(command, env=variables)
    for name in NAMES:
        second.run([PYTHON, "-c", f"import {name}.m"])
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if str(site.store) in line or "WARNING" in line]


def doctor(site: Site) -> str:
    """Return what doctor says to root of the second client."""
    argv = ["store", "doctor", "--environment", PYTHON.removesuffix("/bin/python")]
    done = site.run(site.clients[1], None, *argv, check=False)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    return done.stdout


def make_wheels(site: Site) -> None:
    """Three small wheels."""
    for name in NAMES:
        make_wheel(site.wheels, name, files={f"{name}/__init__.py": "", f"{name}/m.py": "A = 1\n"})


def test_installation_from_the_store_of_a_group_leaves_nothing(
    site: Site, version: Version, layout: str
) -> None:
    make_wheels(site)
    first = site.clients[0]
    site.init(first, USERA, layout)
    site.install(first, USERA, site.environment(first, USERA, "one"), NAMES[0])
    trusted, summary = install(site)
    assert "wheels of usera in" in trusted and "are checked in a copy" in trusted
    assert "installed by pip alone: you may not write the store" in summary
    assert owners(site) == [str(USERA.uid)]
    said = doctor(site)
    assert "not possible for you: a file server may treat root as another user" in said
    assert f"Nothing can be published in {site.store} by root: a file server may treat" in said
    assert "Nothing is wrong" not in said
    assert owners(site) == [str(USERA.uid)]
    assert "all are sound" in site.run(first, USERA, "store", "verify").stdout


def test_installation_into_a_store_that_all_may_write_names_the_mapping_once(
    site: Site, version: Version, layout: str
) -> None:
    make_wheels(site)
    site.cluster.server.sh('mkdir "$1"; chmod 1777 "$1"', site.store)
    said = install(site)
    assert [f"{site.store}: {WHY}; hint: " in line for line in said if "WARNING" in line] == [True]
    assert site.cluster.server.sh('ls -A "$1"', site.store) == ""
    assert f"not possible for you: {WHY}" in doctor(site)
    assert site.cluster.server.sh('ls -A "$1"', site.store) == ""
