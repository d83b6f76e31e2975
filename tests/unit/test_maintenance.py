"""The flows that scripts may call: values in, values out, nothing printed."""

from __future__ import annotations

import io
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from pip_sharedcache import fs, maintenance
from pip_sharedcache.errors import FileError, StoreUnusable
from pip_sharedcache.model import Digest
from pip_sharedcache.store import publish
from support.wheels import digest as sha256
from support.wheels import make_wheel

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


def test_every_exported_name_is_there() -> None:
    assert maintenance.API_VERSION == 1
    for name in maintenance.__all__:
        assert getattr(maintenance, name) is not None, name


def test_the_flows_return_values_and_print_nothing(shared_tmp: Path, capfd: Captured) -> None:
    made = maintenance.make_store(shared_tmp / "store", packed=False)
    store = maintenance.open_at(made.store.path)
    wheel = make_wheel(shared_tmp)
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))

    contents = maintenance.read_entries(store, ["demo", "other"])
    assert [item.path for item in contents.items] == [entry.path]
    assert (contents.whole, contents.missing, contents.unread) == (1, ("other",), ())

    (sound,) = maintenance.check(store, contents.items, fix=True)
    assert sound is not None
    assert (sound.verdict.damage, sound.healing) == ((), None)
    (entry.path / "entry.json").unlink()
    (damaged,) = maintenance.check(store, contents.items, fix=True)
    assert damaged is not None
    assert damaged.healing == (True, "made anew from its own wheel")

    archive = io.BytesIO()
    entries = maintenance.select(maintenance.read_entries(store))
    assert list(maintenance.pack(entries, archive)) == [""]
    other = maintenance.make_store(shared_tmp / "other").store
    archive.seek(0)
    (arrival,) = maintenance.unpack(other, archive)
    assert (arrival.title, arrival.new, arrival.problem) == (wheel.name, True, "")

    collection = maintenance.collect(store, older_than=0)
    assert (collection.retired, collection.deleted, collection.refused) == ((), 0, ())
    assert len(collection.spared.recent) == 1
    with pytest.raises(FrozenInstanceError):
        collection.left = 0  # type: ignore[misc]

    page = maintenance.make_page(store)
    assert page.entries == 1
    assert page.text.startswith("<!doctype html>")
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_done_is_raised(shared_tmp: Path) -> None:
    with pytest.raises(StoreUnusable):
        maintenance.open_at(shared_tmp / "nothing")
    (shared_tmp / "file").touch()
    with pytest.raises(FileError, match="cannot be made"):
        maintenance.make_store(shared_tmp / "file" / "store")
