"""Without a network, wheels of publishers that a user does not trust are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import probes
from support.accounts import Accounts, run_as

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", "1.0")
        yield found


def test_a_members_newer_wheel_is_not_offered_to_who_does_not_trust_members(site: Site) -> None:
    """No index says which bytes are alpha 9: the member alone does, and pip would choose it."""
    store, accounts = site.make_store(None), site.accounts
    site.install(None, site.environment(None), store, "alpha")
    rich_wheel(site.wheels, "alpha", "9.0")
    site.install(accounts.usera, site.environment(accounts.usera), store, "alpha==9.0")
    for trust, version in (("owner", "1.0"), ("owner @pkgshare", "9.0")):
        environment = site.environment(accounts.userb)
        said = site.install(
            accounts.userb,
            environment,
            store,
            "alpha",
            PIP_SHAREDCACHE_OFFLINE="yes",
            PIP_SHAREDCACHE_TRUST=trust,
        )
        assert f"Successfully installed alpha-{version}" in said
    environment = site.environment(accounts.userb)
    env = site.settings(store, PIP_SHAREDCACHE_OFFLINE="yes", PIP_SHAREDCACHE_TRUST="owner")
    command = environment.command("install", "alpha==9.0")
    done = run_as(accounts.userb, command, env=env)
    assert done.returncode == 1
    assert "(wheels: 1; of untrusted publishers, not used: 1)" in done.stderr
