"""Every pip command passes through; install gives pip's output, exit status and tree.

Each scenario runs three times: with plain pip, with ours on an empty store, with ours again in a
third environment, now from the store. Output, exit status and trees must be the same.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pip_sharedcache.config import NAMES as SETTINGS
from support.accounts import run_as
from support.environments import (
    NEWEST_PIP,
    Environment,
    EnvironmentFactory,
    interpreters,
    make_environment,
    our_wheel,
    pip_wheel,
    support_wheels,
)
from support.index import IndexFactory, LocalIndex
from support.probes import needs, python, require
from support.trees import Node, differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = pytest.mark.pips

OLD_PIP = "23.0.1"
DONE = "Successfully installed "
OURS = "Shared store:"

# A build backend in one file: deterministic wheels, editable ones too, no build tools needed.
_BACKEND = """
import base64, hashlib, os, zipfile
import backendhelper


def get_requires_for_build_wheel(config_settings=None):
    return ["laterhelper"]


get_requires_for_build_editable = get_requires_for_build_wheel


def _write(directory, files):
    with open("project.txt") as stream:
        name, version = stream.read().split()
    info = name + "-" + version + ".dist-info"
    head = "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\nRequires-Dist: dep\\n"
    files = dict(files)
    files[info + "/METADATA"] = (head % (name, version)).encode()
    files[info + "/WHEEL"] = (
        b"Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    record = ""
    for path, data in files.items():
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\\n" % (path, sha256, len(data))
    files[info + "/RECORD"] = (record + info + "/RECORD,,\\n").encode()
    filename = name + "-" + version + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, filename), "w") as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, (2024, 1, 2, 3, 4, 6))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return filename


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    import laterhelper

    value = (config_settings or {}).get("value", "none")
    files = {"built/__init__.py": ("VALUE = %r\\n" % value).encode()}
    return _write(wheel_directory, files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write(wheel_directory, {"built_editable.pth": os.getcwd().encode() + b"\\n"})
"""
_PYPROJECT = """
[build-system]
requires = ["tinybackend", "backendhelper"]
build-backend = "tinybackend"

[dependency-groups]
work = ["demo==1.0"]
"""


def _demo(directory: Path, version: str) -> None:
    extras = f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\nProvides-Extra: more\n"
    requires = 'Requires-Dist: dep>=1\nRequires-Dist: tool; extra == "more"\n'
    make_wheel(directory, "demo", version, dist_info_files={"METADATA": extras + requires})


def _project(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "project.txt").write_text("built 1.0\n")
    (directory / "pyproject.toml").write_text(_PYPROJECT)
    return directory


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the index serves: wheels of two versions, of every scheme, and an sdist."""
    base = tmp_path_factory.mktemp("served")
    directory = base / "wheels"
    for version in ("1.0", "2.0"):
        _demo(directory, version)
        make_wheel(directory, "dep", version)
    make_wheel(
        directory,
        "tool",
        files={
            "tool/__init__.py": "def main(): print('tool')\n",
            "tool/run": "#!/bin/sh\n",
            "tool/empty": "",
            "tool/broken.py": "def (:\n",
            "tool-1.0.data/scripts/tool-script": "#!python\nprint('script')\n",
            "tool-1.0.data/data/share/tool/data.txt": "data\n",
            "tool-1.0.data/headers/tool.h": "#define TOOL\n",
            "tool-1.0.data/purelib/tool_pure.py": "PURE = 1\n",
            "tool-1.0.data/platlib/tool_plat.py": "PLAT = 1\n",
        },
        executables=["tool/run", "tool-1.0.data/scripts/tool-script"],
        entry_points="[console_scripts]\ntool = tool:main\n[gui_scripts]\ntool-gui = tool:main\n",
    )
    make_wheel(directory, "backendhelper", files={"backendhelper.py": ""})
    make_wheel(directory, "laterhelper", files={"laterhelper.py": ""})
    make_wheel(directory, "tinybackend", files={"tinybackend.py": _BACKEND})
    project = _project(base / "built-1.0")
    with tarfile.open(directory / "built-1.0.tar.gz", "w:gz") as archive:
        archive.add(project, "built-1.0")
    return directory


@dataclass(frozen=True)
class Run:
    """One pip command: status, output with places made equal, our line ("" for none)."""

    status: int
    stdout: str
    stderr: str
    raw: str
    line: str


@dataclass(frozen=True)
class Side:
    """One of the three environments, with a home and a directory for temporary files."""

    name: str
    environment: Environment
    home: Path
    temporary: Path


class Sides:
    """The three environments of a scenario, one index, one store, one working directory."""

    def __init__(
        self, base: Path, served: LocalIndex, pip: str = NEWEST_PIP, *, ours: bool = True
    ) -> None:
        self.work = base / "work"
        self.store = base / "store"
        self.served = served
        for directory in (self.work, self.store):
            directory.mkdir()
        self.sides = []
        for number, name in enumerate(("plain", "cold", "warm")):
            home, temporary = base / f"h{number}", base / f"t{number}"
            home.mkdir()
            temporary.mkdir()
            made = make_environment(base / f"e{number}", pip=pip, ours=ours)
            self.sides.append(Side(name, made, home, temporary))

    def variables(self, side: Side) -> dict[str, str | None]:
        return {
            "HOME": str(side.home),
            "TMPDIR": str(side.temporary),
            "PIP_INDEX_URL": self.served.url,
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_SHAREDCACHE_DIR": str(self.store),
            "NO_PROXY": "127.0.0.1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "COLUMNS": "1000",  # else where a usage line breaks goes by the length of paths
        }

    def step(
        self,
        arguments: str,
        *,
        status: int = 0,
        warm: str | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> list[Run]:
        """Run pip on all sides and compare; warm: "2 of 2", what came from the store at last."""
        with ThreadPoolExecutor(2) as pool:
            plain, cold = pool.map(
                lambda side: self._run(side, arguments, env or {}), self.sides[:2]
            )
        last = self._run(self.sides[2], arguments, env or {})
        assert plain.status == status, plain.raw
        for run in (cold, last):
            assert run.status == status, run.raw
            assert _comparable(run.stdout) == _comparable(plain.stdout)
            assert _comparable(run.stderr) == _comparable(plain.stderr)
            if DONE not in run.stdout:
                assert not run.line
        assert not plain.line
        if warm is not None:
            assert last.line.startswith(f"{OURS} {warm} distributions from {self.store};"), last.raw
        self.compare_trees()
        return [plain, cold, last]

    def compare_trees(self) -> None:
        plain, *others = (_tree(side.environment.prefix) for side in self.sides)
        for other in others:
            assert differences(plain, other) == []
        for side in self.sides:
            assert list(side.temporary.iterdir()) == [], f"left in TMPDIR by {side.name}"

    def _run(self, side: Side, arguments: str, env: Mapping[str, str | None]) -> Run:
        places = {
            "prefix": side.environment.prefix,
            "work": self.work,
            "wheels": self.served.directory,
            "url": self.served.url.removesuffix("simple/"),
        }
        words = [word.format(**places) for word in shlex.split(arguments)]
        if side.name == "plain":
            command = side.environment.plain(*words)
        else:
            command = side.environment.command(*words)
        variables = {**self.variables(side), **env}
        variables = {
            name: value.format(**places) if value is not None and "{prefix}" in value else value
            for name, value in variables.items()
        }
        done = run_as(None, command, env=variables, cwd=self.work)
        return _result(done, side)


#: The line that follows pip's version; test_version_is_pips_line_and_ours checks its words.
_OUR_VERSION = re.compile(r"pip-sharedcache \S+ from \S+ \(python \S+\)")


def _result(done: subprocess.CompletedProcess[str], side: Side) -> Run:
    raw = f"{side.name}: {' '.join(done.args)}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, raw
    line, kept = "", []
    lines = done.stdout.splitlines()
    for number, text in enumerate(lines):
        if text.startswith(OURS):
            assert not line, raw
            # Tools parse pip's line: ours is the next one, and alone.
            assert lines[number - 1].startswith(DONE), raw
            line = text
        elif not _OUR_VERSION.fullmatch(text):
            kept.append(text)
    names = (
        (side.environment.prefix, "<prefix>"),
        (side.temporary, "<tmp>"),
        (side.home, "<home>"),
    )
    texts = []
    for text in ("\n".join(kept), done.stderr):
        for place, name in names:
            text = text.replace(str(place), name)
        text = re.sub(r"pip-([a-z-]+)-\w{8}\b", r"pip-\1-*", text)
        texts.append(re.sub(r"_[0-9a-f]{32}\b", "_*", text))
    return Run(done.returncode, texts[0], texts[1], raw, line)


_OF_THE_WAY = re.compile(
    r"\s*(Downloading |Using cached |Using \S+ from the shared store|Obtaining dependency info|━)"
)


def _comparable(text: str) -> list[str]:
    """The lines without those on how a wheel came here, which is what differs."""
    lines = [line for line in text.splitlines() if not _OF_THE_WAY.match(line)]
    # pip goes through the directory in its own order, which is anything on tmpfs.
    moved = sorted(line for line in lines if "Target directory" in line)
    return [line for line in lines if "Target directory" not in line] + moved


def _tree(prefix: Path) -> dict[str, Node]:
    # Below --root the whole prefix is part of the paths.
    inner = str(prefix).lstrip("/")
    found = {path.replace(inner, "<prefix>"): node for path, node in snapshot(prefix).items()}
    for path, node in found.items():
        if path.startswith("target/") and isinstance(node.content, frozenset):
            # pip's RECORD names scripts relative to where they were before --target moved them,
            # so snapshot cannot tell that their digest differs by the prefix alone.
            rows = (row[:1] if row[0].startswith("../../bin/") else row for row in node.content)
            found[path] = Node(node.kind, node.mode, frozenset(rows))
    return found


@pytest.fixture
def served(index: IndexFactory, wheels: Path) -> LocalIndex:
    return index(wheels)


@pytest.fixture
def sides(tmp_path: Path, served: LocalIndex) -> Sides:
    return Sides(tmp_path, served)


def stored(store: Path) -> set[str]:
    """Names of the wheels that a store holds."""
    return {path.name for path in store.glob("wheels/*/*/*.whl")}


@dataclass(frozen=True)
class Step:
    arguments: str
    warm: str | None = None
    status: int = 0


ANY_PIP: dict[str, list[Step]] = {
    "install": [Step("install demo", "2 of 2")],
    "every-scheme": [Step("install tool", "1 of 1")],
    "pinned": [Step("install demo==1.0 dep==1.0", "2 of 2")],
    "extras": [Step("install demo[more]", "3 of 3")],
    "no-deps": [Step("install --no-deps demo", "1 of 1")],
    "upgrade": [Step("install demo==1.0"), Step("install --upgrade demo", "1 of 1")],
    "upgrade-eager": [
        Step("install demo==1.0 dep==1.0"),
        Step("install -U --upgrade-strategy eager demo", "2 of 2"),
    ],
    "downgrade": [Step("install demo"), Step("install demo==1.0", "1 of 1")],
    "satisfied": [Step("install demo"), Step("install demo")],
    "force-reinstall": [
        Step("install tool demo"),
        Step("install --force-reinstall tool demo", "3 of 3"),
    ],
    "ignore-installed": [
        Step("install demo==1.0 tool"),
        Step("install --ignore-installed demo tool", "3 of 3"),
    ],
    "uninstall": [
        Step("install demo tool"),
        Step("uninstall -y demo tool"),
        Step("uninstall -y demo"),
    ],
    "uninstall-twice-installed": [
        Step("install demo==1.0"),
        Step("install --ignore-installed demo"),
        Step("uninstall -y demo"),
        Step("list"),
    ],
    "target": [
        Step("install --target {prefix}/target demo tool", "3 of 3"),
        Step("install --target {prefix}/target demo"),
        Step("install --target {prefix}/target --upgrade demo==1.0 tool", "3 of 3"),
    ],
    "prefix": [Step("install --prefix {prefix}/other demo tool", "3 of 3")],
    "root": [Step("install --root {prefix}/root demo tool", "3 of 3")],
    "requirement-file": [Step("install -r requirements.txt", "3 of 3")],
    "constraint": [Step("install -c constraints.txt demo", "2 of 2")],
    "right-hash": [Step("install --require-hashes -r hashes.txt", "2 of 2")],
    "right-hash-of-pinned-url": [Step("install --no-deps -r url-hash.txt", "1 of 1")],
    "wrong-hash": [Step("install -r wrong-hash.txt", status=1)],
    "wrong-hash-of-stored": [
        Step("install demo==1.0 dep"),
        Step("uninstall -y demo"),
        Step("install -r wrong-hash.txt", status=1),
    ],
    "find-links": [Step("install --no-index -f {wheels} demo", "2 of 2")],
    "find-links-url": [Step("install --no-index -f {url}simple/demo/ --no-deps demo", "1 of 1")],
    "index-option": [Step("install -i {url}simple/ demo", "2 of 2")],
    "local-wheel": [
        Step("install {wheels}/demo-1.0-py3-none-any.whl", "1 of 2"),
        Step("freeze"),
    ],
    "file-url": [Step("install file://{wheels}/demo-1.0-py3-none-any.whl", "1 of 2")],
    "direct-url": [
        Step("install 'demo @ {url}files/demo-1.0-py3-none-any.whl'", "2 of 2"),
        Step("freeze"),
    ],
    "sdist": [Step("install built", "1 of 2"), Step("install --force-reinstall --no-deps built")],
    "local-sdist": [Step("install {wheels}/built-1.0.tar.gz", "1 of 2"), Step("freeze")],
    "directory": [Step("install ./project", "1 of 2"), Step("freeze")],
    "config-settings": [Step("install ./project --config-settings value=here", "1 of 2")],
    "no-build-isolation": [
        Step("install tinybackend backendhelper laterhelper", "3 of 3"),
        Step("install --no-build-isolation ./project", "1 of 2"),
    ],
    "editable": [
        Step("install -e ./project", "1 of 2"),
        Step("list"),
        Step("uninstall -y built"),
    ],
    "vcs": [Step("install git+file://{work}/repository@main#egg=built", "1 of 2"), Step("freeze")],
    "dry-run": [Step("install --dry-run demo tool"), Step("install demo", "2 of 2")],
    "dry-run-of-stored": [
        Step("install demo"),
        Step("uninstall -y demo dep"),
        Step("install --dry-run demo"),
    ],
    "report": [Step("install --report {prefix}/report.json demo built", "2 of 3")],
    "report-of-dry-run": [Step("install --dry-run --report {prefix}/report.json demo tool")],
    "no-compile": [Step("install --no-compile demo", "2 of 2")],
    "errors": [
        Step("install --user demo", status=1),
        Step("install -c constraints.txt demo==2.0", status=1),
        Step("install --require-hashes demo", status=1),
        Step("install nothing-of-this-name", status=1),
        Step("install demo==3.0", status=1),
        Step("install dep==1.0 dep==2.0", status=1),
        Step("install ./nothing.whl", status=1),
        Step("install -r nothing.txt", status=1),
        Step("install --nothing demo", status=2),
        Step("install", status=1),
        Step("install --no-binary demo demo", status=1),
    ],
    "quiet": [Step("install -q demo"), Step("install -q --force-reinstall tool")],
    "download": [Step("download -d {prefix}/downloads demo")],
    "wheel": [Step("wheel -w {prefix}/built demo built")],
}
# What pip 23.0.1 cannot do.
NEWER: dict[str, list[Step]] = {
    "pylock": [Step("install -r pylock.toml", "2 of 2")],
    "pylock-wrong-hash": [Step("install -r pylock.wrong.toml", status=1)],
    "dependency-group": [Step("install --group project/pyproject.toml:work", "2 of 2")],
    "lock": [Step("lock -o {prefix}/pylock.toml demo")],
}
CORE = {
    *("install", "every-scheme", "extras", "upgrade", "force-reinstall", "ignore-installed"),
    *("uninstall", "target", "root", "requirement-file", "right-hash", "wrong-hash", "find-links"),
    *("local-wheel", "direct-url", "sdist", "editable", "vcs", "dry-run", "report", "no-compile"),
    *("errors", "wheel"),
}
SCENARIOS = [
    *(pytest.param(NEWEST_PIP, steps, id=name) for name, steps in {**ANY_PIP, **NEWER}.items()),
    *(
        pytest.param(OLD_PIP, steps, id=f"{name}-{OLD_PIP}")
        for name, steps in ANY_PIP.items()
        if name in CORE
    ),
]


def _git(*arguments: str, cwd: Path) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    command = ["git", *identity, *arguments]
    variables = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env=variables)


def git() -> str | None:
    """git."""
    return None if shutil.which("git") else "git is not installed"


def _fill(work: Path, served: LocalIndex, *, with_repository: bool) -> None:
    """The files that the scenarios name."""
    wheels = served.directory
    hashes = {path.name: digest(path) for path in wheels.glob("*.whl")}
    demo = "demo-2.0-py3-none-any.whl"
    address = served.url.removesuffix("simple/") + "files/"
    files = {
        "requirements.txt": "demo[more]>=1\ndep<2\n",
        "constraints.txt": "demo<2\ndep==1.0\n",
        "hashes.txt": f"demo==2.0 --hash=sha256:{hashes[demo]}\n"
        f"dep==2.0 --hash=sha256:{'1' * 64} --hash=sha256:{hashes['dep-2.0-py3-none-any.whl']}\n",
        "url-hash.txt": f"demo @ {address}{demo} --hash=sha256:{hashes[demo]}\n",
        "wrong-hash.txt": f"demo==2.0 --hash=sha256:{'0' * 64}\n"
        f"dep==2.0 --hash=sha256:{hashes['dep-2.0-py3-none-any.whl']}\n",
    }
    for name, wrong in (("pylock.toml", ""), ("pylock.wrong.toml", "0" * 64)):
        text = 'lock-version = "1.0"\ncreated-by = "tests"\n'
        for project in ("demo", "dep"):
            wheel = f"{project}-2.0-py3-none-any.whl"
            text += f'[[packages]]\nname = "{project}"\nversion = "2.0"\n'
            text += f'[[packages.wheels]]\nurl = "{address}{wheel}"\n'
            text += f'hashes = {{sha256 = "{wrong or hashes[wheel]}"}}\n'
        files[name] = text
    for name, text in files.items():
        (work / name).write_text(text)
    _project(work / "project")
    if with_repository:
        require(git)
        repository = _project(work / "repository")
        _git("init", "-q", "-b", "main", ".", cwd=repository)
        _git("add", ".", cwd=repository)
        _git("commit", "-q", "-m", "a project", cwd=repository)


@pytest.mark.parametrize(("pip", "steps"), SCENARIOS)
def test_like_plain_pip(tmp_path: Path, served: LocalIndex, pip: str, steps: list[Step]) -> None:
    sides = Sides(tmp_path, served, pip)
    repository = any("git+" in step.arguments for step in steps)
    _fill(sides.work, served, with_repository=repository)
    for step in steps:
        sides.step(step.arguments, status=step.status, warm=step.warm)


# -- commands that install nothing


@pytest.fixture(scope="module", params=[NEWEST_PIP, OLD_PIP])
def furnished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheels: Path
) -> Iterator[tuple[Environment, dict[str, str | None]]]:
    """An environment with something in it, that no test changes."""
    base = tmp_path_factory.mktemp("furnished")
    environment = make_environment(base / "environment", pip=request.param)
    store = base / "store"
    store.mkdir()
    variables: dict[str, str | None] = {
        "HOME": str(base),
        "PIP_CACHE_DIR": str(base / "cache"),
        "PIP_EXTRA_INDEX_URL": None,
        "PIP_SHAREDCACHE_DIR": str(store),
        "NO_PROXY": "127.0.0.1",
    }
    with LocalIndex(wheels) as served:
        variables["PIP_INDEX_URL"] = served.url
        run_as(None, environment.plain("install", "demo", "tool"), env=variables, check=True)
        yield environment, variables


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("list", 0),
        ("list --format=json", 0),
        ("list --outdated", 0),
        ("freeze", 0),
        ("freeze --all", 0),
        ("show demo", 0),
        ("show -f tool", 0),
        ("show nothing", 1),
        ("show", 1),
        ("check", 0),
        ("inspect", 0),
        ("config list", 0),
        ("config debug", 0),
        ("config get global.nothing", 1),
        ("cache dir", 0),
        ("cache info", 0),
        ("cache list", 0),
        ("debug", 0),
        ("index versions demo", 0),
        ("completion --bash", 0),
        ("help install", 0),
        ("help nothing", 1),
        ("install --help", 0),
        ("-q list", 0),
        ("frobnicate", 1),
        ("instal", 1),
        ("list --nothing", 2),
        ("--nothing", 2),
        ("uninstall", 1),
        ("uninstall -y nothing", 0),
        ("download", 1),
        ("wheel", 1),
        ("list install", 0),
        ("--python", 2),
        ("--python nowhere list", 1),
    ],
)
def test_other_commands_are_pips_own(
    furnished: tuple[Environment, dict[str, str | None]], arguments: str, status: int
) -> None:
    environment, variables = furnished
    words = shlex.split(arguments)
    plain = run_as(None, environment.plain(*words), env=variables)
    ours = run_as(None, environment.command(*words), env=variables)
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        plain.stdout,
        plain.stderr,
        plain.returncode,
    )
    if arguments not in ("config debug", "help nothing", "list install"):  # varies by version
        assert plain.returncode == status, plain.stderr


