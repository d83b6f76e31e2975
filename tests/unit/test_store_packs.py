"""Packed entries: the pack as bytes, and what the store does with it."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pip_sharedcache import bytecode
from pip_sharedcache.errors import DamagedEntry, StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.heal import check as healed
from pip_sharedcache.maintenance.verdict import Verdict
from pip_sharedcache.maintenance.verify import verify
from pip_sharedcache.model import Compiled, Digest, Entry, LinkMode, Manifest, StoredFile
from pip_sharedcache.placement import LinkChoice, Linker
from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir
from pip_sharedcache.store import (
    Source,
    Spools,
    Store,
    compiled_path,
    find,
    find_bytecode,
    list_entries,
    publish,
    stage_bytecode,
)
from pip_sharedcache.store.packs import PACK, Layout, Pack, read_manifest_text
from pip_sharedcache.store.publish import make_visible
from pip_sharedcache.trust import mounts
from support.wheels import digest as sha256
from support.wheels import make_wheel

LARGE = (1 << 18) + 5


def _pack_of(files: dict[str, bytes], manifest: bytes = b"{}") -> bytes:
    layout = Layout((path, len(data)) for path, data in files.items())
    buffer = io.BytesIO()
    for place, data in zip(layout.places, files.values()):
        buffer.seek(place.start)
        buffer.write(place.header(zlib.crc32(data)) + data)
    buffer.seek(layout.end)
    buffer.write(layout.tail([(zlib.crc32(data), False) for data in files.values()], manifest))
    return buffer.getvalue()


FILES = {
    "a.py": b"a = 1\n",
    "empty": b"",
    "deep/er/ü.txt": b"umlaut",
    "large.so": bytes(range(256)) * (LARGE // 256) + b"end",
    "after": b"what follows the large one",
}


def test_any_zip_program_reads_a_pack() -> None:
    with zipfile.ZipFile(io.BytesIO(_pack_of(FILES, b'{"a": 1}'))) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
        stored = {info.compress_type for info in archive.infolist()}
    assert found == {
        **{f"files/{name}": data for name, data in FILES.items()},
        "entry.json": b'{"a": 1}',
    }
    assert stored == {zipfile.ZIP_STORED}


def test_the_layout_says_where_each_file_begins() -> None:
    data = _pack_of(FILES)
    layout = Layout((path, len(content)) for path, content in FILES.items())
    for place, content in zip(layout.places, FILES.values()):
        assert data[place.offset : place.offset + place.size] == content


def test_a_large_file_begins_at_a_block() -> None:
    """So that a file system can let the copy share its blocks."""
    layout = Layout([("x", 1), ("large", LARGE), ("y", 2), ("large too", LARGE)])
    assert [place.offset % 4096 for place in layout.places[1::2]] == [0, 0]


@pytest.mark.parametrize("size", [0, 10, 70_000, 1 << 20], ids=str)
def test_the_manifest_is_found_from_the_end(tmp_path: Path, size: int) -> None:
    text = b"x" * size
    (tmp_path / PACK).write_bytes(_pack_of(FILES, text))
    with (tmp_path / PACK).open("rb") as file:
        assert read_manifest_text(file.fileno(), os.fstat(file.fileno()).st_size) == text


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b'{"m": 1}', b'{"m": 2}'),
        lambda data: data[:-29] + b"9" * 10 + data[-19:],
        lambda data: data[:-18] + b"9" * 8 + data[-10:],
    ],
    ids=["cut", "longer", "half", "empty", "other bytes", "far away", "too large"],
)
def test_a_damaged_end_is_an_error(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    data = damage(_pack_of(FILES, b'{"m": 1}'))
    (tmp_path / PACK).write_bytes(data)
    with (tmp_path / PACK).open("rb") as file, pytest.raises(ValueError):
        read_manifest_text(file.fileno(), len(data))


def test_too_many_or_too_large_files_do_not_fit() -> None:
    assert Layout([(f"f{number}", 0) for number in range(65_533)]).fits
    assert not Layout([(f"f{number}", 0) for number in range(65_534)]).fits
    assert not Layout([("huge", 1 << 32)]).fits
    assert Layout([("large", 3 << 30)]).fits


def test_pieces_are_read_wherever_they_lie(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / PACK).write_bytes(data)
    pack = Pack(os.open(tmp_path / PACK, os.O_RDONLY))
    try:
        for offset, size in [(0, 10), (10, 0), (5, 20), (999_990, 40), (20, 1_500_000), (2, 2)]:
            assert pack.read(offset, size) == data[offset : offset + size]
        assert pack.read(2_999_990, 50) == data[-10:]
        assert pack.read(5_000_000, 5) == b""
    finally:
        pack.close()


# -- in a store


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    return Store.make(shared_tmp / "store", packed=True)


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    files = {
        "demo/__init__.py": b"import demo.part\n",
        "demo/part/__init__.py": b"part = 1\n",
        "demo/part/code.py": b"def f(): return 1\n",
        "demo/data.bin": os.urandom(LARGE),
        "demo/empty.txt": b"",
    }
    return make_wheel(shared_tmp / "wheels", files=files, executables=["demo/part/__init__.py"])


def _publish(store: Store, wheel: Path) -> Entry:
    return publish(store, wheel, wheel.name, Digest(sha256(wheel)))


def _place(entry: Entry, target: Path, mode: LinkMode = LinkMode.COPY) -> PlacementResult:
    outcome = PlacementResult()
    with Source.of(entry, Directory.open(entry.path)) as source:
        jobs = []
        for file in entry.manifest.files:
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            jobs.append(Job(file, str(path), TargetDir.of(os.stat(target), False)))
        Linker(LinkChoice(mode), 0o022).place_all(source, jobs, outcome)
    return outcome


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}


def _placed(target: Path) -> dict[str, bytes]:
    files = (path for path in target.rglob("*") if path.is_file())
    return {str(path.relative_to(target)): path.read_bytes() for path in files}


def test_a_packed_entry_is_its_wheel_and_one_file(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)
    assert sorted(os.listdir(entry.path)) == sorted([wheel.name, PACK])
    assert {
        oct((entry.path / name).stat().st_mode & 0o7777) for name in os.listdir(entry.path)
    } == {"0o444"}
    found = find(Store.open(store.path), Digest(sha256(wheel)), wheel.name).entry
    assert found is not None
    assert found.manifest == entry.manifest
    assert found.manifest.packed


@pytest.mark.parametrize("mode", list(LinkMode))
def test_files_are_placed_from_a_pack(
    store: Store, wheel: Path, tmp_path: Path, mode: LinkMode
) -> None:
    target = tmp_path / "library"
    target.mkdir()
    outcome = _place(_publish(store, wheel), target, mode)
    assert not outcome.damaged
    assert _placed(target) == _contents(wheel)
    assert set(outcome.files) == {LinkMode.COPY}
    assert os.stat(target / "demo" / "part" / "__init__.py").st_mode & 0o111
    assert not os.stat(target / "demo" / "__init__.py").st_mode & 0o111


def test_files_too_large_for_a_pack_become_a_tree(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Layout, "fits", False)
    entry = _publish(store, wheel)
    assert not entry.manifest.packed
    assert (entry.path / "files" / "demo" / "data.bin").exists()
    assert find(store, Digest(sha256(wheel)), wheel.name).entry == entry


@pytest.mark.parametrize(
    "damage", ["cut", "time", "mode", "gone", "link", "directory", "fifo", "manifest"]
)
def test_a_damaged_pack_is_not_used(store: Store, wheel: Path, damage: str) -> None:
    entry = _publish(store, wheel)
    pack = entry.path / PACK
    entry.path.chmod(0o755)
    status = pack.stat()
    pack.chmod(0o644)
    if damage == "cut":
        os.truncate(pack, status.st_size - 5)
    elif damage == "manifest":
        data = pack.read_bytes()
        pack.write_bytes(data.replace(b'"sha256"', b'"sha257"'))
    elif damage == "time":  # with one other byte: else it would get its time again
        changed = bytearray(pack.read_bytes())
        changed[next(file.offset for file in entry.manifest.files if file.size)] ^= 1
        pack.write_bytes(changed)
    elif damage in ("gone", "link", "directory", "fifo"):
        aside = store.path.with_name(PACK)  # on the file system of the store
        pack.rename(aside)
        if damage == "link":
            pack.symlink_to(aside)
        elif damage == "directory":
            pack.mkdir()
        elif damage == "fifo":
            os.mkfifo(pack)
    if damage not in ("time", "gone", "link", "directory", "fifo"):
        os.utime(pack, ns=(status.st_atime_ns, status.st_mtime_ns))
    if damage not in ("gone", "link", "directory", "fifo"):
        pack.chmod(0o666 if damage == "mode" else 0o444)
    entry.path.chmod(0o555)
    found = find(store, Digest(sha256(wheel)), wheel.name)
    assert found.entry is None
    assert found.damages
    assert found.untrusted is not None, "its wheel still serves"


def test_a_pack_that_shrinks_after_the_look_up_is_reported(
    store: Store, wheel: Path, tmp_path: Path
) -> None:
    entry = _publish(store, wheel)
    pack, status = entry.path / PACK, (entry.path / PACK).stat()
    pack.chmod(0o644)
    os.truncate(pack, entry.manifest.files[-1].offset - 1)
    pack.chmod(0o444)
    os.utime(pack, ns=(status.st_atime_ns, status.st_mtime_ns))
    target = tmp_path / "library"
    target.mkdir()
    outcome = _place(entry, target)
    assert outcome.damaged
    whole = {name: data for name, data in _contents(wheel).items() if (target / name).exists()}
    assert _placed(target) == whole


def test_an_edit_after_the_look_up_is_seen(store: Store, wheel: Path, tmp_path: Path) -> None:
    entry = _publish(store, wheel)
    (entry.path / PACK).chmod(0o644)
    (entry.path / PACK).write_bytes(b"other")
    target = tmp_path / "library"
    target.mkdir()
    outcome = _place(entry, target)
    assert len(outcome.damaged) == len(entry.manifest.files)
    assert _placed(target) == {}


def test_bytecode_is_packed_too(store: Store, wheel: Path) -> None:
    entry = _publish(store, wheel)

    def fill(spools: Spools) -> Compiled:
        with Source.of(entry, Directory.open(entry.path)) as source:
            return bytecode.compile_all(entry, source, spools)

    tag, key = bytecode.tag(), bytecode.fits(entry)
    staged = stage_bytecode(store, entry, tag, key, fill)
    (made,) = make_visible(store, [staged])
    assert isinstance(made, Entry)
    assert os.listdir(made.path) == [PACK]
    found = find_bytecode(store, entry, tag, key).entry
    assert found is not None
    sources = ["demo/__init__.py", "demo/part/__init__.py", "demo/part/code.py"]
    assert {file.path for file in found.manifest.files} == set(map(compiled_path, sources))


def test_an_older_version_leaves_a_packed_store_alone(store: Store) -> None:
    """It compares the format in store.json, and would regard packs as damaged entries."""
    told = json.loads((store.path / "store.json").read_text())
    assert (told["format"], told["layout"]) == (2, "packed")


def test_a_layout_written_by_hand_needs_its_format(store: Store) -> None:
    """Older versions read format 1: they would regard packs as damage."""
    file = store.path / "store.json"
    told = {**json.loads(file.read_text()), "format": 1}
    file.write_text(json.dumps(told))
    with pytest.raises(StoreUnusable) as caught:
        Store.open(store.path)
    assert str(caught.value).startswith(f'{file} has "layout": "packed" with "format": 1')
    assert caught.value.hint == 'write "format": 2 there'


def test_a_manifest_of_another_form_is_damage(store: Store, wheel: Path) -> None:
    """Offsets without a pack, and a pack's files without offsets."""
    entry = _publish(store, wheel)
    rows = [StoredFile("a", 1, "", False, 0, 5)]
    text = Manifest("x.whl", Digest("0" * 64), 1, tuple(rows), packed=True).to_json()
    assert Manifest.from_json(text).files[0].offset == 5
    with pytest.raises(ValueError, match="malformed"):
        Manifest.from_json(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(ValueError, match="malformed"):
        Manifest.from_json(text.replace(", 5]", "]"))
    with (
        Source(
            Directory.open(entry.path), os.getuid() + 1, entry.manifest.files, packed=True
        ) as other,
        pytest.raises(DamagedEntry, match="belongs to"),
    ):
        other.pack()


# -- verification and repair


def _verdicts(store: Store) -> list[Verdict | None]:
    return list(verify(list(list_entries(store, {}, []))))


def _kinds(store: Store) -> dict[str, set[str]]:
    (verdict,) = filter(None, _verdicts(store))
    found: dict[str, set[str]] = {}
    for damage in verdict.damage:
        found.setdefault(damage.path, set()).add(damage.kind)
    return found


def _edited(pack: Path, offset: int) -> None:
    """Change one byte of the pack, and leave times and mode."""
    status = pack.stat()
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    pack.chmod(stat.S_IMODE(status.st_mode))
    os.utime(pack, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_published_pack_is_sound(store: Store, wheel: Path) -> None:
    _publish(store, wheel)
    assert _kinds(store) == {}


PLACES: dict[str, Callable[[Entry, int], int]] = {
    "header": lambda entry, size: 3,
    "name": lambda entry, size: 31,
    "small file": lambda entry, size: entry.manifest.files[0].offset,
    "large file": lambda entry, size: _large(entry).offset + LARGE - 1,
    "padding": lambda entry, size: _large(entry).offset - 1,
    "manifest": lambda entry, size: size - 5000,
    "list": lambda entry, size: size - 200,
    "end": lambda entry, size: size - 60,
    "comment": lambda entry, size: size - 1,
}


def _large(entry: Entry) -> StoredFile:
    return max(entry.manifest.files, key=lambda file: file.size)


@pytest.mark.parametrize("where", PLACES)
def test_one_other_byte_anywhere_is_found_and_healed(store: Store, wheel: Path, where: str) -> None:
    entry = _publish(store, wheel)
    size = (entry.path / PACK).stat().st_size
    _edited(entry.path / PACK, min(PLACES[where](entry, size), size - 1))
    assert "content" in _kinds(store)[PACK]
    (check,) = healed(store, list(list_entries(store, {}, [])), fix=True)
    assert check is not None
    assert check.healing is not None
    assert check.healing.done, check.healing.what
    assert _kinds(store) == {}
    again = find(store, Digest(sha256(wheel)), wheel.name).entry
    assert again is not None
    assert again.manifest.packed


@pytest.mark.parametrize("kind", ["missing", "extra", "type", "mode", "size"])
def test_each_kind_of_damage_of_a_pack_is_found(store: Store, wheel: Path, kind: str) -> None:
    entry = _publish(store, wheel)
    entry.path.chmod(0o755)
    pack = entry.path / PACK
    where = PACK
    if kind == "missing":
        pack.unlink()
        where = "entry.json"  # nothing says of which form the entry was
    elif kind == "extra":
        where = "files"
        (entry.path / where).mkdir()
    elif kind == "type":
        pack.unlink()
        pack.symlink_to(wheel)
    elif kind == "mode":
        pack.chmod(0o644)
    else:
        pack.chmod(0o644)
        with pack.open("ab") as file:
            file.write(b"more")
        pack.chmod(0o444)
        kind = "content"
    entry.path.chmod(0o555)
    assert kind in _kinds(store)[where]


def test_pack_that_lost_its_time_alone_gets_it_again(store: Store, wheel: Path) -> None:
    """All of its bytes are right: somebody copied the store, for example from a backup."""
    entry = _publish(store, wheel)
    pack = entry.path / PACK
    before = pack.stat().st_mtime
    os.utime(pack, (0, 0))
    assert _kinds(store) == {}
    assert pack.stat().st_mtime == before


@pytest.mark.parametrize(("kind", "ahead"), [("nfs", True), ("nfs4", False), ("xfs", False)])
def test_pack_is_read_ahead_where_the_client_copies_over_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ahead: bool
) -> None:
    """NFS 4.2 copies on the server; elsewhere, a call for each pack would gain nothing."""
    store = Store.make(tmp_path / "store", packed=True)
    wheel = make_wheel(tmp_path / "wheels")
    entry = publish(store, wheel, wheel.name, Digest(sha256(wheel)))
    advised: list[int] = []
    monkeypatch.setattr(mounts, "kind_of_device", lambda device: kind)
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: advised.append(arguments[3]))
    with Source.of(entry, Directory.open(entry.path)) as source:
        source.pack()
        source.pack()
    wanted = [os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_WILLNEED]
    assert advised == (wanted if ahead else [])
