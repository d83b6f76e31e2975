"""Root on a file server that gives root's files to another user: said once, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, running_site
from support import probes
from support.accounts import Accounts, run_as
from support.mirror import NOBODY, mirrored
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

NAMES = ("alpha", "beta", "gamma")
#: The user that stands for root, and its name.
OTHERS = [(NOBODY, "nobody"), (54321, "uid 54321")]
WHY = "the file server gives the files of root to {} (uid {})"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            make_wheel(found.wheels, name, files={f"{name}/__init__.py": "A = 1\n"})
        yield found


@contextmanager
def _served(site: Site, squash: int, mode: int = 0o1777) -> Iterator[tuple[Path, Path]]:
    """Yield an exported directory as the client sees it, and as it is on the server."""
    server, client = site.directory(mode=mode), site.directory()
    if mode == 0o700:
        os.chown(server, squash, squash)
    with mirrored(client, server, squash=squash):
        yield client, server


def _paths(top: Path) -> list[str]:
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*"))


@probes.needs(probes.fuse)
@pytest.mark.parametrize("group", [[], ["--group", "pkgshare"]], ids=["alone", "group"])
@pytest.mark.parametrize(("squash", "name"), OTHERS)
@pytest.mark.parametrize("place", ["store", "deeper/store", "."])
def test_init_by_a_mapped_root_says_who_gets_the_store_and_leaves_nothing(
    site: Site, squash: int, name: str, group: list[str], place: str
) -> None:
    with _served(site, squash, 0o700 if place == "." else 0o1777) as (client, server):
        command = site.template.command("store", "init", "--layout", "tree", *group, client / place)
        done = run_as(None, command, env=site.settings())
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"ERROR: {client / place} cannot be made: ".replace("/.", ""))
        assert WHY.format(name, squash) in done.stderr
        assert "; hint: let the user who is to own the store make it (runuser" in done.stderr
        assert done.stderr.count("\n") == 1
        assert _paths(server) == []


@probes.needs(probes.fuse)
def test_init_where_a_mapped_root_may_not_write_names_the_cause(site: Site) -> None:
    with _served(site, NOBODY, 0o755) as (client, server):
        done = run_as(
            None, site.template.command("store", "init", "--layout", "tree", client / "store")
        )
        assert done.returncode == 2
        assert "Permission denied" in done.stderr
        assert "a file server may treat root as another user (root_squash)" in done.stderr
        assert _paths(server) == []


@probes.needs(probes.fuse)
def test_users_other_than_root_make_stores_there(site: Site) -> None:
    usera = site.accounts.usera
    with _served(site, NOBODY) as (client, _):
        command = site.template.command(
            "store", "init", "--layout", "tree", "--group", "pkgshare", client / "store"
        )
        done = run_as(usera, command, env=site.settings(), check=True)
        assert "is ready, for the members of pkgshare" in done.stdout
        store, environment = client / "store", site.environment(usera)
        said = site.install(usera, environment, store, *NAMES)
        assert "WARNING" not in said
        command = environment.command("store", "doctor", "--environment", environment.prefix)
        said = run_as(usera, command, env=site.settings(store)).stdout
        assert "publishing:          works" in said


@probes.needs(probes.fuse)
@pytest.mark.parametrize(("squash", "name"), OTHERS)
@pytest.mark.parametrize("made", ["by hand", "by init"])
def test_installation_by_a_mapped_root_says_so_once_and_leaves_nothing(
    site: Site, squash: int, name: str, made: str
) -> None:
    """The store is the one that root made there before init refused to, or an open directory."""
    with _served(site, squash) as (client, server):
        store = client / "store"
        (server / "store").mkdir()
        (server / "store").chmod(0o1777)
        if made == "by init":
            for area in ("wheels", "bytecode", "builds", "resolutions"):
                for path in (area, *(f"{area}/{shard:02x}" for shard in range(256))):
                    (server / "store" / path).mkdir()
                    os.chown(server / "store" / path, squash, squash)
            (server / "store" / "use").mkdir()
            os.chown(server / "store" / "use", squash, squash)
        before = _paths(server)
        environment = site.environment(None)
        said = site.install(None, environment, store, *NAMES)
        warnings = [line for line in said.splitlines() if "WARNING" in line]
        assert len(warnings) == 1, said
        assert f"{store}: {WHY.format(name, squash)}; hint: " in warnings[0]
        for one in NAMES:
            assert (environment.site_packages / one / "__init__.py").is_file()
        assert _paths(server) == before

        command = environment.command("store", "doctor", "--environment", environment.prefix)
        with site.administered(environment, store) as settings:
            done = run_as(None, command, env=settings)
        assert done.returncode == 1
        assert f"not possible for you: {WHY.format(name, squash)}" in done.stdout
        assert f"Nothing can be published in {store} by root: " in done.stdout
        assert _paths(server) == before


@probes.needs(probes.fuse)
def test_doctor_says_that_root_publishes_nothing_in_the_store_of_a_group(site: Site) -> None:
    """Installations by root get wheels from there, in a checked copy, and add none."""
    with _served(site, NOBODY) as (client, _):
        store = client / "store"
        command = site.template.command("store", "init", "--layout", "tree", "--group", "pkgshare")
        run_as(site.accounts.usera, [*command, store], env=site.settings(), check=True)
        environment = site.environment(None)
        command = environment.command("store", "doctor", "--environment", environment.prefix)
        why = "a file server may treat root as another user (root_squash)"
        with site.administered(environment, store) as settings:
            done = run_as(None, command, env=settings)
            assert done.returncode == 1
            assert f"publishing: not possible for you: {why}" in " ".join(done.stdout.split())
            assert f"Nothing can be published in {store} by root: {why}." in done.stdout
        userc = site.accounts.userc
        done = run_as(userc, command, env=site.settings(store))
        assert "not possible for you: you may read the store only" in done.stdout
        assert "root_squash" not in done.stdout
