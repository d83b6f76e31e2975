"""Trust in entries: what is asked of the file system, and how often."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import Store, entry_trust
from pip_sharedcache.store.layout import WHEELS
from pip_sharedcache.store.lookup import find
from pip_sharedcache.store.publish import publish
from support.probes import acl, linux, needs
from support.wheels import digest, make_wheel

pytestmark = needs(linux)

STRANGER = 54321


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.make(tmp_path / "store")


@pytest.fixture
def entry(store: Store, tmp_path: Path) -> Entry:
    wheel = make_wheel(tmp_path / "wheels")
    return publish(store, wheel, wheel.name, Digest(digest(wheel)))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the extended attributes that were read, for each time."""
    names: list[str] = []
    original = os.getxattr

    def getxattr(where: int | str | Path, name: str, *, follow_symlinks: bool = True) -> bytes:
        names.append(name)
        return original(where, name, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "getxattr", getxattr)
    return names


def _distrust_reason(store: Store, entry: Entry) -> str:
    with (
        store.opened(WHEELS, entry.path.parent.name) as chain,
        chain[0].subdirectory(entry.path.name) as held,
    ):
        return entry_trust.distrust_reason(store, held, chain)


def test_access_list_of_an_entry_is_read_once(store: Store, entry: Entry, asked: list[str]) -> None:
    for _ in range(3):
        assert _distrust_reason(store, entry) == ""
    assert len(asked) == 1


@needs(acl)
def test_access_list_that_was_changed_is_read_again(store: Store, entry: Entry) -> None:
    assert find(store, entry.manifest.digest, entry.manifest.filename).entry is not None
    subprocess.run(["setfacl", "-m", f"u:{STRANGER}:rwx", entry.path], check=True)
    assert _distrust_reason(store, entry) != ""
    assert find(store, entry.manifest.digest, entry.manifest.filename).entry is None


@needs(acl)
@pytest.mark.parametrize("above", [0, 1, 2], ids=["shard", "wheels", "store"])
def test_changed_access_list_of_a_directory_above_is_read_again(
    store: Store, entry: Entry, above: int
) -> None:
    assert entry_trust.replaceable_by(store, entry) == ""
    directory = entry.path.parents[above]
    subprocess.run(["setfacl", "-m", f"u:{STRANGER}:rwx", directory], check=True)
    assert entry_trust.replaceable_by(store, entry) != ""


def test_directories_above_an_entry_are_read_once_for_links(
    store: Store, entry: Entry, asked: list[str]
) -> None:
    for _ in range(3):
        assert entry_trust.replaceable_by(store, entry) == ""
    assert len(asked) == 3


def test_directories_above_a_shard_are_opened_as_places(store: Store, entry: Entry) -> None:
    with store.opened(WHEELS, entry.path.parent.name) as (shard, *above):
        assert shard.names() == [entry.path.name]
        for one in above:
            assert one.status().st_ino == one.path.stat().st_ino
            with pytest.raises(OSError):
                one.names()
