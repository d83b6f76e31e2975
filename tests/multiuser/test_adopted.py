"""`store adopt`: a store that was restored under another owner becomes a user's own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_shared_store import Site, entry_of, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import damage
from support.faults import faults_of_store
from support.filesystems import mounted
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]

NAMES = ("alpha", "beta")
ALPHA = "alpha-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            rich_wheel(found.wheels, name)
        make_wheel(found.wheels, "large", files={"large/data": os.urandom(3 << 20)})
        yield found


def restored(
    site: Site, owner: Account | None, home: Path, layout: str = "tree", *more: str
) -> Path:
    """A store with NAMES, and more, below ``home``; all is ``owner``'s, and has lost its times."""
    make = site.directory(site.accounts.userc)
    store = make / "store"
    command = site.template.command("store", "init", "--layout", layout, store)
    run_as(site.accounts.userc, command, env=site.settings(), check=True)
    site.install(site.accounts.userc, site.environment(site.accounts.userc), store, *NAMES, *more)
    copy = home / "restored"
    text = f"mkdir {copy}; tar -C {store} -cf - . | tar -C {copy} --no-same-owner --touch -xf -"
    subprocess.run(["sh", "-ec", text], check=True)
    uid = owner.uid if owner else 0
    subprocess.run(["chown", "-R", f"{uid}:{owner.gid if owner else 0}", copy], check=True)
    return copy


def adopt(
    site: Site, account: Account | None, store: Path, *words: str, status: int = 0
) -> dict[str, Any]:
    command = site.template.command("store", "adopt", "--json", *words, store)
    done = run_as(account, command, env=site.settings())
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def owners(top: Path) -> set[int]:
    return {one.uid for one in inodes(top).values()}


@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("before", ["root", "userb"])
def test_wheels_of_another_owner_become_the_users(site: Site, before: str, layout: str) -> None:
    usera = site.accounts.usera
    home = site.directory(usera)
    store = restored(site, site.account(before), home, layout)
    old = {str(path).replace(str(store), ""): one for path, one in inodes(store).items()}
    told = adopt(site, usera, store, "--layout", layout)
    assert owners(store) == {usera.uid}
    assert sorted(one["title"] for one in told["wheels"]) == [
        f"{name}-1.0-py3-none-any.whl" for name in NAMES
    ]
    assert not any(one["problem"] for one in told["wheels"])
    assert told["not_taken_over"] >= 2, "bytecode"
    assert list(store.glob("bytecode/*/*")) == []
    aside = Path(told["old"])
    now = {str(path).replace(str(aside), ""): one for path, one in inodes(aside).items()}
    for path in old:
        one, other = old[path], now[path]
        assert (one.inode, one.mode, one.uid, one.gid) == (
            other.inode,
            other.mode,
            other.uid,
            other.gid,
        )
        assert one.mtime_ns == other.mtime_ns, path
    assert sorted(path.name for path in home.iterdir()) == sorted([store.name, aside.name])
    site.index.clear()
    environment = site.environment(usera)
    said = site.install(usera, environment, store, *NAMES)
    assert "2 of 2 distributions from" in said
    assert "WARNING" not in said
    assert site.index.wheel_requests() == []
    assert differences(site.plain_tree(0o022, *NAMES), snapshot(environment.prefix)) == []
    assert faults_of_store(store) == []


def test_root_adopts_for_a_group(site: Site) -> None:
    home = site.directory(None)
    store = restored(site, site.accounts.userc, home)
    adopt(site, None, store, "--group", "pkgshare")
    assert owners(store) == {0}
    for member in (site.accounts.usera, site.accounts.userb):
        site.index.clear()
        said = site.install(member, site.environment(member), store, *NAMES)
        assert "2 of 2 distributions from" in said
        assert site.index.wheel_requests() == []
    assert list(store.glob("bytecode/*/*")) != [], "a member has published it"


def test_nothing_of_a_hostile_tree_is_taken_or_touched(site: Site) -> None:
    """The owner of the old tree has put into it what is not theirs, and what is no wheel."""
    userc, usera = site.accounts.userc, site.accounts.usera
    home = site.directory(None)
    store = restored(site, userc, home)
    secret = home / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    alpha = entry_of(store, "alpha")
    damage(alpha / ALPHA, "edited-unseen", home / "outside")
    for number, make in enumerate(("symlink", "fifo", "directory", "colleague", "name")):
        digest = f"{number:064x}"
        entry = store / "wheels" / digest[:2] / digest
        entry.mkdir(parents=True, exist_ok=True)
        wheel = entry / f"gamma-{number}-py3-none-any.whl"
        if make == "symlink":
            wheel.symlink_to(secret)
        elif make == "fifo":
            os.mkfifo(wheel)
        elif make == "directory":
            wheel.mkdir()
        elif make == "colleague":
            entry.rmdir()
            home_of_usera = site.directory(usera)
            (home_of_usera / "work").write_text("usera's")
            os.chown(home_of_usera / "work", usera.uid, usera.gid)
            home_of_usera.rename(entry)
        else:
            (entry / "no wheel at all.whl").write_text("x")
        if make != "colleague":
            subprocess.run(["chown", "-hR", str(userc.uid), entry], check=True)
    outside = inodes(home)
    told = adopt(site, None, store, status=1)
    taken = [one["title"] for one in told["wheels"] if not one["problem"]]
    assert taken == ["beta-1.0-py3-none-any.whl"]
    assert owners(store) == {0}
    assert faults_of_store(store) == []
    for path, one in inodes(store).items():
        assert not one.mode & (stat.S_ISUID | 0o022) or stat.S_ISLNK(one.kind), path
    aside = Path(told["old"])
    for path, one in outside.items():
        moved = path.replace(str(store), str(aside))
        if path not in (str(home), str(store)):
            now = os.lstat(moved)
            assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode), now.st_mtime_ns) == (
                one.uid,
                one.gid,
                one.mode,
                one.mtime_ns,
            ), path


