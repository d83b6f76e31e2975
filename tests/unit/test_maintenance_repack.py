"""`store repack`: entries become packs, or trees, and everything that was true of them stays."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import bytecode, cli, fs
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.repack import Repacked, repack, set_layout
from pip_sharedcache.maintenance.verify import verify
from pip_sharedcache.model import Compiled, Digest, Entry, identity_of
from pip_sharedcache.store import (
    AREAS,
    Source,
    Spools,
    Store,
    find,
    find_bytecode,
    list_entries,
    publish,
    stage_bytecode,
    symlink_registry,
    usage_marks,
)
from pip_sharedcache.store.packs import PACK
from pip_sharedcache.store.publish import make_visible, replace_entry
from support.faults import leftovers
from support.filesystems import Kind, mounted, overlaid
from support.probes import linux, needs, overlays, root, xfs
from support.process import as_user
from support.wheels import digest as sha256
from support.wheels import make_wheel

ALICE, BOB, GROUP = 54321, 54322, 54399
TREE_FILES = {"entry.json", "files"}

pytestmark = needs(linux)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels", executables=["demo/part/__init__.py"])


def _publish(store: Store, wheel: Path) -> tuple[Entry, Entry]:
    """The entry of the wheel, and its bytecode."""
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))

    def compile_into(spools: Spools) -> Compiled:
        with Source.of(entry, Directory.open(entry.path)) as source:
            return bytecode.compile_all(entry, source, spools)

    tag, key = bytecode.tag(), bytecode.fits(entry)
    (made,) = make_visible(store, [stage_bytecode(store, entry, tag, key, compile_into)])
    assert isinstance(made, Entry)
    return entry, made


def _repacked(store: Store, packed: bool) -> list[Repacked | None]:
    return list(repack(store, list(list_entries(store, {}, [], AREAS)), packed))


def _faults(store: Store) -> list[Any]:
    checked = verify(list(list_entries(store, {}, [], AREAS)))
    return [damage for one in checked if one is not None for damage in one.damage]


def _bytes(entry: Entry) -> dict[str, bytes]:
    with Source.of(entry, Directory.open(entry.path)) as source:
        return {path: source.read(file) for path, file in source.files.items()}


@pytest.mark.parametrize("packed", [True, False])
def test_a_wheel_and_its_bytecode_change_and_still_fit(
    shared_tmp: Path, wheel: Path, packed: bool
) -> None:
    store = Store.make(shared_tmp / "store", packed=not packed)
    entry, compiled = _publish(store, wheel)
    before = [_bytes(entry), _bytes(compiled)]
    assert [one.done for one in _repacked(store, packed) if one] == [True, True]
    assert {PACK, *TREE_FILES} & set(os.listdir(entry.path)) == ({PACK} if packed else TREE_FILES)
    assert _faults(store) == []
    now = find(store, entry.manifest.digest, wheel.name).entry
    assert now is not None
    assert now.manifest.packed is packed
    there = find_bytecode(store, now, bytecode.tag(), bytecode.fits(now)).entry
    assert there is not None, "its sources have the same time"
    assert [_bytes(now), _bytes(there)] == before
    assert [one.done for one in _repacked(store, packed) if one] == [False, False]


def test_an_installation_that_has_the_entry_open_goes_on(store: Store, wheel: Path) -> None:
    entry, _ = _publish(store, wheel)
    with Source.of(entry, Directory.open(entry.path)) as source:
        _repacked(store, packed=True)
        assert set(source.files) == {file.path for file in entry.manifest.files}
        assert all(len(source.read(file)) == file.size for file in source.files.values())


def test_what_symlinks_lead_to_stays_a_tree(store: Store, wheel: Path, tmp_path: Path) -> None:
    entry, _ = _publish(store, wheel)
    link = tmp_path / "module.py"
    link.symlink_to(entry.path / "files" / "demo" / "__init__.py")
    known = symlink_registry.Link(entry.path.name, str(link), str(tmp_path))
    symlink_registry.register(store, [known])
    _assert_none_changed(_repacked(store, packed=True), rf"symlinks of .* in {tmp_path} lead there")
    assert link.read_bytes()


def _assert_none_changed(results: list[Repacked | None], why: str) -> None:
    """The wheel stays a tree, and its bytecode, to which an environment has symlinks, too."""
    assert len(results) == 2
    for one in results:
        assert one is not None
        assert not one.done
        assert re.search(why, one.why)


_SOON = "used within the last hour by .*, who installs with symlinks"


def test_what_may_get_symlinks_soon_stays_a_tree(store: Store, wheel: Path) -> None:
    """The publication counts as a use: an installation makes symlinks of what it publishes."""
    _publish(store, wheel)
    usage_marks.mark_used(store, [usage_marks.SYMLINKS])
    _assert_none_changed(_repacked(store, packed=True), _SOON)


@needs(root)
def test_others_symlinks_do_not_keep_what_they_do_not_use(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, GROUP):
        _publish(group_store, wheel)
    with as_user(BOB, GROUP):
        usage_marks.mark_used(group_store, [usage_marks.SYMLINKS])
    assert [one.done for one in _repacked(group_store, packed=True) if one] == [True, True]


@needs(root)
def test_an_installation_with_symlinks_comes_between(
    group_store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces them and opens the tree right before the rename: the tree is restored."""
    with as_user(ALICE, GROUP):
        entry, compiled = _publish(group_store, wheel)
    names = [usage_marks.SYMLINKS, entry.path.name, compiled.path.name]

    def replace_late(*given: Any) -> Any:
        with as_user(BOB, GROUP):
            usage_marks.mark_used(group_store, names)
        return replace_entry(*given)

    monkeypatch.setattr("pip_sharedcache.maintenance.repack.replace_entry", replace_late)
    _assert_none_changed(_repacked(group_store, packed=True), _SOON)
    for one in (entry, compiled):
        assert identity_of(one.path.lstat()) == one.identity
    assert _faults(group_store) == []


