"""`store status --all` of environments that their user cannot read any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, running_site
from support import probes
from support.accounts import Accounts, run_as

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        yield found


@pytest.mark.parametrize("closed", ["environment", "above"])
def test_status_of_all_lists_unreadable_environments(site: Site, closed: str) -> None:
    usera = site.accounts.usera
    one = site.environment(usera)
    env = {**site.settings(), "XDG_DATA_HOME": str(site.directory(usera))}
    enable = site.template.command("store", "enable", "--python", one.prefix)
    command = site.template.command("store", "status", "--all", "--json")
    run_as(usera, enable, env=env, check=True)
    place = one.prefix if closed == "environment" else one.prefix.parent
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        for _ in range(2):  # it is not forgotten
            done = run_as(usera, command, env=env)
            assert done.returncode == 1, done.stdout + done.stderr
            told = json.loads(done.stdout)
            assert (told["environments"], told["gone"]) == ([], [])
            (unread,) = told["unread"]
            assert unread["path"] == str(one.prefix)
            assert "Permission denied" in unread["reason"]
    finally:
        place.chmod(mode & 0o7777)
