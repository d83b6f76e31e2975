"""The tabulator key in real shells."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, make_environment
from support.probes import linux, needs, shells

pytestmark = [pytest.mark.pips, needs(linux, shells)]

STARTS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-fi"], "autoload -U compinit && compinit -u -D"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return make_environment(tmp_path_factory.mktemp("completion") / "environment")


def script(environment: Environment, shell: str) -> str:
    argv = [environment.scripts / "pip-sharedcache", "store", "completion", shell]
    return run_as(None, argv, check=True).stdout


class Terminal:
    """A program that runs in a terminal of its own."""

    def __init__(self, argv: list[str], env: dict[str, str]):
        self._ours, theirs = pty.openpty()
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self._process = subprocess.Popen(argv, env=env, start_new_session=True, **streams)
        os.close(theirs)
        self.said = ""

    def type(self, text: str, until: str) -> None:
        """Type ``text``, and wait until the program has printed ``until`` after that."""
        os.write(self._ours, text.encode())
        seen, limit = len(self.said), time.monotonic() + 60
        while until not in self.said[seen:]:
            ready, _, _ = select.select([self._ours], [], [], max(0, limit - time.monotonic()))
            assert ready, self.said
            self.said += os.read(self._ours, 65536).decode(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.mark.parametrize("shell", STARTS)
def test_the_tabulator_key_completes_our_commands_and_pips(
    shell: str, environment: Environment, tmp_path: Path
) -> None:
    argv, first = STARTS[shell]
    file = tmp_path / "script"
    file.write_text(f"{first}\n{script(environment, shell)}")
    path = f"{environment.scripts}:/usr/bin:/bin"
    store = tmp_path / "the-store"
    settings = {"TERM": "dumb", "HOME": str(tmp_path), "PIP_SHAREDCACHE_DIR": str(store)}
    terminal = Terminal(argv, {**settings, "PATH": path})
    try:
        terminal.type(f". {file}; echo rea''dy\n", "ready")
        terminal.type("pip-sharedcache sto\tpat\t\n", str(store))
        terminal.type("pip-sharedcache --vers\t\n", " from ")
        terminal.type("pip-sharedcache store stats --by us\t\n", "--by user")
        terminal.type("pip-sharedcache list --sharedcache-link-mode=ref\t\n", "=reflink")
        terminal.type("pip-sharedcache store init --group roo\t\n", "--group root")
        terminal.type("pip-sharedcache help store who\t\n", "store who-has")
        terminal.type("pip-sharedcache install --sharedcache-buil\t", "sharedcache-build-salt=")
    finally:
        terminal.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_find_the_files_of_the_wheel(
    shell: str, environment: Environment, tmp_path: Path
) -> None:
    share = environment.prefix / "share"
    assert (share / "man" / "man1" / "pip-sharedcache.1").is_file()
    path = f"{environment.scripts}:/usr/bin:/bin"
    variables = {"TERM": "dumb", "HOME": str(tmp_path), "PATH": path}
    if shell == "fish":
        argv = ["/usr/bin/fish", "-c", "complete -C 'pip-sharedcache sto'"]
        done = run_as(None, argv, env={**variables, "XDG_DATA_DIRS": str(share)}, check=True)
        assert done.stdout.split() == ["store"]
        return
    first = f"fpath=({share}/zsh/site-functions $fpath); {STARTS['zsh'][1]}"
    if shell == "bash":  # what bash-completion does at the first completion of the command
        first = f". {share}/bash-completion/completions/pip-sharedcache"
    terminal = Terminal(STARTS[shell][0], {**variables, "PIP_SHAREDCACHE_DIR": f"{tmp_path}/one"})
    try:
        terminal.type(f"{first}; echo rea''dy\n", "ready")
        for _ in range(2):  # zsh replaces the function by its file at the first completion
            terminal.type("pip-sharedcache sto\tpat\t\n", f"{tmp_path}/one")
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("sto", {"store"}),
        ("store ver", {"verify"}),
        ("store -v gc --older", {"--older-than"}),
        ("store shell-init z", {"zsh"}),
        ("store stats --by env", {"environment"}),
        ("store init --group roo", {"root"}),
        ("store setup --group=roo", {"--group=root"}),
        ("help store who", {"who-has"}),
        ("install --sharedcache-link-mode=ref", {"--sharedcache-link-mode=reflink"}),
        ("uninst", {"uninstall"}),
        ("install --index", {"--index-url="}),
    ],
)
def test_fish(line: str, found: set[str], environment: Environment, tmp_path: Path) -> None:
    program = script(environment, "fish") + f"complete -C 'pip-sharedcache {line}'\n"
    (tmp_path / "script").write_text(program)
    path = f"{environment.scripts}:/usr/bin:/bin"
    argv = ["/usr/bin/fish", "--no-config", tmp_path / "script"]
    done = run_as(None, argv, env={"PATH": path, "HOME": str(tmp_path)}, check=True)
    assert set(done.stdout.split()) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("store stats --by en", {"environment"}),
        ("store import en", {"en v.txt"}),
        ("store report --html=en", {"--html=en v.txt"}),
        ("store report --html en", {"en v.txt"}),
        ("install --requirement=en", {"--requirement=en v.txt"}),
    ],
)
def test_fish_offers_files_only_where_nothing_else_fits(
    line: str, found: set[str], environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "en v.txt").write_text("")
    (tmp_path / "script").write_text(
        script(environment, "fish") + f"complete -C 'pip-sharedcache {line}'\n"
    )
    path = f"{environment.scripts}:/usr/bin:/bin"
    argv = ["/usr/bin/fish", "--no-config", "script"]
    variables = {"PATH": path, "HOME": str(tmp_path)}
    done = run_as(None, argv, env=variables, check=True, cwd=tmp_path)
    shown = {one.partition("\t")[0].replace("\\ ", " ") for one in done.stdout.splitlines()}
    assert shown == found