def test_sound_wheel_beside_a_damaged_one_is_taken(site: Site) -> None:
    usera = site.accounts.usera
    store = restored(site, site.accounts.userb, site.directory(usera))
    alpha = entry_of(store, "alpha")
    subprocess.run(["cp", "-a", alpha, f"{alpha}.{usera.uid}"], check=True)
    damage(alpha / ALPHA, "edited-unseen", store.parent / "outside")
    told = adopt(site, usera, store)
    assert not any(one["problem"] for one in told["wheels"])
    assert entry_of(store, "alpha").name == alpha.name


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_modes_that_were_lost_are_those_of_a_store_again(site: Site, layout: str) -> None:
    """Anybody could have changed these files: only their digests tell that they are right."""
    usera = site.accounts.usera
    store = restored(site, site.accounts.userb, site.directory(usera), layout)
    subprocess.run(["chmod", "-R", "a+rwX", store], check=True)
    told = adopt(site, usera, store)
    assert not any(one["problem"] for one in told["wheels"])
    assert len(told["wheels"]) == len(NAMES)
    assert faults_of_store(store) == []


def test_bans_stay(site: Site) -> None:
    usera = site.accounts.usera
    store = restored(site, None, site.directory(usera))
    ban = site.template.command("store", "ban", "alpha==1.0")
    done = run_as(None, ban, env=site.settings(store))
    assert done.returncode == 0, done.stderr
    adopt(site, usera, store)
    site.index.clear()
    said = site.install(usera, site.environment(usera), store, "alpha")
    assert "is banned in" in said
    assert list(store.glob(f"wheels/*/*/{ALPHA}")) == []


def test_full_disk_leaves_the_old_store_in_place(site: Site) -> None:
    usera = site.accounts.usera
    home = site.directory(usera)
    with mounted("tmpfs", home, size_mb=11) as small:
        os.chown(small, usera.uid, usera.gid)
        store = restored(site, site.accounts.userb, small, "tree", "large")
        before = inodes(store)
        told = adopt(site, usera, store, "--layout", "tree", status=2)
        assert "not adopted" in told["error"], told
        assert "No space left" in told["error"], told
        assert inodes(store) == before
        assert [path.name for path in small.iterdir()] == ["restored"]


@pytest.mark.parametrize("why", ["symlink", "mount", "parent", "links", "other", "empty", "own"])
def test_what_cannot_be_adopted_is_refused(site: Site, why: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    home = site.directory(usera)
    store = restored(site, userb, home)
    named, who = store, usera
    who_runs: Account | None = who
    if why == "symlink":
        named = home / "link"
        named.symlink_to(store)
    elif why == "parent":
        who_runs = None  # usera can rename what root makes here
    elif why == "links":
        environment = site.environment(userb)
        site.install(userb, environment, store, "alpha", PIP_SHAREDCACHE_LINK_MODE="symlink")
    elif why == "other":
        named = home / "documents"
        named.mkdir()
        (named / "letter").write_text("")
    elif why == "empty":
        named = home / "empty"
        named.mkdir()
    elif why == "own":
        subprocess.run(["chown", "-R", str(usera.uid), store], check=True)
    before = inodes(home)
    if why == "mount":
        with mounted("tmpfs", home, size_mb=8) as point:
            told = adopt(site, None, point, status=2)
    else:
        told = adopt(site, who_runs, named, status=2)
    reasons = {
        "symlink": "it is a symlink",
        "mount": "it is a mount point",
        "parent": "others can rename files in",
        "links": "lead into it",
        "other": "is no store",
        "empty": "it is no store",
        "own": "it is yours already",
    }
    assert reasons[why] in told["error"], told
    if why != "mount":
        assert inodes(home) == before


@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("who", ["owner", "root"])
def test_hint_deletes_the_old_store(site: Site, who: str, layout: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    home = site.directory(usera)
    home.chmod(0o777)
    store = restored(site, userb, home, layout)
    command = site.template.command("store", "adopt", "--layout", layout, store)
    done = run_as(usera, command, env=site.settings(), check=True)
    (hint,) = [line for line in done.stdout.splitlines() if line.startswith("The old store is in")]
    assert "its owner or root can delete it: pip-sharedcache store clean " in hint
    aside = hint.rpartition(" ")[2]
    clean = site.template.command("store", "clean", "--yes", aside)
    refused = run_as(usera, clean, env=site.settings())
    assert f"it belongs to {userb.name}" in refused.stderr
    done = run_as(userb if who == "owner" else None, clean, env=site.settings())
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(home.iterdir()) == [store]
