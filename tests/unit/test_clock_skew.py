"""File servers whose clock is hours ahead of this host's or behind it: their clock counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.fs import Directory, temporary
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.placement.dist_info import DistInfo, unfinished_in
from pip_sharedcache.store import Store, publish, run_log, stale_staging, usage_marks
from support.mirror import mirrored
from support.probes import fuse, linux, needs
from support.wheels import digest, make_wheel

pytestmark = [needs(linux, fuse), pytest.mark.usefixtures("own_environment")]

HOUR, DAY = 3600, 24 * 3600
FOREIGN = "elsewhere"  # another host

Captured = pytest.CaptureFixture[str]


@dataclass
class Served:
    """A directory of a file server, as the client and the server see it."""

    client: Path
    server: Path

    def age(self, path: Path, seconds: float) -> None:
        """Let a path be so old, by the clock of the server."""
        then = time.time() - seconds
        os.utime(self.server / path.relative_to(self.client), (then, then))


@pytest.fixture(params=[-5 * HOUR, 5 * HOUR], ids=["behind", "ahead"])
def served(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Served]:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)
    (shared_tmp / "server").mkdir()
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "client" / "store")
    with mirrored(shared_tmp / "client", shared_tmp / "server", skew=request.param):
        yield Served(shared_tmp / "client", shared_tmp / "server")


def _store(served: Served) -> Store:
    path = served.client / "store"
    path.mkdir(exist_ok=True)
    return Store.open(path)


def _publish(served: Served, name: str = "demo") -> Entry:
    wheel = make_wheel(served.client.parent / "wheels", name, files={f"{name}/a.py": "A = 1\n"})
    return publish(_store(served), wheel, wheel.name, Digest(digest(wheel)))


def _mark(store: Store, name: str) -> Path:
    usage_marks.mark_used(store, [name])
    return store.path / "use" / str(os.getuid()) / name


def _collected(capsys: Captured, *arguments: str) -> dict[str, object]:
    assert cli.main(["store", "gc", "--json", *arguments]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(("hours", "stays"), [(0.5, True), (3, False)])
def test_gc_retires_by_the_clock_of_the_server(
    served: Served, hours: float, stays: bool, capsys: Captured
) -> None:
    store, entry = _store(served), _publish(served)
    mark = _mark(store, entry.path.name)
    served.age(entry.path, 30 * DAY)
    served.age(mark, hours * HOUR)
    retired = _collected(capsys, "--older-than", "0")["retired"]
    assert retired == ([] if stays else [str(entry.path)])
    assert entry.path.exists() is stays


@pytest.mark.parametrize(("hours", "stays"), [(0.5, True), (2, False)])
def test_gc_deletes_by_the_clock_of_the_server(
    served: Served, hours: float, stays: bool, capsys: Captured
) -> None:
    entry = _publish(served)
    dead = entry.path.with_name(f".dead-{entry.path.name}-0a0b0c0d")
    entry.path.rename(dead)
    served.age(dead, hours * HOUR)
    found = _collected(capsys)
    assert (found["deleted"], found["kept"]) == ((0, 1) if stays else (1, 0))
    assert dead.exists() is stays


@pytest.mark.parametrize("local", [0.05, 0.5, 2], ids="local age {} hours".format)
def test_a_mark_that_looks_fresh_by_a_wrong_clock_is_replaced(
    shared_tmp: Path, local: float
) -> None:
    """The clock of this host is behind by as much as the mark is old."""
    (shared_tmp / "server").mkdir()
    with mirrored(shared_tmp / "client", shared_tmp / "server", skew=3 * HOUR):
        served = Served(shared_tmp / "client", shared_tmp / "server")
        store, name = _store(served), "ab" * 32
        mark = _mark(store, name)
        served.age(mark, (3 + local) * HOUR)
        before = mark.stat()
        assert abs(time.time() - before.st_ctime - local * HOUR) < 60
        usage_marks.mark_used(store, [name])
        assert mark.stat().st_ino != before.st_ino


def test_a_fresh_mark_is_left_alone_whatever_the_clocks_are(served: Served) -> None:
    store, name = _store(served), "ab" * 32
    mark = _mark(store, name)
    clock = fs.file_system_time(store.path) - time.time()
    assert abs(abs(clock) - 5 * HOUR) < 60
    age = usage_marks.now(store) - usage_marks.last_uses(store)[name].when
    assert 0 <= age < 60
    assert mark.stat().st_ctime - time.time() == pytest.approx(clock, abs=60)


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (5, True), (8, False)])
def test_staging_of_another_host_is_deleted_by_the_clock_of_the_server(
    served: Served, hours: int, stays: bool
) -> None:
    shard = served.client / "store" / "wheels" / "ab"
    left = shard / f".new-{FOREIGN}-123-0a0b"
    left.mkdir(parents=True)
    served.age(left, hours * HOUR)
    with Directory.open(shard) as held:
        stale_staging.sweep(held)
    assert left.exists() is stays


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (5, True), (8, False)])
def test_dist_info_of_another_host_is_deleted_by_the_clock_of_the_server(
    served: Served, hours: int, stays: bool
) -> None:
    library = served.client / "library"
    left = library / f".demo-1.0.dist-info.{FOREIGN}.123-0a0b.installing"
    left.mkdir(parents=True)
    served.age(left, hours * HOUR)
    information = DistInfo("demo-1.0.dist-info")
    information.library = str(library)
    information.sweep(unfinished_in(str(library)))
    assert left.exists() is stays


@pytest.mark.parametrize(("hours", "stays"), [(7 * 24 - 2, True), (7 * 24 + 2, False)])
def test_temporary_files_of_another_host_are_deleted_by_the_clock_of_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch, hours: int, stays: bool
) -> None:
    monkeypatch.setattr(temporary, "_swept", set())
    left = served.client / f"pip-sharedcache-{FOREIGN}-123-0a0b"
    left.mkdir()
    served.age(left, hours * HOUR)
    temporary.sweep_temporary(served.client)
    assert left.exists() is stays


@pytest.mark.parametrize(("minutes", "waits"), [(0.1, True), (24 * 60, False)])
def test_a_lock_of_the_run_log_is_stuck_by_the_clock_of_the_server(
    served: Served, minutes: float, waits: bool
) -> None:
    store = _store(served)
    own = store.path / "use" / str(os.getuid())
    with store.own_usage_marks():
        pass
    lock = own / run_log._GATHERING
    lock.touch()
    served.age(lock, minutes * 60)
    for _ in range(run_log._MANY + 1):
        run_log.append_run(store, run_log.Run(1, "", "copy", "", 0, 0, 0, 0, 0, 0, ()))
    fresh = [path for path in own.iterdir() if path.name.startswith(run_log._RUN)]
    assert (len(fresh) > run_log._MANY) is waits
