"""Fixtures of the unit tests."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import REPOSITORY, probes
from support.environments import public_directory
from support.filesystems import mounted, remove_tree


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


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """An empty directory on another file system than that of ``tmp_path``, wherever TMPDIR is."""
    for base in (Path("/dev/shm"), Path("/var/tmp"), REPOSITORY):
        there = base.is_dir() and os.access(base, os.W_OK)
        if there and base.stat().st_dev != tmp_path.stat().st_dev:
            path = Path(tempfile.mkdtemp(prefix="pip-sharedcache-", dir=base))
            yield path
            remove_tree(path)
            return
    probes.require(probes.tmpfs)
    with mounted("tmpfs", tmp_path, size_mb=8) as path:
        yield path


@pytest.fixture
def own_environment() -> Iterator[None]:
    """A test that changes environment variables changes them for itself alone."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def no_hanging() -> Iterator[None]:
    """A test that waits for a process which never answers fails, instead of stopping all."""

    def too_late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(120)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def nothing_left_behind() -> Iterator[None]:
    """Descriptors and child processes, zombies included, are as they were."""

    def left() -> tuple[list[str], set[str]]:
        # The descriptor by which the directory itself is read comes and goes.
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return sorted(os.listdir("/proc/self/fd")), set(children)

    before = left()
    yield
    assert left() == before
