"""Verifying a store byte by byte, and healing what is damaged: as a part, and as a command."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.fs import rename
from pip_sharedcache.maintenance.gc import delete_retired
from pip_sharedcache.maintenance.heal import heal
from pip_sharedcache.maintenance.retention import GRACE
from pip_sharedcache.maintenance.verdict import Damage, Verdict
from pip_sharedcache.maintenance.verify import verify
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.store import (
    Spools,
    Store,
    list_entries,
    make_visible,
    publish,
    stage_bytecode,
    symlink_registry,
)
from support.damage import KINDS, damage, rewrite, unlocked
from support.faults import faults_of_entry, faults_of_store, leftovers, state_of, visible_entries
from support.filesystems import mounted, overlaid
from support.probes import linux, needs, overlays, root
from support.process import as_user, file_size_limit
from support.wheels import digest as sha256
from support.wheels import make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, BOB = 54321, 54322
GROUP = 54399
TAG = "cpython-399"
KEY = f"{TAG}-cb0d0d0a-1700000000"
INFO = "files/demo-1.0.dist-info"
WHEEL = "demo-1.0-py3-none-any.whl"
SCRIPT = "files/demo-1.0.data/scripts/demo-script"
FILES = {
    "source": "files/demo/__init__.py",
    "data": "files/demo/data.txt",
    "program": "files/demo/bin/tool",
    "script": SCRIPT,
    "metadata": f"{INFO}/METADATA",
    "record": f"{INFO}/RECORD",
    "wheel": WHEEL,
    "manifest": "entry.json",
}
#: What verify calls each kind of damage to a file whose bytes are known.
CALLED = {
    "emptied": {"size"},
    "truncated": {"size"},
    "extended": {"size"},
    "edited": {"content", "time"},
    "edited-at-once": {"content", "time"},
    "edited-unseen": {"content"},
    "deleted": {"missing"},
    "group-writable": {"mode"},
    "not-executable": {"mode"},
    "unreadable": {"mode"},
    "symlink": {"type"},
    "directory": {"type"},
    "fifo": {"type"},
    "hard-link": {"size", "time"},
}

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    path = shared_tmp / "store"
    path.mkdir()
    os.environ["PIP_SHAREDCACHE_DIR"] = str(path)
    return Store.open(path)


@pytest.fixture
def group_store(shared_tmp: Path) -> Store:
    path = shared_tmp / "store"
    os.environ["PIP_SHAREDCACHE_DIR"] = str(path)
    return Store.make(path, str(GROUP))


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    return _wheel(shared_tmp, "demo")


def _wheel(base: Path, name: str) -> Path:
    script = f"{name}-1.0.data/scripts/{name}-script"
    return make_wheel(
        base / "wheels",
        name,
        files={
            f"{name}/__init__.py": "ANSWER = 42\n" * 20,
            f"{name}/empty.py": "",
            f"{name}/data.txt": "data\n" * 100,
            f"{name}/bin/tool": "#!/bin/sh\necho tool\n",
            script: "#!python\nprint('script')\n",
        },
        executables=[f"{name}/bin/tool", script],
    )


def _publish(store: Store, wheel: Path) -> Entry:
    return publish(store, wheel, wheel.name, Digest(sha256(wheel)))


def _compile(store: Store, entry: Entry) -> Entry:
    """Bytecode as compileall writes it, for sources of the time that KEY names."""

    def into(spools: Spools) -> Compiled:
        path = f"demo/__pycache__/__init__.{TAG}.pyc"
        size = (240).to_bytes(4, "little")
        header = bytes.fromhex("cb0d0d0a") + bytes(4) + (1700000000).to_bytes(4, "little") + size
        left = [file.path for file in entry.manifest.files if file.path.endswith(".py")]
        return Compiled([spools.add(path, header + b"code" * 100)], left)

    (made,) = make_visible(store, [stage_bytecode(store, entry, TAG, KEY, into)])
    assert isinstance(made, Entry)
    return made


PYC = f"files/demo/__pycache__/__init__.{TAG}.pyc"


def _verdicts(store: Store) -> list[Verdict | None]:
    return list(verify(list(list_entries(store, {}, []))))


def _verdict(store: Store) -> Verdict:
    """On the one entry that the store has."""
    (verdict,) = _verdicts(store)
    assert verdict is not None
    return verdict


def _kinds(verdict: Verdict) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in verdict.damage:
        found.setdefault(one.path, set()).add(one.kind)
    return found


# -- what is found


def test_what_was_published_is_sound(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    _compile(store, entry)
    verdicts = _verdicts(store)
    assert [verdict.damage for verdict in verdicts if verdict] == [(), ()]
    assert [verdict.wheel for verdict in verdicts if verdict] == [wheel.name, ""]


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (kind, file)
        for kind in KINDS
        for file in (("program", "script") if kind == "not-executable" else FILES)
    ],
)
def test_each_kind_of_damage_is_found_in_each_file(
    store: Store, wheel: Path, shared_tmp: Path, kind: str, file: str
) -> None:
    path = _publish(store, wheel).path / FILES[file]
    damage(path, kind, shared_tmp / "outside")
    verdict = _verdict(store)
    assert set(_kinds(verdict)) == {FILES[file]}
    found = _kinds(verdict)[FILES[file]]
    if kind == "hard-link" and file in ("program", "script"):
        assert "mode" in found  # what it is linked to is not executable
        found -= {"mode"}
    if file == "manifest" and CALLED[kind] & {"size", "content"}:
        # Its own form tells, and the wheel; its time only where it is still a manifest.
        assert found - {"time"} == {"content"}
    elif file == "wheel" and CALLED[kind] & {"size", "time"}:
        assert found == {*CALLED[kind], "content"}
    else:
        assert found == CALLED[kind]
    unsound = file == "wheel" and not CALLED[kind] <= {"mode"}
    assert verdict.wheel == ("" if unsound else wheel.name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "not-executable"])
def test_each_kind_of_damage_is_found_in_bytecode(
    store: Store, wheel: Path, shared_tmp: Path, kind: str
) -> None:
    path = _compile(store, _publish(store, wheel)).path
    damage(path / PYC, kind, shared_tmp / "outside")
    of_wheel, of_bytecode = _verdicts(store)
    assert of_wheel is not None and of_bytecode is not None
    assert of_wheel.damage == ()
    assert _kinds(of_bytecode) == {PYC: CALLED[kind]}
    assert of_bytecode.wheel == ""


def _manifest(entry: Path, change: Callable[[Any], object]) -> None:
    path = entry / "entry.json"
    data = json.loads(path.read_bytes())
    change(data)
    rewrite(path, json.dumps(data).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["files"][0].__setitem__(0, "demo/other.py"),
        lambda data: data["files"][0].__setitem__(1, 1),
        lambda data: data["files"][0].__setitem__(2, "0" * 64),
        lambda data: data["files"][0].__setitem__(3, 1),
        lambda data: data["files"][2].__setitem__(4, 1),
        lambda data: data["files"].pop(),
        lambda data: data["files"].append(data["files"][0]),
        lambda data: data.update(files=[]),
        lambda data: data.update(sha256="0" * 64),
        lambda data: data.update(filename="../../" + WHEEL),
        lambda data: data.update(filename=".."),
        lambda data: data.update(format=2),
    ],
    ids=[
        *("path", "size", "sha256", "executable", "mtime", "lacks", "twice", "empty", "digest"),
        *("elsewhere", "above", "format"),
    ],
)
def test_a_manifest_that_tells_other_than_the_wheel_is_found(
    store: Store, wheel: Path, change: Callable[[Any], object]
) -> None:
    _manifest(_publish(store, wheel).path, change)
    verdict = _verdict(store)
    assert _kinds(verdict) == {"entry.json": {"content"}}
    assert verdict.wheel == wheel.name


def test_a_forged_file_with_a_manifest_that_agrees_is_found(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    rewrite(entry.path / FILES["source"], b"EVIL = 666\n" + b"#" * 229)
    forged = sha256(entry.path / FILES["source"])
    row = next(n for n, f in enumerate(entry.manifest.files) if f.path == "demo/__init__.py")
    _manifest(entry.path, lambda data: data["files"][row].__setitem__(2, forged))
    found = _kinds(_verdict(store))
    assert found == {"entry.json": {"content"}, FILES["source"]: {"content"}}


def test_an_entry_under_another_digest_is_found(
    store: Store, wheel: Path, shared_tmp: Path
) -> None:
    entry = _publish(store, wheel)
    other = sha256(_wheel(shared_tmp, "other"))
    shard = store.path / "wheels" / other[:2]
    shard.mkdir(exist_ok=True)
    entry.path.chmod(0o755)
    entry.path.rename(shard / other)
    (shard / other).chmod(0o555)
    _manifest(shard / other, lambda data: data.update(sha256=other))
    verdict = _verdict(store)
    assert _kinds(verdict) == {wheel.name: {"content"}}
    assert verdict.wheel == ""


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
@pytest.mark.parametrize("where", [".", "files", "files/demo"])
def test_what_is_too_much_is_found(store: Store, wheel: Path, where: str, kind: str) -> None:
    directory = _publish(store, wheel).path / where
    with unlocked(directory):
        if kind == "file":
            (directory / "more").touch()
        elif kind == "directory":
            (directory / "more" / "inside").mkdir(parents=True)
        else:
            (directory / "more").symlink_to("/")
    found = _kinds(_verdict(store))
    assert found == {os.path.normpath(f"{where}/more"): {"extra"}}


@pytest.mark.parametrize("mode", [0o755, 0o575, 0o557, 0o2555, 0o1555])
@pytest.mark.parametrize("where", ["", "files", "files/demo"])
def test_modes_of_directories_are_looked_at(
    store: Store, wheel: Path, where: str, mode: int
) -> None:
    (_publish(store, wheel).path / where).chmod(mode)
    assert _kinds(_verdict(store)) == {where: {"mode"}}


@needs(root)
@pytest.mark.parametrize("where", ["files", FILES["source"], WHEEL, "entry.json"])
def test_damaged_entry_of_another_publisher_is_found(store: Store, wheel: Path, where: str) -> None:
    os.chown(_publish(store, wheel).path / where, ALICE, -1)
    assert _kinds(_verdict(store)) == {where: {"owner"}}


@pytest.mark.parametrize("kind", ["symlink", "file", "gone"])
def test_a_directory_that_is_none_is_not_gone_through(
    store: Store, wheel: Path, shared_tmp: Path, kind: str
) -> None:
    entry = _publish(store, wheel)
    files = entry.path / "files"
    with unlocked(entry.path):
        files.chmod(0o755)
        files.rename(shared_tmp / "outside")
        if kind == "symlink":
            files.symlink_to(shared_tmp / "outside")
        elif kind == "file":
            files.touch(0o444)
    found = _kinds(_verdict(store))
    expected = {f"files/{file.path}": {"missing"} for file in entry.manifest.files}
    assert found == {**expected, **({} if kind == "gone" else {"files": {"type"}})}


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_an_entry_that_is_no_directory_is_found(store: Store, wheel: Path, kind: str) -> None:
    path = _publish(store, wheel).path
    path.rename(path.with_name(".aside"))
    path.touch() if kind == "file" else path.symlink_to(path.with_name(".aside"))
    verdict = _verdict(store)
    assert verdict.damage == (Damage("", "type", "is not a directory"),)
    assert verdict.item.publisher == os.getuid()


@needs(root)
def test_what_may_not_be_read_is_found(group_store: Store, wheel: Path) -> None:
    entry = _publish(group_store, wheel)
    with as_user(ALICE):
        (entry.path / "entry.json").stat()
        assert _verdict(group_store).damage == ()
    for where in ("files/demo", WHEEL):
        (entry.path / where).chmod(0)
        with as_user(ALICE):
            assert _kinds(_verdict(group_store))[where] == {"unreadable"}
    (item,) = list_entries(group_store, {}, [])
    entry.path.chmod(0)
    with as_user(ALICE):
        (verdict,) = verify([item])
    assert verdict is not None
    assert (verdict.damage, verdict.unread) == ((), (("", "Permission denied"),))


def test_an_entry_without_manifest_and_wheel_says_so(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    with unlocked(entry.path):
        (entry.path / "entry.json").unlink()
        entry.wheel.unlink()
    assert _kinds(_verdict(store)) == {"entry.json": {"missing"}, "": {"missing"}}


def test_thousands_of_missing_files_are_not_all_kept_in_mind(
    store: Store, shared_tmp: Path
) -> None:
    files = {f"demo/{number}.txt": "" for number in range(1500)}
    entry = _publish(store, make_wheel(shared_tmp / "wheels", files=files))
    with unlocked(entry.path / "files"):
        shutil.rmtree(entry.path / "files" / "demo")
    assert len(_verdict(store).damage) == 1000


def test_many_entries_are_given_in_their_order(store: Store, shared_tmp: Path) -> None:
    entries = [_publish(store, _wheel(shared_tmp, f"demo{number}")) for number in range(40)]
    rewrite(entries[7].path / "files/demo7/data.txt", b"")
    verdicts = _verdicts(store)
    paths = [verdict.item.path for verdict in verdicts if verdict]
    assert paths == sorted(entry.path for entry in entries)
    assert [verdict.item.path for verdict in verdicts if verdict and verdict.damage] == [
        entries[7].path
    ]


def test_what_is_gone_or_replaced_meanwhile_is_no_finding(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _publish(store, wheel)
    items = list(list_entries(store, {}, []))
    module = importlib.import_module("pip_sharedcache.maintenance.verify")
    read_manifest = module.read_manifest

    def deleted_meanwhile(held: fs.Directory) -> object:
        fs.remove_tree(entry.path)
        return read_manifest(held)

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_manifest", deleted_meanwhile)
        assert list(verify(items)) == [None]

    assert list(verify(items)) == [None]
    again = _publish(store, wheel)

    def replaced_meanwhile(held: fs.Directory) -> object:
        found = read_manifest(held)
        aside = again.path.with_name(".aside")
        again.path.rename(aside)
        _publish(store, wheel)
        fs.remove_tree(aside)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_manifest", replaced_meanwhile)
        assert list(verify(items)) == [None]
    assert _verdict(store).damage == ()


def test_verifying_writes_nothing_and_leaves_nothing_open(
    store: Store, wheel: Path, nothing_left_behind: None
) -> None:
    _compile(store, _publish(store, wheel))
    before = state_of(store.path)
    assert len(_verdicts(store)) == 2
    assert state_of(store.path) == before


# -- healing


def _healed(store: Store) -> tuple[bool, str]:
    return heal(store, _verdict(store))


@pytest.mark.parametrize("file", ["source", "manifest", "record"])
@pytest.mark.parametrize("kind", ["emptied", "deleted", "fifo", "directory"])
def test_own_entry_is_repaired_from_its_wheel(
    store: Store, wheel: Path, shared_tmp: Path, kind: str, file: str
) -> None:
    entry = _publish(store, wheel)
    damage(entry.path / FILES[file], kind, shared_tmp / "outside")
    assert _healed(store) == (True, "made anew from its own wheel")
    assert visible_entries(store.path) == [entry.path]
    assert faults_of_store(store.path) == []
    assert _verdict(store).damage == ()
    (dead,) = leftovers(store.path)
    assert dead.name.startswith(f".dead-{entry.path.name}-")


@pytest.mark.parametrize("kind", ["emptied", "edited-unseen", "deleted", "symlink", "fifo"])
def test_what_has_no_sound_wheel_is_taken_out_of_sight(
    store: Store, wheel: Path, shared_tmp: Path, kind: str
) -> None:
    damage(_publish(store, wheel).path / WHEEL, kind, shared_tmp / "outside")
    done, how = _healed(store)
    assert done
    assert how.startswith("retired; ")
    assert visible_entries(store.path) == []


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_is_no_directory_is_taken_out_of_sight_and_deleted(
    store: Store, wheel: Path, kind: str
) -> None:
    path = _publish(store, wheel).path
    aside = path.with_name(".aside")
    path.rename(aside)
    path.touch() if kind == "file" else path.symlink_to(aside)
    assert _healed(store)[0]
    assert visible_entries(store.path) == []
    assert delete_retired(store, time.time() + GRACE + 5).deleted == 1
    assert leftovers(store.path) == [aside]
    assert (aside / WHEEL).exists()


def test_damaged_bytecode_is_taken_out_of_sight(store: Store, wheel: Path) -> None:
    entry = _compile(store, _publish(store, wheel))
    rewrite(entry.path / PYC, b"")
    verdict = _verdicts(store)[1]
    assert verdict is not None
    assert heal(store, verdict)[0]
    assert visible_entries(store.path, "bytecode") == []
    assert len(visible_entries(store.path)) == 1


def _linked_to(store: Store, entry: Entry, place: Path) -> Path:
    """A symlink into the entry, in an environment that the store knows."""
    place.mkdir()
    link = place / "module.py"
    link.symlink_to(entry.path / FILES["data"])
    symlink_registry.register(
        store, [symlink_registry.Link(entry.path.name, str(link), str(place))]
    )
    return link


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("file", ["source", "manifest", "data"])
def test_what_symlinks_lead_to_is_made_anew_in_its_place(
    store: Store,
    wheel: Path,
    shared_tmp: Path,
    file: str,
    can_exchange: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = _publish(store, wheel)
    link = _linked_to(store, entry, shared_tmp / "environment")
    damage(entry.path / FILES[file], "emptied", shared_tmp / "outside")
    asked, original = [], rename.exchange

    def exchange(one: Path, other: Path) -> bool:
        asked.append(link.exists())
        done = can_exchange and original(one, other)
        asked.append(link.exists())
        return done

    monkeypatch.setattr(rename, "exchange", exchange)
    done, how = _healed(store)
    assert (done, asked) == (True, [True, True])
    assert how.startswith("made anew from its own wheel, also for symlinks of ")
    assert link.read_text() == "data\n" * 100
    assert visible_entries(store.path) == [entry.path]
    assert faults_of_store(store.path) == []
    (dead,) = leftovers(store.path)
    assert dead.name.startswith(f".dead-{entry.path.name}-")


def test_what_symlinks_lead_to_is_left_where_nothing_can_heal_it(
    store: Store, wheel: Path, shared_tmp: Path
) -> None:
    entry = _publish(store, wheel)
    link = _linked_to(store, entry, shared_tmp / "environment")
    rewrite(entry.path / WHEEL, b"")
    before = state_of(store.path)
    done, how = _healed(store)
    assert not done
    assert how.startswith("kept, because symlinks of ")
    assert str(link.parent) in how
    assert state_of(store.path) == before
    assert link.exists()
    link.unlink()
    assert _healed(store)[0]
    assert visible_entries(store.path) == []


def test_what_symlinks_lead_to_is_made_anew_from_a_wheel_beside_it(
    store: Store, wheel: Path, shared_tmp: Path
) -> None:
    entry = _publish(store, wheel)
    link = _linked_to(store, entry, shared_tmp / "environment")
    beside = entry.path.with_name(f"{entry.path.name}.12345")
    shutil.copytree(entry.path, beside, copy_function=shutil.copy2)
    rewrite(entry.path / WHEEL, b"")
    verdict = next(verdict for verdict in _verdicts(store) if verdict and verdict.damage)
    done, how = heal(store, verdict)
    assert done
    assert f"made anew from the wheel in {beside}" in how
    assert link.exists()
    assert faults_of_store(store.path) == []


def test_what_is_planted_beside_keeps_nothing_from_being_healed(
    store: Store, wheel: Path, shared_tmp: Path
) -> None:
    """Anybody may put a wheel of the same bytes there that is called like none, or another one."""
    entry = _publish(store, wheel)
    link = _linked_to(store, entry, shared_tmp / "environment")
    for number, name in enumerate(["zzz.whl", "demo-1.0-7-py3-none-any.whl", WHEEL]):
        beside = entry.path.with_name(f"{entry.path.name}.{number + 1}")
        shutil.copytree(entry.path, beside, copy_function=shutil.copy2)
        beside.chmod(0o755)
        (beside / WHEEL).rename(beside / name)
        beside.chmod(0o555)
    rewrite(entry.path / WHEEL, b"")
    verdict = next(v for v in _verdicts(store) if v and v.item.path == entry.path)
    done, how = heal(store, verdict)
    assert done, how
    assert f"made anew from the wheel in {beside}" in how
    assert link.exists()
    assert faults_of_entry(entry.path) == []


def test_without_room_what_symlinks_lead_to_stays(store: Store, shared_tmp: Path) -> None:
    files = {"demo/__init__.py": "", "demo/data.txt": "x" * 1_000_000}
    entry = _publish(store, make_wheel(shared_tmp / "wheels", files=files))
    link = _linked_to(store, entry, shared_tmp / "environment")
    rewrite(entry.path / "files/demo/__init__.py", b"#")
    with file_size_limit(100_000):
        done, how = _healed(store)
    assert not done
    assert "File too large" in how
    assert link.exists()
    assert leftovers(store.path) == []


@needs(root, overlays)
def test_damage_in_a_lower_layer_is_reported_and_a_sound_entry_published(
    shared_tmp: Path, wheel: Path
) -> None:
    image = shared_tmp / "image"
    image.mkdir()
    entry = _publish(Store.open(image), wheel)
    rewrite(entry.path / FILES["source"], b"")
    with mounted("tmpfs", shared_tmp) as above, overlaid(image, above) as place:
        store = Store.open(place)
        done, how = _healed(store)
        assert not done
        assert "lower layer of an overlay" in how
        assert "cross-device" not in how
        sound = f"{entry.path.name}.{os.getuid()}"
        assert how.endswith(f"until then, runs use the sound one beside it, {sound}")
        assert [one.name for one in visible_entries(place)] == [entry.path.name, sound]


@needs(root)
def test_a_member_leaves_another_members_to_them(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, GROUP):
        entry = _publish(group_store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    before = state_of(group_store.path)
    with as_user(BOB, GROUP):
        done, how = _healed(group_store)
    assert not done
    alice = f"uid {ALICE}"
    hint = f"hint: {alice} or root can run the same command"
    assert how == f"not repaired: belongs to {alice}; {hint}"
    assert state_of(group_store.path) == before
    with as_user(ALICE, GROUP):
        assert _healed(group_store) == (True, "made anew from its own wheel")
    assert faults_of_store(group_store.path) == []


@needs(root)
def test_root_heals_anybodys_and_says_whose_it_is_now(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, GROUP):
        entry = _publish(group_store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    assert _healed(group_store) == (True, "made anew from its own wheel, now of root")
    assert visible_entries(group_store.path) == [entry.path]
    assert entry.path.stat().st_uid == 0
    assert faults_of_store(group_store.path) == []


@needs(root)
def test_the_owner_of_a_store_heals_what_others_published(shared_tmp: Path, wheel: Path) -> None:
    shared_tmp.chmod(0o777)
    with as_user(ALICE, GROUP, [GROUP]):
        store = Store.make(shared_tmp / "store", str(GROUP))
    with as_user(BOB, GROUP):
        entry = _publish(store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    with as_user(ALICE, GROUP):
        assert _healed(store) == (True, f"made anew from its own wheel, now of uid {ALICE}")
    assert faults_of_store(store.path) == []


def test_beside_a_sound_one_the_damaged_one_only_goes(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    beside = entry.path.with_name(f"{entry.path.name}.{os.getuid()}")
    shutil.copytree(entry.path, beside, copy_function=shutil.copy2)
    rewrite(beside / FILES["source"], b"")
    verdict = next(verdict for verdict in _verdicts(store) if verdict and verdict.damage)
    assert heal(store, verdict)[0]
    assert visible_entries(store.path) == [entry.path]
    assert faults_of_store(store.path) == []


def test_entry_that_another_process_replaced_is_kept(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    verdict = _verdict(store)
    assert heal(store, verdict)[0]
    before = entry.path.stat().st_ino
    assert heal(store, verdict) in (
        (True, "another process has replaced it"),
        (False, f"cannot repair it: {entry.path} was replaced while it was in use"),
    )
    assert entry.path.stat().st_ino == before
    assert faults_of_store(store.path) == []


@needs(root)
def test_store_that_became_read_only_is_reported(shared_tmp: Path, wheel: Path) -> None:
    path = shared_tmp / "store"
    path.mkdir()
    os.chown(path, ALICE, GROUP)
    with as_user(ALICE, GROUP):
        entry = _publish(Store.open(path), wheel)
    rewrite(entry.path / FILES["source"], b"")
    entry.path.parent.chmod(0o555)
    with as_user(ALICE, GROUP):
        done, how = _healed(Store.open(path))
    assert not done
    assert "Permission denied" in how
    assert entry.path.exists()


def test_repair_without_free_space_is_reported(store: Store, shared_tmp: Path) -> None:
    # Incompressible, so that the wheel is small enough to be copied and one of its files is not.
    files = {"demo/__init__.py": "", "demo/large.txt": "x" * 1_000_000}
    entry = _publish(store, make_wheel(shared_tmp / "wheels", files=files))
    rewrite(entry.path / "files/demo/__init__.py", b"#")
    with file_size_limit(100_000):
        done, how = _healed(store)
    assert done
    assert how.startswith("retired, but not made anew: ")
    assert "File too large" in how
    assert visible_entries(store.path) == []
    assert [left for left in leftovers(store.path) if left.name.startswith(".new-")] == []


# -- the command


FIX = "hint: the same command with --fix repairs the damaged entries that are yours"


def _run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["store", "verify", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_sound_store_is_one_line_and_status_0(
    store: Store, wheel: Path, capsys: Captured
) -> None:
    _compile(store, _publish(store, wheel))
    line = f"Checked 2 entries of {store.path}: all are sound.\n"
    assert _run(capsys) == (0, line, "")
    assert _run(capsys, "-q") == (0, "", "")
    status, out, _ = _run(capsys, "-v")
    assert (status, out.count(" is sound\n")) == (0, 2)
    status, out, _ = _run(capsys, "--json")
    assert (status, json.loads(out)) == (
        0,
        {
            "schema": 1,
            "command": "verify",
            "checked": 2,
            "damaged": [],
            "copied": [],
            "missing": [],
            "unread": [],
        },
    )


def test_an_empty_store_is_sound(store: Store, capsys: Captured) -> None:
    assert _run(capsys)[0] == 0


@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["", "quiet"])
def test_damage_names_publisher_path_and_kind_and_is_status_1(
    store: Store, wheel: Path, capsys: Captured, quiet: list[str]
) -> None:
    path = _publish(store, wheel).path / FILES["source"]
    rewrite(path, b"")
    status, out, _ = _run(capsys, *quiet)
    owner = store.path.owner()
    assert status == 1
    assert out.splitlines()[0] == f"{path} has 0 bytes, not 240 ({WHEEL}, published by {owner})"
    summary = [] if quiet else [f"Checked 1 entry of {store.path}: 1 damaged.", FIX]
    assert out.splitlines()[1:] == summary


def test_entries_with_the_same_kind_of_damage_are_counted(
    store: Store, shared_tmp: Path, capsys: Captured
) -> None:
    for number in range(5):
        entry = _publish(store, _wheel(shared_tmp, f"demo{number}"))
        subprocess.run(["chmod", "-R", "u+w", entry.path], check=True)
    owner = store.path.owner()
    status, out, _ = _run(capsys)
    *lines, more, summary, _ = out.splitlines()
    assert status == 1
    assert sum(" has mode 0755, not 0555" in line for line in lines) == len(lines) == 3
    have = f"2 more entries of {owner} have the same kind of damage (mode)"
    assert more == f"{have} (-v names each)"
    assert summary == f"Checked 5 entries of {store.path}: 5 damaged."
    assert len([line for line in _run(capsys, "-v")[1].splitlines() if "0755, not" in line]) >= 5
    *_, more, summary = _run(capsys, "--fix")[1].splitlines()
    assert more == f"{have}; made anew from its own wheel (-v names each)"
    assert "5 damaged, 5 of them repaired" in summary
    assert _run(capsys)[0] == 0


def test_fixing_says_what_was_done(store: Store, wheel: Path, capsys: Captured) -> None:
    entry = _publish(store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    status, out, _ = _run(capsys, "--fix")
    owner = store.path.owner()
    assert status == 1
    assert out.splitlines()[1:] == [
        f"{entry.path} of {owner}: made anew from its own wheel",
        f"Checked 1 entry of {store.path}: 1 damaged, 1 of them repaired.",
    ]
    assert _run(capsys)[0] == 0


def test_json_tells_all_of_it(store: Store, wheel: Path, capsys: Captured) -> None:
    entry = _publish(store, wheel)
    rewrite(entry.path / FILES["source"], b"")
    status, out, _ = _run(capsys, "--fix", "--json")
    assert status == 1
    assert json.loads(out) == {
        "schema": 1,
        "command": "verify",
        "checked": 1,
        "damaged": [
            {
                "path": str(entry.path),
                "area": "wheels",
                "title": WHEEL,
                "sha256": entry.path.name,
                "publisher": store.path.owner(),
                "damage": [
                    {"path": FILES["source"], "kind": "size", "what": "has 0 bytes, not 240"}
                ],
                "fixed": True,
                "action": "made anew from its own wheel",
            }
        ],
        "copied": [],
        "missing": [],
        "unread": [],
    }


@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "no manifest"])
def test_only_what_is_named_is_checked(
    store: Store, shared_tmp: Path, capsys: Captured, damaged: bool
) -> None:
    entry = _publish(store, _wheel(shared_tmp, "demo"))
    _compile(store, entry)
    _publish(store, _wheel(shared_tmp, "other_thing"))
    if damaged:
        with unlocked(entry.path):
            (entry.path / "entry.json").unlink()
    for name in ("demo", "Demo", entry.path.name, entry.path.name[:10].upper()):
        status, out, _ = _run(capsys, name)
        assert status == int(damaged)
        assert "Checked 2 entries" in out
    assert "Checked 1 entry" in _run(capsys, "Other.Thing")[1]
    assert "Checked 3 entries" in _run(capsys, "other-thing", "demo")[1]


@pytest.mark.parametrize("name", ["dem", "demo-1.0", "0", "no-such", "../x"])
def test_a_name_that_nothing_has_is_a_finding(
    store: Store, wheel: Path, capsys: Captured, name: str
) -> None:
    _publish(store, wheel)
    status, out, error = _run(capsys, "demo", name)
    assert (status, error) == (1, "")
    assert out.startswith(f"Not in the store: {name}\nChecked 1 entry of ")


def test_empty_name_is_a_wrong_argument(store: Store, wheel: Path, capsys: Captured) -> None:
    _publish(store, wheel)
    status, out, error = _run(capsys, "demo", "")
    assert (status, out) == (2, "")
    assert error.startswith("ERROR: An empty NAME selects nothing; hint: ")


def test_names_that_are_no_text_do_not_reach_the_terminal(
    store: Store, wheel: Path, capsys: Captured
) -> None:
    entry = _publish(store, wheel)
    with unlocked(entry.path / "files"):
        (entry.path / "files" / "\x1b[2Jcleared\nWARNING").touch()
        os.close(os.open(os.fsencode(entry.path) + b"/files/\xff", os.O_CREAT | os.O_WRONLY))
    status, out, _ = _run(capsys)
    assert status == 1
    assert out.count("\n") == 4
    assert "/files/\\x1b[2Jcleared\\nWARNING is not in the wheel" in out
    assert "/files/\\udcff is not in the wheel" in out
    assert out.replace("\n", "").isprintable()
    damaged = json.loads(_run(capsys, "--json")[1])["damaged"]
    assert {one["path"] for one in damaged[0]["damage"]} == {
        "files/\x1b[2Jcleared\nWARNING",
        "files/\udcff",
    }


def test_running_out_of_descriptors_is_status_2_and_no_damage(
    store: Store, wheel: Path, capsys: Captured
) -> None:
    _publish(store, wheel)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open("/", os.O_RDONLY)
    os.close(highest)
    # One for listing, two for the entry; none is left for what lies in it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 3, before[1]))
    try:
        status, out, error = _run(capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (status, out) == (2, "")
    assert "Too many open files" in error


def test_no_store_is_status_2(tmp_path: Path, capsys: Captured) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(tmp_path / "none")
    assert _run(capsys)[0] == 2


@pytest.mark.parametrize(("quiet", "shown"), [([], True), (["-q"], False)], ids=["", "quiet"])
def test_on_a_terminal_a_line_tells_how_far_it_is(
    store: Store,
    wheel: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    quiet: list[str],
    shown: bool,
) -> None:
    _compile(store, _publish(store, wheel))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert ("\rChecked 2 of 2" in _run(capsys, *quiet)[2]) is shown
