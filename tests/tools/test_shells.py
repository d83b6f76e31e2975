"""The function `pip` in people's shells: bash, dash, zsh, fish and tcsh, each the real one."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory, make_environment
from support.probes import linux, needs, shells

pytestmark = [pytest.mark.pips, needs(linux, shells)]

#: How each is started, and how it evaluates what is printed for it.
SHELLS = {
    "bash": (("bash", "-uc"), 'eval "$({init})"'),
    "sh": (("dash", "-uc"), 'eval "$({init})"'),
    "zsh": (("zsh", "-fuc"), 'eval "$({init})"'),
    "fish": (("fish", "--no-config", "-c"), "{init} | source"),
    "tcsh": (("tcsh", "-fc"), None),
}
SHELL = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture(params=["plain", "with a space"])
def central(request: pytest.FixtureRequest, shared_tmp: Path) -> Environment:
    """Where pip-sharedcache lies."""
    return make_environment(shared_tmp / request.param / "central")


def _run(
    shell: str,
    central: Environment,
    lines: list[str],
    env: dict[str, str | None],
    first: Path,
    others: str = ":/usr/bin:/bin",
) -> subprocess.CompletedProcess[str]:
    """``lines`` in ``shell``, where what is for its profile was evaluated, twice; with the
    directory ``first`` before ``others`` in PATH."""
    start, evaluate = SHELLS[shell]
    init = central.command("store", "shell-init", shell)
    if evaluate is None:  # a C shell reads what defines aliases from a file, before their use
        text = run_as(None, init, check=True).stdout
        profile = central.prefix.parent / "profile.csh"
        profile.write_text("".join([text, text, *(f"{line}\n" for line in lines)]))
        argv = [start[0], "-f", str(profile)]
    else:
        once = evaluate.format(init=shlex.join(init))
        argv = [*start, "\n".join([once, once, *lines])]
    argv[0] = shutil.which(argv[0]) or argv[0]
    return run_as(None, argv, env={**env, "PATH": f"{first}{others}"})


@SHELL
def test_pip_of_whichever_environment_comes_first_uses_the_store(
    shell: str, central: Environment, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment("one", ours=False, pip="25.3")
    done = _run(shell, central, ["pip install demo", "pip3 --version"], env, one.scripts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Shared store: 0 of 1 distributions" in done.stdout
    assert f"pip 25.3 from {one.site_packages}" in done.stdout, "the environment's own"
    assert done.stderr == ""
    assert (one.site_packages / "demo").is_dir()


@SHELL
def test_words_and_statuses_go_through(
    shell: str, central: Environment, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment("one", ours=False)
    done = _run(shell, central, ["pip install 'no such  thing*'"], env, one.scripts)
    assert done.returncode == 1
    assert "'no such  thing*'" in done.stderr


@SHELL
def test_what_is_no_script_of_pips_is_run_as_it_is(
    shell: str, central: Environment, env: dict[str, str | None], tmp_path: Path
) -> None:
    shim = tmp_path / "pip"
    shim.write_text('#!/bin/sh\necho "shim: $*"\n')
    shim.chmod(0o755)
    done = _run(shell, central, ["pip a 'b c'"], env, tmp_path)
    assert (done.stdout, done.stderr) == ("shim: a b c\n", "")


@pytest.mark.parametrize("shell", ["bash", "sh", "zsh"])
def test_an_alias_of_that_name_gives_way(
    shell: str, central: Environment, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    """It would be read in place of the name of the function."""
    one = environment("one", ours=False)
    init = run_as(None, central.command("store", "shell-init", shell), check=True).stdout
    expand = "shopt -s expand_aliases\n" if shell == "bash" else ""
    script = central.prefix.parent / "script"
    script.write_text(f"{expand}alias pip='echo alias'\n{init}pip install demo\n")
    name = SHELLS[shell][0][0]
    argv = [shutil.which(name) or name, *(["-f"] if shell == "zsh" else []), "-eu", str(script)]
    done = run_as(None, argv, env={**env, "PATH": f"{one.scripts}:/usr/bin:/bin"})
    assert "Shared store: 0 of 1 distributions" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [("echo no first line\n", "no first line\n", 0), ("#!/nonexistent\n", "", 126)],
    ids=["no first line", "no interpreter"],
)
def test_what_cannot_be_run_is_said_in_one_line(
    text: str,
    said: str,
    status: int,
    central: Environment,
    env: dict[str, str | None],
    tmp_path: Path,
) -> None:
    (tmp_path / "pip").write_text(text)
    (tmp_path / "pip").chmod(0o755)
    done = _run("bash", central, ["pip list"], env, tmp_path)
    assert (done.returncode, done.stdout) == (status, said)
    assert len(done.stderr.splitlines()) == (1 if status else 0)


def test_where_its_script_alone_is_gone_pip_is_as_before(
    central: Environment, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment("one", ours=False)
    packages = central.site_packages / "pip_sharedcache"
    for shell in ("bash", "sh", "zsh", "fish"):
        lines = [f"mv {shlex.quote(str(packages))} {shlex.quote(str(packages))}.gone"]
        lines += ["pip install --force-reinstall demo"]
        lines += [f"mv {shlex.quote(str(packages))}.gone {shlex.quote(str(packages))}"]
        done = _run(shell, central, lines, env, one.scripts)
        assert "Successfully installed demo" in done.stdout, done.stderr
        assert "Shared store" not in done.stdout


def test_without_any_pip_it_is_as_without_the_function(
    central: Environment, env: dict[str, str | None], tmp_path: Path
) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")  # what starts it all
    done = _run("bash", central, ["pip list"], env, tmp_path, "")
    assert done.returncode == 127
    assert "pip: command not found" in done.stderr


def test_a_long_path_to_the_interpreter(
    central: Environment, env: dict[str, str | None], tmp_path: Path
) -> None:
    """pip's script then begins with a line for sh."""
    one = make_environment(tmp_path / ("long" * 30) / "one", ours=False)
    assert (one.scripts / "pip").read_bytes().startswith(b"#!/bin/sh\n")
    done = _run("bash", central, ["pip install demo"], env, one.scripts)
    assert "Shared store: " in done.stdout, done.stderr


