"""Symlinks into entries: whose environments have them still, and where nobody can tell."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from pip_sharedcache import fs
from pip_sharedcache.fs import DirIdentity
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import Store, publish, symlink_registry
from pip_sharedcache.store.symlink_registry import Link, LinkHolder
from support.filesystems import mounted, unmount
from support.probes import linux, needs, root, tmpfs
from support.process import as_user
from support.wheels import digest as sha256
from support.wheels import make_wheel

pytestmark = needs(linux)

ALICE, BOB, GROUP = 54321, 54322, 54399
NAMES = [f"{number:064x}" for number in range(8)]
MODULES = ["demo/__init__.py", "demo/part/__init__.py", "demo/data.txt"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store")


@pytest.fixture
def shared(shared_tmp: Path) -> Store:
    """A store of a group; root's."""
    return Store.make(shared_tmp / "store", str(GROUP))


@pytest.fixture
def entry(store: Store, shared_tmp: Path) -> Entry:
    wheel = make_wheel(shared_tmp / "wheels")
    return publish(store, wheel, wheel.name, Digest(sha256(wheel)))


def _own(store: Store) -> Path:
    return store.path / "use" / str(os.geteuid())


def _linked(store: Store) -> set[str]:
    return set(symlink_registry.linked(store))


def _environment(place: Path, entry: Entry) -> Path:
    """A library directory with symlinks to all modules of an entry."""
    library = place / "lib" / "site-packages"
    for module in MODULES:
        (library / module).parent.mkdir(parents=True, exist_ok=True)
        (library / module).symlink_to(entry.path / "files" / module)
    return library


def _register(store: Store, entry: Entry, library: Path) -> None:
    symlink_registry.register(
        store, [Link(entry.path.name, str(library / MODULES[0]), str(library))]
    )


# -- one link that is noted


@pytest.fixture
def link(tmp_path: Path) -> Path:
    link = tmp_path / "environment" / "module.py"
    link.parent.mkdir()
    link.symlink_to(f"/data/store/wheels/00/{NAMES[0]}/files/module.py")
    return link


def test_a_registered_link_keeps_its_entry_while_it_leads_there(store: Store, link: Path) -> None:
    symlink_registry.register(store, [Link(NAMES[0], str(link), str(link.parent))])
    assert symlink_registry.linked(store) == {
        NAMES[0]: [LinkHolder(os.geteuid(), str(link.parent), "")]
    }
    link.unlink()
    link.symlink_to(f"/data/store/wheels/00/{NAMES[1]}/files/module.py")
    assert _linked(store) == set(), "it leads to another one now"
    link.unlink()
    link.write_text("edited")
    assert _linked(store) == set(), "no link any more"
    link.unlink()
    assert _linked(store) == set()
    link.parent.rmdir()
    assert _linked(store) == set()


def test_a_note_without_an_environment_is_read_too(store: Store, link: Path) -> None:
    symlink_registry.register(store, [Link(NAMES[0], str(link))])
    assert symlink_registry.linked(store) == {NAMES[0]: [LinkHolder(os.geteuid(), str(link), "")]}
    link.unlink()
    assert _linked(store) == set()


def test_a_path_of_any_bytes_can_be_registered(store: Store, tmp_path: Path) -> None:
    place = os.path.join(tmp_path, os.fsdecode(b"\xff\n\xe9 \x1b"))
    os.mkdir(place)
    link = os.path.join(place, "link")
    os.symlink(f"/x/{NAMES[0]}/files/y", link)
    symlink_registry.register(store, [Link(NAMES[0], link, place)])
    assert _linked(store) == {NAMES[0]}


def test_nothing_is_noted_where_no_link_was_placed(store: Store) -> None:
    symlink_registry.register(store, [])
    assert not _own(store).exists()


def test_a_store_without_notes_has_no_links(shared_tmp: Path) -> None:
    (shared_tmp / "store").mkdir()
    assert symlink_registry.linked(Store.open(shared_tmp / "store")) == {}


# -- other links of the same distribution