def _our_version(environment: Environment) -> str:
    version = our_wheel().name.split("-")[1]
    python = environment.site_packages.parent.name.removeprefix("python")
    where = environment.site_packages / "pip_sharedcache"
    return f"pip-sharedcache {version} from {where} (python {python})\n"


def _ours(environment: Environment, way: str, words: list[str]) -> list[str]:
    """Our command with ``words``, as a module or as the script."""
    if way == "module":
        return environment.command(*words)
    return [str(environment.scripts / "pip-sharedcache"), *words]


@pytest.mark.parametrize("arguments", ["--version", "-V", "-vV", "-q --version", "-V list"])
@pytest.mark.parametrize("way", ["module", "script"])
def test_version_is_pips_line_and_ours(
    furnished: tuple[Environment, dict[str, str | None]], arguments: str, way: str
) -> None:
    environment, variables = furnished
    words = shlex.split(arguments)
    argv = _ours(environment, way, words)
    plain = run_as(None, environment.plain(*words), env=variables)
    ours = run_as(None, argv, env=variables)
    assert ours.stdout == plain.stdout + _our_version(environment)
    assert (ours.stderr, ours.returncode) == (plain.stderr, 0)


@pytest.mark.parametrize("arguments", ["--help", "-h", "", "help", "-q", "-hV", "--help list"])
@pytest.mark.parametrize("way", ["module", "script"])
def test_general_help_is_pips_and_names_our_commands_and_options(
    furnished: tuple[Environment, dict[str, str | None]], arguments: str, way: str
) -> None:
    environment, variables = furnished
    words = shlex.split(arguments)
    argv = _ours(environment, way, words)
    plain = run_as(None, environment.plain(*words), env=variables)
    ours = run_as(None, argv, env=variables)
    assert (ours.stderr, ours.returncode) == (plain.stderr, 0)
    assert ours.stdout.startswith(plain.stdout)
    more = ours.stdout[len(plain.stdout) :]
    assert more.startswith(f"\nAdded by pip-sharedcache {our_wheel().name.split('-')[1]}, ")
    for name in ("store", "--no-sharedcache", "--offline", "--sharedcache-<setting>", *SETTINGS):
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", more), name
    assert max(map(len, more.splitlines())) < 80


