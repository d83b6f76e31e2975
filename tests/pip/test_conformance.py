"""The tree that an installation leaves is plain pip's, on wheels as they are found in the wild."""

from __future__ import annotations

import ast
import itertools
import json
import os
import platform
import re
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import Environment, EnvironmentFactory, download_wheels
from support.index import LocalIndex
from support.probes import index as package_index
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel


def x86_64() -> str | None:
    """Wheels of compiled code are pinned for this processor."""
    machine = platform.machine()
    return None if machine == "x86_64" else f"needs x86_64, this is {machine}"


pytestmark = [pytest.mark.network, needs(linux, x86_64, package_index)]

# Each runs on CPython 3.9 to 3.13. Two of them, pip and packaging, replace what every
# environment of the tests holds in another version, and what runs the installation.
REAL = (
    "aenum==3.1.15",
    "attrs==23.2.0",
    "babel==2.15.0",
    "backports.tarfile==1.2.0",
    "certifi==2024.7.4",
    "cffi==1.17.1",
    "click==8.1.7",
    "coverage==7.6.1",
    "debugpy==1.8.5",
    "dill==0.3.8",
    "django==4.2.16",
    "docutils==0.20.1",
    "gast==0.6.0",
    "greenlet==3.1.1",
    "idna==3.7",
    "ipykernel==6.29.4",
    "jaraco.context==5.3.0",
    "jaraco.functools==4.0.1",
    "jinja2==3.1.4",
    "jmespath==1.0.1",
    "jsonpatch==1.33",
    "jupyterlab-widgets==3.0.11",
    "libclang==9.0.1",
    "markupsafe==3.0.2",
    "msgpack==1.1.0",
    "mutagen==1.47.0",
    "ninja==1.11.1.1",
    "notebook-shim==0.2.4",
    "olefile==0.47",
    "packaging==24.2",
    "pexpect==4.9.0",
    "pip==25.2",
    "protobuf==5.27.2",
    "py4j==0.10.9.7",
    "pyflakes==3.2.0",
    "pygments==2.18.0",
    "pytz==2024.1",
    "pyyaml==6.0.2",
    "qtconsole==5.6.1",
    "requests==2.32.3",
    "rich==13.7.1",
    "rpds-py==0.20.0",
    "ruamel.yaml==0.18.6",
    "setuptools==70.0.0",
    "six==1.16.0",
    "sphinxcontrib-jsmath==1.0.1",
    "taqdir==2.1.3",
    "tinamit==2.0.3",
    "tqdm==4.66.4",
    "tzdata==2024.1",
    "wheel==0.43.0",
    "xlrd==2.0.1",
    "xyzservices==2024.4.0",
    "zope.event==4.6",
    "zope.interface==7.1.1",
)

# Its RECORD is Latin-1: pip refuses it.
REFUSED = "tikon==1.0.1"

# The large ones; what is peculiar to each is in a smaller one as well.
LARGE = ("babel", "debugpy", "django", "libclang", "pytz", "tzdata")

MADE = ("Odd.Schemes", "odd-names", "odd-archive")


@dataclass(frozen=True)
class Case:
    """How the wheels are installed, and which of them."""

    umask: int
    options: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


CASES = {
    "umask022": Case(0o022),
    "umask022-no-compile": Case(0o022, ("--no-compile",)),
    "umask002": Case(0o002, without=LARGE),
    "umask077": Case(0o077, without=LARGE),
}


@pytest.fixture(scope="module")
def real_wheels() -> list[Path]:
    return download_wheels(REAL)


@pytest.fixture(scope="module")
def served(
    real_wheels: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalIndex]:
    """All wheels, the real ones and those made here, on an index of our own."""
    directory = tmp_path_factory.mktemp("wheels")
    for wheel in real_wheels:
        shutil.copyfile(wheel, directory / wheel.name)
    _make_odd_wheels(directory)
    with LocalIndex(directory) as running:
        yield running


