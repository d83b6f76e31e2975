"""Notes of built wheels whose content is damaged, though not their manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import Build, Store, find_build, key_of, make_visible, stage_build
from pip_sharedcache.store.layout import BUILDS
from pip_sharedcache.store.staging import stage_record
from support.damage import damage
from support.faults import visible_entries
from support.probes import linux, needs, root
from support.process import as_user

pytestmark = needs(linux)

ALICE, BOB, GROUP = 54321, 54322, 54399
KEY = key_of({"source": "x"})
BUILD = Build(Digest("1" * 64), "demo-1.0-py3-none-any.whl", {"by": "me"})
KINDS = ["emptied", "edited", "edited-unseen", "edited-at-once", "deleted", "symlink", "fifo"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


def _note(store: Store) -> Entry:
    (note,) = make_visible(store, [stage_build(store, KEY, BUILD)])
    assert isinstance(note, Entry)
    return note


@pytest.mark.parametrize("kind", KINDS)
def test_own_damaged_build_record_is_replaced_by_the_next_build(
    shared_tmp: Path, kind: str, no_hanging: None
) -> None:
    store = Store.make(shared_tmp / "store", builds=True)
    note = _note(store)
    damage(note.path / "files" / "build.json", kind, shared_tmp / "outside")
    assert find_build(store, KEY) is None
    new = _note(store)
    assert new.path == note.path
    found = find_build(store, KEY)
    assert found is not None
    assert (found.digest, found.filename, found.record) == (
        BUILD.digest,
        BUILD.filename,
        new.identity,
    )
    assert visible_entries(store.path, "builds") == [new.path]


@pytest.mark.parametrize(
    "name", ["a\0-1-py3-none-any.whl", "a\ud800-1-py3-none-any.whl", "a/b.whl", 7]
)
def test_build_record_whose_file_name_is_none_is_invalid(shared_tmp: Path, name: object) -> None:
    store = Store.make(shared_tmp / "store", builds=True)
    data = {"sha256": BUILD.digest, "filename": name, "details": {}}
    text = json.dumps(data).encode("ascii")
    make_visible(store, [stage_record(store, BUILDS, KEY, "build.json", text, lambda: None, set())])
    assert len(visible_entries(store.path, "builds")) == 1
    assert find_build(store, KEY) is None


@needs(root)
@pytest.mark.parametrize("kind", KINDS)
def test_beside_anothers_damaged_note_a_sound_one_is_put_and_found_by_all(
    shared_tmp: Path, kind: str, no_hanging: None
) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP), builds=True)
    with as_user(ALICE, GROUP):
        note = _note(store)
    damage(note.path / "files" / "build.json", kind, shared_tmp / "outside")
    with as_user(BOB, GROUP):
        store = Store.open(store.path)
        new = _note(store)
        assert new.path.name == f"{KEY}.{BOB}"
    with as_user(ALICE, GROUP):
        found = find_build(Store.open(store.path), KEY)
        assert found is not None
        assert found.record == new.identity


@pytest.mark.parametrize("kind", KINDS)
def test_verify_looks_at_notes_too(
    shared_tmp: Path,
    kind: str,
    no_hanging: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store.make(shared_tmp / "store", builds=True)
    note = _note(store)
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(store.path))
    assert cli.main(["store", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == 1
    damage(note.path / "files" / "build.json", kind, shared_tmp / "outside")
    assert cli.main(["store", "verify", "--fix", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["damaged"]
    assert (told["path"], told["fixed"]) == (str(note.path), True)
    assert visible_entries(store.path, "builds") == []
    assert cli.main(["store", "verify"]) == 0