@pytest.mark.parametrize("command", ["", "gc", "init"])
def test_help_of_store_is_that_of_the_store_commands(
    furnished: tuple[Environment, dict[str, str | None]], command: str
) -> None:
    environment, variables = furnished
    words = shlex.split(command)
    asked = run_as(None, environment.command("help", "store", *words), env=variables)
    same = run_as(None, environment.command("store", *words, "--help"), env=variables)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout == same.stdout
    assert f"usage: pip-sharedcache store {command}" in asked.stdout


@pytest.mark.parametrize(
    "arguments", ["list", "show nothing", "inspect", "frobnicate", "list --nothing"]
)
def test_the_console_script_is_the_same(
    furnished: tuple[Environment, dict[str, str | None]], arguments: str
) -> None:
    environment, variables = furnished
    words = shlex.split(arguments)
    plain = run_as(None, environment.plain(*words), env=variables)
    script = run_as(None, [environment.scripts / "pip-sharedcache", *words], env=variables)
    assert (script.stdout, script.stderr, script.returncode) == (
        plain.stdout,
        plain.stderr,
        plain.returncode,
    )


def test_the_console_script_installs(sides: Sides) -> None:
    plain, ours, _ = sides.sides
    run_as(None, plain.environment.plain("install", "demo"), env=sides.variables(plain), check=True)
    script = ours.environment.scripts / "pip-sharedcache"
    done = run_as(None, [script, "install", "demo"], env=sides.variables(ours), check=True)
    assert f"{OURS} 0 of 2 distributions" in done.stdout
    assert differences(_tree(plain.environment.prefix), _tree(ours.environment.prefix)) == []