@pytest.mark.parametrize("how", ["edited", "deleted", "led elsewhere"])
def test_the_other_links_keep_an_entry_when_the_noted_one_is_gone(
    store: Store, entry: Entry, tmp_path: Path, how: str
) -> None:
    library = _environment(tmp_path, entry)
    _register(store, entry, library)
    for module in MODULES:
        assert _linked(store) == {entry.path.name}
        symlink_registry.forget(store)
        assert _linked(store) == {entry.path.name}
        (library / module).unlink()
        if how == "edited":
            (library / module).write_text("by an editor that replaces files")
        elif how == "led elsewhere":
            (library / module).symlink_to("/nowhere")
    assert _linked(store) == set()
    symlink_registry.forget(store)
    assert os.listdir(_own(store)) == []


def test_what_is_not_in_the_store_is_not_needed(store: Store, entry: Entry, tmp_path: Path) -> None:
    library = _environment(tmp_path, entry)
    _register(store, entry, library)
    (library / MODULES[0]).unlink()
    shutil.rmtree(entry.path)
    assert _linked(store) == set()


@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_unknown_links_count_as_links(
    store: Store, entry: Entry, tmp_path: Path, content: bytes | None
) -> None:
    library = _environment(tmp_path, entry)
    _register(store, entry, library)
    (library / MODULES[0]).unlink()
    manifest = entry.path / "entry.json"
    manifest.chmod(0o644)
    manifest.unlink() if content is None else manifest.write_bytes(content)
    assert _linked(store) == {entry.path.name}
    shutil.rmtree(library)
    assert _linked(store) == set()


def test_links_of_other_schemes_are_looked_for(store: Store, shared_tmp: Path) -> None:
    wheel = make_wheel(
        shared_tmp / "wheels",
        files={
            "demo/__init__.py": "",
            "demo-1.0.data/platlib/demo/fast.py": "",
            "demo-1.0.data/purelib/other-2.0.dist-info/METADATA": "",
            "demo-1.0.data/data/share/demo.txt": "x",
        },
    )
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))
    library = shared_tmp / "site-packages"
    for scheme, path in (
        ("platlib", "demo/fast.py"),
        ("purelib", "other-2.0.dist-info/METADATA"),  # not the one of this distribution
    ):
        (library / path).parent.mkdir(parents=True)
        (library / path).symlink_to(entry.path / f"files/demo-1.0.data/{scheme}/{path}")
        _register(store, entry, library)
        assert _linked(store) == {entry.path.name}
        (library / path).unlink()
        assert _linked(store) == set()


def test_links_outside_of_the_library_are_found_by_record(store: Store, shared_tmp: Path) -> None:
    """Data and headers: where they are depends on the environment, and pip's RECORD tells."""
    files = {"demo-1.0.data/data/share/a.txt": "a", "demo-1.0.data/data/share/b.txt": "b"}
    wheel = make_wheel(shared_tmp / "wheels", files=files)
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))
    library, share = shared_tmp / "lib" / "site-packages", shared_tmp / "share"
    info = library / "demo-1.0.dist-info"
    for directory in (info, share):
        directory.mkdir(parents=True)
    rows = [f"../../share/{name}.txt,sha256=x,1" for name in "ab"]
    (info / "RECORD").write_text("\n".join([*rows, "demo-1.0.dist-info/RECORD,,", ""]))
    for name in "ab":
        (share / f"{name}.txt").symlink_to(
            entry.path / f"files/demo-1.0.data/data/share/{name}.txt"
        )
    symlink_registry.register(store, [Link(entry.path.name, str(share / "a.txt"), str(library))])
    (share / "a.txt").unlink()
    (share / "a.txt").write_text("edited")
    assert _linked(store) == {entry.path.name}
    (share / "b.txt").unlink()
    assert _linked(store) == set()
    (share / "b.txt").symlink_to(entry.path / "files/demo-1.0.data/data/share/b.txt")
    (info / "RECORD").write_bytes(b'"\xff\0')
    assert _linked(store) == set(), "no environment that pip knows anything of"


# -- environments that were moved, deleted, or cannot be seen


@pytest.mark.parametrize("moved", ["one", "one/lib", "one/lib/site-packages"])
def test_a_renamed_environment_is_found(
    store: Store, entry: Entry, tmp_path: Path, moved: str
) -> None:
    library = _environment(tmp_path / "one", entry)
    _register(store, entry, library)
    place = tmp_path / moved
    new = place.rename(place.with_name("new"))
    assert _linked(store) == {entry.path.name}
    place.mkdir()
    assert _linked(store) == {entry.path.name}, "another one has its name now"
    shutil.rmtree(new)
    assert _linked(store) == set()


