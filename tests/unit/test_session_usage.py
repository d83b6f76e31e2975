"""What a run notes for garbage collection, and what it says where it cannot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pip_sharedcache.model import Digest, Entry, Manifest
from pip_sharedcache.session import usage
from pip_sharedcache.session.usage import UsageRecorder
from pip_sharedcache.store import Store, usage_marks
from pip_sharedcache.store.layers import Layers
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = needs(linux)

ALICE, BOB, GROUP = 54321, 54322, 54399
DIGEST = Digest("ab" * 32)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store", str(GROUP))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is warned of."""
    lines: list[str] = []
    monkeypatch.setattr(usage, "warn", lines.append)
    return lines


def _entry(store: Store) -> Entry:
    path = store.path / "wheels" / "ab" / DIGEST
    return Entry(path, 0, (0, 0), Manifest("x.whl", DIGEST, 0, ()))


def test_each_entry_is_noted_once_a_run(
    store: Store, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    mark = usage_marks.mark_used
    monkeypatch.setattr(
        usage_marks, "mark_used", lambda store, names: (noted.extend(names), mark(store, names))
    )
    uses = UsageRecorder(Layers([store]))
    uses.record(_entry(store))
    uses.record(_entry(store))
    assert noted == [DIGEST]
    assert set(usage_marks.last_uses(store)) == {DIGEST}
    assert said == []


def test_without_a_store_nothing_is_noted(store: Store, said: list[str]) -> None:
    uses = UsageRecorder(Layers([]))
    uses.record(_entry(store))
    uses.register_links([])
    assert said == []
    assert usage_marks.last_uses(store) == {}


@needs(root)
def test_usage_marks_without_write_permission_cause_no_warning(
    store: Store, said: list[str]
) -> None:
    with as_user(ALICE):
        UsageRecorder(Layers([store])).record(_entry(store))
    assert said == []
    assert os.listdir(store.path / "use") == []


@needs(root)
def test_squatted_usage_directory_warns_with_its_owner(store: Store, said: list[str]) -> None:
    with as_user(BOB, GROUP):
        (store.path / "use" / str(ALICE)).mkdir()
    with as_user(ALICE, GROUP):
        UsageRecorder(Layers([store])).record(_entry(store))
    (line,) = said
    why = f"{store.path}/use/{ALICE} was put there by uid {BOB}"
    assert line.startswith(f"Usage marks are not written: {store.path}: {why}; store gc may delete")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_usage_mark_that_cannot_be_written_causes_a_warning(
    store: Store, said: list[str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pip_sharedcache.fs.Directory.replace", refuse)
    monkeypatch.setattr("pip_sharedcache.store.usage_marks.make_if_missing", refuse)
    UsageRecorder(Layers([store])).record(_entry(store))
    (line,) = said
    assert f"{store.path}: {os.strerror(number)}; store gc may delete" in line
