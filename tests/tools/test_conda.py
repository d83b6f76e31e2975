"""The function `pip` where conda has activated an environment: scripts of a real activation
(py-rattler's; for the C shell, which that does not know, the same in its words) in real shells."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import Environment, environment_with, make_environment
from support.filesystems import remove_tree
from support.probes import linux, needs, shells
from support.trees import snapshot

pytestmark = [pytest.mark.network, pytest.mark.pips, needs(linux, shells, probes.index)]

ACTIVATE = """
import sys
from pathlib import Path
from rattler.shell import ActivationVariables, PathModificationBehavior, Shell, activate
shell, prefix, current = sys.argv[1:]
variables = ActivationVariables(current or None, [], PathModificationBehavior.Prepend)
print(activate(Path(prefix), variables, getattr(Shell, shell)).script)
"""
XONSH_SAYS = ("Skipping application of 'pip", "bash: cannot set terminal", "bash: no job control")
FUNCTION = 'pip() { echo "mine: $*"; }'
ALIAS = "alias pip='echo \"mine:\"'"


@dataclass(frozen=True)
class Shell:
    """How it is started, which of rattler's scripts it takes, and its words: to define a pip of
    one's own, in some ways, and to print all that is defined."""

    start: tuple[str, ...]
    kind: str
    mine: tuple[tuple[str, str], ...]
    state: str


