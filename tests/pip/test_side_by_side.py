"""Several distributions side by side: the same trees as pip's, and what happens when one fails."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import NEWEST_PIP, Environment, make_environment
from support.faults import (
    faults_of_distribution,
    faults_of_store,
    leftovers,
    visible_entries,
)
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import Content, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

NUMBER = 6
PIPS = ("23.0.1", "23.2.1", "24.0", "24.3.1", "25.0.1", "25.1.1", "25.3", NEWEST_PIP)
SIDE_BY_SIDE = "distributions are installed in parallel"


def _package(name: str, more: Mapping[str, Content] | None = None) -> dict[str, Content]:
    files: dict[str, Content] = {f"{name}/m{n}.py": f"X = {n}\n" for n in range(80)}
    return {**files, f"{name}/__init__.py": "def main():\n    print('main')\n", **(more or {})}


@pytest.fixture
def wheels(wheelhouse: Path) -> Path:
    """Six distributions that an "all" brings, with enough files to be worth it."""
    names = [f"part{number}" for number in range(NUMBER)]
    for name in names:
        script = f"[console_scripts]\n{name} = {name}:main\n"
        more = {f"{name}-1.0.data/data/share/{name}.txt": name}
        make_wheel(wheelhouse, name, files=_package(name, more), entry_points=script)
    make_wheel(wheelhouse, "all", requires=names)
    return wheelhouse


class Place:
    """A store, and environments that are filled from a directory of wheels."""

    def __init__(self, base: Path, wheels: Path, pip: str) -> None:
        self.base, self.wheels, self.pip = base, wheels, pip
        self.store = base / "store"
        self.store.mkdir()
        self.made = 0

    def environment(self) -> Environment:
        self.made += 1
        return make_environment(self.base / f"e{self.made}" / "env", pip=self.pip)

    def settings(self, **more: str | None) -> dict[str, str | None]:
        return {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_INDEX_URL": None,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_SHAREDCACHE_DIR": str(self.store),
            "PIP_SHAREDCACHE_PROCESSES": "3",
            **more,
        }

    def run(
        self, environment: Environment, *arguments: str, plain: bool = False, **more: str | None
    ) -> subprocess.CompletedProcess[str]:
        command = environment.plain if plain else environment.command
        argv = command("install", *arguments)
        done = run_as(None, argv, env=self.settings(**more), cwd=self.base)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def plain_tree(self, *arguments: str) -> Mapping[str, object]:
        environment = self.environment()
        assert self.run(environment, *arguments, plain=True).returncode == 0
        return snapshot(environment.prefix)


@pytest.fixture(params=[NEWEST_PIP])
def place(tmp_path: Path, wheels: Path, request: pytest.FixtureRequest) -> Place:
    return Place(tmp_path, wheels, request.param)


def _check(place: Place, environment: Environment, expected: Mapping[str, object]) -> None:
    assert differences(expected, snapshot(environment.prefix)) == []  # type: ignore[arg-type]
    assert not list(environment.site_packages.glob(".*.installing"))
    assert not faults_of_store(place.store)
    assert not leftovers(place.store)


@pytest.mark.parametrize("place", PIPS, indirect=True)
def test_distributions_side_by_side_give_pips_tree(place: Place) -> None:
    expected = place.plain_tree("all")
    for found in (0, NUMBER + 1):
        environment = place.environment()
        done = place.run(environment, "-vv", "all")
        assert done.returncode == 0, done.stderr
        assert f"{NUMBER + 1} {SIDE_BY_SIDE}" in done.stdout
        # No other process installed one.
        assert f"Worker processes installed {NUMBER + 1} distributions" in done.stdout
        assert f"Shared store: {found} of {NUMBER + 1} distributions" in done.stdout
        assert "Successfully installed all-1.0 part0-1.0" in done.stdout
        _check(place, environment, expected)
    assert len(visible_entries(place.store)) == NUMBER + 1
    assert len(visible_entries(place.store, "bytecode")) == NUMBER + 1


def test_the_last_one_wins_where_two_names_in_wheels_lead_to_one_path(place: Place) -> None:
    """lib and lib64, headers and data, the bytecode that one ships of what another one brings."""
    environment = place.environment()
    python = environment.site_packages.parent.name
    library = f"lib64/{python}/site-packages"
    assert os.path.samefile(environment.prefix / library, environment.site_packages)
    cached = importlib.util.cache_from_source("same/shipped.py").replace(
        sys.implementation.cache_tag or "",
        "cpython-" + python.replace("python", "").replace(".", ""),
    )
    same = {
        "aaa": {"same/__init__.py": "", "same/lib.py": "A = 1\n", "aaa-1.0.data/headers/a.h": "A"},
        "bbb": {f"bbb-1.0.data/data/{library}/same/lib.py": "B = 1\n", cached: b"not bytecode"},
        "ccc": {
            "same/shipped.py": "C = 1\n",
            f"ccc-1.0.data/data/include/site/{python}/aaa/a.h": "C",
        },
    }
    for name, files in same.items():
        make_wheel(place.wheels, name, files={**_package(name), **files})
    orders = (("aaa", "bbb", "ccc"), ("ccc", "bbb", "aaa"))
    for order in orders:
        for name, needed in zip(order, order[1:]):  # pip installs what is needed first
            make_wheel(
                place.wheels, name, files={**_package(name), **same[name]}, requires=[needed]
            )
        make_wheel(place.wheels, order[-1], files={**_package(order[-1]), **same[order[-1]]})
        wanted = (*order, *(f"part{number}" for number in range(NUMBER)))
        expected = place.plain_tree(*wanted)
        for _ in range(2):
            environment = place.environment()
            done = place.run(environment, "-vv", *wanted)
            assert done.returncode == 0, done.stderr
            assert f"{NUMBER} {SIDE_BY_SIDE}" in done.stdout
            _check(place, environment, expected)


def test_one_process_is_enough_if_one_says_so(place: Place) -> None:
    expected = place.plain_tree("all")
    environment = place.environment()
    done = place.run(environment, "-vv", "all", PIP_SHAREDCACHE_PROCESSES="1")
    assert done.returncode == 0, done.stderr
    assert SIDE_BY_SIDE not in done.stdout
    _check(place, environment, expected)


def test_the_last_one_wins_where_two_bring_the_same_path(place: Place) -> None:
    """pip installs in a certain order; of the same file, the same script, the later one stays."""
    script = "[console_scripts]\nsame = part0:main\n"
    for name in ("first", "second", "third", "fourth"):
        shared = {"tests/__init__.py": f"WHOSE = {name!r}\n"} if name != "third" else {}
        make_wheel(
            place.wheels,
            name,
            files=_package(name, shared),
            entry_points=script.replace("part0", name) if name != "first" else None,
            requires=[f"part{number}" for number in range(NUMBER)],
        )
    both = {"lib/same.py": "A = 1\n", "fifth-1.0.data/purelib/also/same.py": "B = 1\n"}
    make_wheel(place.wheels, "fifth", files=_package("fifth", both))
    make_wheel(place.wheels, "sixth", files=_package("sixth", {"also/same.py": "B = 2\n"}))
    wanted = ("first", "second", "third", "fourth", "fifth", "sixth")
    expected = place.plain_tree(*wanted)
    for _ in range(2):
        environment = place.environment()
        done = place.run(environment, "-vv", *wanted)
        assert done.returncode == 0, done.stderr
        assert f"{NUMBER} {SIDE_BY_SIDE}" in done.stdout  # the parts, and none of the others
        found = differences(expected, snapshot(environment.prefix))  # type: ignore[arg-type]
        # A script that was written over has another row in each environment: it names the prefix.
        assert [line for line in found if "bin/same," not in line] == []


def test_warnings_are_shown_once_and_where_pip_shows_them(place: Place) -> None:
    shown = []
    for module in ("pip", "pip_sharedcache"):
        environment = place.environment()
        # pip does not warn of the directory that its own interpreter is in.
        elsewhere = environment.prefix / "elsewhere" / "python"
        elsewhere.parent.mkdir()
        elsewhere.symlink_to(environment.python.resolve())
        argv = [str(elsewhere), "-m", module, "install", "all"]
        done = run_as(None, argv, env=place.settings(PATH="/usr/bin:/bin"), check=True)
        found = [line for line in done.stderr.splitlines() if "which is not on PATH" in line]
        shown.append([line.split()[3] for line in found])
    assert shown[1] == shown[0]
    assert sorted(shown[0]) == [f"part{number}" for number in range(NUMBER)]


def test_a_distribution_that_cannot_be_placed_fails_as_pip_does(place: Place) -> None:
    messages, trees = [], []
    for plain in (True, False):
        environment = place.environment()
        obstacle = environment.site_packages / "part3"
        obstacle.write_text("a file where a directory is to be")
        done = place.run(environment, "all", plain=plain)
        assert done.returncode == 1
        messages.append(done.stderr.replace(str(environment.prefix), ""))
        names = {path.name for path in environment.site_packages.glob("part*.dist-info")}
        trees.append({name.partition("-")[0] for name in names})
        assert obstacle.read_text().startswith("a file")
        for name in names:
            assert not faults_of_distribution(environment.site_packages, name)
    assert "part3" in messages[0]
    assert messages[1].splitlines()[-1] == messages[0].splitlines()[-1]
    # What pip had installed before stays; what comes later in its order is not there.
    assert trees[1] == trees[0]
    assert 0 < len(trees[0]) < NUMBER
    gone = {f"part{number}" for number in range(NUMBER)} - trees[0] - {"part3"}
    assert not [name for name in gone if (environment.site_packages / name).exists()]


def test_damaged_file_is_repaired_wherever_it_is_met(place: Place) -> None:
    expected = place.plain_tree("all")
    assert place.run(place.environment(), "all").returncode == 0
    for entry in visible_entries(place.store):
        for path in entry.glob("files/part[24]/m7.py"):
            path.chmod(0o644)
            path.write_text("")
            path.chmod(0o444)
    environment = place.environment()
    done = place.run(environment, "all")
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stderr.splitlines() if "Damaged entry" in line]) == 2
    assert differences(expected, snapshot(environment.prefix)) == []  # type: ignore[arg-type]


def _children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def _wait_for(condition: object, process: subprocess.Popen[bytes]) -> bool:
    """Poll until it holds; False where the process has ended before."""
    while process.poll() is None:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("victim", ["a copy", "all copies", "the first process"])
def test_killed_processes_leave_a_right_environment_or_none(place: Place, victim: str) -> None:
    expected = place.plain_tree("all")
    hits = 0
    for _ in range(6):
        environment = place.environment()
        argv = environment.command("install", "-q", "all")
        env = {**os.environ, **{k: v for k, v in place.settings().items() if v is not None}}
        process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, cwd=place.base)
        library = environment.site_packages
        if _wait_for(lambda: list(library.glob(".part*.installing")), process):  # noqa: B023
            children = _children(process.pid)
            victims = {"a copy": children[:1], "all copies": children}.get(victim, [process.pid])
            for one in victims:
                os.kill(one, signal.SIGKILL)
            hits += bool(victims)
        _, errors = process.communicate()
        if victim == "the first process":
            assert _wait_until_gone(children)
            for name in library.glob("part*.dist-info"):
                assert not faults_of_distribution(library, name.name)
            again = place.run(environment, "all")
            assert again.returncode == 0, again.stderr
        else:
            assert process.returncode == 0, errors.decode()
            assert b"Traceback" not in errors
        _check(place, environment, expected)
    assert hits


def _wait_until_gone(processes: list[int]) -> bool:
    for _ in range(5000):
        if not any(Path(f"/proc/{process}/task").exists() for process in processes):
            return True
        time.sleep(0.001)
    return False


def test_ctrl_c_leaves_whole_distributions_only(place: Place) -> None:
    for _ in range(3):
        environment = place.environment()
        argv = environment.command("install", "-q", "all")
        env = {**os.environ, **{k: v for k, v in place.settings().items() if v is not None}}
        process = subprocess.Popen(
            argv, env=env, stderr=subprocess.PIPE, cwd=place.base, start_new_session=True
        )
        library = environment.site_packages
        _wait_for(lambda: list(library.glob(".part*.installing")), process)  # noqa: B023
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        for name in library.glob("*.dist-info"):
            assert not faults_of_distribution(library, name.name)
        assert not list(library.glob(".*.installing"))
        assert not faults_of_store(place.store)


def test_no_process_is_left(place: Place) -> None:
    code = (
        "import os, sys, runpy; sys.argv = sys.argv[1:]\n"
        "import atexit\n"
        "def left():\n"
        "    try: os.waitpid(-1, os.WNOHANG)\n"
        "    except ChildProcessError: print('none left')\n"
        "atexit.register(left)\n"
        "runpy.run_module('pip_sharedcache', run_name='__main__')\n"
    )
    environment = place.environment()
    argv = [str(environment.python), "-c", code, "pip", "install", "-vv", "all"]
    done = run_as(None, argv, env=place.settings(), cwd=place.base)
    assert done.returncode == 0, done.stderr
    assert SIDE_BY_SIDE in done.stdout
    assert done.stdout.splitlines()[-1] == "none left"


def test_what_replaces_something_is_installed_in_pips_order(place: Place) -> None:
    make_wheel(place.wheels, "part0", "2.0", files=_package("part0"))
    environment = place.environment()
    assert place.run(environment, "part0==1.0").returncode == 0
    done = place.run(environment, "-vv", "-U", "part0", "part1", "part2")
    assert done.returncode == 0, done.stderr
    assert SIDE_BY_SIDE not in done.stdout
    plain = place.environment()
    place.run(plain, "part0==1.0", plain=True)
    place.run(plain, "-U", "part0", "part1", "part2", plain=True)
    _check(place, environment, snapshot(plain.prefix))


def test_target_and_prefix_are_served_side_by_side(place: Place) -> None:
    for option in ("--target", "--prefix"):
        trees = []
        for plain in (True, False):
            environment, where = place.environment(), place.base / f"there{place.made}"
            done = place.run(environment, "-vv", option, str(where), "all", plain=plain)
            assert done.returncode == 0, done.stderr
            assert (SIDE_BY_SIDE in done.stdout) is not plain
            trees.append({str(path.relative_to(where)) for path in where.rglob("*")})
        assert trees[0] == trees[1]
