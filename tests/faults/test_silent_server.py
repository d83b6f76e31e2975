"""A file server that stops answering during an installation: each call fails after seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import make_environment
from support.faults import faults_of_distribution, visible_entries
from support.index import IndexFactory
from support.mirror import mirrored
from support.probes import fuse, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.filesystem, needs(fuse)]

FILES = 60
NAMES = ("demo", "left", "right")
SILENT = "ETIMEDOUT+1.2 -1"


@pytest.mark.parametrize(
    ("layout", "mode", "asked", "processes"),
    [
        ("packed", "copy", ("read", "files.zip"), "1"),
        ("tree", "copy", ("read", "files/{name}"), "2"),
        ("tree", "copy", ("open", "files/{name}"), "1"),
        ("tree", "hardlink", ("lookup", "files/{name}"), "2"),
    ],
)
def test_store_is_left_after_the_first_silence(
    index: IndexFactory,
    shared_tmp: Path,
    layout: str,
    mode: str,
    asked: tuple[str, str],
    processes: str,
) -> None:
    wheels, server, faults = shared_tmp / "wheels", shared_tmp / "server", shared_tmp / "faults"
    for name in NAMES:
        files = {f"{name}/m{number}.py": f"X = {number}\n" for number in range(FILES)}
        make_wheel(wheels, name, files=files)
    env = {**offline(wheels, shared_tmp / "client" / "store"), "NO_PROXY": "127.0.0.1"}
    env |= {"PIP_FIND_LINKS": None, "PIP_NO_INDEX": None, "PIP_INDEX_URL": index(wheels).url}
    env |= {"PIP_SHAREDCACHE_LINK_MODE": mode, "PIP_SHAREDCACHE_PROCESSES": processes}
    server.mkdir()
    faults.touch()
    with mirrored(shared_tmp / "client", server, faults=faults):
        init = ["store", "init", "--layout", layout, str(shared_tmp / "client" / "store")]
        one, other = make_environment(shared_tmp / "one"), make_environment(shared_tmp / "other")
        run_as(None, one.command(*init), env=env, check=True)
        run_as(None, one.command("install", *NAMES), env=env, check=True)
        question, below = asked
        lines = []
        for entry in visible_entries(server / "store"):
            name = next(entry.glob("*.whl")).name.partition("-")[0]
            where = (entry / below.format(name=name)).relative_to(server)
            lines.append(f"{question} {SILENT} {where}\n")
        faults.write_text("".join(lines))
        done = run_as(None, other.command("install", *NAMES), env=env, timeout=300)
        given = (shared_tmp / "faults.given").read_text().splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    # Some questions are asked side by side, or repeated by the kernel (readahead).
    assert len(given) <= 6 * int(processes), given
    warnings = [line for line in done.stderr.splitlines() if "does not answer any more" in line]
    assert len(warnings) == 1, done.stderr
    assert str(shared_tmp / "client" / "store") in warnings[0]
    for name in NAMES:
        assert not faults_of_distribution(other.site_packages, f"{name}-1.0.dist-info")
        assert len(list(other.site_packages.glob(f"{name}/m*.py"))) == FILES
