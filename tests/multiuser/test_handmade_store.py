"""A directory made by hand as the store: whoever comes first makes what is missing, and nobody
but root, the directory's owner and oneself is trusted."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import (
    Site,
    assert_sealed,
    entries,
    entry_of,
    foreign_changes,
    inodes,
    owners,
    rich_wheel,
    running_site,
)
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.tampering import EVIL, evil_like
from support.trees import differences, snapshot

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

GROUP_ACL = "g:pkgshare:rwx,m::rwx"
KINDS = ("2775", "3775", "0777", "1777", "acl")
UMASKS = {"usera": 0o077, "userb": 0o022, "userc": 0o002, "root": 0o027}


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in ("alpha", "beta", "gamma"):
            rich_wheel(found.wheels, name)
        yield found


def make_by_hand(site: Site, kind: str, owner: Account | None) -> Path:
    """An empty directory, as somebody makes it who has not read the manual."""
    store = site.directory(owner) / "store"
    store.mkdir(mode=0o755)
    group = site.accounts.group_gid if kind in ("2775", "3775") else -1
    os.chown(store, owner.uid if owner else 0, group)
    if kind == "acl":
        store.chmod(0o755)
        subprocess.run(["setfacl", "-m", GROUP_ACL, store], check=True)
        subprocess.run(["setfacl", "-d", "-m", f"{GROUP_ACL},o::---", store], check=True)
    else:
        store.chmod(int(kind, 8))
    return store


def install(
    site: Site, name: str, store: Path, *packages: str, expected: str | None = None
) -> tuple[str, list[str]]:
    """Somebody installs with a umask of his own into a new environment, which must then be what
    plain pip would have made of the right wheels, and nothing of others in the store may have
    changed. Gives what was said, and the wheels that were downloaded."""
    account = site.account(name)
    uid = account.uid if account else 0
    environment = site.environment(account)
    before = inodes(store)
    site.index.clear()
    said = site.install(account, environment, store, "--no-compile", *packages, umask=UMASKS[name])
    downloaded = site.index.wheel_requests()
    assert foreign_changes(before, inodes(store), uid) == []
    plain = site.plain_tree(UMASKS[name], "--no-compile", *packages)
    assert differences(plain, snapshot(environment.prefix)) == []
    assert owners(environment.prefix) == {(uid, account.gid if account else 0)}
    for entry in entries(store):
        assert_sealed(entry)
    return said, [path.rpartition("/")[2].partition("-")[0] for path in downloaded]


def publishers(store: Path, wheel: str) -> set[int]:
    """Who has published a wheel whose file name starts so."""
    return {entry.stat().st_uid for entry in entries(store) if any(entry.glob(f"{wheel}-*.whl"))}


kinds = pytest.mark.parametrize("kind", KINDS)
owned = pytest.mark.parametrize("owner", ["root", "usera"], ids=["of-root", "of-usera"])


@kinds
@owned
def test_users_first_and_root_later(site: Site, kind: str, owner: str) -> None:
    store = make_by_hand(site, kind, site.account(owner))
    ids = {name: site.account(name).uid for name in ("usera", "userb", "userc")}  # type: ignore[union-attr]

    said, downloaded = install(site, "usera", store, "alpha")
    assert downloaded == ["alpha"]
    assert "1 added to it" in said
    assert publishers(store, "alpha") == {ids["usera"]}

    said, downloaded = install(site, "userb", store, "alpha", "beta")
    assert downloaded == ["beta"]
    assert ("Using a checked copy of alpha" in said) == (owner == "root")
    assert publishers(store, "beta") == {ids["userb"]}
    if owner == "usera":
        assert publishers(store, "alpha") == {ids["usera"]}
        assert "1 of 2 distributions from" in said

    for again in ("alpha", "beta"):
        said, downloaded = install(site, "userb", store, again)
        assert downloaded == []
        assert f"Using {again}" in said, "his own copy is as good as anybody's"
        assert "1 of 1 distributions from" in said

    said, downloaded = install(site, "root", store, "alpha", "beta")
    assert downloaded == []
    assert said.count("Using a checked copy") == (2 if owner == "root" else 1)
    assert 0 in publishers(store, "beta")
    assert (0 in publishers(store, "alpha")) == (owner == "root")

    said, downloaded = install(site, "userc", store, "alpha", "beta", "gamma")
    assert downloaded == ["gamma"]
    assert "2 of 3 distributions from" in said
    assert "checked copy" not in said
    writable = kind in ("0777", "1777")
    assert publishers(store, "gamma") == ({ids["userc"]} if writable else set())
    assert ("installed by pip alone: you may not write the store" in said) != writable


@kinds
@owned
def test_root_first_and_users_later(site: Site, kind: str, owner: str) -> None:
    store = make_by_hand(site, kind, site.account(owner))
    said, downloaded = install(site, "root", store, "alpha")
    assert downloaded == ["alpha"]
    assert publishers(store, "alpha") == {0}
    for name, own in (("usera", "beta"), ("userb", "gamma")):
        said, downloaded = install(site, name, store, "alpha", own)
        assert downloaded == [own]
        assert "1 of 2 distributions from" in said
        assert "1 added to it" in said
        assert "checked copy" not in said
        assert publishers(store, own) == {site.account(name).uid}  # type: ignore[union-attr]
    said, downloaded = install(site, "userc", store, "alpha")
    assert downloaded == []
    assert publishers(store, "alpha") == {0}


@kinds
@owned
def test_first_comer_lets_the_others_in(site: Site, kind: str, owner: str) -> None:
    """What is made first has the modes of the directory, sticky where several may write."""
    store = make_by_hand(site, kind, site.account(owner))
    install(site, "usera", store, "alpha")
    top = stat.S_IMODE(store.stat().st_mode)
    (shard,) = (store / "wheels").iterdir()
    for made in (store / "wheels", shard):
        assert oct(made.stat().st_mode & 0o3777) == oct((top | stat.S_ISVTX) & 0o3777)
        if kind in ("2775", "3775"):
            assert made.stat().st_gid == site.accounts.group_gid
    userb = site.accounts.userb
    run_as(userb, ["mkdir", shard / "of-userb"], check=True)
    assert run_as(userb, ["rm", "-rf", entry_of(store, "alpha")]).returncode != 0


@pytest.mark.parametrize("kind", ["3775", "1777"])
def test_only_the_owner_names_trusted_publishers(site: Site, kind: str) -> None:
    store = make_by_hand(site, kind, None)
    named = json.dumps({"format": 1, "group": "pkgshare", "trusted": ["@pkgshare", "usera"]})
    own = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    python = site.template.python
    run_as(site.accounts.usera, [python, "-c", own, store / "store.json", named], check=True)
    install(site, "usera", store, "alpha")
    said, downloaded = install(site, "userb", store, "alpha")
    assert downloaded == []
    assert "Using a checked copy of alpha" in said


# -- a publisher whom nobody trusts, and who changes what he published

Tampering = Callable[[Path], None]


def the_wheel(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    data = wheel.read_bytes()
    rewrite(wheel, data[:-30] + b"\0" * 30)


def a_whole_other_wheel(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    evil = rich_wheel(entry.parents[3] / "evil", "alpha", "1.0", requires="evil")
    data = evil.read_bytes()
    shutil.rmtree(evil.parent)
    rewrite(wheel, data)
    manifest = json.loads((entry / "entry.json").read_bytes())
    manifest["size"] = len(data)
    rewrite(entry / "entry.json", json.dumps(manifest).encode())


def the_files(entry: Path) -> None:
    for path in (entry / "files" / "alpha").rglob("*"):
        if path.is_file():
            rewrite(path, evil_like(path))


def files_and_manifest(entry: Path) -> None:
    evil = entry / "files" / "alpha" / "__init__.py"
    rewrite(evil, EVIL)
    manifest = json.loads((entry / "entry.json").read_bytes())
    for row in manifest["files"]:
        if row[0] == "alpha/__init__.py":
            row[1] = len(EVIL)
            row[2] = "0" * 64
    rewrite(entry / "entry.json", json.dumps(manifest).encode())


def a_file_more(entry: Path) -> None:
    directory = entry / "files" / "alpha"
    directory.chmod(0o755)
    (directory / "more.py").write_bytes(EVIL)
    directory.chmod(0o555)
    manifest = json.loads((entry / "entry.json").read_bytes())
    first = manifest["files"][0]
    manifest["files"].append(["alpha/more.py", len(EVIL), "0" * 64, 0, first[4]])
    rewrite(entry / "entry.json", json.dumps(manifest).encode())


def not_a_manifest(entry: Path) -> None:
    rewrite(entry / "entry.json", b'{"format": 1')


def a_link_in_place_of_the_wheel(entry: Path) -> None:
    (wheel,) = entry.glob("*.whl")
    entry.chmod(0o755)
    wheel.unlink()
    wheel.symlink_to("/etc/passwd")
    entry.chmod(0o555)


@pytest.mark.parametrize(("kind", "who"), [("2775", "userb"), ("1777", "root")])
@pytest.mark.parametrize(
    "tamper",
    [
        the_wheel,
        a_whole_other_wheel,
        the_files,
        files_and_manifest,
        a_file_more,
        not_a_manifest,
        a_link_in_place_of_the_wheel,
    ],
    ids=lambda tamper: tamper.__name__.replace("_", "-"),
)
def test_change_by_an_untrusted_publisher_reaches_no_environment(
    site: Site, kind: str, tamper: Tampering, who: str
) -> None:
    store = make_by_hand(site, kind, None)
    install(site, "usera", store, "alpha")
    entry = entry_of(store, "alpha")
    tamper(entry)
    environment = site.environment(site.account(who))
    said = site.install(site.account(who), environment, store, "--no-compile", "alpha")
    expected = site.plain_tree(0o022, "--no-compile", "alpha")
    assert differences(expected, snapshot(environment.prefix)) == []
    assert "Traceback" not in said
    assert _right_wheels(site, store) >= {0 if who == "root" else site.accounts.userb.uid}
    if tamper in (the_wheel, a_whole_other_wheel):
        assert "published by usera" in said


def _right_wheels(site: Site, store: Path) -> set[int]:
    """Who has an entry with the index's own bytes of alpha."""
    right = (site.wheels / "alpha-1.0-py3-none-any.whl").read_bytes()
    return {
        wheel.lstat().st_uid
        for entry in entries(store)
        for wheel in entry.glob("alpha-*.whl")
        if not wheel.is_symlink() and wheel.read_bytes() == right
    }


