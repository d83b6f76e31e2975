"""kill -9 at any moment of a garbage collection: what is seen is whole, the next one ends it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from pip_sharedcache import fs
from pip_sharedcache.model import Digest
from pip_sharedcache.store import Store, publish, usage_marks
from support import slices
from support.accounts import run_as
from support.faults import Call, faults_of_store, leftovers, run_with_fault, spread, trace
from support.probes import needs, strace
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.strace, needs(strace)]

OLD = 10**9
COMMAND = (sys.executable, "-m", "pip_sharedcache", "store", "gc", "--older-than", "30d")
#: The same, when the hour is over.
LATER = """
import sys
from pip_sharedcache.cli import main
from pip_sharedcache.store import usage_marks
now = usage_marks.now
usage_marks.now = lambda store: now(store) + 7200
sys.exit(main())
"""


@pytest.fixture
def store(tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """old and used are of long ago; used was used today."""
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)
    (tmp_path / "store").mkdir()
    store = Store.open(tmp_path / "store")
    for name in ("old", "older", "used"):
        wheel = make_wheel(wheelhouse, name)
        entry = publish(store, wheel, wheel.name, Digest(digest(wheel)))
        os.utime(entry.path, (OLD, OLD))
    usage_marks.mark_used(store, [entry.path.name])
    return store


def _changing(calls: list[Call], store: Path) -> list[Call]:
    return [call for call in calls if call.changes and call.touches(store)]


def _names(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "wheels").glob("*/*/*.whl"))


@pytest.mark.parametrize("phase", ["retiring", "deleting"])
@pytest.mark.product
def test_a_killed_collection_leaves_nothing_broken(
    tmp_path: Path, store: Store, phase: str
) -> None:
    kept = tmp_path / "kept"
    env: dict[str, str | None] = {
        "PIP_SHAREDCACHE_DIR": str(store.path),
        "PYTHONDONTWRITEBYTECODE": "1",  # only in the first run: its calls would be counted
    }
    later = [sys.executable, "-c", LATER, *COMMAND[3:]]
    argv = list(COMMAND)
    if phase == "deleting":
        run_as(None, COMMAND, env=env, check=True)
        argv = later
    shutil.copytree(store.path, kept, symlinks=True)
    calls = trace(argv, tmp_path / "trace", env=env)
    points = _changing(calls, store.path)
    assert {call.name for call in points} & {"rename", "unlink", "unlinkat", "rmdir"}
    wrong = []
    for call in slices.places(spread(points, 12, last=2)):
        shutil.rmtree(store.path)
        shutil.copytree(kept, store.path, symlinks=True)
        for entry in (store.path / "wheels").glob("*/*"):
            os.utime(entry, (OLD, OLD))
        killed = run_with_fault(argv, call, "signal=SIGKILL", env=env)
        if killed.returncode not in (-9, 128 + 9):
            wrong.append(f"{call} did not kill it: {killed.stderr}")
        wrong += [f"after {call}: {fault}" for fault in faults_of_store(store.path)]
        for command in (COMMAND, later):
            run_as(None, command, env=env, check=True)
        if left := leftovers(store.path):
            wrong.append(f"after {call} there is left {left}")
        if _names(store.path) != ["used-1.0-py3-none-any.whl"]:
            wrong.append(f"after {call} there are {_names(store.path)}")
    assert not wrong, "\n".join(wrong)
