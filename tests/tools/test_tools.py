"""Tools that run pip themselves, each the real one: with the store switched on for the interpreter
that they make their environments from, their wheels come from the store, and nothing is downloaded
a second time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import (
    NEWEST_PIP,
    environment_with,
    make_environment,
    own_python,
    pip_wheel,
)
from support.faults import visible_entries
from support.index import IndexFactory, LocalIndex
from support.probes import linux, needs
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.network, pytest.mark.pips, needs(linux, probes.index)]

BACKEND = """
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    import demo
    name = "project-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        info = "project-1.0.dist-info/"
        metadata = "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n"
        archive.writestr(info + "METADATA", metadata)
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return name
"""
KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
reply = client.execute_interactive("%pip install demo", timeout=100)
client.stop_channels()
manager.shutdown_kernel(now=True)
sys.exit(reply["content"]["status"] != "ok")
"""
PROJECT = '[project]\nname = "project"\nversion = "1.0"\n'


@dataclass(frozen=True)
class Tool:
    """What is installed to have it, the files of its project, and its command; in both, {work} is
    the project's directory, {bin} where the tool's scripts are, {python} its interpreter."""

    requires: tuple[str, ...]
    files: Mapping[str, str]
    command: tuple[str, ...]


TOOLS = {
    "tox": Tool(
        ("tox",),
        {
            "tox.ini": "[tox]\nno_package = true\n[testenv]\ndeps = demo\n"
            "commands = python -c 'import demo'\n"
        },
        ("{bin}/tox", "run", "-e", "py"),
    ),
    "nox": Tool(
        ("nox",),
        {
            "noxfile.py": "import nox\n@nox.session\ndef tests(session):\n"
            "    session.install('demo')\n    session.run('python', '-c', 'import demo')\n"
        },
        ("{bin}/nox",),
    ),
    "build": Tool(
        ("build",),
        {
            "pyproject.toml": "[build-system]\nrequires = ['backend', 'demo']\n"
            "build-backend = 'backend'\n" + PROJECT
        },
        ("{python}", "-m", "build", "--wheel", "{work}"),
    ),
    "hatch": Tool(
        ("hatch",),
        {
            "pyproject.toml": PROJECT + "[tool.hatch.envs.default]\nskip-install = true\n"
            "dependencies = ['demo']\n"
        },
        ("{bin}/hatch", "run", "python", "-c", "import demo"),
    ),
    "pipx": Tool(("pipx",), {}, ("{bin}/pipx", "install", "demo")),
    "pip-sync": Tool(
        ("pip-tools",),
        {"requirements.txt": "demo==1.0\n"},
        ("{bin}/pip-sync", "--python-executable", "{child}", "{work}/requirements.txt"),
    ),
    "%pip": Tool(
        ("ipykernel", "jupyter_client"),
        {"run.py": KERNEL},
        ("{python}", "{work}/run.py"),
    ),
    "ansible": Tool(
        ("ansible-core",),
        {},
        (
            *("{bin}/ansible", "localhost", "-c", "local", "-m", "ansible.builtin.pip"),
            *("-e", "ansible_python_interpreter={python}"),
            *("-a", "name=demo virtualenv={work}/made virtualenv_command='{base} -m venv'"),
        ),
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of our own in which the store is switched on for all its environments."""
    python = own_python(tmp_path_factory.mktemp("base") / "python")
    _switch("enable", python)
    return python


def _switch(command: str, python: Path) -> None:
    ours = [sys.executable, "-m", "pip_sharedcache", "store", command, "--sitecustomize"]
    run_as(None, [*ours, "--prefix", python.parent.parent], check=True)


@pytest.fixture
def served(shared_tmp: Path, index: IndexFactory) -> Iterator[LocalIndex]:
    """The index: what the tools install, and what they bring their environments up to date with."""
    wheels = shared_tmp / "wheels"
    make_wheel(wheels, entry_points="[console_scripts]\ndemo = demo:main\n")
    make_wheel(wheels, "backend", files={"backend.py": BACKEND})
    shutil.copy(pip_wheel(NEWEST_PIP), wheels)
    yield index(wheels)


@pytest.fixture
def env(served: LocalIndex, shared_tmp: Path) -> dict[str, str | None]:
    (shared_tmp / "store").mkdir()
    return {
        "PIP_NO_CACHE_DIR": "1",
        "PIP_INDEX_URL": served.url,
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_SHAREDCACHE_DIR": str(shared_tmp / "store"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "TERM": "dumb",
    }


def _use(tool: Tool, work: Path, base: Path, env: Mapping[str, str | None]) -> None:
    """The tool's command in a new project, with a new home."""
    work.mkdir()
    for name, text in tool.files.items():
        (work / name).write_text(text)
    environment = environment_with(work.parent / f"{work.name}-tool", *tool.requires, python=base)
    places = {"work": str(work), "bin": str(environment.scripts), "base": str(base)}
    places["python"] = str(environment.python)
    if "{child}" in tool.command:
        child = make_environment(work.parent / f"{work.name}-child", python=base, ours=False)
        places["child"] = str(child.python)
    home = work.parent / f"{work.name}-home"
    home.mkdir()
    path = f"{environment.scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    more = {"HOME": str(home), "PATH": path}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        more[name] = str(home / name)
    argv = [part.format(**places) for part in tool.command]
    run_as(None, argv, env={**env, **more}, cwd=work, check=True, timeout=300)


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_installs_comes_from_the_store(
    name: str,
    base: Path,
    served: LocalIndex,
    env: dict[str, str | None],
    shared_tmp: Path,
) -> None:
    tool = TOOLS[name]
    _use(tool, shared_tmp / "first", base, env)
    (wheel,) = served.directory.glob("demo-*.whl")
    assert digest(wheel) in [entry.name for entry in visible_entries(shared_tmp / "store")]
    assert served.wheel_requests("demo") != []
    assert _marks(shared_tmp / "store", wheel) == []

    served.clear()
    _use(tool, shared_tmp / "second", base, env)
    assert served.wheel_requests() == []
    assert _marks(shared_tmp / "store", wheel) != [], "it was found in the store"


def _marks(store: Path, wheel: Path) -> list[Path]:
    """What was noted by users who installed from the wheel's entry."""
    return list((store / "use").glob(f"*/{digest(wheel)}*"))


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_virtualenv_makes_environments_that_use_the_store_where_it_is_on(
    on: bool, tmp_path: Path, env: dict[str, str | None]
) -> None:
    base = own_python(tmp_path / "python")
    if on:
        _switch("enable", base)
    tool = environment_with(tmp_path / "tool", "virtualenv", python=base)
    run_as(None, [tool.scripts / "virtualenv", tmp_path / "made"], env=env, check=True)
    argv = [tmp_path / "made" / "bin" / "pip", "install", "demo"]
    done = run_as(None, argv, env=env, check=True)
    assert ("Shared store: " in done.stdout) is on
