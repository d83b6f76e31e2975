"""Which points of pip we step into, in every version; and what happens where one is missing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import probes
from support.accounts import run_as
from support.environments import (
    Environment,
    EnvironmentFactory,
    interpreters,
    make_environment,
)
from support.index import LocalIndex
from support.probes import linux, needs
from support.trees import Node, differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.network, pytest.mark.pips, needs(linux, probes.index)]


@dataclass(frozen=True)
class Points:
    """What differs between versions of pip, of all that we step into."""

    # Several downloads at once: a class of its own, or a method.
    batch: str
    # Where get_runnable_pip is defined.
    runnable: str
    # req_install imports install_wheel by name, so that it has to be handed ours.
    install_wheel_by_name: bool
    # Parameters that install_wheel has beyond those that all have.
    install_wheel_also_takes: tuple[str, ...]
    # An installation stopped by a blocked import is recorded (_write_recovery_record).
    recovery: bool
    # RequirementPreparer keeps a second downloader.
    batch_downloader: bool


_BUILD_ENV = "pip._internal.build_env"
_MISC = "pip._internal.utils.misc"
_OLD = Points("BatchDownloader.__call__", _BUILD_ENV, True, (), False, True)

TABLE = {
    "23.0.1": _OLD,
    "23.2.1": _OLD,
    "24.0": _OLD,
    "24.3.1": _OLD,
    "25.0.1": _OLD,
    "25.1.1": _OLD,
    "25.3": Points("Downloader.batch", _BUILD_ENV, True, (), False, False),
    "26.3": Points(
        "Downloader.batch",
        _MISC,
        False,
        ("rollback_on_error", "script_executable"),
        True,
        False,
    ),
}

# The corners of pip x Python.
CELLS = (
    ("23.0.1", "3.9"),
    ("25.3", "3.9"),
    ("26.3", "3.10"),
    ("23.2.1", "3.11"),
    ("24.0", "3.11"),
    ("24.3.1", "3.11"),
    ("25.0.1", "3.11"),
    ("25.1.1", "3.11"),
    ("24.3.1", "3.12"),
    ("25.3", "3.12"),
    ("26.3", "3.12"),
    ("24.3.1", "3.13"),
    ("25.3", "3.13"),
    ("26.3", "3.13"),
)

_LOOK = """
import importlib, inspect, json

def has(module, attribute):
    try:
        found = importlib.import_module("pip._internal." + module)
    except ImportError:
        return False
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return found is not None

wheel = importlib.import_module("pip._internal.operations.install.wheel")
common = {"name", "wheel_path", "scheme", "req_description", "pycompile",
          "warn_script_location", "direct_url", "requested"}
