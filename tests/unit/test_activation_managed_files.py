"""The files that `store enable` writes: all of them, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pip_sharedcache.activation import managed_files
from pip_sharedcache.errors import FileError
from support.filesystems import mounted
from support.probes import linux, needs, root, tmpfs

pytestmark = needs(linux)


@needs(root, tmpfs)
def test_files_that_a_full_disk_cannot_all_hold_are_taken_back(tmp_path: Path) -> None:
    # Inodes for the top, a changed file and its new text, one directory and one file.
    with mounted("tmpfs", tmp_path, options="nr_inodes=4") as place:
        changed = place / "changed"
        changed.write_bytes(b"before")
        files = {changed: b"after", place / "a" / "one": b"1", place / "a" / "b" / "two": b"2"}
        with pytest.raises(FileError, match="No space left"):
            managed_files.write(files, lambda path, text: True, place)
        assert os.listdir(place) == ["changed"]
        assert changed.read_bytes() == b"before"