def test_a_damaged_entry_is_left_to_verify(store: Store, wheel: Path) -> None:
    entry, _ = _publish(store, wheel)
    (entry.path / "entry.json").chmod(0o666)
    (result, _) = _repacked(store, packed=True)
    assert result is not None
    assert "store verify --fix" in result.why


@pytest.fixture
def group_store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store", str(GROUP))


@needs(root)
@pytest.mark.parametrize("packed", [True, False])
def test_what_root_changes_stays_its_publishers(
    shared_tmp: Path, wheel: Path, packed: bool
) -> None:
    """Bytecode and usage marks name the publisher."""
    store = Store.make(shared_tmp / "store", str(GROUP), packed=not packed)
    with as_user(ALICE, GROUP):
        entry, compiled = _publish(store, wheel)
    assert [one.done for one in _repacked(store, packed) if one] == [True, True]
    for path in (entry.path, compiled.path):
        assert {one.lstat().st_uid for one in (path, *path.rglob("*"))} == {ALICE}
    assert _faults(store) == []
    with as_user(BOB, GROUP):
        store = Store.open(store.path)
        now = find(store, entry.manifest.digest, wheel.name).entry
        assert now is not None
        assert find_bytecode(store, now, bytecode.tag(), bytecode.fits(now)).entry is not None