takes = set(inspect.signature(wheel.install_wheel).parameters)
prepare = importlib.import_module("pip._internal.operations.prepare")
runnable = [
    module for module in ("build_env", "utils.misc")
    if has(module, "get_runnable_pip")
    and importlib.import_module("pip._internal." + module).get_runnable_pip.__module__
    == "pip._internal." + module
]
batches = [
    name for name in ("BatchDownloader.__call__", "Downloader.batch")
    if has("network.download", name)
]
print(json.dumps({
    "version": importlib.import_module("pip").__version__,
    "batch": " and ".join(batches),
    "runnable": " and ".join("pip._internal." + module for module in runnable),
    "install_wheel_by_name": has("req.req_install", "install_wheel"),
    "install_wheel_also_takes": sorted(takes - common),
    "lacks": sorted(common - takes),
    "recovery": has("operations.install.wheel", "_write_recovery_record"),
    "batch_downloader": "_batch_download" in inspect.getsource(prepare.RequirementPreparer),
}))
"""

_SEAMS = """
import json
from pip_sharedcache.pip_adapter import seams
print(json.dumps([
    {seam.attribute: seam.problem() for seam in seams.INSTALL_SEAMS},
    [name for name, seam in vars(seams).items()
     if isinstance(seam, seams.Seam) and seam.find() is None],
]))
"""


def _python_for(pip: str) -> str:
    return next(python for version, python in reversed(CELLS) if version == pip)


def _interpreter(version: str) -> Path:
    probes.require(probes.python(version))
    return interpreters()[version]


@pytest.fixture(scope="module", params=TABLE)
def with_pip(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Environment]:
    """Every version of pip in the table, in an environment that has it."""
    pip = str(request.param)
    interpreter = _interpreter(_python_for(pip))
    place = tmp_path_factory.mktemp("points") / "environment"
    return pip, make_environment(place, python=interpreter, pip=pip)


def test_a_pip_has_the_points_of_the_table(with_pip: tuple[str, Environment]) -> None:
    pip, made = with_pip
    found = json.loads(run_as(None, [made.python, "-c", _LOOK], check=True).stdout)
    expected = TABLE[pip]
    assert found == {
        "version": pip,
        "batch": expected.batch,
        "runnable": expected.runnable,
        "install_wheel_by_name": expected.install_wheel_by_name,
        "install_wheel_also_takes": list(expected.install_wheel_also_takes),
        "lacks": [],
        "recovery": expected.recovery,
        "batch_downloader": expected.batch_downloader,
    }


def test_every_point_that_we_need_is_there(with_pip: tuple[str, Environment]) -> None:
    pip, made = with_pip
    problems, absent = json.loads(run_as(None, [made.python, "-c", _SEAMS], check=True).stdout)
    assert {seam: problem for seam, problem in problems.items() if problem} == {}
    expected = TABLE[pip]
    assert set(absent) == {
        "DOWNLOAD_BATCH" if expected.batch == "Downloader.batch" else "DOWNLOAD_IN_TURN",
        *([] if expected.recovery else ["WRITE_RECOVERY"]),
    }


# -- installing


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    """An index of a small set of wheels: tool, which requires the others."""
    directory = tmp_path_factory.mktemp("wheels")
    make_wheel(directory, "base")
    make_wheel(
        directory,
        "tool",
        requires=["base>=1", "schemes"],
        entry_points="[console_scripts]\ntool = tool:main\n[gui_scripts]\ntoolw = tool:main\n",
        add_directory_entries=True,
    )
    data = "schemes-1.0.data"
    files: dict[str, bytes | str] = {
        "schemes/__init__.py": "",
        "schemes/run": "#!/bin/sh\n",
        "schemes/não.txt": "não\n",
        "schemes/broken.py": "def broken(:\n",
        f"{data}/scripts/schemes-run": "#!python\nprint('said')\n",
        f"{data}/data/share/schemes/data.txt": "data\n",
        f"{data}/headers/schemes.h": "#define SCHEMES\n",
        f"{data}/purelib/schemes_pure.py": "PURE = True\n",
        f"{data}/platlib/schemes_plat.py": "PLAT = True\n",
    }
    make_wheel(
        directory,
        "schemes",
        files=files,
        executables=["schemes/run", f"{data}/scripts/schemes-run"],
        root_is_purelib=False,
    )
    with LocalIndex(directory) as running:
        yield running


NUMBER_OF_WHEELS = 3

Tree = Mapping[str, Node]


@dataclass(frozen=True)
class Outcome:
    """What an installation printed and left."""

    said: str
    warnings: list[str]


def _install(command: list[str], served: LocalIndex, store: Path) -> Outcome:
    """Run `command install tool` so that it succeeds."""
    done = run_as(
        None,
        [*command, "tool"],
        env={
            "HOME": str(store.parent),
            "PIP_NO_CACHE_DIR": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_INDEX_URL": served.url,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_SHAREDCACHE_DIR": str(store),
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "Successfully installed base-1.0 schemes-1.0 tool-1.0" in done.stdout
    return Outcome(said, [line for line in said.splitlines() if "WARNING" in line])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.mark.parametrize(
    ("pip", "python"),
    [pytest.param(pip, python, id=f"pip{pip}-python{python}") for pip, python in CELLS],
)
def test_a_pip_installs_through_the_store_what_it_installs_without(
    pip: str, python: str, environment: EnvironmentFactory, served: LocalIndex, store: Path
) -> None:
    interpreter = _interpreter(python)
    plain, cold, warm = (
        environment(name, python=interpreter, pip=pip) for name in ("plain", "cold", "warm")
    )
    _install(plain.plain("install"), served, store)
    assert list(store.iterdir()) == []
    expected = snapshot(plain.prefix)

    outcome = _install(cold.command("install"), served, store)
    assert outcome.warnings == []
    assert f"{NUMBER_OF_WHEELS} added to it" in outcome.said
    assert differences(expected, snapshot(cold.prefix)) == []

    served.clear()
    outcome = _install(warm.command("install"), served, store)
    assert outcome.warnings == []
    assert served.requests != []
    assert served.wheel_requests() == []
    assert f"{NUMBER_OF_WHEELS} of {NUMBER_OF_WHEELS} distributions from" in outcome.said
    assert differences(expected, snapshot(warm.prefix)) == []
    _assert_works(warm)


def _assert_works(environment: Environment) -> None:
    assert run_as(None, [environment.scripts / "tool"], check=True).stdout == "tool 1.0\n"
    assert run_as(None, [environment.scripts / "schemes-run"], check=True).stdout == "said\n"


@pytest.mark.parametrize("pip", ["23.2.1", "25.3", "26.3"])
def test_another_interpreter_installs_through_the_store_and_needs_nothing(
    pip: str, environment: EnvironmentFactory, served: LocalIndex, store: Path
) -> None:
    ours = environment("ours", pip=pip)
    bare = environment("bare", pip=pip, ours=False)
    plain = environment("plain", pip=pip, ours=False)
    _install(ours.command("install"), served, store)
    _install(ours.plain("--python", plain.python, "install"), served, store)
    served.clear()
    outcome = _install(ours.command("--python", bare.python, "install"), served, store)
    assert served.wheel_requests() == []
    assert f"{NUMBER_OF_WHEELS} of {NUMBER_OF_WHEELS} distributions from" in outcome.said
    assert differences(snapshot(plain.prefix), snapshot(bare.prefix)) == []


# -- where pip is built differently


@dataclass(frozen=True)
class Change:
    """Another pip, made of a real one: each of the texts replaced in the file, everywhere.

    missing: what the warning must name.
    """

    pip: str
    files: dict[str, tuple[tuple[str, str], ...]]
    missing: str


_WHEEL = "_internal/operations/install/wheel.py"
_PREPARE = "_internal/operations/prepare.py"
_DOWNLOAD = "_internal/network/download.py"
_HASHES = "_internal/utils/hashes.py"
# InstallCommand.run is seen through the decorator that it has here.
_COMMAND = "_internal/cli/req_command.py"
_REQ_INSTALL = "_internal/req/req_install.py"

MISSING = {
    "save-renamed": Change(
        "26.3",
        {_WHEEL: (("def save(", "def write_out("), (".save()", ".write_out()"))},
        "ZipBackedFile.save",
    ),
    "save-renamed-old-pip": Change(
        "23.2.1",
        {_WHEEL: (("def save(", "def write_out("), (".save()", ".write_out()"))},
        "ZipBackedFile.save",
    ),
    "download-takes-another-name": Change(
        "26.3",
        {_DOWNLOAD: (("location", "place"),)},
        "Downloader.__call__",
    ),
    "download-takes-another-name-old-pip": Change(
        "23.2.1",
        {_DOWNLOAD: (("location", "place"),)},
        "Downloader.__call__",
    ),
    "no-batches": Change(
        "26.3",
        {_DOWNLOAD: (("def batch(", "def many("),), _PREPARE: ((".batch(", ".many("),)},
        "BatchDownloader.__call__",
    ),
    "parse_wheel-renamed": Change(
        "26.3",
        {
            _WHEEL: (
                ("import parse_wheel", "import parse_wheel as read"),
                ("= parse_wheel(", "= read("),
            )
        },
        "wheel.parse_wheel",
    ),
    "ensure_dir-renamed": Change(
        "26.3",
        {_WHEEL: (("ensure_dir(", "make("), (" ensure_dir,", " ensure_dir as make,"))},
        "wheel.ensure_dir",
    ),
    "compileall-by-name": Change(
        "26.3",
        {
            _WHEEL: (
                ("import compileall\n", "from compileall import compile_file\n"),
                ("compileall.compile_file(", "compile_file("),
            )
        },
        "compileall.compile_file",
    ),
    "install_wheel-renamed": Change(
        "23.2.1",
        {
            _WHEEL: (("def install_wheel(", "def put_wheel("),),
            _REQ_INSTALL: (("install_wheel", "put_wheel"),),
        },
        "wheel.install_wheel",
    ),
    "install_wheel-takes-another-name": Change(
        "26.3",
        {_WHEEL: (("wheel_path", "archive"),)},
        "'wheel_path'",
    ),
    "file-takes-another-name": Change(
        "26.3",
        {
            _WHEEL: (
                ("src_record_path: RecordPath, dest_path", "src: RecordPath, dest_path"),
                ("= src_record_path", "= src"),
            )
        },
        "'src_record_path'",
    ),
    "hash-check-renamed": Change(
        "26.3",
        {
            _HASHES: (("check_against_path", "check_file"),),
            _PREPARE: (("check_against_path", "check_file"),),
        },
        "Hashes.check_against_path",
    ),
    "metadata-renamed": Change(
        "26.3",
        {_PREPARE: (("_fetch_metadata_only", "_metadata_only"),)},
        "RequirementPreparer._fetch_metadata_only",
    ),
    "run-takes-another-name": Change(
        "26.3",
        {
            _COMMAND: (
                (
                    "options: Values, args: list[str]) -> int:\n        assert",
                    "options: Values, rest: list[str]) -> int:\n        args = rest\n"
                    "        assert",
                ),
            )
        },
        "InstallCommand.run",
    ),
    "command-elsewhere": Change(
        "26.3",
        {
            "_internal/commands/__init__.py": (
                ('pip._internal.commands.install"', 'pip._internal.commands.put"'),
            ),
            "_internal/commands/install.py -> _internal/commands/put.py": (),
        },
        "pip._internal.commands.install",
    ),
    # Not functions: what we read off pip's own things.
    "no-download_dir": Change(
        "26.3",
        {_PREPARE: (("self.download_dir", "self._kept_in"),)},
        "download_dir",
    ),
    "no-dest_path": Change(
        "26.3",
        {_WHEEL: ((".dest_path", ".target"),)},
        "dest_path",
    ),
    "no-src_record_path": Change(
        "26.3",
        {_WHEEL: ((".src_record_path", ".source"),)},
        "src_record_path",
    ),
}


def _change(environment: Environment, change: Change) -> None:
    """Edit the environment's pip. A text that is not there is an error of the table."""
    pip = environment.site_packages / "pip"
    for name, edits in change.files.items():
        source, _, target = name.partition(" -> ")
        path = pip / source
        text = path.read_text(encoding="utf-8")
        for before, after in edits:
            assert before in text, f"{before!r} is not in {source}"
            text = text.replace(before, after)
        path.unlink()
        (pip / (target or source)).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "change", [pytest.param(change, id=name) for name, change in MISSING.items()]
)
def test_a_pip_without_one_of_the_points_installs_plainly_and_says_which(
    change: Change,
    environment: EnvironmentFactory,
    served: LocalIndex,
    store: Path,
    plain_tree: Callable[[str], Tree],
) -> None:
    made = environment(pip=change.pip)
    _change(made, change)
    outcome = _install(made.command("install"), served, store)
    assert len(outcome.warnings) == 1, outcome.said
    assert change.missing in outcome.warnings[0]
    assert list(store.iterdir()) == []
    assert differences(plain_tree(change.pip), _without_pip(made)) == []
    _assert_works(made)


