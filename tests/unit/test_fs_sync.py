"""Making files durable: our own and no others, whatever else the disk has to write."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pip_sharedcache.fs import sync, synchronise
from support.filesystems import Kind, mounted, mounted_image
from support.probes import linux, loop_mounts, needs, tmpfs, xfs

pytestmark = needs(linux)

BLOCK = 4096


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were synced one by one."""
    names: list[str] = []

    def fsync(descriptor: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def _files(directory: Path, number: int = 20) -> list[Path]:
    found = []
    for one in range(number):
        found.append(directory / f"file{one}")
        found[-1].write_bytes(b"content" * one)
        found[-1].chmod(0o444)
    return found


def _program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("kind", ["missing", "fails", "hangs"])
@needs(tmpfs)
def test_files_are_synced_one_by_one_where_no_call_serves_all(
    kind: str, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {"fails": "exit 1", "hangs": "exec sleep 600"}.get(kind)
    programs = [_program(tmp_path / "sync", text)] if text else []
    monkeypatch.setattr(sync, "_PROGRAMS", programs)
    monkeypatch.setattr(sync, "_PATIENCE", 0.05)
    with mounted("tmpfs", tmp_path, size_mb=8) as there:
        files = _files(there)
        synchronise(there, files)
    assert sorted(synced) == sorted(path.name for path in files)


@needs(tmpfs)
def test_no_file_is_synced_by_itself_where_the_child_synced_all(
    tmp_path: Path, synced: list[str]
) -> None:
    with mounted("tmpfs", tmp_path, size_mb=8) as there:
        synchronise(there, _files(there))
    assert synced == []


@pytest.mark.filesystem
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@needs(loop_mounts, xfs)
def test_one_call_serves_all_files_where_there_is_a_journal(
    kind: Kind, tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_PROGRAMS", [])
    with mounted(kind, tmp_path, size_mb=320) as there:
        files = _files(there, 100)
        synchronise(there, files)
    assert synced == [files[-1].name]


@contextmanager
def _thin_disk(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """An ext4 on a full disk, where the blocks of the files ``names`` cannot be written any more:
    they were never allocated."""
    with mounted("tmpfs", base, size_mb=48) as below:
        image, point = below / "image", base / "thin"
        image.write_bytes(bytes(40 << 20))
        point.mkdir()
        make = ["mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-E", "nodiscard,lazy_itable_init=0"]
        subprocess.run([*make, image], check=True)
        image.write_bytes(image.read_bytes())  # mkfs leaves holes for what is zero
        with mounted_image("ext4", image, point):
            for name in names:
                (point / name).write_bytes(os.urandom(1 << 20))
            subprocess.run(["sync", "-f", point], check=True)
            for name in names:
                for start, length in _extents(point / name):
                    argv = ["fallocate", "-p", "-o", str(start), "-l", str(length), image]
                    subprocess.run(argv, check=True)
            with (
                (below / "filler").open("wb", buffering=0) as filler,
                pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
            ):
                while filler.write(bytes(BLOCK)):
                    pass
            yield point


def _extents(path: Path) -> list[tuple[int, int]]:
    """Where the bytes of ``path`` are on its disk: offset and length."""
    argv = ["filefrag", "-v", f"-b{BLOCK}", path]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    rows = [line.replace(".", " ").replace(":", " ").split() for line in listed.splitlines()]
    return [(int(r[3]) * BLOCK, int(r[5]) * BLOCK) for r in rows if r and r[0].isdigit()]


def _overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(os.urandom(1 << 20))


@pytest.mark.filesystem
@needs(tmpfs, loop_mounts)
def test_a_lost_write_counts_for_its_own_file_and_for_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _thin_disk(tmp_path, ["neighbours", "own"]) as disk:
        files = _files(disk)
        _overwrite(disk / "neighbours")
        synchronise(disk, files)
        assert sync.flush_placed(map(str, files))
        assert caplog.messages == []

        _overwrite(disk / "own")
        assert not sync.flush_placed([*map(str, files), str(disk / "own")])
        (message,) = caplog.messages
        assert message.startswith(f"{disk / 'own'} cannot be made durable: ")

        _overwrite(disk / "own")
        with pytest.raises(OSError, match="own") as caught:
            synchronise(disk, [*files, disk / "own"])
        assert caught.value.errno in (errno.EIO, errno.ENOSPC)


def test_removed_file_is_no_error_of_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sync, "_PROGRAMS", [])
    (tmp_path / "there").write_bytes(b"1")
    for names in (("gone", "there"), ("there", "gone")):
        assert sync.flush_placed([str(tmp_path / name) for name in names])
    assert caplog.messages == []


def test_symlink_and_fifo_in_the_place_of_a_file_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("fifo", "link"):
        sync.flush_placed([str(tmp_path / name)])
