"""A store that another user copied or restored: the commands say so, and agree on its entries."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_adopted import NAMES, restored
from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite
from support.faults import faults_of_store
from support.packed import PACK
from support.trees import differences, snapshot

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts)]

ADOPT = "store adopt "


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            rich_wheel(found.wheels, name)
        yield found


def command(
    site: Site, account: Account | None, store: Path, *words: str
) -> tuple[int, dict[str, Any], str]:
    """The exit status, the JSON result, and the text for people."""
    made = site.template.command("store", *words)
    text = run_as(account, made, env=site.settings(store))
    done = run_as(account, [*made, "--json"], env=site.settings(store))
    assert text.returncode == done.returncode, text.stdout + done.stderr
    assert "Traceback" not in text.stderr + done.stderr
    return done.returncode, json.loads(done.stdout), text.stdout + text.stderr


@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("reader", ["usera", "root"])
def test_commands_call_it_copied_and_agree(site: Site, reader: str, layout: str) -> None:
    account, userb = site.account(reader), site.accounts.userb
    store = restored(site, userb, site.directory(None), layout)
    told = {
        words: command(site, account, store, *words.split())
        for words in ("list --bytecode", "verify", "stats", "doctor", "info alpha")
    }
    for words, (status, _, text) in told.items():
        assert status == 1, words
        assert "amaged entry" not in text, text
        assert "was changed after" not in text, text
        lines = [line for line in text.splitlines() if "copied or restored without" in line]
        assert len(lines) == 1, text
        assert f"of {userb.name} in {store}" in lines[0]
        assert f"{ADOPT}{store}" in text
    listed, verified, stats = (told[w][1] for w in ("list --bytecode", "verify", "stats"))
    everything = stats["entries"]
    assert (stats["wheels"], stats["bytecode"]) == (2, 2)
    assert (stats["damaged"], stats["copied"]) == (0, everything)
    assert verified["checked"] == everything
    assert (len(verified["damaged"]), len(verified["copied"])) == (0, everything)
    assert f"0 damaged, {everything} copied" in told["verify"][2]
    assert [one["copied"] for one in listed["entries"]] == [True] * 4
    assert not any(one["damage"] for one in listed["entries"])
    size = sum(one["bytes"] for one in listed["entries"])
    assert 0 < size == stats["stored"] - stats["resolutions_stored"] - stats["judged_pages_stored"]
    assert "Total: 2 wheels, " in told["list --bytecode"][2]
    publishers = told["doctor"][1]["facts"]["entries"]
    assert [one["entries"] for one in publishers] == [everything]


def test_installation_says_once_why_it_copies(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = restored(site, userb, site.directory(None))
    site.index.clear()
    environment = site.environment(usera)
    said = site.install(usera, environment, store, "-v", *NAMES)
    assert "amaged" not in said
    (line,) = [line for line in said.splitlines() if "copied or restored without" in line]
    assert line.strip().startswith(f"Shared store: wheels of {userb.name} in {store} are checked")
    assert f"{ADOPT}{store}" in line
    assert "publisher is not trusted" not in said
    assert site.index.wheel_requests() == []
    assert differences(site.plain_tree(0o022, *NAMES), snapshot(environment.prefix)) == []


def test_offline_installs_from_it(site: Site) -> None:
    usera = site.accounts.usera
    store = restored(site, site.accounts.userb, site.directory(None))
    environment = site.environment(usera)
    site.install(usera, environment, store, *NAMES, PIP_SHAREDCACHE_OFFLINE="yes")
    assert differences(site.plain_tree(0o022, *NAMES), snapshot(environment.prefix)) == []


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_other_bytes_are_damage_all_the_same(site: Site, layout: str) -> None:
    usera = site.accounts.usera
    store = restored(site, site.accounts.userb, site.directory(None), layout)
    entry = entry_of(store, "alpha")
    file = entry / (PACK if layout == "packed" else "files/alpha/__init__.py")
    rewrite(file, file.read_bytes().replace(b"print", b"prinT"))
    os.utime(file)
    _, found, text = command(site, usera, store, "verify")
    assert [one["path"] for one in found["damaged"]] == [str(entry)]
    assert len(found["copied"]) == found["checked"] - 1
    assert f"{file} has other bytes" in text or f"{file} " in text


def test_roots_repair_makes_it_sound(site: Site) -> None:
    userb = site.accounts.userb
    store = restored(site, userb, site.directory(None))
    done = run_as(None, site.template.command("store", "verify", "--fix"), env=site.settings(store))
    assert done.returncode == 1
    many = sum(1 for _ in store.glob("[wbr]*/*/.dead-*"))
    assert f": 0 damaged, {many} copied without their times, {many} of them repaired" in done.stdout
    status, found, text = command(site, None, store, "verify")
    assert (status, found["damaged"], found["copied"]) == (0, [], []), text
    assert faults_of_store(store) == []
