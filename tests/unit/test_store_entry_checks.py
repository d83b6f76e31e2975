"""Directories of an entry: which of them are trusted, and what is asked of a file system."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pip_sharedcache.fs import Directory
from pip_sharedcache.placement.linker import worth_listing
from pip_sharedcache.store.entry_checks import CheckedDirectories
from support.probes import linux, needs, root

OTHER = 4242


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / "files" / name).mkdir(parents=True)
    for path in (tmp_path / "files").rglob("*"):
        path.chmod(0o755)
    (tmp_path / "files").chmod(0o755)
    return tmp_path


@pytest.fixture
def held(entry: Path) -> Iterator[Directory]:
    with Directory.open(entry) as opened:
        yield opened


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@needs(linux)
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.chmod(0o775), "may be written by others"),
        (_link, "is not a directory"),
        pytest.param(lambda path: os.chown(path, OTHER, -1), "belongs to", marks=needs(root)),
    ],
)
@pytest.mark.parametrize("listed", [(), ("files/a", "files/a/b", "files/e")])
def test_untrusted_directory_distrusts_all_below_it_and_nothing_else(
    entry: Path,
    held: Directory,
    change: Callable[[Path], None],
    what: str,
    listed: tuple[str, ...],
) -> None:
    change(entry / "files/a/b")
    checked = CheckedDirectories(held, os.geteuid())
    checked.listed = frozenset(listed)
    for path in ("files/a/b/c/deep", "files/a/b/one", "files/a/b/c/other"):
        damage = checked.damage_above(path)
        assert damage is not None
        assert f"{entry / 'files/a/b'}: {what}" in str(damage)
    for path in ("files/top", "files/a/one", "files/a/d/one", "files/e/one"):
        assert checked.damage_above(path) is None


def test_missing_directory_is_left_to_the_check_of_the_file(held: Directory) -> None:
    assert CheckedDirectories(held, os.geteuid()).damage_above("files/gone/one") is None


def test_directory_is_looked_at_once_and_those_above_first(
    held: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Directory.file_status

    def file_status(self: Directory, name: str) -> os.stat_result:
        asked.append(name)
        return original(self, name)

    monkeypatch.setattr(Directory, "file_status", file_status)
    checked = CheckedDirectories(held, os.geteuid())
    for path in ("files/a/b/one", "files/a/b/two", "files/a/d/one", "files/a/one"):
        checked.damage_above(path)
    assert asked == ["files", "files/a", "files/a/b", "files/a/d"]


def test_directory_is_listed_when_a_file_in_it_is_about_to_be_placed(
    held: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later: what a client of a file server remembers of the files lasts for some seconds only."""
    listed: Counter[str] = Counter()
    original = Directory.names

    def names(self: Directory) -> list[str]:
        listed[str(self.path.relative_to(held.path))] += 1
        return original(self)

    monkeypatch.setattr(Directory, "names", names)
    checked = CheckedDirectories(held, os.geteuid())
    checked.listed = frozenset({"files/a", "files/a/b", "files/e"})
    checked.damage_above("files/a/d/one")
    assert listed == {"files/a": 1}
    checked.damage_above("files/a/b/one")
    checked.damage_above("files/a/b/two")
    assert listed == {"files/a": 1, "files/a/b": 1}


@pytest.mark.parametrize(
    ("paths", "listed"),
    [
        (["one.py"], set()),
        (["one.py", "two.py"], {"files"}),
        (["a/one.py", "a/two.py"], {"files/a"}),
        # A list of a names b and d, which need none themselves; e needs one, and is opened.
        (["a/b/one.py", "a/d/one.py"], {"files/a"}),
        (["a/b/one.py", "a/e/one.py", "a/e/two.py"], {"files/a/e"}),
        (["a/__pycache__/one.pyc", "a/b/__pycache__/one.pyc"], {"files/a"}),
        (["a/b/c/d/one.py"], set()),
    ],
)
def test_directory_with_several_names_to_look_up_is_worth_a_list(
    paths: list[str], listed: set[str]
) -> None:
    assert worth_listing(paths) == listed
