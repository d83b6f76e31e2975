"""Fixtures of the unit tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.environments import public_directory
from support.filesystems import remove_tree


@pytest.fixture
def shared_tmp() -> Iterator[Path]:
    """As everywhere in the tests, but in memory if possible: a store has 512 directories."""
    memory = Path("/dev/shm")
    with_room = memory.is_dir() and os.access(memory, os.W_OK)
    base = memory if with_room else public_directory()
    path = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=base))
    path.chmod(0o755)
    yield path
    remove_tree(path)
