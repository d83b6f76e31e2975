"""Garbage collection: what goes, what stays, and what happens to installations meanwhile."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pip_sharedcache import fs
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.gc import Deleted, delete_retired, retire
from pip_sharedcache.maintenance.retention import GRACE, choose
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.store import (
    Spools,
    Store,
    StoredEntry,
    find,
    find_retired,
    list_entries,
    open_entry,
    publish,
    symlink_registry,
    usage_marks,
)
from pip_sharedcache.store.publish import make_visible
from pip_sharedcache.store.staging import stage_bytecode
from support.filesystems import mounted
from support.probes import linux, needs, root, tmpfs
from support.process import as_user
from support.wheels import digest as sha256
from support.wheels import make_wheel

pytestmark = needs(linux)

ALICE, BOB, GROUP = 54321, 54322, 54399
HOUR, DAY = 3600, 24 * 3600


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store", str(GROUP))


def _publish(store: Store, name: str = "demo", size: int = 0) -> Entry:
    files = {f"{name}/__init__.py": "X = 1\n", f"{name}/data": os.urandom(size)}
    with tempfile.TemporaryDirectory() as directory:
        wheel = make_wheel(Path(directory), name, files=files, compress=False)
        return publish(store, wheel, wheel.name, Digest(sha256(wheel)))


def _compile(store: Store, entry: Entry, tag: str = "cpython-313") -> Entry:
    def compiled(spools: Spools) -> Compiled:
        sources = [file.path for file in entry.manifest.files if file.path.endswith(".py")]
        return Compiled([spools.add("x.pyc", b"compiled")], sources)

    (found,) = make_visible(store, [stage_bytecode(store, entry, tag, f"{tag}-key", compiled)])
    assert isinstance(found, Entry)
    return found


def _age(entry: Entry, seconds: float) -> None:
    """Let it have been published so long ago."""
    when = entry.path.stat().st_mtime - seconds
    os.utime(entry.path, (when, when))


def _items(store: Store) -> list[StoredEntry]:
    unread: list[tuple[Path, str]] = []
    found = list(list_entries(store, usage_marks.last_uses(store), unread))
    assert unread == []
    return found


def _chosen(
    store: Store,
    hours: float = 0,
    *,
    older_than: float | None = None,
    max_size: float | None = None,
) -> list[Path]:
    """What would be retired in so many hours."""
    now = usage_marks.now(store) + hours * HOUR
    linked = symlink_registry.linked(store)
    items = choose(_items(store), linked, now, older_than=older_than, max_size=max_size)
    return [item.path for item in items]


def _retire(store: Store, entry: Entry) -> bool:
    (item,) = [item for item in _items(store) if item.path == entry.path]
    return retire(store, item, usage_marks.now(store))


def _delete(store: Store, hours: float) -> Deleted:
    return delete_retired(store, usage_marks.now(store) + hours * HOUR)


def _dead(store: Store) -> list[Path]:
    return sorted(store.path.glob("*/*/.dead-*"))


# -- what is chosen


def test_an_entry_goes_by_its_last_use_or_else_by_when_it_was_published(store: Store) -> None:
    used, unused = _publish(store, "used"), _publish(store, "unused")
    for entry in (used, unused):
        _age(entry, 40 * DAY)
    usage_marks.mark_used(store, [used.path.name])
    assert _chosen(store) == []
    assert _chosen(store, older_than=41 * DAY) == []
    assert _chosen(store, older_than=39 * DAY) == [unused.path]
    assert set(_chosen(store, 24 * 31, older_than=30 * DAY)) == {used.path, unused.path}


def test_what_was_used_or_published_within_the_hour_stays_whatever_is_asked(store: Store) -> None:
    used, new = _publish(store, "used"), _publish(store, "new")
    _age(used, 40 * DAY)
    usage_marks.mark_used(store, [used.path.name])
    assert _chosen(store, 0.99, older_than=0, max_size=0) == []
    # A mark that is ten minutes old is not made anew.
    assert _chosen(store, 1.15, older_than=0, max_size=0) == []
    assert set(_chosen(store, 1.2, older_than=0)) == {used.path, new.path}


@needs(root)
def test_only_the_marks_of_users_count_not_the_times_of_files(store: Store) -> None:
    entry = _publish(store)
    _age(entry, 40 * DAY)
    for path in [*entry.path.rglob("*")]:
        os.utime(path)
    assert _chosen(store, older_than=30 * DAY) == [entry.path]
    with as_user(BOB, GROUP):
        usage_marks.mark_used(store, [entry.path.name])
    assert _chosen(store, older_than=30 * DAY) == []


@pytest.mark.parametrize("ahead", [2 * DAY, 10**5 * DAY], ids=["days", "centuries"])
def test_a_time_that_lies_ahead_keeps_nothing_for_ever(store: Store, ahead: float) -> None:
    entry = _publish(store)
    _age(entry, -ahead)
    assert _chosen(store, 2, older_than=HOUR) == [entry.path]


def test_a_clock_that_is_a_little_ahead_loses_nothing(store: Store) -> None:
    entry = _publish(store)
    _age(entry, -2 * HOUR)
    assert _chosen(store, older_than=0) == []
    assert _chosen(store, 4, older_than=0) == [entry.path]


def test_the_least_recently_used_go_until_the_rest_fits(store: Store) -> None:
    sizes = {"one": 40_000, "two": 50_000, "three": 60_000}
    entries = {name: _publish(store, name, size) for name, size in sizes.items()}
    for age, entry in zip((30, 10, 20), entries.values()):
        _age(entry, age * DAY)
    one, two, three = (entry.path for entry in entries.values())
    held = {}
    for entry in entries.values():
        with open_entry(entry) as directory:
            held[entry.path] = fs.tree_size(directory)
    whole = sum(held.values())
    assert _chosen(store, max_size=whole) == []
    assert _chosen(store, max_size=whole - 1) == [one]
    assert _chosen(store, max_size=held[two]) == [one, three]
    assert _chosen(store, max_size=held[two] - 1) == [one, three, two]
    assert _chosen(store, older_than=25 * DAY, max_size=whole - held[one]) == [one]


def test_a_manifest_or_a_sparse_file_does_not_decide_what_others_lose(store: Store) -> None:
    honest, hostile = _publish(store, "honest"), _publish(store, "hostile")
    for entry in (honest, hostile):
        _age(entry, 2 * DAY)
    manifest = hostile.path / "entry.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace('"size": ', '"size": 9' + 20 * "9"))
    sparse = hostile.path / "files" / "hostile" / "data"
    sparse.chmod(0o644)
    os.truncate(sparse, 1 << 40)
    assert _chosen(store, max_size=10**6) == []


def test_bytecode_goes_with_its_wheel(store: Store) -> None:
    entry, other = _publish(store), _publish(store, "other")
    compiled, kept = _compile(store, entry), _compile(store, other)
    for old in (entry, compiled, kept):
        _age(old, 40 * DAY)
    assert _chosen(store, older_than=50 * DAY) == []
    chosen = _chosen(store, older_than=30 * DAY)
    assert set(chosen) == {entry.path, compiled.path, kept.path}
    usage_marks.mark_used(store, [kept.path.name])
    assert _chosen(store, older_than=30 * DAY) == [entry.path, compiled.path]
    assert _retire(store, entry)
    assert _chosen(store) == [compiled.path], "bytecode of a wheel that is gone"


def test_bytecode_of_a_wheel_in_another_layer_stays_while_it_is_used(store: Store) -> None:
    entry = _publish(store)
    compiled = _compile(store, entry)
    _age(entry, DAY)
    assert _retire(store, entry)
    _age(compiled, 20 * DAY)
    assert _chosen(store) == []
    _age(compiled, 20 * DAY)
    assert _chosen(store) == [compiled.path]


def test_bytecode_of_an_unused_interpreter_is_deleted_without_its_entry(store: Store) -> None:
    entry = _publish(store)
    old, new = _compile(store, entry, "cpython-39"), _compile(store, entry, "cpython-313.opt-1")
    for one in (entry, old, new):
        _age(one, 40 * DAY)
    usage_marks.mark_used(store, [entry.path.name, new.path.name])
    assert _chosen(store, older_than=30 * DAY) == [old.path]


def test_what_symlinks_lead_to_stays_with_its_bytecode(store: Store, tmp_path: Path) -> None:
    entry = _publish(store)
    compiled = _compile(store, entry)
    for old in (entry, compiled):
        _age(old, 40 * DAY)
    link = tmp_path / "module.py"
    link.symlink_to(entry.path / "files" / "demo" / "__init__.py")
    symlink_registry.register(
        store, [symlink_registry.Link(entry.path.name, str(link), str(tmp_path))]
    )
    assert _chosen(store, older_than=0, max_size=0) == []
    link.unlink()
    assert set(_chosen(store, older_than=0)) == {entry.path, compiled.path}


@pytest.mark.parametrize("kind", ["file", "symlink", "empty", "unreadable"])
def test_what_is_no_entry_goes_by_its_own_age(store: Store, kind: str) -> None:
    place = store.path / "wheels" / "ab" / ("ab" * 32)
    precious = store.path.parent / "precious"
    precious.mkdir()
    if kind == "file":
        place.touch()
    elif kind == "symlink":
        place.symlink_to(precious)
    else:
        place.mkdir(mode=0 if kind == "unreadable" else 0o755)
    (item,) = _items(store)
    assert item.damage
    assert _chosen(store, older_than=0) == []
    assert _chosen(store, 2, older_than=0) == [place]
    assert retire(store, item, usage_marks.now(store) + 2 * HOUR)
    assert _delete(store, 2) == Deleted(deleted=1)
    assert precious.is_dir()


# -- taken out of sight, and brought back


def test_a_retired_entry_is_out_of_sight_and_whole(store: Store) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    with open_entry(entry) as held:
        assert _retire(store, entry)
        assert held.read(entry.manifest.filename)[0], "who holds it open reads on"
    assert find(store, entry.manifest.digest, entry.manifest.filename).entry is None
    found = find_retired(entry)
    assert found is not None
    assert sha256(found.wheel) == entry.manifest.digest
    assert not _retire_again(store, entry)
    assert _publish(store).path == entry.path, "it can be published again meanwhile"


def _retire_again(store: Store, entry: Entry) -> bool:
    status = found.path.stat() if (found := find_retired(entry)) else os.stat("/")
    item = StoredEntry(entry.path, "wheels", "x", 0, (status.st_dev, status.st_ino), 0)
    return retire(store, item, usage_marks.now(store))


def test_what_came_into_use_after_it_was_looked_at_is_brought_back(store: Store) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    now = usage_marks.now(store)
    (item,) = choose(_items(store), {}, now, older_than=0)
    usage_marks.mark_used(store, [entry.path.name])
    assert not retire(store, item, now)
    assert find(store, entry.manifest.digest, entry.manifest.filename).entry == entry
    assert _dead(store) == []


def test_what_was_published_anew_after_it_was_looked_at_is_brought_back(store: Store) -> None:
    old = _publish(store)
    _age(old, 2 * DAY)
    now = usage_marks.now(store)
    (item,) = choose(_items(store), {}, now, older_than=0)
    assert retire(store, item, now), "by another run"
    new = _publish(store)
    assert new.identity != old.identity
    assert not retire(store, item, now)
    assert find(store, new.manifest.digest, new.manifest.filename).entry == new


def test_concurrent_marks_and_collections_lose_no_entry(store: Store) -> None:
    """An installation marks, then opens; here an entry that was opened after it was marked is
    always there in the end, however the two meet."""
    entry = _publish(store)
    _age(entry, 2 * DAY)
    name, own = entry.path.name, store.path / "use" / str(os.geteuid())
    now = usage_marks.now(store)
    (item,) = choose(_items(store), {}, now, older_than=0)
    opened = stayed = 0
    for _ in range(500):
        seen: list[bool] = []

        def install(seen: list[bool] = seen) -> None:
            usage_marks.mark_used(store, [name])
            seen.append(entry.path.exists())

        installing = threading.Thread(target=install)
        installing.start()
        retired = retire(store, item, now)
        installing.join()
        assert not (retired and seen == [True]), "opened, and taken away"
        opened += seen == [True]
        stayed += not retired
        if retired:
            _dead(store)[0].rename(entry.path)
        (own / name).unlink()
    assert stayed >= opened > 0


# -- deleted


def test_what_was_retired_is_deleted_an_hour_later(store: Store) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    _retire(store, entry)
    assert _delete(store, 0.98) == Deleted(kept=1)
    assert len(_dead(store)) == 1
    assert _delete(store, 1.02) == Deleted(deleted=1)
    assert _dead(store) == []
    assert _delete(store, 1.02) == Deleted()


def test_what_was_retired_by_a_clock_that_was_ahead_waits_for_an_hour_from_now(
    store: Store,
) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    _retire(store, entry)
    (before,) = _dead(store)
    assert _delete(store, -24) == Deleted(kept=1)
    (after,) = _dead(store)
    assert after != before
    assert after.name.startswith(f".dead-{entry.path.name}-")
    assert find_retired(entry) is not None
    assert _delete(store, 1.02).deleted == 1


def test_a_deletion_that_was_interrupted_is_finished_by_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    _retire(store, entry)
    unlink, left = os.unlink, [3]

    def interrupted(*arguments: object, **keywords: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        unlink(*arguments, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "unlink", interrupted)
        _delete(store, 2)
    assert len(_dead(store)) == 1
    assert _items(store) == []
    assert _delete(store, 2) == Deleted(deleted=1)
    assert _dead(store) == []


@needs(root)
def test_everybody_deletes_only_what_is_theirs(store: Store) -> None:
    with as_user(ALICE, GROUP):
        entry = _publish(store)
        _age(entry, 2 * DAY)
        _retire(store, entry)
    (dead,) = _dead(store)
    with as_user(BOB, GROUP):
        assert _delete(store, 0) == Deleted()
        assert _delete(store, 2) == Deleted(refused=[(dead, ALICE, "belongs to another user")])
    assert len(list(dead.rglob("*"))) > 5
    assert _delete(store, 2) == Deleted(deleted=1)


@needs(root)
def test_only_the_owner_of_the_store_retires_entries_of_others(shared_tmp: Path) -> None:
    (shared_tmp / "site").mkdir()
    os.chown(shared_tmp / "site", ALICE, GROUP)
    with as_user(ALICE, GROUP):
        store = Store.make(shared_tmp / "site" / "store", str(GROUP))
    with as_user(BOB, GROUP):
        entry = _publish(store)
        _age(entry, 2 * DAY)
    with as_user(54323, GROUP), pytest.raises(PermissionError):
        _retire(store, entry)
    assert entry.path.exists()
    with as_user(ALICE, GROUP):
        assert _retire(store, entry)
        (dead,) = _dead(store)
        assert _delete(store, 2).refused == [(dead, BOB, "belongs to another user")]
    with as_user(BOB, GROUP):
        assert _delete(store, 2) == Deleted(deleted=1)


# -- a hostile tree


@contextmanager
def _meanwhile(monkeypatch: pytest.MonkeyPatch, do: object) -> Iterator[None]:
    """Right after a directory was listed, and before anything in it is deleted."""
    scandir, done = os.scandir, []

    class Listed:
        def __init__(self, *arguments: object) -> None:
            with scandir(*arguments) as found:  # type: ignore[call-overload]
                self._entries = list(found)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self._entries)

        def __exit__(self, *_: object) -> None:
            if not done and "files" in {entry.name for entry in self._entries}:
                done.append(True)
                do()  # type: ignore[operator]

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", Listed)
        yield
    assert done


def test_a_directory_swapped_for_a_link_while_it_is_deleted_leads_nowhere(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = store.path.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    entry = _publish(store)
    _age(entry, 2 * DAY)
    _retire(store, entry)
    (dead,) = _dead(store)

    def swap() -> None:
        (dead / "files").rename(dead / "away")
        (dead / "files").symlink_to(precious)

    with _meanwhile(monkeypatch, swap):
        done = _delete(store, 2)
    assert [path for path, _, _ in done.refused] == [dead]
    assert (precious / "file").exists()
    assert _delete(store, 4) == Deleted(deleted=1)
    assert (precious / "file").exists()


def test_a_shard_swapped_for_a_link_while_it_is_gone_through_leads_nowhere(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = _publish(store)
    _age(entry, 2 * DAY)
    _retire(store, entry)
    (dead,) = _dead(store)
    elsewhere = store.path.parent / "elsewhere"
    (elsewhere / dead.name / "x").mkdir(parents=True)
    remove_tree = fs.remove_tree

    def swapped(path: Path, above: Directory | None = None) -> None:
        dead.parent.rename(store.path.parent / "away")
        dead.parent.symlink_to(elsewhere)
        remove_tree(path, above)

    monkeypatch.setattr(fs, "remove_tree", swapped)
    assert _delete(store, 2).deleted == 1
    assert (elsewhere / dead.name / "x").is_dir()


@pytest.mark.parametrize("kind", ["deep", "links", "fifo"])
def test_unusual_tree_is_deleted_or_reported(store: Store, kind: str, no_hanging: None) -> None:
    precious = store.path.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    dead = store.path / "wheels" / "ab" / f".dead-{'ab' * 32}-0123"
    dead.mkdir()
    if kind == "deep":
        with Directory.open(dead) as top:
            assert top.descriptor is not None
            below = os.dup(top.descriptor)
        for _ in range(1500):
            os.mkdir("d", dir_fd=below)
            next_below = os.open("d", os.O_RDONLY, dir_fd=below)
            os.close(below)
            below = next_below
        os.close(below)
    elif kind == "links":
        (dead / "directory").symlink_to(precious)
        (dead / "file").symlink_to(precious / "file")
        os.link(precious / "file", dead / "hard")
    else:
        os.mkfifo(dead / "fifo")
    done = _delete(store, 2)
    assert (precious / "file").exists()
    if kind == "deep":
        subprocess.run(["rm", "-rf", dead], check=True)  # too deep for Python's own
        assert [(path, why) for path, _, why in done.refused] == [
            (dead, "The directories are nested too deeply")
        ]
    else:
        assert done == Deleted(deleted=1)


@needs(root, tmpfs)
def test_nothing_is_deleted_on_what_is_mounted_inside(store: Store) -> None:
    dead = store.path / "wheels" / "ab" / f".dead-{'ab' * 32}-0123"
    (dead / "mounted").mkdir(parents=True)
    with mounted("tmpfs", dead / "mounted", size_mb=1) as inside:
        (inside / "file").touch()
        done = _delete(store, 2)
        assert (inside / "file").exists()
    assert [why for _, _, why in done.refused] == ["Another file system is mounted on it"]


def test_grace_is_what_the_command_says() -> None:
    assert GRACE == HOUR


@needs(root)
def test_root_deletes_no_directory_that_a_publisher_moved_into_an_entry(shared_tmp: Path) -> None:
    """Whoever may write in a colleague's directory may move it, with all that is deeper in it."""
    entry = shared_tmp / "entry"
    (entry / "files" / "theirs" / "deep").mkdir(parents=True)
    kept = entry / "files" / "theirs" / "deep" / "notes"
    kept.write_text("")
    for path, owner in ((entry, 54321), (entry / "files", 54321), (kept.parent.parent, 54322)):
        os.chown(path, owner, -1)
    with pytest.raises(PermissionError, match="directory of another user"):
        fs.remove_tree(entry)
    assert kept.exists()
    os.chown(kept.parent.parent, 54321, -1)
    fs.remove_tree(entry)
    assert not entry.exists()
