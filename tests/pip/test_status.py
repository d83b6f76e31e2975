"""What enable and status say of a pip that pip-sharedcache does not fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import NEWEST_PIP, Environment, EnvironmentFactory, interpreters
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]


def _switch(command: str, environment: Environment, *more: str) -> subprocess.CompletedProcess[str]:
    """pip-sharedcache is not installed there: it lies where the tests run."""
    ours = [sys.executable, "-m", "pip_sharedcache", "store", command]
    # One excludes the other.
    which = [] if "--all" in more else ["--python", str(environment.prefix)]
    return run_as(None, [*ours, *which, *more])


def _install(environment: Environment, shared_tmp: Path) -> subprocess.CompletedProcess[str]:
    wheels = make_wheel(shared_tmp / "wheels").parent
    env = offline(wheels, shared_tmp / "store", PIP_DISABLE_PIP_VERSION_CHECK="1")
    done = run_as(None, environment.plain("install", "demo"), env=env, check=True)
    assert "Successfully installed demo" in done.stdout
    return done


@pytest.mark.network
def test_a_pip_that_is_too_old_is_named_with_the_oldest_that_fits(
    environment: EnvironmentFactory, shared_tmp: Path
) -> None:
    python = interpreters().get("3.11") or interpreters().get("3.10")
    if python is None:
        pytest.skip("no Python on which pip 22.0.2 runs")
    one = environment(python=python, pip="22.0.2", ours=False)
    hint = f"hint: {one.python} -m pip install --upgrade pip"
    upgrade = f"pip 23.0 is the oldest supported version; {hint}"

    status = _switch("status", one)
    assert status.returncode == 1
    unfit = "pip installs without the store: pip 22.0.2 is not supported"
    assert f"{unfit}: {upgrade}" in status.stdout

    enable = _switch("enable", one)
    assert enable.returncode == 1
    assert f"{unfit}: {upgrade}" in enable.stderr

    status = _switch("status", one)
    assert status.returncode == 1
    assert f"{unfit}: {upgrade}" in status.stdout
    asked = _switch("status", one, "--json")
    assert asked.returncode == 1
    answer = json.loads(asked.stdout)
    assert (answer["pip"], answer["pip_sharedcache"]) == ("22.0.2", None)
    assert answer["files"]

    done = _install(one, shared_tmp)
    unfit = "Installing without the shared store: pip 22.0.2 is not supported"
    assert f"{unfit}: {upgrade}" in done.stderr
    assert "Shared store:" not in done.stdout


@pytest.mark.network
def test_an_old_pip_that_has_every_seam_is_plain_pip_too(
    environment: EnvironmentFactory, shared_tmp: Path
) -> None:
    """Before and after enable, the texts say the same as the installation does."""
    python = interpreters().get("3.11") or interpreters().get("3.10")
    if python is None:
        pytest.skip("no Python on which pip 22.3.1 runs")
    one = environment(python=python, pip="22.3.1", ours=False)
    why = "pip 22.3.1 is not supported: pip 23.0 is the oldest supported version; hint: "
    before, enable = _switch("status", one), _switch("enable", one)
    status = _switch("status", one)
    assert (before.returncode, enable.returncode, status.returncode) == (1, 1, 1)
    for said in (before.stdout, enable.stderr, status.stdout):
        assert f"pip installs without the store: {why}" in said
    (shared_tmp / "store").mkdir()
    done = _install(one, shared_tmp)
    assert "Shared store:" not in done.stdout
    assert f"Installing without the shared store: {why}" in done.stderr


def test_a_pip_that_lacks_a_function_is_named_with_that(
    environment: EnvironmentFactory, shared_tmp: Path
) -> None:
    one = environment(ours=False)
    wheel = one.site_packages / "pip" / "_internal" / "operations" / "install" / "wheel.py"
    before = wheel.read_text(encoding="utf-8")
    assert "def save(self)" in before
    after = before.replace("def save(self)", "def store(self)").replace(".save()", ".store()")
    wheel.write_text(after, encoding="utf-8")

    enable = _switch("enable", one)
    status = _switch("status", one)
    assert (enable.returncode, status.returncode) == (1, 1), enable.stderr + status.stderr
    done = _install(one, shared_tmp)
    for said in (enable.stderr, status.stdout, done.stderr):
        assert "ZipBackedFile.save is missing); hint: upgrade pip-sharedcache" in said


def test_all_that_a_user_enabled_is_listed_until_it_is_gone(
    environment: EnvironmentFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    kept, switched_off, deleted = (environment(name) for name in ("kept", "off", "deleted"))
    for one in (kept, switched_off, deleted):
        assert _switch("enable", one).returncode == 0
    shown = json.loads(_switch("status", kept, "--all", "--json").stdout)
    prefixes = [facts["prefix"] for facts in shown["environments"]]
    assert prefixes == sorted(str(one.prefix) for one in (kept, switched_off, deleted))
    _switch("disable", switched_off)
    hint = f"; hint: pip-sharedcache store enable --python {switched_off.prefix}\n"
    assert hint in _switch("status", switched_off).stdout
    shutil.rmtree(deleted.prefix)
    done = _switch("status", kept, "--all")
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == f"{deleted.prefix}: is gone"
    assert f"{kept.prefix}: pip {NEWEST_PIP} installs through the store" in done.stdout
    assert last == "1 environment enabled by you."
    assert str(deleted.prefix) not in _switch("status", kept, "--all").stdout


def test_what_is_no_record_stops_nothing(environment: EnvironmentFactory) -> None:
    one = environment()
    assert _switch("enable", one).returncode == 0
    asked = "from pip_sharedcache import config; print(config.own_data() / 'enabled')"
    records = Path(run_as(None, [sys.executable, "-c", asked], check=True).stdout.strip())
    os.mkfifo(records / "fifo")
    (records / "directory").mkdir()
    try:
        done = _switch("status", one, "--all")
    finally:
        (records / "fifo").unlink()
        (records / "directory").rmdir()
    assert f"{one.prefix}: pip {NEWEST_PIP} installs through the store" in done.stdout
    assert done.stderr == ""
    assert _switch("disable", one).returncode == 0
