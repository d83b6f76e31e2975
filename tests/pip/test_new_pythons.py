"""Pythons that are newer than the machine's own: what changed in them is tried, not assumed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.index import LocalIndex
from support.probes import linux, needs
from support.pythons import new, new_python
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.network, pytest.mark.pips, needs(linux, probes.index)]

Command = Callable[..., list[str]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

NUMBER_OF_WHEELS = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    """An index of tool, in two versions, which requires base and schemes."""
    directory = tmp_path_factory.mktemp("wheels")
    data = "schemes-1.0.data"
    files: dict[str, bytes | str] = {
        **{f"schemes/part{number}.py": f"PART = {number}\n" for number in range(40)},
        "schemes/__init__.py": "",
        "schemes/broken.py": "def broken(:\n",
        # Newer Pythons warn when they compile these.
        "schemes/escape.py": "PATTERN = '\\d'\n",
        "schemes/leaves.py": "def f():\n    try:\n        pass\n    finally:\n        return 1\n",
        f"{data}/scripts/schemes-run": "#!python\nprint('said')\n",
        f"{data}/data/share/schemes/data.txt": "data\n",
    }
    make_wheel(directory, "schemes", files=files, executables=[f"{data}/scripts/schemes-run"])
    make_wheel(directory, "base")
    for version in ("1.0", "2.0"):
        make_wheel(
            directory,
            "tool",
            version,
            requires=["base>=1", "schemes"],
            entry_points="[console_scripts]\ntool = tool:main\n",
        )
    with LocalIndex(directory) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, served: LocalIndex) -> Run:
    """Run a pip, with the store; it has to succeed, and to warn of nothing."""
    store = tmp_path / "store"
    store.mkdir()

    def start(*argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PIP_NO_CACHE_DIR": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_INDEX_URL": served.url,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_SHAREDCACHE_DIR": str(store),
            **variables,
        }
        done = run_as(None, list(argv), env=env, check=True)
        assert "Traceback" not in done.stdout + done.stderr
        assert not any("pip_sharedcache" in line for line in done.stderr.splitlines()), done.stderr
        return done

    return start


def _hook(environment: Environment, central: Environment, run: Run) -> None:
    run(*central.command("store", "enable", "--prefix", str(environment.prefix)))


def _assert_same(one: Environment, other: Environment) -> None:
    assert differences(snapshot(one.prefix), snapshot(other.prefix)) == []


@pytest.mark.parametrize(
    ("python", "pip", "how"),
    [
        ("3.14", "26.3", "command"),
        ("3.14", "25.3", "hook"),
        ("3.15", "26.3", "hook"),
        ("3.15", "25.3", "command"),
    ],
)
def test_what_a_new_python_installs_upgrades_and_uninstalls_is_what_plain_pip_does(
    python: str, pip: str, how: str, environment: EnvironmentFactory, run: Run
) -> None:
    probes.require(new(python))
    interpreter = new_python(python)
    plain, cold, warm = (
        environment(name, python=interpreter, pip=pip, ours=how == "command")
        for name in ("plain", "cold", "warm")
    )
    commands = [plain.plain, cold.command, warm.command]
    if how == "hook":
        central = environment("central", python=interpreter)
        for one in (cold, warm):
            _hook(one, central, run)
        commands = [plain.plain, cold.plain, warm.plain]

    done = [run(*command("install", "tool==1.0")) for command in commands]
    assert f"{NUMBER_OF_WHEELS} added to it" in done[1].stdout
    assert f"{NUMBER_OF_WHEELS} of {NUMBER_OF_WHEELS} distributions from" in done[2].stdout
    assert [one.stderr for one in done] == [done[0].stderr] * 3
    for one in (cold, warm):
        assert run(str(one.scripts / "tool")).stdout == "tool 1.0\n"
        assert run(str(one.scripts / "schemes-run")).stdout == "said\n"

    for change in (["install", "tool==2.0"], ["uninstall", "--yes", "schemes"]):
        for command in commands:
            run(*command(*change))
    if how == "hook":
        for one in (cold, warm):
            run(*central.command("store", "disable", "--prefix", str(one.prefix)))
    _assert_same(plain, cold)
    _assert_same(plain, warm)


@pytest.mark.parametrize(
    ("central", "target"), [("old", "3.15"), ("3.15", "old"), ("3.14", "3.15")]
)
def test_one_python_installs_for_another(
    central: str, target: str, environment: EnvironmentFactory, run: Run
) -> None:
    """old: the Python that runs the tests."""
    probes.require(*(new(one) for one in (central, target) if one != "old"))
    starts, installs = (None if one == "old" else new_python(one) for one in (central, target))
    ours = environment("ours", python=starts)
    plain, bare, again = (
        environment(name, python=installs, ours=False) for name in ("plain", "bare", "again")
    )
    run(*ours.plain("--python", str(plain.python), "install", "tool==1.0"))
    for one in (bare, again):
        done = run(*ours.command("--python", str(one.python), "install", "tool==1.0"))
        _assert_same(plain, one)
    assert f"{NUMBER_OF_WHEELS} of {NUMBER_OF_WHEELS} distributions from" in done.stdout


@needs(new("3.15"))
def test_a_start_file_does_without_the_pth_file(environment: EnvironmentFactory, run: Run) -> None:
    """PEP 829: Python 3.15 reads it, and is to stop reading the other one's imports."""
    interpreter = new_python("3.15")
    central = environment("central", python=interpreter)
    one = environment("one", python=interpreter, ours=False)
    _hook(one, central, run)
    for name in ("", "pip_sharedcache.pth"):
        if name:
            (one.site_packages / name).unlink()
        shown = run(str(one.python), "-X", "dev", "-W", "always", "-c", "")
        assert (shown.stdout, shown.stderr) == ("", "")
        done = run(*one.plain("install", "--force-reinstall", "tool"))
        assert f"of {NUMBER_OF_WHEELS} distributions from" in done.stdout


@pytest.mark.parametrize("python", ["3.14", "3.15"])
def test_a_new_python_has_nothing_to_warn_of(
    python: str, environment: EnvironmentFactory, run: Run
) -> None:
    """Deprecations, files that are left open, a fork beside a thread."""
    probes.require(new(python))
    one = environment(python=new_python(python))
    noisy = {"PYTHONWARNINGS": "always", "PYTHONDEVMODE": "1"}
    for _ in ("cold", "warm"):
        run(*one.command("install", "--force-reinstall", "tool"), **noisy)
    for command in ("list", "stats", "verify", "gc", "info"):
        run(*one.command("store", command), **noisy)
