"""kill -9 at any moment: what others see is whole, and the next install mends the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support.faults import (
    Call,
    faults_of_distribution,
    spread,
    trace,
)
from support.grounds import (
    Ground,
    everywhere,
    kill,
    listed,
    make_grounds,
    mended,
    store_faults,
)
from support.probes import needs, strace
from support.wheels import Content, make_wheel

pytestmark = [pytest.mark.strace, needs(strace)]

PIPS = ("23.0.1", "23.2.1", "24.0", "24.3.1", "25.0.1", "25.1.1", "25.3", "26.3")
SCRIPT = "[console_scripts]\ndemo = demo:main\n"


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    for version in ("1.0", "2.0"):
        make_wheel(wheelhouse, "demo", version, files=_files(version), entry_points=SCRIPT)
    return wheelhouse


def _files(version: str) -> dict[str, Content]:
    return {
        "demo/__init__.py": f"VERSION = {version!r}\n\n\ndef main():\n    print(VERSION)\n",
        "demo/part/__init__.py": f"PART = {version!r}\n",
        "demo/data.txt": f"data of {version}\n",
    }


def _installs(
    grounds: Sequence[Ground], points: Callable[[list[Call]], list[Call]]
) -> tuple[int, list[str]]:
    expected = {ground: ground.plain_tree("demo==1.0") for ground in grounds}
    calls = points(grounds[0].calls(grounds[0].install("demo==1.0")))

    def check(ground: Ground, call: Call) -> list[str]:
        ground.restore()
        ground.fresh_store()
        argv = ground.install("demo==1.0")
        found = kill(ground, argv, call)
        version, faults = listed(ground)
        found += faults + store_faults(ground)
        return found + mended(ground, "1.0", version, expected[ground])

    return len(calls), everywhere(grounds, calls, check)


def test_killed_install_with_an_old_pip(tmp_path: Path, wheels: Path) -> None:
    fields = make_grounds(tmp_path, wheels, "23.0.1")

    def points(calls: list[Call]) -> list[Call]:
        return list(dict.fromkeys([*spread(fields[0].changing(calls), 16), *calls[-40::8]]))

    number, wrong = _installs(fields, points)
    assert not wrong, "\n".join(wrong)
    assert number >= 20


def test_killed_upgrade_leaves_the_old_or_the_new_version_or_none(
    tmp_path: Path, wheels: Path
) -> None:
    fields = make_grounds(tmp_path, wheels)
    argvs = {ground: ground.install("demo==2.0") for ground in fields}
    expected = {ground: ground.plain_tree("demo==2.0") for ground in fields}
    for ground in fields:
        ground.succeed(ground.install("demo==1.0"))
        ground.remember()
    calls = fields[0].calls(argvs[fields[0]])
    changing = fields[0].changing(calls)
    # From where the store is done with, everything: there the old version goes, the new comes.
    placing = [call for call in changing if not call.touches(fields[0].store)]
    points = list(dict.fromkeys([*spread(changing, 10), *placing[::2], *placing[-6:]]))

    def check(ground: Ground, call: Call) -> list[str]:
        ground.restore()
        ground.fresh_store()
        found = kill(ground, argvs[ground], call)
        version, faults = listed(ground)
        found += faults + store_faults(ground)
        return found + mended(ground, "2.0", version, expected[ground])

    wrong = everywhere(fields, points, check)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
@pytest.mark.product
def test_killed_while_files_of_a_killed_install_are_replaced_by_links(
    tmp_path: Path, wheels: Path, mode: str
) -> None:
    fields = make_grounds(tmp_path, wheels)
    argvs = {ground: ground.install("demo==1.0") for ground in fields}
    expected: dict[Ground, dict[str, object]] = {}
    for ground in fields:
        ground.mode = mode
        ground.succeed(argvs[ground])
        ground.restore()
        ground.succeed(argvs[ground])  # the entry is there, and noted as used
        expected[ground] = ground.tree()
        # As a kill just before the end leaves it: all files, no .dist-info.
        shutil.rmtree(ground.environment.site_packages / "demo-1.0.dist-info")
        ground.remember()
    calls = fields[0].calls(argvs[fields[0]])
    links = [
        number
        for number, call in enumerate(calls)
        if call.name.startswith(("link", "symlink", "rename"))
        and call.touches(fields[0].environment.site_packages / "demo")
    ]
    near = {number + step for number in links for step in (0, 1)}
    points = [calls[number] for number in sorted(near)[::2] if number < len(calls)]
    assert points

    def check(ground: Ground, call: Call) -> list[str]:
        ground.restore()
        found = kill(ground, argvs[ground], call)
        version, faults = listed(ground)
        return found + faults + mended(ground, "1.0", version, expected[ground])

    wrong = everywhere(fields, points, check)
    assert not wrong, "\n".join(wrong)


@pytest.mark.pips
@pytest.mark.parametrize("pip", PIPS)
def test_dist_info_appears_when_all_else_is_in_place(
    tmp_path: Path, wheels: Path, pip: str
) -> None:
    (ground,) = make_grounds(tmp_path, wheels, pip, 1)
    prefix, library = ground.environment.prefix, ground.environment.site_packages
    calls = trace(ground.install("demo==1.0"), ground.directory / "trace", env=ground.settings)
    changes = [call for call in calls if call.changes and call.touches(prefix)]
    # Written with its own name only once: by the rename that lets all of it appear.
    final = [call for call in changes if str(library / "demo-1.0.dist-info") in call.text]
    assert [call.name for call in final] == ["rename"], "\n".join(map(str, final))
    assert changes[-1] == final[0], "\n".join(map(str, changes[changes.index(final[0]) :]))
    assert any("/demo/__init__.py" in call.text for call in changes)
    assert not faults_of_distribution(library, "demo-1.0.dist-info")
