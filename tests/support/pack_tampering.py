"""What the publisher of a packed entry, or somebody beside them, can do to it once it is visible.

All but BY_ROOT is to run as that account (support.process.as_user), with the kernel's checks. Each
attack gets the entry of a wheel with the attack's name.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import packed
from support.damage import rewrite, unlocked
from support.packed import PACK
from support.tampering import EVIL, bind, replace, wheel_of

Attack = Callable[[Path], None]
MOST_MANIFEST = 1 << 24


def _rewrite(entry: Path, data: bytes) -> None:
    rewrite(entry / PACK, data)


def _evil(data: bytes, ending: str = "/__init__.py") -> bytes:
    """The pack with evil bytes in place of the sources whose paths end so."""
    for row in packed.manifest_of(data)["files"]:
        if row[0].endswith(ending):
            evil = (EVIL + b"#" * row[1])[: row[1]]
            data = data[: row[5]] + evil + data[row[5] + row[1] :]
    return data


def _manifest(entry: Path, change: Callable[[dict[str, Any]], object]) -> None:
    _rewrite(entry, packed.with_manifest((entry / PACK).read_bytes(), change))


def _row(entry: Path, **changes: object) -> None:
    """Change the row of a source: its path, size, sha256, executable, mtime, offset."""

    def change(manifest: dict[str, Any]) -> None:
        (row,) = [r for r in manifest["files"] if r[0].endswith("/empty.py")]
        for number, name in enumerate(("path", "size", "sha256", "executable", "mtime", "offset")):
            row[number] = changes.get(name, row[number])

    _manifest(entry, change)


def _bytecode_of(entry: Path) -> Path:
    (found,) = (entry.parents[2] / "bytecode" / entry.parent.name).glob(f"{entry.name}.*")
    return found


def _beside(entry: Path) -> Path:
    """A place of usera's own, on the same file system."""
    place = entry.parent / f".attack-{entry.name}"
    place.mkdir()
    return place


# -- what nothing but the bytes shows


def edited_sources(entry: Path) -> None:
    _rewrite(entry, _evil((entry / PACK).read_bytes()))


def edited_bytecode(entry: Path) -> None:
    data = (pack := _bytecode_of(entry) / PACK).read_bytes()
    for row in packed.manifest_of(data)["files"]:
        evil = (b"evil " + EVIL + b"#" * row[1])[: row[1] - 16]
        data = data[: row[5] + 16] + evil + data[row[5] + row[1] :]
    rewrite(pack, data)


def sources_at_another_place(entry: Path) -> None:
    """The right sources are still where they were; the manifest leads to others behind them."""
    data = (entry / PACK).read_bytes()
    manifest, end, more = packed.manifest_of(data), packed.span(data)[0], b""
    for row in manifest["files"]:
        if row[0].endswith("/__init__.py"):
            row[5] = end + len(more)
            more += (EVIL + b"#" * row[1])[: row[1]]
    text = json.dumps(manifest).encode()
    _rewrite(entry, packed.with_text(data[:end] + more, text, end + len(more)))


def swapped_wheel_and_sources(entry: Path) -> None:
    wheel, new = wheel_of(entry), _beside(entry) / "new"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(new, "w") as made:
        for info in old.infolist():
            evil = info.filename.endswith("/__init__.py")
            data = old.read(info)
            made.writestr(info, (EVIL + b"#" * len(data))[: len(data)] if evil else data)
    rewrite(wheel, new.read_bytes())
    _rewrite(entry, _evil((entry / PACK).read_bytes()))
    _manifest(entry, lambda manifest: manifest.update(size=wheel.stat().st_size))
    shutil.rmtree(new.parent)


