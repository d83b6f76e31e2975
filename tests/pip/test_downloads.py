"""Several wheels are downloaded at once; what pip shows, asks and installs stays the same."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

import pytest

from support.accounts import run_as, start_as
from support.environments import NEWEST_PIP, Environment, EnvironmentFactory
from support.filesystems import mounted
from support.index import IndexFactory, LocalIndex, Public
from support.probes import linux, needs, require, tmpfs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Variables = dict[str, "str | None"]
PIPS = ["23.0.1", "25.0.1", NEWEST_PIP]
NAMES = [f"part{number:02}" for number in range(12)]
THIRD = f"/files/{NAMES[2]}-1.0-py3-none-any.whl"
#: A bar of pip, whose length and speed differ from run to run.
_BAR = re.compile(r"^( *)[\u2501\u2578\u257a ]+([\d.]+/[\d.]+ [kM]?B)\b.*$", re.MULTILINE)
_ADDRESS = re.compile(r"0x[0-9a-f]+")


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    """Twelve wheels of 200 kB to 2.4 MB, of bytes that do not compress."""
    for number, name in enumerate(NAMES, start=1):
        make_wheel(wheelhouse, name, files={f"{name}.bin": os.urandom(number * 200_000)})
    return wheelhouse


@pytest.fixture
def env(tmp_path: Path) -> Variables:
    """With a directory of its own for temporary files: nothing may be left in it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "store").mkdir()
    return {
        "TMPDIR": str(tmp_path / "tmp"),
        "PIP_SHAREDCACHE_DIR": str(tmp_path / "store"),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "3",
    }


@pytest.fixture
def pip() -> str:
    """The pip of a test that does not choose others."""
    return NEWEST_PIP


class Serve(Protocol):
    """serve(): an index of the wheels that gives their metadata, without which pip has no batch of
    downloads. rate: bytes a second of each connection, 0 for no limit."""

    def __call__(
        self,
        *,
        delay: float = 0.02,
        rate: float = 20e6,
        credentials: tuple[str, str] | None = None,
    ) -> LocalIndex: ...


@pytest.fixture
def serve(index: IndexFactory, wheelhouse: Path, pip: str) -> Serve:
    def serve(
        *, delay: float = 0.02, rate: float = 20e6, credentials: tuple[str, str] | None = None
    ) -> LocalIndex:
        # pip 23.0.1 reads of metadata in HTML only.
        public = Public(json=pip != "23.0.1", rate=rate)
        return index(wheelhouse, delay=delay, public=public, credentials=credentials)

    return serve


def _shown(text: str, environment: Environment) -> list[str]:
    """What pip printed, without our lines and what differs from run to run."""
    text = text.replace(str(environment.prefix), "PREFIX")
    text = _ADDRESS.sub("ADDRESS", _BAR.sub(r"\1BAR \2", text))
    lines = [line.rstrip() for line in text.splitlines()]
    if "Traceback (most recent call last):" in lines:  # pip's own, which names our frames as well
        lines = [line for line in lines if not line.startswith("  ")]
    return [line for line in lines if not line.startswith("Shared store:")]


class Both(Protocol):
    """both(index): install the twelve with plain pip, then with ours; check that both show and do
    the same, and leave nothing behind. env: further variables of both.

    Returns plain pip's run, and how many requests for wheels ours had at one time.
    """

    def __call__(
        self, index: LocalIndex, **env: str | None
    ) -> tuple[subprocess.CompletedProcess[str], int]: ...


@pytest.fixture
def both(environment: EnvironmentFactory, pip: str, env: Variables) -> Both:
    def both(index: LocalIndex, **more: str | None) -> tuple[subprocess.CompletedProcess[str], int]:
        chosen = {**env, **more}
        plain, ours = (environment(name, pip=pip) for name in ("plain", "ours"))
        runs: list[subprocess.CompletedProcess[str]] = []
        for command in (plain.plain, ours.command):
            index.clear()
            cache = str(plain.prefix.parent / f"cache {len(runs)}")
            variables = {**index.variables, "PIP_CACHE_DIR": cache, **chosen}
            runs.append(run_as(None, command("install", *NAMES), env=variables))
        first, second = runs
        assert _shown(second.stdout, ours) == _shown(first.stdout, plain)
        assert _shown(second.stderr, ours) == _shown(first.stderr, plain)
        assert second.returncode == first.returncode
        assert not differences(snapshot(plain.prefix), snapshot(ours.prefix))
        assert not os.listdir(str(chosen["TMPDIR"]))
        assert not _staged(chosen)
        at_once = max(one.concurrent for one in index.answers if one.kind == "file")
        return first, at_once

    return both


def _staged(env: Variables, areas: str = "*") -> list[Path]:
    """What is in the store under a name that no lookup reads."""
    return list(Path(str(env["PIP_SHAREDCACHE_DIR"])).glob(f"{areas}/*/.new-*"))