def test_a_deleted_environment_keeps_nothing(store: Store, entry: Entry, tmp_path: Path) -> None:
    library = _environment(tmp_path / "one", entry)
    _register(store, entry, library)
    shutil.rmtree(tmp_path / "one")
    assert _linked(store) == set()
    library.mkdir(parents=True)
    assert _linked(store) == set(), "made anew, without links"
    shutil.rmtree(tmp_path / "one")
    _environment(tmp_path / "one", entry)
    (library / MODULES[0]).unlink()
    assert _linked(store) == {entry.path.name}, "put back from a backup"


@needs(root, tmpfs)
def test_an_environment_on_a_disk_that_is_not_mounted_counts(
    store: Store, entry: Entry, shared_tmp: Path
) -> None:
    with mounted("tmpfs", shared_tmp) as disk:
        library = _environment(disk / "user" / "one", entry)
        _register(store, entry, library)
        (library / MODULES[0]).unlink()
        unmount(disk)
        assert _linked(store) == {entry.path.name}
        (disk / "user").mkdir()
        assert _linked(store) == {entry.path.name}, "below the place where it is mounted"
        symlink_registry.forget(store)
        assert _linked(store) == {entry.path.name}
        (disk / "user").rmdir()


@needs(root, tmpfs)
def test_an_environment_that_is_deleted_from_its_disk_keeps_nothing(
    store: Store, entry: Entry, shared_tmp: Path
) -> None:
    with mounted("tmpfs", shared_tmp) as disk:
        library = _environment(disk / "one", entry)
        _register(store, entry, library)
        shutil.rmtree(disk / "one")
        assert _linked(store) == set()


