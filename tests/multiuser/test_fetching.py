"""`pip download` from a store that others fill: only checked bytes, with the user's own modes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import damage
from support.wheels import digest

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts)]

COPY = "Using a checked copy of alpha-1.0-py3-none-any.whl from the shared store"
OWN = "Using alpha-1.0-py3-none-any.whl from the shared store"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", "1.0")
        yield found


@pytest.fixture
def store(site: Site) -> Path:
    """A store of root's for the group, in which usera has published alpha."""
    store = site.make_store(None)
    site.install(site.accounts.usera, site.environment(site.accounts.usera), store, "alpha")
    return store


def download(
    site: Site, account: Account | None, store: Path, umask: int = 0o022, **settings: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    directory = site.directory(account)
    environment = site.environment(account)
    site.index.clear()
    done = run_as(
        account,
        environment.command("download", "--no-deps", "-d", str(directory), "alpha"),
        env=site.settings(store, **settings),
        umask=umask,
    )
    assert done.returncode == 0, done.stderr
    (file,) = directory.iterdir()
    assert file.read_bytes() == (site.wheels / file.name).read_bytes()
    return file, done


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("who", ["userb", "userc", "root"])
def test_each_user_gets_a_file_with_the_modes_of_a_download(
    site: Site, store: Path, who: str, umask: int
) -> None:
    """userc, who is in no group, trusts members as the store does; root does not."""
    account = site.account(who)
    before = inodes(store)
    file, done = download(site, account, store, umask)
    assert site.index.wheel_requests() == []
    assert (COPY if who == "root" else OWN) in done.stdout
    status = file.stat()
    assert status.st_mode & 0o7777 == 0o666 & ~umask
    assert status.st_uid == (account.uid if account else 0)
    assert {path: one for path, one in inodes(store).items() if "/use" not in path} == {
        path: one for path, one in before.items() if "/use" not in path
    }


def test_wheel_of_a_distrusted_member_is_copied_and_checked(site: Site, store: Path) -> None:
    _, done = download(site, site.accounts.userb, store, PIP_SHAREDCACHE_TRUST="owner")
    assert site.index.wheel_requests() == []
    assert COPY in done.stdout


@pytest.mark.parametrize("who", ["userb", "root"])
def test_poisoned_wheel_is_never_kept(site: Site, store: Path, tmp_path: Path, who: str) -> None:
    """Its publisher changes it, of the same size and time, before the download."""
    wheel = entry_of(store, "alpha") / "alpha-1.0-py3-none-any.whl"
    damage(wheel, "edited-unseen", tmp_path / "outside")
    assert digest(wheel) != entry_of(store, "alpha").name
    download(site, site.account(who), store)
    assert site.index.wheel_requests() == ["/files/alpha-1.0-py3-none-any.whl"]


def test_banned_wheel_is_downloaded(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    done = run_as(
        None,
        site.environment(None).command("store", "ban", "alpha==1.0"),
        env=site.settings(store),
    )
    assert done.returncode == 0, done.stderr
    download(site, userb, store)
    assert site.index.wheel_requests() == ["/files/alpha-1.0-py3-none-any.whl"]
