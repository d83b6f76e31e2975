"""More than three warnings of one kind are one line with their number; -v shows each."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.faults import visible_entries
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Env = dict[str, "str | None"]


def _damaged(environment: Environment, env: Env, store: Path, number: int) -> list[str]:
    """Install as many wheels, and damage their entries; return the names of the distributions."""
    names = [f"demo{one}" for one in range(number)]
    argv = environment.command("install", "--force-reinstall", *names)
    run_as(None, argv, env=env, check=True)
    for entry in visible_entries(store):
        (entry / "entry.json").chmod(0o644)
        (entry / "entry.json").write_text("{")
    return names


@pytest.fixture
def env(shared_tmp: Path) -> Env:
    for number in range(12):
        module = {f"demo{number}/m{one}.py": f"N = {one}\n" for one in range(50)}
        make_wheel(shared_tmp / "wheels", f"demo{number}", files=module)
    (shared_tmp / "store").mkdir()
    return offline(shared_tmp / "wheels", shared_tmp / "store")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_many_damaged_entries_are_one_line_and_each_with_v(
    processes: str, environment: EnvironmentFactory, env: Env, shared_tmp: Path
) -> None:
    one, log = environment(), shared_tmp / "log"
    env["PIP_SHAREDCACHE_PROCESSES"] = processes
    for options, lines in (([], 1), (["--log", str(log)], 1), (["-v"], 12)):
        names = _damaged(one, env, shared_tmp / "store", 12)
        run_as(None, one.command("uninstall", "-y", *names), env=env, check=True)
        done = run_as(None, one.command("install", *options, *names), env=env, check=True)
        warnings = [line for line in done.stderr.splitlines() if "WARNING: " in line]
        assert len(warnings) == lines, done.stderr
        assert all("amaged entry" in line for line in warnings)
        if lines == 1:
            assert warnings[0].endswith(" (and 11 more of this kind: -v shows each)")
        assert "0 of 12 distributions" in done.stdout
    text = log.read_text()
    for entry in visible_entries(shared_tmp / "store"):
        assert entry.name in text, "the log file has each"


def test_three_of_one_kind_are_three_lines(
    environment: EnvironmentFactory, env: Env, shared_tmp: Path
) -> None:
    one = environment()
    names = _damaged(one, env, shared_tmp / "store", 3)
    argv = one.command("install", "--force-reinstall", *names)
    done = run_as(None, argv, env=env, check=True)
    assert len([line for line in done.stderr.splitlines() if "WARNING: " in line]) == 3
    assert "more of this kind" not in done.stderr