def test_an_environment_of_another_host_counts_unless_the_place_is_surely_the_same(
    store: Store, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _environment(tmp_path / "one", entry)
    with monkeypatch.context() as there:
        there.setattr("pip_sharedcache.fs.dir_identity.HOST_NAME", "there")
        there.setattr("pip_sharedcache.fs.HOST_NAME", "there")
        _register(store, entry, library)
    (note,) = _own(store).glob("links-*")
    head, row = note.read_text().splitlines()
    shutil.rmtree(tmp_path / "one")
    if all(born for _, born in json.loads(head)["way"]):
        assert _linked(store) == set(), "its directory was made at that very moment"
    without = json.loads(head)
    without["way"] = [[inode, 0] for inode, _ in without["way"]]
    note.write_text(f"{json.dumps(without)}\n{row}\n")
    assert _linked(store) == {entry.path.name}, "another host's disk may look the same"
    without["host"] = fs.HOST_NAME
    note.write_text(f"{json.dumps(without)}\n{row}\n")
    assert _linked(store) == set()


def test_directory_is_identified_by_its_creation_time(tmp_path: Path) -> None:
    path = str(tmp_path)
    (place, *_) = way = fs.directory_chain(path)
    assert place.inode == tmp_path.stat().st_ino
    assert way[-1].inode == os.stat("/").st_ino or len(way) < len(tmp_path.parts)
    assert fs.find_moved_directory(path, way, fs.HOST_NAME) == path
    other = [DirIdentity(inode, born + 1) for inode, born in way]
    if all(born for _, born in way):
        with pytest.raises(OSError, match="not mounted"):
            fs.find_moved_directory(path, other, fs.HOST_NAME)


@needs(root)
def test_a_link_that_cannot_be_looked_at_counts(shared: Store) -> None:
    home = shared.path.parent / "home"
    home.mkdir(mode=0o700)
    os.chown(home, ALICE, GROUP)
    with as_user(ALICE, GROUP):
        (home / "module.py").symlink_to(f"/x/{NAMES[0]}/files/module.py")
        symlink_registry.register(shared, [Link(NAMES[0], str(home / "module.py"), str(home))])
        (home / "module.py").unlink()
    with as_user(BOB, GROUP):
        assert _linked(shared) == {NAMES[0]}
        symlink_registry.forget(shared)
    assert _linked(shared) == set(), "root sees that it is gone"
    assert len(list((shared.path / "use" / str(ALICE)).glob("links-*"))) == 1
    symlink_registry.forget(shared)
    assert list((shared.path / "use" / str(ALICE)).glob("links-*")) == []


@needs(root)
def test_environment_moved_to_an_unreadable_directory_counts(
    store: Store, entry: Entry, shared_tmp: Path
) -> None:
    home = shared_tmp / "home"
    library = _environment(home / "one", entry)
    _register(store, entry, library)
    (home / "one").rename(home / "two")
    (home / "two" / "lib" / "site-packages" / MODULES[0]).unlink()
    home.chmod(0o711)  # others may not list it
    with as_user(ALICE, GROUP):
        assert _linked(store) == {entry.path.name}


# -- what others put there


def _plant(path: Path, kind: str, elsewhere: Path) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(elsewhere)
    else:
        os.mkfifo(path)


@needs(root)
def test_a_squatted_place_is_not_written_to(shared: Store) -> None:
    with as_user(BOB, GROUP):
        (shared.path / "use" / str(ALICE)).mkdir()
    with as_user(ALICE, GROUP), pytest.raises(OSError) as caught:
        symlink_registry.register(shared, [Link(NAMES[0], "/x")])
    assert caught.value.errno == errno.EEXIST
    assert _linked(shared) == set()


_JUNK = [
    b"",
    b"\x00\xff\xfe" * 1000,
    b"[" * 200_000,
    b"1" * 10_000,
    b"null\n[1, 2]\n[[], {}]\n{}\n[1]\n",
    b'{"library": 1, "way": [], "host": ""}\n{"library": "/x", "way": 3, "host": ""}\n',
    json.dumps({"library": "/x\0", "way": [["1", "x"]], "host": ""}).encode(),
    b'{"library": "/x", "way": [[Infinity, 1]], "host": ""}\n["x", "LINK"]\n',
    b'{"library": "/x", "way": [[true, 1]], "host": ""}\n["x", "LINK"]\n',
    json.dumps([NAMES[0], "/\ud800"]).encode(),
    json.dumps([NAMES[0], "/x\0y"]).encode(),
    json.dumps([NAMES[0], "module.py"]).encode(),
    json.dumps(["..", "LINK"]).encode(),
    json.dumps([f"../{NAMES[0]}", "LINK"]).encode(),
]


@pytest.mark.parametrize("content", _JUNK, ids=range(len(_JUNK)))
def test_a_note_that_is_junk_notes_nothing(
    store: Store, link: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(link.parent)
    symlink_registry.register(store, [Link(NAMES[1], str(link))])
    (note,) = _own(store).glob("links-*")
    note.write_bytes(content.replace(b"LINK", str(link).encode()))
    assert _linked(store) == set()


def test_link_record_of_an_entry_with_unusual_names_is_read(
    store: Store, entry: Entry, tmp_path: Path
) -> None:
    """Whoever may publish may list a file that is called like a directory of data."""
    manifest = entry.path / "entry.json"
    text = manifest.read_text().replace('"demo/__init__.py"', '"demo-1.0.data"')
    assert text != manifest.read_text()
    manifest.chmod(0o644)
    manifest.write_text(text)
    library = _environment(tmp_path, entry)
    _register(store, entry, library)
    (library / MODULES[0]).unlink()
    assert _linked(store) == {entry.path.name}


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "huge", "socket"])
def test_a_note_that_is_no_plain_file_notes_nothing(
    store: Store, link: Path, kind: str, no_hanging: None
) -> None:
    symlink_registry.register(store, [Link(NAMES[0], str(link))])
    other = _own(store) / "links-other"
    if kind == "huge":
        other.touch()
        os.truncate(other, 1 << 40)
    elif kind == "socket":
        os.mknod(other, stat.S_IFSOCK | 0o644)
    else:
        _plant(other, kind, link.parent)
    assert _linked(store) == {NAMES[0]}
    symlink_registry.forget(store)
    assert _linked(store) == {NAMES[0]}


def test_unreadable_link_record_raises(
    store: Store, link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symlink_registry.register(store, [Link(NAMES[0], str(link))])

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("pip_sharedcache.fs.Directory.read", broken)
        with pytest.raises(OSError):
            symlink_registry.linked(store)
        symlink_registry.forget(store)
    assert _linked(store) == {NAMES[0]}
