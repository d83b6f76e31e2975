"""Off for once: with --no-sharedcache, or dir = none, a run is plain pip and says nothing of us."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from support import offline
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory
from support.faults import visible_entries
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import BACKEND, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

Env = dict[str, "str | None"]
Done = subprocess.CompletedProcess[str]

#: How the user says it: options before and behind the command, variables.
SAID: dict[str, tuple[list[str], list[str], Env]] = {
    "before": (["--no-sharedcache"], [], {}),
    "behind": ([], ["--no-sharedcache"], {}),
    "before a store": (["--no-sharedcache"], ["--sharedcache-dir=/nowhere"], {}),
    "setting": ([], ["--sharedcache-dir=none"], {}),
    "variable": ([], [], {"PIP_SHAREDCACHE_DIR": "none"}),
}
#: How pip is started: through our command or script, or as pip where the hook is on.
WAYS = ("command", "script", "hook", "pip")
PIPS = ("23.0.1", "26.3")


@pytest.fixture
def wheels(shared_tmp: Path) -> Path:
    directory = shared_tmp / "wheels"
    make_wheel(directory)
    backend = make_wheel(directory, "backend", files={"backend.py": BACKEND})
    project = shared_tmp / "built-1.0"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["backend"]\nbuild-backend = "backend"\n'
    )
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    with tarfile.open(directory / "built-1.0.tar.gz", "w:gz") as archive:
        archive.add(project, "built-1.0")
    return backend.parent


@pytest.fixture
def store(shared_tmp: Path) -> Path:
    directory = shared_tmp / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def env(wheels: Path, store: Path, shared_tmp: Path) -> Env:
    """The store is named in a file, so that without the switch each run would use it."""
    configuration = shared_tmp / "pip.conf"
    configuration.write_text(f"[sharedcache]\ndir = {store}\n")
    return offline(wheels, None, PIP_CONFIG_FILE=str(configuration))


def _pip(environment: Environment, way: str) -> list[str]:
    return {
        "command": environment.command(),
        "script": [str(environment.scripts / "pip-sharedcache")],
        "hook": environment.plain(),
        "pip": [str(environment.scripts / "pip")],
    }[way]


def _enable(environment: Environment, central: Environment | None = None) -> None:
    argv = (central or environment).command("store", "enable", "--prefix", environment.prefix)
    run_as(None, argv, check=True)


def _same_as_plain(done: Done, environment: Environment, by: Done, plain: Environment) -> None:
    """Check that pip did and said the same in both environments."""
    for ours, theirs in ((done.stdout, by.stdout), (done.stderr, by.stderr)):
        assert ours.replace(str(environment.prefix), str(plain.prefix)) == theirs
    assert done.returncode == by.returncode


@pytest.mark.parametrize("pip", PIPS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", SAID)
def test_a_run_that_is_off_is_plain_pip(
    said: str, way: str, pip: str, environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    before, behind, variables = SAID[said]
    plain, one = environment("plain", pip=pip), environment("ours", pip=pip)
    if way in ("hook", "pip"):
        _enable(one)
    started = snapshot(one.prefix)
    by = run_as(None, plain.plain("-v", "install", "demo", "built"), env=env, check=True)
    argv = [*_pip(one, way), *before, "-v", "install", *behind, "demo", "built"]
    done = run_as(None, argv, env={**env, **variables})
    assert done.returncode == 0, done.stderr
    assert "store" not in done.stdout + done.stderr
    assert "built" in done.stdout
    assert list(store.iterdir()) == [], "neither an entry, nor a record of the run"
    assert (one.site_packages / "demo").is_dir()
    assert differences(started, snapshot(one.prefix)) != []
    assert _named(by.stdout) == _named(done.stdout)
    # The next run uses the store again, and finds nothing of the one before.
    argv = [*_pip(one, way), "install", "--force-reinstall", "demo"]
    again = run_as(None, argv, env=env, check=True)
    assert f"Shared store: 0 of 1 distributions from {store}" in again.stdout


def _named(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(("Successfully", "Created"))]


@pytest.mark.parametrize("pip", PIPS)
def test_output_and_tree_are_those_of_plain_pip(
    pip: str, environment: EnvironmentFactory, env: Env
) -> None:
    plain, one = environment("plain", pip=pip), environment("other", pip=pip)
    env["COLUMNS"] = "1000"  # else where a usage line breaks goes by the length of paths
    for words in (
        ["install", "demo"],
        ["install", "--dry-run", "--force-reinstall", "demo"],
        ["install", "nothing"],
        ["list"],
        ["--version"],
        ["--help"],
        ["help"],
        [],
        ["uninstall", "-y", "demo"],
    ):
        by = run_as(None, plain.plain(*words), env=env)
        done = run_as(None, one.command("--no-sharedcache", *words), env=env)
        _same_as_plain(done, one, by, plain)
        assert differences(snapshot(plain.prefix), snapshot(one.prefix)) == []


@pytest.mark.parametrize("said", ["before", "variable"])
def test_pip_for_another_interpreter_is_off_too(
    said: str, environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    """Also where the hook of the other one, or of the one that starts pip, is on."""
    before, _, variables = SAID[said]
    hooked, other = environment("hooked"), environment("other", ours=False)
    for one in (hooked, other):
        _enable(one, hooked)
    for starts in (hooked.command(), hooked.plain()):
        argv = [*starts, *before, "--python", str(other.python), "install"]
        done = run_as(None, [*argv, "--force-reinstall", "demo"], env={**env, **variables})
        assert done.returncode == 0, done.stderr
        assert "store" not in done.stdout + done.stderr
    assert list(store.iterdir()) == []


def test_off_in_a_file_is_plain_pip_and_an_option_switches_on(
    environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    one = environment()
    _enable(one)
    Path(str(env["PIP_CONFIG_FILE"])).write_text("[sharedcache]\ndir = None\n")
    for argv in (one.command(), one.plain()):
        words = [*argv, "install", "--force-reinstall", "demo", "built"]
        done = run_as(None, words, env=env, check=True)
        assert "store" not in done.stdout + done.stderr
        assert list(store.iterdir()) == []
    done = run_as(None, [*words, f"--sharedcache-dir={store}"], env=env, check=True)
    assert "Shared store: 0 of 2 distributions" in done.stdout
    assert len(visible_entries(store)) == 2, "demo, and what building requires"


@pytest.mark.parametrize("way", ["command", "pip"])
def test_an_option_switches_on_what_a_variable_switches_off(
    way: str, environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    one = environment()
    _enable(one)
    argv = [*_pip(one, way), "install", f"--sharedcache-dir={store}", "demo"]
    done = run_as(None, argv, env={**env, "PIP_SHAREDCACHE_DIR": "none"}, check=True)
    assert "Shared store: 0 of 1 distributions" in done.stdout


@pytest.mark.parametrize("way", ["command", "pip"])
@pytest.mark.parametrize("said", ["behind", "variable"])
def test_wrong_settings_are_not_read(
    said: str, way: str, environment: EnvironmentFactory, env: Env
) -> None:
    _, behind, variables = SAID[said]
    one = environment()
    _enable(one)
    Path(str(env["PIP_CONFIG_FILE"])).write_text("[sharedcache]\nlink-mode = mirror\n")
    argv = [*_pip(one, way), "install", *behind, "demo"]
    done = run_as(None, argv, env={**env, **variables}, check=True)
    assert (done.stderr, "store" in done.stdout) == ("", False)


@pytest.mark.parametrize("damaged", ["wrapt/__init__.py", "pip_sharedcache/model.py"])
@pytest.mark.parametrize("said", ["behind", "variable"])
def test_a_damaged_package_is_not_reported(
    said: str, damaged: str, environment: EnvironmentFactory, env: Env
) -> None:
    _, behind, variables = SAID[said]
    central, one = environment("central"), environment("one", ours=False)
    _enable(one, central)
    (central.site_packages / damaged).unlink()
    argv = one.plain("install", *behind, "demo")
    done = run_as(None, argv, env={**env, **variables})
    assert (done.returncode, done.stderr) == (0, "")
    told = run_as(None, one.plain("install", "--force-reinstall", "demo"), env=env, check=True)
    assert "Installing without the shared store: " in told.stderr


def test_the_function_of_a_shell_is_off_too(
    environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    central, one = environment("central"), environment("one", ours=False)
    function = run_as(None, central.command("store", "shell-init", "sh"), check=True).stdout
    path = f"{one.scripts}{os.pathsep}/usr/bin{os.pathsep}/bin"
    for line, variables in (
        ("pip install --no-sharedcache demo", {}),
        ("pip install --force-reinstall demo", {"PIP_SHAREDCACHE_DIR": "none"}),
    ):
        argv = ["sh", "-c", f"{function}\n{line}"]
        done = run_as(None, argv, env={**env, **variables, "PATH": path}, check=True)
        assert (done.stderr, "store" in done.stdout) == ("", False)
        assert list(store.iterdir()) == []


def test_store_commands_say_that_no_store_is_used(
    environment: EnvironmentFactory, env: Env, store: Path
) -> None:
    one = environment()
    off = {**env, "PIP_SHAREDCACHE_DIR": "none"}
    why = "no store is used: dir is none (environment variable PIP_SHAREDCACHE_DIR)"
    hint = "hint: name one with --sharedcache-dir"
    for command in (["list"], ["info"], ["gc", "--older-than=1d"], ["path"]):
        done = run_as(None, one.command("store", *command), env=off)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ERROR: {why}; {hint}\n")
    done = run_as(None, one.command("store", "doctor", "--json"), env=off)
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["sentence"] == f"N{why[1:]}"
    argv = one.command("store", "path", f"--sharedcache-dir={store}")
    assert run_as(None, argv, env=off, check=True).stdout == f"{store}\n"


@pytest.mark.parametrize("way", ["command", "pip"])
@pytest.mark.parametrize("said", ["before", "variable"])
def test_plain_pip_makes_no_requests_for_a_user_who_asked_for_none(
    said: str, way: str, environment: EnvironmentFactory, env: Env
) -> None:
    before, _, variables = SAID[said]
    one = environment()
    _enable(one)
    argv = [*_pip(one, way), *before, "--offline", "install", "demo"]
    done = run_as(None, argv, env={**env, **variables})
    line = "ERROR: --offline takes wheels from the store, which is switched off; hint: use neither "
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


#: Two of the three places of settings: off by one, offline by the other.
BOTH = {
    "variables": ([], {"PIP_SHAREDCACHE_DIR": "none", "PIP_SHAREDCACHE_OFFLINE": "yes"}, ""),
    "option": (["--no-sharedcache"], {"PIP_SHAREDCACHE_OFFLINE": "yes"}, ""),
    "file": (["--no-sharedcache"], {}, "offline = yes\n"),
    "unreadable": (["--no-sharedcache"], {}, "offline = maybe\n"),
    "file and variable": ([], {"PIP_SHAREDCACHE_DIR": "none"}, "offline = yes\n"),
    "files": ([], {}, "offline = yes\ndir = none\n"),
}


@pytest.mark.parametrize("way", ["command", "pip"])
@pytest.mark.parametrize("name", BOTH)
def test_off_lifts_no_offline_of_a_variable_or_a_file(
    name: str, way: str, environment: EnvironmentFactory, env: Env
) -> None:
    options, variables, text = BOTH[name]
    one = environment()
    _enable(one)
    Path(str(env["PIP_CONFIG_FILE"])).write_text(f"[sharedcache]\n{text}")
    env = {**env, "PIP_SHAREDCACHE_DIR": None, **variables}
    for command in (["install", "demo"], ["download", "-d", str(one.prefix / "files"), "demo"]):
        done = run_as(None, [*_pip(one, way), *options, *command], env=env)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        (line,) = done.stderr.splitlines()
        words = "'maybe'" if name == "unreadable" else "switched off; hint: use neither "
        assert line.startswith("ERROR: ")
        assert words in line
    argv = [*_pip(one, way), *options, "--sharedcache-offline=no", "install", "demo"]
    done = run_as(None, argv, env=env, check=True)
    assert (done.stderr, "store" in done.stdout) == ("", False)
    argv = [*_pip(one, way), *options, "list"]
    assert run_as(None, argv, env=env, check=True).stderr == ""
