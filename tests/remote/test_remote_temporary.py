"""Pulled wheels where no local store may be written: a temporary store has them meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from support import keys
from support.filesystems import read_only
from support.index import LocalIndex
from support.machines import Machine, SigningFactory
from support.probes import bind_mounts, linux, needs, openssh
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

NAMES = ("one", "two", "three", "four", "five")

#: Runs our command, with Ctrl-C as soon as something is staged in a temporary store.
INTERRUPTED = """
import os, runpy, signal, sys

mkdir = os.mkdir

def interrupted(path, *args, **kw):
    mkdir(path, *args, **kw)
    if os.path.basename(os.fspath(path)).startswith(".new-"):
        assert os.listdir(os.environ["TMPDIR"])
        os.killpg(0, signal.SIGINT)

os.mkdir = interrupted
sys.argv = ["pip_sharedcache", *sys.argv[1:]]
runpy.run_module("pip_sharedcache", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for name in NAMES:
        files = {f"{name}/__init__.py": f"NAME = {name!r}\n", f"{name}/more.py": "MORE = 1\n"}
        make_wheel(wheelhouse, name, files=files)
    return wheelhouse


@pytest.fixture
def first(signing: SigningFactory, key: Path) -> Machine:
    """A machine that has pushed all wheels, with bytecode."""
    made = signing("first", key=key)
    made.run("install", *NAMES)
    return made


def _temporary_files(machine: Machine) -> list[Path]:
    """Let the machine have an empty temporary directory, and return what is left there later."""
    temporary = machine.home / "tmp"
    temporary.mkdir(exist_ok=True)
    machine.variables["TMPDIR"] = str(temporary)
    return list(temporary.iterdir())


@pytest.mark.parametrize("mode", ["reflink", "hardlink", "symlink"])
def test_store_that_may_only_be_read_stays_as_it_is(
    mode: str, signing: SigningFactory, first: Machine, pages: LocalIndex, key: Path
) -> None:
    pages.clear()
    second = signing("second", keys.line(key))
    _temporary_files(second)
    second.variables["PIP_SHAREDCACHE_DIR"] = f"{second.store} read-only\n{second.remote}"
    second.variables["PIP_SHAREDCACHE_LINK_MODE"] = mode
    done = second.run("install", *NAMES)
    assert done.stderr == ""
    count = len(NAMES)
    told = f"0 of {count} distributions from {second.store}; {count} pulled from remote stores; "
    assert told in done.stdout, done.stdout
    assert list(second.store.rglob("*")) == []
    assert _temporary_files(second) == []
    ours, theirs = second.installed(*NAMES), first.installed(*NAMES)
    if mode == "hardlink":  # with the modes of the store
        assert {path: node.content for path, node in ours.items()} == {
            path: node.content for path, node in theirs.items()
        }
    else:
        assert ours == theirs != {}
    assert not any(path.is_symlink() for path in second.environment.site_packages.rglob("*"))
    assert pages.wheel_requests() == []
    # pip's own bytecode names the place of the source; that of a store names none.
    for path in second.environment.site_packages.glob("*/__pycache__/more.*.pyc"):
        assert str(second.environment.site_packages).encode() not in path.read_bytes()


@needs(bind_mounts)
def test_signed_bytecode_is_used_where_only_the_run_may_be_recorded(
    signing: SigningFactory, first: Machine, key: Path
) -> None:
    second = signing("second", keys.line(key))
    for area in ("wheels", "bytecode"):
        (second.store / area).mkdir()
    with (
        read_only(second.store / "wheels", second.store / "wheels"),
        read_only(second.store / "bytecode", second.store / "bytecode"),
    ):
        _temporary_files(second)
        done = second.run("install", *NAMES)
        assert done.stderr == ""
        assert _temporary_files(second) == []
    told = json.loads(second.run("store", "stats", "--json").stdout)
    assert (told["compiled"], told["reused"] > 0) == (0, True)
    assert (told["found"], told["added"], told["by_pip"]) == (0, 0, 0)
    assert told["pulled"] == told["installed"] == len(NAMES)


def test_unusable_store_does_not_matter(
    signing: SigningFactory, first: Machine, pages: LocalIndex, key: Path, tmp_path: Path
) -> None:
    pages.clear()
    second = signing("second", keys.line(key))
    _temporary_files(second)
    second.variables["PIP_SHAREDCACHE_DIR"] = f"{tmp_path}/absent\n{second.remote}"
    done = second.run("install", *NAMES)
    assert f"{tmp_path}/absent does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"Pulled {len(NAMES)} wheels" in done.stdout
    assert _temporary_files(second) == []
    assert second.installed(*NAMES) == first.installed(*NAMES)
    assert pages.wheel_requests() == []


@pytest.mark.parametrize("names", [NAMES[:1], NAMES])
def test_ctrl_c_leaves_nothing(
    names: tuple[str, ...], signing: SigningFactory, first: Machine, key: Path
) -> None:
    second = signing("second", keys.line(key))
    _temporary_files(second)
    second.variables["PIP_SHAREDCACHE_DIR"] = f"{second.store} read-only\n{second.remote}"
    given = {**os.environ, **second.variables}
    done = subprocess.run(
        [str(second.environment.python), "-c", INTERRUPTED, "install", *names],
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode in (1, 130, -signal.SIGINT), done.stderr
    assert "Traceback" not in done.stderr
    assert "Operation cancelled by user" in done.stderr
    assert _temporary_files(second) == []
    assert second.installed(*names) == {}
