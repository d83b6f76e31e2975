"""What leads to a file, and whether anybody but root could have it lead elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from pip_sharedcache.trust import mounts, paths
from pip_sharedcache.trust.paths import (
    is_replaceable,
    replaceable_by,
    replaceable_steps,
    steps,
)
from support import probes
from support.process import as_user

ALICE, GROUP = 54321, 54399


def test_every_link_and_directory_is_passed(shared_tmp: Path) -> None:
    top = shared_tmp.resolve()
    for name in ("a", "b", "c"):
        (top / name).mkdir()
    (top / "c" / "file").touch()
    (top / "b" / "second").symlink_to("../c")
    (top / "a" / "first").symlink_to(top / "b" / "second")
    passed = [path for path, _ in steps(top / "a" / "first" / "file")]
    below = [path for path in passed if top in path.parents]
    names = ("a", "a/first", "b", "b/second", "c", "c/file")
    assert list(dict.fromkeys(below)) == [top / name for name in names]
    assert passed[0] == Path("/")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        list(steps(tmp_path / "one"))
    assert is_replaceable(tmp_path / "one"), "nobody knows"


@probes.needs(probes.root)
def test_a_directory_that_a_link_in_between_leads_through_is_looked_at(shared_tmp: Path) -> None:
    for name in ("real", "theirs"):
        (shared_tmp / name).mkdir()
    (shared_tmp / "theirs" / "link").symlink_to("../real")
    (shared_tmp / "start").symlink_to("theirs/link")
    assert not is_replaceable(shared_tmp / "start")
    os.chown(shared_tmp / "theirs", ALICE, -1)
    assert is_replaceable(shared_tmp / "start")
    assert not is_replaceable(shared_tmp / "real")


@probes.needs(probes.root)
@pytest.mark.parametrize(
    ("mode", "moves"), [(0o644, False), (0o664, True), (0o646, True), (0o1666, True)]
)
def test_a_file_that_others_may_write_is_theirs(shared_tmp: Path, mode: int, moves: bool) -> None:
    file = shared_tmp / "file"
    file.touch()
    file.chmod(mode)
    assert is_replaceable(file) == moves


@probes.needs(probes.root)
@pytest.mark.parametrize("path", ["/proc/self/cmdline", "/proc/1/cmdline", "/proc/sys/kernel"])
def test_what_the_kernel_shows_may_be_anybodys_words(path: str) -> None:
    assert os.stat(path).st_uid == 0
    assert is_replaceable(Path(path))


@probes.needs(probes.root)
def test_everybody_learns_the_same(shared_tmp: Path) -> None:
    with as_user(ALICE):
        assert not is_replaceable(shared_tmp)


@probes.needs(probes.root)
@pytest.mark.parametrize(
    ("above", "mode", "by"),
    [
        (0, 0o755, []),
        (ALICE, 0o755, []),
        (ALICE + 1, 0o755, [None]),
        (ALICE, 0o775, [GROUP]),
        (0, 0o2775, [GROUP]),
        (0, 0o777, [None]),
        (0, 0o1777, []),
    ],
)
def test_who_may_put_another_directory_in_its_place(
    shared_tmp: Path, above: int, mode: int, by: list[int | None]
) -> None:
    parent = shared_tmp.resolve() / "parent"
    parent.mkdir()
    os.chown(parent, above, GROUP)
    parent.chmod(mode)
    store = parent / "store"
    store.mkdir()
    store.chmod(0o2775)
    os.chown(store, ALICE, -1)
    expected = [(parent, gid) for gid in by]
    assert replaceable_steps(store, frozenset({ALICE})) == expected
    (shared_tmp / "link").symlink_to(store)
    assert replaceable_steps(shared_tmp / "link", frozenset({ALICE})) == expected


@probes.needs(probes.root, probes.acl)
def test_directory_with_an_access_list_is_replaceable_by_unknown_users(shared_tmp: Path) -> None:
    parent = shared_tmp.resolve() / "parent"
    (parent / "store").mkdir(parents=True)
    subprocess.run(["setfacl", "-m", f"u:{ALICE}:rwx", str(parent)], check=True)
    assert replaceable_steps(parent / "store", frozenset()) == [(parent, None)]


@probes.needs(probes.root)
def test_one_of_several_paths_that_another_user_can_replace_is_named(shared_tmp: Path) -> None:
    top = shared_tmp.resolve()
    (top / "kept").mkdir()
    (top / "theirs").mkdir()
    files = [top / place / name for place in ("kept", "theirs") for name in ("one", "two")]
    for file in files:
        file.touch()
    own: frozenset[int] = frozenset()
    assert replaceable_by(*files, owners=own) == ""
    os.chown(files[3], ALICE, -1)
    assert replaceable_by(*files[:3], owners=own) == ""
    assert replaceable_by(*files, owners=own) == f"uid {ALICE} owns {files[3]}"
    assert replaceable_by(*files, owners=frozenset({ALICE})) == ""
    (top / "kept" / "link").symlink_to("../theirs")
    os.chown(top / "theirs", -1, GROUP)
    (top / "theirs").chmod(0o775)
    by_link = top / "kept" / "link" / "one"
    assert (
        replaceable_by(files[0], by_link, owners=own)
        == f"group gid {GROUP} can change {top}/theirs"
    )
    unknown = replaceable_by(files[0], top / "none" / "file", owners=own)
    assert unknown == "the directories above it cannot be read: No such file or directory"


def test_common_steps_of_several_paths_are_examined_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"file{number}" for number in range(20)]
    for file in files:
        file.touch()
    calls = Counter[str]()
    lstat, mounted = Path.lstat, mounts.mounted

    def counted_lstat(path: Path) -> os.stat_result:
        calls[str(path)] += 1
        return lstat(path)

    def counted_mounts() -> list[mounts.Mount]:
        calls["mounts"] += 1
        return mounted()

    monkeypatch.setattr(Path, "lstat", counted_lstat)
    monkeypatch.setattr(paths, "mounted", counted_mounts)
    assert replaceable_by(*files, owners=frozenset({os.getuid()})) == ""
    steps_there = [*files, tmp_path, *tmp_path.parents]
    assert calls == dict.fromkeys(["mounts", *map(str, steps_there)], 1)
