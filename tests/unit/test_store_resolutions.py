"""Resolutions in a store: publication, replacement, lookup, and what others put there."""

from __future__ import annotations

import os
import resource
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import fs
from pip_sharedcache.errors import ResolutionNotPublished
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import (
    NONE_YET,
    RESOLUTIONS,
    Store,
    StoredResolution,
    find_resolutions,
    make_visible,
    stage_resolution,
)
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.store.staging import stage_record
from support.damage import damage
from support.faults import visible_entries
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = needs(linux)

ALICE, BOB, EVE, GROUP = 54321, 54322, 54323, 54399
KEY = Digest("ab" + "1" * 62)
KINDS = ["emptied", "edited", "edited-unseen", "edited-at-once", "deleted", "symlink", "fifo"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


def publish(store: Store, at: int, **more: Any) -> Entry:
    staged = stage_resolution(store, KEY, {"format": 1, "at": at}, **more)
    (entry,) = make_visible(store, [staged])
    assert isinstance(entry, Entry), entry
    return entry


def times(store: Store) -> list[int]:
    return [one.at for one in find_resolutions(store, KEY)]


def test_resolution_published_is_found_as_it_was_given(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    data = {"format": 1, "at": 7, "question": {"requirements": ["x\ud800 é"]}, "pages": [1, 2.5]}
    (entry,) = make_visible(store, [stage_resolution(store, KEY, data)])
    assert isinstance(entry, Entry)
    (found,) = find_resolutions(store, KEY)
    assert found == StoredResolution(data, entry.identity, os.geteuid(), 7, found.entry)
    assert found.entry.path == entry.path == store.path / RESOLUTIONS / "ab" / KEY
    assert find_resolutions(store, KEY, {entry.identity}) == ()
    assert find_resolutions(store, Digest("ab" + "2" * 62)) == ()
    assert Layers([store]).find_resolutions(KEY) == (found,)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in entry.path.rglob("*")}
    assert set(modes.values()) == {0o444, 0o555}


def test_resolution_without_format_and_time_gets_both(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    make_visible(store, [stage_resolution(store, KEY, {"result": []})])
    (found,) = find_resolutions(store, KEY)
    assert found.data == {"format": 1, "at": found.at, "result": []}
    assert abs(found.at - time.time()) < 100


@pytest.mark.parametrize("named", [True, False])
def test_own_stale_resolution_is_replaced_under_its_name(shared_tmp: Path, named: bool) -> None:
    store = Store.make(shared_tmp / "store")
    old = publish(store, 1)
    new = publish(store, 2, replaces=old.identity if named else NONE_YET)
    assert new.path == old.path
    assert times(store) == [2]
    assert visible_entries(store.path, RESOLUTIONS) == [new.path]


def test_resolution_published_since_the_staging_is_used_instead(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    late = stage_resolution(store, KEY, {"at": 1})
    first = publish(store, 2)
    (outcome,) = make_visible(store, [late])
    assert isinstance(outcome, Entry)
    assert outcome.identity == first.identity
    assert times(store) == [2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["entry.json", "files/resolution.json"])
def test_own_damaged_resolution_is_not_found_and_replaced(
    shared_tmp: Path, name: str, kind: str, no_hanging: None
) -> None:
    store = Store.make(shared_tmp / "store")
    old = publish(store, 1)
    damage(old.path / name, kind, shared_tmp / "outside")
    if (name, kind) != ("entry.json", "edited-unseen"):
        assert times(store) == []
    assert publish(store, 2).path == old.path
    assert times(store) == [2]


@needs(root)
def test_resolutions_of_members_stand_beside_each_other_newest_first(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    with as_user(ALICE, GROUP):
        one = publish(store, 1)
    with as_user(BOB, GROUP):
        store = Store.open(store.path)
        two = publish(store, 3, replaces=one.identity)
        assert two.path.name == f"{KEY}.{BOB}"
        again = publish(store, 4, replaces=two.identity)
        assert again.path == two.path
    with as_user(EVE, GROUP):
        publish(Store.open(store.path), 2)
        assert times(Store.open(store.path)) == [4, 2, 1]
        assert [one.publisher for one in find_resolutions(Store.open(store.path), KEY)] == [
            *(BOB, EVE, ALICE)
        ]
    assert times(Store.open(store.path)) == []  # root trusts no member


@needs(root)
def test_resolution_of_an_untrusted_user_is_never_found(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    (store.path / "store.json").write_text(
        f'{{"format": 1, "group": "{GROUP}", "trusted": ["{ALICE}"]}}'
    )
    with as_user(EVE, GROUP):
        planted = publish(Store.open(store.path), 9)
    with as_user(BOB, GROUP):
        assert times(Store.open(store.path)) == []
    with as_user(ALICE, GROUP):
        beside = publish(Store.open(store.path), 1)
        assert beside.path.name == f"{KEY}.{ALICE}"
    with as_user(BOB, GROUP):
        (found,) = find_resolutions(Store.open(store.path), KEY)
        assert (found.record, found.publisher) == (beside.identity, ALICE)
    assert planted.path.is_dir()


def test_resolution_from_the_future_comes_last(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.make(shared_tmp / "store")
    publish(store, int(time.time()) + 10 * 24 * 3600)
    other = Store.make(shared_tmp / "other")
    now = publish(other, int(time.time()))
    now.path.rename(store.path / RESOLUTIONS / "ab" / f"{KEY}.{os.geteuid()}")
    assert times(store) == sorted(times(store))


BOMBS = {
    "brackets": b"[" * 60_000_000,
    "brackets within the limit": b'{"format": 1, "at": ' + b"[" * 1_000_000,
    "lists": b'{"format": 1, "at": 1, "x": ' + b"[" + b"[]," * 2_000_000 + b"[]]}",
    "digits": b'{"format": 1, "at": ' + b"1" * 8_000_000 + b"}",
    "a float": b'{"format": 1, "at": 1, "x": 1.' + b"1" * 8_000_000 + b"}",
    "NaN": b'{"format": 1, "at": 1, "x": NaN}',
    "no object": b"[]",
    "another format": b'{"format": 2, "at": 1}',
    "no time": b'{"format": 1}',
    "a time that is text": b'{"format": 1, "at": "1"}',
    "a time before all": b'{"format": 1, "at": -1}',
    "no UTF-8": b'{"format": 1, "at": 1, "x": "\xff"}',
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_resolution_whose_publisher_wrote_nonsense_is_skipped(
    shared_tmp: Path, kind: str, no_hanging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.make(shared_tmp / "store")
    staged = stage_record(*(store, RESOLUTIONS, KEY, "resolution.json", BOMBS[kind], lambda: None))
    make_visible(store, [staged])
    assert visible_entries(store.path, RESOLUTIONS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert times(store) == ([1] if kind == "lists" else [])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 20
    publish(store, 5)
    assert times(store) == [5]


def test_sparse_resolution_of_a_terabyte_is_skipped(shared_tmp: Path, no_hanging: None) -> None:
    store = Store.make(shared_tmp / "store")
    file = publish(store, 1).path / "files" / "resolution.json"
    file.chmod(0o644)
    os.truncate(file, 1 << 40)
    file.chmod(0o444)
    assert times(store) == []


def test_other_things_under_the_names_are_skipped(shared_tmp: Path, no_hanging: None) -> None:
    store = Store.make(shared_tmp / "store")
    shard = store.path / RESOLUTIONS / "ab"
    os.mkfifo(shard / KEY)
    (shard / f"{KEY}.0").symlink_to("/")
    assert times(store) == []
    staged = stage_resolution(store, KEY, {"at": 1})
    outcome = make_visible(store, [staged])
    assert os.geteuid() == 0 or isinstance(outcome[0], Entry)
    assert stat.S_ISFIFO((shard / KEY).lstat().st_mode)


def test_resolution_that_is_too_large_is_not_published(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    with pytest.raises(ResolutionNotPublished, match="too large"):
        stage_resolution(store, KEY, {"x": "x" * (8 << 20)})
    assert list((store.path / RESOLUTIONS / "ab").iterdir()) == []


@needs(root)
@pytest.mark.parametrize("user", [0, ALICE])
def test_group_store_made_before_takes_none_until_init(shared_tmp: Path, user: int) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    for shard in (store.path / RESOLUTIONS).iterdir():
        shard.rmdir()
    (store.path / RESOLUTIONS).rmdir()
    with as_user(user, GROUP):
        assert times(Store.open(store.path)) == []
        with pytest.raises(ResolutionNotPublished, match="no directory resolutions"):
            stage_resolution(Store.open(store.path), KEY, {"at": 1})
        assert Store.open(store.path).missing_directories() == ("", "")
    assert not (store.path / RESOLUTIONS).exists()
    Store.make(store.path, str(GROUP))
    with as_user(user, GROUP):
        publish(Store.open(store.path), 1)
        assert times(Store.open(store.path)) == [1]


def test_single_user_store_made_before_gets_the_directory(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    for shard in (store.path / RESOLUTIONS).iterdir():
        shard.rmdir()
    (store.path / RESOLUTIONS).rmdir()
    publish(store, 1)
    assert times(store) == [1]
    assert stat.S_IMODE((store.path / RESOLUTIONS / "ab").stat().st_mode) == 0o755


@needs(root)
def test_user_without_write_permission_stages_none(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    publish(store, 1)
    with as_user(ALICE, GROUP):
        assert times(Store.open(store.path)) == [1]
        with pytest.raises(ResolutionNotPublished):
            stage_resolution(Store.open(store.path), KEY, {"at": 2})


@contextmanager
def _calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the calls of the system that open, list and look at files."""
    made: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("open", "stat", "lstat", "fstat", "scandir", "listdir", "read"):
            call = getattr(os, name)

            def noted(*args: Any, _name: str = name, _call: Any = call, **more: Any) -> Any:
                made.append(_name)
                return _call(*args, **more)

            patch.setattr(os, name, noted)
        yield made


@needs(root)
def test_lookup_among_ten_thousand_makes_the_same_calls(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    with as_user(ALICE, GROUP):
        publish(store, 1)
    counts = []
    there = 1
    for most in (1, 100, 10_000):
        for number in range(there, most):
            name = f"{number % 256:02x}{number:062x}"
            (store.path / RESOLUTIONS / name[:2] / name).mkdir()
        there = most
        with as_user(BOB, GROUP):
            opened = Store.open(store.path)
            assert times(opened) == [1]  # the access lists of directories are asked for once
            with _calls(monkeypatch) as made:
                assert times(opened) == [1]
                assert find_resolutions(opened, Digest("cd" * 32)) == ()
            counts.append(made)
    assert counts[0] == counts[1] == counts[2]
    assert len(counts[0]) < 60


@needs(root)
def test_lookup_opens_sixteen_names_of_a_thousand(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    with as_user(ALICE, GROUP):
        entry = publish(store, 1)
        for number in range(1000):
            os.mkdir(f"{entry.path}.{number}")
    with as_user(BOB, GROUP):
        opened = Store.open(store.path)
        assert times(opened) == [1]  # as above
        with _calls(monkeypatch) as made:
            assert times(opened) == [1]
    assert made.count("open") < 3 + 3 * 16


def test_resolutions_of_the_nearest_layer_come_first(shared_tmp: Path) -> None:
    near, far = Store.make(shared_tmp / "near"), Store.make(shared_tmp / "far")
    publish(far, 9)
    entry = publish(near, 5)
    assert [one.at for one in Layers([near, far]).find_resolutions(KEY)] == [5, 9]
    assert [one.at for one in Layers([far, near]).find_resolutions(KEY)] == [9, 5]
    assert [one.at for one in Layers([near, far]).find_resolutions(KEY, {entry.identity})] == [9]
