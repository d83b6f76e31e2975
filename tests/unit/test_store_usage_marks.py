"""Marks: each user's own, by the file system's clock, whatever others put beside them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pip_sharedcache.fs import Directory
from pip_sharedcache.store import Store, symlink_registry, usage_marks
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = needs(linux)

ALICE, BOB, GROUP = 54321, 54322, 54399
NAMES = [f"{number:064x}" for number in range(8)]
COMPILED = f"{NAMES[0]}.cpython-313.opt-1.1000"


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


@pytest.fixture
def shared(shared_tmp: Path) -> Store:
    """A store of a group; root's."""
    return Store.make(shared_tmp / "store", str(GROUP))


def _own(store: Store) -> Path:
    return store.path / "use" / str(os.geteuid())


def _latest(store: Store) -> dict[str, int]:
    return {name: use.user for name, use in usage_marks.last_uses(store).items()}


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> float:
    """The clock of this host, but not the file system's, is ahead or behind by so much."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + request.param)
    return float(request.param)


# -- marks


def test_what_is_marked_is_known_with_user_and_time(store: Store) -> None:
    before = usage_marks.now(store)
    usage_marks.mark_used(store, [NAMES[0], COMPILED])
    found = usage_marks.last_uses(store)
    assert set(found) == {NAMES[0], COMPILED}
    for use in found.values():
        assert use.user == os.geteuid()
        assert before <= use.when <= usage_marks.now(store)
    assert usage_marks.uses(store, NAMES[0]) == [found[NAMES[0]]]
    assert usage_marks.uses(store, NAMES[1]) == []


def test_marks_can_be_counted_by_everybody_and_written_by_their_owner(store: Store) -> None:
    os.umask(0o077)
    usage_marks.mark_used(store, [NAMES[0]])
    assert oct(stat.S_IMODE(_own(store).stat().st_mode)) == oct(0o755)
    assert oct(stat.S_IMODE((_own(store) / NAMES[0]).stat().st_mode)) == oct(0o644)


def test_a_fresh_mark_is_left_alone(store: Store) -> None:
    usage_marks.mark_used(store, [NAMES[0]])
    first = (_own(store) / NAMES[0]).stat()
    usage_marks.mark_used(store, [NAMES[0]])
    assert (_own(store) / NAMES[0]).stat() == first


def test_an_old_mark_is_replaced_never_touched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_marks.mark_used(store, [NAMES[0]])
    path = _own(store) / NAMES[0]
    first = path.stat()
    os.link(path, store.path / "kept")
    kept = (store.path / "kept").stat()
    later = time.time() + usage_marks.FRESH
    monkeypatch.setattr(time, "time", lambda: later)
    usage_marks.mark_used(store, [NAMES[0]])
    assert path.stat().st_ino != first.st_ino
    now = (store.path / "kept").stat()
    assert (now.st_mtime_ns, now.st_size) == (kept.st_mtime_ns, 0)
    assert os.listdir(_own(store)) == [NAMES[0]], "nothing is left beside it"


@pytest.mark.parametrize("wrong_clock", [-(10**8), -7200, 7200, 10**8], indirect=True)
def test_marks_are_right_where_the_clock_of_the_host_is_wrong(
    store: Store, wrong_clock: float
) -> None:
    true = time.time() - wrong_clock
    for _ in range(2):
        usage_marks.mark_used(store, [NAMES[0]])
        assert abs(usage_marks.last_uses(store)[NAMES[0]].when - true) < 600
    assert abs(usage_marks.now(store) - true) < 600


def test_marks_of_many_runs_at_once_are_all_kept(store: Store) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from pip_sharedcache.store import Store, usage_marks\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "for number in range(60):\n"
        "    usage_marks.mark_used(store, [f'{int(sys.argv[2]) * 100 + number:064x}'])\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(store.path), str(run)])
        for run in range(6)
    ]
    assert [run.wait(timeout=120) for run in runs] == [0] * 6
    assert len(usage_marks.last_uses(store)) == 360


@needs(root)
def test_latest_user_of_each_entry_is_reported(shared: Store) -> None:
    for user in (ALICE, BOB):
        with as_user(user, GROUP):
            usage_marks.mark_used(shared, [NAMES[0]])
    with as_user(ALICE, GROUP):
        usage_marks.mark_used(shared, [NAMES[1]])
    assert _latest(shared) == {NAMES[0]: BOB, NAMES[1]: ALICE}
    assert [use.user for use in usage_marks.uses(shared, NAMES[0])] == [BOB, ALICE]


@needs(root)
def test_who_may_not_write_cannot_mark_and_goes_by_the_clock_of_the_host(store: Store) -> None:
    with as_user(ALICE, GROUP):
        with pytest.raises(PermissionError):
            usage_marks.mark_used(store, [NAMES[0]])
        assert abs(usage_marks.now(store) - time.time()) < 600
    assert os.listdir(store.path / "use") == []


def test_a_store_made_by_hand_gets_its_directory(shared_tmp: Path) -> None:
    (shared_tmp / "store").mkdir()
    store = Store.open(shared_tmp / "store")
    assert usage_marks.last_uses(store) == {}
    usage_marks.mark_used(store, [NAMES[0]])
    assert set(usage_marks.last_uses(store)) == {NAMES[0]}


# -- what others put there


@needs(root)
@pytest.mark.parametrize("kind", ["directory", "file", "symlink", "fifo"])
def test_squatted_mark_directory_is_not_written_and_reported(shared: Store, kind: str) -> None:
    place = shared.path / "use" / str(ALICE)
    elsewhere = shared.path.parent / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, ALICE, -1)
    with as_user(BOB, GROUP):
        _plant(place, kind, elsewhere)
    with as_user(ALICE, GROUP):
        with pytest.raises(OSError) as caught:
            usage_marks.mark_used(shared, [NAMES[0]])
        usage_marks.forget(shared, {}, time.time() + 10**6)
    assert caught.value.errno == errno.EEXIST
    assert f"was put there by uid {BOB}" in str(caught.value.strerror)
    assert os.listdir(elsewhere) == []
    assert usage_marks.last_uses(shared) == {}
    assert usage_marks.squatters(shared) == [(place, ALICE, BOB)]


def _plant(path: Path, kind: str, elsewhere: Path) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.touch()


@needs(root)
def test_marks_in_anothers_name_do_not_count(shared: Store) -> None:
    with as_user(BOB, GROUP):
        (shared.path / "use" / str(ALICE)).mkdir()
        (shared.path / "use" / str(ALICE) / NAMES[0]).touch()
        for name in ("..x", "007", f"0{BOB}", "nobody", "-1", "\N{FULLWIDTH DIGIT NINE}"):
            (shared.path / "use" / name).mkdir()
            (shared.path / "use" / name / NAMES[0]).touch()
    assert usage_marks.last_uses(shared) == {}


def test_what_is_no_mark_is_passed_over(store: Store, no_hanging: None) -> None:
    own = _own(store)
    usage_marks.mark_used(store, [NAMES[0]])
    for name in ("x" * 250, "é", os.fsdecode(b"\xff"), NAMES[1] + "x", NAMES[1] + ".\n", "\x1b[2J"):
        (own / name).touch()
    (own / NAMES[2]).mkdir()
    (own / NAMES[3]).symlink_to(own / NAMES[0])
    os.mkfifo(own / NAMES[4])
    assert set(usage_marks.last_uses(store)) == {NAMES[0]}


# -- forgetting


def test_what_says_nothing_any_more_is_forgotten(store: Store) -> None:
    usage_marks.mark_used(store, NAMES[:3])
    (_own(store) / ".new-0123").touch()
    later = usage_marks.now(store) + 1
    usage_marks.forget(store, {NAMES[0]}, later - 3600)
    assert set(usage_marks.last_uses(store)) == set(NAMES[:3]), "too new to be forgotten"
    usage_marks.forget(store, {NAMES[0]}, later)
    assert set(usage_marks.last_uses(store)) == {NAMES[0]}
    assert sorted(os.listdir(_own(store))) == [".clock", NAMES[0]]


@needs(root)
def test_only_root_deletes_marks_of_other_users(shared: Store) -> None:
    with as_user(ALICE, GROUP):
        usage_marks.mark_used(shared, [NAMES[0]])
    later = usage_marks.now(shared) + 1
    with as_user(BOB, GROUP):
        usage_marks.mark_used(shared, [NAMES[1]])
        usage_marks.forget(shared, {}, later)
    assert _latest(shared) == {NAMES[0]: ALICE}
    usage_marks.forget(shared, {}, later)
    assert _latest(shared) == {}


@pytest.mark.parametrize("records", ["marks", "links"])
def test_records_that_cannot_be_listed_are_left_to_the_next_collection(
    records: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk fails for one user's directory: the others' collection goes on."""
    usage_marks.mark_used(store, [NAMES[0]])

    names = Directory.names

    def fails(held: Directory) -> list[str]:
        if held.path == _own(store):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(held.path))
        return names(held)

    monkeypatch.setattr(Directory, "names", fails)
    if records == "marks":
        usage_marks.forget(store, (), time.time() + 10)
    else:
        symlink_registry.forget(store)
    monkeypatch.undo()
    assert NAMES[0] in usage_marks.last_uses(store)
