"""Completion: which words may stand at the cursor, by the line that a shell gives."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pip_sharedcache import cli, pip_adapter
from pip_sharedcache.cli import completion
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest
from pip_sharedcache.store import Store, publish
from pip_sharedcache.store.bans import Bans, new_ban
from support import REPOSITORY
from support.probes import linux, needs
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]


@pytest.fixture
def store(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store in use, with two wheels."""
    made = Store.make(shared_tmp / "store")
    for name in ("demo", "Foo_Bar"):
        wheel = make_wheel(shared_tmp / "wheels", name)
        publish(made, wheel, wheel.name, Digest(digest(wheel)))
    with Directory.open(made.path) as top:
        Bans((new_ban(made.path, name="old", version="2.0"),)).write(top)
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(made.path))
    return made


def _complete(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What is offered at the end of ``line``."""
    words = ["pip-sharedcache", *line.split(" ")]
    monkeypatch.setenv("PIP_AUTO_COMPLETE", "1")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert cli.main([]) == 1
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("store stats --by ", ["environment", "month", "package", "user"]),
        ("store stats --by us", ["user"]),
        ("store stats --by=us", ["--by=user"]),
        ("store stats --by = us", ["user"]),
        ("store stats --by =", ["environment", "month", "package", "user"]),
        ("store list --sort ", ["name", "size", "used"]),
        ("store init --layout p", ["packed"]),
        ("store repack --layout ", ["packed", "tree"]),
        ("store gc --progress-bar o", ["off", "on"]),
        ("store info ", ["demo", "foo-bar"]),
        ("store info Foo", ["foo-bar"]),
        ("store -v verify --fix d", ["demo"]),
        ("store list --by", ["--bytecode"]),
        ("store list --bytecode d", ["demo"]),
        ("store remove f", ["foo-bar"]),
        ("install --sharedcache-link-mode ", ["copy", "hardlink", "reflink", "symlink"]),
        ("install --sharedcache-link-mode=re", ["--sharedcache-link-mode=reflink"]),
        ("install --sharedcache-link-mode = re", ["reflink"]),
        ("store info --sharedcache-stats a", ["anonymous"]),
        ("--sharedcache-resolutions ", ["off", "on"]),
        ("--sharedcache-group-environment ", ["no", "yes"]),
        ("store gc --older-than ", []),
        ("store ban ", ["demo==1.0", "foo-bar==1.0"]),
        ("store ban --because x f", ["foo-bar==1.0"]),
        ("store ban --lift ", ["old==2.0"]),
        ("store ban --list ", []),
        ("store who-has ", ["demo", "foo-bar", "old==2.0"]),
        ("store who-has --json d", ["demo"]),
        ("help store wh", ["who-has"]),
        ("-v help store rem", ["remove"]),
        ("help store gc ", []),
        ("store shell-init z", ["zsh"]),
    ],
)
def test_values_are_offered(
    line: str,
    found: list[str],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pip_adapter, "run_pip", lambda arguments: None)
    assert _complete(line, monkeypatch, capsys) == found


def test_help_of_the_store_commands_is_offered_beside_pips_commands() -> None:
    assert completion.beside_pip(["help"], "sto") == ["store"]
    assert completion.beside_pip(["install"], "sto") == []


@pytest.mark.parametrize("command", ["init", "setup", "adopt"])
def test_groups_of_the_machine_are_offered(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pip_adapter, "run_pip", lambda arguments: None)
    listed = subprocess.run(["bash", "-c", "compgen -g"], capture_output=True, text=True)
    groups = sorted({one for one in listed.stdout.split() if re.fullmatch("[A-Za-z0-9_.-]+", one)})
    assert _complete(f"store {command} --group ", monkeypatch, capsys) == groups
    (first, *_) = groups
    assert f"--group={first}" in _complete(f"store {command} --group={first}", monkeypatch, capsys)


@pytest.mark.parametrize(
    "name",
    ["fox`id>pwn`", "f;reboot", "f*", "f\x1b[2Jx", "f\nnew line", "f$(id)", "f x", "fé", "-f"],
)
def test_names_that_a_shell_would_run_are_not_offered(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each member of the group names files in the store."""
    entry = store.path / "wheels" / "ab" / ("ab" * 32)
    entry.mkdir()
    (entry / f"{name}-1.0-py3-none-any.whl").touch()
    assert _complete("store info ", monkeypatch, capsys) == ["demo", "foo-bar"]
    assert _complete("store info f", monkeypatch, capsys) == ["foo-bar"]


def test_bash_expands_no_word_of_a_completion(tmp_path: Path) -> None:
    program = tmp_path / "pip-sharedcache"
    program.write_text("#!/bin/sh\necho 'one * two'\n")
    program.chmod(0o755)
    (tmp_path / "there").touch()
    lines = (
        completion.SCRIPTS["bash"],
        f"cd {tmp_path}; COMP_WORDS=({program} x) COMP_CWORD=1",
        f"_pip_sharedcache_complete {program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    )
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (done.stdout.split("\n"), done.stderr) == (["one", "*", "two", ""], "")


def test_store_of_the_line_gives_the_names(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_SHAREDCACHE_DIR", "/nowhere")
    assert _complete("store info ", monkeypatch, capsys) == []
    line = f"store --sharedcache-dir = {store.path} info d"
    assert _complete(line, monkeypatch, capsys) == ["demo"]


def test_no_store_is_made_for_a_completion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert _complete("store info ", monkeypatch, capsys) == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_file_for_packages_is_what_the_command_prints(shell: str) -> None:
    """After a change: pip-sharedcache store completion SHELL > docs/completions/..."""
    file = REPOSITORY / "docs" / "completions" / f"pip-sharedcache.{shell}"
    assert file.read_text(encoding="utf-8") == completion.SCRIPTS[shell]
