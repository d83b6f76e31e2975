"""Whether this process knows who owns a file: preloaded libraries, tracers, user namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pip_sharedcache import trust
from pip_sharedcache.trust import Trust, identity
from support.probes import compiler, fakeroot, needs, proot, root, setpriv, strace
from support.process import as_user

ASK = "from pip_sharedcache.trust import identity; print(identity.hidden_because())"
FAKES = "int geteuid(void) { return 0; }"
ALLOCATES = "#include <stddef.h>\nvoid *pool_new(size_t n) { (void) n; return NULL; }"


def asked(*before: str, preload: str = "") -> str:
    """What a process says that is started by ``before``."""
    variables = {**os.environ, **({"LD_PRELOAD": preload} if preload else {})}
    done = subprocess.run(
        [*before, sys.executable, "-c", ASK], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def library(directory: Path, name: str, source: str) -> str:
    path = directory / name
    path.with_suffix(".c").write_text(source, encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", "-o", str(path), str(path.with_suffix(".c"))]
    subprocess.run(command, check=True)
    return str(path)


def test_owners_are_known_in_an_ordinary_process() -> None:
    assert asked() == ""


@needs(fakeroot)
def test_owners_are_not_known_under_fakeroot() -> None:
    assert asked("fakeroot").startswith("libfakeroot")
    assert asked("fakeroot", "--unknown-is-real").startswith("libfakeroot")


@needs(proot)
@pytest.mark.parametrize("option", [(), ("-0",)], ids=["plain", "as root"])
def test_owners_are_not_known_under_proot(option: tuple[str, ...]) -> None:
    assert (
        asked("proot", *option)
        == "proot traces this process, and can change the results of its calls"
    )


@needs(strace)
def test_owners_are_known_to_a_process_that_strace_watches(tmp_path: Path) -> None:
    assert asked("strace", "-f", "-o", str(tmp_path / "log")) == ""


@needs(strace)
def test_owners_are_not_known_to_a_process_of_an_unknown_tracer(tmp_path: Path) -> None:
    program = shutil.copy(shutil.which("strace") or "", tmp_path / "faker")
    assert asked(program, "-f", "-o", str(tmp_path / "log")).startswith("faker traces")


@needs(compiler)
def test_a_preloaded_library_counts_for_what_it_answers(tmp_path: Path) -> None:
    fakes = library(tmp_path, "libmine.so", FAKES)
    assert (
        asked(preload=fakes)
        == "libmine.so is preloaded and replaces the functions that report owners"
    )
    allocates = library(tmp_path, "libpool.so", ALLOCATES)
    assert asked(preload=allocates) == "", "an allocator says nothing of owners"
    assert asked(preload=f"{allocates} {fakes}").startswith("libmine.so")
    assert asked(preload=str(tmp_path / "missing.so")) == "", "the loader passes over it"


@needs(root)
def test_unknown_owners_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "hidden_because", lambda: "a test says so")
    found = Trust.in_store(0, ("daemon", "@daemon"))
    assert (found.uids, found.gids, found.unknown) == (frozenset(), frozenset(), "a test says so")
    assert found.narrowed(0, ("root",), "why") == found.without_owner("why") == found
    assert not found.trusts(0)


def test_the_number_of_owners_without_one_is_nobodys() -> None:
    """A user namespace shows that of kernel.overflowuid, a file system with 16 bits that of fs."""
    for part in ("fs", "kernel"):
        number = int(Path(f"/proc/sys/{part}/overflowuid").read_text(encoding="ascii"))
        assert number in trust.NOBODY


@needs(setpriv)
def test_overflow_uid_is_the_user_only_in_a_private_store(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with as_user(65534):
            assert trust.is_really_ours(descriptor)
            assert Trust.in_store(65534, (), own=lambda: True).uids == {0, 65534}
            assert Trust.in_store(65534, ()).uids == {0}
            assert Trust.in_store(0, (), own=lambda: True).uids == {0}
        with as_user(54321):
            assert not trust.is_really_ours(descriptor), "only its owner may open it so"
    finally:
        os.close(descriptor)


@needs(root)
def test_overflow_uid_is_trusted_only_if_no_other_user_may_publish(tmp_path: Path) -> None:
    shard, entry = tmp_path / "shard", tmp_path / "shard" / "entry"
    entry.mkdir(parents=True)
    for path in (tmp_path, shard, entry):
        os.chown(path, 65534, 65534)
        path.chmod(0o755)
    own = Trust(frozenset({0, 65534}))

    def objection() -> str:
        return own.distrust_reason(entry.stat(), (shard.stat(), tmp_path.stat()))

    assert objection() == ""
    shard.chmod(0o1777)
    assert objection() == "may be anyone"
    shard.chmod(0o755)
    os.chown(tmp_path, 54321, 65534)
    assert objection() == "may be anyone"
