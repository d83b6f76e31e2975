"""A resolution whose publication is killed, or fails, at any of its system calls."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pip_sharedcache.model import Digest
from pip_sharedcache.store import Store, find_resolutions
from support import slices
from support.accounts import run_as
from support.faults import (
    Call,
    faults_of_entry,
    leftovers,
    run_with_fault,
    spread,
    trace,
    visible_entries,
)
from support.probes import needs, strace

pytestmark = [needs(strace), pytest.mark.product]

layouts = pytest.mark.parametrize("packed", [False, True], ids=["tree", "packed"])
KEY = Digest("ab" + "1" * 62)
PUBLISH = f"""
import sys
from pathlib import Path
from pip_sharedcache.errors import NotPublished
from pip_sharedcache.model import Digest
from pip_sharedcache.store import Store, make_visible, stage_resolution
store = Store.open(Path(sys.argv[1]))
try:
    data = {{"at": int(sys.argv[2]), "pages": ["x" * 100] * 1000}}
    (outcome,) = make_visible(store, [stage_resolution(store, Digest("{KEY}"), data)])
except NotPublished as error:
    outcome = error
if isinstance(outcome, NotPublished):
    print("not published:", outcome)
"""
ENV: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": "1"}


def _command(store: Store, at: int) -> list[str]:
    return [sys.executable, "-c", PUBLISH, str(store.path), str(at)]


def _calls(store: Store, tmp_path: Path) -> list[Call]:
    """The calls that publish a resolution in place of one that is there."""
    run_as(None, _command(store, 1), env=ENV, check=True)
    calls = trace(_command(store, 2), tmp_path / "trace", env=ENV)
    points = [
        call for call in calls if call.changes and call.touches(store.path, Path("/proc/self"))
    ]
    assert {"mkdir", "pwrite64" if store.packed else "write"} <= {call.name for call in points}
    return spread(points, 15, last=6)


def _times(store: Store) -> list[int]:
    return [one.at for one in find_resolutions(store, KEY)]


def _faults(store: Store) -> list[str]:
    entries = visible_entries(store.path, "resolutions")
    return [fault for entry in entries for fault in faults_of_entry(entry)]


@layouts
def test_killed_publication_of_a_resolution_leaves_the_old_one_or_the_new_one(
    tmp_path: Path, packed: bool
) -> None:
    store = Store.make(tmp_path / "store", packed=packed)
    wrong = []
    for at, call in enumerate(slices.places(_calls(store, tmp_path)), 3):
        before = _times(store)
        killed = run_with_fault(_command(store, at), call, "signal=SIGKILL", env=ENV)
        if killed.returncode not in (-9, 128 + 9):
            wrong.append(f"{call} did not kill it: {killed.stderr}")
        if _times(store) not in (before, [at]):
            wrong.append(f"after {call} there are {_times(store)}, not {before} or [{at}]")
        wrong += [f"after {call}: {fault}" for fault in _faults(store)]
        run_as(None, _command(store, at), env=ENV, check=True)
        if _times(store) != [at]:
            wrong.append(f"after {call} the next run published {_times(store)}")
        if left := [one for one in leftovers(store.path) if one.name.startswith(".new-")]:
            wrong.append(f"after {call} there is left {left}")
    assert not wrong, "\n".join(wrong)


@layouts
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_failed_publication_of_a_resolution_leaves_the_old_one_and_no_leftovers(
    tmp_path: Path, error: str, packed: bool
) -> None:
    store = Store.make(tmp_path / "store", packed=packed)
    wrong = []
    fitting = [call for call in _calls(store, tmp_path) if not call.name.startswith("unlink")]
    for at, call in enumerate(slices.places(fitting), 3):
        before = _times(store)
        done = run_with_fault(_command(store, at), call, f"error={error}", env=ENV)
        if done.returncode != 0 or "Traceback" in done.stderr:
            wrong.append(f"at {call}: {done.stderr}")
        # It can be visible although what it replaced could not be renamed.
        failed = "not published" in done.stdout
        if _times(store) != [at] and (not failed or _times(store) != before):
            wrong.append(f"at {call}: {done.stdout} left {_times(store)}, before {before}")
        wrong += [f"at {call}: {fault}" for fault in _faults(store)]
        if left := [one for one in leftovers(store.path) if one.name.startswith(".new-")]:
            wrong.append(f"at {call} there is left {left}")
    assert not wrong, "\n".join(wrong)
