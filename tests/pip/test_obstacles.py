"""What lies in the way in an environment: pip's own way of going on, or giving up, holds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, make_environment
from support.index import LocalIndex
from support.trees import differences, snapshot
from support.wheels import make_wheel

MODULE = {"uno.py": "ONE = 1\n"}


def _bytecode_is_a_file(site: Path) -> None:
    (site / "__pycache__").write_text("in the way")


def _bytecode_is_a_dangling_link(site: Path) -> None:
    (site / "__pycache__").symlink_to(site / "nowhere")


def _one_is_a_directory(site: Path) -> None:
    (site / "__pycache__").mkdir()
    for tag in ("cpython-39", "cpython-310", "cpython-311", "cpython-312", "cpython-313"):
        (site / "__pycache__" / f"uno.{tag}.pyc").mkdir()


OBSTACLES = [_bytecode_is_a_file, _bytecode_is_a_dangling_link, _one_is_a_directory]


def _install(
    environment: Environment, command: list[str], index: LocalIndex, store: Path
) -> subprocess.CompletedProcess[str]:
    env = {
        "PIP_INDEX_URL": index.url,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_SHAREDCACHE_DIR": str(store),
    }
    return run_as(None, command, env=env, cwd=environment.prefix.parent)


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda one: one.__name__.strip("_"))
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_bytecode_that_cannot_be_placed_does_not_stop_an_installation(
    tmp_path: Path,
    wheelhouse: Path,
    index: Callable[[Path], LocalIndex],
    obstacle: Callable[[Path], None],
    warm: bool,
) -> None:
    make_wheel(wheelhouse, "uno", files=MODULE)
    served = index(wheelhouse)
    store = tmp_path / "store"
    store.mkdir()
    if warm:
        first = make_environment(tmp_path / "first")
        assert _install(first, first.command("install", "uno"), served, store).returncode == 0
    plain, ours = (make_environment(tmp_path / name) for name in ("plain", "ours"))
    for environment in (plain, ours):
        obstacle(environment.site_packages)

    expected = _install(plain, plain.plain("install", "uno"), served, store)
    done = _install(ours, ours.command("install", "uno"), served, store)

    assert done.returncode == expected.returncode, done.stdout + done.stderr
    assert not differences(snapshot(plain.prefix), snapshot(ours.prefix))
