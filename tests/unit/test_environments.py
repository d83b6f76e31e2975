"""Environments that the tests copy are those that venv and pip make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import environments
from support.environments import (
    NEWEST_PIP,
    NEWEST_PIP_FOR_39,
    make_environment,
    pip_wheel,
)
from support.probes import index, linux, needs
from support.trees import differences, snapshot


@pytest.mark.network
@needs(linux, index)
def test_environment_from_a_template_equals_one_that_venv_and_pip_make(tmp_path: Path) -> None:
    made, real = tmp_path / "made", tmp_path / "real"
    make_environment(made, ours=False)

    # At umask 022, as every environment of the tests.
    os.umask(0o022)
    base = getattr(sys, "_base_executable", sys.executable)
    options = ["--without-pip", "--symlinks", "--prompt", "test"]
    subprocess.run([base, "-I", "-m", "venv", *options, real], check=True)
    pip = pip_wheel(NEWEST_PIP if sys.version_info >= (3, 10) else NEWEST_PIP_FOR_39)
    install = ["install", "--no-index", "--no-deps", "--no-cache-dir", "-q"]
    # By name: for a path, pip writes a direct_url.json.
    requirement = ["--find-links", pip.parent, "pip"]
    subprocess.run([real / "bin" / "python", pip / "pip", *install, *requirement], check=True)

    assert differences(snapshot(real), snapshot(made)) == []


def test_directory_in_the_cache_that_no_run_uses_is_removed(tmp_path: Path) -> None:
    old, used = tmp_path / "old", tmp_path / "used"
    for path in (old, used):
        path.mkdir()
        os.utime(path, (0, 0))
    assert environments._in_use(used)
    with environments._publishing(tmp_path / "new") as new:
        (new / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "used"]
    assert (tmp_path / "new" / "file").exists()
    assert not environments._in_use(old)
