"""A store that does not answer, clocks that disagree, accounts and homes that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.faults import faults_of_distribution
from support.fuse import silent
from support.probes import fuse, needs
from support.wheels import make_wheel

INFO = "demo-1.0.dist-info"
HOURS = 3600
#: Runs at another time of day, which Python's own clocks do not know of.
CLOCK = """
import os, time
_now, _ahead = time.time, int(os.environ["TESTS_SECONDS_AHEAD"])
time.time = lambda: _now() + _ahead
"""


@pytest.fixture
def wheels(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels").parent


def _settings(wheels: Path, store: Path | None, **others: str | None) -> dict[str, str | None]:
    return {
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
        "PIP_INDEX_URL": None,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_FIND_LINKS": str(wheels),
        "PIP_SHAREDCACHE_DIR": None if store is None else str(store),
        **others,
    }


# -- a store that hangs


@pytest.mark.filesystem
@needs(fuse)
def test_store_that_never_answers_is_done_without_after_a_while(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one, point = environment(), tmp_path / "away"
    point.mkdir()
    with silent(point):
        env = _settings(wheels, point / "store")
        # Its end is waited for, and that of its output: what is left behind must not hold it open.
        result = run_as(None, one.command("install", "demo"), env=env, timeout=60)

    assert result.returncode == 0, result.stderr
    (said,) = result.stderr.splitlines()
    assert said.startswith("WARNING: Installing without the shared store:"), said
    assert f"{point / 'store'} does not answer for 10 seconds" in said
    assert not faults_of_distribution(one.site_packages, INFO)


@pytest.mark.filesystem
@needs(fuse)
@pytest.mark.parametrize("command", ["info", "list", "gc"])
def test_commands_on_a_store_that_never_answers_say_so(
    command: str, environment: EnvironmentFactory, tmp_path: Path
) -> None:
    one, point = environment(), tmp_path / "away"
    point.mkdir()
    with silent(point):
        env = _settings(tmp_path, point / "store")
        result = run_as(None, one.command("store", command), env=env, timeout=60)

    assert result.returncode == 2, result.stdout + result.stderr
    assert "does not answer for 10 seconds" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
