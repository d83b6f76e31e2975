"""Packs whose manifest lies: their verification ends soon, with a verdict and no error."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.verify import verify
from pip_sharedcache.model import Digest, Entry, StoredFile
from pip_sharedcache.store import Source, Store, list_entries, publish
from pip_sharedcache.store.packs import PACK, Layout
from support.damage import rewrite
from support.packed import with_manifest
from support.wheels import digest, make_wheel

EMPTY = hashlib.sha256(b"").hexdigest()
#: Files with sizes that no file, no field of a zip, or no memory has.
SIZES = {
    "more than there is": [1 << 22],
    "more than a field of a zip has": [5 << 30],
    "more than can be read": [1 << 61],
    "more together than there is": [100_000] * 50,
    "too many": [0] * 65_600,
}


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store", packed=True)


@pytest.fixture
def entry(store: Store, shared_tmp: Path) -> Entry:
    wheel = make_wheel(shared_tmp / "wheels")
    return publish(store, wheel, wheel.name, Digest(digest(wheel)))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=list(SIZES))
def test_a_manifest_with_impossible_sizes_is_damage(
    store: Store, entry: Entry, sizes: list[int]
) -> None:
    """Where each file would be right behind the other, and only the sizes are wrong."""
    named = [(f"a{number}", size) for number, size in enumerate(sizes)]
    time = entry.manifest.files[0].mtime
    rows = [
        [path, size, EMPTY, 0, time, place.offset]
        for (path, size), place in zip(named, Layout(named).places)
    ]
    pack = entry.path / PACK
    rewrite(pack, with_manifest(pack.read_bytes(), lambda one: one.update(files=rows)))
    (verdict,) = verify(list(list_entries(store, {}, [])))
    assert verdict is not None
    assert {damage.path for damage in verdict.damage} == {PACK}
    assert any("where its files cannot be" in damage.what for damage in verdict.damage)


def test_a_pack_that_cannot_be_read_is_one_fault(store: Store, entry: Entry) -> None:
    """It is no tree: none of its files is missing, and the pack is not in excess."""
    pack = entry.path / PACK
    rewrite(pack, pack.read_bytes()[:10])
    (verdict,) = verify(list(list_entries(store, {}, [])))
    assert verdict is not None
    assert [(one.path, one.kind) for one in verdict.damage] == [(PACK, "content")]


@pytest.mark.parametrize("size", [1 << 22, 1 << 61])
def test_a_file_of_an_impossible_size_is_damage_and_takes_no_memory(
    entry: Entry, tmp_path: Path, size: int
) -> None:
    file = StoredFile("demo/__init__.py", size, EMPTY, False, entry.manifest.files[0].mtime, 60)
    with Source(Directory.open(entry.path), entry.publisher, [file], packed=True) as source:
        assert len(source.read(file)) < (entry.path / PACK).stat().st_size
        with pytest.raises(DamagedEntry):
            source.read_checked(file)
