"""Long work shows itself on a terminal, as pip does, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.probes import linux, needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Variables = dict[str, "str | None"]
ADDING = "Adding demo-1.0-py3-none-any.whl to the shared store"


@pytest.fixture
def env(wheelhouse: Path, tmp_path: Path) -> Variables:
    files = {f"demo/{number}.txt": "0123456789abcdef" * 65536 for number in range(30)}
    make_wheel(wheelhouse, files={"demo/__init__.py": "", **files})
    (tmp_path / "store").mkdir()
    return offline(wheelhouse, tmp_path / "store")


def _on_a_terminal(environment: Environment, env: Variables, *arguments: str) -> str:
    """All that is shown."""
    leader, follower = pty.openpty()
    variables = {
        name: value for name, value in {**os.environ, "TERM": "xterm", **env}.items() if value
    }
    with subprocess.Popen(
        [str(word) for word in environment.command(*arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=variables,
        start_new_session=True,
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while data := os.read(leader, 65536):
                shown += data
        except OSError:  # EIO: the other end is closed
            pass
        finally:
            os.close(leader)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("pip", ["23.0.1", "26.3"])
def test_a_large_wheel_has_pips_bar(
    pip: str, environment: EnvironmentFactory, env: Variables
) -> None:
    one = environment("one", pip=pip)
    shown = _on_a_terminal(one, env, "install", "demo")
    assert shown.count(ADDING) == 1
    bar = shown[shown.index(ADDING) : shown.index("Successfully installed")]
    assert "\u2501" in bar and "31.5/31.5 MB" in bar
    assert "\x1b[" in bar
    run_as(None, one.command("uninstall", "-y", "demo"), env=env, check=True)
    shown = _on_a_terminal(one, env, "install", "demo")
    assert ADDING not in shown, "it is there"


def test_without_colour_there_is_none(environment: EnvironmentFactory, env: Variables) -> None:
    one = environment("one")
    colour = "\x1b[3"
    for how in ("NO_COLOR", "--no-color"):
        more = ["--no-color"] if how == "--no-color" else []
        variables = {**env, **({"NO_COLOR": "1"} if how == "NO_COLOR" else {})}
        target = str(one.prefix / how)
        store = str(one.prefix / f"store {how}")
        os.mkdir(store)
        variables["PIP_SHAREDCACHE_DIR"] = store
        shown = _on_a_terminal(one, variables, "install", "demo", "--target", target, *more)
        assert ADDING in shown
        assert "31.5/31.5 MB" in shown
        assert colour not in shown, how


@pytest.mark.parametrize("quiet", ["-q", "--progress-bar=off"])
def test_who_asks_for_less_is_shown_less(
    quiet: str, environment: EnvironmentFactory, env: Variables
) -> None:
    shown = _on_a_terminal(environment("one"), env, "install", quiet, "demo")
    assert ADDING not in shown and "\u2501" not in shown


def test_what_is_no_terminal_has_no_bar(environment: EnvironmentFactory, env: Variables) -> None:
    done = run_as(None, environment("one").command("install", "demo"), env=env, check=True)
    assert ADDING not in done.stdout and "\u2501" not in done.stdout + done.stderr


def test_commands_tell_how_far_they_are(environment: EnvironmentFactory, env: Variables) -> None:
    one = environment("one")
    run_as(None, one.command("install", "demo"), env=env, check=True)
    for words, told in (
        (["verify"], "Checked 1 of 2"),
        (["export", "/dev/null"], "Written 1 of 1"),
    ):
        assert told in _on_a_terminal(one, env, "store", *words)
        for less in (["-q"], ["--progress-bar", "off"], ["--progress-bar=raw"]):
            assert told not in _on_a_terminal(one, env, "store", *words, *less)
        for variables in ({"TERM": "dumb"}, {"PIP_PROGRESS_BAR": "off"}):
            assert told not in _on_a_terminal(one, {**env, **variables}, "store", *words)
        done = run_as(None, one.command("store", *words), env=env, check=True)
        assert "\r" not in done.stdout + done.stderr
