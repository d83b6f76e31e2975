"""Placing files: descriptors, link modes, permission bits, undo."""

from __future__ import annotations

import csv
import errno
import functools
import hashlib
import importlib.util
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import (
    HOST,
    Directory,
    alive,
    create_file,
    dirfd,
    make_directory,
    remove_tree,
    set_directory,
    workers,
    write_all,
)
from pip_sharedcache.fs.dirfd import close_all
from pip_sharedcache.fs.file_data import copy_bytes
from pip_sharedcache.model import Digest, Entry, LinkMode, Manifest, StoredFile
from pip_sharedcache.placement import LinkChoice, Linker, Placement, RunReport
from pip_sharedcache.placement import copies as copies_module
from pip_sharedcache.placement import linker as link_module
from pip_sharedcache.placement.dist_info import DistInfo, unfinished_in
from pip_sharedcache.placement.group_modes import share_directory, share_file
from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir
from pip_sharedcache.placement.target_dirs import TargetDirs
from pip_sharedcache.placement.ways import TRY_NEXT
from pip_sharedcache.store import Source, entry_checks
from support.probes import acl, linux, needs, protected_hardlinks, root
from support.process import as_user, file_size_limit

pytestmark = needs(linux)

ALICE, GROUP = 54321, 54399
OWN = os.getuid() if hasattr(os, "getuid") else 0
MTIME = 1_600_000_000
INFO = "demo-1.0.dist-info"
PYC = importlib.util.cache_from_source("demo/__init__.py")

MODES = list(LinkMode)
MODE = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
COPYING = pytest.mark.parametrize(
    "mode", [LinkMode.REFLINK, LinkMode.COPY], ids=lambda mode: mode.value
)
LINKING = pytest.mark.parametrize(
    "mode", [LinkMode.HARDLINK, LinkMode.SYMLINK], ids=lambda mode: mode.value
)
MASK = pytest.mark.parametrize("mask", [0o022, 0o002, 0o077], ids=oct)
PROGRAM = pytest.mark.parametrize("executable", [False, True], ids=["plain", "executable"])


def _mode(path: Path | str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _no_descriptor_is_left_open() -> Iterator[None]:
    before = _open_descriptors()
    yield
    assert _open_descriptors() == before


# -- directories by descriptor


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    base = tmp_path / "tree"
    (base / "below").mkdir(parents=True)
    (base / "below" / "file").write_text("text")
    (base / "file").write_text("text")
    (base / "link").symlink_to("file")
    (base / "link-below").symlink_to("below")
    os.mkfifo(base / "fifo")
    return base


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def held(request: pytest.FixtureRequest, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(dirfd, "BY_DESCRIPTOR", request.param)
    with Directory.open(tree) as directory:
        assert (directory.descriptor is not None) is request.param
        yield directory


def test_a_directory_gives_what_is_in_it(held: Directory, tree: Path) -> None:
    assert sorted(held.names()) == ["below", "fifo", "file", "link", "link-below"]
    for name in ("file", "below/file"):
        data, status = held.read(name)
        assert data == b"text"
        assert status.st_ino == (tree / name).stat().st_ino
    assert held.status().st_ino == tree.stat().st_ino
    assert held.device == tree.stat().st_dev
    with held.subdirectory("below") as below:
        assert below.read("file")[0] == b"text"
        assert below.path == tree / "below"


def test_a_link_is_not_read_through(held: Directory) -> None:
    with pytest.raises(OSError) as caught:
        held.read("link")
    assert caught.value.errno == errno.ELOOP
    assert stat.S_ISLNK(held.file_status("link").st_mode)


def test_a_directory_is_not_reached_through_a_link(tree: Path) -> None:
    with Directory.open(tree) as directory, pytest.raises(OSError):
        directory.subdirectory("link-below")


def test_a_directory_itself_may_be_named_by_a_link(tree: Path) -> None:
    with Directory.open(tree / "link-below") as directory:
        assert directory.read("file")[0] == b"text"


@pytest.mark.parametrize(("limit", "fits"), [(4, True), (3, False), (0, False)])
def test_no_more_is_read_than_allowed(held: Directory, limit: int, fits: bool) -> None:
    if fits:
        assert held.read("file", limit)[0] == b"text"
    else:
        with pytest.raises(OSError) as caught:
            held.read("file", limit)
        assert caught.value.errno == errno.EFBIG


def test_a_fifo_does_not_hang(held: Directory) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    try:
        with pytest.raises(OSError, match="Not a regular file"):
            held.read("fifo")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["below", "none", "file/x"])
def test_what_is_no_file_is_not_read(held: Directory, name: str) -> None:
    with pytest.raises(OSError):
        held.read(name)


@pytest.mark.parametrize("name", ["file", "none", "fifo"])
def test_what_is_no_directory_is_not_opened(held: Directory, name: str) -> None:
    with pytest.raises(OSError):
        held.subdirectory(name)
    with pytest.raises(OSError):
        Directory.open(held.path / name)


def test_a_held_directory_stays_the_same_after_a_rename(tree: Path) -> None:
    with Directory.open(tree) as directory:
        tree.rename(tree.with_name("moved"))
        tree.mkdir()
        assert directory.read("file")[0] == b"text"
        with directory.subdirectory("below") as below:
            assert below.names() == ["file"]


def test_closing_twice_is_once(tree: Path) -> None:
    directory = Directory.open(tree)
    directory.close()
    directory.close()


# -- creating


@pytest.mark.parametrize("mode", [0o444, 0o555, 0o644, 0o600, 0o777], ids=oct)
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000, 0o777], ids=oct)
def test_a_created_file_has_its_mode_and_time(tmp_path: Path, mode: int, mask: int) -> None:
    os.umask(mask)
    with create_file(tmp_path / "file", mode, MTIME) as descriptor:
        write_all(descriptor, b"text")
    assert oct(_mode(tmp_path / "file")) == oct(mode)
    assert (tmp_path / "file").stat().st_mtime_ns == MTIME * 10**9
    if mode & 0o400:
        assert (tmp_path / "file").read_bytes() == b"text"


def test_without_a_time_it_is_now(tmp_path: Path) -> None:
    with create_file(tmp_path / "file", 0o644):
        pass
    assert abs((tmp_path / "file").stat().st_mtime - time.time()) < 3600


@needs(acl)
def test_a_created_file_has_its_mode_whatever_the_default_list(tmp_path: Path) -> None:
    rules = "u::rwx,g::rwx,u:54321:rwx,m::rwx,o::rwx"
    subprocess.run(["setfacl", "-d", "-m", rules, str(tmp_path)], check=True)
    with create_file(tmp_path / "file", 0o444):
        pass
    assert oct(_mode(tmp_path / "file")) == oct(0o444)


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling", "hard link"])
def test_what_is_there_is_not_written(tmp_path: Path, kind: str) -> None:
    precious, path = tmp_path / "precious", tmp_path / "path"
    precious.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "hard link":
        os.link(precious, path)
    else:
        path.symlink_to(precious if kind == "symlink" else tmp_path / "none")
    before = path.lstat()
    with pytest.raises(FileExistsError), create_file(path, 0o644):
        pass
    assert path.lstat().st_ino == before.st_ino
    assert precious.read_text() == "precious"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_file_that_could_not_be_completed_is_removed(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    with pytest.raises(kind), create_file(tmp_path / "file", 0o644) as descriptor:
        write_all(descriptor, b"half")
        raise kind
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_fit_is_removed(tmp_path: Path) -> None:
    with (
        file_size_limit(1000),
        pytest.raises(OSError) as caught,
        create_file(tmp_path / "file", 0o644) as descriptor,
    ):
        write_all(descriptor, b"x" * 2000)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == []


def _quota_at_close(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """As network file systems do: every write succeeds, and close(2) says that it did not."""
    close = os.close

    def refuse(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        close(descriptor)
        if name == str(path):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", refuse)


def test_a_quota_that_shows_at_close_removes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _quota_at_close(monkeypatch, tmp_path / "file")
    with pytest.raises(OSError) as caught, create_file(tmp_path / "file", 0o644):
        pass
    assert caught.value.errno == errno.EDQUOT
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o555, 0o2755, 0o3775, 0o1777], ids=oct)
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o777], ids=oct)
def test_a_made_directory_has_its_mode_and_leaves_the_umask(
    tmp_path: Path, mode: int, mask: int
) -> None:
    os.umask(mask)
    make_directory(tmp_path / "d", mode)
    assert os.umask(mask) == mask
    assert oct(_mode(tmp_path / "d")) == oct(mode)
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "d", mode)
    assert os.umask(mask) == mask


@needs(root)
def test_a_made_directory_has_its_group(tmp_path: Path) -> None:
    make_directory(tmp_path / "d", 0o2775, GROUP)
    assert (tmp_path / "d").stat().st_gid == GROUP
    assert oct(_mode(tmp_path / "d")) == oct(0o2775)


@needs(acl)
def test_a_made_directory_has_no_access_list_of_its_parent(tmp_path: Path) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:54321:rwx,g::---", str(tmp_path)], check=True)
    make_directory(tmp_path / "kept", 0o755, keep_access_lists=True)
    assert [name for name in os.listxattr(tmp_path / "kept") if "acl" in name]
    make_directory(tmp_path / "d", 0o755)
    assert not [name for name in os.listxattr(tmp_path / "d") if "acl" in name]
    assert oct(_mode(tmp_path / "d")) == oct(0o755)


def _exchanged_once_made(monkeypatch: pytest.MonkeyPatch, put: Callable[[Path], None]) -> None:
    """Somebody moves each directory away as soon as it is made, and puts something there."""
    mkdir = os.mkdir

    def mkdir_and_exchange(path: Path, mode: int) -> None:
        mkdir(path, mode)
        os.rename(path, path.with_name("moved"))
        put(path)

    monkeypatch.setattr(os, "mkdir", mkdir_and_exchange)