# -- the line of ours


def _members(wheels: Path, *names: str) -> int:
    """The files of the wheels, but for RECORD, of which pip writes its own."""
    import zipfile

    total = 0
    for name in names:
        with zipfile.ZipFile(wheels / name) as archive:
            total += len(archive.namelist()) - 1
    return total


def test_the_numbers_of_the_line_are_right(sides: Sides, wheels: Path) -> None:
    demo, dep, tool = (f"{name}-py3-none-any.whl" for name in ("demo-2.0", "dep-2.0", "tool-1.0"))
    env = {"PIP_SHAREDCACHE_LINK_MODE": "copy"}
    _, cold, warm = sides.step("install --no-compile demo", env=env)
    files = _members(wheels, demo, dep)
    assert cold.line == (
        f"{OURS} 0 of 2 distributions from {sides.store}; 2 added to it; files {files} copied; "
        "0 bytes not downloaded; 0 bytes not copied"
    )
    size = sum((wheels / name).stat().st_size for name in (demo, dep))
    assert warm.line == (
        f"{OURS} 2 of 2 distributions from {sides.store}; files {files} copied; "
        f"{size / 1000:.1f} kB not downloaded; 0 bytes not copied"
    )
    _, cold, _ = sides.step("install --no-compile --force-reinstall demo tool", env=env)
    files = _members(wheels, demo, dep, tool)
    assert cold.line == (
        f"{OURS} 2 of 3 distributions from {sides.store}; 1 added to it; files {files} copied; "
        f"{size / 1000:.1f} kB not downloaded; 0 bytes not copied"
    )


