"""pip-sharedcache in one archive (PEP 441), with pip and all that it needs, run by an interpreter
that has none of it."""

from __future__ import annotations

import subprocess
import sys
import zipapp
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory, interpreters, make_environment
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("archive")
    source = make_environment(place / "source").site_packages
    target = place / "pip-sharedcache.pyz"
    zipapp.create_archive(source, target, "/usr/bin/env python3", "pip_sharedcache.__main__:run")
    return target


@pytest.fixture
def one(environment: EnvironmentFactory) -> Environment:
    return environment("one", ours=False)


@pytest.fixture
def env(shared_tmp: Path) -> dict[str, str | None]:
    make_wheel(shared_tmp / "wheels", files={f"demo/m{n}.py": f"N = {n}\n" for n in range(300)})
    make_wheel(shared_tmp / "wheels", "wrapt")
    (shared_tmp / "store").mkdir()
    (shared_tmp / "tmp").mkdir()
    return offline(
        shared_tmp / "wheels",
        shared_tmp / "store",
        TMPDIR=str(shared_tmp / "tmp"),
        PIP_DISABLE_PIP_VERSION_CHECK="1",
    )


def _run(
    archive: Path, env: dict[str, str | None], arguments: Sequence[str], python: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return run_as(None, [python or sys.executable, archive, *arguments], env=env)


def test_it_installs_into_another_environment(
    archive: Path,
    one: Environment,
    env: dict[str, str | None],
    environment: EnvironmentFactory,
    shared_tmp: Path,
) -> None:
    plain = environment("plain", ours=False)
    run_as(None, plain.plain("install", "demo"), env=env, check=True)
    for found in ("0 of 1", "1 of 1"):
        arguments = ["--python", str(one.python), "install", "--force-reinstall", "demo"]
        done = _run(archive, env, arguments)
        assert done.returncode == 0, done.stderr
        assert f"Shared store: {found} distributions" in done.stdout
    assert differences(snapshot(plain.prefix), snapshot(one.prefix)) == []
    # pip leaves its certificates there when it runs from an archive.
    assert [path for path in (shared_tmp / "tmp").iterdir() if "cacert" not in path.name] == []


def test_what_is_in_it_is_not_installed(
    archive: Path, one: Environment, env: dict[str, str | None]
) -> None:
    """pip counts all that it sees on sys.path."""
    before = _run(archive, env, ["list", "--format", "freeze"], one.python).stdout
    assert [line.split("==")[0] for line in before.splitlines()] == ["pip"]
    done = _run(archive, env, ["install", "wrapt"], one.python)
    assert done.returncode == 0, done.stderr
    assert "Shared store: 0 of 1 distributions" in done.stdout
    assert (one.site_packages / "wrapt").is_dir()


def test_it_installs_into_the_active_environment(
    archive: Path, one: Environment, env: dict[str, str | None], environment: EnvironmentFactory
) -> None:
    other = environment("other", ours=False)
    before = snapshot(one.prefix)
    active = {**env, "VIRTUAL_ENV": str(other.prefix)}
    done = _run(archive, active, ["install", "demo"], one.python)
    assert done.returncode == 0, done.stderr
    assert (other.site_packages / "demo").is_dir()
    status = _run(archive, active, ["store", "status"], one.python)
    assert status.stdout.startswith(f"{other.prefix}: pip ")
    assert differences(before, snapshot(one.prefix)) == []


def test_an_interpreter_that_is_too_old_for_its_pip(
    archive: Path, env: dict[str, str | None], environment: EnvironmentFactory
) -> None:
    old = environment("old", python=interpreters()["3.9"], ours=False)
    done = _run(archive, env, ["--python", str(old.python), "install", "demo"])
    assert done.returncode == 1
    assert "ERROR: This pip needs Python 3.10 or later" in done.stderr
    assert "Traceback" not in done.stderr


def test_python_too_old_for_the_archive_is_reported(archive: Path) -> None:
    pythons = Path("~/.pyenv/versions").expanduser().glob("3.8.*/bin/python")
    for python in pythons:
        done = run_as(None, [python, archive, "--version"])
        assert done.returncode == 1
        assert done.stderr == "ERROR: pip-sharedcache needs Python 3.9 or later\n"


def test_our_own_commands(archive: Path, env: dict[str, str | None], shared_tmp: Path) -> None:
    done = _run(archive, env, ["store", "path"])
    assert (done.stdout, done.stderr) == (f"{shared_tmp / 'store'}\n", "")


def test_hook_enabled_from_elsewhere_is_reported_and_disabled(
    archive: Path, one: Environment, env: dict[str, str | None]
) -> None:
    before = snapshot(one.site_packages)
    ours = [sys.executable, "-m", "pip_sharedcache", "store"]
    where = ["--prefix", str(one.prefix)]
    assert _run(archive, env, ["store", "status", *where]).returncode == 1
    run_as(None, [*ours, "enable", *where], check=True)
    told = _run(archive, env, ["store", "status", *where])
    assert (told.returncode, told.stderr) == (0, "")
    assert "_pip_sharedcache.py" in told.stdout
    done = _run(archive, env, ["store", "disable", *where])
    assert (done.returncode, done.stderr) == (0, "")
    assert differences(before, snapshot(one.site_packages)) == []
    assert "Nothing was enabled" in _run(archive, env, ["store", "disable", *where]).stdout


@pytest.mark.parametrize("command", [["shell-init", "bash"], ["enable"]])
def test_what_needs_files_says_so(
    command: list[str], archive: Path, one: Environment, env: dict[str, str | None]
) -> None:
    before = snapshot(one.prefix)
    done = _run(archive, env, ["store", *command], one.python)
    assert done.returncode == 2
    assert (
        "ERROR: pip-sharedcache runs from an archive; hint: install it in a directory"
        in done.stderr
    )
    assert snapshot(one.prefix) == before