def _make_odd_wheels(directory: Path) -> None:
    data = "Odd_Schemes-1.0.data"
    scripts: dict[str, bytes | str] = {
        f"{data}/scripts/odd-python": "#!python\nprint('said')\n",
        f"{data}/scripts/odd-pythonw": "#!pythonw -E\nprint('said')\n",
        f"{data}/scripts/odd-shell": "#!/bin/sh\necho said\n",
        f"{data}/scripts/odd-binary": bytes(range(256)),
        f"{data}/scripts/odd-empty": b"",
        f"{data}/scripts/odd.py": "#!/usr/bin/env python\nprint('said')\n",
    }
    make_wheel(
        directory,
        "Odd.Schemes",
        files={
            "odd_schemes/__init__.py": "def main() -> None:\n    print('said')\n",
            "odd_schemes_root.pth": "import sys\n",
            f"{data}/purelib/odd_pure/__init__.py": "PURE = True\n",
            f"{data}/purelib/odd_pure.pth": "# nothing\n",
            f"{data}/purelib/odd_schemes/more.py": "MORE = True\n",
            f"{data}/platlib/odd_plat/__init__.py": "PLAT = True\n",
            f"{data}/platlib/odd_plat/run.sh": "#!/bin/sh\n",
            f"{data}/headers/odd.h": "#define ODD\n",
            f"{data}/headers/below/odd.h": "#define BELOW\n",
            f"{data}/data/share/odd/data.txt": "data\n",
            f"{data}/data/share/odd/module.py": "IN_DATA = True\n",
            f"{data}/data/etc/odd/run": "#!python\n",
            **scripts,
        },
        executables=[*scripts, f"{data}/platlib/odd_plat/run.sh", f"{data}/data/etc/odd/run"],
        entry_points=(
            "[console_scripts]\nodd = odd_schemes:main\nodd-dotted.name = odd_schemes:main\n\n"
            "[gui_scripts]\nodd-window = odd_schemes:main\n"
        ),
    )
    make_wheel(
        directory,
        "odd-names",
        files={
            "odd_names/__init__.py": "",
            "odd_names/naïve.py": "NAME = 'naïve'\n",
            "odd_names/数据/файл.txt": "текст\n",
            "odd_names/decomposed-e\u0301.txt": "accent of its own\n",
            "odd_names/\N{SNOWMAN}\N{PILE OF POO}.json": "{}\n",
            'odd_names/comma, "quote" and space.txt': "RECORD is CSV\n",
            "odd_names/%41#b;c=d@e.txt": "no URL\n",
            "odd_names/-rf": "",
            "odd_names/.hidden/.empty": "",
            "odd_names/does_not_compile.py": "def broken(:\n",
            "odd_names/wrong_coding.py": b"# -*- coding: utf-8 -*-\nNAME = '\xff'\n",
            "odd_names/UPPER.PY": "this is no module\n",
            "odd_names/__pycache__/left.cpython-27.pyc": b"stale",
            "odd_names/" + "deep/" * 30 + "leaf.txt": "deep\n",
            "odd_names/" + "x" * 200 + ".txt": "long\n",
        },
    )
    make_wheel(
        directory,
        "odd-archive",
        files={
            "odd_archive/__init__.py": "",
            "odd_archive/tool": "#!/bin/sh\n",
            "odd_archive/module.py": "EXECUTABLE = True\n",
        },
        executables=["odd_archive/tool", "odd_archive/module.py"],
        root_is_purelib=False,
        compress=False,
        add_directory_entries=True,
        dist_info_files={"licenses/deep/LICENSE": "free\n", "empty.txt": ""},
    )


# -- what is in the wheels


def _paths(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if not name.endswith("/")]


def _scheme(key: str) -> Callable[[zipfile.ZipFile], bool]:
    def holds(archive: zipfile.ZipFile) -> bool:
        return any(
            path.split("/")[0].endswith(".data") and path.split("/")[1] == key
            for path in _paths(archive)
        )

    return holds


def _entry_points(group: str) -> Callable[[zipfile.ZipFile], bool]:
    def holds(archive: zipfile.ZipFile) -> bool:
        for path in _paths(archive):
            if path.endswith(".dist-info/entry_points.txt"):
                text = archive.read(path).decode()
                section = text.partition(f"[{group}]")[2].partition("[")[0]
                return "=" in section
        return False

    return holds