def test_hard_links_are_counted_as_not_copied(sides: Sides, served: LocalIndex) -> None:
    ours = sides.sides[1]
    variables = {
        **sides.variables(ours),
        "PIP_SHAREDCACHE_LINK_MODE": "hardlink",
    }
    done = run_as(
        None, ours.environment.command("install", "--no-compile", "dep"), env=variables, check=True
    )
    linked = [
        path
        for path in ours.environment.site_packages.glob("dep/**/*")
        if path.is_file() and path.stat().st_nlink > 1
    ]
    assert len(linked) == 3
    assert "3 hard-linked" in done.stdout
    size = sum(path.stat().st_size for path in linked)
    assert f"; {size} bytes not copied" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        pytest.param("install -q demo", {}, id="-q"),
        pytest.param("-q install demo", {}, id="before-the-command"),
        pytest.param("install -qq demo", {}, id="-qq"),
        pytest.param("install demo", {"PIP_QUIET": "1"}, id="PIP_QUIET"),
    ],
)
def test_quiet_is_quiet(sides: Sides, arguments: str, env: dict[str, str]) -> None:
    for run in sides.step(arguments, env=env):
        assert (run.stdout, run.stderr, run.line) == ("", "", ""), run.raw


@pytest.mark.parametrize("option", ["-v", "-vv", "-vvv"])
def test_verbose_output_has_the_line_once(sides: Sides, option: str) -> None:
    side = sides.sides[1]
    done = run_as(
        None, side.environment.command("install", option, "demo"), env=sides.variables(side)
    )
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines() if line]
    (where,) = (number for number, line in enumerate(lines) if DONE in line)
    assert OURS in lines[where + 1]
    assert sum(OURS in line for line in lines) == 1


