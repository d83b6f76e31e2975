"""Creation of files without O_EXCL: only in directories of this user alone, and only new files."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pip_sharedcache.fs.dirfd import CREATE
from pip_sharedcache.fs.own_directory import OwnDirectory
from support.probes import acl, linux, needs, root
from support.process import as_user
from support.tampering import bind

pytestmark = needs(linux)

ALICE, GROUP = 54321, 54399


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    directory.mkdir(0o755)
    directory.chmod(0o755)
    return directory


@pytest.fixture
def own(made: Path) -> Iterator[OwnDirectory]:
    directory = OwnDirectory.open(str(made))
    assert directory is not None
    yield directory
    directory.close()


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077], ids=oct)
@pytest.mark.parametrize("asked", [0o666, 0o777], ids=oct)
def test_new_file_gets_the_mode_of_the_umask(
    own: OwnDirectory, made: Path, mask: int, asked: int
) -> None:
    before = os.umask(mask)
    try:
        descriptor = own.create("new", CREATE, asked)
    finally:
        os.umask(before)
    assert descriptor is not None
    os.write(descriptor, b"content")
    os.close(descriptor)
    assert (made / "new").read_bytes() == b"content"
    assert _mode(made / "new") == asked & ~mask


def test_file_is_made_in_the_directory_that_was_opened(own: OwnDirectory, made: Path) -> None:
    moved = made.with_name("moved")
    made.rename(moved)
    made.mkdir()
    descriptor = own.create("new", CREATE, 0o666)
    assert descriptor is not None
    os.close(descriptor)
    assert os.listdir(made) == []
    assert os.listdir(moved) == ["new"]


def _file(path: Path) -> None:
    path.write_bytes(b"theirs")


def _symlink(path: Path) -> None:
    path.symlink_to(path.parent.parent / "elsewhere")


def _symlink_to_file(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_bytes(b"")
    path.symlink_to(target)


def _hard_link(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(b"")
    os.link(other, path)


@pytest.mark.parametrize(
    "plant",
    [_file, _symlink, _symlink_to_file, _hard_link, os.mkfifo, Path.mkdir, bind],
    ids=lambda plant: plant.__name__.strip("_"),
)
def test_existing_name_is_not_opened_and_stays(
    own: OwnDirectory, made: Path, plant: Callable[[Path], None]
) -> None:
    plant(made / "taken")
    before = (made / "taken").lstat()
    inside = sorted(made.parent.rglob("*"))
    assert own.create("taken", CREATE, 0o666) is None
    after = (made / "taken").lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        *(before.st_ino, before.st_mode, before.st_mtime_ns),
        before.st_ctime_ns,
    )
    assert sorted(made.parent.rglob("*")) == inside


def test_fifo_that_is_read_is_not_written(own: OwnDirectory, made: Path) -> None:
    os.mkfifo(made / "taken")
    reader = os.open(made / "taken", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert own.create("taken", CREATE, 0o666) is None
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_missing_directory_has_no_files(tmp_path: Path) -> None:
    assert OwnDirectory.open(str(tmp_path / "missing")) is None


@pytest.mark.parametrize("mode", [0o775, 0o2775, 0o757, 0o1777], ids=oct)
def test_directory_that_others_may_write_is_refused(made: Path, mode: int) -> None:
    made.chmod(mode)
    assert OwnDirectory.open(str(made)) is None


def test_symlink_to_an_own_directory_is_refused(made: Path) -> None:
    link = made.with_name("link")
    link.symlink_to(made)
    assert OwnDirectory.open(str(link)) is None


@needs(acl)
def test_directory_with_an_access_list_for_others_is_refused(made: Path) -> None:
    subprocess.run(["setfacl", "-m", f"u:{ALICE}:rwx", made], check=True)
    assert OwnDirectory.open(str(made)) is None


@needs(root)
@pytest.mark.parametrize("victim", [0, ALICE], ids=["root", "alice"])
def test_directory_of_another_user_is_refused(shared_tmp: Path, victim: int) -> None:
    directory = shared_tmp / "theirs"
    directory.mkdir()
    os.chown(directory, ALICE + 1, GROUP)
    with as_user(victim, victim):
        assert OwnDirectory.open(str(directory)) is None


@needs(root)
@pytest.mark.parametrize("mode", [0o644, 0o666, 0o444], ids=oct)
def test_file_of_another_user_in_an_own_directory_is_not_written(
    shared_tmp: Path, mode: int
) -> None:
    directory = shared_tmp / "own"
    directory.mkdir(0o755)
    planted = directory / "planted"
    planted.touch()
    planted.chmod(mode)
    os.chown(planted, ALICE + 1, GROUP)
    os.chown(directory, ALICE, GROUP)
    with as_user(ALICE, GROUP):
        own = OwnDirectory.open(str(directory))
        assert own is not None
        try:
            assert own.create("planted", CREATE, 0o666) is None
        finally:
            own.close()
    assert planted.read_bytes() == b""


def test_descriptor_of_a_refused_file_is_closed(own: OwnDirectory, made: Path) -> None:
    (made / "taken").write_bytes(b"content")
    before = os.listdir("/proc/self/fd")
    assert own.create("taken", CREATE, 0o666) is None
    assert os.listdir("/proc/self/fd") == before
