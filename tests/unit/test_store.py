"""The store on disk: making and opening one, looking up, publishing, and what is left behind."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import fs, trust
from pip_sharedcache import wheel as reader
from pip_sharedcache.errors import (
    DamagedEntry,
    NotPublished,
    NotWritable,
    StoreUnusable,
    UnusualWheel,
    UsageError,
)
from pip_sharedcache.fs import workers
from pip_sharedcache.model import (
    FORMAT,
    MOST_MANIFEST,
    PACKED_FORMAT,
    Compiled,
    Digest,
    Entry,
    Manifest,
    identity_of,
)
from pip_sharedcache.store import (
    PACK,
    Spools,
    Staged,
    Store,
    WheelSource,
    copy_wheel,
    find,
    find_bytecode,
    make_visible,
    open_entry,
    publish,
    stage_bytecode,
    stage_wheel,
    stale_staging,
    survey,
    unpack,
    wheel_copies,
)
from pip_sharedcache.store.filling import Compile
from pip_sharedcache.trust import Trust, mounts
from support.filesystems import mounted
from support.lists import RECORDED, serve
from support.probes import acl, linux, needs, root, tmpfs
from support.process import as_user, file_size_limit
from support.wheels import digest as sha256
from support.wheels import make_wheel

# zipfile needs it, and the user that a test becomes may not be able to read it.
codecs.lookup("cp437")

ALICE, BOB, CAROL = 54321, 54322, 54323
GROUP, OTHER_GROUP = 54399, 54398
OWN = os.getuid() if hasattr(os, "getuid") else 0

pytestmark = needs(linux)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """syncfs(2) waits for all that others write to this disk; one test looks that it is called."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fs, "synchronise", lambda directory, files: None)
        yield


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    """A store made by hand: an empty directory of one's own."""
    path = shared_tmp / "store"
    path.mkdir()
    return Store.open(path)


@pytest.fixture
def group_store(shared_tmp: Path) -> Store:
    """What `store init --group` makes."""
    return Store.make(shared_tmp / "store", str(GROUP))


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels", executables=["demo/part/__init__.py"])


def _digest(wheel: Path) -> Digest:
    return Digest(sha256(wheel))


def _publish(store: Store, wheel: Path) -> Entry:
    return publish(store, wheel, wheel.name, _digest(wheel))


def _shard(store: Store, wheel: Path) -> Path:
    return store.path / "wheels" / _digest(wheel)[:2]


def _names(store: Store, wheel: Path) -> list[str]:
    """What lies in the wheel's shard."""
    try:
        return sorted(os.listdir(_shard(store, wheel)))
    except FileNotFoundError:
        return []


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def _writable(directory: Path) -> Iterator[None]:
    mode = _mode(directory)
    directory.chmod(0o755)
    yield
    directory.chmod(mode)


def _rewrite(path: Path, data: bytes) -> None:
    """Give a read-only file other content in place, keeping mode and times."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _held_content(entry: Entry) -> bytes:
    with open_entry(entry) as held:
        return held.read(entry.manifest.filename)[0]


# -- making and opening


def test_a_store_for_one_user_has_all_shards_and_plain_modes(shared_tmp: Path) -> None:
    os.umask(0o077)
    path = shared_tmp / "deep" / "store"
    made = Store.make(path)
    assert (made.path, made.owner, made.group, made.trusted) == (path, OWN, "", ())
    assert _mode(path) == _mode(path / "wheels") == 0o755
    shards = sorted((path / "wheels").iterdir())
    assert [shard.name for shard in shards] == [f"{number:02x}" for number in range(256)]
    assert {_mode(shard) for shard in shards} == {0o755}
    assert sorted(os.listdir(path)) == [
        "CACHEDIR.TAG",
        "builds",
        "bytecode",
        "resolutions",
        "store.json",
        "use",
        "wheels",
    ]
    assert {_mode(path / name) for name in ("CACHEDIR.TAG", "store.json")} == {0o644}
    assert (path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f0688")
    data = json.loads((path / "store.json").read_text())
    assert data == {"format": FORMAT, "group": None, "trusted": [], "builds": False}


@needs(root)
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o000], ids=oct)
def test_a_store_for_a_group_has_its_modes_whatever_the_umask(shared_tmp: Path, mask: int) -> None:
    os.umask(mask)
    path = shared_tmp / "store"
    made = Store.make(path, str(GROUP))
    assert (made.group, made.trusted) == (str(GROUP), (f"@{GROUP}",))
    for directory in (path, path / "wheels"):
        assert (_mode(directory), directory.stat().st_gid) == (0o2755, GROUP)
    found = {(_mode(d), d.stat().st_gid, d.stat().st_uid) for d in (path / "wheels").iterdir()}
    assert found == {(0o3775, GROUP, 0)}
    assert _mode(path / "store.json") == 0o644


@needs(acl, root)
def test_access_lists_of_the_directory_above_are_dropped(shared_tmp: Path) -> None:
    rules = f"u:{CAROL}:rwx,g::---,o::---"
    subprocess.run(["setfacl", "-d", "-m", rules, str(shared_tmp)], check=True)
    path = shared_tmp / "store"
    Store.make(path, str(GROUP))
    for directory in (path, path / "wheels", path / "wheels" / "ab"):
        assert not [name for name in os.listxattr(directory) if "acl" in name], directory
    assert (_mode(path), _mode(path / "wheels" / "ab")) == (0o2755, 0o3775)


@pytest.mark.parametrize(
    ("names", "opens"),
    [
        ((), True),
        (("lost+found", ".snapshot", ".nfs0001", "use"), True),
        (("wheels", "README"), True),
        (("README",), False),
        (("use", "passwd"), False),
        ((".bashrc",), False),
    ],
    ids=str,
)
def test_a_directory_of_other_things_is_no_store(
    names: tuple[str, ...], opens: bool, shared_tmp: Path
) -> None:
    """A variable may lead root to /etc."""
    for name in names:
        (shared_tmp / name).mkdir()
    if opens:
        assert Store.open(shared_tmp).path == shared_tmp
    else:
        assert f"is no store: it holds {names[-1]}" in _unusable(shared_tmp)


def test_a_store_half_made_is_finished(shared_tmp: Path) -> None:
    path = shared_tmp / "store"
    Store.make(path)
    (path / "store.json").unlink()
    for name in ("03", "ff"):
        (path / "wheels" / name).rmdir()
    (path / "wheels" / "04").chmod(0o700)
    Store.make(path)
    assert {_mode(shard) for shard in (path / "wheels").iterdir()} == {0o755}
    assert len(os.listdir(path / "wheels")) == 256
    assert (path / "store.json").exists()


def test_making_a_store_again_keeps_what_its_owner_wrote(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.make(path)
    (path / "store.json").write_text('{"format": 1, "trusted": ["daemon"]}')
    assert Store.make(path).trusted == ("daemon",)


@needs(root)
def test_a_store_made_for_a_group_later_is_the_groups_or_refused(shared_tmp: Path) -> None:
    Store.make(shared_tmp / "store")
    try:
        again = Store.make(shared_tmp / "store", str(GROUP))
    except UsageError:
        assert _mode(shared_tmp / "store" / "wheels" / "00") == 0o755
    else:
        assert (again.group, again.trusted) == (str(GROUP), (f"@{GROUP}",))


def test_a_directory_with_other_files_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds other files already"):
        Store.make(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["lost+found", "thesis.tex"]
    (tmp_path / "thesis.tex").unlink()
    assert Store.make(tmp_path).path == tmp_path


def test_a_file_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(UsageError, match="is not a directory"):
        Store.make(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "text"


def test_an_existing_store_does_not_begin_to_share_what_is_built(tmp_path: Path) -> None:
    """The owner may not have meant it; in store.json it can be said."""
    Store.make(tmp_path / "store")
    with pytest.raises(UsageError, match="in which what is built is not shared"):
        Store.make(tmp_path / "store", builds=True)
    assert not Store.open(tmp_path / "store").shares_builds
    Store.make(tmp_path / "other", builds=True)
    assert Store.make(tmp_path / "other").shares_builds


def test_a_wheel_that_grows_while_it_is_copied_fills_no_disk(
    store: Store, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))
    size = entry.wheel.stat().st_size

    def growing(source: Any) -> Iterator[bytes]:
        entry.wheel.chmod(0o644)
        with entry.wheel.open("ab") as stream:
            stream.write(b"more" * 1000)
        while block := source.read(1000):
            yield block

    written: list[int] = []

    def write_all(descriptor: int, data: bytes) -> None:
        written.append(os.write(descriptor, data))

    with monkeypatch.context() as patch:
        patch.setattr(wheel_copies.wheel, "blocks", growing)
        patch.setattr(fs, "write_all", write_all)
        copy_wheel(entry, tmp_path / "copy.whl")
    assert sum(written) == size
    assert entry.wheel.stat().st_size > size


@needs(root, tmpfs)
def test_untrusted_wheel_does_not_fill_the_disk_before_the_check(
    store: Store, wheel: Path, shared_tmp: Path
) -> None:
    entry = _publish(store, wheel)
    entry.wheel.chmod(0o644)
    entry.wheel.write_bytes(bytes(9 << 20))  # allocated, as a wheel is
    with mounted("tmpfs", shared_tmp, size_mb=16) as small:
        with pytest.raises(DamagedEntry, match="more than half of the free space in"):
            copy_wheel(entry, small / "copy.whl")
        assert list(small.iterdir()) == []


def test_missing_group_is_reported_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'no-such-group'"):
        Store.make(tmp_path / "store", "no-such-group")
    assert not (tmp_path / "store").exists()


@needs(root)
def test_where_the_system_refuses_its_error_is_given(shared_tmp: Path) -> None:
    with as_user(ALICE), pytest.raises(PermissionError):
        Store.make(shared_tmp / "store")


def test_a_private_store_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="does not exist"):
        Store.open(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []
    opened = Store.open(tmp_path / "a" / "b", private=True)
    assert opened.path.is_dir()
    assert opened.trusted == ()


@pytest.mark.parametrize("made", ["init", "private", "hidden"])
def test_a_store_that_is_made_is_marked_as_a_cache(tmp_path: Path, made: str) -> None:
    """One made by hand is not: the mark tells that store.json was there."""
    path = tmp_path / "store"
    if made == "init":
        Store.make(path)
    else:
        Store.open(path, private=made == "private", hidden=made == "hidden")
    tag = path / "CACHEDIR.TAG"
    assert tag.read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert tag.stat().st_mode & 0o777 == 0o644


@needs(root)
@pytest.mark.parametrize("made", [False, True], ids=["new", "empty directory"])
def test_a_store_for_a_group_of_others_leaves_nothing(shared_tmp: Path, made: bool) -> None:
    home = shared_tmp / "home"
    home.mkdir()
    os.chown(home, ALICE, ALICE)
    path = home / "deep" / "store"
    with as_user(ALICE):
        if made:
            path.mkdir(parents=True, mode=0o700)
        with pytest.raises(UsageError, match="you are not in it"):
            Store.make(path, str(GROUP))
    left = sorted(str(one.relative_to(home)) for one in home.rglob("*"))
    assert left == (["deep", "deep/store"] if made else [])
    assert not made or path.stat().st_mode & 0o777 == 0o700


@needs(root, tmpfs)
@pytest.mark.parametrize("inodes", [5, 300])
def test_a_store_that_a_full_disk_cannot_hold_leaves_nothing(tmp_path: Path, inodes: int) -> None:
    with mounted("tmpfs", tmp_path, options=f"nr_inodes={inodes}") as place:
        with pytest.raises(OSError, match="No space left"):
            Store.make(place / "deep" / "store")
        assert os.listdir(place) == []
        os.makedirs(place / "store")
        with pytest.raises(OSError, match="No space left"):
            Store.make(place / "store")
        assert os.listdir(place / "store") == []


@needs(root)
def test_no_private_store_is_made_in_the_home_of_another_user(shared_tmp: Path) -> None:
    home = shared_tmp / "home"
    home.mkdir()
    os.chown(home, ALICE, GROUP)
    with pytest.raises(StoreUnusable, match=f"belongs to uid {ALICE}"):
        Store.open(home / ".cache" / "store", private=True)
    assert os.listdir(home) == []
    with as_user(ALICE):
        assert Store.open(home / ".cache" / "store", private=True).owner == ALICE


@needs(root)
def test_private_store_of_another_user_is_refused(shared_tmp: Path) -> None:
    """Root with the HOME of a user would fill it with what the user cannot delete, and believe
    the user's bytecode."""
    own = shared_tmp / "store"
    own.mkdir()
    os.chown(own, ALICE, GROUP)
    with pytest.raises(StoreUnusable, match="belongs to"):
        Store.open(own, private=True)
    assert Store.open(own).owner == ALICE, "one that somebody named is another matter"


