"""A pack that changes while somebody installs from it: after the look-up, before it is placed.

The installation is stopped at the first directory that it makes in the environment, since then the
entry has been looked up and its directory is open, but its pack is not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multiuser.test_attacks import assert_as_plain, assert_fit_for_a_terminal, copy_of, pinned
from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import pack_tampering, packed, probes
from support.accounts import Account, Accounts, run_as, start_as
from support.damage import rewrite
from support.environments import Environment
from support.faults import faults_of_entry, visible_entries
from support.packed import PACK
from support.process import as_user
from support.tampering import EVIL, replace

pytestmark = [
    pytest.mark.multiuser,
    pytest.mark.strace,
    probes.needs(probes.accounts, probes.acl, probes.tmpfs, probes.strace),
]

Action = Callable[[Path], None]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@pytest.fixture(scope="module")
def published(site: Site) -> Path:
    """A packed store made by root for the group, in which usera has published alpha."""
    return site.filled_store("alpha", layout="packed")


@pytest.fixture
def store(site: Site, published: Path) -> Path:
    return copy_of(site, published)


def _install_while(
    site: Site,
    account: Account,
    store: Path,
    act: Callable[[], object],
    *arguments: str,
    **settings: str,
) -> tuple[Environment, str]:
    """Install alpha, and act while the installation is stopped; gives what it said."""
    environment = site.environment(account)
    place = environment.site_packages / "alpha"
    stop = ["-f", "-o", os.devnull, "-P", str(place), "-e", "trace=mkdir"]
    stop += ["-e", "inject=mkdir:signal=SIGSTOP:when=1"]
    argv = ["strace", *stop, *environment.command("install", *(arguments or ["alpha"]))]
    env = site.settings(store, PIP_SHAREDCACHE_PROCESSES="1", **settings)
    process = start_as(account, argv, env=env)
    while not place.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    assert not any(place.iterdir()), "before anything was placed"
    act()
    while process.poll() is None:  # it may be about to stop
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.05)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert_fit_for_a_terminal(output + errors)
    return environment, output + errors


def _as_usera(site: Site, action: Action, entry: Path) -> Callable[[], None]:
    def act() -> None:
        with as_user(site.accounts.usera.uid, site.accounts.usera.gid, [site.accounts.group_gid]):
            action(entry)

    return act


def all_offsets_changed(entry: Path) -> None:
    """The manifest was read before: its offsets are those that count."""
    data = (entry / PACK).read_bytes()
    begin, end = packed.span(data)
    moved = EVIL + data[:begin]
    manifest = json.loads(data[begin:end])
    for row in manifest["files"]:
        row[5] += len(EVIL)
    text = json.dumps(manifest).encode()
    rewrite(entry / PACK, packed.with_text(moved, text, len(moved)))


def pack_cut_in_the_middle(entry: Path) -> None:
    data = (entry / PACK).read_bytes()
    rewrite(entry / PACK, data[: packed.row_of(data, "/data.txt")[0] + 7])


def pack_deleted(entry: Path) -> None:
    replace(entry / PACK, lambda path: None)


def pack_replaced_by_a_tree(entry: Path) -> None:
    pack_tampering.tree_in_place_of_the_pack(entry)


UNSEEN: tuple[Action, ...] = (
    pack_tampering.edited_sources,
    pack_tampering.edited_bytecode,
    all_offsets_changed,
)
SEEN: tuple[Action, ...] = (
    pack_cut_in_the_middle,
    pack_deleted,
    pack_replaced_by_a_tree,
    pack_tampering.fifo_for_the_pack,
    pack_tampering.symlink_for_the_pack,
    pack_tampering.pack_writable_by_the_group,
)
_PROTECTED = [("verify-always", action) for action in (*UNSEEN, SEEN[0])]
_PROTECTED += [("require-hashes", pack_tampering.edited_sources)]
_PROTECTED += [("nothing", action) for action in SEEN]


@pytest.mark.parametrize(
    ("protection", "action"),
    _PROTECTED,
    ids=[f"{name}-{action.__name__}" for name, action in _PROTECTED],
)
def test_a_pack_that_its_publisher_changes_after_the_look_up(
    site: Site, store: Path, protection: str, action: Action
) -> None:
    """What is seen without hashing is seen here, too, and with it everything."""
    userb, act = site.accounts.userb, _as_usera(site, action, entry_of(store, "alpha"))
    always = {"PIP_SHAREDCACHE_VERIFY": "always"} if protection == "verify-always" else {}
    arguments = pinned(site) if protection == "require-hashes" else []
    environment, said = _install_while(site, userb, store, act, *arguments, **always)
    assert_as_plain(site, environment)
    if protection != "require-hashes":  # there, the entry served as a wheel to be checked, only
        assert "Damaged" in said and "usera" in said, said
    sound = [one for one in visible_entries(store) if one.stat().st_uid == userb.uid]
    assert [faults_of_entry(one) for one in sound] == [[]] * len(sound)


# -- maintenance, while somebody installs


def _retire(entry: Path) -> None:
    entry.rename(entry.with_name(f".dead-{entry.name}-00000000"))


def _retire_with_its_bytecode(entry: Path) -> None:
    (bytecode,) = (entry.parents[2] / "bytecode" / entry.parent.name).glob(f"{entry.name}.*")
    _retire(entry)
    _retire(bytecode)


def _delete(entry: Path) -> None:
    shutil.rmtree(entry)


def test_an_entry_that_is_retired_meanwhile_serves_to_the_end(site: Site, store: Path) -> None:
    entry = entry_of(store, "alpha")
    site.index.clear()
    environment, said = _install_while(
        site, site.accounts.userb, store, lambda: _retire_with_its_bytecode(entry)
    )
    assert_as_plain(site, environment)
    assert "WARNING" not in said, said
    assert site.index.wheel_requests() == []


def test_an_entry_that_is_deleted_meanwhile_is_not_called_damaged(site: Site, store: Path) -> None:
    entry = entry_of(store, "alpha")
    environment, said = _install_while(site, site.accounts.userb, store, lambda: _delete(entry))
    assert_as_plain(site, environment)
    assert "Damaged" not in said, said


def test_an_entry_that_is_made_anew_meanwhile_serves_to_the_end(site: Site, store: Path) -> None:
    """`store verify --fix` puts a sound entry in its place; the old one stays for an hour."""
    entry = entry_of(store, "alpha")
    old = entry.stat().st_ino

    def act() -> None:
        data = (entry / PACK).read_bytes()
        rewrite(entry / PACK, packed.flipped(data, len(data) - 1))  # no more needed, once read
        done = run_as(
            None, site.template.command("store", "verify", "--fix"), env=site.settings(store)
        )
        assert "1 of them repaired" in done.stdout, done.stdout + done.stderr

    environment, said = _install_while(site, site.accounts.userb, store, act)
    assert_as_plain(site, environment)
    assert "WARNING" not in said, said
    assert entry.stat().st_ino != old
    assert faults_of_entry(entry) == []
    assert packed.is_packed(entry)
