"""The stores of one run: where a wheel is looked for, and where one is put."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pip_sharedcache import store as stores
from pip_sharedcache.config import LayerSetting, Settings
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.model import Digest, Entry, Policy
from pip_sharedcache.store import Store, open_layers, publish
from pip_sharedcache.store.layers import Layers, widens
from pip_sharedcache.wheel import digest_of
from support.probes import linux, needs, root
from support.wheels import make_wheel


def _store(place: Path, name: str, policy: str = "publish", *, writable: bool = True) -> Store:
    store = replace(Store.make(place / name), policy=Policy(policy))
    return store if writable else ReadOnlyStore(**vars(store))


class ReadOnlyStore(Store):
    """A store that this user may not write."""

    def may_publish(self) -> bool:
        return False


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels")


def _publish(store: Store, wheel: Path) -> Entry:
    return publish(store, wheel, wheel.name, Digest(digest_of(wheel)[0]))


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("publish backfill", 0),
        ("read-only publish", 1),
        ("private backfill publish", 1),
        ("-publish publish", 1),
        ("-publish read-only", 0),
        ("-publish -backfill", 0),
        ("read-only private", None),
        ("", None),
    ],
)
def test_the_first_that_may_be_written_is_published_to(
    shared_tmp: Path, layers: str, chosen: int | None
) -> None:
    """A minus: its modes forbid it; who is the first hears that."""
    made = [
        _store(shared_tmp, str(number), word.lstrip("-"), writable=not word.startswith("-"))
        for number, word in enumerate(layers.split())
    ]
    assert Layers(made).to_publish() is (None if chosen is None else made[chosen])
    assert Layers(made).main is (made[chosen] if chosen is not None else (made or [None])[0])


def test_the_nearest_entry_is_found_and_its_layer_known(shared_tmp: Path, wheel: Path) -> None:
    near, far = _store(shared_tmp, "near"), _store(shared_tmp, "far")
    digest = Digest(digest_of(wheel)[0])
    layers = Layers([near, far])
    assert [found.entry for found in layers.find(digest, wheel.name)] == [None, None]
    there = _publish(far, wheel)
    (_, found) = layers.find(digest, wheel.name)
    assert (found.entry, layers.of(there)) == (there, far)
    here = _publish(near, wheel)
    (found,) = layers.find(digest, wheel.name)
    assert (found.entry, layers.of(here)) == (here, near)
    assert Layers([near]).of(there) is None


def test_what_is_farther_away_is_kept_in_the_first_that_wants_it(
    shared_tmp: Path, wheel: Path
) -> None:
    first, near, far = (
        _store(shared_tmp, "first"),
        _store(shared_tmp, "near", "backfill"),
        _store(shared_tmp, "far", "backfill"),
    )
    layers = Layers([first, near, far])
    assert layers.to_backfill(_publish(far, wheel)) is near
    assert layers.to_backfill(_publish(near, wheel)) is None
    assert layers.to_backfill(_publish(first, wheel)) is None
    entry = _publish(far, wheel)
    layers = Layers([first, near, replace(far, policy=Policy.PRIVATE)])
    assert layers.to_backfill(entry) is None
    near = replace(near, policy=Policy.PUBLISH)
    layers = Layers([first, near, replace(far, policy=Policy.READ_ONLY)])
    assert layers.to_backfill(entry) is None


def test_what_belongs_to_an_entry_is_put_beside_it_if_that_may_be(
    shared_tmp: Path, wheel: Path
) -> None:
    near, far = _store(shared_tmp, "near"), _store(shared_tmp, "far")
    entry = _publish(far, wheel)
    assert Layers([near, far]).to_complete(entry) is far
    far = replace(far, policy=Policy.READ_ONLY)
    assert Layers([near, far]).to_complete(entry) is near
    far = replace(far, policy=Policy.PRIVATE)
    assert Layers([near, far]).to_complete(entry) is far


def test_a_full_layer_is_left_if_there_is_another(shared_tmp: Path, wheel: Path) -> None:
    near, far = _store(shared_tmp, "near", "backfill"), _store(shared_tmp, "far")
    layers = Layers([near, far])
    entry = _publish(far, wheel)
    assert layers.leave(near)
    assert layers.to_publish() is far
    assert layers.to_backfill(entry) is None
    assert not layers.leave(far)
    assert layers.to_publish() is far, "whoever tries it hears why not"
    own = _store(shared_tmp, "own", "private")
    assert not Layers([own]).leave(own)


@needs(root)
@pytest.mark.parametrize(
    ("home", "other", "same_group", "expected"),
    [
        (0o755, 0o755, True, False),
        (0o700, 0o700, True, False),
        (0o750, 0o755, True, True),
        (0o750, 0o750, True, False),
        (0o750, 0o750, False, True),
        (0o700, 0o750, True, True),
        (0o2750, 0o700, False, False),
    ],
)
def test_who_may_look_where(
    shared_tmp: Path, home: int, other: int, same_group: bool, expected: bool
) -> None:
    one, two = _store(shared_tmp, "one"), _store(shared_tmp, "two")
    os.chown(one.path, 0, 54321)
    os.chown(two.path, 0, 54321 if same_group else 54322)
    one.path.chmod(home)
    two.path.chmod(other)
    assert widens(one, two) is expected


@needs(linux)
def test_layers_are_opened_one_by_one(shared_tmp: Path) -> None:
    group, own = Store.make(shared_tmp / "group").path, shared_tmp / "new" / "own"
    settings = Settings(
        group,
        "test",
        layers=(
            LayerSetting(shared_tmp / "none", Policy.PUBLISH),
            LayerSetting(group, Policy.READ_ONLY),
            LayerSetting(own, Policy.PRIVATE),
        ),
    )
    missing, first, second = open_layers(settings)
    assert isinstance(missing, StoreUnusable) and isinstance(first, Store)
    assert isinstance(second, Store)
    assert (first.policy, second.policy) == (Policy.READ_ONLY, Policy.PRIVATE)
    assert own.stat().st_mode & 0o777 == 0o700
    assert own.parent.stat().st_mode & 0o777 == 0o755
    own.chmod(0o750)
    with pytest.raises(StoreUnusable, match="is not private") as caught:
        Store.open(own, hidden=True)
    assert caught.value.hint == f"chmod 700 {own}"
    assert stores.open_store(settings).policy is Policy.READ_ONLY