@pytest.mark.parametrize("cache", [False, True], ids=["no-cache", "http-cache"])
@pytest.mark.parametrize("pip", PIPS)
def test_twelve_wheels_come_side_by_side_and_look_like_pips(
    pip: str, cache: bool, wheels: Path, serve: Serve, both: Both, tmp_path: Path
) -> None:
    served = serve()
    first, at_once = both(served, PIP_NO_CACHE_DIR=None if cache else "1")
    assert first.returncode == 0
    assert 3 <= at_once <= 8
    # Without its cache, pip 23.0.1 itself asks for each wheel again after the batch.
    again = pip == "23.0.1" and not cache
    assert len(served.wheel_requests()) == len(NAMES) * (2 if again else 1)
    if cache:
        caches = [{path.name for path in tmp_path.glob(f"cache {n}/http*/**/*.*")} for n in (0, 1)]
        assert caches[0] == caches[1]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_requests_run_than_the_setting_says(
    most: int, wheels: Path, serve: Serve, both: Both
) -> None:
    first, at_once = both(serve(delay=0.05), PIP_SHAREDCACHE_DOWNLOADS=str(most))
    assert first.returncode == 0
    assert at_once == most


@pytest.mark.parametrize("pip", PIPS)
def test_a_wheel_with_a_wrong_hash_fails_as_with_pip(
    wheels: Path, serve: Serve, both: Both
) -> None:
    served = serve(delay=0, rate=0)
    page = wheels / f"{NAMES[2]}-1.0-py3-none-any.whl"
    served.pages.page(NAMES[2])  # its hash is known
    content = bytearray(page.read_bytes())
    content[5000] ^= 1
    status = page.stat()
    page.write_bytes(content)
    os.utime(page, ns=(status.st_atime_ns, status.st_mtime_ns))
    first, _ = both(served)
    assert first.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in first.stderr


@pytest.mark.parametrize("status", [403, 404, 500, 0])
@pytest.mark.parametrize("pip", PIPS)
def test_a_wheel_that_cannot_be_had_fails_as_with_pip(
    status: int, wheels: Path, serve: Serve, both: Both
) -> None:
    served = serve(delay=0, rate=0)
    served.fail(THIRD, status)
    first, _ = both(served)
    assert first.returncode != 0


@pytest.mark.parametrize("pip", PIPS)
def test_an_error_that_pip_alone_would_not_get_stays_unseen(
    pip: str, environment: EnvironmentFactory, wheels: Path, serve: Serve, env: Variables
) -> None:
    served = serve()
    plain, ours = (environment(name, pip=pip) for name in ("plain", "ours"))
    variables = {**served.variables, **env}
    first = run_as(None, plain.plain("install", *NAMES), env=variables)
    served.fail(THIRD, 429, times=1)
    second = run_as(None, ours.command("install", *NAMES), env=variables)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert _shown(second.stdout, ours) == _shown(first.stdout, plain)
    assert _shown(second.stderr, ours) == _shown(first.stderr, plain)


@pytest.mark.parametrize("pip", PIPS)
def test_a_server_that_answers_one_request_at_a_time_is_enough(
    wheels: Path, serve: Serve, both: Both
) -> None:
    served = serve()
    served.limit = 1
    first, _ = both(served)
    assert first.returncode == 0
    assert served.count("file", 429) <= 8, "threads that were refused ask no more"


@pytest.mark.parametrize("hang", [False, True], ids=["closed", "hanging"])
@pytest.mark.parametrize("pip", PIPS)
def test_a_connection_that_breaks_fails_or_resumes_as_with_pip(
    pip: str, hang: bool, wheels: Path, serve: Serve, both: Both
) -> None:
    served = serve(delay=0, rate=0)
    served.break_off(THIRD, 300_000, hang=hang)
    first, _ = both(served)
    assert (first.returncode == 0) == (pip == NEWEST_PIP), "it resumes"


@pytest.mark.parametrize("pip", PIPS)
def test_where_a_password_is_needed_it_is_used_for_all(
    wheels: Path, serve: Serve, both: Both, tmp_path: Path
) -> None:
    served = serve(credentials=("me", "secret"))
    first, at_once = both(served)
    assert first.returncode == 0
    assert at_once >= 3
    assert not list((tmp_path / "store").glob("wheels/*/*")), "they came with a password"
    assert not [
        request for request in served.requests if request[2] == 401 and ".whl" in request[1]
    ]


@pytest.mark.filesystem
@pytest.mark.parametrize("size_mb", [9, 17, 20, 60])
@pytest.mark.parametrize("pip", PIPS)
def test_a_small_temporary_directory_is_enough_where_it_is_for_pip(
    pip: str, size_mb: int, wheels: Path, serve: Serve, both: Both, tmp_path: Path
) -> None:
    require(tmpfs)
    with mounted("tmpfs", tmp_path / "tmp", size_mb) as small:
        first, at_once = both(serve(), TMPDIR=str(small))
    needed = 15.6 * (2 if pip == "23.0.1" else 1)  # which downloads each wheel twice
    assert (first.returncode == 0) == (size_mb > needed)
    assert at_once >= 3 or size_mb < 60


