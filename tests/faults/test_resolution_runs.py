"""Runs of pip that record a resolution while the disk is full, or nearly so."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.filesystems import mounted
from support.index import IndexFactory, LocalIndex, Public
from support.probes import needs, tmpfs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(tmpfs)]

#: With -v, pip judges each page itself, and a copy of the page waits on disk.
AS_ON_DISK = ("--dry-run", "-v")
PARTS = [f"part{number}" for number in range(5)]


@pytest.fixture
def served(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    """Five projects that demo needs, each with a page of 350 kB, and a wheel of 1.5 MB."""
    make_wheel(wheelhouse, "demo", requires=PARTS)
    (wheelhouse / "pages").mkdir()
    for part in PARTS:
        content = {"part0.bin": os.urandom(1_500_000)} if part == "part0" else {}
        make_wheel(wheelhouse, part, files=content)
        names = [f"{part}-0.{minor}-py3-none-any.whl" for minor in range(2500)]
        files = [{"filename": name, "hashes": {"sha256": "0" * 64}} for name in names]
        (wheelhouse / "pages" / f"{part}.json").write_text(json.dumps({"files": files}))
    return index(wheelhouse, public=Public())


def _recorded(
    command: Sequence[str], served: LocalIndex, store: Path, temporary: Path
) -> tuple[str, list[Path]]:
    """Run pip; return what it warned of, and the resolutions in the store."""
    store.mkdir()
    run = run_as(
        None,
        command,
        env={
            **served.variables,
            "PIP_SHAREDCACHE_DIR": str(store),
            "_PIP_SHAREDCACHE_WRITES": "yes",  # of its own accord, a dry run records nothing
            "TMPDIR": str(temporary),
            "PIP_NO_CACHE_DIR": "1",  # else a copy of each response goes there, too
        },
    )
    assert run.returncode == 0, run.stderr
    assert "Would install demo-1.0 part0-1.0" in run.stdout
    return run.stderr, list(store.glob("resolutions/*/*/*/resolution.json"))


def test_temporary_directory_that_the_pages_fill_does_not_fail_the_run(
    environment: EnvironmentFactory, tmp_path: Path, served: LocalIndex
) -> None:
    """Any one of the pages fits into it, and pip keeps none of them there."""
    command = environment().command("install", *AS_ON_DISK, "demo")
    with mounted("tmpfs", tmp_path, size_mb=1) as small:
        warned, found = _recorded(command, served, tmp_path / "store", small)
    assert f"The resolution is not recorded: {small}: No space left on device" in warned
    assert not found


def test_recorded_pages_leave_the_temporary_directory_before_the_downloads(
    environment: EnvironmentFactory, tmp_path: Path, served: LocalIndex
) -> None:
    """All pages fit into it, and each wheel does, but not both. pip 25.2 and older download before
    the resolver's end."""
    command = environment(pip="25.0.1").command("install", *AS_ON_DISK, "demo")
    with mounted("tmpfs", tmp_path, size_mb=3) as small:
        warned, found = _recorded(command, served, tmp_path / "store", small)
    assert warned == ""
    assert len(found) == 1


def test_metadata_that_is_there_is_read_although_the_pages_fill_the_disk(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheelhouse: Path
) -> None:
    """The third page fills it, when threads have the metadata for which pip is going to ask."""
    make_wheel(wheelhouse, "demo", requires=PARTS)
    (wheelhouse / "pages").mkdir()
    for part in PARTS:
        make_wheel(wheelhouse, part)
        name = f"{part}-0.1-py3-none-any.whl"
        # What pip makes of a page with such an address is not kept: the page itself waits on disk.
        file = {"filename": name, "url": f"/files/{name}?token=secret", "hashes": {}}
        page = {"files": [{**file, "comment": "x" * 350_000}]}
        (wheelhouse / "pages" / f"{part}.json").write_text(json.dumps(page))
    served = index(wheelhouse, public=Public(), delay=0.1)
    # pip comes to the first page when the others are there, and to the third with the metadata.
    served.hold(f"/simple/{PARTS[0]}/", lambda: served.count("page") == len(PARTS))
    slow = f"/files/{PARTS[1]}-1.0-py3-none-any.whl.metadata"
    served.hold(slow, lambda: served.count("metadata") == len(PARTS))
    command = environment().command("install", "--dry-run", "demo")
    with mounted("tmpfs", tmp_path, size_mb=1) as small:
        warned, found = _recorded(command, served, tmp_path / "store", small)
    assert f"The resolution is not recorded: {small}: No space left on device" in warned
    assert not found
    metadata = [answer for answer in served.answers if answer.kind == "metadata"]
    assert len(metadata) == 1 + len(PARTS), "none was asked for twice"
