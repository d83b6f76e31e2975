"""Processes that do not know who owns a file, or run as nobody: what they take from a store."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.process import as_user
from support.tampering import evil_like

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

SOURCE = "alpha/__init__.py"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


def install(site: Site, account: Account | None, store: Path, *before: str) -> tuple[bytes, str]:
    """Install alpha as ``account`` by a command that begins with ``before``; give the bytes of its
    source then, and what was said."""
    environment = site.environment(account)
    command = [*before, *environment.command("install", "alpha")]
    done = run_as(account, command, env=site.settings(store), check=True)
    return (environment.site_packages / SOURCE).read_bytes(), done.stdout + done.stderr


@probes.needs(probes.fakeroot, probes.proot)
def test_a_forged_entry_is_not_installed_where_owners_are_hidden(site: Site) -> None:
    store, usera, userb = site.make_store(None), site.accounts.usera, site.accounts.userb
    (store / "store.json").unlink()  # nobody is named: each trusts root and himself
    sound, _ = install(site, usera, store)
    entry = entry_of(store, "alpha")
    source = entry / "files" / SOURCE
    with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
        rewrite(source, evil_like(source))
    before = sorted(store.rglob("*"))
    for account, *command in ((userb, "fakeroot"), (userb, "proot", "-0"), (None, "fakeroot")):
        installed, said = install(site, account, store, *command)
        assert installed == sound
        assert said.count("File owners cannot be known, since ") == 1
        assert "Shared store: wheels of" not in said
        assert " 0 bytes not downloaded" not in said, "the wheel is served by its digest"
    assert sorted(store.rglob("*")) == before, "nothing is published under a false number"


def test_overflow_uid_installs_from_its_private_store(site: Site) -> None:
    nobody = Account("nobody", 65534, 65534)
    store = site.directory(nobody)
    _, first = install(site, nobody, store)
    assert "1 added to it" in first
    _, second = install(site, nobody, store)
    assert "1 of 1 distributions from" in second
    os.chmod(store / "wheels" / entry_of(store, "alpha").parent.name, 0o777)
    _, third = install(site, nobody, store)
    assert "0 of 1 distributions from" in third, "anyone may have published that"


def test_store_commands_without_a_home_or_an_account_use_the_store_that_is_named(
    site: Site,
) -> None:
    store = site.make_store(None)
    who = ["setpriv", "--reuid=1000123457", "--regid=1000123457", "--clear-groups"]
    where = ["env", "-i", "PATH=/usr/bin:/bin", f"PIP_SHAREDCACHE_DIR={store}"]
    command = [*who, "--", *where, *site.template.command("store", "path")]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert (done.stdout, done.stderr, done.returncode) == (f"{store}\n", "", 0)