def test_a_log_file_has_the_line(sides: Sides) -> None:
    side = sides.sides[1]
    log = sides.work / "log"
    run_as(
        None,
        side.environment.command("install", "--log", log, "demo"),
        env=sides.variables(side),
        check=True,
    )
    assert f"{OURS} 0 of 2 distributions" in log.read_text()


def test_report_to_stdout_is_pips(sides: Sides) -> None:
    reports = []
    for run in sides.step("install -q --report - demo"):
        assert not run.line
        report = json.loads(run.stdout)
        report.pop("environment")
        reports.append(report)
    assert reports[0] == reports[1] == reports[2]
    assert [one["metadata"]["name"] for one in reports[0]["install"]] == ["demo", "dep"]


# -- where things go


def test_user_installation(sides: Sides) -> None:
    for side in sides.sides:
        settings = side.environment.prefix / "pyvenv.cfg"
        text = settings.read_text()
        assert "include-system-site-packages = false" in text
        settings.write_text(text.replace("packages = false", "packages = true"))
    base = {"PYTHONUSERBASE": "{prefix}/user"}
    sides.step("install --user demo tool", warm="3 of 3", env=base)
    sides.step("install --user --upgrade --force-reinstall demo==1.0", warm="2 of 2", env=base)
    assert (sides.sides[2].environment.prefix / "user" / "bin" / "tool").exists()
    sides.step("uninstall -y demo dep", env=base)


