"""Where it is run, and as whom: the current directory, HOME, accounts without a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import probes
from support.accounts import Accounts, run_as, start_as
from support.environments import Environment, make_environment
from support.index import LocalIndex
from support.probes import needs
from support.trees import differences, snapshot
from support.wheels import make_wheel

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}


@pytest.mark.parametrize("name", ["wrapt", "packaging", "platformdirs", "pip"])
def test_a_module_in_the_current_directory_does_not_run_in_our_place(
    tmp_path: Path, name: str
) -> None:
    environment = make_environment(tmp_path / "environment")
    project = tmp_path / "project"
    project.mkdir()
    (project / f"{name}.py").write_text("raise SystemExit('hijacked')\n")

    done = run_as(None, environment.command("--version"), cwd=project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("pip ")


@needs(probes.root, probes.setpriv)
def test_an_account_without_a_home_installs_plainly_with_one_line(
    shared_tmp: Path, public_python: Path
) -> None:
    wheel = make_wheel(shared_tmp, "demo")
    # pip 26.3 itself does not start without a home.
    environment = make_environment(shared_tmp / "environment", python=public_python, pip="25.3")
    target = shared_tmp / "target"
    target.mkdir()
    nobody = 54321  # no such account
    os.chown(target, nobody, nobody)

    done = subprocess.run(
        [
            *("setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"),
            *("env", "-i", "PATH=/usr/bin:/bin", "PIP_CONFIG_FILE=/dev/null", "PIP_NO_INDEX=1"),
            *environment.command("install", "--target", target / "here", "-f", shared_tmp, "demo"),
        ],
        cwd=target,
        capture_output=True,
        text=True,
    )

    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "Traceback" not in text
    assert text.count("Installing without the shared store") == 1
    assert (target / "here" / "demo").is_dir()
    assert sorted(os.listdir(target)) == ["here"]
    assert wheel.is_file()


@needs(probes.root, probes.accounts)
def test_root_with_a_users_home_leaves_the_users_store_alone(
    shared_tmp: Path, public_python: Path, accounts: Accounts
) -> None:
    make_wheel(shared_tmp, "demo")
    make_wheel(shared_tmp, "other")
    home = shared_tmp / "home"
    home.mkdir()
    os.chown(home, accounts.usera.uid, accounts.usera.gid)
    theirs, roots = (
        make_environment(shared_tmp / name, python=public_python) for name in ("theirs", "roots")
    )
    shutil.chown(theirs.prefix, accounts.usera.uid)
    subprocess.run(["chown", "-R", str(accounts.usera.uid), str(theirs.prefix)], check=True)
    env = {**OFFLINE, "HOME": str(home), "PIP_FIND_LINKS": str(shared_tmp)}
    first = run_as(accounts.usera, theirs.command("install", "demo"), env=env)
    assert "1 added to it" in first.stdout, first.stdout + first.stderr

    done = run_as(None, roots.command("install", "demo", "other"), env=env)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing without the shared store" in done.stdout + done.stderr
    owners = {os.lstat(path).st_uid for path in [home, *home.rglob("*")]}
    assert owners == {accounts.usera.uid}


def _many_files(directory: Path) -> None:
    files = {f"many/part{number}.py": f"N = {number}\n" for number in range(3000)}
    make_wheel(directory, "many", files={"many/__init__.py": "", **files})


@pytest.mark.parametrize("moment", ["early", "late"])
def test_a_store_that_goes_away_under_way_stops_no_installation(
    tmp_path: Path, wheelhouse: Path, index: Callable[[Path], LocalIndex], moment: str
) -> None:
    _many_files(wheelhouse)
    make_wheel(wheelhouse, "demo")
    served = index(wheelhouse)
    store = tmp_path / "store"
    store.mkdir()
    plain, ours = (make_environment(tmp_path / name) for name in ("plain", "ours"))
    env = {**OFFLINE, "PIP_NO_INDEX": None, "PIP_INDEX_URL": served.url}
    env = {**env, "PIP_EXTRA_INDEX_URL": None, "PIP_SHAREDCACHE_DIR": str(store)}
    arguments = ("install", "--no-compile", "many", "demo")
    assert run_as(None, plain.plain(*arguments), env=env).returncode == 0

    process = start_as(None, ours.command(*arguments), env=env)
    wanted = ".new-*" if moment == "early" else ".new-*/entry.json"
    _wait_for(store, wanted, ours, process)
    store.rename(tmp_path / "elsewhere")
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err
    assert not differences(snapshot(plain.prefix), snapshot(ours.prefix))


def _wait_for(
    store: Path, pattern: str, environment: Environment, process: subprocess.Popen[str]
) -> None:
    """Until a file of ``pattern`` is in a shard of ``store``."""
    while process.poll() is None and not list(store.glob(f"wheels/*/{pattern}")):
        time.sleep(0.002)
    assert process.poll() is None, f"{environment.prefix} was done before the store could go"
