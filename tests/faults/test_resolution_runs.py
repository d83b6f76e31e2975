"""Runs of pip that record or reuse a resolution where a disk, or the system, refuses something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import EnvironmentFactory
from support.filesystems import mounted
from support.index import IndexFactory, Public
from support.probes import needs, tmpfs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips]


@needs(tmpfs)
def test_temporary_directory_that_the_pages_fill_does_not_fail_the_run(
    environment: EnvironmentFactory, tmp_path: Path, index: IndexFactory, wheelhouse: Path
) -> None:
    """Any one of the pages fits into it, and pip keeps none of them there."""
    parts = [f"part{number}" for number in range(5)]
    make_wheel(wheelhouse, "demo", requires=parts)
    (wheelhouse / "pages").mkdir()
    for part in parts:
        make_wheel(wheelhouse, part)
        names = [f"{part}-0.{minor}-py3-none-any.whl" for minor in range(2500)]
        files = [{"filename": name, "hashes": {"sha256": "0" * 64}} for name in names]
        (wheelhouse / "pages" / f"{part}.json").write_text(json.dumps({"files": files}))
    served = index(wheelhouse, public=Public())
    command = environment().command("install", "--dry-run", "demo")
    store = tmp_path / "store"
    store.mkdir()
    with mounted("tmpfs", tmp_path, size_mb=1) as small:
        run = run_as(
            None,
            command,
            env={
                **served.variables,
                "PIP_SHAREDCACHE_DIR": str(store),
                "TMPDIR": str(small),
            },
        )
    assert run.returncode == 0, run.stderr
    assert "Would install demo-1.0 part0-1.0" in run.stdout
    assert f"The resolution is not recorded: {small}: No space left on device" in run.stderr
    assert not list(store.glob("resolutions/*/*"))
