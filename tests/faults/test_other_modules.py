"""Modules that Python lacks, or that PYTHONPATH has in other versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.faults import faults_of_distribution
from support.wheels import make_wheel

INFO = "demo-1.0.dist-info"
#: Earlier versions that lack what is used, modules that cannot be imported, and a Python that was
#: built without libffi.
OTHERS = {
    "packaging/__init__.py": "",
    "packaging/utils.py": "def canonicalize_name(name): return name",
    "platformdirs.py": "def user_cache_dir(name): return '/nonexistent'",
    "wrapt.py": "raise RuntimeError('of another program')",
    "_ctypes.py": "raise ModuleNotFoundError('No module named _ctypes')",
}


@pytest.fixture
def wheels(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels").parent


def test_other_versions_on_pythonpath_change_nothing(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one, store = environment(), tmp_path / "store"
    for name, text in OTHERS.items():
        path = tmp_path / "others" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    env = offline(wheels, store, PYTHONPATH=str(tmp_path / "others"))

    run_as(None, one.command("store", "init", "--layout", "tree", str(store)), env=env, check=True)
    result = run_as(None, one.command("install", "demo"), env=env, check=True)

    assert "1 added to it" in result.stdout
    assert result.stderr == ""
    assert not faults_of_distribution(one.site_packages, INFO)
    for command in (["list"], ["store", "info"], ["store", "doctor"], ["store", "verify"]):
        done = run_as(None, one.command(*command), env=env)
        assert (done.returncode, done.stderr) == (0, ""), command

    run_as(None, one.command("store", "enable"), env=env, check=True)
    run_as(None, one.plain("uninstall", "-y", "demo"), env=env, check=True)
    hooked = run_as(None, one.plain("install", "demo"), env=env, check=True)
    assert "Shared store: 1 of 1 distributions" in hooked.stdout
    assert hooked.stderr == ""


@pytest.mark.parametrize("broken", ["packaging/utils.py", "platformdirs/__init__.py"])
def test_dependency_that_cannot_be_imported_leaves_plain_pip_and_one_line(
    broken: str, environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one = environment()
    env = offline(wheels, None, XDG_CACHE_HOME=str(tmp_path / "cache"))
    run_as(None, one.command("store", "enable"), env=env, check=True)
    (one.site_packages / broken).write_text("raise RuntimeError('broken')", encoding="utf-8")

    for start in (one.command, one.plain):
        listed = run_as(None, start("list"), env=env)
        assert (listed.returncode, listed.stderr) == (0, "")
        done = run_as(None, start("install", "demo"), env=env)
        assert done.returncode == 0, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("WARNING: Installing without the shared store:")
        assert line.endswith("RuntimeError: broken")
        assert not faults_of_distribution(one.site_packages, INFO)
        run_as(None, one.plain("uninstall", "-y", "demo"), env=env, check=True)

    failed = run_as(None, one.command("store", "info"), env=env)
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert "RuntimeError: broken" in line


def test_python_without_gc_freeze_ends_as_pip_does(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    """PyPy has none."""
    one, store = environment(), tmp_path / "store"
    env = offline(wheels, store)
    run_as(None, one.command("store", "init", "--layout", "tree", str(store)), env=env, check=True)
    code = (
        "import gc, runpy, sys; del gc.freeze; sys.argv[1:] = ['install', 'demo']; "
        "runpy.run_module('pip_sharedcache', run_name='__main__')"
    )
    done = run_as(None, [one.python, "-c", code], env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert not faults_of_distribution(one.site_packages, INFO)