@pytest.mark.parametrize("kind", ["2775", "1777"])
def test_damaged_entry_of_the_trusted_owner_is_not_taken_for_the_wheel(
    site: Site, kind: str
) -> None:
    store = make_by_hand(site, kind, site.accounts.usera)
    install(site, "usera", store, "alpha")
    the_wheel(entry_of(store, "alpha"))
    environment = site.environment(site.accounts.userb)
    said = site.install(site.accounts.userb, environment, store, "--no-compile", "alpha")
    assert "usera" in said
    expected = site.plain_tree(0o022, "--no-compile", "alpha")
    assert differences(expected, snapshot(environment.prefix)) == []


@pytest.mark.parametrize("kind", ["0777", "1777"])
def test_shards_that_a_stranger_made_first_do_no_harm(site: Site, kind: str) -> None:
    """Whoever made a shard may rename in it: a link in place of an entry is not followed."""
    store = make_by_hand(site, kind, None)
    usera = site.accounts.usera
    install(site, "usera", store, "alpha")
    install(site, "userb", store, "alpha")
    own = entry_of_user(store, site.accounts.userb, "alpha")
    assert own.parent.stat().st_uid == usera.uid
    evil = site.directory(usera) / "evil"
    shutil.copytree(own, evil)
    for path in (evil / "files" / "alpha").rglob("*.py"):
        rewrite(path, evil_like(path))
    # As if it had once been userb's own: only that it is reached by a link is wrong with it.
    subprocess.run(["chown", "-hR", f"{site.accounts.userb.uid}", evil], check=True)
    run_as(usera, ["mv", own, own.with_name("kept")], check=True)
    run_as(usera, ["ln", "-s", evil, own], check=True)
    environment = site.environment(site.accounts.userb)
    site.install(site.accounts.userb, environment, store, "--no-compile", "alpha")
    expected = site.plain_tree(0o022, "--no-compile", "alpha")
    assert differences(expected, snapshot(environment.prefix)) == []


def entry_of_user(store: Path, account: Account, wheel: str) -> Path:
    """The entry of a wheel that this account published."""
    (found,) = [
        entry
        for entry in entries(store)
        if entry.stat().st_uid == account.uid and any(entry.glob(f"{wheel}-*.whl"))
    ]
    return found