def _executable_in_package(archive: zipfile.ZipFile) -> bool:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        top = info.filename.split("/")[0]
        in_package = "/" in info.filename and not top.endswith((".data", ".dist-info"))
        if in_package and stat.S_ISREG(mode) and mode & 0o111:
            return True
    return False


def _namespace_package(archive: zipfile.ZipFile) -> bool:
    """A directory with modules or packages below, and no __init__.py itself."""
    paths = _paths(archive)
    tops = {path.split("/")[0] for path in paths if path.endswith(".py") and "/" in path}
    return any(not top.endswith(".data") and f"{top}/__init__.py" not in paths for top in tops)


def _legacy_namespace(archive: zipfile.ZipFile) -> bool:
    return any(path.endswith("-nspkg.pth") for path in _paths(archive))


def _does_not_compile(archive: zipfile.ZipFile) -> bool:
    for path in _paths(archive):
        if path.endswith(".py"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    ast.parse(archive.read(path))
                except (SyntaxError, ValueError):
                    return True
    return False


def _named(project: str) -> Callable[[zipfile.ZipFile], bool]:
    def holds(archive: zipfile.ZipFile) -> bool:
        return Path(str(archive.filename)).name.startswith(f"{project}-")

    return holds


KINDS: dict[str, Callable[[zipfile.ZipFile], bool]] = {
    "namespace package": _namespace_package,
    "namespace package by .pth": _legacy_namespace,
    "data scheme scripts": _scheme("scripts"),
    "data scheme data": _scheme("data"),
    "data scheme headers": _scheme("headers"),
    "data scheme platlib": _scheme("platlib"),
    "data scheme purelib": _scheme("purelib"),
    "extension module": lambda archive: any(path.endswith(".so") for path in _paths(archive)),
    "console scripts": _entry_points("console_scripts"),
    "GUI scripts": _entry_points("gui_scripts"),
    "executable in a package": _executable_in_package,
    "thousands of files": lambda archive: len(_paths(archive)) > 3000,
    "non-ASCII file names": lambda archive: any(not path.isascii() for path in _paths(archive)),
    ".pth file": lambda archive: any(
        path.endswith(".pth") and "/" not in path for path in _paths(archive)
    ),
    ".py file that does not compile": _does_not_compile,
    "zero-length file": lambda archive: any(
        info.file_size == 0 for info in archive.infolist() if not info.is_dir()
    ),
    "pip itself": _named("pip"),
    "setuptools itself": _named("setuptools"),
}

# No such distribution in use was found: the one made here stands for them.
ONLY_MADE = {"data scheme purelib"}


def test_at_least_forty_real_distributions_are_installed(real_wheels: list[Path]) -> None:
    assert len(real_wheels) == len(REAL)
    assert len({wheel.name.split("-")[0].lower() for wheel in real_wheels}) >= 40
    small = {requirement.partition("==")[0] for requirement in REAL} - set(LARGE)
    assert len(small) >= 40


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.replace(" ", "-")) for kind in KINDS])
def test_every_awkward_kind_is_among_the_wheels(
    kind: str, real_wheels: list[Path], served: LocalIndex
) -> None:
    wheels = sorted(served.directory.iterdir()) if kind in ONLY_MADE else real_wheels
    assert any(_is_of_kind(wheel, kind) for wheel in wheels)


def _is_of_kind(wheel: Path, kind: str) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        return KINDS[kind](archive)


# -- what is in the environments


def _requirements(case: Case) -> list[str]:
    real = [one for one in REAL if one.partition("==")[0] not in case.without]
    return [*real, *(f"{name}==1.0" for name in MADE)]


