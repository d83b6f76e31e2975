"""What a store saves, told from the records of installations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.faults import visible_entries
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Variables = dict[str, "str | None"]
SOURCE = "X = 1\n" * 1000


@pytest.fixture
def env(wheelhouse: Path, tmp_path: Path) -> Variables:
    for name in ("demo", "other"):
        make_wheel(wheelhouse, name, files={f"{name}/__init__.py": SOURCE})
    (tmp_path / "store").mkdir()
    return offline(wheelhouse, tmp_path / "store", PIP_SHAREDCACHE_LINK_MODE="copy")


@pytest.fixture
def one(environment: EnvironmentFactory) -> Environment:
    return environment("one")


def _stats(one: Environment, env: Variables, *arguments: str) -> Any:
    done = run_as(None, one.command("store", "stats", "--json", *arguments), env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def _names(told: dict[str, Any]) -> list[str]:
    """What the statistics ``told`` are grouped by."""
    return [row["name"] for row in told["groups"]]


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_what_was_found_and_added_and_saved(
    pip: str, environment: EnvironmentFactory, env: Variables
) -> None:
    one, two = environment("one", pip=pip), environment("two", pip=pip)
    assert _stats(one, env)["runs"] == 0
    run_as(None, one.command("install", "demo", "other"), env=env, check=True)
    run_as(None, two.command("install", "demo"), env=env, check=True)
    run_as(None, two.command("list"), env=env, check=True)  # installs nothing
    told = _stats(one, env)
    assert (told["runs"], told["installed"], told["found"], told["added"]) == (2, 3, 1, 2)
    assert (told["wheels"], told["bytecode"]) == (2, 2)
    records = told["resolutions"] + told["judged_pages"] + told["build_records"]
    assert told["entries"] == 4 + records
    assert told["reused"] == len(SOURCE)
    assert told["seconds_not_compiled"] > 0
    assert {row["name"]: row["installed"] for row in told["groups"]} == {
        "demo": 2,
        "other": 1,
    }
    by_environment = _stats(one, env, "--by", "environment")["groups"]
    assert {row["name"]: row["installed"] for row in by_environment} == {
        str(one.prefix): 2,
        str(two.prefix): 1,
    }
    assert _names(_stats(one, env, "--by", "user")) == ["root"]
    (row,) = _stats(one, env, "--by", "month")["groups"]
    assert (len(row["name"]), row["runs"]) == (7, 2)
    said = run_as(None, one.command("store", "stats"), env=env, check=True).stdout
    assert "1 of 3 distributions (33%)" in said


@pytest.mark.parametrize("option", ["--target", "--prefix", "--root"])
def test_installation_elsewhere_counts_for_that_directory(
    option: str, one: Environment, env: Variables, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    run_as(None, one.command("install", option, there, "demo"), env=env, check=True)
    wanted = f"{there}{one.prefix}" if option == "--root" else str(there)
    assert _names(_stats(one, env, "--by", "environment")) == [wanted]


def test_run_that_installs_nothing_is_not_counted(one: Environment, env: Variables) -> None:
    run_as(None, one.command("install", "demo"), env=env, check=True)
    before = _stats(one, env)
    again = ("install", "--force-reinstall", "--no-deps")
    for arguments in (("--dry-run", "other"), ("--dry-run", "--report", "-", "demo")):
        run_as(None, one.command(*again, *arguments), env=env, check=True)
    for arguments in (("demo", "absent"), ("demo==3",)):
        assert run_as(None, one.command(*again, *arguments), env=env).returncode == 1
    # demo is placed, and then pip cannot remove what is in the way of the other one.
    taken = one.prefix / "bin" / "taken"
    taken.mkdir()
    script = {"broken-1.0.data/scripts/taken": "#!python\n"}
    make_wheel(Path(str(env["PIP_FIND_LINKS"])), "broken", files=script)
    done = run_as(None, one.command(*again, "demo", "broken"), env=env)
    assert done.returncode != 0
    told = _stats(one, env)
    same = ("runs", "installed", "found", "apparent", "not_downloaded", "not_copied")
    assert {name: told[name] for name in same} == {name: before[name] for name in same}


def test_reason_of_a_fallback_is_reported(one: Environment, env: Variables, tmp_path: Path) -> None:
    local = make_wheel(tmp_path / "mine")
    run_as(None, one.command("install", local), env=env, check=True)
    told = _stats(one, env)
    assert told["by_pip"] == 1
    assert told["left_to_pip"] == [{"reason": "pip took it from a local path", "number": 1}]


@pytest.mark.parametrize(("stats", "told"), [("off", None), ("anonymous", "(not recorded)")])
def test_who_does_not_want_that_is_not_recorded(
    stats: str, told: str | None, one: Environment, env: Variables, tmp_path: Path
) -> None:
    settings = {**env, "PIP_SHAREDCACHE_STATS": stats}
    run_as(None, one.command("install", "demo"), env=settings, check=True)
    assert visible_entries(tmp_path / "store")
    assert _names(_stats(one, env, "--by", "environment")) == [told] * bool(told)
    for path in (tmp_path / "store" / "use").rglob("run*"):
        assert str(one.prefix) not in path.read_text()


def test_what_cannot_be_recorded_stops_nothing(
    one: Environment, env: Variables, tmp_path: Path
) -> None:
    use = tmp_path / "store" / "use"
    use.write_text("no directory")
    done = run_as(None, one.command("install", "demo"), env=env, check=True)
    assert "Successfully installed demo" in done.stdout
    assert _stats(one, env)["runs"] == 0