@needs(acl)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_put_in_the_place_of_a_new_directory_keeps_its_access_lists(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may rename in the directory above puts a link there."""
    secret = tmp_path / "secret"
    secret.mkdir() if kind == "directory" else secret.touch()
    subprocess.run(["setfacl", "-m", "u:54321:---", str(secret)], check=True)
    before = os.listxattr(secret)
    _exchanged_once_made(monkeypatch, lambda path: os.symlink(secret, path))
    with pytest.raises(OSError):
        make_directory(tmp_path / "new", 0o700)
    assert os.listxattr(secret) == before != []


@needs(root)
def test_directory_of_another_user_in_place_of_a_new_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 54321, 54321)
    _exchanged_once_made(monkeypatch, lambda path: os.rename(theirs, path))
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "new", 0o700)
    assert oct(_mode(tmp_path / "new")) == oct(0o755)


@needs(acl)
def test_access_lists_can_be_dropped(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    set_directory(directory, 0o755, drop_access_lists=True)
    for option in ((), ("-d",)):
        subprocess.run(["setfacl", *option, "-m", "u:54321:rwx", str(directory)], check=True)
    assert [name for name in os.listxattr(directory) if "acl" in name]
    set_directory(directory, 0o755, drop_access_lists=True)
    assert not [name for name in os.listxattr(directory) if "acl" in name]


def test_modes_are_not_set_through_a_link(tree: Path) -> None:
    before = _mode(tree / "below")
    with pytest.raises(OSError):
        set_directory(tree / "link-below", 0o700)
    with pytest.raises(OSError):
        set_directory(tree / "file", 0o700)
    assert _mode(tree / "below") == before


def test_a_tree_is_removed_with_what_is_read_only_in_it(tree: Path) -> None:
    (tree / "below").chmod(0o555)
    tree.chmod(0o555)
    precious = tree.parent / "precious"
    precious.mkdir()
    (precious / "file").touch()
    with pytest.raises(FileNotFoundError):
        remove_tree(tree / "none")
    tree.chmod(0o755)
    (tree / "out").symlink_to(precious)
    tree.chmod(0o555)
    remove_tree(tree)
    assert not tree.exists()
    assert (precious / "file").exists()
    assert oct(_mode(precious)) == oct(0o755)


def test_a_tree_that_is_a_link_is_not_removed(tree: Path) -> None:
    with pytest.raises(OSError):
        remove_tree(tree / "link-below")
    assert (tree / "below" / "file").exists()


def test_living_and_dead_processes_differ() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert not alive(child.pid)
    assert alive(os.getppid())
    assert alive(1), "of another user, or not"
    assert not alive(os.getpid()), "what bears our number was left by an earlier process"


@needs(root)
def test_process_of_another_user_is_alive() -> None:
    with as_user(ALICE):
        assert alive(1)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**31, 2**64, 10**30], ids=str)
def test_a_number_that_no_process_has_is_not_alive(pid: int) -> None:
    assert not alive(pid)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with create_file(tmp_path / "file", 0o644) as descriptor:
        write_all(descriptor, b"0123456789")
        write_all(descriptor, b"")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def _copied(source: Path, target: Path, size: int, offset: int = 0) -> int:
    with source.open("rb") as one, target.open("wb") as other:
        return copy_bytes(one.fileno(), other.fileno(), size, offset)


def _in_kernel_that(kind: str) -> Callable[..., int] | None:
    real = getattr(os, "copy_file_range", None)
    calls: list[int] = []

    def in_kernel(source: int, target: int, count: int, offset: int) -> int:
        calls.append(count)
        if kind == "works" and real is not None:
            return int(real(source, target, count, offset))
        if kind == "pieces" and real is not None:
            return int(real(source, target, min(count, 70_000), offset))
        if kind == "breaks off" and real is not None and len(calls) == 1:
            return int(real(source, target, min(count, 70_000), offset))
        if kind == "nothing":
            return 0
        raise OSError(getattr(errno, kind, errno.EIO), "not this way")

    return None if kind == "missing" else in_kernel


@pytest.mark.parametrize(
    "kind",
    ["works", "pieces", "breaks off", "nothing", "missing", "EXDEV", "ENOSYS", "EINVAL", "EPERM"],
)
@pytest.mark.parametrize("size", [0, 1, 200_000, (2 << 20) + 1], ids=str)
@pytest.mark.parametrize("offset", [0, 4097], ids=str)
def test_bytes_are_copied_whatever_the_kernel_can(
    tmp_path: Path, kind: str, size: int, offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _in_kernel_that(kind), raising=False)
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(os.urandom(offset) + data + b"not these")
    assert _copied(tmp_path / "source", tmp_path / "target", size, offset) == size
    assert (tmp_path / "target").read_bytes() == data


@pytest.mark.parametrize("kind", ["works", "missing"])
def test_truncated_source_is_reported(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _in_kernel_that(kind), raising=False)
    (tmp_path / "source").write_bytes(b"12345")
    assert _copied(tmp_path / "source", tmp_path / "target", 9) == 5


@pytest.mark.parametrize("kind", ["works", "missing"])
def test_no_more_is_copied_than_was_asked_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", _in_kernel_that(kind), raising=False)
    (tmp_path / "source").write_bytes(b"12345")
    assert _copied(tmp_path / "source", tmp_path / "target", 3) == 3
    assert (tmp_path / "target").read_bytes() == b"123"


def test_a_copy_that_does_not_fit_raises(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 5000)
    with file_size_limit(1000), pytest.raises(OSError) as caught:
        _copied(tmp_path / "source", tmp_path / "target", 5000)
    assert caught.value.errno == errno.EFBIG


# -- what a group shares


@pytest.mark.parametrize(
    ("mode", "grant", "expected"),
    [
        (0o600, 0o070, 0o660),
        (0o644, 0o070, 0o664),
        (0o700, 0o070, 0o770),
        (0o755, 0o070, 0o775),
        (0o600, 0o060, 0o660),
        (0o700, 0o060, 0o760),
        (0o644, 0o050, 0o644),
        (0o600, 0o050, 0o640),
        (0o755, 0, 0o755),
        (0o664, 0o070, 0o664),
    ],
    ids=oct,
)
def test_a_shared_file_gets_the_groups_bits(
    tmp_path: Path, mode: int, grant: int, expected: int
) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(mode)
    before = (tmp_path / "file").stat()
    share_file(str(tmp_path / "file"), grant, before.st_ctime_ns)
    after = (tmp_path / "file").stat()
    assert oct(_mode(tmp_path / "file")) == oct(expected)
    assert after.st_mtime_ns == before.st_mtime_ns
    if expected == mode:
        assert after.st_ctime_ns == before.st_ctime_ns, "nothing is set that is so already"


def _status(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_mode, status.st_uid, status.st_gid, status.st_ctime_ns


def test_a_file_that_was_there_before_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    before = _status(tmp_path / "file")
    share_file(str(tmp_path / "file"), 0o070, before[3] + 1)
    assert _status(tmp_path / "file") == before


def test_what_is_not_there_is_not_shared(tmp_path: Path) -> None:
    share_file(str(tmp_path / "none"), 0o070, 0)
    assert os.listdir(tmp_path) == []


def test_a_file_with_another_link_is_not_shared(tmp_path: Path) -> None:
    """The other link may be the store's."""
    (tmp_path / "store").touch(mode=0o444)
    os.link(tmp_path / "store", tmp_path / "file")
    before = _status(tmp_path / "store")
    share_file(str(tmp_path / "file"), 0o070, 0)
    assert _status(tmp_path / "store") == before


def test_a_link_is_not_shared_through(tmp_path: Path) -> None:
    (tmp_path / "store").touch(mode=0o444)
    (tmp_path / "file").symlink_to("store")
    before = _status(tmp_path / "store")
    share_file(str(tmp_path / "file"), 0o070, 0)
    assert _status(tmp_path / "store") == before


@needs(root)
def test_file_of_another_user_is_not_shared(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o644)
    os.chown(tmp_path / "file", ALICE, GROUP)
    before = _status(tmp_path / "file")
    share_file(str(tmp_path / "file"), 0o070, 0)
    assert _status(tmp_path / "file") == before


def test_what_is_no_file_is_not_shared(tree: Path) -> None:
    before = {name: _status(tree / name) for name in ("fifo", "below")}
    for name in before:
        share_file(str(tree / name), 0o070, 0)
    assert {name: _status(tree / name) for name in before} == before


@pytest.mark.parametrize(
    ("mode", "grant", "expected"),
    [(0o700, 0o070, 0o2770), (0o755, 0o070, 0o2775), (0o755, 0o050, 0o2755), (0o700, 0, 0o2700)],
    ids=oct,
)
def test_a_shared_directory_hands_its_group_on(
    tmp_path: Path, mode: int, grant: int, expected: int
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(mode)
    share_directory(str(tmp_path / "d"), grant)
    assert oct(_mode(tmp_path / "d")) == oct(expected)


def test_a_directory_is_not_shared_through_a_link(tree: Path) -> None:
    before = _status(tree / "below")
    with pytest.raises(OSError):
        share_directory(str(tree / "link-below"), 0o070)
    with pytest.raises(OSError):
        share_directory(str(tree / "file"), 0o070)
    assert _status(tree / "below") == before


# -- one file


class Shelf:
    """An entry with some files, and an environment's directory."""

    def __init__(self, base: Path) -> None:
        self.entry = base / "entry"
        self.environment = base / "environment"
        self.environment.mkdir(parents=True)
        self.files: dict[str, StoredFile] = {}
        self.publisher = OWN

    def add(self, path: str, data: bytes = b"content\n", executable: bool = False) -> StoredFile:
        stored = self.entry / "files" / path
        stored.parent.mkdir(parents=True, exist_ok=True)
        with create_file(stored, 0o555 if executable else 0o444, MTIME) as descriptor:
            write_all(descriptor, data)
        for directory in list(stored.relative_to(self.entry).parents)[:-1]:
            (self.entry / directory).chmod(0o755)  # whatever the umask, as in every entry
        self.files[path] = StoredFile(path, len(data), "ab" * 32, executable, MTIME)
        return self.files[path]

    def place(
        self,
        linker: Linker,
        file: StoredFile,
        name: str = "placed",
        *,
        private: bool = False,
    ) -> LinkMode:
        parent = TargetDir.of(os.stat(self.environment), linker.group_environment)
        destination = str(self.environment / name)
        with Directory.open(self.entry) as held:
            return linker.place(
                Source(held, self.publisher), file, destination, parent, private=private
            )

    def placed(self, name: str = "placed") -> Path:
        return self.environment / name


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def _linker(mode: LinkMode, **how: Any) -> Linker:
    mask = os.umask(0o022)
    os.umask(mask)
    return Linker(LinkChoice(mode), mask, **how)


@MODE
def test_a_placed_file_is_the_stores_bytes_and_time(shelf: Shelf, mode: LinkMode) -> None:
    file = shelf.add("demo/a.py")
    how = shelf.place(_linker(mode), file)
    placed, stored = shelf.placed(), shelf.entry / "files" / "demo/a.py"
    assert placed.read_bytes() == b"content\n"
    assert int(placed.stat().st_mtime) == MTIME
    assert os.listdir(shelf.environment) == ["placed"]
    if mode is LinkMode.SYMLINK:
        assert how is mode
        assert os.readlink(placed) == str(stored)
    elif mode is LinkMode.HARDLINK:
        assert how is mode
        assert placed.samefile(stored)
        assert not placed.is_symlink()
    else:
        assert how in (mode, LinkMode.COPY)
        assert placed.stat().st_nlink == 1


@COPYING
@MASK
@PROGRAM
def test_a_copy_has_the_modes_that_pip_gives(
    shelf: Shelf, mode: LinkMode, mask: int, executable: bool
) -> None:
    os.umask(mask)
    file = shelf.add("demo/a", executable=executable)
    shelf.place(_linker(mode), file)
    expected = (0o777 & ~mask) | 0o111 if executable else 0o666 & ~mask
    assert oct(_mode(shelf.placed())) == oct(expected)


@LINKING
@MASK
@PROGRAM
def test_a_private_file_is_a_copy_in_every_mode(
    shelf: Shelf, mode: LinkMode, mask: int, executable: bool
) -> None:
    os.umask(mask)
    file = shelf.add("demo/a", executable=executable)
    assert shelf.place(_linker(mode), file, private=True) in (LinkMode.REFLINK, LinkMode.COPY)
    assert not shelf.placed().is_symlink()
    assert shelf.placed().stat().st_nlink == 1
    expected = (0o777 & ~mask) | 0o111 if executable else 0o666 & ~mask
    assert oct(_mode(shelf.placed())) == oct(expected)


def test_a_private_file_of_a_copying_run_is_copied(shelf: Shelf) -> None:
    assert shelf.place(_linker(LinkMode.COPY), shelf.add("a"), private=True) is LinkMode.COPY


@MODE
def test_an_empty_file_is_placed(shelf: Shelf, mode: LinkMode) -> None:
    file = shelf.add("demo/__init__.py", b"")
    shelf.place(_linker(mode), file)
    assert shelf.placed().read_bytes() == b""
    assert int(shelf.placed().stat().st_mtime) == MTIME


@MODE
@pytest.mark.parametrize(
    "kind",
    ["file", "read-only file", "hard link", "the store's own", "symlink", "dangling symlink"],
)
def test_what_is_there_is_replaced_and_never_written_through(
    shelf: Shelf, mode: LinkMode, kind: str
) -> None:
    file = shelf.add("demo/a.py")
    stored = shelf.entry / "files" / "demo/a.py"
    precious, placed = shelf.environment.parent / "precious", shelf.placed()
    precious.write_text("precious")
    precious.chmod(0o666)
    os.utime(precious, (5, 5))
    if kind.endswith("file"):
        placed.write_text("old")
        placed.chmod(0o444 if kind.startswith("read-only") else 0o644)
    elif kind == "hard link":
        os.link(precious, placed)
    elif kind == "the store's own":
        os.link(stored, placed)
    else:
        placed.symlink_to(precious if kind == "symlink" else shelf.environment.parent / "none")
    shelf.place(_linker(mode), file)
    assert placed.read_bytes() == stored.read_bytes() == b"content\n"
    assert oct(_mode(stored)) == oct(0o444)
    assert precious.read_text() == "precious"
    assert (oct(_mode(precious)), precious.stat().st_mtime) == (oct(0o666), 5)
    assert not (shelf.environment.parent / "none").exists()
    assert os.listdir(shelf.environment) == ["placed"]
    if mode in (LinkMode.REFLINK, LinkMode.COPY):
        assert (placed.is_symlink(), placed.stat().st_nlink) == (False, 1)


@MODE
def test_a_directory_that_is_there_stays(shelf: Shelf, mode: LinkMode) -> None:
    file = shelf.add("demo/a.py")
    shelf.placed().mkdir()
    (shelf.placed() / "inside").touch()
    with pytest.raises(OSError):
        shelf.place(_linker(mode), file)
    assert os.listdir(shelf.environment) == ["placed"]
    assert (shelf.placed() / "inside").exists()


def _damage(shelf: Shelf, kind: str) -> None:
    stored = shelf.entry / "files" / "demo/a.py"
    if kind == "missing":
        stored.unlink()
        return
    if kind in ("fifo", "directory", "symlink"):
        stored.unlink()
        if kind == "fifo":
            os.mkfifo(stored, 0o444)
        elif kind == "directory":
            stored.mkdir()
        else:
            (shelf.entry / "other").write_bytes(b"content\n")
            os.utime(shelf.entry / "other", (MTIME, MTIME))
            stored.symlink_to(shelf.entry / "other")
        return
    stored.chmod(0o644)
    if kind == "longer":
        stored.write_bytes(b"content\nmore")
    elif kind == "shorter":
        stored.write_bytes(b"")
    elif kind == "touched":
        os.utime(stored, (MTIME + 1, MTIME + 1))
    elif kind == "touched soon":
        os.utime(stored, ns=(MTIME * 10**9 + 1, MTIME * 10**9 + 1))
    if kind in ("longer", "shorter"):
        os.utime(stored, (MTIME, MTIME))
    stored.chmod({"group writes": 0o464, "others write": 0o446}.get(kind, 0o444))
    if kind == "another's":
        os.chown(stored, ALICE, GROUP)


DAMAGES = {
    "missing": "No such file",
    "fifo": "is not a regular file",
    "directory": "is not a regular file",
    "symlink": "Too many levels of symbolic links|is not a regular file",
    "longer": "has 12 bytes, not 8",
    "shorter": "has 0 bytes, not 8",
    "touched": "was changed after it was published",
    "touched soon": "was changed after it was published",
    "group writes": "is writable by users other than",
    "others write": "is writable by users other than",
    "another's": f"belongs to uid {ALICE}",
}


@MODE
@pytest.mark.parametrize(("kind", "words"), DAMAGES.items(), ids=DAMAGES.keys())
@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "something there"])
def test_damaged_file_is_reported_before_anything_is_touched(
    shelf: Shelf, mode: LinkMode, kind: str, words: str, there: bool
) -> None:
    if kind == "another's" and OWN != 0:
        pytest.skip("needs root")
    file = shelf.add("demo/a.py")
    _damage(shelf, kind)
    if there:
        shelf.placed().write_text("old")
    with pytest.raises(DamagedEntry, match=words) as caught:
        shelf.place(_linker(mode), file)
    assert str(shelf.entry / "files" / "demo/a.py") in str(caught.value)
    assert os.listdir(shelf.environment) == (["placed"] if there else [])
    assert not there or shelf.placed().read_text() == "old"