@needs(root)
def test_roots_own_store_is_not_reached_through_what_others_may_move(shared_tmp: Path) -> None:
    own, theirs = shared_tmp / "own", shared_tmp / "theirs"
    for directory in (own, theirs):
        directory.mkdir()
    (theirs / "link").symlink_to(own)
    for path in (theirs / "link", theirs / "link" / "a" / "store"):
        assert Store.open(path, private=True).owner == 0
    shutil.rmtree(own / "a")
    os.chown(theirs, ALICE, GROUP)
    for path in (theirs / "link", theirs / "link" / "a" / "store"):
        with pytest.raises(StoreUnusable, match=f"{theirs} is not root's alone"):
            Store.open(path, private=True)
    assert os.listdir(own) == []


def _unusable(path: Path, **how: Any) -> str:
    with pytest.raises(StoreUnusable) as caught:
        Store.open(path, **how)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("private", [False, True], ids=["as it is", "to be made"])
def test_a_path_that_is_no_directory_is_no_store(tmp_path: Path, private: bool) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    assert "not a directory" in _unusable(tmp_path / "file", private=private)
    assert "not a directory" in _unusable(tmp_path / "fifo", private=private)
    assert "not a directory" in _unusable(tmp_path / "file" / "below", private=private)
    _unusable(tmp_path / "dangling", private=private)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000], ids=["long name", "long path"])
def test_a_path_that_cannot_be_is_no_store(tmp_path: Path, name: str) -> None:
    _unusable(tmp_path / name)


def test_a_link_to_a_store_is_one(store: Store, wheel: Path) -> None:
    (store.path.parent / "link").symlink_to(store.path)
    through = Store.open(store.path.parent / "link")
    assert _publish(through, wheel).manifest.filename == wheel.name
    assert find(store, _digest(wheel), wheel.name).entry is not None


@needs(root)
@pytest.mark.parametrize("mode", [0o700, 0o711], ids=oct)
def test_unreadable_store_is_reported_at_once(store: Store, mode: int) -> None:
    store.path.chmod(mode)
    with as_user(ALICE):
        assert "Permission denied" in _unusable(store.path)


JSON_DAMAGED = {
    "empty": "",
    "cut": '{"format": 1, ',
    "a list": "[]",
    "a text": '"store"',
    "null": "null",
    "no format": "{}",
    "not utf-8": b"\xff\xfe\x00",
    "trusted is a number": '{"format": 1, "trusted": 7}',
    "trusted is null": '{"format": 1, "trusted": null}',
    "trusted is a text": '{"format": 1, "trusted": "1000"}',
    "nested without end": "[" * 100_000,
    "trusted without end": json.dumps({"format": 1, "trusted": ["somebody"] * 2_000}),
}


