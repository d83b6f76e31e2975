"""Which entries of sys.path count: those that count for pip, started the same way."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.probes import linux, needs

pytestmark = [needs(linux)]

#: What is set, and whether a distribution in the working directory counts then: for a module, for a
#: script, and for pip's runner (--python).
SURROUNDINGS = {
    "nothing": ({}, []),
    "named": ({"PYTHONPATH": "."}, []),
    "named twice without site": ({"PYTHONPATH": "{here}:{here}"}, ["-S"]),
    "named and safe": ({"PYTHONPATH": "{here}", "PYTHONSAFEPATH": "1"}, []),
    "named and isolated": ({"PYTHONPATH": "{here}"}, ["-I"]),
}


@pytest.fixture
def one(environment: EnvironmentFactory) -> Environment:
    return environment("one")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with a distribution in it."""
    information = tmp_path / "here" / "lying_here-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lying_here\nVersion: 1.0\n", encoding="utf-8"
    )
    return tmp_path / "here"


def _commands(one: Environment, options: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    """For each way to start it: pip, and pip-sharedcache in its place."""
    python = [str(one.python), *options]
    scripts = one.scripts
    return {
        "module": ([*python, "-m", "pip"], [*python, "-m", "pip_sharedcache"]),
        "script": ([*python, f"{scripts}/pip"], [*python, f"{scripts}/pip-sharedcache"]),
        "--python": (
            [*one.plain("--python", one.python)],
            [*one.command("--python", one.python)],
        ),
    }


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_distribution_in_the_working_directory_counts_as_for_pip(
    surroundings: str, one: Environment, here: Path
) -> None:
    variables, options = SURROUNDINGS[surroundings]
    env = {name: value.format(here=here) for name, value in variables.items()}
    if "-S" in options:  # nothing is found without these
        env["PYTHONPATH"] += f":{one.site_packages}"
    different = {}
    for name, commands in _commands(one, options).items():
        seen = []
        for command in commands:
            done = run_as(None, [*command, "list", "--format=freeze"], env=env, cwd=here)
            assert done.returncode == 0, done.stderr
            seen.append("lying" in done.stdout)
        if seen[0] != seen[1]:
            different[name] = seen
    assert different == {}


@pytest.mark.parametrize("command", ["show lying_here", "freeze --all", "check", "list"])
def test_a_directory_that_pythonpath_names_counts(
    command: str, one: Environment, here: Path
) -> None:
    arguments = shlex.split(command)
    if command == "check":
        text = "Metadata-Version: 2.1\nName: lying_here\nVersion: 1.0\nRequires-Dist: nowhere\n"
        (here / "lying_here-1.0.dist-info" / "METADATA").write_text(text, encoding="utf-8")
    done = run_as(None, one.command(*arguments), env={"PYTHONPATH": "."}, cwd=here)
    assert "lying_here" in done.stdout.replace("-", "_"), done.stderr


def test_the_function_pip_reads_what_pythonpath_names(one: Environment, here: Path) -> None:
    init = run_as(None, one.command("store", "shell-init", "sh"), check=True).stdout
    env = {"PYTHONPATH": str(here), "PATH": f"{one.scripts}:{os.environ['PATH']}"}
    for safe in ("", "1"):
        line = f"{init}\npip list --format=freeze"
        done = run_as(None, ["sh", "-c", line], env={**env, "PYTHONSAFEPATH": safe}, cwd=here)
        assert "lying" in done.stdout, done.stderr


def test_a_working_directory_that_is_removed_does_not_stop_the_script(
    one: Environment, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = [str(one.scripts / "pip-sharedcache"), "list"]
    for command in (script, one.command("list")):
        line = f"cd {shlex.quote(str(gone))} && rmdir {shlex.quote(str(gone))} && exec "
        done = run_as(None, ["sh", "-c", line + shlex.join(command)])
        assert done.returncode == 0, done.stderr
        shutil.rmtree(gone, ignore_errors=True)
        gone.mkdir()
