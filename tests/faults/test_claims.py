"""Runs that miss the same wheels at once: one downloads them, and no neighbour costs much."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, running_site
from pip_sharedcache.fs import HOST
from support import probes
from support.accounts import Account, Accounts, run_as, start_as, stop
from support.faults import faults_of_store, visible_entries
from support.index import LocalIndex
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

NAMES = [f"shared{number}" for number in range(8)]
PROCESSES = 8


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            make_wheel(found.wheels, name, files={f"{name}/__init__.py": "A = 1\n"})
        yield found


def _claim(store: Path, account: Account, names: list[str], site: Site, who: str) -> Path:
    """A claim of a user, who is at work according to its name."""
    wheels = (site.wheels / f"{name}-1.0-py3-none-any.whl" for name in names)
    digests = [digest(wheel) for wheel in wheels]
    use = store / "use" / str(account.uid)
    use.mkdir(exist_ok=True)
    claim = use / f"getting-{who}-0a0b"
    claim.write_text(json.dumps(digests))
    for path in (use, claim):
        os.chown(path, account.uid, site.accounts.group_gid)
    return claim


def _downloads(site: Site) -> Counter[str]:
    return Counter(Path(path).name.partition("-")[0] for path in site.index.wheel_requests())


def test_eight_runs_that_miss_the_same_wheels_download_each_once(site: Site) -> None:
    store = site.make_store(None)
    runs = []
    site.index.clear()
    for number in range(PROCESSES):
        account = (site.accounts.usera, site.accounts.userb)[number % 2]
        environment = site.environment(account)
        command = environment.command("install", *NAMES)
        runs.append((environment, start_as(account, command, env=site.settings(store))))
    for environment, run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, out + err
        assert "WARNING" not in err
        for name in NAMES:
            assert (environment.site_packages / name / "__init__.py").is_file()
    assert _downloads(site) == dict.fromkeys(NAMES, 1)
    assert faults_of_store(store) == []
    assert len(visible_entries(store)) == len(NAMES)
    assert not list(store.glob("use/*/getting-*"))


def test_runs_that_download_while_they_resolve_take_turns_as_well(site: Site) -> None:
    """The index gives no metadata apart (PEP 658), so that pip downloads a wheel to read it."""
    store, usera = site.make_store(None), site.accounts.usera
    environments = [site.environment(usera) for _ in range(3)]
    with LocalIndex(site.wheels, metadata=False) as index:
        settings = site.settings(store, PIP_INDEX_URL=index.url)
        commands = (environment.command("install", *NAMES) for environment in environments)
        runs = [start_as(usera, command, env=settings) for command in commands]
        for run in runs:
            out, err = run.communicate(timeout=300)
            assert run.returncode == 0, out + err
            assert "WARNING" not in err
        asked = Counter(Path(path).name.partition("-")[0] for path in index.wheel_requests())
    assert asked == dict.fromkeys(NAMES, 1)
    assert not list(store.glob("use/*/getting-*"))


KINDS = ["of an ended process", "of an untrusted user", "of many more", "with a foreign process"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_waits_for_nobody_who_is_not_going_to_publish_them_soon(
    site: Site, kind: str
) -> None:
    store, accounts = site.make_store(None), site.accounts
    claimer = accounts.userc if kind == "of an untrusted user" else accounts.userb
    worker = accounts.userc if kind == "with a foreign process" else claimer
    names, wanted = NAMES, NAMES
    if kind == "of many more":
        wanted = NAMES[:3]
    if kind == "of an untrusted user":  # in an open directory, each user trusts root alone
        store = site.directory(mode=0o1777)
        (store / "use").mkdir()
        (store / "use").chmod(0o1777)
    living = start_as(worker, ["sleep", "300"])
    pid = living.pid
    if kind == "of an ended process":
        stop(living)
    _claim(store, claimer, names, site, f"{HOST}-{pid}")
    environment = site.environment(accounts.usera)
    said = site.install(accounts.usera, environment, store, *wanted)
    assert "Waiting for" not in said
    if living.poll() is None:
        stop(living)


def test_a_run_goes_on_when_the_other_is_killed(site: Site) -> None:
    store, usera, userb = site.make_store(None), site.accounts.usera, site.accounts.userb
    living = start_as(userb, ["sleep", "300"])
    claim = _claim(store, userb, NAMES, site, f"{HOST}-{living.pid}")
    environment = site.environment(usera)
    command = environment.command("install", *NAMES)
    site.index.clear()
    run = start_as(usera, command, env=site.settings(store))
    assert run.stdout is not None
    line = next(line for line in run.stdout if "Waiting for" in line)
    assert "Waiting for userb to publish some of these wheels (at most 180 seconds)" in line
    assert not site.index.wheel_requests()
    stop(living)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, out + err
    assert _downloads(site) == dict.fromkeys(NAMES, 1)
    assert claim.exists(), "of another user"


def test_a_claim_that_is_never_released_costs_a_bounded_wait_once(site: Site) -> None:
    """Also many claims: all of a run's waiting has one bound, which the test makes shorter."""
    store, usera, userb = site.make_store(None), site.accounts.usera, site.accounts.userb
    living = start_as(userb, ["sleep", "300"])
    for number in range(20):
        claim = _claim(store, userb, NAMES, site, f"{HOST}-{living.pid}")
        claim.rename(claim.with_name(f"{claim.name}{number}"))
    _claim(store, userb, NAMES, site, "elsewhere-1")
    environment = site.environment(usera)
    program = (
        "import sys; from pip_sharedcache.session import turns; turns.PATIENCE = 2.0\n"
        "from pip_sharedcache.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [str(environment.python), "-c", program, "install", *NAMES]
    done = run_as(usera, command, env=site.settings(store), check=True)
    assert done.stdout.count("Waiting for userb") == 1
    assert not list((store / "use" / str(usera.uid)).glob("getting-*"))
    stop(living)


def test_a_user_who_may_only_read_writes_and_waits_for_nothing(site: Site) -> None:
    store, userb, userc = site.make_store(None), site.accounts.userb, site.accounts.userc
    living = start_as(userb, ["sleep", "300"])
    _claim(store, userb, NAMES, site, f"{HOST}-{living.pid}")
    said = site.install(userc, site.environment(userc), store, *NAMES)
    assert "Waiting" not in said
    assert not (store / "use" / str(userc.uid)).exists()
    stop(living)
