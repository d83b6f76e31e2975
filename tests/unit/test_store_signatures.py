"""Signatures in a store: which of many are looked at, who may add one, what deletes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pip_sharedcache.errors import DirectoryMissing, NotWritable
from pip_sharedcache.maintenance import clean
from pip_sharedcache.maintenance.signatures import delete_signatures
from pip_sharedcache.model import Digest
from pip_sharedcache.signing import BUILD, BuildStatement, SignedData, Signers, sign, subject_digest
from pip_sharedcache.store import (
    Store,
    StoredSignature,
    count_signatures,
    find_signed,
    list_signatures,
    own_signed,
    write_signed,
)
from support import probes
from support.keys import make_key, public
from support.process import as_user

pytestmark = probes.needs(probes.openssh)

KEY = Digest("ab" * 32)
STATEMENT = BuildStatement(KEY, Digest("cd" * 32), "demo-1.0-py3-none-any.whl", {"by": "alice"})
SUBJECT = subject_digest(BUILD, KEY)
OTHERS = range(60_000, 60_100)


@pytest.fixture
def store(shared_tmp: Path) -> Iterator[Store]:
    yield Store.make(shared_tmp / "store")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signers, SignedData]:
    directory = tmp_path_factory.mktemp("keys")
    key = make_key(directory, "key")
    allowed = directory / "allowed"
    allowed.write_text(f"alice {public(key)}\n", encoding="ascii")
    return Signers(allowed), SignedData.of(STATEMENT, sign(STATEMENT.to_bytes(), key))


def _others(store: Store, names: list[str]) -> None:
    shard = store.path / "signatures" / SUBJECT[:2]
    for name in names:
        (shard / name).write_bytes(b"x" * 100)


def test_signature_of_a_known_user_is_found_among_those_of_any_others(
    store: Store, signed: tuple[Signers, SignedData]
) -> None:
    signers, data = signed
    refusals: list[str] = []
    assert find_signed(store, BUILD, KEY, signers, refusals) is None
    path = write_signed(store, data)
    assert path.name == f"{SUBJECT}.{os.geteuid()}"
    _others(store, [f"{SUBJECT}.{uid}" for uid in OTHERS])
    found = find_signed(store, BUILD, KEY, signers, refusals)
    assert found is not None
    assert (found[0], found[1].principal) == (STATEMENT, "alice")
    assert own_signed(store, BUILD, KEY) == data
    # Of others, only so many are read, each with its reason.
    path.unlink()
    assert find_signed(store, BUILD, KEY, signers, refusals) is None
    assert len(refusals) == 8
    assert all(": no signed data" in one for one in refusals)
    # As the same user signs anew, one file stays one.
    for _ in range(2):
        assert write_signed(store, data) == path
    assert find_signed(store, BUILD, KEY, signers, []) == found


def test_signature_under_another_name_is_about_nothing(
    store: Store, signed: tuple[Signers, SignedData]
) -> None:
    signers, data = signed
    path = write_signed(store, data)
    other = Digest("01" * 32)
    subject = subject_digest(BUILD, other)
    moved = store.path / "signatures" / subject[:2] / f"{subject}.0"
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    refusals: list[str] = []
    assert find_signed(store, BUILD, other, signers, refusals) is None
    assert refusals == [f"{moved}: alice signed build {KEY}, which is about something else"]
    unread: list[tuple[Path, str]] = []
    (listed,) = list_signatures(store, unread)
    assert (listed, unread) == (
        StoredSignature(moved, os.geteuid(), moved.stat().st_mtime),
        [],
    )


@probes.needs(probes.root)
def test_member_of_the_group_signs_if_the_directories_are_there(
    store: Store, signed: tuple[Signers, SignedData]
) -> None:
    """An older store has none: the error names the user who may make them."""
    _, data = signed
    alice, bob, group = 54321, 54322, 54399
    for path in (store.path, store.path / "signatures"):
        path.mkdir(exist_ok=True)
        os.chown(path, 0, group)
    (store.path / "signatures").rmdir()
    with as_user(alice, group), pytest.raises(DirectoryMissing) as missing:
        write_signed(store, data)
    assert f"{store.path / 'signatures'} is missing, and you may not make it" in str(missing.value)
    assert "store init" in missing.value.hint
    shard = store.path / "signatures" / SUBJECT[:2]
    shard.mkdir(parents=True)
    os.chown(shard, 0, group)
    shard.chmod(0o3775)
    with as_user(alice, group):
        path = write_signed(store, data)
        (shard / f"{SUBJECT}.{bob}").write_bytes(b"in the way")
        before = {*os.listdir(shard)}
    with as_user(bob, group), pytest.raises(NotWritable, match="cannot be written"):
        write_signed(store, data)
    assert (path.stat().st_uid, {*os.listdir(shard)}) == (alice, before), "nothing is left over"


def test_collection_keeps_signatures_of_what_is_there_and_of_the_last_hour(
    store: Store, signed: tuple[Signers, SignedData]
) -> None:
    _, data = signed
    path = write_signed(store, data)
    unfinished = path.with_name(".new-0123456789abcdef")
    unfinished.write_bytes(b"")
    now = path.stat().st_mtime
    delete_signatures(store, now + 60)
    assert (path.exists(), unfinished.exists()) == (True, True)
    record = store.path / "builds" / KEY[:2] / f"{KEY}.{os.geteuid()}"
    record.mkdir(parents=True)
    delete_signatures(store, now + 7200)
    assert (path.exists(), unfinished.exists()) == (True, False)
    record.rmdir()
    later = path.with_name(f"{SUBJECT}.7")
    later.write_bytes(data.to_bytes().replace(b'"format": 1', b'"format": 2', 1))
    kind = path.with_name(f"{subject_digest('resolution', KEY)}.7")
    kind.write_bytes(data.to_bytes().replace(b'"kind": "build"', b'"kind": "resolution"', 1))
    delete_signatures(store, now + 7200)
    assert (path.exists(), later.exists(), kind.exists()) == (False, True, True)


def test_store_with_signatures_is_deleted_as_a_whole(
    store: Store, signed: tuple[Signers, SignedData]
) -> None:
    write_signed(store, signed[1])
    assert count_signatures(store) == 1
    done = clean.clean(clean.look(store.path))
    assert (done.deleted, done.left, store.path.exists()) == (0, [], False)
