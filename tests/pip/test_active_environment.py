"""The script in one place for all: what it changes is the active environment, never its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = pytest.mark.pips

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def central(environment: EnvironmentFactory) -> Environment:
    return environment("central")


@pytest.fixture
def work(environment: EnvironmentFactory) -> Environment:
    return environment("work", ours=False)


@pytest.fixture
def run(shared_tmp: Path, work: Environment) -> Run:
    """Runs a command with `work` active, as its activate script has it."""
    make_wheel(shared_tmp / "wheels", files={"demo.py": "N = 1\n"})
    (shared_tmp / "store").mkdir()
    env = offline(shared_tmp / "wheels", shared_tmp / "store", PIP_DISABLE_PIP_VERSION_CHECK="1")
    path = f"{work.scripts}{os.pathsep}{os.environ['PATH']}"

    def command(
        *argv: str | os.PathLike[str], **more: str | None
    ) -> subprocess.CompletedProcess[str]:
        variables = {**env, "VIRTUAL_ENV": str(work.prefix), "PATH": path, **more}
        return run_as(None, [*map(str, argv)], env=variables)

    return command


def _has_demo(environment: Environment) -> bool:
    return (environment.site_packages / "demo.py").is_file()


def test_the_script_of_a_central_place_serves_the_active_environment(
    central: Environment, work: Environment, run: Run, tmp_path: Path
) -> None:
    script = central.scripts / "pip-sharedcache"
    before = snapshot(central.prefix)

    done = run(script, "install", "-v", "demo")
    assert done.returncode == 0, done.stderr
    assert "Shared store: 0 of 1 distributions" in done.stdout
    line = f"Using the Python of the active environment: {work.python} (VIRTUAL_ENV)"
    assert done.stderr.count(line) == 1
    assert _has_demo(work)
    assert "demo" in run(script, "list").stdout
    assert "Using the Python" not in run(script, "list").stderr

    done = run(script, "install", "--target", tmp_path / "target", "demo")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "target" / "demo.py").is_file()

    status = run(script, "store", "status")
    assert status.stdout.startswith(f"{work.prefix}: pip ")
    assert "installs without the store" in status.stdout
    assert run(script, "store", "enable").returncode == 0
    assert run(script, "store", "status").returncode == 0
    assert str(work.prefix) in run(script, "store", "doctor", "-v").stdout
    assert run(script, "store", "disable").returncode == 0
    assert run(script, "uninstall", "-y", "demo").returncode == 0
    assert not _has_demo(work)
    assert run(script, "store", "add", "demo").returncode == 0
    assert differences(before, snapshot(central.prefix)) == []


def test_the_module_serves_its_own_environment(
    central: Environment, work: Environment, run: Run
) -> None:
    assert run(*central.command("install", "demo")).returncode == 0
    assert (_has_demo(central), _has_demo(work)) == (True, False)
    assert run(*central.command("store", "status")).stdout.startswith(f"{central.prefix}: ")


@pytest.mark.parametrize("how", ["--python", "PIP_PYTHON", "pip config"])
def test_an_interpreter_that_is_named_wins(
    how: str,
    central: Environment,
    work: Environment,
    run: Run,
    environment: EnvironmentFactory,
    tmp_path: Path,
) -> None:
    other = environment("other", ours=False)
    script = central.scripts / "pip-sharedcache"
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\npython = {other.python}\n")
    variables = {
        "PIP_PYTHON": {"PIP_PYTHON": str(other.python)},
        "pip config": {"PIP_CONFIG_FILE": str(config)},
    }
    options = ["--python", other.python] if how == "--python" else []
    done = run(script, *options, "install", "demo", **variables.get(how, {}))
    assert done.returncode == 0, done.stderr
    assert [_has_demo(one) for one in (other, work, central)] == [True, False, False]


@pytest.mark.parametrize("arguments", ["install demo", "store status", "store add demo"])
def test_a_variable_that_leads_to_no_interpreter_is_named(
    arguments: str, central: Environment, run: Run, tmp_path: Path
) -> None:
    before = snapshot(central.prefix)
    script = central.scripts / "pip-sharedcache"
    done = run(script, *arguments.split(), VIRTUAL_ENV=None, CONDA_PREFIX=str(tmp_path / "gone"))
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: Cannot use the active environment: CONDA_PREFIX: ")
    assert len(done.stderr.splitlines()) == 1
    assert differences(before, snapshot(central.prefix)) == []


@pytest.mark.parametrize("sign", ["file", "link"])
def test_with_nothing_active_a_reserved_place_is_left_alone(
    sign: str, central: Environment, run: Run, tmp_path: Path
) -> None:
    script = central.scripts / "pip-sharedcache"
    if sign == "file":
        (central.prefix / "pip-sharedcache.central").touch()
    else:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "pip-sharedcache").symlink_to(script)
        script = tmp_path / "bin" / "pip-sharedcache"
    before = snapshot(central.prefix)
    for words in (["install", "demo"], ["uninstall", "-y", "wrapt"], ["store", "enable"]):
        done = run(script, *words, VIRTUAL_ENV=None)
        assert done.returncode == 2
        assert done.stderr.startswith("ERROR: No environment is active: ")
        assert len(done.stderr.splitlines()) == 1
    for words in (["install", "--help"], ["list"], ["store", "doctor"]):
        assert run(script, *words, VIRTUAL_ENV=None).returncode == 0
    target = tmp_path / "target"
    done = run(script, "install", "demo", VIRTUAL_ENV=None, PIP_TARGET=str(target))
    assert done.returncode == 0, done.stderr
    assert (target / "demo.py").is_file()
    assert differences(before, snapshot(central.prefix)) == []
