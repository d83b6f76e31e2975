"""Directories that exist no more: see tests/network for those that only the server knows gone."""

from __future__ import annotations

from pathlib import Path

from pip_sharedcache.fs import is_gone


def test_only_a_directory_that_does_not_exist_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    assert not is_gone(tmp_path / "directory")
    assert not is_gone(tmp_path / "file"), "in the way of the directory"
    assert not is_gone(tmp_path / "link")
    assert is_gone(tmp_path / "missing")
    (tmp_path / "directory").rename(tmp_path / "retired")
    assert is_gone(tmp_path / "directory")
