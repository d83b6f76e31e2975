"""What the publisher of a packed entry does to it, and what somebody else then ends up with.

As in test_attacks for trees: usera publishes and attacks, with his own account. There is one
distribution for each attack, and a victim installs all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_attacks import assert_as_plain, assert_fit_for_a_terminal, copy_of, pinned
from multiuser.test_shared_store import Site, entry_of, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Accounts, run_as
from support.pack_tampering import BY_ROOT, SEEN, UNSEEN, Attack, swapped_wheel_and_sources
from support.process import as_user

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for attack in (*UNSEEN, *SEEN):
            rich_wheel(found.wheels, attack.__name__)
        yield found


@pytest.fixture(scope="module")
def basket(site: Site) -> Path:
    """A packed store made by root for the group, with a wheel of usera's for each attack."""
    return site.filled_store(*(one.__name__ for one in (*UNSEEN, *SEEN)), layout="packed")


def _attack_all(site: Site, attacks: Sequence[Attack], store: Path) -> dict[Attack, Path]:
    """Run each attack with usera's rights on the entry that has its name; gives these entries."""
    usera = site.accounts.usera
    entries = {attack: entry_of(store, attack.__name__) for attack in attacks}
    for attack, entry in entries.items():
        if attack in BY_ROOT:
            attack(entry)
        else:
            with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
                attack(entry)
    return entries


@pytest.mark.parametrize("victim", ["userb-with-hashes", "root"])
@pytest.mark.product
def test_attacks_of_an_untrusted_publisher_on_packs_change_nothing(
    site: Site, basket: Path, victim: str
) -> None:
    store = copy_of(site, basket)
    names = [attack.__name__ for attack in _attack_all(site, (*UNSEEN, *SEEN), store)]
    account = None if victim == "root" else site.accounts.userb
    environment = site.environment(account)
    arguments = names if victim == "root" else pinned(site, *names)
    said = site.install(account, environment, store, *arguments)
    assert_fit_for_a_terminal(said)
    assert_as_plain(site, environment, *names)


def test_visible_attacks_of_a_trusted_publisher_on_packs_change_nothing_and_are_reported(
    site: Site, basket: Path
) -> None:
    store = copy_of(site, basket)
    entries = _attack_all(site, SEEN, store)
    names, userb = [attack.__name__ for attack in entries], site.accounts.userb
    environment = site.environment(userb)
    # Without -v, many warnings of one kind are one line.
    said = site.install(userb, environment, store, "-v", *names)
    assert_fit_for_a_terminal(said)
    assert_as_plain(site, environment, *names)
    lines = [line for line in said.splitlines() if "usera" in line]
    silent = [
        attack.__name__
        for attack, entry in entries.items()
        if not any(entry.name in line for line in lines)
    ]
    assert silent == []


@pytest.mark.parametrize("protection", ["require-hashes", "trust-owner", "verify-always"])
@pytest.mark.product
def test_what_protects_from_unseen_attacks_on_packs(
    site: Site, basket: Path, protection: str
) -> None:
    store, userb = copy_of(site, basket), site.accounts.userb
    attacks = list(UNSEEN)
    if protection == "verify-always":  # bytecode has no digest, and this wheel's is the entry's
        attacks.remove(swapped_wheel_and_sources)
    names = [attack.__name__ for attack in _attack_all(site, attacks, store)]
    settings = {"trust-owner": ("TRUST", "owner"), "verify-always": ("VERIFY", "always")}
    key, value = settings.get(protection, ("TRUST", None))
    arguments = pinned(site, *names) if protection == "require-hashes" else names
    environment = site.environment(userb)
    changes: dict[str, Any] = {f"PIP_SHAREDCACHE_{key}": value}
    said = site.install(userb, environment, store, *arguments, **changes)
    assert_as_plain(site, environment, *names)
    assert "usera" in said


def test_commands_report_all_attacks_on_packs_and_end(site: Site, basket: Path) -> None:
    store = copy_of(site, basket)
    entries = _attack_all(site, (*UNSEEN, *SEEN), store)
    for command in (["list", "--bytecode", "-v"], ["info", "alpha"], ["stats"], ["doctor"]):
        done = run_as(
            site.accounts.userb,
            site.template.command("store", *command),
            env=site.settings(store),
            timeout=120,
        )
        assert done.returncode in (0, 1), done.stderr
        assert_fit_for_a_terminal(done.stdout + done.stderr)
    verify = site.template.command("store", "verify", "--json")
    before = inodes(store)  # doctor has made and deleted a probe
    done = run_as(site.accounts.userb, verify, env=site.settings(store), timeout=120)
    assert done.returncode == 1, done.stderr
    assert inodes(store) == before
    found = {Path(one["path"]).name[:64] for one in json.loads(done.stdout)["damaged"]}
    missed = [attack.__name__ for attack, entry in entries.items() if entry.name not in found]
    assert missed == []
    fixed = run_as(None, [*verify[:-1], "--fix"], env=site.settings(store), timeout=120)
    assert fixed.returncode == 1, fixed.stderr
    assert run_as(None, verify, env=site.settings(store)).returncode == 0
