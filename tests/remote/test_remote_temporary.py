"""Pulled wheels where no local store may be written: a temporary store has them meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from support import keys
from support.accounts import run_as
from support.filesystems import read_only
from support.index import LocalIndex
from support.machines import FIVE, Machine, SigningFactory
from support.object_server import ObjectServer
from support.probes import bind_mounts, linux, needs, openssh
from support.wheels import digest

pytestmark = [pytest.mark.pips, needs(linux, openssh)]

#: Runs our command, whose processes get a signal as soon as a temporary store has something staged.
INTERRUPTED = """
import os, runpy, signal, sys

mkdir = os.mkdir

number = int(sys.argv.pop(1))

def interrupted(path, *args, **kw):
    mkdir(path, *args, **kw)
    if os.path.basename(os.fspath(path)).startswith(".new-"):
        assert os.listdir(os.environ["TMPDIR"])
        os.killpg(0, number)

os.mkdir = interrupted
sys.argv = ["pip_sharedcache", *sys.argv[1:]]
runpy.run_module("pip_sharedcache", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def first(signing: SigningFactory, key: Path) -> Machine:
    """A machine that has pushed all wheels, with bytecode."""
    made = signing("first", key=key)
    made.run("install", *FIVE)
    return made


@pytest.fixture
def second(signing: SigningFactory, first: Machine, key: Path) -> Machine:
    """Another machine, which may only read its store, and has a temporary directory of its own."""
    made = signing("second", keys.line(key))
    made.variables["PIP_SHAREDCACHE_DIR"] = f"{made.store} read-only\n{made.remote}"
    temporary = made.home / "tmp"
    temporary.mkdir()
    made.variables["TMPDIR"] = str(temporary)
    return made


def _temporary_files(machine: Machine) -> list[Path]:
    return list(Path(str(machine.variables["TMPDIR"])).iterdir())


def _interrupted(
    machine: Machine, number: signal.Signals, *names: str
) -> subprocess.CompletedProcess[str]:
    """Install wheels, and send a signal while they are in the temporary store."""
    given = {**os.environ, **machine.variables}
    return subprocess.run(
        [str(machine.environment.python), "-c", INTERRUPTED, str(int(number)), "install", *names],
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("mode", ["reflink", "hardlink", "symlink"])
def test_store_that_may_only_be_read_stays_as_it_is(
    mode: str, first: Machine, second: Machine, pages: LocalIndex
) -> None:
    pages.clear()
    second.variables["PIP_SHAREDCACHE_LINK_MODE"] = mode
    done = second.run("install", *FIVE)
    assert done.stderr == ""
    count = len(FIVE)
    told = f"0 of {count} distributions from {second.store}; {count} pulled from remote stores; "
    assert told in done.stdout, done.stdout
    assert list(second.store.rglob("*")) == []
    assert _temporary_files(second) == []
    ours, theirs = second.installed(*FIVE), first.installed(*FIVE)
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
    first: Machine, second: Machine, server: ObjectServer
) -> None:
    second.name_remote(server.url)
    for area in ("wheels", "bytecode"):
        (second.store / area).mkdir()
    with (
        read_only(second.store / "wheels", second.store / "wheels"),
        read_only(second.store / "bytecode", second.store / "bytecode"),
    ):
        done = second.run("install", *FIVE)
        assert done.stderr == ""
        assert _temporary_files(second) == []
    told = json.loads(second.run("store", "stats", "--json").stdout)
    assert (told["compiled"], told["reused"] > 0) == (0, True)
    assert (told["found"], told["added"], told["by_pip"]) == (0, 0, 0)
    assert told["pulled"] == told["installed"] == len(FIVE)


def test_unusable_store_does_not_matter(
    first: Machine, second: Machine, pages: LocalIndex, tmp_path: Path
) -> None:
    pages.clear()
    second.variables["PIP_SHAREDCACHE_DIR"] = f"{tmp_path}/absent\n{second.remote}"
    done = second.run("install", *FIVE)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"WARNING: Installing without a local store: {tmp_path}/absent does")
    assert line.endswith("; wheels of the remote stores are used all the same")
    count = len(FIVE)
    assert f"Pulled {count} wheels" in done.stdout
    assert (
        f"Shared store: no local store can be used; {count} of {count} distributions pulled from "
        "remote stores; files "
    ) in done.stdout
    assert "not downloaded" not in done.stdout
    assert _temporary_files(second) == []
    assert second.installed(*FIVE) == first.installed(*FIVE)
    assert pages.wheel_requests() == []


def test_process_that_may_open_few_files_uses_no_local_store(second: Machine) -> None:
    command = second.environment.command("install", *FIVE)
    few = ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh", *map(str, command)]
    done = run_as(None, few, env=second.variables, check=True)
    assert done.stderr.splitlines() == [
        "WARNING: Installing without a local store: this process may not open 48 more files "
        "(see ulimit -n); wheels of the remote stores are used all the same"
    ]
    count = len(FIVE)
    assert f"{count} of {count} distributions pulled from remote stores; " in done.stdout
    assert second.installed(*FIVE) != {}


def test_wheels_that_no_store_has_are_named_in_the_summary(
    second: Machine, server: ObjectServer, wheels: Path, tmp_path: Path
) -> None:
    second.variables["PIP_SHAREDCACHE_DIR"] = f"{tmp_path}/absent\n{second.remote}"
    del server.objects[f"pip/wheels/{digest(wheels / 'one-1.0-py3-none-any.whl')}"]
    done = second.run("install", *FIVE)
    told = "4 of 5 distributions pulled from remote stores"
    assert f"{told}; 1 installed by pip alone: no store takes it; " in done.stdout, done.stdout
    server.objects.clear()
    done = second.run("install", "--force-reinstall", *FIVE)
    assert "Shared store: " not in done.stdout


@pytest.mark.parametrize("names", [FIVE[:1], FIVE])
def test_ctrl_c_leaves_nothing(names: tuple[str, ...], second: Machine) -> None:
    done = _interrupted(second, signal.SIGINT, *names)
    assert done.returncode in (1, 130, -signal.SIGINT), done.stderr
    assert "Traceback" not in done.stderr
    assert "Operation cancelled by user" in done.stderr
    assert _temporary_files(second) == []
    assert second.installed(*names) == {}


@pytest.mark.parametrize("names", [FIVE[:1], FIVE])
def test_next_run_deletes_the_temporary_store_of_a_killed_one(
    names: tuple[str, ...], second: Machine
) -> None:
    done = _interrupted(second, signal.SIGKILL, *names)
    assert done.returncode == -signal.SIGKILL
    stores = [path for path in _temporary_files(second) if (path / "wheels").is_dir()]
    assert len(stores) == 1
    assert second.installed(*names) == {}
    assert second.run("install", *names).stderr == ""
    assert not stores[0].exists()
    assert not [path for path in _temporary_files(second) if (path / "wheels").is_dir()]