def test_file_that_shrinks_during_the_copy_is_reported(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shelf.add("demo/a.py")
    real = copies_module.copy_bytes

    def shrinking(source: int, target: int, size: int) -> int:
        stored = shelf.entry / "files" / "demo/a.py"
        stored.chmod(0o644)
        os.truncate(stored, 3)
        return real(source, target, size)

    monkeypatch.setattr(copies_module, "copy_bytes", shrinking)
    with pytest.raises(DamagedEntry, match="ends after 3 of 8 bytes"):
        shelf.place(_linker(LinkMode.COPY), file)
    assert os.listdir(shelf.environment) == []


def test_a_file_that_does_not_fit_is_taken_back(shelf: Shelf) -> None:
    file = shelf.add("demo/a.py", b"x" * 5000)
    with file_size_limit(1000), pytest.raises(OSError) as caught:
        shelf.place(_linker(LinkMode.COPY), file)
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(shelf.environment) == []


def test_a_quota_that_shows_at_close_takes_the_placed_file_back(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shelf.add("demo/a.py")
    _quota_at_close(monkeypatch, shelf.placed())
    with pytest.raises(OSError) as caught:
        shelf.place(_linker(LinkMode.COPY), file)
    assert caught.value.errno == errno.EDQUOT
    assert os.listdir(shelf.environment) == []


@MODE
def test_a_directory_that_is_missing_is_an_error_of_the_environment(
    shelf: Shelf, mode: LinkMode
) -> None:
    file = shelf.add("demo/a.py")
    with pytest.raises(FileNotFoundError):
        shelf.place(_linker(mode), file, "none/placed")


@MODE
@needs(root)
def test_a_directory_that_may_not_be_written_is_an_error_of_the_environment(
    shared_tmp: Path, mode: LinkMode
) -> None:
    shelf = Shelf(shared_tmp)
    file = shelf.add("demo/a.py")
    with as_user(ALICE), pytest.raises(PermissionError):
        shelf.place(_linker(mode), file)
    assert os.listdir(shelf.environment) == []


class Counted:
    """How often a system call was asked for, and what it was told to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.calls = 0
        self.error: int | None = None
        real = getattr(module, name)

        def call(*args: Any, **how: Any) -> Any:
            self.calls += 1
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            return real(*args, **how)

        monkeypatch.setattr(module, name, call)


def _asked(monkeypatch: pytest.MonkeyPatch, mode: LinkMode) -> Counted:
    if mode is LinkMode.REFLINK:
        return Counted(monkeypatch, dirfd.fcntl, "ioctl")
    return Counted(monkeypatch, os, "link" if mode is LinkMode.HARDLINK else "symlink")


FALLING = [LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.SYMLINK]


@pytest.mark.parametrize("mode", FALLING, ids=lambda mode: mode.value)
@pytest.mark.parametrize("number", sorted(TRY_NEXT), ids=errno.errorcode.get)
def test_a_refused_mode_falls_to_the_next_and_is_not_asked_again(
    shelf: Shelf, mode: LinkMode, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shelf.add("a.py"), shelf.add("b.py")
    asked = _asked(monkeypatch, mode)
    asked.error = number
    linker = _linker(mode)
    for file, name in ((first, "one"), (second, "two")):
        assert shelf.place(linker, file, name) in (LinkMode.REFLINK, LinkMode.COPY)
        assert shelf.placed(name).read_bytes() == b"content\n"
    assert asked.calls == 1
    assert linker.choice.refusals[mode] == os.strerror(number)
    assert sorted(os.listdir(shelf.environment)) == ["one", "two"]


def test_what_is_refused_for_one_publisher_is_asked_for_another(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shelf.add("a.py"), shelf.add("b.py")
    asked = _asked(monkeypatch, LinkMode.HARDLINK)
    asked.error = errno.EPERM
    linker = _linker(LinkMode.HARDLINK)
    assert shelf.place(linker, first, "one") is not LinkMode.HARDLINK
    asked.error = None
    if OWN == 0:
        for path in (shelf.entry / "files", shelf.entry / "files" / "b.py"):
            os.chown(path, ALICE, GROUP)
        shelf.publisher = ALICE
        assert shelf.place(linker, second, "two") is LinkMode.HARDLINK
    assert shelf.place(_linker(LinkMode.HARDLINK), second, "three") is LinkMode.HARDLINK


TRANSIENT = ["ENOSPC", "EDQUOT", "EIO", "EROFS", "ENOMEM", "EINTR", "EAGAIN"]
TRANSIENT += ["EOVERFLOW", "EFBIG", "ETXTBSY"]


@pytest.mark.parametrize("mode", FALLING, ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", TRANSIENT)
def test_link_that_fails_for_one_file_is_tried_for_the_next(
    shelf: Shelf, mode: LinkMode, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shelf.add("a.py"), shelf.add("b.py")
    asked = _asked(monkeypatch, mode)
    asked.error = getattr(errno, name)
    linker = _linker(mode)
    for file, placed in ((first, "one"), (second, "two")):
        assert shelf.place(linker, file, placed) in (LinkMode.REFLINK, LinkMode.COPY)
        assert shelf.placed(placed).read_bytes() == b"content\n"
    assert asked.calls == 2
    assert mode not in linker.choice.refusals


@pytest.mark.parametrize("mode", FALLING, ids=lambda mode: mode.value)
def test_copy_after_a_failed_link_tells_whether_the_disk_is_full(
    shelf: Shelf, mode: LinkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shelf.add("a.py", b"x" * 5000)
    _asked(monkeypatch, mode).error = errno.ENOSPC
    with file_size_limit(1000), pytest.raises(OSError) as caught:
        shelf.place(_linker(mode), file)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(shelf.placed())
    assert os.listdir(shelf.environment) == []


def test_a_file_that_is_gone_when_it_is_looked_at_is_damaged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was open: a file server has it no more (ESTALE)."""
    file, real = shelf.add("a.py"), os.fstat

    def stale(descriptor: int) -> os.stat_result:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("a.py"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(descriptor)

    monkeypatch.setattr(entry_checks.os, "fstat", stale)
    with pytest.raises(DamagedEntry, match=os.strerror(errno.ESTALE)):
        shelf.place(_linker(LinkMode.COPY), file)
    assert os.listdir(shelf.environment) == []


@LINKING
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_link_that_fails_where_something_was_leaves_nothing_half_made(
    shelf: Shelf, mode: LinkMode, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shelf.add("a.py")
    shelf.placed().write_text("old")
    name = "link" if mode is LinkMode.HARDLINK else "symlink"
    real, calls = getattr(os, name), []

    def fails_at_second(*args: Any, **how: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))
        return real(*args, **how)

    monkeypatch.setattr(os, name, fails_at_second)
    assert shelf.place(_linker(mode), file) in (LinkMode.REFLINK, LinkMode.COPY)
    assert shelf.placed().read_bytes() == b"content\n"
    assert os.listdir(shelf.environment) == ["placed"]


@needs(root, protected_hardlinks)
@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "something there"])
def test_the_kernel_refuses_links_to_others_files_and_a_copy_is_made(
    shared_tmp: Path, there: bool
) -> None:
    shelf = Shelf(shared_tmp)
    first, second = shelf.add("a.py"), shelf.add("b.py")
    os.chown(shelf.environment, ALICE, GROUP)
    linker = _linker(LinkMode.HARDLINK)
    with as_user(ALICE):
        if there:
            shelf.placed("one").write_text("old")
        for file, name in ((first, "one"), (second, "two")):
            assert shelf.place(linker, file, name) in (LinkMode.REFLINK, LinkMode.COPY)
            assert shelf.placed(name).stat().st_uid == ALICE
            assert shelf.placed(name).read_bytes() == b"content\n"
    assert linker.choice.refusals[LinkMode.HARDLINK] == os.strerror(errno.EPERM)
    assert sorted(os.listdir(shelf.environment)) == ["one", "two"]
    assert oct(_mode(shelf.entry / "files" / "a.py")) == oct(0o444)


@needs(linux)
def test_another_file_system_gets_a_copy(shelf: Shelf, other_file_system: Path) -> None:
    file = shelf.add("a.py")
    elsewhere = other_file_system / "a.py"
    linker = _linker(LinkMode.HARDLINK)
    with Directory.open(shelf.entry) as held:
        parent = TargetDir.of(os.stat(other_file_system), True)
        used = linker.place(Source(held, OWN), file, str(elsewhere), parent, private=False)
    assert used is LinkMode.COPY
    assert elsewhere.read_bytes() == b"content\n"
    assert int(elsewhere.stat().st_mtime) == MTIME
    assert linker.choice.refusals[LinkMode.HARDLINK] == os.strerror(errno.EXDEV)


@MASK
@PROGRAM
def test_a_group_environment_gives_the_group_its_bits(
    shelf: Shelf, mask: int, executable: bool
) -> None:
    os.umask(mask)
    shelf.environment.chmod(0o2775)
    file = shelf.add("a", executable=executable)
    shelf.place(_linker(LinkMode.COPY), file)
    plain = (0o777 & ~mask) | 0o111 if executable else 0o666 & ~mask
    granted = 0o070 if executable else 0o060
    assert oct(_mode(shelf.placed())) == oct(plain | granted)


@pytest.mark.parametrize(
    ("mode", "grant"),
    [(0o2775, 0o070), (0o2770, 0o070), (0o2760, 0o060), (0o775, 0), (0o2755, 0), (0o3777, 0o070)],
    ids=lambda value: oct(value),
)
def test_only_a_setgid_directory_that_the_group_may_write_grants(
    tmp_path: Path, mode: int, grant: int
) -> None:
    tmp_path.chmod(mode)
    status = os.stat(tmp_path)
    tmp_path.chmod(0o700)
    assert TargetDir.of(status, True) == TargetDir(status.st_dev, grant)
    assert TargetDir.of(status, False) == TargetDir(status.st_dev, 0)


def test_a_group_environment_can_be_switched_off(shelf: Shelf) -> None:
    shelf.environment.chmod(0o2775)
    os.umask(0o077)
    shelf.place(_linker(LinkMode.COPY, group_environment=False), shelf.add("a"))
    assert oct(_mode(shelf.placed())) == oct(0o600)


def test_without_ioctl_there_is_no_reflink(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirfd, "fcntl", None)
    linker = _linker(LinkMode.REFLINK)
    assert shelf.place(linker, shelf.add("a")) is LinkMode.COPY
    assert linker.choice.refusals == {LinkMode.REFLINK: "This system has no reflinks"}


# -- one wheel

FILES = {
    "demo/__init__.py": b"x = 1\n",
    "demo/sub/deep/data.txt": b"data",
    "demo-1.0.data/scripts/run": b"#!python\n",
    f"{INFO}/METADATA": b"Name: demo\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\n",
    f"{INFO}/RECORD": b"",
    f"{INFO}/licenses/LICENSE": b"free",
}
#: pip writes its own, and needs no copy of the wheel's.
RECORD = f"{INFO}/RECORD"
INFORMATION = {path for path in FILES if path.startswith(INFO) and path != RECORD}
#: What is left to pip of a wheel without sources that pip compiles.
LEFT = ["demo-1.0.data/scripts/run", RECORD]


class Site:
    """A shelf with a whole wheel, and placements of it into one library."""

    def __init__(self, base: Path) -> None:
        self.shelf = Shelf(base)
        for path, data in FILES.items():
            self.shelf.add(path, data, executable="scripts" in path)
        self.library = self.shelf.environment / "site-packages"
        self.scripts = self.shelf.environment / "bin"
        self.report = RunReport()

    def begin(self, mode: LinkMode = LinkMode.COPY, **how: Any) -> Placement:
        entry = self.shelf.entry
        status = os.stat(entry)
        manifest = Manifest(
            "demo-1.0-py3-none-any.whl", Digest("ab" * 32), 1, tuple(self.shelf.files.values())
        )
        made = Entry(entry, OWN, (status.st_dev, status.st_ino), manifest)
        return Placement(made, Directory.open(entry), _linker(mode, **how), self.report)

    def target(self, path: str) -> str:
        """Where pip would save a path of the wheel."""
        if path.startswith("demo-1.0.data/scripts/"):
            return str(self.scripts / path.rpartition("/")[2])
        return str(self.library / path)

    def save(self, begun: Placement, *paths: str) -> None:
        """What pip does with every file, the script and RECORD included."""
        assert begun.stage_dist_info(INFO) == begun.dist_info.staged
        for path in paths or FILES:
            destination = begun.destination(path, self.target(path))
            assert begun.save(path, destination)
        if not paths:
            record = self.library / begun.dist_info.staged / "RECORD"
            rows = [(f"{begun.dist_info.staged}/{name}", "", "") for name in ("RECORD", "METADATA")]
            rows += [("demo/__init__.py", "sha256=x", "6"), ("../bin/run,x", "", "")]
            with record.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.library)) if self.library.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_information_is_filled_under_another_name(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    assert site.names() == [begun.dist_info.staged, "demo"]
    assert begun.dist_info.staged.startswith(f".{INFO}.")
    assert re.search(rf"\.{os.getpid()}-[0-9a-f]+\.installing$", begun.dist_info.staged)
    assert not begun.dist_info.staged.endswith(".dist-info")
    assert (site.library / begun.dist_info.staged / "licenses" / "LICENSE").read_bytes() == b"free"
    begun.undo()


@pytest.mark.parametrize("name", ["a" * 400, "ä" * 120, "a-1.0+g" + "b" * 230])
def test_name_under_which_information_is_filled_is_short_and_found_again(
    name: str, site: Site
) -> None:
    info = f"{name}.dist-info"
    staged = DistInfo(info).staged
    assert len(os.fsencode(staged)) < 143, "the longest name on eCryptfs"
    pid = str(os.getpid())
    left = site.library / staged.replace(f".{pid}-", f".{_dead_pid()}-")
    left.mkdir(parents=True)
    other = DistInfo(f"{name}2.dist-info")
    for information, stays in ((other, True), (DistInfo(info), False)):
        information.library = str(site.library)
        information.sweep(unfinished_in(str(site.library)))
        assert left.exists() is stays


@pytest.mark.parametrize(("inside", "named"), [("METADATA", "METADATA"), ("RECORD.new", "RECORD")])
def test_error_names_the_path_that_pip_names(inside: str, named: str) -> None:
    information = DistInfo(INFO)
    path = f"/lib/{information.staged}/{inside}"
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), path, path)
    information.name_finally(error)
    assert str(error) == f"[Errno 13] Permission denied: '/lib/{INFO}/{named}'"