@needs(root)
@pytest.mark.parametrize("packed", [True, False])
def test_root_does_nothing_in_a_directory_that_is_its_publishers_already(
    shared_tmp: Path, wheel: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher may move a directory of others there: root would give them its files."""
    store = Store.make(shared_tmp / "store", str(GROUP), packed=not packed)
    with as_user(ALICE, GROUP):
        _publish(store, wheel)
    chown, given = os.chown, []

    def chown_in_roots(path: Any, uid: int, gid: int, **how: Any) -> None:
        above = os.fstat(how["dir_fd"]) if how.get("dir_fd") else os.stat(Path(path).parent)
        assert above.st_uid == 0, "it is the publisher's already"
        given.append(path)
        chown(path, uid, gid, **how)

    def none_given(*_: Any) -> None:
        assert not given, "files are opened by their paths"

    monkeypatch.setattr(os, "chown", chown_in_roots)
    monkeypatch.setattr(fs, "synchronise", none_given)
    first, *_ = list_entries(store, {}, [], AREAS)
    results = list(repack(store, [first], packed))
    assert [one.done for one in results if one] == [True]
    assert given


@needs(root)
def test_a_member_changes_only_what_is_theirs(group_store: Store, shared_tmp: Path) -> None:
    hers, his = (make_wheel(shared_tmp / "wheels", name) for name in ("hers", "his"))
    with as_user(ALICE, GROUP):
        _publish(group_store, hers)
    with as_user(BOB, GROUP):
        _publish(group_store, his)
        results = [one for one in _repacked(group_store, packed=True) if one]
        assert sum(one.done for one in results) == 2
        assert {one.why for one in results if one.why} == {
            f"published by uid {ALICE}; hint: uid {ALICE} or root can run the same command"
        }
        with pytest.raises(StoreUnusable, match="it belongs to root"):
            set_layout(group_store, [], packed=True)
    assert _faults(group_store) == []


def test_the_layout_of_a_store_is_kept_in_its_configuration(group_store: Store) -> None:
    for packed in (True, False):
        set_layout(group_store, [], packed)
        now = Store.open(group_store.path)
        assert now.packed is packed
        assert (now.group, now.trusted) == (group_store.group, group_store.trusted)
        told = json.loads((now.path / "store.json").read_text())
        assert told["format"] == 2, "packs may be there: older versions must leave it alone"


# -- the command


def _run(store: Store, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(store.path))
    return cli.main(["store", "repack", *arguments])


def test_the_command_changes_the_layout_and_all_entries(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _publish(store, wheel)
    assert _run(store, monkeypatch, "--layout", "packed") == 0
    assert "has the layout packed: 2 entries changed" in capsys.readouterr().out
    assert Store.open(store.path).packed
    assert _run(store, monkeypatch, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["changed"], told["left"], told["entries"]) == (0, 0, 2)


def test_names_choose_entries(
    store: Store,
    shared_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_layout(store, [], packed=True)
    for name in ("one", "other"):
        _publish(store, make_wheel(shared_tmp / "wheels", name))
    assert _run(store, monkeypatch, "one") == 0
    assert "2 entries changed" in capsys.readouterr().out
    assert _run(store, monkeypatch, "none-such") == 1


@needs(root, overlays)
def test_store_with_entries_in_a_lower_layer_keeps_its_layout(
    store: Store,
    wheel: Path,
    shared_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A container's image with a store in it; what is stored in the container can change."""
    with mounted("tmpfs", shared_tmp) as above:
        with overlaid(store.path, above) as place:
            changed = Store.open(place)
            _publish(changed, wheel)
            assert _run(changed, monkeypatch, "--layout", "packed") == 0
            assert Store.open(place).packed
            assert _faults(changed) == []
            assert {path.name[:6] for path in leftovers(place)} == {".dead-"}
        capsys.readouterr()

        _publish(store, wheel)
        with overlaid(store.path, above) as place:
            assert _run(Store.open(place), monkeypatch, "--layout", "packed") == 2
            said = capsys.readouterr().err
            assert said.startswith(f"ERROR: {place} keeps its layout tree: {place}/wheels/")
            assert "is in a lower layer of an overlay; hint: change the store where" in said
            assert not Store.open(place).packed
            assert json.loads((place / "store.json").read_text())["format"] == 1
            assert leftovers(place) == []


@pytest.mark.filesystem
@needs(root, xfs)
@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_init_chooses_the_layout_by_the_file_system(
    kind: Kind, shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees where files can be reflinked, or where links into a tree are asked for."""
    with mounted(kind, shared_tmp) as place:
        assert cli.main(["store", "init", "-q", str(place / "store")]) == 0
        assert Store.open(place / "store").packed is (kind == "ext4")
        monkeypatch.setenv("PIP_SHAREDCACHE_LINK_MODE", "hardlink")
        assert cli.main(["store", "init", "-q", str(place / "other")]) == 0
        assert not Store.open(place / "other").packed