def _install(
    command: Sequence[str], case: Case, served: LocalIndex, home: Path, store: Path
) -> str:
    options = ["--no-deps", *case.options, "-i", served.url]
    done = run_as(
        None,
        [*command, *options, *_requirements(case)],
        umask=case.umask,
        env=_surroundings(home, store),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def _surroundings(home: Path, store: Path) -> dict[str, str | None]:
    return {
        "HOME": str(home),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_SHAREDCACHE_DIR": str(store),
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_INDEX_URL": None,
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_the_tree_is_that_of_plain_pip(
    case: Case, served: LocalIndex, environment: EnvironmentFactory, tmp_path: Path
) -> None:
    expected_number = len(_requirements(case))
    assert expected_number >= 40
    store = tmp_path / "store"
    store.mkdir()

    plain = environment("plain")
    _install(plain.plain("install"), case, served, tmp_path, store)
    assert list(store.iterdir()) == []
    expected = snapshot(plain.prefix)

    cold = environment("cold")
    said = _install(cold.command("install"), case, served, tmp_path, store)
    assert f"{expected_number} added to it" in said
    assert differences(expected, snapshot(cold.prefix)) == []
    assert len(list(store.glob("wheels/*/*/entry.json"))) == expected_number

    warm = environment("warm")
    served.clear()
    said = _install(warm.command("install"), case, served, tmp_path, store)
    assert served.wheel_requests() == []
    assert f"{expected_number} of {expected_number} distributions from {store}" in said
    assert differences(expected, snapshot(warm.prefix)) == []

    compiled = any(path.endswith(".pyc") and "/yaml/" in path for path in expected)
    assert compiled == ("--no-compile" not in case.options)
    _assert_imports(warm)


def _assert_imports(environment: Environment) -> None:
    """The trees are the same, and what is in them works."""
    script = (
        "import json, sys\n"
        "import yaml, greenlet, google.protobuf, jaraco.context, zope.interface, odd_pure\n"
        "import odd_plat, odd_schemes.more, packaging\n"
        "assert yaml.__with_libyaml__\n"
        "print(json.dumps([packaging.__version__, greenlet.__version__]))\n"
    )
    done = run_as(None, [environment.python, "-I", "-B", "-c", script], check=True)
    assert json.loads(done.stdout) == ["24.2", "3.1.1"]
    for name in ("odd", "odd-window", "odd-python", "odd-shell"):
        assert run_as(None, [environment.scripts / name], check=True).stdout == "said\n"
    assert os.access(environment.scripts / "ninja", os.X_OK)


def test_wheels_whose_digests_share_a_shard_are_all_added(
    environment: EnvironmentFactory, wheelhouse: Path, tmp_path: Path
) -> None:
    shards: dict[str, str] = {}
    for number in itertools.count():
        name = f"shard{number}"
        shard = digest(make_wheel(wheelhouse, name))[:2]
        if shard in shards:
            break
        shards[shard] = name
    store = tmp_path / "store"
    store.mkdir()
    with LocalIndex(wheelhouse) as served:
        done = run_as(
            None,
            [*environment().command("install"), "-i", served.url, shards[shard], name],
            env=_surroundings(tmp_path, store),
            check=True,
        )
    assert "WARNING" not in done.stdout + done.stderr
    assert "2 added to it" in done.stdout
    assert len(list(store.glob(f"wheels/{shard}/*/entry.json"))) == 2


def test_a_wheel_that_pip_refuses_is_refused_alike_and_leaves_nothing(
    environment: EnvironmentFactory, tmp_path: Path
) -> None:
    (wheel,) = download_wheels([REFUSED])
    store = tmp_path / "store"
    store.mkdir()
    with LocalIndex(wheel.parent) as served:
        outcomes = []
        for name in ("plain", "cold", "warm"):
            made = environment(name)
            command = made.plain("install") if name == "plain" else made.command("install")
            done = run_as(
                None,
                [*command, "--no-deps", "-i", served.url, REFUSED],
                env=_surroundings(tmp_path, store),
            )
            errors = [
                re.sub(r"/\S+/", "", line) for line in done.stderr.splitlines() if "ERROR" in line
            ]
            outcomes.append((done.returncode, errors))
            if name != "plain":
                # Plain pip leaves the files that it had written.
                assert list(made.site_packages.glob("tikon*")) == []
    assert outcomes[0][0] == 1
    assert "RECORD" in "".join(outcomes[0][1])
    assert outcomes[1] == outcomes[2] == outcomes[0]
