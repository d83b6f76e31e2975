"""The choice of the objects of a remote store that garbage collection deletes."""

from __future__ import annotations

import pytest

from pip_sharedcache.maintenance.remote_gc import _Choice
from pip_sharedcache.maintenance.remotes import LocalUse, select_objects
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.access import Listed
from pip_sharedcache.remote.inventory import RemoteObject, _parsed, in_batches
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, WHEELS

NOW = 1_000_000_000.0
DAY = 24 * 3600
A, B, C = ("a" * 64, "b" * 64, "c" * 64)
CODE = "cpython-311-a70d0d0a"


def _object(kind: str, digest: str, days: float, size: int = 10) -> RemoteObject:
    name = f"{digest}.{CODE}" if kind == BYTECODE else digest
    return RemoteObject(kind, name, size, NOW - days * DAY)


def _chosen(
    *objects: RemoteObject,
    ages: dict[str, float] | None = None,
    builds: dict[str, str] | None = None,
    older_than: float | None = None,
    max_size: float | None = None,
) -> list[str]:
    """The kinds and first digits of what is chosen by age and size."""
    days = {name: age * DAY for name, age in (ages or {}).items()}
    of_builds = {f"builds/{key}": Digest(wheel) for key, wheel in (builds or {}).items()}
    choice = _Choice(objects, LocalUse({}, days, ()), of_builds, NOW)
    choice.choose(None if older_than is None else older_than * DAY, max_size)
    return sorted(f"{one.kind}/{one.digest[0]}" for one in choice.chosen.values())


def test_old_objects_are_chosen_with_what_is_derived_from_them() -> None:
    objects = [
        _object(WHEELS, A, 40),
        _object(BYTECODE, A, 35),
        _object(BUILDS, C, 35),
        _object(WHEELS, B, 20),
        _object(BYTECODE, B, 40),
        _object(RESOLUTIONS, C, 40),
    ]
    found = _chosen(*objects, builds={C: A}, older_than=30)
    assert found == ["builds/c", "bytecode/a", "bytecode/b", "resolutions/c", "wheels/a"]
    assert _chosen(*objects, builds={C: A}) == []


def test_use_in_a_local_store_keeps_an_object() -> None:
    objects = [_object(WHEELS, A, 40), _object(BYTECODE, A, 40), _object(RESOLUTIONS, C, 40)]
    tag = f"{A}.cpython-311"
    assert _chosen(*objects, ages={A: 5, C: 5, tag: 5}, older_than=30) == []
    assert _chosen(*objects, ages={A: 5, C: 35}, older_than=30) == ["bytecode/a", "resolutions/c"]
    # Bytecode of another interpreter was used.
    other = {A: 5.0, C: 5.0, f"{A}.cpython-312": 5.0}
    assert _chosen(*objects, ages=other, older_than=30) == ["bytecode/a"]


def test_wheel_was_used_when_its_bytecode_or_build_record_was_put() -> None:
    wheel = _object(WHEELS, A, 40)
    assert _chosen(wheel, _object(BYTECODE, A, 5), older_than=30) == []
    assert _chosen(wheel, _object(BUILDS, C, 5), builds={C: A}, older_than=30) == []
    assert _chosen(wheel, _object(BUILDS, C, 5), builds={C: B}, older_than=30) == ["wheels/a"]


@pytest.mark.parametrize("older_than", [0, 0.01])
def test_nothing_younger_than_an_hour_is_chosen(older_than: float) -> None:
    objects = [_object(WHEELS, A, 0.03), _object(WHEELS, B, 0.05), _object(WHEELS, C, 9)]
    assert _chosen(*objects, ages={C: 0.02}, older_than=older_than) == ["wheels/b"]
    assert _chosen(*objects, ages={C: 0.02}, max_size=0) == ["wheels/b"]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (300, []),
        (299, ["wheels/a"]),
        (200, ["wheels/a"]),
        (199, ["bytecode/b", "wheels/a", "wheels/b"]),
        (100, ["bytecode/b", "wheels/a", "wheels/b"]),
        (0, ["bytecode/b", "wheels/a", "wheels/b", "wheels/c"]),
    ],
)
def test_longest_unused_objects_are_chosen_until_the_rest_fits(
    most: int, expected: list[str]
) -> None:
    objects = [
        _object(WHEELS, C, 3, 100),
        _object(WHEELS, A, 9, 100),
        _object(WHEELS, B, 50, 60),
        _object(BYTECODE, B, 4, 40),
    ]
    assert _chosen(*objects, max_size=most) == expected


def test_orphans_are_derived_data_without_a_wheel() -> None:
    objects = [
        _object(WHEELS, A, 40),
        _object(BYTECODE, A, 40),
        _object(BYTECODE, B, 40),
        _object(BYTECODE, C, 0.01),
        _object(BUILDS, A, 40),
        _object(BUILDS, B, 40),
        _object(BUILDS, C, 40),
        _object(RESOLUTIONS, C, 40),
    ]
    of_builds = {f"builds/{A}": Digest(A), f"builds/{B}": Digest(C)}
    choice = _Choice(objects, LocalUse({}, {}, ()), of_builds, NOW)
    assert sorted(one.key for one in choice.orphans()) == [f"builds/{B}", f"bytecode/{B}.{CODE}"]


def test_batches_are_bounded_by_size_and_number() -> None:
    sizes = [5, 5, 1, 20, 3, 3, 3, 3, 3]
    objects = [RemoteObject(WHEELS, f"{number:064x}", size, 0) for number, size in enumerate(sizes)]
    batches = list(in_batches(objects, 10, 4))
    assert [[one.size for one in batch] for batch in batches] == [
        *([5, 5], [1], [20]),
        *([3, 3, 3], [3, 3]),
    ]
    assert [one for batch in batches for one in batch] == objects
    assert [len(batch) for batch in in_batches(objects, 1000, 4)] == [4, 4, 1]
    assert list(in_batches([], 10, 4)) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "wheels", "wheels/", f"wheels/{A}x", f"wheels/{A.upper()}", f"/wheels/{A}"),
        *(f"wheels/{A}/", f"other/{A}", f"bytecode/{A}", f"bytecode/{A}.{CODE}x"),
        *(f"bytecode/{A}.-a70d0d0a", f"bytecode/{A}../{CODE}", f"builds/{A}.{CODE}", "probe"),
    ],
)
def test_object_with_another_name_is_none_of_a_store(key: str) -> None:
    assert _parsed(Listed(key, 1, 1)) is None


def test_names_select_objects_by_digest_and_by_known_title() -> None:
    objects = [_object(WHEELS, A, 1), _object(WHEELS, B, 1), _object(BYTECODE, A, 1)]
    titles = {A: "demo-1.0-py3-none-any.whl"}
    assert select_objects(objects, [], titles) == (objects, [])
    assert select_objects(objects, ["demo"], titles) == ([objects[0], objects[2]], [])
    assert select_objects(objects, ["b" * 8, "demo==2"], titles) == ([objects[1]], ["demo==2"])