def tree_in_place_of_the_pack(entry: Path) -> None:
    """An honest pack becomes an evil tree, with all of its names, sizes and times."""
    data = (entry / PACK).read_bytes()
    time = (entry / PACK).stat().st_mtime_ns
    manifest, evil = packed.manifest_of(data), _evil(data)
    with unlocked(entry):
        for row in manifest["files"]:
            path = entry / "files" / row[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(evil[row[5] : row[5] + row[1]])
            path.chmod(0o555 if row[3] else 0o444)
            os.utime(path, ns=(time, time))
            row.pop()
        (entry / "entry.json").write_text(json.dumps({**manifest, "format": 1}))
        (entry / "entry.json").chmod(0o444)
        os.utime(entry / "entry.json", ns=(time, time))
        (entry / PACK).unlink()


# -- what its name, kind, owner, time or mode shows, or what the manifest says


def symlink_for_the_pack(entry: Path) -> None:
    kept = _beside(entry) / PACK
    shutil.copy2(entry / PACK, kept)
    rewrite(kept, _evil(kept.read_bytes()))
    replace(entry / PACK, lambda path: path.symlink_to(kept))


def symlink_for_the_bytecode(entry: Path) -> None:
    pack, kept = _bytecode_of(entry) / PACK, _beside(entry) / PACK
    shutil.copy2(pack, kept)
    replace(pack, lambda path: path.symlink_to(kept))


def hard_link_of_the_victims_file(entry: Path) -> None:
    """usera may not make it where fs.protected_hardlinks is on: root does, as if it were off."""
    theirs = entry.parents[3] / f"theirs-{entry.name}"
    shutil.copy2(entry / PACK, theirs)
    os.chown(theirs, _uid("userb"), -1)
    replace(entry / PACK, lambda path: os.link(theirs, path))


def hard_link_of_a_setuid_program_of_root(entry: Path) -> None:
    theirs = entry.parents[3] / f"roots-{entry.name}"
    shutil.copy2(entry / PACK, theirs)
    theirs.chmod(0o4755)
    replace(entry / PACK, lambda path: os.link(theirs, path))


def fifo_for_the_pack(entry: Path) -> None:
    replace(entry / PACK, os.mkfifo)


def fifo_for_the_bytecode(entry: Path) -> None:
    replace(_bytecode_of(entry) / PACK, os.mkfifo)


def socket_for_the_pack(entry: Path) -> None:
    replace(entry / PACK, bind)


def directory_for_the_pack(entry: Path) -> None:
    replace(entry / PACK, Path.mkdir)


def device_for_the_pack(entry: Path) -> None:
    replace(entry / PACK, _endless_device)


def device_for_the_bytecode(entry: Path) -> None:
    replace(_bytecode_of(entry) / PACK, _endless_device)


def _endless_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o444, os.makedev(1, 5))  # /dev/zero
    os.chown(path, _uid("usera"), -1)


def setuid_pack(entry: Path) -> None:
    (entry / PACK).chmod(0o4444)


def pack_writable_by_the_group(entry: Path) -> None:
    (entry / PACK).chmod(0o464)


def bytecode_writable_by_all(entry: Path) -> None:
    (_bytecode_of(entry) / PACK).chmod(0o666)