@pytest.mark.parametrize("text", JSON_DAMAGED.values(), ids=JSON_DAMAGED.keys())
def test_a_damaged_configuration_makes_the_store_unusable(store: Store, text: str | bytes) -> None:
    (store.path / "store.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert "store.json is damaged" in _unusable(store.path)


def test_a_configuration_without_end_is_not_read(store: Store) -> None:
    (store.path / "store.json").touch()
    os.truncate(store.path / "store.json", 1 << 40)
    assert "store.json cannot be read: File too large" in _unusable(store.path)


@pytest.mark.parametrize("version", [PACKED_FORMAT + 1, 0, "1", None], ids=str)
def test_another_format_makes_the_store_unusable(store: Store, version: object) -> None:
    (store.path / "store.json").write_text(json.dumps({"format": version}))
    assert f"format {version!r}" in _unusable(store.path)


def test_a_format_that_is_a_text_stays_on_one_line(store: Store) -> None:
    """Escape sequences would reach the terminal of everybody who is told."""
    (store.path / "store.json").write_text(json.dumps({"format": "\x1b[2J" + "x" * 9999}))
    said = _unusable(store.path)
    assert "\x1b" not in said
    assert len(said) < 500


@pytest.mark.parametrize("name", ["9" * 5000, f"@{'9' * 5000}", str(1 << 40)], ids=range(3))
def test_endless_number_names_no_user(store: Store, name: str) -> None:
    """Python makes no number of so many digits."""
    (store.path / "store.json").write_text(json.dumps({"format": 1, "trusted": [name]}))
    assert trust.is_unknown(name)
    opened = Store.open(store.path)
    assert (len(opened.trust.uids), len(opened.trust.gids)) == (2 - (os.geteuid() == 0), 0)


@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory"])
def test_a_configuration_that_is_no_file_makes_the_store_unusable(store: Store, kind: str) -> None:
    path = store.path / "store.json"
    if kind == "fifo":
        os.mkfifo(path, 0o644)
    elif kind == "directory":
        path.mkdir()
    else:
        (store.path.parent / "elsewhere").write_text('{"format": 1, "trusted": ["daemon"]}')
        path.symlink_to(store.path.parent / "elsewhere")
    _unusable(store.path)


@needs(root)
@pytest.mark.parametrize(
    ("uid", "mode", "believed"),
    [
        (ALICE, 0o644, True),
        (0, 0o644, True),
        (BOB, 0o644, False),
        (ALICE, 0o664, False),
        (ALICE, 0o646, False),
        (0, 0o666, False),
    ],
    ids=["owner", "root", "another", "group writes", "others write", "root, all write"],
)
def test_only_the_owner_names_publishers(store: Store, uid: int, mode: int, believed: bool) -> None:
    os.chown(store.path, ALICE, GROUP)
    path = store.path / "store.json"
    path.write_text(json.dumps({"format": 1, "group": "g", "trusted": [str(CAROL), "@5"]}))
    os.chown(path, uid, GROUP)
    path.chmod(mode)
    with as_user(BOB):
        opened = Store.open(store.path)
    assert opened.trusted == ((str(CAROL), "@5") if believed else ())
    assert opened.group == ("g" if believed else "")
    assert opened.owner == ALICE
    expected = {0, ALICE, BOB, CAROL} if believed else {0, ALICE, BOB}
    assert opened.trust == Trust(frozenset(expected), frozenset({5} if believed else ()))


@needs(root)
def test_configuration_swapped_during_the_read_is_not_trusted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that everybody may write, between the look at it and the reading of it."""
    store.path.chmod(0o777)
    path = store.path / "store.json"
    path.write_text('{"format": 1, "trusted": [], "builds": False}')
    other = store.path / "other"
    other.write_text(json.dumps({"format": 1, "trusted": [str(BOB)]}))
    os.chown(other, BOB, GROUP)
    read, status = fs.Directory.read, fs.Directory.file_status

    def swapped_read(self: fs.Directory, name: str, **how: Any) -> Any:
        os.replace(other, path) if other.exists() else None
        return read(self, name, **how)

    def swapped_status(self: fs.Directory, name: str) -> os.stat_result:
        found = status(self, name)
        os.replace(other, path) if other.exists() else None
        return found

    monkeypatch.setattr(fs.Directory, "read", swapped_read)
    monkeypatch.setattr(fs.Directory, "file_status", swapped_status)
    try:
        trusted = Store.open(store.path).trusted
    except StoreUnusable:
        return
    assert trusted == ()


@needs(root)
def test_whether_one_may_publish_is_the_systems_answer(group_store: Store) -> None:
    for groups, expected in (((GROUP,), True), ((), False)):
        with as_user(ALICE, groups=groups):
            assert group_store.may_publish() is expected


@needs(root)
@pytest.mark.parametrize("level", ["empty", "wheels"])
def test_whether_one_may_publish_is_asked_of_what_is_there(store: Store, level: str) -> None:
    lowest = store.path
    if level == "wheels":
        lowest = store.path / "wheels"
        lowest.mkdir()
        store.path.chmod(0o755)
    with as_user(ALICE):
        lowest_is = store.may_publish()
    assert not lowest_is
    lowest.chmod(0o777)
    with as_user(ALICE):
        assert store.may_publish()


@pytest.mark.parametrize(
    ("top", "shard"),
    [
        (0o755, 0o755),
        (0o700, 0o700),
        (0o2775, 0o3775),
        (0o3775, 0o3775),
        (0o777, 0o1777),
        (0o1777, 0o1777),
        (0o2755, 0o2755),
    ],
    ids=oct,
)
@pytest.mark.parametrize("mask", [0o022, 0o077], ids=oct)
def test_shards_of_a_store_made_by_hand_get_what_the_store_has(
    store: Store, top: int, shard: int, mask: int
) -> None:
    store.path.chmod(top)
    os.umask(mask)
    for _ in range(2):
        with store.shard("wheels", Digest("ab" * 32)) as held:
            assert held.path == store.path / "wheels" / "ab"
            assert os.path.samestat(held.status(), held.path.stat())
            assert oct(_mode(held.path)) == oct(_mode(held.path.parent)) == oct(shard)


@pytest.mark.parametrize("taken", ["wheels", "wheels/ab", "use"])
def test_nothing_is_made_where_a_link_in_a_store_leads(
    store: Store, tmp_path: Path, taken: str
) -> None:
    """Root, in a store of somebody else's, would make directories wherever that one points."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.path / taken).parent.mkdir(exist_ok=True)
    (store.path / taken).symlink_to(elsewhere)
    with pytest.raises(FileExistsError, match=f"{taken} was put there by "):
        (
            store.own_usage_marks() if taken == "use" else store.shard("wheels", Digest("ab" * 32))
        ).close()
    assert list(elsewhere.iterdir()) == []


def test_a_shard_made_by_a_neighbour_meanwhile_is_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fs.make_directory

    def slow(path: Path, mode: int, *args: Any, **how: Any) -> None:
        path.mkdir()
        made(path, mode, *args, **how)

    monkeypatch.setattr(fs, "make_directory", slow)
    with store.shard("wheels", Digest("cd" * 32)) as held:
        assert held.path.is_dir()


def test_survey_counts_what_is_visible(store: Store, wheel: Path) -> None:
    assert survey(store) == (0, 0)
    _publish(store, wheel)
    other = make_wheel(wheel.parent, "other")
    _publish(store, other)
    (_shard(store, wheel) / ".new-x").mkdir()
    (_shard(store, wheel) / ".dead-x").mkdir()
    assert survey(store) == (2, wheel.stat().st_size + other.stat().st_size)


def test_survey_does_not_stumble_over_what_others_left(store: Store, wheel: Path) -> None:
    _publish(store, wheel)
    odd = _shard(store, wheel) / "0000"
    odd.mkdir()
    (odd / "a.whl").symlink_to("/nonexistent")
    assert survey(store)[1] == wheel.stat().st_size


# -- publishing


def test_a_published_entry_is_the_wheel_and_its_files(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    assert entry.path == _shard(store, wheel) / _digest(wheel)
    assert entry.publisher == OWN
    assert entry.wheel.read_bytes() == wheel.read_bytes()
    manifest = Manifest.from_json((entry.path / "entry.json").read_bytes())
    assert manifest == entry.manifest
    assert (manifest.filename, manifest.size) == (wheel.name, wheel.stat().st_size)
    files = entry.path / "files"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for file in manifest.files:
            data = archive.read(file.path)
            placed = files / file.path
            assert placed.read_bytes() == data
            assert file.size == len(data)
            assert file.sha256 == sha256(placed)
            assert file.mtime * 10**9 == placed.stat().st_mtime_ns
            assert file.executable == (file.path == "demo/part/__init__.py")
    assert sorted(file.path for file in manifest.files) == sorted(names)
    below = {p.relative_to(files).as_posix() for p in files.rglob("*") if p.is_file()}
    assert below == set(names)
    assert sorted(os.listdir(entry.path)) == sorted(["entry.json", "files", wheel.name])
    assert _names(store, wheel) == [_digest(wheel)]


@needs(root)
def test_damaged_entry_beside_a_sound_one_is_reported_on_request(
    shared_tmp: Path, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.make(shared_tmp / "shared", str(GROUP))
    with as_user(ALICE, GROUP):
        damaged = _publish(Store.open(store.path), wheel)
    _rewrite(damaged.wheel, b"")
    sound = _publish(store, wheel)
    with as_user(BOB, GROUP), caplog.at_level("DEBUG"):
        found = find(Store.open(store.path), _digest(wheel), wheel.name)
    assert found.entry is not None
    assert found.entry.path == sound.path
    assert found.distrust_reasons == [], "no line on every installation"
    (said,) = [
        record
        for record in caplog.records
        if "Not used from the shared store" in record.getMessage()
    ]
    assert (said.levelname, str(damaged.path) in said.getMessage()) == ("DEBUG", True)
    assert f"published by uid {ALICE}" in said.getMessage()


def test_times_are_such_that_file_systems_with_coarse_ones_keep_them(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT keeps even seconds; what is not kept would look edited."""
    now = 1_700_000_001
    monkeypatch.setattr("time.time", lambda: now + 0.9)
    entry = _publish(store, wheel)
    (time,) = {path.stat().st_mtime_ns for path in entry.path.rglob("*") if path.is_file()}
    assert time % (2 * 10**9) == 0
    assert now - 28 * 24 * 3600 < time // 10**9 < now


def test_a_clock_that_was_never_set_gives_times_that_can_be_kept(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 3600.5)
    entry = _publish(store, wheel)
    assert find(store, _digest(wheel), wheel.name).entry == entry


def test_wheels_that_are_published_at_once_have_different_times(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else bytecode that is left over from one version might fit the source of another."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_001.9)
    wheels = [wheel, *(make_wheel(wheel.parent, version=str(number)) for number in (2, 3, 4))]
    times = {_publish(store, one).manifest.files[0].mtime for one in wheels}
    # By chance two are the same once in 170,000 times; three of four never.
    assert len(times) >= 3


def _assert_final_modes(entry: Entry) -> None:
    programs = {file.path for file in entry.manifest.files if file.executable}
    assert programs
    assert _mode(entry.path) == 0o555
    for path in entry.path.rglob("*"):
        relative = (
            path.relative_to(entry.path / "files").as_posix() if "files" in path.parts else ""
        )
        expected = 0o555 if path.is_dir() or relative in programs else 0o444
        assert oct(_mode(path)) == oct(expected), path


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o000, 0o777], ids=oct)
def test_modes_are_final_whatever_the_umask(store: Store, wheel: Path, mask: int) -> None:
    os.umask(mask)
    _assert_final_modes(_publish(store, wheel))


@needs(acl)
@pytest.mark.parametrize(
    "rules", ["u::rwx,g::rwx,o::rwx", "u::rwx,g::---,o::---", f"u:{CAROL}:rwx,g::---,m::rwx"]
)
def test_modes_are_final_whatever_a_default_access_list_says(
    store: Store, wheel: Path, rules: str
) -> None:
    subprocess.run(["setfacl", "-d", "-m", rules, str(store.path)], check=True)
    _assert_final_modes(_publish(store, wheel))


@needs(acl, root)
def test_default_access_list_keeps_the_right_to_read(store: Store, wheel: Path) -> None:
    """With an access list the group bits of the mode are its mask: g::--- stays shut behind it."""
    with store.shard("wheels", _digest(wheel)) as held:
        shard = held.path
    os.chown(shard, 0, GROUP)
    shard.chmod(0o2755)
    rules = f"u:{CAROL}:rwx,g::---,o::r-x"
    subprocess.run(["setfacl", "-d", "-m", rules, str(shard)], check=True)
    entry = _publish(store, wheel)
    with as_user(ALICE, gid=GROUP):
        for file in entry.manifest.files:
            (entry.path / "files" / file.path).read_bytes()
        assert find(store, _digest(wheel), wheel.name).distrust_reasons == []
        assert entry.wheel.read_bytes()


@needs(root)
def test_members_publish_and_find_each_others_entries(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, groups=[GROUP]):
        os.umask(0o077)
        published = _publish(Store.open(group_store.path), wheel)
    assert published.publisher == ALICE
    with as_user(BOB, groups=[GROUP]):
        found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
        assert found.entry == published
        assert _held_content(published) == wheel.read_bytes()


@needs(root)
def test_a_reader_without_the_group_finds_it_too(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, groups=[GROUP]):
        published = _publish(Store.open(group_store.path), wheel)
    other = make_wheel(wheel.parent, "other")
    with as_user(CAROL):
        opened = Store.open(group_store.path)
        assert find(opened, _digest(wheel), wheel.name).entry == published
        with pytest.raises(NotWritable, match="Permission denied"):
            _publish(opened, other)


@needs(root)
def test_root_publishes_its_own_beside_a_members(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, groups=[GROUP]):
        _publish(Store.open(group_store.path), wheel)
    found = find(group_store, _digest(wheel), wheel.name)
    assert found.entry is None
    assert found.untrusted is not None
    assert found.untrusted.publisher == ALICE
    assert len(found.distrust_reasons) == 1
    own = _publish(group_store, wheel)
    assert own.path.name == f"{_digest(wheel)}.0"
    assert find(group_store, _digest(wheel), wheel.name).entry == own
    assert _names(group_store, wheel) == [_digest(wheel), f"{_digest(wheel)}.0"]
    with as_user(BOB, groups=[GROUP]):
        found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
        assert found.entry is not None
        assert found.entry.publisher == ALICE


def test_publishing_twice_gives_the_first_entry(store: Store, wheel: Path) -> None:
    first = _publish(store, wheel)
    assert _publish(store, wheel) == first
    assert _names(store, wheel) == [_digest(wheel)]


def _at_rename(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path, Path], None]) -> None:
    """Do something the moment before publish renames for the first time."""
    rename, done = os.rename, []

    def interrupted(source: Any, target: Any, **how: Any) -> None:
        if not done:
            done.append(True)
            act(Path(source), Path(target))
        rename(source, target, **how)

    monkeypatch.setattr(os, "rename", interrupted)


def test_losing_the_race_is_not_an_error(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winners: list[Entry] = []
    _at_rename(monkeypatch, lambda source, target: winners.append(_publish(store, wheel)))
    assert _publish(store, wheel) == winners[0]
    assert _names(store, wheel) == [_digest(wheel)]


@needs(root)
def test_losing_the_race_to_another_member_is_not_an_error(
    group_store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_publishes(source: Path, target: Path) -> None:
        with as_user(ALICE, groups=[GROUP]):
            _publish(Store.open(group_store.path), wheel)

    with as_user(BOB, groups=[GROUP]):
        store = Store.open(group_store.path)

        def by_alice(source: Path, target: Path) -> None:
            os.setresuid(0, 0, 0)
            other_publishes(source, target)
            os.setgroups([GROUP])
            os.setresgid(54300, 54300, 0)
            os.setresuid(BOB, BOB, 0)

        _at_rename(monkeypatch, by_alice)
        assert _publish(store, wheel).publisher == ALICE
    assert _names(group_store, wheel) == [_digest(wheel)]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENOTEMPTY])
def test_lost_race_is_recognised_by_the_entry_not_by_the_error(
    store: Store, wheel: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems answer with other errors than local ones do."""

    def lose(source: Path, target: Path) -> None:
        _publish(store, wheel)
        raise OSError(number, os.strerror(number))

    _at_rename(monkeypatch, lose)
    assert _publish(store, wheel).path.name == _digest(wheel)
    assert _names(store, wheel) == [_digest(wheel)]


def test_rename_that_fails_without_a_race_is_reported(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    _at_rename(monkeypatch, fail)
    with pytest.raises(NotPublished, match="Input/output error"):
        _publish(store, wheel)
    assert _names(store, wheel) == []


def _occupy(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "empty directory":
        path.mkdir()
    elif kind == "full directory":
        path.mkdir()
        (path / "entry.json").write_text("{}")
    elif kind == "file":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling symlink":
        path.symlink_to("/nonexistent")
    elif kind == "symlink to a directory":
        (path.parent.parent / "elsewhere").mkdir()
        path.symlink_to(path.parent.parent / "elsewhere")
    elif kind == "closed directory":
        path.mkdir(mode=0)
    else:
        raise AssertionError(kind)


KINDS = [
    *("empty directory", "full directory", "file", "fifo", "dangling symlink"),
    *("symlink to a directory", "closed directory"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_taken_entry_name_is_skipped(store: Store, wheel: Path, kind: str) -> None:
    taken = _shard(store, wheel) / _digest(wheel)
    _occupy(taken, kind)
    before = taken.lstat()
    found = find(store, _digest(wheel), wheel.name)
    assert found.entry is None
    assert found.untrusted is None
    assert len(found.damages) == 1
    assert str(taken) in found.damages[0]
    entry = _publish(store, wheel)
    assert entry.path.name == f"{_digest(wheel)}.{OWN}"
    assert find(store, _digest(wheel), wheel.name).entry == entry
    assert (taken.lstat().st_ino, taken.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert _names(store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{OWN}"]


@pytest.mark.parametrize("kind", KINDS)
def test_where_both_names_are_taken_it_is_not_published(
    store: Store, wheel: Path, kind: str
) -> None:
    for name in (_digest(wheel), f"{_digest(wheel)}.{OWN}"):
        taken = _shard(store, wheel) / name
        if kind == "symlink to a directory" and (taken.parent.parent / "elsewhere").exists():
            (taken.parent.parent / "elsewhere").rmdir()
        _occupy(taken, kind)
    with pytest.raises(NotPublished, match="its place is taken"):
        _publish(store, wheel)
    assert _names(store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{OWN}"]


@needs(root)
@pytest.mark.parametrize("kind", ["empty directory", "full directory", "symlink to a directory"])
def test_a_hostile_directory_under_ones_name_is_not_used(
    group_store: Store, wheel: Path, kind: str
) -> None:
    """A member can make any name in a shard, but what is in it has to be the publisher's."""
    taken = _shard(group_store, wheel) / _digest(wheel)
    _occupy(taken, kind)
    os.chown(taken, CAROL, GROUP, follow_symlinks=False)
    with as_user(ALICE, groups=[GROUP]):
        entry = _publish(Store.open(group_store.path), wheel)
        assert entry.path.name == f"{_digest(wheel)}.{ALICE}"
    with as_user(BOB, groups=[GROUP]):
        assert find(Store.open(group_store.path), _digest(wheel), wheel.name).entry == entry


def test_other_bytes_than_the_digest_says_are_not_published(store: Store, wheel: Path) -> None:
    digest = Digest("ab" * 32)
    with pytest.raises(NotPublished, match="changed while it was read"):
        publish(store, wheel, wheel.name, digest)
    assert os.listdir(store.path / "wheels" / "ab") == []


@pytest.mark.parametrize("kind", ["sound", "no archive"])
def test_large_wheel_with_another_digest_is_not_published(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(unpack, "_LARGE", 1)  # its bytes are hashed only while it is unpacked
    if kind == "no archive":
        _no_archive(wheel)
    digest = Digest("ab" * 32)
    with pytest.raises(NotPublished, match="changed while it was read"):
        publish(store, wheel, wheel.name, digest)
    assert os.listdir(store.path / "wheels" / "ab") == []


def test_large_files_are_published_as_small_ones_are(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "_LARGE", 1)
    monkeypatch.setattr(reader, "read_small", lambda descriptor, member: None)
    entry = _publish(store, wheel)
    assert entry.wheel.read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        assert [file.path for file in entry.manifest.files] == archive.namelist()
        for file in entry.manifest.files:
            data = archive.read(file.path)
            assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            assert (entry.path / "files" / file.path).read_bytes() == data
    assert entry.manifest.size == wheel.stat().st_size
    _assert_final_modes(entry)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _no_archive(path: Path) -> None:
    path.write_bytes(b"this is no archive")


def _wrong_checksum(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"ANSWER = 42") == 1
    path.write_bytes(data.replace(b"ANSWER = 42", b"ANSWER = 43"))


def _broken_stream(path: Path) -> None:
    """A byte of a compressed stream is wrong: zlib says so, not zipfile."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("demo/__init__.py")
        start = info.header_offset + 30 + len(info.filename.encode())
    data = bytearray(path.read_bytes())
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))


def _broken_with(method: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with zipfile.ZipFile(path, "a", method) as archive:
            archive.writestr("demo/more.txt", b"text " * 100)
            info = archive.getinfo("demo/more.txt")
        data = bytearray(path.read_bytes())
        start = info.header_offset + 30 + len("demo/more.txt")
        data[start + 9 : start + info.compress_size] = b"\xff" * (info.compress_size - 9)
        path.write_bytes(bytes(data))

    return spoil


def _unknown_method(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        directory = archive.start_dir
    data[directory + 10] = 99
    path.write_bytes(bytes(data))


def _name_not_utf8(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("demo/ü.txt", b"")
    path.write_bytes(path.read_bytes().replace("demo/ü.txt".encode(), b"demo/\xff\xff.txt"))


def _other_name(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.py", b"")


def _local_name_differs(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"demo/data.txt", b"demo/DATA.txt", 1))


SPOILERS = {
    "cut": _cut,
    "no archive": _no_archive,
    "empty": lambda path: path.write_bytes(b""),
    "wrong checksum": _wrong_checksum,
    "broken deflate": _broken_stream,
    "broken bzip2": _broken_with(zipfile.ZIP_BZIP2),
    "broken lzma": _broken_with(zipfile.ZIP_LZMA),
    "unknown method": _unknown_method,
    "name not utf-8": _name_not_utf8,
    "path above": _other_name,
    "local name differs": _local_name_differs,
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS.keys())
def test_an_unusual_wheel_is_not_published_and_leaves_nothing(
    store: Store, shared_tmp: Path, spoil: Callable[[Path], object]
) -> None:
    compress = spoil is not _wrong_checksum
    wheel = make_wheel(shared_tmp / "wheels", compress=compress)
    spoil(wheel)
    with pytest.raises((UnusualWheel, NotPublished)) as caught:
        _publish(store, wheel)
    assert wheel.name in str(caught.value)
    assert _names(store, wheel) == []


def test_a_wheel_under_a_name_that_is_none_is_unusual(store: Store, wheel: Path) -> None:
    with pytest.raises(UnusualWheel):
        publish(store, wheel, "demo.whl", _digest(wheel))
    assert _names(store, wheel) == []


def test_a_wheel_that_is_gone_is_not_published(store: Store, wheel: Path) -> None:
    digest = _digest(wheel)
    wheel.unlink()
    with pytest.raises(NotPublished, match="No such file"):
        publish(store, wheel, wheel.name, digest)
    assert os.listdir(store.path / "wheels" / digest[:2]) == []


@pytest.mark.parametrize("where", ["wheel", "file"])
def test_a_write_that_fails_leaves_nothing(store: Store, shared_tmp: Path, where: str) -> None:
    text = b"0" * 100_000
    wheel = make_wheel(shared_tmp / "wheels", files={"demo/big": text}, compress=where == "file")
    assert (wheel.stat().st_size > 50_000) is (where == "wheel")
    with file_size_limit(50_000), pytest.raises(NotPublished, match="File too large"):
        _publish(store, wheel)
    assert _names(store, wheel) == []
    assert _publish(store, wheel)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing(
    store: Store, wheel: Path, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(directory: Path, files: object) -> None:
        raise kind

    monkeypatch.setattr(fs, "synchronise", interrupted)
    with pytest.raises(kind):
        _publish(store, wheel)
    assert _names(store, wheel) == []


def test_a_quota_that_shows_late_leaves_nothing(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path, files: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(fs, "synchronise", full)
    with pytest.raises(NotPublished, match=os.strerror(errno.EDQUOT)):
        _publish(store, wheel)
    assert _names(store, wheel) == []


def test_all_is_made_durable_before_it_is_visible(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, set[str]]] = []

    def look(directory: Path, files: Any) -> None:
        assert _digest(wheel) not in _names(store, wheel)
        (staging,) = _names(store, wheel)
        assert staging.startswith(".new-")
        above = _shard(store, wheel) / staging
        paths = {Path(path).relative_to(above).as_posix() for path in files}
        assert all((_shard(store, wheel) / staging / path).is_file() for path in paths)
        seen.append((directory, paths))

    monkeypatch.setattr(fs, "synchronise", look)
    entry = _publish(store, wheel)
    files = {f"files/{file.path}" for file in entry.manifest.files}
    assert seen == [(store.path, {"entry.json", wheel.name, *files})]


@needs(root)
def test_an_empty_directory_of_others_is_no_store(store: Store) -> None:
    """It may be a mount point, at which nothing is mounted."""
    with as_user(ALICE), pytest.raises(StoreUnusable, match="is empty: no store is there") as told:
        Store.open(store.path)
    assert f"pip-sharedcache store init {store.path}" in told.value.hint
    assert Store.open(store.path).owner == 0


@needs(root)
@pytest.mark.parametrize("level", ["wheels", "shard"])
def test_a_store_that_may_not_be_written_says_so(store: Store, wheel: Path, level: str) -> None:
    (store.path / "wheels").mkdir()
    if level == "shard":
        _shard(store, wheel).mkdir()
    with as_user(ALICE):
        opened = Store.open(store.path)
        with pytest.raises(NotWritable) as caught:
            _publish(opened, wheel)
    assert str(store.path) in str(caught.value)
    assert "Permission denied" in str(caught.value)


def test_a_store_whose_shards_are_a_file_cannot_be_published_to(store: Store, wheel: Path) -> None:
    (store.path / "wheels").touch()
    assert find(store, _digest(wheel), wheel.name).entry is None
    with pytest.raises(NotPublished) as caught:
        _publish(store, wheel)
    assert not isinstance(caught.value, NotWritable)


# -- staged first, revealed together


def _stage(store: Store, wheel: Path) -> Staged:
    return stage_wheel(store, WheelSource(wheel, wheel.name, _digest(wheel)))


@pytest.fixture
def several(shared_tmp: Path) -> list[Path]:
    return [make_wheel(shared_tmp / "wheels", name) for name in ("one", "two", "three")]


def _hidden(store: Store) -> list[str]:
    return sorted(path.name for path in store.path.glob("*/??/.*"))


def _visible(store: Store) -> set[str]:
    return {path.name for path in store.path.glob("wheels/??/[0-9a-f]*")}


def test_what_is_staged_is_whole_but_not_visible(store: Store, wheel: Path) -> None:
    staged = _stage(store, wheel)
    assert staged.entry.path.parent == _shard(store, wheel)
    assert staged.entry.path.name.startswith(f".new-{HOST}-{os.getpid()}-")
    assert find(store, _digest(wheel), wheel.name).entry is None
    assert survey(store) == (0, 0)
    _assert_final_modes(staged.entry)
    assert _held_content(staged.entry) == wheel.read_bytes()
    assert Manifest.from_json((staged.entry.path / "entry.json").read_bytes()) == (
        staged.entry.manifest
    )
    make_visible(store, [staged])


def test_revealed_it_is_the_same_directory_under_its_name(store: Store, wheel: Path) -> None:
    staged = _stage(store, wheel)
    (entry,) = make_visible(store, [staged])
    assert isinstance(entry, Entry)
    assert entry.identity == staged.entry.identity
    assert entry.path == _shard(store, wheel) / _digest(wheel)
    assert find(store, _digest(wheel), wheel.name).entry == entry
    with open_entry(entry):
        pass


def test_a_held_staged_entry_can_be_read_after_it_was_revealed(store: Store, wheel: Path) -> None:
    staged = _stage(store, wheel)
    with open_entry(staged.entry) as held:
        make_visible(store, [staged])
        assert held.read(wheel.name)[0] == wheel.read_bytes()


def test_several_are_revealed_in_order_after_one_synchronisation(
    store: Store, several: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = [_stage(store, wheel) for wheel in several]
    seen: list[tuple[Path, set[Path]]] = []

    def look(directory: Path, files: Any) -> None:
        assert _visible(store) == set()
        seen.append((directory, set(map(Path, files))))

    monkeypatch.setattr(fs, "synchronise", look)
    entries = make_visible(store, staged)
    assert [entry.manifest.filename for entry in entries if isinstance(entry, Entry)] == [
        wheel.name for wheel in several
    ]
    assert _visible(store) == {_digest(wheel) for wheel in several}
    ((directory, files),) = seen
    assert directory == store.path
    for one in staged:
        inside = {
            path.relative_to(one.entry.path) for path in files if one.entry.path in path.parents
        }
        expected = {Path("files") / file.path for file in one.entry.manifest.files}
        assert inside == {Path("entry.json"), Path(one.entry.manifest.filename), *expected}
    assert _hidden(store) == []


def test_a_race_that_is_lost_for_one_is_won_for_the_others(
    store: Store, several: list[Path]
) -> None:
    staged = [_stage(store, wheel) for wheel in several]
    faster = _publish(store, several[1])
    outcomes = make_visible(store, staged)
    assert outcomes[1] == faster
    for outcome, one in ((outcomes[0], staged[0]), (outcomes[2], staged[2])):
        assert isinstance(outcome, Entry)
        assert outcome.identity == one.entry.identity
    assert _visible(store) == {_digest(wheel) for wheel in several}
    assert _hidden(store) == []


def test_one_that_cannot_be_revealed_does_not_keep_the_others(
    store: Store, several: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = [_stage(store, wheel) for wheel in several]
    rename = os.rename

    def failing(source: Any, target: Any, **how: Any) -> None:
        if Path(source) == staged[0].entry.path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target, **how)

    monkeypatch.setattr(os, "rename", failing)
    outcomes = make_visible(store, staged)
    assert isinstance(outcomes[0], NotPublished)
    assert several[0].name in str(outcomes[0])
    assert os.strerror(errno.EIO) in str(outcomes[0])
    assert _visible(store) == {_digest(wheel) for wheel in several[1:]}
    assert _hidden(store) == []


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EIO], ids=os.strerror)
def test_what_could_not_be_made_durable_is_not_revealed(
    store: Store, several: list[Path], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(directory: Path, files: object) -> None:
        raise OSError(number, os.strerror(number))

    staged = [_stage(store, wheel) for wheel in several]
    monkeypatch.setattr(fs, "synchronise", failing)
    outcomes = make_visible(store, staged)
    assert len(outcomes) == len(several)
    for outcome in outcomes:
        assert isinstance(outcome, NotPublished)
        assert str(store.path) in str(outcome)
        assert os.strerror(number) in str(outcome)
    assert len({str(outcome) for outcome in outcomes}) == 1, "so that it can be said once"
    assert (_visible(store), _hidden(store)) == (set(), [])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("when", ["at the synchronisation", "at the second rename"])
def test_an_interrupted_reveal_leaves_nothing_in_staging(
    store: Store,
    several: list[Path],
    kind: type[BaseException],
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    staged = [_stage(store, wheel) for wheel in several]
    rename = os.rename

    def interrupted(source: Any, target: Any, **how: Any) -> None:
        if Path(source) == staged[1].entry.path:
            raise kind
        rename(source, target, **how)

    def at_once(directory: Path, files: object) -> None:
        raise kind

    if when == "at the synchronisation":
        monkeypatch.setattr(fs, "synchronise", at_once)
    else:
        monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(kind):
        make_visible(store, staged)
    revealed = set() if when == "at the synchronisation" else {_digest(several[0])}
    assert _visible(store) == revealed, "each by one rename: whole, or not at all"
    assert _hidden(store) == []


def test_vanished_staged_entry_is_reported(store: Store, several: list[Path]) -> None:
    staged = [_stage(store, wheel) for wheel in several]
    fs.remove_tree(staged[0].entry.path)
    outcomes = make_visible(store, staged)
    assert isinstance(outcomes[0], NotPublished)
    assert _hidden(store) == []
    assert _visible(store) == {_digest(wheel) for wheel in several[1:]}


def test_nothing_staged_is_nothing_revealed(store: Store) -> None:
    assert make_visible(store, []) == []


@needs(root)
def test_race_lost_to_an_untrusted_publisher_publishes_beside(store: Store, wheel: Path) -> None:
    store.path.chmod(0o1777)
    with as_user(BOB):
        staged = _stage(Store.open(store.path), wheel)
    with as_user(ALICE):
        _publish(Store.open(store.path), wheel)
    with as_user(BOB):
        (entry,) = make_visible(Store.open(store.path), [staged])
    assert isinstance(entry, Entry)
    assert entry.path.name == f"{_digest(wheel)}.{BOB}"
    assert _names(store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{BOB}"]


def test_what_this_run_has_staged_is_not_swept_by_itself(store: Store, wheel: Path) -> None:
    """Two wheels of one run in the same shard; what an earlier process of this number left goes."""
    left = _left_over(_shard(store, wheel), HOST, os.getpid())
    first = _stage(store, wheel)
    second = _stage(store, wheel)
    assert not left.exists()
    assert _held_content(first.entry) == _held_content(second.entry) == wheel.read_bytes()
    outcomes = make_visible(store, [first, second])
    assert outcomes[0] == outcomes[1]
    assert _names(store, wheel) == [_digest(wheel)]


def test_a_neighbour_does_not_sweep_what_is_staged_here(store: Store, wheel: Path) -> None:
    """A process of one's own that publishes into the same shard, while this one still installs."""
    staged = _stage(store, wheel)
    code = (
        "import sys; from pathlib import Path;"
        "from pip_sharedcache.store import Store, publish; path = Path(sys.argv[2]);"
        "publish(Store.open(Path(sys.argv[1])), path, path.name, sys.argv[3])"
    )
    arguments = [str(store.path), str(wheel), _digest(wheel)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    assert _held_content(staged.entry) == wheel.read_bytes()
    (outcome,) = make_visible(store, [staged])
    assert isinstance(outcome, Entry)
    assert outcome.identity != staged.entry.identity
    assert _names(store, wheel) == [_digest(wheel)]


# -- bytecode in the store

TAG, KEY = f"{sys.implementation.cache_tag}", "cpython-300-abcd-5"


def _compiled(*paths: str, left: tuple[str, ...] = ("demo/part/__init__.py",)) -> Compile:
    def compile_into(spools: Spools) -> Compiled:
        return Compiled([spools.add(path, b"compiled " + path.encode()) for path in paths], left)

    return compile_into


def test_bytecode_of_the_slower_takes_no_place_from_that_of_the_faster(
    store: Store, wheel: Path
) -> None:
    """It names the time of sources that lost the race, and would fit nothing."""
    slower = _stage(store, wheel)
    useless = stage_bytecode(store, slower.entry, TAG, "cpython-300-abcd-6", _compiled(PYC))
    faster = _publish(store, wheel)
    bytecode = _share_bytecode(store, faster)
    assert make_visible(store, [slower, useless]) == [faster, None]
    assert find_bytecode(store, faster, TAG, KEY).entry == bytecode
    assert _bytecode_names(store, wheel) == [f"{_digest(wheel)}.{TAG}"]


PYC = f"demo/__pycache__/__init__.{TAG}.pyc"


def _bytecode_names(store: Store, wheel: Path) -> list[str]:
    return sorted(os.listdir(store.path / "bytecode" / _digest(wheel)[:2]))


def _share_bytecode(store: Store, entry: Entry, key: str = KEY, tag: str = TAG) -> Entry:
    (outcome,) = make_visible(store, [stage_bytecode(store, entry, tag, key, _compiled(PYC))])
    assert isinstance(outcome, Entry)
    return outcome


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000], ids=oct)
def test_bytecode_is_an_entry_of_its_own(store: Store, wheel: Path, mask: int) -> None:
    os.umask(mask)
    entry = _publish(store, wheel)
    staged = stage_bytecode(store, entry, TAG, KEY, _compiled(PYC))
    assert find_bytecode(store, entry, TAG, KEY).entry is None
    (made,) = make_visible(store, [staged])
    assert isinstance(made, Entry)
    assert made.path == store.path / "bytecode" / _digest(wheel)[:2] / f"{_digest(wheel)}.{TAG}"
    (file,) = made.manifest.files
    assert (file.path, file.size) == (PYC, len(b"compiled ") + len(PYC))
    assert made.manifest.failed == ("demo/part/__init__.py",)
    stored = made.path / "files" / PYC
    assert int(stored.stat().st_mtime) == file.mtime
    assert oct(_mode(stored)) == oct(_mode(made.path / "entry.json")) == oct(0o444)
    for directory in (made.path, made.path / "files", *list(stored.parents)[:2]):
        assert oct(_mode(directory)) == oct(0o555)
    found = find_bytecode(store, entry, TAG, KEY)
    assert (found.entry, found.distrust_reasons) == (made, [])


def test_bytecode_is_no_wheel(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    _share_bytecode(store, entry)
    assert survey(store) == (1, wheel.stat().st_size)
    assert _names(store, wheel) == [_digest(wheel)]


@pytest.mark.parametrize("key", ["cpython-300-abcd-6", "cpython-300-abce-5", ""])
def test_bytecode_for_another_source_is_not_used_and_own_is_replaced(
    store: Store, wheel: Path, key: str
) -> None:
    """Another mtime of the sources, another magic number."""
    entry = _publish(store, wheel)
    old = _share_bytecode(store, entry)
    assert find_bytecode(store, entry, TAG, key).entry is None
    new = _share_bytecode(store, entry, key)
    assert new.path == old.path
    assert find_bytecode(store, entry, TAG, key).entry == new
    assert find_bytecode(store, entry, TAG, KEY).entry is None
    assert _bytecode_names(store, wheel) == [f"{_digest(wheel)}.{TAG}"]


def test_bytecode_without_its_manifest_is_reported(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    made = _share_bytecode(store, entry)
    with _writable(made.path):
        (made.path / "entry.json").unlink()
    found = find_bytecode(store, entry, TAG, KEY)
    assert found.entry is None
    (damage,) = found.damages
    assert str(made.path) in damage


def test_bytecode_of_another_interpreter_stays(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    one = _share_bytecode(store, entry)
    other = _share_bytecode(store, entry, "cpython-300.opt-2-abcd-5", f"{TAG}.opt-2")
    assert find_bytecode(store, entry, TAG, KEY).entry == one
    assert find_bytecode(store, entry, f"{TAG}.opt-2", "cpython-300.opt-2-abcd-5").entry == other


def test_usable_bytecode_is_not_replaced(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    staged = stage_bytecode(store, entry, TAG, KEY, _compiled(PYC))
    first = _share_bytecode(store, entry)
    assert make_visible(store, [staged]) == [first]
    assert _bytecode_names(store, wheel) == [f"{_digest(wheel)}.{TAG}"]


@needs(root)
def test_bytecode_of_an_untrusted_publisher_is_not_used(store: Store, wheel: Path) -> None:
    store.path.chmod(0o1777)
    with as_user(ALICE):
        opened = Store.open(store.path)
        entry = _publish(opened, wheel)
        theirs = _share_bytecode(opened, entry)
    with as_user(BOB):
        opened = Store.open(store.path)
        found = find_bytecode(opened, entry, TAG, KEY)
        assert (found.entry, found.untrusted) == (None, None)
        own = _share_bytecode(opened, _publish(opened, wheel))
        assert own.path.name == f"{_digest(wheel)}.{TAG}.{BOB}"
        assert find_bytecode(opened, entry, TAG, KEY).entry == own
    with as_user(ALICE):
        assert find_bytecode(Store.open(store.path), entry, TAG, KEY).entry == theirs


@needs(root)
def test_outdated_bytecode_of_another_publisher_is_skipped(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, groups=[GROUP]):
        opened = Store.open(group_store.path)
        old = _share_bytecode(opened, _publish(opened, wheel), "cpython-300-abcd-1")
    with as_user(BOB, groups=[GROUP]):
        opened = Store.open(group_store.path)
        entry = find(opened, _digest(wheel), wheel.name).entry
        assert entry is not None
        new = _share_bytecode(opened, entry)
        assert new.path.name == f"{_digest(wheel)}.{TAG}.{BOB}"
    with as_user(ALICE, groups=[GROUP]):
        opened = Store.open(group_store.path)
        assert find_bytecode(opened, entry, TAG, KEY).entry == new
        key = "cpython-300-abcd-1"
        assert find_bytecode(opened, entry, TAG, key).entry == old


def _partly_compiled(spools: Spools) -> Compiled:
    made = _compiled(PYC)(spools).made
    return Compiled(made, (), {"demo/part/__init__.py": "MemoryError"})


def test_bytecode_that_lacks_a_source_for_no_fault_of_its_own_is_not_revealed(
    store: Store, wheel: Path
) -> None:
    staged = stage_bytecode(store, _publish(store, wheel), TAG, KEY, _partly_compiled)
    assert staged.partial == "demo/part/__init__.py: MemoryError"
    assert [file.path for file in staged.entry.manifest.files] == [PYC]
    assert os.listdir(staged.entry.path / "files/demo/__pycache__") == [Path(PYC).name]


@needs(root)
@pytest.mark.parametrize("own", [True, False], ids=["own", "a colleague's"])
def test_bytecode_that_lacks_a_source_is_damaged_until_a_complete_one_is_there(
    group_store: Store, wheel: Path, own: bool
) -> None:
    """As older versions published it, and whoever could not follow /proc/PID/fd: all of it."""
    with as_user(ALICE, groups=[GROUP]):
        opened = Store.open(group_store.path)
        entry = _publish(opened, wheel)
        staged = stage_bytecode(opened, entry, TAG, KEY, lambda files: Compiled([]))
        (partial,) = make_visible(opened, [replace(staged, partial="")])
        assert isinstance(partial, Entry)
    with as_user(ALICE if own else BOB, groups=[GROUP]):
        opened = Store.open(group_store.path)
        found = find_bytecode(opened, entry, TAG, KEY)
        assert found.entry is None
        assert found.damages[0].startswith(f"{partial.path} has no bytecode of demo/")
        new = _share_bytecode(opened, entry)
        assert (new.path == partial.path) is own
        assert find_bytecode(opened, entry, TAG, KEY).entry == new
    with as_user(ALICE, groups=[GROUP]):
        found = find_bytecode(Store.open(group_store.path), entry, TAG, KEY)
        assert (found.entry, found.damages) == (new, [])


def test_compiling_that_is_interrupted_leaves_nothing(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)

    def interrupted(spools: Spools) -> Any:
        spools.add("half.pyc", b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage_bytecode(store, entry, TAG, KEY, interrupted)
    assert _bytecode_names(store, wheel) == []


def test_bytecode_that_does_not_fit_is_reported_and_leaves_nothing(
    store: Store, wheel: Path
) -> None:
    entry = _publish(store, wheel)

    def full(spools: Spools) -> Any:
        spools.add("half.pyc", b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(NotPublished, match=os.strerror(errno.ENOSPC)) as caught:
        stage_bytecode(store, entry, TAG, KEY, full)
    assert f"the bytecode of {wheel.name}" in str(caught.value)
    assert _bytecode_names(store, wheel) == []


@pytest.mark.parametrize("packed", [False, True], ids=["tree", "packed"])
def test_where_the_temporary_directory_is_full_bytecode_waits_in_the_store(
    store: Store, wheel: Path, packed: bool
) -> None:
    entry, above = _publish(store, wheel), []

    def compile_into(spools: Spools) -> Compiled:
        above.append(identity_of(spools.new().path.parent.parent.stat()))
        if len(above) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return _compiled(PYC)(spools)

    staged = stage_bytecode(store, entry, TAG, KEY, compile_into, packed=packed)
    assert above == [identity_of(os.stat(tempfile.gettempdir())), staged.entry.identity]
    found = {PACK} if packed else {"files", "entry.json"}
    assert set(os.listdir(staged.entry.path)) == found
    assert [file.path for file in staged.entry.manifest.files] == [PYC]


@pytest.mark.parametrize("links", [False, True], ids=["copies", "links"])
def test_on_a_file_server_bytecode_is_packed_unless_this_user_links(
    shared_tmp: Path, wheel: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "is_local", lambda where: False)
    store = Store.make(shared_tmp / "server")
    assert (store.packed, store.may_have_packs) == (False, True)
    told = json.loads((store.path / "store.json").read_text())
    assert (told["format"], told["layout"]) == (PACKED_FORMAT, "tree")
    entry = _publish(store, wheel)
    staged = stage_bytecode(store, entry, TAG, KEY, _compiled(PYC), links=links)
    assert set(os.listdir(staged.entry.path)) == ({"files", "entry.json"} if links else {PACK})
    assert (entry.path / "files").is_dir()


def test_bytecode_is_a_tree_in_a_store_that_versions_without_packs_read(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would regard a pack as damage."""
    monkeypatch.setattr(mounts, "is_local", lambda where: False)
    entry = _publish(store, wheel)
    staged = stage_bytecode(store, entry, TAG, KEY, _compiled(PYC))
    assert set(os.listdir(staged.entry.path)) == {"files", "entry.json"}


# -- what killed publishers left


def _left_over(shard: Path, host: str, pid: object, age: float = 0) -> Path:
    shard.mkdir(parents=True, exist_ok=True)
    left = shard / f".new-{host}-{pid}-abcd1234"
    (left / "files" / "demo").mkdir(parents=True)
    (left / "files" / "demo" / "x").touch(mode=0o444)
    (left / "files" / "demo").chmod(0o555)
    then = left.stat().st_mtime - age
    os.utime(left, (then, then))
    return left


def _dead_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


HOST = fs.HOST


def test_what_a_killed_publisher_left_is_removed(store: Store, wheel: Path) -> None:
    left = _left_over(_shard(store, wheel), HOST, _dead_pid())
    _publish(store, wheel)
    assert not left.exists()
    assert _names(store, wheel) == [_digest(wheel)]


def test_what_a_living_publisher_is_making_stays(store: Store, wheel: Path) -> None:
    left = _left_over(_shard(store, wheel), HOST, os.getppid(), age=10 * 24 * 3600)
    _publish(store, wheel)
    assert (left / "files" / "demo" / "x").exists()


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (24, False)], ids=["fresh", "old"])
def test_what_another_machine_is_making_stays_for_some_hours(
    store: Store, wheel: Path, hours: int, stays: bool
) -> None:
    left = _left_over(_shard(store, wheel), "otherhost", _dead_pid(), age=hours * 3600)
    _publish(store, wheel)
    assert left.exists() is stays


@needs(root)
def test_what_others_left_is_theirs(store: Store, wheel: Path) -> None:
    left = _left_over(_shard(store, wheel), HOST, _dead_pid(), age=10 * 24 * 3600)
    os.chown(left, ALICE, GROUP)
    store.path.chmod(0o1777)
    _shard(store, wheel).chmod(0o1777)
    with as_user(BOB):
        _publish(Store.open(store.path), wheel)
    assert (left / "files" / "demo" / "x").exists()
    stale_staging._swept.clear()
    _publish(store, wheel)
    assert not left.exists(), "root takes it away"


@pytest.mark.parametrize(
    "name", [".new-", ".new-x", f".new-{HOST}-x-y", f".new-{HOST}-{10**30}-y", ".new-\udcff-1-2"]
)
def test_odd_names_of_staging_do_not_matter(store: Store, wheel: Path, name: str) -> None:
    _shard(store, wheel).mkdir(parents=True)
    (_shard(store, wheel) / name).mkdir()
    assert _publish(store, wheel)


def test_staging_that_is_a_link_is_not_followed(store: Store, wheel: Path) -> None:
    precious = store.path.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    _shard(store, wheel).mkdir(parents=True)
    link = _shard(store, wheel) / f".new-{HOST}-{_dead_pid()}-y"
    link.symlink_to(precious)
    _publish(store, wheel)
    assert (precious / "file").exists()


# -- looking up


def test_nothing_is_found_where_nothing_is(store: Store, wheel: Path) -> None:
    for _ in range(2):
        found = find(store, _digest(wheel), wheel.name)
        assert (found.entry, found.untrusted, found.distrust_reasons) == (None, None, [])
        assert os.listdir(store.path) in ([], ["wheels"])
        (store.path / "wheels").mkdir(exist_ok=True)


def test_what_was_published_is_found(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    found = find(store, _digest(wheel), wheel.name)
    assert (found.entry, found.untrusted, found.distrust_reasons) == (entry, None, [])


def test_a_store_that_went_away_is_a_miss(store: Store, wheel: Path) -> None:
    store.path.rename(store.path.parent / "gone")
    assert find(store, _digest(wheel), wheel.name).entry is None


def test_looking_up_writes_nothing(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    before = [(p, p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in store.path.rglob("*")]
    assert find(store, _digest(wheel), wheel.name).entry == entry
    with open_entry(entry):
        pass
    after = [(p, p.lstat().st_mtime_ns, p.lstat().st_ctime_ns) for p in store.path.rglob("*")]
    assert before == after


def test_the_same_bytes_under_another_name_are_another_wheel(store: Store, wheel: Path) -> None:
    _publish(store, wheel)
    found = find(store, _digest(wheel), "demo-1.0-1-py3-none-any.whl")
    assert (found.entry, found.untrusted, found.distrust_reasons) == (None, None, [])


def test_the_same_bytes_under_another_name_can_be_published_beside(
    store: Store, wheel: Path
) -> None:
    _publish(store, wheel)
    renamed = wheel.with_name("demo-1.0-1-py3-none-any.whl")
    shutil.copy(wheel, renamed)
    second = _publish(store, renamed)
    assert second.path.name == f"{_digest(wheel)}.{OWN}"
    assert find(store, _digest(wheel), renamed.name).entry == second


def _manifest_with(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = json.loads((path / "entry.json").read_text())
        _rewrite(path / "entry.json", json.dumps({**data, **changes}).encode())

    return change


def _the_wheel(path: Path) -> Path:
    (found,) = path.glob("*.whl")
    return found


def _unlink(path: Path) -> None:
    with _writable(path.parent):
        path.unlink()


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    with _writable(path.parent):
        path.unlink()
        make(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no manifest": lambda path: _unlink(path / "entry.json"),
    "no wheel": lambda path: _unlink(_the_wheel(path)),
    "empty manifest": lambda path: _rewrite(path / "entry.json", b""),
    "zeros for a manifest": lambda path: _rewrite(path / "entry.json", b"\0" * 300),
    "cut manifest": lambda path: _rewrite(
        path / "entry.json", (path / "entry.json").read_bytes()[:-9]
    ),
    "nested manifest": lambda path: _rewrite(path / "entry.json", b"[" * 100_000),
    "newer format": _manifest_with(format=PACKED_FORMAT + 1),
    "manifest of another wheel": _manifest_with(sha256="ab" * 32),
    "name with a slash": _manifest_with(filename="files/demo/__init__.py"),
    "name that leads up": _manifest_with(filename=".."),
    "name with a zero byte": _manifest_with(filename="a\0b"),
    "name that is no text": _manifest_with(filename="\ud800"),
    "name that is too long": _manifest_with(filename="x" * 300),
    "empty name": _manifest_with(filename=""),
    "name of a directory": _manifest_with(filename="files"),
    "size of another wheel": _manifest_with(size=1),
    "manifest is a fifo": lambda path: _replace(path / "entry.json", os.mkfifo),
    "manifest is a directory": lambda path: _replace(path / "entry.json", os.mkdir),
    "manifest is a symlink": lambda path: _replace(
        path / "entry.json", lambda at: at.symlink_to("/etc/hostname")
    ),
    "wheel is a fifo": lambda path: _replace(_the_wheel(path), os.mkfifo),
    "wheel is a directory": lambda path: _replace(_the_wheel(path), os.mkdir),
    "wheel is a symlink": lambda path: _replace(
        _the_wheel(path), lambda at: at.symlink_to("/etc/hostname")
    ),
    "wheel is cut": lambda path: _rewrite(_the_wheel(path), _the_wheel(path).read_bytes()[:-1]),
    "wheel is empty": lambda path: _rewrite(_the_wheel(path), b""),
    "wheel is longer": lambda path: _rewrite(
        _the_wheel(path), _the_wheel(path).read_bytes() + b"x"
    ),
    "group may write the manifest": lambda path: (path / "entry.json").chmod(0o664),
    "others may write the wheel": lambda path: _the_wheel(path).chmod(0o446),
}


DAMAGE = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())


def _assert_not_used(store: Store, wheel: Path, entry: Entry) -> None:
    found = find(store, _digest(wheel), wheel.name)
    assert found.entry is None
    assert found.untrusted is None or not found.untrusted.manifest.files, "its wheel at most"
    assert len(found.damages) == 1
    assert str(entry.path) in found.damages[0]
    assert "\n" not in found.damages[0]


@DAMAGE
def test_own_damaged_entry_is_not_used_and_replaced_in_its_place(
    store: Store, wheel: Path, damage: Callable[[Path], object]
) -> None:
    first = _publish(store, wheel)
    damage(first.path)
    _assert_not_used(store, wheel, first)
    second = _publish(store, wheel)
    assert second.path == first.path
    assert second.identity != first.identity
    found = find(store, _digest(wheel), wheel.name)
    assert (found.entry, found.distrust_reasons) == (second, [])
    assert _held_content(second) == wheel.read_bytes()
    assert _names(store, wheel) == [_digest(wheel)], "nothing retired is left"


@needs(root)
@DAMAGE
def test_damaged_entry_of_another_publisher_is_kept_and_skipped(
    store: Store, wheel: Path, damage: Callable[[Path], object]
) -> None:
    first = _publish(store, wheel)
    damage(first.path)
    for path in (first.path, *first.path.rglob("*")):
        os.chown(path, ALICE, GROUP, follow_symlinks=False)
    os.chown(store.path, ALICE, GROUP)  # the store's owner is trusted, so only damage counts
    store = Store.open(store.path)
    before = _inodes(first.path)
    _assert_not_used(store, wheel, first)
    second = _publish(store, wheel)
    assert second.path.name == f"{_digest(wheel)}.{OWN}"
    assert find(store, _digest(wheel), wheel.name).entry == second
    assert _names(store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{OWN}"]
    assert _inodes(first.path) == before


def _inodes(path: Path) -> list[tuple[str, os.stat_result]]:
    """What lies below a path, and its state but for the times of reading."""
    return [
        (str(each), os.stat_result((*each.lstat()[:7], 0, *each.lstat()[8:10])))
        for each in sorted((path, *path.rglob("*")))
    ]


@needs(root)
def test_a_member_does_not_retire_what_another_member_damaged(
    group_store: Store, wheel: Path
) -> None:
    with as_user(ALICE, groups=[GROUP]):
        first = _publish(Store.open(group_store.path), wheel)
    _rewrite(first.wheel, b"")
    with as_user(BOB, groups=[GROUP]):
        beside = _publish(Store.open(group_store.path), wheel)
    assert beside.path.name == f"{_digest(wheel)}.{BOB}"
    with as_user(ALICE, groups=[GROUP]):
        store = Store.open(group_store.path)
        assert find(store, _digest(wheel), wheel.name).entry == beside
        assert _publish(store, wheel) == beside, "a usable one is there: nothing is replaced"
    assert _names(group_store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{BOB}"]


def test_both_of_ones_names_are_repaired_one_after_the_other(store: Store, wheel: Path) -> None:
    """Beside an entry under another file name lies one's own, which gets damaged."""
    renamed = wheel.with_name("demo-1.0-1-py3-none-any.whl")
    shutil.copy(wheel, renamed)
    _publish(store, wheel)
    second = _publish(store, renamed)
    _rewrite(second.wheel, b"")
    third = _publish(store, renamed)
    assert third.path == second.path
    assert third.identity != second.identity
    assert find(store, _digest(wheel), renamed.name).entry == third
    assert find(store, _digest(wheel), wheel.name).entry is not None
    assert _names(store, wheel) == [_digest(wheel), f"{_digest(wheel)}.{OWN}"]


def test_what_is_replaced_is_out_of_sight_before_it_is_deleted(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _publish(store, wheel)
    _rewrite(first.wheel, b"")
    seen: list[tuple[str, list[str]]] = []
    remove = fs.remove_tree

    def watched(path: Path) -> None:
        if not path.name.startswith(".new-"):
            seen.append((path.name, _names(store, wheel)))
        remove(path)

    monkeypatch.setattr(fs, "remove_tree", watched)
    second = _publish(store, wheel)
    ((dead, names),) = seen
    assert dead.startswith(f".dead-{_digest(wheel)}-")
    assert _digest(wheel) in names, "the sound one, for symlinks that lead there"
    assert find(store, _digest(wheel), wheel.name).entry == second


def test_a_reader_goes_on_with_an_entry_that_is_retired(store: Store, wheel: Path) -> None:
    first = _publish(store, wheel)
    with open_entry(first) as held, _opened(held, first) as descriptor:
        _rewrite(first.path / "entry.json", b"")
        _publish(store, wheel)
        assert os.read(descriptor, 1 << 20) == wheel.read_bytes()


@contextmanager
def _opened(held: fs.Directory, entry: Entry) -> Iterator[int]:
    descriptor = held.open_file(entry.manifest.filename)
    yield descriptor
    os.close(descriptor)


def test_an_entry_that_becomes_whole_meanwhile_is_not_retired(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one user find the same damage; the second must not remove the repair."""
    first = _publish(store, wheel)
    _rewrite(first.wheel, b"")
    second = stage_wheel(store, WheelSource(wheel, wheel.name, _digest(wheel)))
    repaired = _publish(store, wheel)
    assert make_visible(store, [second]) == [repaired]
    assert _names(store, wheel) == [_digest(wheel)]


@needs(root)
@pytest.mark.parametrize("which", ["entry.json", "wheel"])
def test_entry_with_a_file_of_another_user_is_not_used(
    store: Store, wheel: Path, which: str
) -> None:
    entry = _publish(store, wheel)
    os.chown(entry.path / "entry.json" if which == "entry.json" else entry.wheel, ALICE, GROUP)
    found = find(store, _digest(wheel), wheel.name)
    assert found.entry is None
    assert found.untrusted is not None
    assert found.untrusted.manifest.files == (), "nothing that it says of itself"
    assert f"uid {ALICE}" in found.damages[0]


def test_an_entry_that_others_may_write_is_checked_in_a_copy(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    entry.path.chmod(0o775)
    found = find(store, _digest(wheel), wheel.name)
    assert found.entry is None
    assert found.untrusted == _alone(entry)


def _alone(entry: Entry) -> Entry:
    """The entry, of which nothing was read but its wheel."""
    return replace(entry, manifest=replace(entry.manifest, files=()))


@needs(root)
def test_nothing_that_a_stranger_wrote_is_read_but_the_wheel(store: Store, wheel: Path) -> None:
    """Millions of brackets are parsed for a minute, and fill the memory."""
    store.path.chmod(0o1777)
    with as_user(ALICE):
        theirs = _publish(Store.open(store.path), wheel)
    manifest = theirs.path / "entry.json"
    manifest.unlink()
    os.mkfifo(manifest)
    with as_user(BOB):
        found = find(Store.open(store.path), _digest(wheel), wheel.name)
    assert (found.entry, found.untrusted) == (None, _alone(theirs))
    assert len(found.distrust_reasons) == 1
    assert found.damages == []


def test_a_manifest_without_end_is_not_read(store: Store, wheel: Path) -> None:
    """A publisher whom nobody trusts must not be able to fill the memory of all."""
    entry = _publish(store, wheel)
    (entry.path / "entry.json").chmod(0o644)
    os.truncate(entry.path / "entry.json", 1 << 43)
    (entry.path / "entry.json").chmod(0o444)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 34, hard))
    try:
        found = find(store, _digest(wheel), wheel.name)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert found.entry is None
    assert len(found.damages) == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b" " * MOST_MANIFEST, "too large"),
        ((b"[" * 900 + b"]" * 900 + b",") * (MOST_MANIFEST // 2000), "more memory than there is"),
    ],
    ids=["too long", "brackets"],
)
def test_a_manifest_may_take_more_memory_than_there_is(
    store: Store, wheel: Path, text: bytes, what: str
) -> None:
    entry = _publish(store, wheel)
    manifest = entry.path / "entry.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b'{"files": [' + text + b"0]}")
    manifest.chmod(0o444)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 27), hard))
    try:
        found = find(store, _digest(wheel), wheel.name)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert found.entry is None
    assert len(found.damages) == 1
    assert what in found.damages[0]


@pytest.mark.parametrize("size", [1, 5], ids=["wrong size", "right size"])
def test_what_a_hostile_manifest_says_stays_on_one_line(
    store: Store, wheel: Path, size: int
) -> None:
    entry = _publish(store, wheel)
    name = "x\nERROR: run this\x1b[2J\r.whl"
    _manifest_with(filename=name, size=size)(entry.path)
    with _writable(entry.path):
        (entry.path / name).write_bytes(b"12345")
        (entry.path / name).chmod(0o444)
    found = find(store, _digest(wheel), wheel.name)
    for objection in (*found.distrust_reasons, *found.damages):
        assert objection.isprintable()


@needs(root)
def test_entry_of_an_untrusted_publisher_is_reported_and_can_be_copied(
    store: Store, wheel: Path
) -> None:
    store.path.chmod(0o1777)
    with as_user(ALICE):
        theirs = _publish(Store.open(store.path), wheel)
    with as_user(BOB):
        found = find(Store.open(store.path), _digest(wheel), wheel.name)
        assert found.entry is None
        assert found.untrusted == _alone(theirs)
        assert len(found.distrust_reasons) == 1
        assert f"uid {ALICE}" in found.distrust_reasons[0]
        own = _publish(Store.open(store.path), wheel)
        assert own.path.name == f"{_digest(wheel)}.{BOB}"
        assert find(Store.open(store.path), _digest(wheel), wheel.name).entry == own


@needs(root)
def test_a_store_made_by_hand_trusts_its_owners_entries_beside_a_strangers(
    store: Store, wheel: Path
) -> None:
    os.chown(store.path, CAROL, GROUP)
    store.path.chmod(0o1777)
    with as_user(ALICE):
        _publish(Store.open(store.path), wheel)
    with as_user(CAROL):
        owners = _publish(Store.open(store.path), wheel)
    with as_user(BOB):
        assert find(Store.open(store.path), _digest(wheel), wheel.name).entry == owners


@needs(root)
def test_a_named_publishers_entry_is_found_beside_a_strangers(store: Store, wheel: Path) -> None:
    (store.path / "store.json").write_text(json.dumps({"format": 1, "trusted": [str(CAROL)]}))
    (store.path / "store.json").chmod(0o644)
    store.path.chmod(0o1777)
    with as_user(ALICE):
        _publish(Store.open(store.path), wheel)
    with as_user(CAROL):
        named = _publish(Store.open(store.path), wheel)
    assert named.path.name == f"{_digest(wheel)}.{CAROL}"
    with as_user(BOB):
        assert find(Store.open(store.path), _digest(wheel), wheel.name).entry == named


@needs(root)
def test_a_members_entry_is_found_beside_a_damaged_one(group_store: Store, wheel: Path) -> None:
    with as_user(ALICE, groups=[GROUP]):
        first = _publish(Store.open(group_store.path), wheel)
    _rewrite(first.wheel, b"")
    with as_user(BOB, groups=[GROUP]):
        second = _publish(Store.open(group_store.path), wheel)
        assert second.publisher == BOB
    with as_user(CAROL):
        found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
        assert found.entry == second


@needs(root)
def test_a_name_with_a_foreign_number_does_not_make_a_publisher(store: Store, wheel: Path) -> None:
    """<sha256>.0 made by somebody else is his, whatever the name says."""
    store.path.chmod(0o1777)
    with as_user(ALICE):
        _publish(Store.open(store.path), wheel)
        shard = _shard(store, wheel)
        os.rename(shard / _digest(wheel), shard / f"{_digest(wheel)}.0")
    with as_user(BOB):
        found = find(Store.open(store.path), _digest(wheel), wheel.name)
        assert found.entry is None
        assert found.untrusted is not None
        assert found.untrusted.publisher == ALICE


@needs(root, acl)
def test_shard_with_an_access_list_is_trusted_for_named_owners_only(
    group_store: Store, wheel: Path
) -> None:
    with as_user(ALICE, groups=[GROUP]):
        _publish(Store.open(group_store.path), wheel)
    subprocess.run(["setfacl", "-m", f"u:{CAROL}:rwx", str(_shard(group_store, wheel))], check=True)
    with as_user(BOB, groups=[GROUP]):
        found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
        assert found.entry is None
        assert "access list" in found.distrust_reasons[0]
    with as_user(ALICE, groups=[GROUP]):
        assert find(Store.open(group_store.path), _digest(wheel), wheel.name).entry is not None


@needs(root)
@pytest.mark.parametrize("level", ["shard", "wheels", "store"])
def test_a_member_is_not_trusted_where_an_nfs4_list_lets_others_publish(
    group_store: Store, wheel: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_user(ALICE, groups=[GROUP]):
        _publish(Store.open(group_store.path), wheel)
    shard = _shard(group_store, wheel)
    listed = {"shard": shard, "wheels": shard.parent, "store": group_store.path}[level]
    serve(monkeypatch, {listed: RECORDED})
    with as_user(BOB, groups=[GROUP]):
        found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
        assert (found.entry, len(found.distrust_reasons)) == (None, 1)
        assert found.untrusted is not None, "its wheel may be copied"
    with as_user(ALICE, groups=[GROUP]):
        assert find(Store.open(group_store.path), _digest(wheel), wheel.name).entry is not None


@needs(root)
def test_an_entry_that_an_nfs4_list_lets_others_write_is_not_trusted(
    group_store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_user(ALICE, groups=[GROUP]):
        entry = _publish(Store.open(group_store.path), wheel)
    serve(monkeypatch, {entry.path: RECORDED})
    for user in (ALICE, BOB):
        with as_user(user, groups=[GROUP]):
            found = find(Store.open(group_store.path), _digest(wheel), wheel.name)
            assert found.entry is None
            assert "published what has an access list that lets others" in found.distrust_reasons[0]


@needs(root)
@pytest.mark.parametrize("name", ["", "store.json"])
def test_store_json_that_an_nfs4_list_lets_others_write_names_no_publisher(
    group_store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_user(BOB):
        assert Store.open(group_store.path).trust.gids == {GROUP}
        serve(monkeypatch, {group_store.path / name: RECORDED})
        assert Store.open(group_store.path).trust.gids == set()


@needs(root)
def test_a_shard_that_may_not_be_read_is_a_miss(store: Store, wheel: Path) -> None:
    _publish(store, wheel)
    _shard(store, wheel).chmod(0o700)
    with as_user(ALICE):
        assert find(Store.open(store.path), _digest(wheel), wheel.name).entry is None


@pytest.mark.parametrize("level", ["wheels", "shard"])
def test_shards_are_not_reached_through_links(store: Store, wheel: Path, level: str) -> None:
    _publish(store, wheel)
    path = store.path / "wheels" if level == "wheels" else _shard(store, wheel)
    path.rename(store.path / "elsewhere")
    path.symlink_to(store.path / "elsewhere")
    assert find(store, _digest(wheel), wheel.name).entry is None


def test_for_a_miss_the_shard_is_not_listed(
    group_store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_store = replace(group_store, trust=Trust(frozenset({OWN}), frozenset({GROUP})))
    listed: list[Path] = []
    names = fs.Directory.names

    def counted(self: fs.Directory) -> list[str]:
        listed.append(self.path)
        return names(self)

    monkeypatch.setattr(fs.Directory, "names", counted)
    assert find(group_store, _digest(wheel), wheel.name).entry is None
    assert listed == []


# -- holding


def test_a_held_entry_can_be_read_after_it_was_retired(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    with open_entry(entry) as held:
        entry.path.rename(entry.path.with_name(".dead-x"))
        assert held.read(f"files/{entry.manifest.files[0].path}")


def test_an_entry_that_is_gone_cannot_be_held(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    entry.path.rename(entry.path.with_name(".dead-x"))
    with pytest.raises(DamagedEntry, match="cannot be opened"):
        open_entry(entry)


def test_an_entry_that_was_replaced_cannot_be_held(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    entry.path.rename(entry.path.with_name(".dead-x"))
    assert _publish(store, wheel).path == entry.path
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DamagedEntry, match="replaced"):
        open_entry(entry)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_no_descriptor_is_left_open(store: Store, wheel: Path) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    entry = _publish(store, wheel)
    find(store, _digest(wheel), wheel.name)
    _rewrite(entry.wheel, b"")
    find(store, _digest(wheel), wheel.name)
    other = make_wheel(wheel.parent, "other")
    with file_size_limit(10), pytest.raises(NotPublished):
        _publish(store, other)
    assert len(os.listdir("/proc/self/fd")) == open_before


# -- a large wheel, unpacked side by side


@pytest.fixture
def large(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of many files and one large one, for two processors."""
    monkeypatch.setattr(fs, "cpus", lambda: 2)
    workers.limit_workers(0)
    files: dict[str, bytes | str] = {f"demo/m{n}.py": f"x = {n}\n" for n in range(1200)}
    files["demo/large.bin"] = os.urandom(1 << 20) * 40
    return make_wheel(shared_tmp / "large", files=files, executables=["demo/m7.py"])


def _as_unpacked_in_one_piece(store: Store, entry: Entry, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for file in entry.manifest.files:
            data = archive.read(file.path)
            assert (entry.path / "files" / file.path).read_bytes() == data
            assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert [file.path for file in entry.manifest.files] == archive.namelist()
    assert [file.path for file in entry.manifest.files if file.executable] == ["demo/m7.py"]
    _assert_final_modes(entry)


def test_a_large_wheel_is_unpacked_by_several_processes_as_by_one(
    store: Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided: list[int] = []
    real = unpack.map_in_workers

    def noted(pieces: Any, *how: Any) -> Any:
        divided.append(len(pieces))
        return real(pieces, *how)

    monkeypatch.setattr(unpack, "map_in_workers", noted)
    _as_unpacked_in_one_piece(store, _publish(store, large), large)
    assert divided[0] > 2


def test_what_a_killed_copy_has_half_unpacked_is_unpacked_anew(
    store: Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, real = os.getpid(), unpack._extract

    def dying(archive: Any, member: Any, path: str, mtime: int) -> Any:
        if os.getpid() != here and member.path.endswith(("m500.py", "large.bin")):
            Path(path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(archive, member, path, mtime)

    monkeypatch.setattr(unpack, "_extract", dying)
    _as_unpacked_in_one_piece(store, _publish(store, large), large)


def test_a_large_wheel_that_is_broken_is_unusual_and_leaves_nothing(
    store: Store, large: Path
) -> None:
    data = bytearray(large.read_bytes())
    data[data.index(b"x = 600\n") if b"x = 600\n" in data else len(data) // 2] ^= 0xFF
    large.write_bytes(bytes(data))
    with pytest.raises(UnusualWheel):
        _publish(store, large)
    assert [name for name in os.listdir(_shard(store, large)) if name.startswith(".")] == []


def test_server_that_does_not_answer_is_asked_for_one_shard_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silent(path: object, *_: object, **__: object) -> os.stat_result:
        asked.append(str(path))
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", silent)
        patch.setattr(os, "access", lambda path, mode: False)
        assert not store.may_publish()
    assert asked == [str(store.path / "wheels" / "00")]