@SHELL
@pytest.mark.parametrize("said", ["variable", "file"])
def test_where_pip_sharedcache_is_gone_a_user_who_allows_no_request_gets_no_pip(
    said: str,
    shell: str,
    central: Environment,
    environment: EnvironmentFactory,
    env: dict[str, str | None],
    tmp_path: Path,
) -> None:
    one = environment("one", ours=False)
    (tmp_path / "pip.conf").write_text("[sharedcache]\noffline = Yes\n")
    places = {"variable": "PIP_SHAREDCACHE_OFFLINE", "file": "PIP_CONFIG_FILE"}
    env[places[said]] = "yes" if said == "variable" else str(tmp_path / "pip.conf")
    lines = [f"rm -rf {shlex.quote(str(central.prefix))}", "pip install demo", "echo go''ne"]
    done = _run(shell, central, lines, env, one.scripts)
    assert "gone" in done.stdout
    assert "Successfully installed" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line == "ERROR: No request is made, by the setting offline: pip-sharedcache is missing"
    done = _run(
        "bash", make_environment(central.prefix), [*lines[:1], "pip list"], env, one.scripts
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip " in done.stdout


@SHELL
def test_where_pip_sharedcache_is_gone_a_running_shell_finds_pip_as_before(
    shell: str, central: Environment, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    one = environment("one", ours=False)
    lines = [f"rm -rf {shlex.quote(str(central.prefix))}", "pip install demo"]
    done = _run(shell, central, lines, env, one.scripts)
    assert done.returncode == 0, done.stderr
    assert "Successfully installed demo" in done.stdout
    assert "Shared store" not in done.stdout
