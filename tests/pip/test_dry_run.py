"""Dry runs, which leave nothing on the disk but what pip itself leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.index import IndexFactory
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import make_sdist, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Variables = dict[str, "str | None"]


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    make_wheel(wheelhouse, "demo")
    make_wheel(wheelhouse, "tools", files={"tools/__init__.py": "X = 1\n"})
    make_sdist(wheelhouse, "built", build_requires=["tools"])
    return wheelhouse


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_dry_run_makes_no_store(
    pip: str, environment: EnvironmentFactory, index: IndexFactory, wheels: Path, tmp_path: Path
) -> None:
    """Neither does the pip that it starts for what a build requires."""
    home = tmp_path / "home"
    home.mkdir()
    variables: Variables = {**index(wheels).variables, "HOME": str(home), "PIP_NO_CACHE_DIR": None}
    variables["PIP_CACHE_DIR"] = str(tmp_path / "cache")
    variables["XDG_CACHE_HOME"] = None
    near = tmp_path / "near"
    one = environment("one", pip=pip)
    for dirs in (None, f"{near} backfill\n{home}/private private"):
        variables["PIP_SHAREDCACHE_DIR"] = dirs
        command = one.command("install", "--dry-run", "demo", "built")
        done = run_as(None, command, env=variables, check=True)
        assert "Would install" in done.stdout
        assert "built-1.0" in done.stdout
        assert list(home.rglob("*")) == []
        assert not near.exists()
    variables["PIP_SHAREDCACHE_DIR"] = None
    run_as(None, one.command("install", "demo"), env=variables, check=True)
    assert list(home.rglob("*.whl")), "a run that is none makes it"


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_dry_run_changes_nothing_in_a_store(
    pip: str, environment: EnvironmentFactory, index: IndexFactory, wheels: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    variables: Variables = {**index(wheels).variables, "PIP_SHAREDCACHE_DIR": str(store)}
    one, two = environment("one", pip=pip), environment("two", pip=pip)
    run_as(None, one.command("store", "init", "--builds", store), env=variables, check=True)
    before = snapshot(store)
    for command in (["demo", "built"], ["--report", "-", "--quiet", "demo"]):
        run_as(None, one.command("install", "--dry-run", *command), env=variables, check=True)
        assert differences(before, snapshot(store)) == []
    run_as(None, one.command("install", "demo", "built"), env=variables, check=True)
    for path in store.glob("use/*/*"):
        path.unlink()
    before = snapshot(store)
    done = run_as(
        None, two.command("install", "--dry-run", "demo", "built"), env=variables, check=True
    )
    assert "Using demo-1.0-py3-none-any.whl from the shared store" in done.stdout
    assert differences(before, snapshot(store)) == []
    stats = run_as(None, one.command("store", "stats", "--json"), env=variables, check=True)
    assert json.loads(stats.stdout)["runs"] == 0
