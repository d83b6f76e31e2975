"""A store that was copied without its times: restored from a CI cache, an archive, or by cp -r."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.packed import PACK, is_packed
from support.trees import differences, snapshot

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts)]

NAMES = ("alpha", "beta")


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            rich_wheel(found.wheels, name)
        yield found


def _by_cp(store: Path, copy: Path) -> str:
    return f"cp -r {store} {copy}"


def _by_tar(store: Path, copy: Path) -> str:
    return f"mkdir {copy} && tar -C {store} -cf - . | tar -C {copy} --touch -xf -"


def _by_zip(store: Path, copy: Path) -> str:
    """Times of two seconds, and no modes: as artifacts of CI services are kept."""
    make = f"import shutil; shutil.make_archive('{copy}', 'zip', '{store}')"
    take = f"import zipfile; zipfile.ZipFile('{copy}.zip').extractall('{copy}')"
    return f'python3 -c "{make}" && python3 -c "{take}"'


Copy = Callable[[Path, Path], str]


def _restored(site: Site, user: Account, layout: str, copy: Copy) -> Path:
    """The store of ``user`` with NAMES, as it is after the copy; the first one is gone."""
    home = site.directory(user)
    store = home / "store"
    command = site.template.command("store", "init", "--layout", layout, store)
    run_as(user, command, env=site.settings(), check=True)
    site.install(user, site.environment(user), store, *NAMES)
    run_as(user, ["sh", "-ec", copy(store, home / "restored")], check=True)
    subprocess.run(["rm", "-rf", store], check=True)
    return home / "restored"


@pytest.mark.parametrize(
    ("layout", "copy", "umask"),
    [
        ("tree", _by_cp, 0o022),
        ("packed", _by_cp, 0o077),
        ("packed", _by_tar, 0o002),
        ("tree", _by_tar, 0o077),
        ("tree", _by_zip, 0o022),
        ("packed", _by_zip, 0o022),
    ],
)
def test_restored_store_serves_and_says_nothing(
    site: Site, layout: str, copy: Copy, umask: int
) -> None:
    usera = site.accounts.usera
    store = _restored(site, usera, layout, copy)
    site.index.clear()
    environment = site.environment(usera)
    said = site.install(usera, environment, store, *NAMES, umask=umask)
    assert "WARNING" not in said
    assert "2 of 2 distributions from" in said
    assert site.index.wheel_requests() == []
    assert differences(site.plain_tree(umask, *NAMES), snapshot(environment.prefix)) == []
    assert is_packed(entry_of(store, "alpha")) is (layout == "packed")
    done = run_as(usera, site.template.command("store", "verify"), env=site.settings(store))
    assert done.returncode == 0, done.stdout + done.stderr


def test_modes_that_were_lost_are_one_line(site: Site) -> None:
    usera = site.accounts.usera
    store = _restored(site, usera, "tree", _by_cp)
    site.install(usera, site.environment(usera), store, *NAMES)
    entry = entry_of(store, "alpha")
    run_as(usera, ["chmod", "-R", "u+w", entry], check=True)
    command = site.template.command("store", "verify", "alpha")
    done = run_as(usera, command, env=site.settings(store))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines() if done.stderr else done.stdout.splitlines()[:1]
    assert f"{entry} has mode 0755, not 0555, and " in line
    assert " more files have this fault (alpha-1.0-py3-none-any.whl, published by usera)" in line


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_what_was_changed_after_the_copy_is_damage(site: Site, layout: str) -> None:
    usera = site.accounts.usera
    store = _restored(site, usera, layout, _by_cp)
    entry = entry_of(store, "alpha")
    file = entry / (PACK if layout == "packed" else "files/alpha/__init__.py")
    changed = file.read_bytes().replace(b"print", b"prinT")
    assert changed != file.read_bytes()
    rewrite(file, changed)
    environment = site.environment(usera)
    said = site.install(usera, environment, store, *NAMES)
    assert said.count("WARNING: Damaged entry") == 1, said
    assert differences(site.plain_tree(0o022, *NAMES), snapshot(environment.prefix)) == []


def test_others_entries_keep_their_times(site: Site) -> None:
    """Only the owner may tell, and only the owner can set them: others copy the wheel."""
    usera, userb = site.accounts.usera, site.accounts.userb
    store = _restored(site, usera, "tree", _by_cp)
    before = entry_of(store, "alpha").joinpath("entry.json").stat().st_mtime_ns
    environment = site.environment(userb)
    site.install(userb, environment, store, *NAMES)
    assert entry_of(store, "alpha").joinpath("entry.json").stat().st_mtime_ns == before
    assert differences(site.plain_tree(0o022, *NAMES), snapshot(environment.prefix)) == []


def test_store_json_that_others_may_write_is_one_line_with_its_repair(site: Site) -> None:
    """As a restore with the umask 0 leaves a store: modes 0777 and 0666."""
    usera, userb = site.accounts.usera, site.accounts.userb
    store = _restored(site, usera, "packed", _by_cp)
    run_as(usera, ["chmod", "-R", "a+rwX", store], check=True)
    doctor = f"PIP_SHAREDCACHE_DIR={store} pip-sharedcache store doctor --fix"
    for user, who in ((usera, ""), (userb, "usera or root can run "), (usera, "")):
        said = site.install(user, site.environment(user), store, "alpha")
        (line,) = [line for line in said.splitlines() if "store.json" in line]
        assert line.strip() == (
            f"WARNING: store.json is not used: {store}/store.json: others could have changed it; "
            f"its group, publishers and layout do not count; hint: {who}{doctor}"
        )
    env = site.settings(store)
    run_as(usera, site.template.command("store", "doctor", "--fix"), env=env)
    said = site.install(usera, site.environment(usera), store, *NAMES)
    assert "WARNING" not in said
    assert is_packed(entry_of(store, "beta"))