def test_committed_it_appears_under_its_own_name(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    begun.commit()
    assert site.names() == ["demo", INFO]
    for path, data in FILES.items():
        if not path.endswith("RECORD"):
            assert Path(site.target(path)).read_bytes() == data
    assert begun.dist_info.made_visible
    begun.make_visible()


def test_its_record_speaks_of_its_own_name(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    record = site.library / begun.dist_info.staged / "RECORD"
    record.chmod(0o640)
    begun.commit()
    final = site.library / INFO / "RECORD"
    with final.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == sorted(rows)
    assert ["../bin/run,x", "", ""] in rows
    assert [f"{INFO}/METADATA", "", ""] in rows
    assert [f"{INFO}/RECORD", "", ""] in rows
    assert final.read_bytes().endswith(b"\r\n")
    assert b"installing" not in final.read_bytes()
    assert oct(_mode(final)) == oct(0o640)
    assert not list(final.parent.glob("*.new"))


def test_paths_that_look_like_the_staging_name_elsewhere_stay(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    record = site.library / begun.dist_info.staged / "RECORD"
    odd = f"demo/{begun.dist_info.staged}/x"
    record.write_text(f"{odd},,\n\n{begun.dist_info.staged}/RECORD,,\n")
    begun.commit()
    lines = (site.library / INFO / "RECORD").read_text().splitlines()
    assert f"{odd},," in lines
    assert f"{INFO}/RECORD,," in lines


@pytest.mark.parametrize("nested", [f"{INFO}/licenses/LICENSE", f"{INFO}/a/../METADATA"])
def test_destinations_keep_what_lies_below_the_information(site: Site, nested: str) -> None:
    begun = site.begin()
    begun.stage_dist_info(INFO)
    inside = os.path.normpath(nested[len(INFO) + 1 :])
    expected = site.library / begun.dist_info.staged / inside
    assert begun.destination(nested, str(site.library / INFO / inside)) == str(expected)
    begun.undo()


def test_other_destinations_are_pips(site: Site) -> None:
    begun = site.begin()
    assert begun.destination(f"{INFO}/METADATA", "/x/y") == "/x/y", "nothing is staged yet"
    begun.stage_dist_info(INFO)
    for path in ("demo/__init__.py", f"{INFO}x/METADATA", f"demo/{INFO}/METADATA"):
        assert begun.destination(path, "/x/y") == "/x/y"
    begun.undo()


def test_files_that_the_entry_does_not_list_are_left_to_pip(site: Site) -> None:
    begun = site.begin()
    assert not begun.save("demo/other.py", site.target("demo/other.py"))
    assert not site.library.exists()
    begun.undo()


@LINKING
def test_information_and_scripts_are_private_copies(site: Site, mode: LinkMode) -> None:
    begun = site.begin(mode)
    site.save(begun)
    begun.commit()
    for path in FILES.keys() - {RECORD}:
        placed = Path(site.target(path))
        linked = placed.is_symlink() or placed.stat().st_nlink > 1
        assert linked is path.startswith("demo/"), path
    assert site.report.placed[mode] == 2
    assert sum(site.report.placed.values()) == len(FILES) - 1
    assert site.report.placed_bytes[mode] == 10


def test_undone_nothing_is_left(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    cache = site.library / "demo" / "__pycache__"
    cache.mkdir()
    (cache / f"__init__.{sys.implementation.cache_tag}.pyc").touch()
    begun.undo()
    assert os.listdir(site.shelf.environment) == []


def test_undone_what_was_there_before_stays(site: Site) -> None:
    site.library.mkdir()
    (site.library / "demo").mkdir()
    (site.library / "demo" / "mine.py").touch()
    (site.library / "demo" / "__pycache__").mkdir()
    (site.library / "demo" / "__pycache__" / "mine.pyc").touch()
    site.scripts.mkdir()
    begun = site.begin()
    site.save(begun)
    begun.undo()
    left = {p.relative_to(site.library).as_posix() for p in site.library.rglob("*")}
    assert left == {"demo", "demo/mine.py", "demo/__pycache__", "demo/__pycache__/mine.pyc"}
    assert os.listdir(site.scripts) == []


def test_undone_a_file_that_was_replaced_is_not_taken_away(site: Site) -> None:
    (site.library / "demo").mkdir(parents=True)
    (site.library / "demo" / "__init__.py").write_text("old")
    begun = site.begin()
    site.save(begun)
    begun.undo()
    assert (site.library / "demo" / "__init__.py").exists()


def test_undone_before_anything_was_placed_is_nothing(site: Site) -> None:
    site.begin().undo()
    assert not site.library.exists()


def test_undo_does_not_raise_where_files_are_gone(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    remove_tree(site.library)
    begun.undo()
    assert os.listdir(site.shelf.environment) == []


@needs(root)
def test_undo_says_what_it_cannot_take_back(
    shared_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(shared_tmp)
    os.chown(site.shelf.environment, ALICE, GROUP)
    with as_user(ALICE):
        begun = site.begin()
        site.save(begun)
    (site.library / "demo").chmod(0o555)
    os.chown(site.library / "demo", 0, 0)
    with as_user(ALICE):
        begun.undo()
    messages = [record.getMessage() for record in caplog.records]
    assert (
        f"{site.library / 'demo' / '__init__.py'} cannot be deleted: Permission denied" in messages
    )
    assert all("\n" not in message for message in messages)


def test_damaged_file_is_reported_and_pip_can_go_on(site: Site) -> None:
    stored = site.shelf.entry / "files" / "demo/__init__.py"
    stored.unlink()
    begun = site.begin()
    begun.stage_dist_info(INFO)
    with pytest.raises(DamagedEntry):
        begun.save("demo/__init__.py", site.target("demo/__init__.py"))
    # pip saves this one itself; the directory for it is there.
    Path(site.target("demo/__init__.py")).write_bytes(b"x = 1\n")
    rest = [path for path in FILES if path != "demo/__init__.py"]
    site.save(begun, *rest)
    begun.commit()
    assert site.names() == ["demo", INFO]


def test_an_existing_information_is_written_over(site: Site) -> None:
    old = site.library / INFO
    (old / "licenses").mkdir(parents=True)
    for name in ("METADATA", "RECORD", "licenses/LICENSE", "direct_url.json"):
        (old / name).write_text("old")
    begun = site.begin()
    site.save(begun)
    begun.commit()
    assert site.names() == ["demo", INFO]
    assert (old / "METADATA").read_bytes() == FILES[f"{INFO}/METADATA"]
    assert (old / "licenses" / "LICENSE").read_bytes() == b"free"
    assert (old / "WHEEL").exists()
    assert (old / "direct_url.json").read_text() == "old"
    assert b"demo/__init__.py" in (old / "RECORD").read_bytes()


def test_written_over_metadata_and_record_come_last(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.library / INFO).mkdir(parents=True)
    (site.library / INFO / "old").touch()
    begun = site.begin()
    site.save(begun)
    moved: list[str] = []
    replace = os.replace

    def noted(source: Any, target: Any) -> None:
        moved.append(os.path.relpath(target, site.library / INFO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    begun.commit()
    assert moved[-2:] == ["METADATA", "RECORD"]
    assert {"WHEEL", "licenses/LICENSE"} <= set(moved)


@pytest.mark.parametrize("kind", ["file", "symlink", "dangling"])
def test_information_is_not_merged_into_what_is_no_directory(site: Site, kind: str) -> None:
    site.library.mkdir()
    precious = site.library.parent / "precious"
    precious.mkdir()
    (precious / "METADATA").write_text("precious")
    if kind == "file":
        (site.library / INFO).touch()
    else:
        to = precious if kind == "symlink" else site.library.parent / "none"
        (site.library / INFO).symlink_to(to)
    begun = site.begin()
    site.save(begun)
    with pytest.raises(OSError):
        begun.commit()
    begun.undo()
    assert site.names() == [INFO]
    assert (precious / "METADATA").read_text() == "precious"
    assert os.listdir(precious) == ["METADATA"]


def test_a_wheel_without_information_is_committed_all_the_same(site: Site) -> None:
    begun = site.begin()
    site.save(begun, "demo/__init__.py")
    begun.commit()
    assert site.names() == ["demo"]


def test_information_that_pip_has_removed_is_not_missed(site: Site) -> None:
    begun = site.begin()
    site.save(begun)
    remove_tree(site.library / begun.dist_info.staged)
    begun.commit()
    assert site.names() == ["demo"]


@MASK
def test_directories_are_made_by_the_umask(site: Site, mask: int) -> None:
    os.umask(mask)
    begun = site.begin()
    site.save(begun)
    begun.commit()
    for path in ("demo", "demo/sub", "demo/sub/deep", INFO):
        assert oct(_mode(site.library / path)) == oct(0o777 & ~mask)


@needs(root)
@MASK
def test_in_a_group_environment_the_group_gets_all_that_is_made(tmp_path: Path, mask: int) -> None:
    site = Site(tmp_path)
    os.chown(site.shelf.environment, -1, GROUP)
    site.shelf.environment.chmod(0o2775)
    os.umask(mask)
    begun = site.begin()
    site.save(begun)
    assert not begun.save_bytecode(site.target("demo/__init__.py"))
    for_bytecode = site.library / "demo" / "__pycache__"
    assert oct(_mode(for_bytecode)) == oct(0o2777 & ~mask | 0o2070)
    begun.commit()
    made = [site.library, site.scripts, *site.library.rglob("*"), *site.scripts.rglob("*")]
    for path in made:
        assert path.stat().st_gid == GROUP
        if path.is_dir():
            assert oct(_mode(path)) == oct(0o2777 & ~mask | 0o2070), path
        elif path.name == "run":
            assert oct(_mode(path)) == oct((0o777 & ~mask) | 0o111 | 0o070)
        else:
            assert oct(_mode(path)) == oct(0o666 & ~mask | 0o060), path
    assert (site.library / INFO / "RECORD").is_file()
    assert not for_bytecode.exists(), "pip compiled nothing"


def _group_site(base: Path) -> Site:
    site = Site(base)
    site.shelf.environment.chmod(0o2775)
    return site


def _pip_writes(site: Site, begun: Placement, *paths: str, record: tuple[str, ...] = ()) -> None:
    """Files that pip writes itself, by the umask; RECORD lists them and what else is said."""

    def now(path: str) -> str:
        return path.replace(INFO, begun.dist_info.staged)

    for path in paths:
        with (site.library / now(path)).open("x") as file:
            file.write("by pip")
    wheels = [path for path in FILES if "scripts" not in path]
    with (site.library / begun.dist_info.staged / "RECORD").open("w", newline="") as file:
        csv.writer(file).writerows((now(path), "", "") for path in (*wheels, *paths, *record))


def test_in_a_group_environment_the_group_gets_what_pip_wrote(tmp_path: Path) -> None:
    """Without reading RECORD a colleague could not uninstall."""
    site = _group_site(tmp_path)
    os.umask(0o077)
    begun = site.begin()
    site.save(begun)
    begun.save_bytecode(site.target("demo/__init__.py"))
    (site.library / "demo" / "unlisted").touch()
    _pip_writes(site, begun, f"{INFO}/INSTALLER", PYC, "../bin/demo")
    (site.scripts / "demo").chmod(0o711)
    begun.commit()
    for path in (f"{INFO}/INSTALLER", f"{INFO}/RECORD", PYC):
        assert oct(_mode(site.library / path)) == oct(0o660), path
    assert oct(_mode(site.scripts / "demo")) == oct(0o771)
    assert oct(_mode(site.library / "demo" / "unlisted")) == oct(0o600), "not of this wheel"


def test_elsewhere_what_pip_wrote_stays_as_it_is(site: Site) -> None:
    os.umask(0o077)
    begun = site.begin()
    site.save(begun)
    _pip_writes(site, begun, f"{INFO}/INSTALLER", "demo/x.pyc")
    begun.commit()
    for path in (f"{INFO}/INSTALLER", f"{INFO}/RECORD", "demo/x.pyc"):
        assert oct(_mode(site.library / path)) == oct(0o600), path


def test_switched_off_what_pip_wrote_stays_as_it_is(tmp_path: Path) -> None:
    site = _group_site(tmp_path)
    os.umask(0o077)
    begun = site.begin(group_environment=False)
    site.save(begun)
    _pip_writes(site, begun, f"{INFO}/INSTALLER")
    begun.commit()
    assert oct(_mode(site.library / INFO / "INSTALLER")) == oct(0o600)


@LINKING
def test_in_a_group_environment_linked_files_keep_the_stores_modes(
    tmp_path: Path, mode: LinkMode
) -> None:
    site = _group_site(tmp_path)
    stored = [path for path in site.shelf.entry.rglob("*") if path.is_file()]
    begun = site.begin(mode)
    site.save(begun)
    before = {path: _status(path) for path in stored}
    _pip_writes(site, begun, f"{INFO}/INSTALLER")
    begun.commit()
    assert {path: _status(path) for path in stored} == before
    assert _mode(site.library / INFO / "INSTALLER") & 0o060 == 0o060
    placed = site.library / "demo" / "__init__.py"
    assert os.path.samefile(placed, site.shelf.entry / "files" / "demo" / "__init__.py")


@needs(root)
def test_a_colleagues_file_that_record_lists_is_left_alone(tmp_path: Path) -> None:
    site = _group_site(tmp_path)
    begun = site.begin()
    site.save(begun)
    _pip_writes(site, begun, "demo/theirs.pyc")
    theirs = site.library / "demo" / "theirs.pyc"
    theirs.chmod(0o600)
    os.chown(theirs, ALICE, GROUP)
    before = _status(theirs)
    begun.commit()
    assert _status(theirs) == before
    assert site.names() == ["demo", INFO]


@needs(root)
def test_a_file_that_may_not_be_opened_does_not_stop_the_installation(shared_tmp: Path) -> None:
    (shared_tmp / "theirs").mkdir()
    site = _group_site(shared_tmp / "theirs")
    os.chown(site.shelf.environment, ALICE, GROUP)
    site.shelf.environment.chmod(0o2775)
    with as_user(ALICE, gid=GROUP):
        begun = site.begin()
        site.save(begun)
        _pip_writes(site, begun, "demo/theirs.pyc")
    theirs = site.library / "demo" / "theirs.pyc"
    theirs.chmod(0o600)
    os.chown(theirs, ALICE + 1, GROUP)
    before = _status(theirs)
    with as_user(ALICE, gid=GROUP):
        begun.commit()
    assert site.names() == ["demo", INFO]
    assert _status(theirs) == before


def _wait_for_a_tick(path: Path) -> None:
    """Until the file system's clock, which goes in steps, is later than the path's last change."""
    probe = path.with_name("probe")
    while True:
        probe.touch()
        later = probe.stat().st_ctime_ns > path.stat().st_ctime_ns
        probe.unlink()
        if later:
            return


def test_what_record_lists_beyond_the_wheel_is_left_alone(tmp_path: Path) -> None:
    """A wheel's own RECORD may name any path, and pip keeps such rows."""
    site = _group_site(tmp_path)
    secret = site.shelf.environment / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)
    _wait_for_a_tick(secret)
    begun = site.begin()
    site.save(begun)
    before = _status(secret)
    _pip_writes(site, begun, record=("../secret", "ghost/deep/x.py"))
    begun.commit()
    assert _status(secret) == before
    assert site.names() == ["demo", INFO]


# -- shared bytecode

BAD = "demo/bad.py"


def _with_bytecode(site: Site, begun: Placement) -> Path:
    """Bytecode for the site's sources; where it lies."""
    other = Shelf(site.shelf.entry.parent / "bytecode")
    file = other.add(PYC, b"compiled")
    status = os.stat(other.entry)
    manifest = Manifest("key", Digest("ab" * 32), 0, (file,), (BAD,))
    made = Entry(other.entry, OWN, (status.st_dev, status.st_ino), manifest)
    begun.use_bytecode(made, Directory.open(other.entry))
    return other.entry / "files" / PYC


@pytest.fixture
def with_source(site: Site) -> tuple[Site, Placement]:
    site.shelf.add(BAD, b"no Python\n")
    begun = site.begin()
    begun.stage_dist_info(INFO)
    for path in ("demo/__init__.py", BAD):
        begun.save(path, site.target(path))
    return site, begun


def test_bytecode_is_placed_or_left_to_pip(with_source: tuple[Site, Placement]) -> None:
    site, begun = with_source
    assert not begun.save_bytecode(site.target("demo/__init__.py")), "there is none yet"
    _with_bytecode(site, begun)
    assert not begun.save_bytecode(site.target(BAD))
    assert not begun.save_bytecode(site.target("demo/by_pip.py"))
    assert not (site.library / "demo" / "__pycache__").exists()
    assert begun.save_bytecode(site.target("demo/__init__.py"))
    placed = site.library / PYC
    assert placed.read_bytes() == b"compiled"
    assert os.listdir(placed.parent) == [placed.name]
    begun.undo()
    assert not (site.library / "demo").exists()


def test_placed_bytecode_does_not_write_through_what_is_there(
    with_source: tuple[Site, Placement],
) -> None:
    site, begun = with_source
    _with_bytecode(site, begun)
    (site.library / PYC).parent.mkdir()
    other = site.shelf.environment / "other"
    other.write_text("old")
    os.link(other, site.library / PYC)
    assert begun.save_bytecode(site.target("demo/__init__.py"))
    assert (site.library / PYC).read_bytes() == b"compiled"
    assert other.read_text() == "old"
    begun.commit()


def test_damaged_bytecode_is_reported_and_nothing_placed(
    with_source: tuple[Site, Placement],
) -> None:
    site, begun = with_source
    stored = _with_bytecode(site, begun)
    stored.unlink()
    with pytest.raises(DamagedEntry):
        begun.save_bytecode(site.target("demo/__init__.py"))
    assert not (site.library / PYC).exists()
    begun.commit()


def test_a_source_that_pip_wrote_over_has_no_shared_bytecode(
    with_source: tuple[Site, Placement],
) -> None:
    """Saved a second time from the wheel, after the store's file turned out to be damaged."""
    site, begun = with_source
    _with_bytecode(site, begun)
    stored = site.shelf.entry / "files" / "demo" / "__init__.py"
    stored.unlink()
    with pytest.raises(DamagedEntry):
        begun.save("demo/__init__.py", site.target("demo/__init__.py"))
    assert not begun.save_bytecode(site.target("demo/__init__.py"))
    begun.undo()


@needs(root)
def test_in_a_group_environment_the_group_gets_shared_bytecode(tmp_path: Path) -> None:
    site = Site(tmp_path)
    os.chown(site.shelf.environment, -1, GROUP)
    site.shelf.environment.chmod(0o2775)
    os.umask(0o077)
    begun = site.begin()
    begun.stage_dist_info(INFO)
    begun.save("demo/__init__.py", site.target("demo/__init__.py"))
    _with_bytecode(site, begun)
    assert begun.save_bytecode(site.target("demo/__init__.py"))
    begun.commit()
    assert oct(_mode(site.library / PYC)) == oct(0o660)
    assert oct(_mode((site.library / PYC).parent)) == oct(0o2770)
    assert (site.library / PYC).stat().st_gid == GROUP


def test_elsewhere_no_directory_for_bytecode_is_made(site: Site) -> None:
    begun = site.begin()
    site.save(begun, "demo/__init__.py")
    assert not begun.save_bytecode(site.target("demo/__init__.py"))
    assert not (site.library / "demo" / "__pycache__").exists()
    begun.undo()


def test_switched_off_a_group_environment_is_as_any_other(site: Site) -> None:
    site.shelf.environment.chmod(0o2775)
    os.umask(0o077)
    begun = site.begin(group_environment=False)
    site.save(begun)
    begun.commit()
    assert _mode(site.library / "demo") & 0o077 == 0
    assert oct(_mode(site.library / "demo" / "__init__.py")) == oct(0o600)


def test_directories_that_are_there_keep_their_modes(site: Site) -> None:
    site.shelf.environment.chmod(0o2775)
    (site.library / "demo").mkdir(parents=True)
    (site.library / "demo").chmod(0o700)
    begun = site.begin()
    site.save(begun)
    begun.commit()
    assert oct(_mode(site.library / "demo")) == oct(0o700)


@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_a_parent_that_is_no_directory_is_pips_error(site: Site, kind: str) -> None:
    site.library.mkdir()
    if kind == "file":
        (site.library / "demo").touch()
    else:
        (site.library / "demo").symlink_to(site.library / "none")
    begun = site.begin()
    begun.stage_dist_info(INFO)
    with pytest.raises(OSError):
        begun.save("demo/__init__.py", site.target("demo/__init__.py"))
    begun.undo()
    assert os.path.lexists(site.library / "demo")
    assert not (site.library / "none").exists()


def test_a_relative_library_will_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.shelf.environment)
    begun = site.begin()
    begun.stage_dist_info(INFO)
    for path in ("demo/__init__.py", f"{INFO}/METADATA"):
        begun.save(path, begun.destination(path, os.path.join("lib", path)))
    begun.commit()
    assert sorted(os.listdir("lib")) == ["demo", INFO]


# -- what killed installations left


def _dead_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def _left_over(site: Site, info: str, pid: int, host: str = "") -> Path:
    left = site.library / f".{info}.{host or HOST}.{pid}-0a1b2c3d.installing"
    (left / "licenses").mkdir(parents=True)
    (left / "licenses" / "x").touch()
    return left


def _make_older(left: Path, hours: int) -> None:
    then = time.time() - hours * 3600
    os.utime(left, (then, then))


def test_what_a_killed_installation_left_is_removed(site: Site) -> None:
    left = _left_over(site, INFO, _dead_pid())
    begun = site.begin()
    site.save(begun)
    assert not left.exists()
    begun.commit()
    assert site.names() == ["demo", INFO]


@pytest.mark.parametrize("which", ["living", "of another distribution", "of another machine"])
def test_what_may_be_in_use_stays(site: Site, which: str) -> None:
    left = {
        "living": lambda: _left_over(site, INFO, os.getppid()),
        "of another distribution": lambda: _left_over(site, "other-1.0.dist-info", _dead_pid()),
        "of another machine": lambda: _left_over(site, INFO, _dead_pid(), "elsewhere"),
    }[which]()
    begun = site.begin()
    site.save(begun)
    assert (left / "licenses" / "x").exists()
    begun.commit()


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (24, False)], ids=["fresh", "old"])
@pytest.mark.parametrize("host", ["", "elsewhere"], ids=["here", "elsewhere"])
@pytest.mark.parametrize("info", [INFO, "other-1.0.dist-info"])
def test_what_a_power_cut_left_is_removed_after_some_hours(
    site: Site, info: str, host: str, hours: int, stays: bool
) -> None:
    """After a start of the machine, the names of its earlier processes are a stranger's."""
    left = _left_over(site, info, _dead_pid(), host)
    _make_older(left, hours)
    begun = site.begin()
    site.save(begun)
    assert left.exists() is (stays and (host != "" or info != INFO))
    begun.commit()


def test_what_a_living_process_is_making_stays_however_old(site: Site) -> None:
    left = _left_over(site, INFO, os.getppid())
    _make_older(left, 10 * 24)
    begun = site.begin()
    site.save(begun)
    assert (left / "licenses" / "x").exists()
    begun.commit()


def test_a_link_planted_in_place_of_the_staging_directory_is_not_followed(site: Site) -> None:
    """In a library directory that a group may write, a colleague may guess at names."""
    victim = site.library.parent / "victim"
    victim.mkdir()
    begun = site.begin()
    begun.stage_dist_info(INFO)
    site.library.mkdir(exist_ok=True)
    (site.library / begun.dist_info.staged).symlink_to(victim)
    with pytest.raises(FileExistsError):
        site.save(begun)
    begun.undo()
    assert os.listdir(victim) == []


@needs(root)
def test_leftovers_of_another_user_are_kept(site: Site) -> None:
    left = _left_over(site, INFO, _dead_pid())
    os.chown(left, ALICE, GROUP)
    begun = site.begin()
    site.save(begun)
    assert (left / "licenses" / "x").exists()
    begun.commit()


def test_what_this_very_number_left_is_not_taken_over(site: Site) -> None:
    """A container's installer has the same process number each time."""
    left = _left_over(site, INFO, os.getpid())
    begun = site.begin()
    site.save(begun)
    assert left.name != begun.dist_info.staged
    assert not left.exists()
    begun.commit()


# -- many files at once


def _numbered(shelf: Shelf, site: Path, number: int) -> list[Job]:
    parent = TargetDir.of(os.stat(site), True)
    return [
        Job(shelf.add(f"demo/m{n}.py", b"x" * n), str(site / f"m{n}.py"), parent)
        for n in range(number)
    ]


@MODE
def test_many_files_are_placed_in_one_go(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 100), PlacementResult()
    before = _open_descriptors()
    with Directory.open(shelf.entry) as held:
        _linker(mode).place_all(Source(held, shelf.publisher), jobs, outcome)
    assert _open_descriptors() == before
    assert sum(outcome.files.values()) == 100
    assert sum(outcome.size.values()) == sum(range(100))
    assert sorted(outcome.created) == sorted(job.destination for job in jobs)
    assert not outcome.damaged
    for number in range(100):
        assert (shelf.environment / f"m{number}.py").read_bytes() == b"x" * number


@MODE
def test_damaged_files_are_reported_and_the_others_placed(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 50), PlacementResult()
    (shelf.entry / "files/demo/m7.py").unlink()
    longer = shelf.entry / "files/demo/m40.py"
    longer.chmod(0o644)
    longer.write_bytes(b"y" * 41)
    with Directory.open(shelf.entry) as held:
        _linker(mode).place_all(Source(held, shelf.publisher), jobs, outcome)
    assert [job for job, _ in outcome.damaged] == [jobs[7], jobs[40]]
    assert sum(outcome.files.values()) == 48
    assert sorted(os.listdir(shelf.environment)) == sorted(
        f"m{n}.py" for n in range(50) if n not in (7, 40)
    )


@MODE
def test_what_was_done_before_an_error_is_known(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 50), PlacementResult()
    (shelf.environment / "m30.py").mkdir()
    before = _open_descriptors()
    with Directory.open(shelf.entry) as held, pytest.raises(OSError):
        _linker(mode).place_all(Source(held, shelf.publisher), jobs, outcome)
    assert _open_descriptors() == before
    assert outcome.created == [job.destination for job in jobs[:30]]


@MODE
def test_a_file_made_just_before_ctrl_c_is_known(
    shelf: Shelf, mode: LinkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 50), PlacementResult()

    def interrupted(original: Any, *args: Any, **kw: Any) -> Any:
        made = original(*args, **kw)
        if jobs[30].destination in args:
            if made is not None:
                os.close(made)
            raise KeyboardInterrupt
        return made

    for name in ("open", "link", "symlink"):
        monkeypatch.setattr(os, name, functools.partial(interrupted, getattr(os, name)))
    with Directory.open(shelf.entry) as held, pytest.raises(KeyboardInterrupt):
        _linker(mode).place_all(Source(held, shelf.publisher), jobs, outcome)
    assert outcome.under_way == jobs[30].destination
    assert outcome.created == [job.destination for job in jobs[:30]]
    assert len(os.listdir(shelf.environment)) == 31


@MODE
def test_what_is_replaced_is_not_new(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 3), PlacementResult()
    (shelf.environment / "m1.py").write_text("old")
    with Directory.open(shelf.entry) as held:
        _linker(mode).place_all(Source(held, shelf.publisher), jobs, outcome)
    assert outcome.created == [jobs[0].destination, jobs[2].destination]
    assert sum(outcome.files.values()) == 3


def test_a_link_that_is_refused_leaves_the_rest_to_the_next_mode(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 20), PlacementResult()
    link, asked = os.link, []

    def full(source: str, target: str, **how: Any) -> None:
        asked.append(target)
        if len(asked) > 5:
            raise OSError(errno.EMLINK, "Too many links")
        link(source, target, **how)

    monkeypatch.setattr(os, "link", full)
    linker = _linker(LinkMode.HARDLINK)
    with Directory.open(shelf.entry) as held:
        linker.place_all(Source(held, shelf.publisher), jobs, outcome)
    assert len(asked) == 6
    assert outcome.files[LinkMode.HARDLINK] == 5
    assert sum(outcome.files.values()) == 20
    assert LinkMode.HARDLINK in linker.choice.refusals


@needs(linux)
@pytest.mark.parametrize("spare", [3, 5, 20])
def test_few_descriptors_are_enough(shelf: Shelf, spare: int) -> None:
    jobs, outcome = _numbered(shelf, shelf.environment, 100), PlacementResult()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Directory.open(shelf.entry) as held:
        most = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
        for_tests = [os.dup(0) for _ in range(most)]  # no gaps below the limit
        top = max(for_tests) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + spare, hard))
        try:
            _linker(LinkMode.COPY).place_all(Source(held, shelf.publisher), jobs, outcome)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in for_tests:
                os.close(descriptor)
    assert not outcome.damaged
    assert sum(outcome.files.values()) == 100


@pytest.mark.parametrize("chosen", [(), (0,), (0, 1, 2), (0, 2, 4), (1, 2, 4)], ids=str)
def test_exactly_the_given_descriptors_are_closed(chosen: tuple[int, ...]) -> None:
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(6)]
    close_all([-1, *(opened[number] for number in reversed(chosen)), -1])
    still = []
    for number, descriptor in enumerate(opened):
        try:
            os.close(descriptor)
            still.append(number)
        except OSError:
            continue
    assert still == [number for number in range(6) if number not in chosen]


def _take(site: Site, begun: Placement, names: list[str], *, compiles: bool) -> list[str]:
    begun.stage_dist_info(INFO)
    return begun.take_over(names, compiles=compiles)


def test_the_files_of_the_library_are_taken_from_the_manifest(site: Site) -> None:
    begun = site.begin()
    left = _take(site, begun, list(FILES), compiles=False)
    assert left == LEFT
    taken = [name for name in FILES if name not in left]
    assert taken
    assert begun.taken == taken
    for name in left:
        assert begun.save(name, begun.destination(name, site.target(name)))
    for name in taken:
        assert begun.save(name, "never/looked/at"), "it is placed already"
        placed = begun.dist_info.destination(name, str(site.library / name))
        assert Path(placed).read_bytes() == FILES[name]
    assert not Path(begun.dist_info.path, "RECORD").exists()
    assert sum(site.report.placed.values()) == len(FILES) - 1
    begun.undo()
    assert site.names() == []


def test_sources_without_bytecode_are_left_to_the_pip_that_compiles(site: Site) -> None:
    begun = site.begin()
    left = _take(site, begun, list(FILES), compiles=True)
    assert {n for n in FILES if n.endswith(".py") and not n.startswith("demo-1.0.")} <= set(left)
    begun.undo()


@pytest.mark.parametrize("kind", ["more", "fewer", "twice"])
def test_nothing_is_taken_where_the_archive_has_other_names(site: Site, kind: str) -> None:
    names = list(FILES)
    names = {"more": [*names, "demo/x"], "fewer": names[1:], "twice": [*names, names[0]]}[kind]
    begun = site.begin()
    assert _take(site, begun, names, compiles=False) == names
    assert begun.taken == []
    begun.undo()


def test_record_gets_the_rows_that_it_lacks_and_one_for_what_was_compiled(tmp_path: Path) -> None:
    information = DistInfo(INFO)
    information.library = str(tmp_path)
    information.make()
    rows = [
        ("z.py", "sha256=x", "1"),
        (f"{information.staged}/RECORD", "", ""),
        ('a,"b".py', "", ""),
    ]
    with open(os.path.join(information.path, "RECORD"), "w", newline="") as file:
        csv.writer(file).writerows(rows)
    written = information.complete(["z.py"], ["b.pyc", "z.py"])
    assert written == [row[0] for row in rows]
    information.make_visible()
    text = (tmp_path / INFO / "RECORD").read_bytes().decode()
    assert text == (
        f'"a,""b"".py",,\r\nb.pyc,,\r\n{INFO}/RECORD,,\r\nz.py,,\r\nz.py,sha256=x,1\r\n'
    )


# -- many files at once, where something goes wrong


def _batch(shelf: Shelf, number: int = 20) -> list[Job]:
    """Jobs for files that can be told apart."""
    parent = TargetDir.of(os.stat(shelf.environment), True)
    return [
        Job(shelf.add(f"lot/f{n}", f"file {n}".encode()), str(shelf.placed(f"f{n}")), parent)
        for n in range(number)
    ]


def _place_all(shelf: Shelf, linker: Linker, jobs: list[Job], outcome: PlacementResult) -> None:
    with Directory.open(shelf.entry) as held:
        linker.place_all(Source(held, shelf.publisher), jobs, outcome)


def _destinations(jobs: list[Job]) -> list[str]:
    return [job.destination for job in jobs]


def test_a_clone_that_is_refused_in_the_middle_leaves_the_rest_to_be_copied(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def clone(target: int, request: int, source: int) -> int:
        asked.append(request)
        if len(asked) > 5:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.write(target, os.pread(source, 1000, 0))
        return 0

    monkeypatch.setattr(dirfd.fcntl, "ioctl", clone)
    jobs, outcome, linker = _batch(shelf), PlacementResult(), _linker(LinkMode.REFLINK)
    _place_all(shelf, linker, jobs, outcome)
    assert len(asked) == 6
    assert outcome.files == {LinkMode.REFLINK: 5, LinkMode.COPY: 15}
    assert outcome.created == _destinations(jobs)
    for number in range(20):
        assert shelf.placed(f"f{number}").read_text() == f"file {number}"
    assert linker.choice.refusals == {LinkMode.REFLINK: os.strerror(errno.EXDEV)}
    more = PlacementResult()
    _place_all(shelf, linker, jobs, more)
    assert (len(asked), more.files) == (6, {LinkMode.COPY: 20}), "it is not asked again"
    assert more.created == []


@pytest.mark.parametrize("mode", FALLING, ids=lambda mode: mode.value)
def test_damage_is_reported_once_although_a_mode_is_refused(
    shelf: Shelf, mode: LinkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome = _batch(shelf), PlacementResult()
    for number in (0, 1, 7, 19):
        (shelf.entry / "files" / "lot" / f"f{number}").unlink()
    _asked(monkeypatch, mode).error = errno.EPERM
    _place_all(shelf, _linker(mode), jobs, outcome)
    assert [job for job, _ in outcome.damaged] == [jobs[number] for number in (0, 1, 7, 19)]
    assert sum(outcome.files.values()) == 16
    assert outcome.created == [
        job.destination for number, job in enumerate(jobs) if number not in (0, 1, 7, 19)
    ]


@LINKING
def test_private_files_among_others_are_copied_in_their_place(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome = _batch(shelf, 6), PlacementResult()
    jobs = [job._replace(private=number in (2, 3)) for number, job in enumerate(jobs)]
    _place_all(shelf, _linker(mode), jobs, outcome)
    assert outcome.files[mode] == 4
    assert sum(outcome.files.values()) == 6
    assert outcome.created == _destinations(jobs)
    for number in (2, 3):
        status = shelf.placed(f"f{number}").lstat()
        assert (stat.S_ISREG(status.st_mode), status.st_nlink) == (True, 1)


def test_what_is_refused_on_one_file_system_is_used_on_another(
    shelf: Shelf, other_file_system: Path
) -> None:
    jobs, outcome, linker = _batch(shelf, 6), PlacementResult(), _linker(LinkMode.HARDLINK)
    there = TargetDir.of(os.stat(other_file_system), True)
    for number in (1, 4):
        path = str(other_file_system / f"f{number}")
        jobs[number] = jobs[number]._replace(destination=path, target_dir=there)
    _place_all(shelf, linker, jobs, outcome)
    assert outcome.files == {LinkMode.HARDLINK: 4, LinkMode.COPY: 2}
    assert outcome.created == _destinations(jobs)
    for job in jobs:
        assert Path(job.destination).read_bytes().decode() == f"file {job.destination[-1]}"
    assert linker.choice.refusals[LinkMode.HARDLINK] == os.strerror(errno.EXDEV)


@COPYING
def test_a_disk_that_is_full_in_the_middle_leaves_what_was_done_before(
    shelf: Shelf, mode: LinkMode
) -> None:
    jobs, outcome = _batch(shelf, 10), PlacementResult()
    jobs[6] = jobs[6]._replace(file=shelf.add("lot/big", b"x" * 5000))
    with file_size_limit(1000), pytest.raises(OSError) as caught:
        _place_all(shelf, _linker(mode), jobs, outcome)
    assert caught.value.errno == errno.EFBIG
    assert outcome.created == _destinations(jobs[:6])
    assert sum(outcome.files.values()) == 6
    assert sum(outcome.size.values()) == 6 * len("file 0")
    assert sorted(os.listdir(shelf.environment)) == [f"f{number}" for number in range(6)]


@MODE
def test_an_interrupt_in_the_middle_leaves_nothing_half_made(
    shelf: Shelf, mode: LinkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome = _batch(shelf, 10), PlacementResult()
    check, checked = entry_checks.check, []

    def interrupted(*args: Any) -> None:
        checked.append(args)
        if len(checked) == 5:
            raise KeyboardInterrupt
        check(*args)

    for module in (link_module, entry_checks):
        monkeypatch.setattr(module, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _place_all(shelf, _linker(mode), jobs, outcome)
    assert outcome.created == _destinations(jobs[:4])
    assert sorted(os.listdir(shelf.environment)) == [f"f{number}" for number in range(4)]


# -- many files, side by side


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of ten files, and two processors."""
    monkeypatch.setattr(link_module, "_PIECE", 10)
    monkeypatch.setattr("pip_sharedcache.fs.cpus", lambda: 2)
    workers.limit_workers(0)


def _place_new(shelf: Shelf, linker: Linker, jobs: list[Job], outcome: PlacementResult) -> None:
    with Directory.open(shelf.entry) as held:
        linker.place_new(Source(held, shelf.publisher), jobs, outcome)


def _dividing(mode: LinkMode) -> Linker:
    return _linker(mode, divide=workers.map_in_workers)


@MODE
@pytest.mark.usefixtures("pieces")
def test_many_new_files_are_placed_as_one_after_another(shelf: Shelf, mode: LinkMode) -> None:
    jobs, outcome, alone = _batch(shelf, 45), PlacementResult(), PlacementResult()
    linker = _dividing(mode)
    _place_new(shelf, linker, jobs, outcome)
    for number, job in enumerate(jobs):
        assert Path(job.destination).read_text() == f"file {number}"
        Path(job.destination).unlink()
    one = _linker(mode)
    _place_all(shelf, one, jobs, alone)
    assert outcome == alone
    assert linker.choice.refusals == one.choice.refusals


@pytest.mark.usefixtures("pieces")
def test_damage_is_reported_for_the_given_jobs_only(shelf: Shelf) -> None:
    jobs, outcome = _batch(shelf, 45), PlacementResult()
    stored = shelf.entry / "files" / jobs[33].file.path
    stored.chmod(0o644)
    stored.write_text("longer than it was")
    _place_new(shelf, _dividing(LinkMode.COPY), jobs, outcome)
    ((job, error),) = outcome.damaged
    assert job is jobs[33]
    assert "has 18 bytes, not 7" in str(error)
    assert sorted(outcome.created) == sorted(_destinations(jobs[:33] + jobs[34:]))


@pytest.mark.parametrize("how", ["raises", "dies"])
@pytest.mark.usefixtures("pieces")
def test_what_a_copy_could_not_place_is_placed_here(
    shelf: Shelf, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome, here = _batch(shelf, 45), PlacementResult(), os.getpid()
    real = entry_checks.check

    def failing(entry: Any, publisher: int, file: StoredFile, status: Any) -> None:
        if file.path.endswith(("f17", "f38")) and os.getpid() != here:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        real(entry, publisher, file, status)

    monkeypatch.setattr(entry_checks, "check", failing)
    _place_new(shelf, _dividing(LinkMode.COPY), jobs, outcome)
    assert sorted(outcome.created) == sorted(_destinations(jobs))
    assert sum(outcome.files.values()) == 45


@pytest.mark.usefixtures("pieces")
def test_where_the_environment_cannot_take_them_none_is_left(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, outcome = _batch(shelf, 45), PlacementResult()
    real = entry_checks.check

    def full(entry: Any, publisher: int, file: StoredFile, status: Any) -> None:
        if file.path.endswith("f17"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(entry, publisher, file, status)

    monkeypatch.setattr(entry_checks, "check", full)
    with pytest.raises(OSError) as caught:
        _place_new(shelf, _dividing(LinkMode.COPY), jobs, outcome)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(shelf.environment) == []


def test_only_directories_that_were_made_here_take_files_side_by_side(tmp_path: Path) -> None:
    """Where something may have been before, it could not be told from what a copy left."""
    (tmp_path / "old").mkdir()
    directories = TargetDirs(False)
    jobs = []
    for name in ("old/a", "new/b", "old/sub/c", "new/sub/d"):
        parent = directories.make(str((tmp_path / name).parent))
        jobs.append(Job(StoredFile(name, 0, "", False, 0), str(tmp_path / name), parent))
    new, old = directories.divided(jobs)
    assert [job.file.path for job in new] == ["new/b", "old/sub/c", "new/sub/d"]
    assert [job.file.path for job in old] == ["old/a"]


FEW_DESCRIPTORS = """if True:
    import json, os, resource, sys
    from pathlib import Path
    from pip_sharedcache.fs import Directory
    from pip_sharedcache.model import LinkMode, StoredFile
    from pip_sharedcache.placement import LinkChoice, Linker
    from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir
    from pip_sharedcache.store import Source
    mode, spare, entry, target = LinkMode(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    parent = TargetDir.of(os.stat(target), True)
    files = [StoredFile(f"lot/f{n}", len(f"file {n}"), "", False, 1_600_000_000) for n in range(90)]
    jobs = [Job(file, f"{target}/{file.path[4:]}", parent) for file in files]
    outcome, error, linker = PlacementResult(), None, Linker(LinkChoice(mode), 0o022)
    with Directory.open(Path(entry)) as held:
        # The limit is one for numbers, of which the lowest free one is taken each time.
        free = [n for n in range(200) if not os.path.exists(f"/dev/fd/{n}")]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[spare], limits[1]))
        try:
            linker.place_all(Source(held, os.getuid()), jobs, outcome)
        except OSError as problem:
            error = problem.errno
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        left = [n for n in free if os.path.exists(f"/dev/fd/{n}")]
    print(json.dumps([
        error, sum(outcome.files.values()), [job.file.path for job, _ in outcome.damaged],
        [os.path.basename(path) for path in outcome.created], left,
    ]))
"""


@MODE
@pytest.mark.parametrize("spare", [2, 3, 7, 40], ids="{} left".format)
def test_a_process_with_few_descriptors_left_places_all(
    shelf: Shelf, mode: LinkMode, spare: int
) -> None:
    _batch(shelf, 90)
    damaged = (0, 1, 31, 32, 33, 89)
    for number in damaged:
        (shelf.entry / "files" / "lot" / f"f{number}").unlink()
    shelf.placed("f2").write_text("old")
    command = [sys.executable, "-c", FEW_DESCRIPTORS, mode.value, str(spare)]
    done = subprocess.run(
        [*command, str(shelf.entry), str(shelf.environment)],
        check=True,
        capture_output=True,
        text=True,
    )
    good = [number for number in range(90) if number not in damaged]
    assert json.loads(done.stdout) == [
        None,
        len(good),
        [f"lot/f{number}" for number in damaged],
        [f"f{number}" for number in good if number != 2],
        [],
    ]
    for number in good:
        assert shelf.placed(f"f{number}").read_text() == f"file {number}"


@COPYING
@pytest.mark.parametrize("spare", [0, 1], ids="{} left".format)
def test_without_a_descriptor_for_each_end_the_copy_fails(
    shelf: Shelf, mode: LinkMode, spare: int
) -> None:
    _batch(shelf, 90)
    command = [sys.executable, "-c", FEW_DESCRIPTORS, mode.value, str(spare)]
    done = subprocess.run(
        [*command, str(shelf.entry), str(shelf.environment)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == [errno.EMFILE, 0, [], [], []]
    assert os.listdir(shelf.environment) == []


@pytest.mark.parametrize(
    "chosen", [(), (0,), (0, 1, 2), (0, 2, 4), (1, 2, 4), (0, 1, 3, 4, 5)], ids=str
)
def test_descriptors_are_closed_where_neighbours_belong_to_others(chosen: tuple[int, ...]) -> None:
    """Those that others opened in between stay open, and the same file as before."""
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(6)]
    before = {number: os.fstat(opened[number]) for number in range(6) if number not in chosen}
    given = [opened[number] for number in chosen]
    close_all(iter([*given, -1, *given[:1], -7]))  # in any order, and twice
    for number, descriptor in enumerate(opened):
        if number in chosen:
            with pytest.raises(OSError) as caught:
                os.fstat(descriptor)
            assert caught.value.errno == errno.EBADF
        else:
            assert os.path.samestat(os.fstat(descriptor), before[number])
            os.close(descriptor)


# -- a whole wheel from its manifest

SOURCES = ("demo/__init__.py", "demo/second.py", "demo/third.py")


def _pyc(source: str) -> str:
    return importlib.util.cache_from_source(source)


class Taken:
    """A site whose wheel has several sources, with bytecode for all but one that does not
    compile; a placement that has taken over what it can."""

    def __init__(self, base: Path, *, group: bool = False) -> None:
        self.site = Site(base)
        if group:
            self.site.shelf.environment.chmod(0o2775)
        for path in (*SOURCES[1:], BAD):
            self.site.shelf.add(path, f"# {path}\n".encode())
        self.bytecode = Shelf(base / "bytecode")
        for path in SOURCES:
            self.bytecode.add(_pyc(path), f"bytecode of {path}".encode() * 20)
        self.library = self.site.library
        self.left: list[str] = []

    @property
    def names(self) -> list[str]:
        """All that the archive has."""
        return list(self.site.shelf.files)

    def take(
        self, mode: LinkMode = LinkMode.COPY, *, compiles: bool = True, **how: Any
    ) -> Placement:
        begun = self.site.begin(mode, **how)
        begun.stage_dist_info(INFO)
        status = os.stat(self.bytecode.entry)
        rows = tuple(self.bytecode.files.values())
        manifest = Manifest("key", Digest("ab" * 32), 0, rows, (BAD,))
        made = Entry(self.bytecode.entry, OWN, (status.st_dev, status.st_ino), manifest)
        if compiles:
            begun.use_bytecode(made, Directory.open(made.path))
        self.left = begun.take_over(self.names, compiles=compiles)
        return begun

    def save_rest(self, begun: Placement) -> None:
        """What pip does with the files that are left to it, RECORD included."""
        for path in self.left:
            assert begun.save(path, begun.destination(path, self.site.target(path)))
        record = self.library / begun.dist_info.staged / "RECORD"
        rows = [
            (path.replace(INFO, begun.dist_info.staged), "", "")
            for path in (*self.left, SOURCES[0])
        ]
        with record.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    def recorded(self) -> list[str]:
        with (self.library / INFO / "RECORD").open(encoding="utf-8", newline="") as file:
            return [row[0] for row in csv.reader(file)]

    def tree(self) -> set[str]:
        return {
            path.relative_to(self.library).as_posix()
            for path in self.library.rglob("*")
            if not path.is_dir()
        }


@pytest.fixture
def taken(tmp_path: Path) -> Taken:
    return Taken(tmp_path)


PLACED = {*SOURCES, BAD, "demo/sub/deep/data.txt"}
COMPILED = {_pyc(path) for path in SOURCES}


@MODE
def test_sources_are_taken_with_their_bytecode_and_those_that_do_not_compile_left_to_pip(
    taken: Taken, mode: LinkMode
) -> None:
    begun = taken.take(mode)
    assert taken.left == [*LEFT, BAD]
    assert not taken.library.exists(), "where to is not known yet"
    taken.save_rest(begun)
    inside = {path.replace(INFO, begun.dist_info.staged) for path in FILES if path.startswith(INFO)}
    assert taken.tree() == PLACED | COMPILED | inside
    assert sorted(begun.taken) == sorted((PLACED | COMPILED | INFORMATION) - {BAD})
    begun.commit()
    assert begun.undone == []
    for path in SOURCES:
        assert (taken.library / _pyc(path)).read_text() == f"bytecode of {path}" * 20
    wanted = PLACED | COMPILED | INFORMATION | {LEFT[0]}
    assert sum(taken.site.report.placed.values()) == len(wanted)
    assert taken.site.report.placed[mode] or mode is LinkMode.REFLINK
    wanted = PLACED | COMPILED | {path for path in FILES if path.startswith(INFO)}
    assert sorted(taken.recorded()) == sorted(wanted | {"demo-1.0.data/scripts/run"})


@MODE
def test_bytecode_of_a_source_without_its_time_gets_the_time_of_the_source(
    taken: Taken, monkeypatch: pytest.MonkeyPatch, mode: LinkMode
) -> None:
    """File systems that let nobody set a time (some of file servers and object stores)."""
    set_time = copies_module.set_time

    def refuse(target: int, path: str, mtime: int) -> None:
        if path.endswith(SOURCES[0]):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        set_time(target, path, mtime)

    monkeypatch.setattr(copies_module, "set_time", refuse)
    begun = taken.take(mode)
    taken.save_rest(begun)
    assert begun.undone == []
    begun.commit()
    for source in SOURCES:
        time = int((taken.library / source).stat().st_mtime)
        kept, new = f"bytecode of {source}".encode() * 20, (taken.library / _pyc(source))
        expected = kept[:8] + time.to_bytes(4, "little") + kept[12:]
        refused = source == SOURCES[0] and mode in (LinkMode.COPY, LinkMode.REFLINK)
        assert new.read_bytes() == (expected if refused else kept)


def test_a_script_that_pip_generated_is_taken_back(taken: Taken, tmp_path: Path) -> None:
    begun = taken.take()
    taken.save_rest(begun)
    script = tmp_path / "script"
    script.touch()
    begun.generated(str(script))
    begun.undo()
    assert not script.exists()


def test_where_pip_does_not_compile_all_sources_are_taken_and_no_bytecode(taken: Taken) -> None:
    begun = taken.take(compiles=False)
    assert taken.left == LEFT
    taken.save_rest(begun)
    begun.commit()
    assert not [path for path in taken.tree() if path.endswith(".pyc")]
    assert taken.tree() >= PLACED


def test_without_bytecode_only_what_is_no_source_is_taken(site: Site) -> None:
    begun = site.begin()
    begun.stage_dist_info(INFO)
    left = begun.take_over(list(FILES), compiles=True)
    assert left == ["demo/__init__.py", *LEFT]
    assert set(begun.taken) == {"demo/sub/deep/data.txt"} | INFORMATION
    begun.undo()


def test_a_source_without_bytecode_among_others_is_left_to_pip(taken: Taken) -> None:
    del taken.bytecode.files[_pyc(SOURCES[1])]
    begun = taken.take()
    assert SOURCES[1] in taken.left
    others = {BAD, SOURCES[1], _pyc(SOURCES[1])}
    assert set(begun.taken) == (PLACED | COMPILED | INFORMATION) - others
    begun.undo()


def test_directories_in_the_archive_are_left_to_pip(site: Site) -> None:
    begun = site.begin()
    begun.stage_dist_info(INFO)
    names = ["demo/", *FILES, f"{INFO}/"]
    left = begun.take_over(names, compiles=False)
    assert [name for name in left if name.endswith("/")] == ["demo/", f"{INFO}/"]
    assert begun.taken
    begun.undo()


def test_what_is_left_comes_in_the_order_of_the_archive(site: Site) -> None:
    begun = site.begin()
    begun.stage_dist_info(INFO)
    names = list(reversed(FILES))
    left = begun.take_over(names, compiles=True)
    assert left == [name for name in names if name in left]
    begun.undo()


@pytest.mark.parametrize(
    "kind", ["one is missing", "one more", "one twice", "another name", "other case"]
)
@pytest.mark.parametrize("compiles", [False, True], ids=["not compiling", "compiling"])
def test_of_an_archive_that_the_manifest_does_not_speak_of_nothing_is_taken(
    taken: Taken, kind: str, compiles: bool
) -> None:
    """What the entry's wheel file holds must be what was unpacked."""
    names = taken.names
    changed = {
        "one is missing": names[1:],
        "one more": [*names, "demo/more.py"],
        "one twice": [*names, names[0]],
        "another name": [*names[:-1], "demo/other.py"],
        "other case": [names[0].upper(), *names[1:]],
    }[kind]
    begun = taken.take(compiles=compiles)
    again = taken.site.begin()
    again.stage_dist_info(INFO)
    assert again.take_over(changed, compiles=compiles) == changed
    assert again.taken == []
    again.undo()
    begun.undo()


def test_undone_what_was_taken_is_taken_back(taken: Taken) -> None:
    begun = taken.take()
    taken.save_rest(begun)
    begun.undo()
    assert os.listdir(taken.site.shelf.environment) == []


def test_undone_what_was_taken_and_replaced_something_stays(taken: Taken) -> None:
    (taken.library / "demo").mkdir(parents=True)
    (taken.library / SOURCES[0]).write_text("old")
    begun = taken.take()
    taken.save_rest(begun)
    begun.undo()
    assert SOURCES[0] in taken.tree()
    assert not taken.tree() & (PLACED - {SOURCES[0]})


@MODE
def test_damaged_file_in_a_claimed_job_is_reported_and_the_others_placed(
    taken: Taken, mode: LinkMode
) -> None:
    (taken.site.shelf.entry / "files" / SOURCES[1]).unlink()
    begun = taken.take(mode)
    taken.save_rest(begun)
    ((job, error),) = begun.undone
    assert (job.file.path, job.destination) == (SOURCES[1], taken.site.target(SOURCES[1]))
    assert isinstance(error, DamagedEntry)
    assert begun.is_of_wheel(job)
    assert taken.tree() >= (PLACED | COMPILED) - {SOURCES[1]}
    # pip saves this one itself.
    Path(job.destination).write_text("by pip")
    begun.restored(job)
    begun.undo()
    assert os.listdir(taken.site.shelf.environment) == [], "what pip did for it is ours to undo"


def test_an_environment_that_does_not_take_a_file_is_pips_error(taken: Taken) -> None:
    (taken.library / SOURCES[2]).mkdir(parents=True)
    begun = taken.take()
    with pytest.raises(OSError):
        taken.save_rest(begun)
    begun.undo()
    assert taken.tree() == set()
    assert (taken.library / SOURCES[2]).is_dir()


IN_THE_WAY = ["a directory", "a file for its directory", "a full disk", "damage", "all damaged"]


@pytest.mark.parametrize("kind", IN_THE_WAY)
@MODE
def test_bytecode_that_cannot_be_placed_is_no_error(
    taken: Taken, mode: LinkMode, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, limit = _pyc(SOURCES[1]), 1 << 30
    undone = {second}
    if kind == "a directory":
        (taken.library / second).mkdir(parents=True)
    elif kind == "a file for its directory":
        (taken.library / "demo").mkdir(parents=True)
        (taken.library / "demo" / "__pycache__").touch()
        undone = set(COMPILED)
    elif kind == "a full disk":
        # Links are not files that grow.
        limit = 100
        undone = set(COMPILED) if mode in (LinkMode.REFLINK, LinkMode.COPY) else set()
    else:
        for path in [second] if kind == "damage" else COMPILED:
            (taken.bytecode.entry / "files" / path).unlink()
        undone = {second} if kind == "damage" else set(COMPILED)
    begun = taken.take(mode)
    with file_size_limit(limit):
        begun.destination(f"{INFO}/WHEEL", taken.site.target(f"{INFO}/WHEEL"))
    counted = sum(taken.site.report.placed.values())
    taken.save_rest(begun)
    told = [job.file.path for job, _ in begun.undone]
    assert sorted(told) == sorted(undone), "each once"
    for job, error in begun.undone:
        assert job.destination == str(taken.library / job.file.path)
        assert not begun.is_of_wheel(job)
        assert isinstance(error, DamagedEntry) is (kind in ("damage", "all damaged"))
    placed = {path for path in taken.tree() if path.endswith(".pyc")}
    assert placed == COMPILED - undone
    assert taken.tree() >= PLACED
    expected = (PLACED | placed | INFORMATION) - {BAD}
    assert counted == len(expected), "each counted once; pip saves what does not compile"
    begun.commit()
    assert taken.site.names() == ["demo", INFO]


def test_bytecode_that_pip_compiles_after_all_is_recorded_and_undone(taken: Taken) -> None:
    (taken.bytecode.entry / "files" / _pyc(SOURCES[1])).unlink()
    begun = taken.take()
    taken.save_rest(begun)
    (taken.library / _pyc(SOURCES[1])).write_text("by pip")
    begun.compiled(taken.site.target(SOURCES[1]))
    begun.undo()
    assert os.listdir(taken.site.shelf.environment) == []
    begun = taken.take()
    taken.save_rest(begun)
    (taken.library / _pyc(SOURCES[1])).write_text("by pip")
    begun.compiled(taken.site.target(SOURCES[1]))
    begun.commit()
    assert _pyc(SOURCES[1]) in taken.recorded()


def test_bytecode_that_is_not_there_after_all_is_not_recorded(taken: Taken) -> None:
    (taken.bytecode.entry / "files" / _pyc(SOURCES[1])).unlink()
    begun = taken.take()
    taken.save_rest(begun)
    begun.not_compiled(taken.site.target(SOURCES[1]))
    begun.commit()
    recorded = taken.recorded()
    assert _pyc(SOURCES[1]) not in recorded
    assert {SOURCES[1], _pyc(SOURCES[0]), _pyc(SOURCES[2])} <= set(recorded)
    assert len(recorded) == len(set(recorded))


def test_what_is_taken_belongs_to_the_group_of_the_environment(tmp_path: Path) -> None:
    taken = Taken(tmp_path, group=True)
    os.umask(0o077)
    begun = taken.take()
    taken.save_rest(begun)
    begun.commit()
    for path in PLACED | COMPILED:
        assert oct(_mode(taken.library / path)) == oct(0o660), path
    for directory in ("demo", "demo/__pycache__", "demo/sub/deep", INFO):
        assert oct(_mode(taken.library / directory)) == oct(0o2770), directory
    assert oct(_mode(taken.library / INFO / "RECORD")) == oct(0o660)


# -- the end in two steps: complete, and shown together with others


def test_what_is_complete_and_closed_can_be_shown_later(taken: Taken) -> None:
    before = _open_descriptors()
    begun = taken.take()
    taken.save_rest(begun)
    begun.record()
    begun.close()
    assert _open_descriptors() == before
    assert taken.site.names() == [begun.dist_info.staged, "demo"]
    assert not begun.dist_info.made_visible
    begun.flush(False)
    begun.make_visible()
    assert taken.site.names() == ["demo", INFO]
    assert begun.dist_info.made_visible
    assert len(taken.recorded()) == len(set(taken.recorded()))
    begun.undo()
    assert taken.tree() >= PLACED, "what pip sees stays"


def test_what_is_complete_and_closed_can_be_undone(taken: Taken) -> None:
    begun = taken.take()
    taken.save_rest(begun)
    begun.record()
    begun.close()
    begun.undo()
    assert os.listdir(taken.site.shelf.environment) == []


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What was made durable, and with which content."""
    seen: list[tuple[str, bytes]] = []

    def fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append((path, Path(path).read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


@MODE
def test_written_files_are_those_that_may_not_be_on_the_disk(taken: Taken, mode: LinkMode) -> None:
    begun = taken.take(mode)
    taken.save_rest(begun)
    begun.record()
    *written, last = begun.written()
    assert last == str(taken.library / begun.dist_info.staged / "RECORD")
    sized = {path for path in PLACED | COMPILED if (taken.library / path).stat().st_size}
    assert len(sized) > 3
    inside = {os.path.relpath(path, taken.library) for path in written}
    assert sized & inside == (set() if mode is LinkMode.SYMLINK else sized)
    begun.undo()


def test_what_pip_makes_durable_is_made_durable_with_its_last_content(
    taken: Taken, flushed: list[tuple[str, bytes]]
) -> None:
    begun = taken.take()
    taken.save_rest(begun)
    staged = taken.library / begun.dist_info.staged
    for name in ("INSTALLER", "direct_url.json", "REQUESTED"):
        (staged / name).write_text(name)
    begun.record()
    assert flushed == [], "all of a run together, at its end"
    begun.flush(False)
    named = dict(flushed)
    assert len(flushed) == len(named) == 3
    assert set(named) == {str(staged / n) for n in ("INSTALLER", "direct_url.json", "RECORD")}
    begun.make_visible()
    assert (taken.library / INFO / "RECORD").read_bytes() == named[str(staged / "RECORD")]
    begun.flush(False)
    assert len(flushed) == 3, "it is durable already"


def test_flushing_finishes_the_record_first(taken: Taken, flushed: list[tuple[str, bytes]]) -> None:
    begun = taken.take()
    taken.save_rest(begun)
    begun.flush(False)
    ((path, content),) = flushed
    assert os.path.basename(path) == "RECORD"
    assert b"installing" not in content
    assert SOURCES[1].encode() in content
    begun.undo()


def test_an_error_where_pip_syncs_its_own_files_is_raised(
    taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = taken.take()
    taken.save_rest(begun)

    def full(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    begun.record()
    with pytest.raises(OSError) as caught:
        begun.flush(False)
    assert caught.value.errno == errno.EDQUOT
    begun.flush(True)
    assert not begun.dist_info.made_visible
    begun.undo()
    assert os.listdir(taken.site.shelf.environment) == []


def test_without_information_there_is_nothing_to_flush(
    site: Site, flushed: list[tuple[str, bytes]]
) -> None:
    begun = site.begin()
    begun.flush(False)
    begun.stage_dist_info(INFO)
    begun.flush(False)
    site.save(begun, "demo/__init__.py")
    begun.flush(False)
    begun.commit()
    assert flushed == []


# -- RECORD


@pytest.fixture
def information(tmp_path: Path) -> DistInfo:
    made = DistInfo(INFO)
    made.library = str(tmp_path)
    made.make()
    return made


def _write_record(information: DistInfo, rows: list[tuple[str, ...]]) -> Path:
    path = Path(information.path, "RECORD")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_completed_record_is_what_pip_would_have_written(information: DistInfo) -> None:
    """Sorted as text, "\\r\\n" at the end of each line, quoted only where it must be."""
    rows = [
        ("demo/z.py", "sha256=z", "1"),
        ("../../bin/run, fast", "sha256=r", "2"),
        (f"{information.staged}/METADATA", "sha256=m", "3"),
        (f"{information.staged}/licenses/L", "", ""),
        (f"{information.staged}/RECORD", "", ""),
        ("demo/ü中.py", "sha256=u", "4"),
        ("Demo/a.py", "", ""),
    ]
    path = _write_record(information, rows)
    assert information.complete(["demo/a.py", "demo/z.py", "demo/b,c.py"], []) == [
        r[0] for r in rows
    ]
    assert path.read_bytes().decode("utf-8") == "".join(
        line + "\r\n"
        for line in (
            '"../../bin/run, fast",sha256=r,2',
            "Demo/a.py,,",
            f"{INFO}/METADATA,sha256=m,3",
            f"{INFO}/RECORD,,",
            f"{INFO}/licenses/L,,",
            "demo/a.py,,",
            '"demo/b,c.py",,',
            "demo/z.py,sha256=z,1",
            "demo/ü中.py,sha256=u,4",
        )
    )


def test_a_row_that_is_there_keeps_its_hash(information: DistInfo) -> None:
    path = _write_record(information, [("demo/a.py", "sha256=a", "1"), ("demo/b.py", "", "")])
    information.complete(["demo/b.py", "demo/a.py"], [])
    assert path.read_text().splitlines() == ["demo/a.py,sha256=a,1", "demo/b.py,,"]


def test_a_row_under_the_real_name_is_not_added_again(information: DistInfo) -> None:
    path = _write_record(information, [(f"{information.staged}/METADATA", "sha256=m", "3")])
    information.complete([f"{INFO}/METADATA"], [])
    assert path.read_text().splitlines() == [f"{INFO}/METADATA,sha256=m,3"]


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o600, 0o444], ids=oct)
@pytest.mark.parametrize("mask", [0o022, 0o077], ids=oct)
def test_a_completed_record_keeps_its_mode(information: DistInfo, mode: int, mask: int) -> None:
    path = _write_record(information, [("demo/a.py", "", "")])
    path.chmod(mode)
    os.umask(mask)
    information.complete([], [])
    assert oct(_mode(path)) == oct(mode)
    assert os.listdir(information.path) == ["RECORD"]


def test_without_a_record_none_is_made(information: DistInfo) -> None:
    assert information.complete(["demo/a.py"], []) == []
    assert os.listdir(information.path) == []


def test_a_record_that_does_not_fit_is_an_error(information: DistInfo) -> None:
    _write_record(information, [("demo/a.py", "", "")])
    with file_size_limit(100), pytest.raises(OSError):
        information.complete([f"demo/m{number}.py" for number in range(100)], [])
    assert os.listdir(information.path) == ["RECORD"]


@pytest.mark.parametrize("what", ["hard link", "symlink", "fifo"])
def test_what_lies_in_the_place_of_record_is_not_written(
    information: DistInfo, tmp_path: Path, what: str
) -> None:
    """In an environment of a group, a member can put it there."""
    path = _write_record(information, [("demo/a.py", "", "")])
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    before = other.read_bytes()
    path.unlink()
    if what == "hard link":
        os.link(other, path)
        assert information.complete(["demo/b.py"], []) == ["demo/a.py"]
        assert path.stat().st_nlink == 1
    else:
        os.mkfifo(path) if what == "fifo" else path.symlink_to(other)
        with suppress(OSError):
            information.complete(["demo/b.py"], [])
    assert other.read_bytes() == before


def test_record_is_completed_in_its_place_also_where_it_becomes_shorter(
    information: DistInfo,
) -> None:
    """A file server is then asked for less than where it is replaced."""
    rows = [(f"{information.staged}/m{number}.txt", "", "") for number in range(9)]
    path = _write_record(information, rows)
    before = path.stat()
    information.complete([], [])
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_size < before.st_size
    assert path.read_text().splitlines() == [f"{INFO}/m{number}.txt,," for number in range(9)]


def test_information_in_the_wheel_is_read_from_there_if_it_is_what_was_published(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file server, each file of the store would be opened and closed."""
    monkeypatch.setattr(Source, "costs_requests", True)
    right = f"{INFO}/METADATA"
    digest = hashlib.sha256(FILES[right]).hexdigest()
    site.shelf.files[right] = replace(site.shelf.files[right], sha256=digest)
    begun = site.begin()
    begun.stage_dist_info(INFO)
    in_wheel = {right: FILES[right], f"{INFO}/WHEEL": b"something else"}  # no LICENSE: KeyError
    begun.take_over(list(FILES), compiles=False, read=lambda path: in_wheel[path])
    assert begun.dist_info.contents == {right: FILES[right]}
    (site.shelf.entry / "files" / right).unlink()
    site.save(begun)
    begun.commit()
    assert begun.undone == []
    for path in INFORMATION:
        assert Path(site.target(path)).read_bytes() == FILES[path]


def test_information_is_new_each_time_and_says_whose_it_is(tmp_path: Path) -> None:
    one, other = DistInfo(INFO), DistInfo(INFO)
    assert one.staged != other.staged
    for made in (one, other):
        made.library = str(tmp_path)
        assert made.staged.startswith(f".{INFO}.{HOST}.{os.getpid()}-")
        made.make()
        with pytest.raises(FileExistsError):
            made.make()
    other.sweep(unfinished_in(str(tmp_path)))
    assert sorted(os.listdir(tmp_path)) == [], "of a dead process with our number, it says"


def test_only_what_was_revealed_itself_is_visible(tmp_path: Path) -> None:
    """Another installation of the same distribution may be there by now."""
    made = DistInfo(INFO)
    assert not made.is_visible()
    made.library = str(tmp_path)
    made.make()
    assert not made.is_visible()
    made.make_visible()
    assert made.is_visible()
    (tmp_path / INFO).rename(tmp_path / "moved")
    assert not made.is_visible()
    (tmp_path / INFO).mkdir()
    assert not made.is_visible()


def test_removing_what_is_not_there_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = DistInfo(INFO)
    made.remove()
    made.library = str(tmp_path)
    made.remove()
    made.make()
    made.remove()
    assert (os.listdir(tmp_path), caplog.messages) == ([], [])


@pytest.mark.parametrize("mode", FALLING, ids=lambda mode: mode.value)
def test_what_was_there_is_not_new_though_a_mode_is_refused_for_it(
    shelf: Shelf, mode: LinkMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """link(2) says that something is there before it says that it is not permitted."""
    jobs, outcome = _batch(shelf, 3), PlacementResult()
    shelf.placed("f0").write_text("old")
    holder = dirfd.fcntl if mode is LinkMode.REFLINK else os
    name = {LinkMode.REFLINK: "ioctl", LinkMode.HARDLINK: "link", LinkMode.SYMLINK: "symlink"}[mode]
    real = getattr(holder, name)

    def refuse(*args: Any, **how: Any) -> Any:
        if mode is not LinkMode.REFLINK and os.path.lexists(args[1]):
            return real(*args, **how)
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(holder, name, refuse)
    _place_all(shelf, _linker(mode), jobs, outcome)
    assert outcome.created == _destinations(jobs[1:])
    assert shelf.placed("f0").read_text() == "file 0"


@pytest.mark.parametrize("what", ["file", "bytecode"])
def test_what_pip_does_in_place_of_what_was_taken_belongs_to_the_group_too(
    tmp_path: Path, what: str
) -> None:
    taken = Taken(tmp_path, group=True)
    path = SOURCES[0] if what == "file" else _pyc(SOURCES[0])
    damaged = taken.site.shelf if what == "file" else taken.bytecode
    (damaged.entry / "files" / path).unlink()
    os.umask(0o077)
    begun = taken.take()
    taken.save_rest(begun)
    ((job, _),) = begun.undone
    Path(job.destination).write_text("by pip")
    if what == "file":
        begun.restored(job)
    else:
        begun.compiled(taken.site.target(SOURCES[0]))
    begun.commit()
    assert oct(_mode(taken.library / path)) == oct(0o660)