SHELLS = {
    "bash": Shell(
        ("bash", "-eu"),
        "bash",
        (("function", FUNCTION), ("alias", f"shopt -s expand_aliases\n{ALIAS}")),
        "set; alias",
    ),
    "dash": Shell(
        ("dash", "-eu"), "bash", (("function", FUNCTION), ("alias", ALIAS)), "set; alias"
    ),
    "zsh": Shell(
        ("zsh", "-feu"), "zsh", (("function", FUNCTION), ("alias", ALIAS)), "set; functions; alias"
    ),
    "fish": Shell(
        ("fish", "--no-config"),
        "fish",
        (
            ("function", 'function pip; echo "mine: $argv"; end'),
            ("alias", "alias pip 'echo mine:'"),
        ),
        "set; functions -a",
    ),
    "tcsh": Shell(("tcsh", "-f"), "", (("alias", "alias pip 'echo mine:'"),), "set; alias"),
    "xonsh": Shell(
        ("{xonsh}", "--no-rc"),
        "xonsh",
        (("alias", "aliases['pip'] = ['echo', 'mine:']"),),
        "print(list(__xonsh__.ctx), aliases.get('pip'))",
    ),
}
CASES = [(name, how) for name, shell in SHELLS.items() for how in ("none", *dict(shell.mine))]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment_with(tmp_path_factory.mktemp("tools") / "tools", "py-rattler", "xonsh")


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where pip-sharedcache lies."""
    return make_environment(tmp_path_factory.mktemp("with a space") / "central")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, central: Environment) -> list[Environment]:
    """As conda makes them, as far as activation looks at them: two with our scripts, the last one
    without."""
    place = tmp_path_factory.mktemp("envs")
    environments = [as_of_conda(place / name) for name in ("one", "two", "other")]
    for environment in environments[:2]:
        switch(central, "enable", environment)
    return environments


@pytest.fixture
def environments(made: list[Environment]) -> Iterator[list[Environment]]:
    yield made
    for environment in made:
        for path in environment.site_packages.glob("demo*"):
            remove_tree(path)


@pytest.fixture
def bare(tmp_path: Path) -> Environment:
    return as_of_conda(tmp_path / "bare")


def as_of_conda(path: Path) -> Environment:
    made = make_environment(path, ours=False)
    (made.prefix / "conda-meta").mkdir()
    return made


def switch(central: Environment, command: str, environment: Environment) -> str:
    argv = central.command("store", command, "--conda", "--prefix", environment.prefix)
    return run_as(None, argv, check=True).stdout


class Session:
    """Lines for one shell, which runs them in the end."""

    def __init__(self, name: str, tools: Environment, env: dict[str, str | None], work: Path):
        self.shell = SHELLS[name]
        self._tools, self._env, self._work = tools, env, work
        self._lines: list[str] = []

    def say(self, *lines: str) -> None:
        self._lines += lines

    def activate(self, environment: Environment, instead_of: Environment | None = None) -> None:
        """As `conda activate`, which deactivates the current one; with None as with --stack."""
        current = "" if instead_of is None else str(instead_of.prefix)
        if not self.shell.kind:
            if instead_of is not None:
                self._source(instead_of, "deactivate")
            self.say(f"setenv PATH {environment.scripts}:$PATH")
            self._source(environment, "activate")
            return
        argv = [self._tools.python, "-c", ACTIVATE, self.shell.kind, environment.prefix, current]
        self.say(*run_as(None, argv, check=True).stdout.splitlines())

    def _source(self, environment: Environment, when: str) -> None:
        scripts = (environment.prefix / "etc" / "conda" / f"{when}.d").glob("*.csh")
        self.say(*(f'source "{script}"' for script in sorted(scripts)))

    def run(self) -> list[str]:
        """What each of the parts between "echo ---" prints."""
        script = self._work / "script"
        script.write_text("\n".join([*self._lines, ""]))
        argv = [part.format(xonsh=self._tools.scripts / "xonsh") for part in self.shell.start]
        argv[0] = shutil.which(argv[0]) or argv[0]
        more = {"PATH": "/usr/bin:/bin", "HOME": str(self._work), "XONSH_SHOW_TRACEBACK": "1"}
        done = run_as(None, [*argv, script], env={**self._env, **more})
        # What xonsh and the bash that it asks say of taking over aliases, and of no terminal.
        errors = [line for line in done.stderr.splitlines() if not line.startswith(XONSH_SAYS)]
        assert (done.returncode, errors) == (0, []), done.stdout + done.stderr
        return done.stdout.split("---\n", self._lines.count("echo ---"))


Open = Callable[[str], Session]


@pytest.fixture
def session(tools: Environment, env: dict[str, str | None], tmp_path: Path) -> Open:
    return lambda name: Session(name, tools, env, tmp_path)


def is_plain(part: str) -> bool:
    return "Successfully installed demo" in part and "Shared store" not in part


@pytest.mark.parametrize(("name", "how"), CASES)
def test_pip_is_a_function_while_it_is_active(
    name: str, how: str, session: Open, environments: list[Environment]
) -> None:
    one, _, other = environments
    lines = session(name)
    if how != "none":
        lines.say(dict(lines.shell.mine)[how])
    lines.activate(one)
    lines.say("pip install demo", "echo ---", "pip3 --version", "echo ---")
    lines.activate(other, instead_of=one)
    lines.say("pip install demo", "echo ---", lines.shell.state)
    installed, version, after, state = lines.run()
    if (name, how) == ("dash", "function"):  # it cannot be printed, so that it could not come back
        assert installed == "mine: install demo\n"
    else:
        assert "Shared store: 0 of 1 distributions" in installed
        assert (one.site_packages / "demo").is_dir()
    assert f"from {one.site_packages}" in version
    assert is_plain(after) if how == "none" else after == "mine: install demo\n"
    assert "_pip_sharedcache" not in state
    assert "_launch" not in state


@pytest.mark.parametrize("name", SHELLS)
def test_switching_and_activating_again(
    name: str, session: Open, environments: list[Environment]
) -> None:
    one, two, other = environments
    lines = session(name)
    lines.activate(one)
    lines.activate(one)
    lines.activate(one, instead_of=one)
    lines.activate(two, instead_of=one)
    lines.say("pip install demo", "echo ---")
    lines.activate(one, instead_of=two)
    lines.say("pip install demo", "echo ---")
    lines.activate(other, instead_of=one)
    lines.say("pip install demo", "echo ---", lines.shell.state)
    second, first, after, state = lines.run()
    assert "Shared store: 0 of 1 distributions" in second
    assert "Shared store: 1 of 1 distributions" in first
    assert (one.site_packages / "demo").is_dir()
    assert (two.site_packages / "demo").is_dir()
    assert is_plain(after)
    assert "_pip_sharedcache" not in state


@pytest.mark.parametrize("again", [True, False], ids=["activated again", "left"])
@pytest.mark.parametrize("name", SHELLS)
def test_one_on_top_of_the_other(
    name: str, again: bool, session: Open, environments: list[Environment]
) -> None:
    """Then conda deactivates the upper one only, and activates the lower one again; others do
    not."""
    one, two, other = environments
    lines = session(name)
    lines.activate(one)
    lines.activate(two)
    lines.say("pip install demo", "echo ---")
    lines.activate(other, instead_of=two)
    if again:
        lines.activate(one)
    lines.say("pip install demo", "echo ---")
    lines.activate(other, instead_of=one)
    lines.say("pip --version", "echo ---", lines.shell.state)
    upper, lower, after, state = lines.run()
    assert "Shared store: 0 of 1 distributions" in upper
    assert "Shared store: 1 of 1 distributions" in lower
    assert f"from {other.site_packages}" in after
    assert "_pip_sharedcache" not in state


@pytest.mark.parametrize("name", SHELLS)
def test_what_was_defined_meanwhile_stays(
    name: str, session: Open, environments: list[Environment]
) -> None:
    one, _, other = environments
    lines = session(name)
    lines.activate(one)
    lines.say(dict(lines.shell.mine)["alias"])
    lines.activate(other, instead_of=one)
    lines.say("pip install demo", "echo ---", lines.shell.state)
    after, state = lines.run()
    assert after == "mine: install demo\n"
    assert "_pip_sharedcache" not in state


def test_xonsh_as_conda_has_it(session: Open, environments: list[Environment]) -> None:
    """Newer ones have xonsh ask bash what the scripts for sh do, and run none of its own."""
    one = environments[0]
    script = one.prefix / "etc" / "conda" / "{}.d" / "pip-sharedcache.sh"
    lines = session("xonsh")
    lines.say(f"$PATH.insert(0, '{one.scripts}')", f"$CONDA_PREFIX = '{one.prefix}'")
    lines.say(f'source-bash --suppress-skip-message -n "{script}"'.format("activate"))
    lines.say("pip install demo", "echo ---", "pip uninstall -qy demo", "del $CONDA_PREFIX")
    lines.say(f'source-bash --suppress-skip-message -n "{script}"'.format("deactivate"))
    lines.say("pip install demo")
    active, after = lines.run()
    assert "Shared store: 0 of 1 distributions" in active
    assert is_plain(after)


def test_where_pip_sharedcache_is_gone_pip_is_as_before(
    session: Open, central: Environment, tmp_path: Path
) -> None:
    moved = as_of_conda(tmp_path / "moved")
    switch(central, "enable", moved)
    for path in moved.prefix.glob("etc/conda/*.d/*"):
        path.write_text(path.read_text().replace(str(central.prefix), str(tmp_path / "gone")))
    for name in SHELLS:
        lines = session(name)
        lines.activate(moved)
        lines.say("pip install --force-reinstall demo")
        (said,) = lines.run()
        assert is_plain(said)


def test_a_function_that_was_exported_is_exported_again(
    session: Open, environments: list[Environment]
) -> None:
    one, _, other = environments
    lines = session("bash")
    lines.say(FUNCTION, "export -f pip")
    lines.activate(one)
    lines.activate(other, instead_of=one)
    lines.say("bash -c 'pip install demo'")
    assert lines.run() == ["mine: install demo\n"]


def test_zsh_has_nothing_to_complain_of(session: Open, environments: list[Environment]) -> None:
    """conda activates in a function of its own."""
    one, _, other = environments
    lines = session("zsh")
    lines.say("setopt warn_create_global", "conda() {")
    lines.activate(one)
    lines.say("}", "deactivate() {")
    lines.activate(other, instead_of=one)
    lines.say("}", "conda", "pip --version", "deactivate", "echo ---", "setopt", "set")
    version, state = lines.run()
    assert f"from {one.site_packages}" in version
    assert "warncreateglobal" in state
    assert "_pip_sharedcache" not in state


def test_the_pip_section_of_conda_env_create(
    bare: Environment, central: Environment, env: dict[str, str | None], tmp_path: Path
) -> None:
    """conda itself is not on the package index: what its installer for pip runs, and how that looks
    for what was installed (conda_env/installers/pip.py, conda_env/pip_util.py)."""
    run_as(None, central.command("store", "enable", "--prefix", bare.prefix), check=True)
    section = tmp_path / "condaenv.requirements.txt"
    section.write_text("demo\n")
    arguments = ["install", "-U", "-r", str(section), "--exists-action=b"]
    done = run_as(None, bare.plain(*arguments), env=env, cwd=tmp_path, check=True)
    assert "Shared store: 0 of 1 distributions" in done.stdout
    found = re.search("Successfully installed (.*)", done.stdout)
    assert found is not None
    assert found[1].strip().split() == ["demo-1.0"]
    assert done.stderr == ""


def test_what_is_written_is_said_and_taken_away_again(
    bare: Environment, central: Environment, tmp_path: Path
) -> None:
    before = snapshot(bare.prefix)
    said = switch(central, "enable", bare).splitlines()
    written = [line.removeprefix("Wrote ") for line in said if line.startswith("Wrote ")]
    files = [path for path in (bare.prefix / "etc").rglob("*") if path.is_file()]
    assert sorted(written) == sorted(map(str, files))
    assert switch(central, "enable", bare).splitlines() == said
    removed = [
        line.removeprefix("Removed ") for line in switch(central, "disable", bare).splitlines()
    ]
    assert sorted(removed) == sorted(written)
    assert snapshot(bare.prefix) == before


def test_disable_leaves_empty_directories_that_were_there(
    bare: Environment, central: Environment
) -> None:
    (bare.prefix / "etc" / "conda" / "activate.d").mkdir(parents=True)
    before = snapshot(bare.prefix)
    assert "Nothing was enabled" in switch(central, "disable", bare)
    assert snapshot(bare.prefix) == before


def test_what_is_made_is_for_all_whatever_the_umask(
    bare: Environment, central: Environment
) -> None:
    argv = central.command("store", "enable", "--conda", "--prefix", bare.prefix)
    run_as(None, argv, umask=0o077, check=True)
    made = [bare.prefix / "etc", *(bare.prefix / "etc").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o644}


def test_disable_takes_all_of_an_environment_away(bare: Environment, central: Environment) -> None:
    before = snapshot(bare.prefix)
    switch(central, "enable", bare)
    options = ("--prefix", bare.prefix)
    run_as(None, central.command("store", "enable", *options), check=True)
    run_as(None, central.command("store", "disable", *options), check=True)
    assert snapshot(bare.prefix) == before


def _refused(central: Environment, argv: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    done = run_as(None, central.command("store", "enable", "--conda", *argv))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done


def test_what_is_no_environment_of_condas_is_refused(central: Environment, tmp_path: Path) -> None:
    plain = make_environment(tmp_path / "plain", ours=False)
    done = _refused(central, ["--prefix", plain.prefix])
    assert f"{plain.prefix} is not a conda environment" in done.stderr


def test_script_of_another_user_is_not_replaced(bare: Environment, central: Environment) -> None:
    script = bare.prefix / "etc" / "conda" / "deactivate.d" / "pip-sharedcache.fish"
    script.parent.mkdir(parents=True)
    script.write_text("# mine\n")
    before = snapshot(bare.prefix)
    done = _refused(central, ["--prefix", bare.prefix])
    assert str(script) in done.stderr
    assert snapshot(bare.prefix) == before
