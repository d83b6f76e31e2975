"""Claims of wheels: their order, whose count, and that nothing in them does harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pip_sharedcache.fs import HOST
from pip_sharedcache.store import Store, claims, usage_marks
from support.probes import linux, needs

pytestmark = needs(linux)

ONE, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    (shared_tmp / "store").mkdir()
    return Store.open(shared_tmp / "store")


@pytest.fixture
def living() -> Iterator[int]:
    """The number of a process that is at work, and is not above this one."""
    process = subprocess.Popen(["sleep", "300"])
    yield process.pid
    process.kill()
    process.wait()


def _own(store: Store) -> Path:
    return store.path / "use" / str(os.geteuid())


def _write(store: Store, who: str, digests: object = (ONE,)) -> Path:
    _own(store).mkdir(parents=True, exist_ok=True)
    path = _own(store) / f"getting-{who}-0a0b"
    path.write_text(json.dumps(digests) if not isinstance(digests, str) else digests)
    return path


def _dead() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_older_of_two_claims_comes_first(store: Store, living: int) -> None:
    _write(store, f"{HOST}-{living}")
    time.sleep(0.05)  # the clocks of file systems are coarse
    own = claims.make(store, [ONE, OTHER])
    (found,) = claims.older(store, own)
    assert found.digests == {ONE}
    assert found.order < own.order
    assert claims.is_kept(store, found, own)
    time.sleep(0.05)
    _write(store, f"{HOST}-{living}")  # now younger
    assert claims.older(store, own) == []


def test_a_claim_of_other_wheels_is_none(store: Store, living: int) -> None:
    _write(store, f"{HOST}-{living}", [OTHER])
    assert claims.older(store, claims.make(store, [ONE])) == []


def test_a_released_claim_is_gone(store: Store) -> None:
    own = claims.make(store, [ONE])
    assert claims.is_kept(store, own, own) is False, "of this process, which waits for no one"
    claims.release(store, own)
    claims.release(store, own)
    assert os.listdir(_own(store)) == []


def test_a_process_does_not_wait_for_those_that_started_it(store: Store) -> None:
    """pip builds in a pip of its own, which may miss what the first one has claimed."""
    program = (
        "import sys; from pathlib import Path\n"
        "from pip_sharedcache.store import Store, claims\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "print(len(claims.older(store, claims.make(store, [sys.argv[2]]))))"
    )
    claims.make(store, [ONE])
    command = ["sh", "-c", 'python=$1; shift; "$python" -c "$@"; true', "sh"]
    command += [sys.executable, program, str(store.path), ONE]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "0\n"


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "1", "null", "[1, [2]]", "[" * 100_000, '["' + "a" * (2 << 20) + '"]'],
    ids=range(8),
)
def test_a_claim_that_is_none_does_no_harm(store: Store, living: int, text: str) -> None:
    _write(store, f"{HOST}-{living}", text)
    assert claims.older(store, claims.make(store, [ONE])) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_something_else_in_place_of_a_claim_does_no_harm(
    store: Store, living: int, make: Callable[[Path], None]
) -> None:
    _own(store).mkdir(parents=True)
    make(_own(store) / f"getting-{HOST}-{living}-0a0b")
    assert claims.older(store, claims.make(store, [ONE])) == []


@pytest.mark.parametrize(("age", "counts"), [(0, True), (2 * claims.LIFETIME, False)])
def test_a_claim_of_another_host_counts_for_a_minute(
    store: Store, age: float, counts: bool
) -> None:
    _write(store, "elsewhere-1")
    own = claims.make(store, [ONE])
    (found,) = claims.older(store, own)
    later = claims.Claim(own.user, own.name, own.since, own.digests, time.monotonic() - age)
    assert claims.is_kept(store, found, later) is counts


def test_a_renewed_claim_counts_on(store: Store) -> None:
    claim = claims.make(store, [ONE])
    before = (_own(store) / claim.name).stat().st_ctime_ns
    claims.renew(store, claim)
    assert (_own(store) / claim.name).stat().st_ctime_ns > before
    assert json.loads((_own(store) / claim.name).read_text(encoding="ascii")) == [ONE]
    claims.release(store, claim)
    claims.renew(store, claim)
    assert not (_own(store) / claim.name).exists()


def test_claims_of_killed_runs_are_deleted_by_the_next(store: Store, living: int) -> None:
    dead, alive = _write(store, f"{HOST}-{_dead()}"), _write(store, f"{HOST}-{living}")
    old, fresh = _write(store, "elsewhere-1"), _write(store, "elsewhere-2")
    os.utime(old, (1, 1))
    claims.make(store, [ONE])
    assert [path.exists() for path in (dead, alive, old, fresh)] == [False, True, False, True]


def test_gc_forgets_claims_of_users_who_do_not_come_back(store: Store) -> None:
    left = _write(store, "elsewhere-1")
    usage_marks.forget(store, (), time.time() - 60)
    assert left.exists()
    usage_marks.forget(store, (), time.time() + 60)
    assert not left.exists()
