"""Without a network, wheels of publishers that a user does not trust are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Accounts, run_as
from support.wheels import make_wheel

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


def test_a_members_wheel_of_any_name_reaches_who_trusts_members(site: Site) -> None:
    """What SECURITY.md says of --offline, and of trust and --require-hashes with it."""
    store, accounts = site.make_store(None), site.accounts
    usera, userb = accounts.usera, accounts.userb
    rich_wheel(site.wheels, "beta", "1.0")
    site.install(None, site.environment(None), store, "beta")
    theirs = site.directory(usera)
    made = make_wheel(theirs, "beta", "9.0")  # no index has it
    here = site.environment(usera)
    site.install(usera, here, store, str(made), PIP_SHAREDCACHE_SHARE=str(theirs))
    sound, hostile = (
        f"beta=={version} --hash=sha256:{entry_of(store, f'beta-{version}').name}"
        for version in ("1.0", "9.0")
    )
    checked = f"wheels of usera in {store} are checked in a copy"
    for line, trust, said in [
        ("beta", None, "Successfully installed beta-9.0"),
        ("beta", "owner", "Successfully installed beta-1.0"),
        (sound, None, "Successfully installed beta-1.0"),
        (hostile, "owner", "No matching distribution found for beta==9.0"),
        (f"beta==9.0 --hash=sha256:{'0' * 64}", None, "DO NOT MATCH THE HASHES"),
        (hostile, None, checked),
    ]:
        file = site.directory(userb) / "requirements.txt"
        file.write_text(f"{line}\n")
        env = site.settings(store, PIP_SHAREDCACHE_OFFLINE="yes", PIP_SHAREDCACHE_TRUST=trust)
        done = run_as(userb, site.environment(userb).command("install", "-r", str(file)), env=env)
        assert said in done.stdout + done.stderr, (line, trust)
        installs = said == checked or said.startswith("Successfully")
        assert (done.returncode == 0) is installs, (line, trust)
