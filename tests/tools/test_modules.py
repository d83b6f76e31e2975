"""The module file of the examples, with the real Environment Modules, in real shells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import REPOSITORY, probes
from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory, interpreters
from support.probes import linux, needs, shells

pytestmark = [pytest.mark.pips, needs(linux, shells, probes.environment_modules)]

SHELLS = {
    "bash": ["bash", "-u"],
    "zsh": ["zsh", "-f"],
    "fish": ["fish", "-N"],
    "tcsh": ["tcsh", "-f"],
}


@pytest.fixture
def central(environment: EnvironmentFactory) -> Environment:
    """As examples/central.sh leaves it."""
    made = environment("central")
    for shell in SHELLS:
        init = run_as(None, made.command("store", "shell-init", shell), check=True).stdout
        (made.prefix / f"init.{shell}").write_text(init)
    return made


@pytest.mark.parametrize("shell", SHELLS)
def test_pip_installs_through_the_store_while_the_module_is_loaded(
    shell: str,
    central: Environment,
    environment: EnvironmentFactory,
    env: dict[str, str | None],
    shared_tmp: Path,
) -> None:
    one = environment("one", ours=False)
    modules = shared_tmp / "modules"
    modules.mkdir()
    text = (REPOSITORY / "examples" / "modulefiles" / "pip-sharedcache").read_text()
    assert text.count("/opt/pip-sharedcache") == 1
    (modules / "pip-sharedcache").write_text(
        text.replace("/opt/pip-sharedcache", str(central.prefix))
    )
    dot = "source" if shell in ("tcsh", "fish") else "."
    lines = [
        f"{dot} /usr/share/modules/init/{shell}",
        f"module use {modules}",
        "module load pip-sharedcache",
        "pip install demo",
        "echo ---",
        "module unload pip-sharedcache",
        "pip install --force-reinstall demo",
    ]
    script = shared_tmp / "script"
    script.write_text("\n".join([*lines, ""]))
    argv = [shutil.which(SHELLS[shell][0]) or "", *SHELLS[shell][1:], script]
    done = run_as(None, argv, env={**env, "PATH": f"{one.scripts}:/usr/bin:/bin"}, check=True)
    loaded, unloaded = done.stdout.split("---\n")
    assert "Shared store: 0 of 1 distributions" in loaded
    assert "Successfully installed demo" in unloaded
    assert "Shared store" not in unloaded


@pytest.mark.network
@needs(probes.index)
def test_central_sets_up_what_the_module_file_needs(
    tmp_path: Path, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    place = tmp_path / "central"
    argv = ["sh", str(REPOSITORY / "examples" / "central.sh"), str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert str(place / "bin" / "pip-sharedcache") in done.stdout
    for shell in SHELLS:
        assert "_launch.py" in (place / f"init.{shell}").read_text()
    assert (place / "init.bash").stat().st_mode & 0o777 == 0o644
    _serves_an_old_python([place / "bin" / "pip-sharedcache"], environment, env)


@pytest.mark.network
@needs(probes.index)
def test_archive_makes_one_file_of_it_all(
    tmp_path: Path, environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    file = tmp_path / "one.pyz"
    argv = ["sh", str(REPOSITORY / "examples" / "archive.sh"), str(file)]
    subprocess.run(argv, check=True, capture_output=True, timeout=600)
    done = subprocess.run([sys.executable, file, "store", "path"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    _serves_an_old_python([sys.executable, file], environment, env)


def _serves_an_old_python(
    ours: Sequence[str | Path], environment: EnvironmentFactory, env: dict[str, str | None]
) -> None:
    """Although it was made by a new one, for which there are newer pips."""
    oldest = interpreters().get("3.9")
    if oldest is None:
        return
    one = environment("old", python=oldest, pip="23.0.1", ours=False)
    done = run_as(None, [*ours, "--python", one.python, "install", "demo"], env=env, check=True)
    assert "Shared store: 0 of 1 distributions" in done.stdout
    assert done.stderr == ""