def access_list_on_the_pack(entry: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:userc:rwx", entry / PACK], check=True)


def sparse_pack(entry: Path) -> None:
    replace(entry / PACK, Path.touch)
    os.truncate(entry / PACK, 1 << 40)


def sparse_pack_with_an_end(entry: Path) -> None:
    """A manifest that is a hole, of the largest size that is read."""
    data = packed.with_text((entry / PACK).read_bytes(), b"\0" * MOST_MANIFEST)
    time, end = (entry / PACK).stat().st_mtime_ns, data[-61:]
    replace(entry / PACK, Path.touch)
    os.truncate(entry / PACK, len(data) - len(end))
    with (entry / PACK).open("ab") as file:
        file.write(end)
    (entry / PACK).chmod(0o444)
    os.utime(entry / PACK, ns=(time, time))


def brackets(entry: Path) -> None:
    _rewrite(entry, packed.with_text((entry / PACK).read_bytes(), b"[" * MOST_MANIFEST))


def brackets_over_the_limit(entry: Path) -> None:
    _rewrite(entry, packed.with_text((entry / PACK).read_bytes(), b"[" * (MOST_MANIFEST + 1)))


def rows_of_a_million_levels(entry: Path) -> None:
    deep = "[" * 500_000 + "]" * 500_000
    data = (entry / PACK).read_bytes()
    text = json.dumps({**packed.manifest_of(data), "files": 0})
    _rewrite(entry, packed.with_text(data, text.replace('"files": 0', f'"files": {deep}').encode()))


def end_that_lies_before_the_beginning(entry: Path) -> None:
    data = (entry / PACK).read_bytes()
    _rewrite(entry, data[:-28] + b"9999999999 16777216 00000000")


def tree_with_offsets(entry: Path) -> None:
    """A manifest of a pack outside of one."""
    time = (entry / PACK).stat().st_mtime_ns
    with unlocked(entry):
        data = packed.manifest_of((entry / PACK).read_bytes())
        (entry / "entry.json").write_text(json.dumps(data))
        (entry / "entry.json").chmod(0o444)
        os.utime(entry / "entry.json", ns=(time, time))


def wheel_under_another_name(entry: Path) -> None:
    _manifest(entry, lambda manifest: manifest.update(filename="../../../evil.whl"))


def wheel_named_with_terminal_escapes(entry: Path) -> None:
    _manifest(entry, lambda manifest: manifest.update(filename=f"\x1b[2J{wheel_of(entry).name}"))


def file_above(entry: Path) -> None:
    _row(entry, path="../../../../../evil.py")


def file_by_absolute_path(entry: Path) -> None:
    _row(entry, path=str(entry.parents[3] / "evil.py"))


def file_with_nul(entry: Path) -> None:
    _row(entry, path="nul\0.py")


def file_with_half_a_character(entry: Path) -> None:
    _row(entry, path="\ud800.py")


def file_named_with_a_newline(entry: Path) -> None:
    _row(entry, path="a\nWARNING: all is well\n.py")


def file_of_astronomic_size(entry: Path) -> None:
    _row(entry, size=int("9" * 4000))


def file_of_a_size_for_which_there_is_no_memory(entry: Path) -> None:
    _row(entry, size=1 << 61)


def file_that_is_larger_than_its_wheel_says(entry: Path) -> None:
    _row(entry, size=20, offset=100)


def file_from_before_all_time(entry: Path) -> None:
    _row(entry, mtime=-int("9" * 4000))


def file_before_the_pack(entry: Path) -> None:
    _row(entry, offset=-1)


def file_at_an_astronomic_offset(entry: Path) -> None:
    _row(entry, offset=int("9" * 4000))


def file_at_half_an_offset(entry: Path) -> None:
    _row(entry, offset=0.5)


def file_without_an_offset(entry: Path) -> None:
    _manifest(entry, lambda manifest: manifest["files"][0].pop())


def file_with_two_offsets(entry: Path) -> None:
    _manifest(entry, lambda manifest: manifest["files"][0].append(1))


def all_files_outside(entry: Path) -> None:
    _manifest(entry, lambda one: [row.__setitem__(5, (1 << 62) - 1) for row in one["files"]])


def bytecode_outside(entry: Path) -> None:
    pack = _bytecode_of(entry) / PACK

    def change(manifest: dict[str, Any]) -> None:
        for row in manifest["files"]:
            row[5] += 1 << 40

    rewrite(pack, packed.with_manifest(pack.read_bytes(), change))


def bytecode_of_a_size_for_which_there_is_no_memory(entry: Path) -> None:
    pack = _bytecode_of(entry) / PACK

    def change(manifest: dict[str, Any]) -> None:
        for row in manifest["files"]:
            row[1] = 1 << 61

    rewrite(pack, packed.with_manifest(pack.read_bytes(), change))


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


UNSEEN: tuple[Attack, ...] = (
    edited_sources,
    edited_bytecode,
    sources_at_another_place,
    swapped_wheel_and_sources,
    tree_in_place_of_the_pack,
)
#: What the kernel lets nobody else do.
BY_ROOT = (
    hard_link_of_the_victims_file,
    hard_link_of_a_setuid_program_of_root,
    device_for_the_pack,
    device_for_the_bytecode,
)
SEEN: tuple[Attack, ...] = (
    symlink_for_the_pack,
    symlink_for_the_bytecode,
    *BY_ROOT,
    fifo_for_the_pack,
    fifo_for_the_bytecode,
    socket_for_the_pack,
    directory_for_the_pack,
    setuid_pack,
    pack_writable_by_the_group,
    bytecode_writable_by_all,
    access_list_on_the_pack,
    sparse_pack,
    sparse_pack_with_an_end,
    brackets,
    brackets_over_the_limit,
    rows_of_a_million_levels,
    end_that_lies_before_the_beginning,
    tree_with_offsets,
    wheel_under_another_name,
    wheel_named_with_terminal_escapes,
    file_above,
    file_by_absolute_path,
    file_with_nul,
    file_with_half_a_character,
    file_named_with_a_newline,
    file_of_astronomic_size,
    file_of_a_size_for_which_there_is_no_memory,
    file_that_is_larger_than_its_wheel_says,
    file_from_before_all_time,
    file_before_the_pack,
    file_at_an_astronomic_offset,
    file_at_half_an_offset,
    file_without_an_offset,
    file_with_two_offsets,
    all_files_outside,
    bytecode_outside,
    bytecode_of_a_size_for_which_there_is_no_memory,
)