def test_build_requirements_come_from_the_store(sides: Sides) -> None:
    _fill(sides.work, sides.served, with_repository=False)
    builders = {"tinybackend", "backendhelper", "laterhelper"}
    cold = sides.sides[1]
    sides.step("install ./project")
    assert {name.partition("-")[0] for name in stored(sides.store)} == builders | {"dep"}
    sides.served.clear()
    run_as(
        None,
        cold.environment.command("install", "--force-reinstall", "./project"),
        env=sides.variables(cold),
        cwd=sides.work,
        check=True,
    )
    assert sides.served.wheel_requests() == []
    assert sides.served.metadata_requests() == []


# -- another interpreter


def _bare(path: Path, interpreter: Path) -> Environment:
    """A virtual environment with neither pip nor ours."""
    command = [str(interpreter), "-I", "-m", "venv", "--without-pip", "--prompt", "test", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    (site_packages,) = path.glob("lib/python*/site-packages")
    return Environment(path, path / "bin" / "python", site_packages, path / "bin")


def _other(version: str) -> Path:
    """An interpreter of this version; older ones than those that we support, too."""
    known = interpreters().get(version)
    if known is not None:
        return known
    found = shutil.which(f"python{version}")
    candidates = [Path(found)] if found else []
    candidates += sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    roots = {path.parents[2] for path in interpreters().values()}
    candidates += [path for root in roots for path in root.glob(f"{version}.*/bin/python")]
    for candidate in candidates:
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    pytest.skip(f"no Python {version} here")


def _into_others(
    sides: Sides, version: str, *arguments: str, env: Mapping[str, str | None] | None = None
) -> list[tuple[Run, Environment]]:
    results = []
    for side in sides.sides:
        other = _bare(side.environment.prefix.parent / side.name / "other", _other(version))
        run = side.environment.plain if side.name == "plain" else side.environment.command
        done = run_as(
            None,
            run("--python", other.python, *arguments),
            env={**sides.variables(side), **(env or {})},
            cwd=sides.work,
        )
        results.append((_result(done, side), other))
    return results


@pytest.mark.parametrize(
    ("pip", "version"),
    [
        pytest.param(NEWEST_PIP, "3.13", marks=needs(python("3.13"))),
        pytest.param(NEWEST_PIP, "3.9", marks=needs(python("3.9"))),
        pytest.param("25.3", "3.9", marks=needs(python("3.9"))),
        pytest.param(OLD_PIP, "3.11", marks=needs(python("3.11"))),
    ],
)
def test_another_interpreter_needs_nothing(
    tmp_path: Path, served: LocalIndex, pip: str, version: str
) -> None:
    sides = Sides(tmp_path, served, pip)
    plain, cold, warm = _into_others(sides, version, "install", "demo", "tool")
    if (pip, version) == (NEWEST_PIP, "3.9"):
        # pip's own refusal: this one does not run on that interpreter.
        assert plain[0].status == cold[0].status == warm[0].status != 0
        assert plain[0].stderr.splitlines()[-1] == cold[0].stderr.splitlines()[-1]
        return
    assert plain[0].status == 0, plain[0].raw
    for run, _ in (cold, warm):
        assert run.status == 0, run.raw
        assert run.line, run.raw
    assert " 3 of 3 distributions" in warm[0].line
    trees = [_tree(environment.prefix) for _, environment in (plain, cold, warm)]
    assert differences(trees[0], trees[1]) == []
    assert differences(trees[0], trees[2]) == []
    assert (warm[1].site_packages / "demo").is_dir()
    assert not list(warm[1].site_packages.glob("*sharedcache*"))


def test_an_interpreter_older_than_ours_gets_plain_pip(tmp_path: Path, served: LocalIndex) -> None:
    _other("3.8")
    sides = Sides(tmp_path, served, "24.0")
    plain, cold, warm = _into_others(sides, "3.8", "install", "demo", "tool")
    assert plain[0].status == 0, plain[0].raw
    for run, environment in (cold, warm):
        assert run.status == 0, run.raw
        assert not run.line
        assert (
            "Installing without the shared store: pip-sharedcache needs Python 3.9 or later"
            in run.stderr
        )
        assert differences(_tree(plain[1].prefix), _tree(environment.prefix)) == []


@needs(python("3.13"))
@pytest.mark.parametrize("arguments", ["list", "freeze --all", "inspect", "frobnicate"])
def test_other_commands_in_another_interpreter(
    furnished: tuple[Environment, dict[str, str | None]], tmp_path: Path, arguments: str
) -> None:
    environment, variables = furnished
    version = "3.13" if "26" in str(list(environment.site_packages.glob("pip-*"))) else "3.11"
    other = _bare(tmp_path / "other", _other(version))
    words = ["--python", str(other.python), *shlex.split(arguments)]
    plain = run_as(None, environment.plain(*words), env=variables)
    ours = run_as(None, environment.command(*words), env=variables)
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        plain.stdout,
        plain.stderr,
        plain.returncode,
    )


