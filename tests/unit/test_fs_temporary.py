"""Temporary directories and files of killed commands: removed by the next one, others left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pip_sharedcache import fs
from pip_sharedcache.cli.files import written
from pip_sharedcache.fs import temporary
from support.probes import linux, needs, root

pytestmark = needs(linux)

MAKE = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from pip_sharedcache import fs\n"
    "from pip_sharedcache.cli.files import written\n"
    "with fs.temporary_directory() as directory, written(Path(sys.argv[1], 'a.tar')) as file:\n"
    "    (directory / 'sub').mkdir()\n"
    "    (directory / 'sub' / 'file').touch()\n"
    "    print('ready', flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(temporary, "_swept", set())


def _started(tmp_path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_temporary_files_of_a_killed_command_are_removed_by_the_next(
    tmp_path: Path, number: signal.Signals
) -> None:
    with _started(tmp_path) as process:
        process.send_signal(number)
    assert len(os.listdir(tmp_path)) == 2
    with fs.temporary_directory() as directory:
        assert os.listdir(tmp_path) == [directory.name]
    assert os.listdir(tmp_path) == []


def test_temporary_files_of_a_running_command_are_left(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        before = set(os.listdir(tmp_path))
        with fs.temporary_directory(), written(tmp_path / "page.html") as file:
            file.write(b"page")
        assert set(os.listdir(tmp_path)) == {*before, "page.html"}
        process.communicate(b"")
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "page.html"]


@needs(root)
def test_temporary_files_of_others_and_links_are_left(tmp_path: Path) -> None:
    name = f"pip-sharedcache-{fs.HOST}-4999999-abc"
    (tmp_path / name).mkdir()
    os.chown(tmp_path / name, 54321, -1)
    (tmp_path / f".{name}").symlink_to(tmp_path)
    (tmp_path / f"{name}.mine").mkdir()
    before = set(os.listdir(tmp_path))
    with fs.temporary_directory():
        pass
    assert set(os.listdir(tmp_path)) == before
