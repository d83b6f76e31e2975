"""A store on a file system that the kernel's automounter (autofs) shows on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import REPOSITORY, probes
from support.accounts import Accounts, run_as

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.autofs)]

PROGRAM = REPOSITORY / "tests" / "support" / "programs" / "automounter.py"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@contextmanager
def automounted(point: Path, source: Path) -> Iterator[None]:
    """While a process of its own shows ``source`` at ``point``/srv on demand, and nothing else."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(point), "srv", str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.stdin.close()
        assert process.wait(60) == 0
        process.stdout.close()
    assert not os.path.ismount(point)


def test_store_is_mounted_for_the_first_run_that_asks(site: Site) -> None:
    store = site.make_store(None)
    site.install(site.accounts.usera, site.environment(site.accounts.usera), store, "alpha")
    point = site.directory(None)
    with automounted(point, store.parent):
        there = point / "srv" / store.name
        userb = site.accounts.userb
        said = site.install(userb, site.environment(userb), there, "alpha")
        assert f"Shared store: 1 of 1 distributions from {there}" in said
        assert os.path.ismount(point / "srv")


@pytest.mark.parametrize("who", ["root", "userb"])
def test_server_that_is_down_leads_nobody_to_make_a_store(site: Site, who: str) -> None:
    point, account = site.directory(None), site.account(who)
    with automounted(point, site.directory(None)):
        there = point / "down" / "store"
        said = site.install(account, site.environment(account), there, "alpha")
        (line,) = [line for line in said.splitlines() if "without the shared store" in line]
        mount = f"mount {point}" if who == "root" else f"root can run mount {point}"
        assert f"nothing is mounted at {point}; hint: {mount}" in line
        assert "store init" not in line
        for words in (["store", "info"], ["store", "init", str(there)]):
            command = site.template.command(*words)
            done = run_as(account, command, env=site.settings(there))
            assert done.returncode == 2, done.stdout
            assert "Traceback" not in done.stderr
        assert list(point.iterdir()) == []