# -- our options


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("spelling", ["space", "equals"])
def test_the_directory_option_wins(sides: Sides, spelling: str, place: str) -> None:
    chosen = sides.work / "chosen"
    chosen.mkdir()
    text = f"--sharedcache-dir{' ' if spelling == 'space' else '='}{chosen}"
    option, rest = text.split(" "), ["install", "demo"]
    side = sides.sides[1]
    words = [*option, *rest] if place == "first" else [*rest, *option]
    done = run_as(None, side.environment.command(*words), env=sides.variables(side), check=True)
    assert f"distributions from {chosen};" in done.stdout
    assert len(stored(chosen)) == 2
    assert stored(sides.store) == set()


@pytest.mark.parametrize("spelling", ["space", "equals"])
def test_the_link_mode_option_wins(sides: Sides, spelling: str) -> None:
    option = ["--sharedcache-link-mode", "hardlink"]
    option = option if spelling == "space" else ["=".join(option)]
    side = sides.sides[1]
    variables = {**sides.variables(side), "PIP_SHAREDCACHE_LINK_MODE": "copy"}
    run_as(None, side.environment.command("install", "demo", *option), env=variables, check=True)
    (stored_file,) = sides.store.glob("wheels/*/*/files/demo/data.txt")
    placed = side.environment.site_packages / "demo" / "data.txt"
    assert placed.samefile(stored_file)


@pytest.mark.parametrize("spelling", ["space", "equals"])
def test_options_reach_another_interpreter(sides: Sides, spelling: str) -> None:
    version = next(iter(set(interpreters()) & {"3.11", "3.12", "3.13", "3.10"}))
    chosen = sides.work / "chosen"
    chosen.mkdir()
    option = ["--sharedcache-dir", str(chosen)]
    option = option if spelling == "space" else ["=".join(option)]
    other = _bare(sides.work / "other", _other(version))
    side = sides.sides[1]
    done = run_as(
        None,
        side.environment.command(
            *option, "--python", other.python, "install", "demo", "--sharedcache-link-mode=hardlink"
        ),
        env=sides.variables(side),
        check=True,
    )
    assert f"distributions from {chosen};" in done.stdout
    assert len(stored(chosen)) == 2
    assert (other.site_packages / "demo" / "data.txt").stat().st_nlink == 2


def test_options_reach_isolated_builds(sides: Sides) -> None:
    _fill(sides.work, sides.served, with_repository=False)
    chosen = sides.work / "chosen"
    chosen.mkdir()
    side = sides.sides[1]
    run_as(
        None,
        side.environment.command("install", "--sharedcache-dir", chosen, "./project"),
        env=sides.variables(side),
        cwd=sides.work,
        check=True,
    )
    assert any(name.startswith("tinybackend") for name in stored(chosen))
    assert stored(sides.store) == set()


def test_after_two_dashes_arguments_are_pips(sides: Sides) -> None:
    sides.step("install -- --sharedcache-dir=x", status=1)


# -- pip, and ourselves


@pytest.mark.network
def test_pip_upgrades_itself(tmp_path: Path, index: IndexFactory, wheelhouse: Path) -> None:
    for version in ("25.3", NEWEST_PIP):
        shutil.copy2(pip_wheel(version), wheelhouse)
    sides = Sides(tmp_path, index(wheelhouse), "25.3")
    sides.step("install --upgrade pip", warm="1 of 1")
    sides.step("--version")
    sides.step("install --force-reinstall pip", warm="1 of 1")
    sides.step("install pip==25.3", warm="1 of 1")
    sides.step("--version")


@pytest.mark.network
def test_we_reinstall_ourselves(tmp_path: Path, index: IndexFactory, wheelhouse: Path) -> None:
    for wheel in (our_wheel(), *support_wheels()):
        shutil.copy2(wheel, wheelhouse)
    sides = Sides(tmp_path, index(wheelhouse))
    sides.step(
        "install --force-reinstall --no-deps pip-sharedcache wrapt packaging platformdirs",
        warm="4 of 4",
    )
    sides.step("list")


def test_an_environment_without_pip_says_so(environment: EnvironmentFactory) -> None:
    made = environment()
    for path in made.site_packages.glob("pip*"):
        if path.name == "pip" or re.fullmatch(r"pip-\d.*", path.name):
            shutil.rmtree(path)
    done = run_as(None, made.command("install", "demo"))
    assert done.returncode == 2
    assert "has no pip" in done.stderr
    assert "Traceback" not in done.stderr