def _without_pip(environment: Environment) -> Tree:
    """The tree but for pip itself, which was edited, and compiles what it imports."""
    tree = snapshot(environment.prefix)
    return {path: node for path, node in tree.items() if "/site-packages/pip/" not in path}


@pytest.fixture(scope="module")
def plain_tree(
    served: LocalIndex, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Tree]:
    """What a pip, given by its version, installs when left alone."""

    @functools.cache
    def install(pip: str) -> Tree:
        place = tmp_path_factory.mktemp("plain")
        made = make_environment(place / "environment", pip=pip)
        _install(made.plain("install"), served, place / "store")
        return _without_pip(made)

    return install


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(
            lambda text: text.replace(
                "    def save(self) -> None:", "    def save(self, colour: str = '') -> None:"
            ),
            id="save",
        ),
        pytest.param(
            lambda text: text.replace(
                "    requested: bool = False,", "    requested: bool = False,\n    a: int = 0,"
            ),
            id="install_wheel",
        ),
    ],
)
def test_one_more_parameter_of_pips_changes_nothing(
    edit: Callable[[str], str], environment: EnvironmentFactory, served: LocalIndex, store: Path
) -> None:
    made = environment()
    path = made.site_packages / "pip" / _WHEEL
    before = path.read_text(encoding="utf-8")
    path.write_text(edit(before), encoding="utf-8")
    assert edit(before) != before
    outcome = _install(made.command("install"), served, store)
    assert outcome.warnings == []
    assert f"{NUMBER_OF_WHEELS} added to it" in outcome.said


@pytest.mark.parametrize("command", ["list", "--version", "freeze"])
def test_a_pip_without_one_of_the_points_warns_only_when_it_installs(
    command: str, environment: EnvironmentFactory, store: Path
) -> None:
    made = environment()
    _change(made, MISSING["save-renamed"])
    done = run_as(None, made.command(command), env={"PIP_SHAREDCACHE_DIR": str(store)})
    assert done.returncode == 0
    assert "WARNING" not in done.stdout + done.stderr
