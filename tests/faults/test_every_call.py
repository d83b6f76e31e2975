"""A kill, and an error, at every call that publishing, placing and uninstalling make.

One small wheel, so that really every call has its turn; test_kill and test_full_disk take samples
of larger ones, of other pips and of upgrades.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from support.accounts import start_as
from support.faults import Call, run_with_fault
from support.grounds import (
    Ground,
    compare,
    everywhere,
    kill,
    listed,
    make_grounds,
    mended,
    store_faults,
)
from support.index import IndexFactory
from support.probes import needs, strace
from support.wheels import make_wheel

pytestmark = [pytest.mark.strace, needs(strace)]

RUNS = ("publish", "place", "uninstall")
#: Nothing of an entry takes part in uninstalling.
LAYOUTS = [*((run, "tree") for run in RUNS), *((run, "packed") for run in RUNS[:2])]
_FULL, _GONE = ("ENOSPC", "EDQUOT"), ("ESTALE", "ENOENT")
_DYING = ("EIO", "EROFS", "ESTALE")
#: Which errors a call may give; one call after the other gets the next of them.
ERRORS = {
    "openat": (*_DYING, "EMFILE", *_FULL, "ENOENT"),
    "mkdir": (*_DYING, *_FULL, "ENOENT"),
    "rename": (*_FULL, *_DYING, "ENOENT"),
    "renameat": (*_FULL, *_DYING, "ENOENT"),
    "renameat2": (*_FULL, *_DYING, "ENOENT"),
    "unlink": (*_DYING, "ENOENT"),
    "unlinkat": (*_DYING, "ENOENT"),
    "write": ("EIO", *_FULL, "ESTALE"),
    "pwrite64": ("EIO", *_FULL, "ESTALE"),
    "copy_file_range": ("EIO", *_FULL, "ESTALE"),
    "ioctl": ("EIO", "ENOSPC", "ESTALE"),
    "close": ("EDQUOT", "EIO", "ENOSPC"),
    "fsync": ("EIO", "EDQUOT", "ENOSPC"),
    "fchmod": (*_DYING, "EDQUOT"),
    "utimensat": (*_DYING, "EDQUOT"),
}


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    files = {"demo/__init__.py": "def main():\n    print('demo')\n", "demo/data.txt": "data\n"}
    make_wheel(wheelhouse, files=files, entry_points="[console_scripts]\ndemo = demo:main\n")
    return wheelhouse


def _begin(ground: Ground, run: str) -> list[str]:
    """Bring everything to where ``run`` begins; give its command."""
    ground.succeed(ground.install("demo"))
    ground.restore()
    ground.succeed(ground.install("demo"))  # the use of what was found is noted, once a day
    if run == "uninstall":
        ground.remember()
        return ground.environment.command("uninstall", "-y", "demo")
    ground.restore()
    return ground.install("demo")


def _again(ground: Ground, run: str) -> None:
    ground.restore()
    if run == "publish":
        ground.fresh_store()


@pytest.mark.parametrize(("run", "layout"), LAYOUTS)
@pytest.mark.product("layout")
def test_killed_at_any_call_it_shows_nothing_half_made_and_the_next_run_is_right(
    run: str, layout: str, tmp_path: Path, wheels: Path
) -> None:
    grounds = make_grounds(tmp_path, wheels, layout=layout)
    expected = {ground: ground.plain_tree("demo") for ground in grounds}
    argvs = {ground: _begin(ground, run) for ground in grounds}
    _again(grounds[0], run)
    calls = grounds[0].calls(argvs[grounds[0]], grounds[0].environment.prefix)
    changing = grounds[0].changing(calls)

    def check(ground: Ground, call: Call) -> list[str]:
        _again(ground, run)
        found = kill(ground, argvs[ground], call)
        version, faults = listed(ground)
        found += faults + store_faults(ground)
        return found + mended(ground, "1.0", version, expected[ground])

    points = list(dict.fromkeys([*changing, *calls[-20:]]))
    wrong = everywhere(grounds, points, check)
    print(f"{run}: killed at {len(points)} calls, {dict(Counter(call.name for call in points))}")
    assert not wrong, "\n".join(wrong)
    assert len(points) >= 30


@pytest.mark.parametrize(("run", "layout"), [one for one in LAYOUTS if one[0] != "uninstall"])
@pytest.mark.product("layout")
def test_an_error_at_any_call_gives_a_right_environment_or_pips_error_and_the_old_one(
    run: str, layout: str, tmp_path: Path, wheels: Path
) -> None:
    grounds = make_grounds(tmp_path, wheels, layout=layout)
    expected = {ground: ground.plain_tree("demo") for ground in grounds}
    argvs = {ground: _begin(ground, run) for ground in grounds}
    before = {ground: ground.tree() for ground in grounds}
    _again(grounds[0], run)
    calls = grounds[0].calls(argvs[grounds[0]])
    # What is only read or closed counts in the store, and where pip's own files are not meant.
    points = [
        call for call in calls if call in grounds[0].changing(calls) or _ours(grounds[0], call)
    ]
    seen: Counter[str] = Counter()
    errors: dict[Call, str] = {}
    for call in points:
        fitting = ERRORS[call.name]
        errors[call] = fitting[seen[call.name] % len(fitting)]
        seen[call.name] += 1

    def check(ground: Ground, call: Call) -> list[str]:
        _again(ground, run)
        result = run_with_fault(argvs[ground], call, f"error={errors[call]}", env=ground.settings)
        found = store_faults(ground)
        if "Traceback" in result.stderr + result.stdout:
            found.append("a traceback")
        if result.returncode == 0:
            tree = ground.tree()
            if compare(expected[ground], tree):
                # Without bytecode, as where pip cannot write it.
                tree, wanted = _without_bytecode(tree), _without_bytecode(expected[ground])
                found += [f"not pip's tree: {x}" for x in compare(wanted, tree)]
            found += listed(ground)[1]
        else:
            found += _refused(ground, result.stderr, errors[call], before[ground])
        outcome = f"{errors[call]}, exit status {result.returncode}"
        return [f"{outcome}: {what}\n{result.stderr}" for what in found]

    wrong = everywhere(grounds, points, check)
    print(f"{run}: an error at {len(points)} calls, {dict(seen)}")
    assert not wrong, "\n".join(wrong)
    assert len(points) >= 60


@pytest.mark.parametrize("source", ["directory", "index"])
def test_entry_deleted_while_it_is_placed(
    source: str, tmp_path: Path, wheels: Path, index: IndexFactory
) -> None:
    """Somebody empties the store by hand: what was open stays, what was not is gone."""
    (ground,) = make_grounds(tmp_path, wheels, number=1)
    if source == "index":  # pip is handed the store's own wheel
        server = index(wheels)
        ground.other_settings = {"PIP_NO_INDEX": None, "PIP_FIND_LINKS": None}
        ground.other_settings["PIP_INDEX_URL"] = server.url
    expected = ground.plain_tree("demo")
    argv = _begin(ground, "place")
    before = ground.tree()
    copies = ["-e", "trace=copy_file_range", "-e", "signal=none"]
    stops = ["-e", "inject=copy_file_range:signal=SIGSTOP:when=1"]
    stopped = start_as(
        None, ["strace", "-f", "-o", os.devnull, *copies, *stops, *argv], env=ground.settings
    )
    while not (ground.environment.site_packages / "demo").exists():
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.01)
    shutil.rmtree(ground.store / "wheels")
    while stopped.poll() is None:  # it may be about to stop
        os.killpg(stopped.pid, signal.SIGCONT)
        time.sleep(0.05)
    output, errors = stopped.communicate()

    assert "Traceback" not in output + errors
    assert str(ground.store) in errors, errors
    if stopped.returncode == 0:
        assert compare(expected, ground.tree()) == []
    else:
        assert "ERROR" in errors
        assert compare(before, ground.tree()) == []
    assert mended(ground, "1.0", ground.listed(), expected) == []


def _without_bytecode(tree: dict[str, object]) -> dict[str, object]:
    return {
        name: node
        for name, node in tree.items()
        if "__pycache__" not in name and not name.endswith("/RECORD")
    }


def _ours(ground: Ground, call: Call) -> bool:
    return call.name in ERRORS and call.touches(ground.store)


def _refused(ground: Ground, output: str, error: str, before: dict[str, object]) -> list[str]:
    """What is wrong with an installation that ended in an error."""
    found = []
    if os.strerror(getattr(errno, error)) not in output or "ERROR" not in output:
        found.append("does not say which error it was")
    return found + [f"is not as before: {x}" for x in compare(before, ground.tree())]