def _wait_for(what: str, ready: object, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    assert callable(ready)
    while not ready():
        assert process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"not within a minute: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("cache", [False, True], ids=["no-cache", "http-cache"])
@pytest.mark.parametrize("pip", PIPS)
def test_ctrl_c_during_downloads_leaves_nothing(
    pip: str,
    cache: bool,
    environment: EnvironmentFactory,
    wheels: Path,
    serve: Serve,
    env: Variables,
    tmp_path: Path,
) -> None:
    served = serve(delay=0, rate=0)
    for name in NAMES[2:]:
        served.break_off(f"/files/{name}-1.0-py3-none-any.whl", 100_000, hang=True)
    env = {**env, "PIP_TIMEOUT": "60"}
    if cache:
        env = {**env, "PIP_NO_CACHE_DIR": None, "PIP_CACHE_DIR": str(tmp_path / "cache")}
    ours = environment("ours", pip=pip)
    before = snapshot(ours.prefix)
    process = start_as(None, ours.command("install", *NAMES), env={**served.variables, **env})
    _wait_for("five downloads", lambda: len(served.wheel_requests()) >= 5, process)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=10) != 0
    assert not os.listdir(str(env["TMPDIR"]))
    assert not differences(before, snapshot(ours.prefix))


# -- what is staged meanwhile

LAST = f"/files/{NAMES[-1]}-1.0-py3-none-any.whl"


def _workers(process: subprocess.Popen[str]) -> list[int]:
    """The child processes of a process."""
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in task.read_text().split()]


@pytest.fixture
def modules(wheelhouse: Path) -> Path:
    """Twelve wheels with a module each."""
    for name in NAMES:
        code = "".join(f"def f{number}():\n    return {number}\n" for number in range(500))
        make_wheel(wheelhouse, name, files={f"{name}.py": code})
    return wheelhouse


@pytest.mark.parametrize("pip", PIPS)
def test_wheels_are_staged_while_the_last_one_downloads(
    pip: str, environment: EnvironmentFactory, modules: Path, serve: Serve, env: Variables
) -> None:
    served = serve(delay=0, rate=0)
    served.break_off(LAST, 1000, hang=True)
    ours = environment("ours", pip=pip)
    variables = {**served.variables, **env, "PIP_TIMEOUT": "60", "PIP_SHAREDCACHE_PROCESSES": "2"}
    before = snapshot(ours.prefix)
    process = start_as(None, ours.command("install", *NAMES), env=variables)
    _wait_for("wheels and bytecode", lambda: len(_staged(env, "[wb]*")) >= 8, process)
    workers = _workers(process)
    assert len(workers) == 2
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=10) != 0
    assert not _staged(env)
    assert not os.listdir(str(env["TMPDIR"]))
    assert not [number for number in workers if Path(f"/proc/{number}").exists()]
    assert not differences(before, snapshot(ours.prefix))


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_killed_workers_cost_nothing_but_time(
    killed: int, environment: EnvironmentFactory, modules: Path, serve: Serve, env: Variables
) -> None:
    served = serve(delay=0, rate=0)
    served.break_off(LAST, 1000, hang=True, times=1)
    plain, ours = environment("plain"), environment("ours")
    variables = {**served.variables, **env, "PIP_SHAREDCACHE_PROCESSES": "2"}
    process = start_as(None, ours.command("install", *NAMES), env=variables)
    _wait_for("wheels and bytecode", lambda: len(_staged(env, "[wb]*")) >= 8, process)
    for number in _workers(process)[:killed]:
        os.kill(number, signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "12 added to it" in output
    assert run_as(None, plain.plain("install", *NAMES), env=variables).returncode == 0
    assert not differences(snapshot(plain.prefix), snapshot(ours.prefix))
    again = environment("again")
    second = run_as(None, again.command("install", *NAMES), env=variables)
    assert "12 of 12 distributions from" in second.stdout
    assert not differences(snapshot(plain.prefix), snapshot(again.prefix))


@pytest.mark.filesystem
@pytest.mark.parametrize("size_mb", [1, 8, 20])
def test_a_full_store_is_said_once_and_pip_installs(
    size_mb: int,
    environment: EnvironmentFactory,
    wheels: Path,
    serve: Serve,
    env: Variables,
    tmp_path: Path,
) -> None:
    require(tmpfs)
    served = serve()
    with mounted("tmpfs", tmp_path, size_mb) as small:
        (small / "store").mkdir()
        env = {**env, "PIP_SHAREDCACHE_DIR": str(small / "store")}
        plain, ours = environment("plain"), environment("ours")
        variables = {**served.variables, **env, "PIP_SHAREDCACHE_PROCESSES": "2"}
        assert run_as(None, plain.plain("install", *NAMES), env=variables).returncode == 0
        done = run_as(None, ours.command("install", *NAMES), env=variables)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(os.strerror(errno.ENOSPC)) == 1, done.stderr
        assert not _staged(env)
    assert not differences(snapshot(plain.prefix), snapshot(ours.prefix))
