"""Records of runs: written by each user, gathered when there are many, and typed when they are
read."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pip_sharedcache import fs
from pip_sharedcache.model import Installed
from pip_sharedcache.store import Store, run_log
from pip_sharedcache.store.run_log import Collection, Run
from support.probes import needs, root
from support.process import as_user

RUN = Run(
    *(1_800_000_000, "/home/me/environment", "reflink", "Operation not supported", 2.5),
    *(1000, 2000, 300, 0.5, 400),
    (Installed("demo-1.0-py3-none-any.whl", 5, "found"), Installed("x.whl", 0, "pip", "why")),
    *("reused", 137, 6.25),
)
ALICE = 54321


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


def _own(store: Store) -> Path:
    return store.path / "use" / str(os.getuid() if hasattr(os, "getuid") else 0)


def test_a_run_is_read_as_it_was_written(store: Store) -> None:
    assert list(run_log.runs(store)) == []
    run_log.append_run(store, RUN)
    ((_, run),) = run_log.runs(store)
    assert run == RUN


def test_many_runs_are_gathered_and_none_is_lost(store: Store) -> None:
    for number in range(200):
        run_log.append_run(store, replace(RUN, at=number))
    assert sorted(run.at for _, run in run_log.runs(store)) == list(range(200))
    assert len(list(_own(store).iterdir())) <= 66


def test_records_of_hosts_that_never_come_again_are_taken_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each container may be a host by itself."""
    for number in range(100):
        run_log.append_run(store, replace(RUN, at=number))
        (own,) = _own(store).glob(f"run-{fs.HOST}-*")
        own.rename(own.with_name(f"run-container{number}-x"))
    late = time.time() + 2 * 24 * 3600
    assert len(list(_own(store).iterdir())) == 100, "they may be at work"
    monkeypatch.setattr(fs, "file_system_time", lambda directory: late)
    run_log.append_run(store, replace(RUN, at=100))
    assert sorted(run.at for _, run in run_log.runs(store)) == list(range(101))
    assert len(list(_own(store).iterdir())) == 1


def test_what_is_gathered_is_bounded_and_the_latest_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "_MOST", 20_000)
    for number in range(400):
        run_log.append_run(store, replace(RUN, at=number))
    (gathered,) = _own(store).glob("runs-*")
    assert gathered.stat().st_size <= 20_000
    told = sorted(run.at for _, run in run_log.runs(store))
    assert told == list(range(told[0], 400))


def test_killed_gatherer_stops_the_others_for_a_while_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_log.append_run(store, RUN)
    lock = _own(store) / f"gathering-{fs.HOST}"
    lock.touch()
    for _ in range(80):
        run_log.append_run(store, RUN)
    assert not list(_own(store).glob("runs-*"))
    monkeypatch.setattr(run_log, "_STUCK", 0)
    run_log.append_run(store, RUN)
    assert list(_own(store).glob("runs-*"))
    assert not lock.exists()
    assert len(list(run_log.runs(store))) == 82


@pytest.mark.parametrize(
    "change",
    [
        {"at": -1},
        {"at": "1"},
        {"at": 1e30},
        {"seconds": float("nan")},
        {"not_copied": 1 << 60},
        {"environment": 7},
        {"environment": "x" * 5000},
        {"environment": "/x\0"},
        {"environment": "/\ud800"},
        {"distributions": [{"title": "\ud800.whl", "size": 1, "how": "found", "why": ""}]},
        {"distributions": 7},
        {"distributions": [7]},
        {"distributions": [{"title": "x"}]},
        {"distributions": [{"title": "x", "size": 1, "how": "weird", "why": ""}]},
        {"distributions": [{"title": "x", "size": 1, "how": "found", "why": "", "pulled": 2}]},
        {"distributions": [{"title": "x" * 300, "size": 1, "how": "found", "why": ""}]},
        {"compile_seconds": None},
    ],
    ids=str,
)
def test_a_line_that_is_not_so_is_passed_over(store: Store, change: dict[str, object]) -> None:
    run_log.append_run(store, RUN)
    lines = [json.dumps({**asdict(RUN), **change}), "[" * 90_000, "7", "", json.dumps(asdict(RUN))]
    (_own(store) / "run-elsewhere").write_text("\n".join(lines))
    assert [run for _, run in run_log.runs(store)] == [RUN, RUN]


@needs(root)
def test_run_log_of_another_user_is_not_counted(store: Store) -> None:
    store.path.chmod(0o1777)
    (store.path / "use").chmod(0o1777)
    with as_user(ALICE):
        run_log.append_run(Store.open(store.path), RUN)
    run_log.append_run(store, RUN)
    (of_alice,) = (store.path / "use" / str(ALICE)).glob("run-*")
    (of_alice.parent / "run-of-root").write_bytes(of_alice.read_bytes())
    os.mkfifo(of_alice.parent / "run-fifo")
    (of_alice.parent / "run-link").symlink_to("/etc/passwd")
    assert sorted(user for user, _ in run_log.runs(store)) == [0, ALICE]


def test_latest_collections_are_reported(store: Store) -> None:
    for at in range(100):
        run_log.append_collection(store, Collection(at, 2, 300 + at))
    told = sorted((one for _, one in run_log.collections(store)), key=lambda one: one.at)
    assert told == [Collection(at, 2, 300 + at) for at in range(36, 100)]
    assert list(run_log.runs(store)) == []


@pytest.mark.parametrize("text", ["", "7", "{}", "[" * 90_000, '{"at": -1}', '{"at": "x"}'])
def test_what_is_no_collection_is_passed_over(store: Store, text: str) -> None:
    run_log.append_collection(store, Collection(1, 2, 3))
    (_own(store) / "collected-0").write_text(text)
    assert [one for _, one in run_log.collections(store)] == [Collection(1, 2, 3)]


@needs(root)
def test_collections_in_the_log_of_another_user_are_not_counted(store: Store) -> None:
    store.path.chmod(0o1777)
    (store.path / "use").chmod(0o1777)
    with as_user(ALICE):
        run_log.append_collection(Store.open(store.path), Collection(1, 2, 3))
    (of_alice,) = (store.path / "use" / str(ALICE)).glob("collected-*")
    (of_alice.parent / "collected-of-root").write_bytes(of_alice.read_bytes())
    assert [user for user, _ in run_log.collections(store)] == [ALICE]


def _rewritten(store: Store, change: dict[str, object], *, without: tuple[str, ...] = ()) -> None:
    run_log.append_run(store, RUN)
    (file,) = _own(store).glob("run-*")
    told = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({name: one for name, one in told.items() if name not in without}))


def test_record_of_an_older_version_is_read(store: Store) -> None:
    _rewritten(store, {}, without=("resolution", "requests_saved", "seconds_saved"))
    older = replace(RUN, resolution="", requests_saved=0, seconds_saved=0.0)
    assert [run for _, run in run_log.runs(store)] == [older]


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": "\x1b[2J"},
        {"resolution": ["reused"]},
        {"resolution": None},
        {"requests_saved": -1},
        {"requests_saved": 1 << 60},
        {"requests_saved": "5"},
        {"seconds_saved": float("nan")},
        {"seconds_saved": 1e300},
        {"seconds_saved": "x"},
    ],
    ids=str,
)
def test_record_with_a_wrong_resolution_is_skipped(store: Store, change: dict[str, object]) -> None:
    _rewritten(store, change)
    assert list(run_log.runs(store)) == []
