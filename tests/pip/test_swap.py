"""Which wheels come from the store, which go into it, and what happens to the ones that may not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.accounts import run_as
from support.damage import damage
from support.environments import NEWEST_PIP, Environment, make_environment
from support.filesystems import mounted
from support.index import IndexFactory, LocalIndex
from support.probes import needs, tmpfs
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = pytest.mark.pips

OLD_PIP = "23.0.1"
WHEEL = "demo-1.0-py3-none-any.whl"

_BACKEND = """
import os, zipfile


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    filename = "built-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        archive.writestr("built.py", "")
        archive.writestr(
            "built-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n"
        )
        archive.writestr(
            "built-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr("built-1.0.dist-info/RECORD", "")
    return filename
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class World:
    """One store, one pip cache, and environments made on demand."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.store = base / "store"
        self.store.mkdir()
        self.made = 0

    def environment(self, pip: str = NEWEST_PIP) -> Environment:
        self.made += 1
        return make_environment(self.base / f"e{self.made}", pip=pip)

    def run(
        self,
        environment: Environment,
        *arguments: str | Path,
        plain: bool = False,
        env: dict[str, str | None] | None = None,
        status: int | None = 0,
    ) -> subprocess.CompletedProcess[str]:
        variables: dict[str, str | None] = {
            "PIP_INDEX_URL": "http://127.0.0.1:1/simple/",
            "PIP_EXTRA_INDEX_URL": None,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_SHAREDCACHE_DIR": str(self.store),
            "NO_PROXY": "127.0.0.1",
            "PYTHONHASHSEED": "0",  # pip prints sets
            "GIT_CONFIG_NOSYSTEM": "1",
            **(env or {}),
        }
        command = environment.plain if plain else environment.command
        done = run_as(None, command("install", *arguments), env=variables, cwd=self.base)
        text = f"{done.stdout}\n{done.stderr}"
        if status is not None:
            assert done.returncode == status, text
        if not plain:
            assert "Traceback" not in text, text
        return done

    def entries(self) -> list[Path]:
        """The directories of all visible entries."""
        return sorted(path.parent for path in self.store.glob("wheels/*/*/entry.json"))

    def stored(self) -> list[str]:
        """Names of the wheels in the store, one for each entry."""
        return sorted(path.name for path in self.store.glob("wheels/*/*/*.whl"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def served(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    make_wheel(wheelhouse, "demo", requires=["dep"])
    make_wheel(wheelhouse, "dep")
    return index(wheelhouse)


# -- found


@pytest.mark.parametrize("pip", [NEWEST_PIP, "25.1.1", OLD_PIP])
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "no-metadata"])
def test_a_stored_wheel_is_not_asked_for(
    world: World, index: IndexFactory, served: LocalIndex, pip: str, metadata: bool
) -> None:
    other = index(served.directory, metadata=metadata)
    world.run(world.environment(pip), "-i", other.url, "demo")
    # pip 23.0.1 asks twice for a wheel whose metadata it has.
    assert len(set(other.wheel_requests())) == 2
    other.clear()
    second = world.environment(pip)
    done = world.run(second, "-i", other.url, "demo")
    assert [path for _, path, _ in other.requests] == ["/simple/demo/", "/simple/dep/"]
    assert "2 of 2 distributions" in done.stdout
    assert (second.site_packages / "dep" / "data.txt").exists()


@pytest.mark.parametrize("pip", ["25.1.1", OLD_PIP])
def test_metadata_of_the_index_counts_if_the_wheel_has_other(
    world: World, served: LocalIndex, pip: str
) -> None:
    """As without the store; pips from 26.2 refuse such a wheel."""
    make_wheel(served.directory, "late")
    metadata = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: late\n"
    for change in (False, True, True):
        if change:
            served.pages.change_metadata("demo-1.0-py3-none-any.whl", metadata)
        through_store = world.environment(pip)
        world.run(through_store, "-i", served.url, "demo")
        assert (through_store.site_packages / "late").exists() == change
        assert (through_store.site_packages / "dep").exists() != change


@needs(tmpfs)
@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
def test_pip_gets_the_entrys_own_wheel(
    world: World, index: IndexFactory, wheelhouse: Path, shared_tmp: Path, pip: str
) -> None:
    """No copy is made: a temporary directory smaller than the wheel is enough."""
    content = os.urandom(3 << 20)
    make_wheel(wheelhouse, files={"demo/__init__.py": "", "demo/big": content}, compress=False)
    served = index(wheelhouse)
    world.run(world.environment(pip), "-i", served.url, "demo")
    with mounted("tmpfs", shared_tmp, size_mb=2) as temporary:
        env: dict[str, str | None] = {"TMPDIR": str(temporary)}
        world.run(world.environment(pip), "-i", served.url, "demo", plain=True, env=env, status=1)
        second = world.environment(pip)
        world.run(second, "-i", served.url, "demo", env=env)
        assert list(temporary.iterdir()) == []
    assert (second.site_packages / "demo" / "big").read_bytes() == content


def test_a_digest_known_from_a_hash_option_saves_the_download(
    world: World, index: IndexFactory, served: LocalIndex
) -> None:
    world.run(world.environment(), "-i", served.url, "demo")
    without = index(served.directory, hashes=False)
    lines = [
        f"{path.name.split('-')[0]}==1.0 --hash=sha256:{digest(path)}"
        for path in served.directory.iterdir()
    ]
    requirements = world.base / "requirements.txt"
    requirements.write_text("\n".join(lines))
    world.run(world.environment(), "-i", without.url, "--require-hashes", "-r", requirements)
    assert without.wheel_requests() == []
    assert without.metadata_requests() == []


@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
def test_a_wheel_without_a_hash_is_downloaded_and_taken_from_the_store(
    world: World, index: IndexFactory, served: LocalIndex, pip: str
) -> None:
    without = index(served.directory, hashes=False)
    world.run(world.environment(pip), "-i", without.url, "demo")
    before = [(path, path.stat().st_ino) for path in world.entries()]
    assert len(before) == 2
    without.clear()
    done = world.run(world.environment(pip), "-i", without.url, "demo")
    assert len(set(without.wheel_requests())) == 2
    assert "2 of 2 distributions" in done.stdout
    assert "0 bytes not downloaded" in done.stdout
    assert [(path, path.stat().st_ino) for path in world.entries()] == before


@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
def test_a_wheel_that_vendors_a_distribution_is_served_from_the_store(
    world: World, index: IndexFactory, wheelhouse: Path, pip: str
) -> None:
    """Its own METADATA comes after the vendored one in the archive and in the manifest."""
    vendored = {
        f"demo/_vendor/other-2.0.dist-info/{name}": f"{name} of other\n"
        for name in ("METADATA", "WHEEL", "RECORD")
    }
    make_wheel(wheelhouse, files={"demo/__init__.py": "", **vendored})
    served = index(wheelhouse)
    world.run(world.environment(pip), "-i", served.url, "demo")
    before = [(path, path.stat().st_ino) for path in world.entries()]
    served.clear()
    second = world.environment(pip)
    done = world.run(second, "-i", served.url, "demo")
    assert served.wheel_requests() == []
    assert "WARNING" not in done.stderr
    assert "1 of 1 distributions" in done.stdout
    assert [(path, path.stat().st_ino) for path in world.entries()] == before
    plain = world.environment(pip)
    world.run(plain, "-i", served.url, "demo", plain=True)
    assert differences(snapshot(plain.prefix), snapshot(second.prefix)) == []


@pytest.mark.parametrize("size", [0, 20_000], ids=["metadata", "data"])
def test_what_is_downloaded_for_a_damaged_entry_does_not_count_as_from_the_store(
    world: World, index: IndexFactory, wheelhouse: Path, size: int
) -> None:
    """What is in the middle of its wheel is damaged, too: met before or while it is installed."""
    make_wheel(wheelhouse, files={"demo/data.txt": os.urandom(size)})
    served = index(wheelhouse)
    world.run(world.environment(), "-i", served.url, "demo")
    (entry,) = world.entries()
    damage(entry / "files/demo/data.txt", "truncated", world.base)
    damage(entry / WHEEL, "edited-unseen", world.base)
    done = world.run(world.environment(), "-i", served.url, "demo")
    assert "0 of 1 distributions" in done.stdout
    assert "1 added to it" in done.stdout
    assert "; 0 bytes not downloaded" in done.stdout
    assert "1 of 1 distributions" in world.run(world.environment(), "-i", served.url, "demo").stdout


def test_the_same_bytes_under_another_name_are_not_taken(
    world: World, index: IndexFactory, wheelhouse: Path
) -> None:
    wheel = make_wheel(wheelhouse)
    served = index(wheelhouse)
    world.run(world.environment(), "-i", served.url, "demo")
    wheel.rename(wheelhouse / "demo-1.0-1-py3-none-any.whl")
    served.clear()
    done = world.run(world.environment(), "-i", served.url, "demo")
    assert served.wheel_requests() == ["/files/demo-1.0-1-py3-none-any.whl"]
    assert "1 of 1 distributions" not in done.stdout


def test_other_bytes_under_the_same_name_are_not_taken(
    world: World, index: IndexFactory, wheelhouse: Path
) -> None:
    make_wheel(wheelhouse)
    served = index(wheelhouse)
    world.run(world.environment(), "-i", served.url, "demo")
    make_wheel(wheelhouse, files={"demo.py": "OTHER = 1\n"})
    environment = world.environment()
    world.run(environment, "-i", served.url, "demo")
    assert (environment.site_packages / "demo.py").read_text() == "OTHER = 1\n"
    assert world.stored() == [WHEEL, WHEEL]


# -- several files of one wheel at one path


def _wheel_whose_files_meet(directory: Path) -> None:
    """In the root and in .data, as source and as bytecode, in .dist-info; some do not compile."""
    minor = sys.version_info[1]
    data = "meet-1.0.data"
    library = f"{data}/data/lib/python3.{minor}/site-packages"
    pyc = f"cpython-3{minor}.pyc"
    make_wheel(
        directory,
        "meet",
        files={
            **{f"meet/m{n}.py": f"ANSWER = {n}\n" for n in range(8)},
            "meet/__init__.py": "",
            f"{data}/purelib/meet/m0.py": "ANSWER = 10\n",
            f"{data}/platlib/meet/m1.py": "ANSWER = 11\n",
            f"{data}/purelib/meet/m2.py": "ANSWER = 12\n",
            f"{data}/platlib/meet/m2.py": "ANSWER = 22\n",
            f"{data}/purelib/meet/m3.py": "ANSWER (3\n",  # as long, but it does not compile
            f"{library}/meet/m4.py": "ANSWER = 14\n",
            f"{data}/purelib/meet/__pycache__/m5.{pyc}": "of the wheel",
            f"{library}/meet/__pycache__/m6.{pyc}": "of the wheel",
            "meet/M7.py": "ANSWER = 17\n",
            f"{data}/purelib/meet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: meet\n"
            "Version: 1.0\nSummary: that of .data\n",
            f"{data}/purelib/meet-1.0.dist-info/more.txt": "more\n",
            f"{data}/scripts/tool": "#!python\nprint(1)\n",
            f"{data}/data/bin/tool": "#!/bin/sh\n",
        },
    )


@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
def test_files_of_a_wheel_that_meet_end_as_with_plain_pip(
    world: World, wheelhouse: Path, pip: str
) -> None:
    _wheel_whose_files_meet(wheelhouse)
    plain = world.environment(pip)
    world.run(plain, "--no-index", "-f", wheelhouse, "meet", plain=True)
    expected = snapshot(plain.prefix)
    rows = (plain.site_packages / "meet-1.0.dist-info/RECORD").read_text().splitlines()
    for turn in ("first", "second"):
        environment = world.environment(pip)
        world.run(environment, "--no-index", "-f", wheelhouse, "meet")
        assert differences(expected, snapshot(environment.prefix)) == [], turn
        record = environment.site_packages / "meet-1.0.dist-info/RECORD"
        assert [row.split(",")[0] for row in record.read_text().splitlines()] == [
            row.split(",")[0] for row in rows
        ]
        checked = "; ".join(f"import meet.m{n}" for n in (0, 1, 2, 4, 5, 6))
        subprocess.run([environment.python, "-c", checked], check=True)


# -- local wheels


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_wheel_of_a_find_links_directory_is_published(
    world: World, wheelhouse: Path, form: str
) -> None:
    make_wheel(wheelhouse)
    links = str(wheelhouse) if form == "path" else wheelhouse.as_uri()
    world.run(world.environment(), "--no-index", "-f", links, "demo")
    assert world.stored() == [WHEEL]
    done = world.run(world.environment(), "--no-index", "-f", links, "demo")
    assert "1 of 1 distributions" in done.stdout


@pytest.mark.parametrize("form", ["path", "relative", "url", "requirement"])
def test_a_wheel_of_a_local_path_is_not_published(
    world: World, wheelhouse: Path, form: str
) -> None:
    wheel = make_wheel(wheelhouse)
    forms = {
        "path": str(wheel),
        "relative": f"./{wheel.relative_to(world.base)}",
        "url": wheel.as_uri(),
        "requirement": f"demo @ {wheel.as_uri()}",
    }
    environment = world.environment()
    done = world.run(environment, "--no-index", forms[form])
    assert world.stored() == []
    assert "0 of 1 distributions" in done.stdout
    assert (environment.site_packages / "demo").is_dir()


def test_a_wheel_of_a_local_path_is_found_if_it_is_there(world: World, wheelhouse: Path) -> None:
    wheel = make_wheel(wheelhouse)
    world.run(world.environment(), "--no-index", "-f", wheelhouse, "demo")
    done = world.run(world.environment(), "--no-index", wheel)
    assert "1 of 1 distributions" in done.stdout
    assert world.stored() == [WHEEL]


@pytest.mark.parametrize("form", ["path", "url"])
def test_share_lists_a_local_directory(world: World, wheelhouse: Path, form: str) -> None:
    wheel = make_wheel(wheelhouse)
    share = str(wheelhouse) if form == "path" else wheelhouse.as_uri()
    env: dict[str, str | None] = {"PIP_SHAREDCACHE_SHARE": f"https://else.invalid/ {share}"}
    world.run(world.environment(), "--no-index", wheel, env=env)
    assert world.stored() == [WHEEL]


def test_share_of_a_neighbour_is_not_share(world: World, wheelhouse: Path) -> None:
    wheel = make_wheel(wheelhouse)
    env: dict[str, str | None] = {"PIP_SHAREDCACHE_SHARE": str(wheelhouse)[:-1]}
    world.run(world.environment(), "--no-index", wheel, env=env)
    assert world.stored() == []


def test_share_in_a_configuration_file(world: World, wheelhouse: Path) -> None:
    wheel = make_wheel(wheelhouse)
    configuration = world.base / "pip.conf"
    configuration.write_text(
        f"[sharedcache]\nshare =\n    https://else.invalid/\n    {wheelhouse}\n"
    )
    world.run(world.environment(), "--no-index", wheel, env={"PIP_CONFIG_FILE": str(configuration)})
    assert world.stored() == [WHEEL]


# -- credentials

SECRET = "s3cret-word"


@pytest.fixture
def private(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    make_wheel(wheelhouse)
    return index(wheelhouse, credentials=("somebody", SECRET))


def _private_ways(world: World, private: LocalIndex) -> dict[str, tuple[list[str], dict[str, str]]]:
    netrc = world.base / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login somebody password {SECRET}\n")
    netrc.chmod(0o600)
    by_netrc = {"NETRC": str(netrc)}
    file = f"files/{WHEEL}"
    address = private.authenticated_url.replace("simple/", file)
    bare = private.url.replace("simple/", file)
    sha256 = digest(private.directory / WHEEL)
    page = private.authenticated_url + "demo/"
    return {
        "index-url": (["-i", private.authenticated_url, "demo"], {}),
        "index-variable": (["demo"], {"PIP_INDEX_URL": private.authenticated_url}),
        "extra-index": (["--extra-index-url", private.authenticated_url, "demo"], {}),
        "netrc": (["-i", private.url, "demo"], by_netrc),
        "find-links-page": (["--no-index", "-f", page, "demo"], {}),
        "direct-url": (["--no-index", f"demo @ {address}"], {}),
        "direct-url-with-hash": (["--no-index", f"demo @ {address}#sha256={sha256}"], {}),
        "direct-url-netrc": (["--no-index", f"demo @ {bare}"], by_netrc),
    }


_WAYS = [
    *("index-url", "index-variable", "extra-index", "netrc", "find-links-page"),
    *("direct-url", "direct-url-with-hash", "direct-url-netrc"),
]


@pytest.mark.parametrize("way", _WAYS)
def test_a_wheel_that_came_with_credentials_is_not_published(
    world: World, private: LocalIndex, way: str
) -> None:
    arguments, env = _private_ways(world, private)[way]
    environment = world.environment()
    done = world.run(environment, *arguments, env=dict(env))
    assert (environment.site_packages / "demo").is_dir()
    assert private.wheel_requests() == [f"/files/{WHEEL}"]
    assert world.stored() == []
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("pip", [OLD_PIP, "25.1.1"])
@pytest.mark.parametrize("way", ["index-url", "netrc", "direct-url"])
def test_credentials_are_noticed_with_older_pips(
    world: World, private: LocalIndex, way: str, pip: str
) -> None:
    arguments, env = _private_ways(world, private)[way]
    world.run(world.environment(pip), *arguments, env=dict(env))
    assert world.stored() == []


@pytest.mark.parametrize("way", ["index-url", "netrc", "direct-url"])
def test_share_lists_a_private_address(world: World, private: LocalIndex, way: str) -> None:
    arguments, env = _private_ways(world, private)[way]
    share = private.url.removesuffix("simple/")
    world.run(world.environment(), *arguments, env={**env, "PIP_SHAREDCACHE_SHARE": share})
    assert world.stored() == [WHEEL]
    # Where a wheel came from is nobody's business, least of all with which password.
    for path in world.store.rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            assert SECRET not in path.read_text(errors="replace")
    private.clear()
    done = world.run(world.environment(), *arguments, env=dict(env))
    if way != "direct-url":
        assert private.wheel_requests() == []
    assert "1 of 1 distributions" in done.stdout


def test_credentials_for_one_index_keep_nothing_else_private(
    world: World, private: LocalIndex, index: IndexFactory
) -> None:
    directory = world.base / "public"
    make_wheel(directory, "dep")
    public = index(directory)
    world.run(
        world.environment(),
        *("-i", private.authenticated_url, "--extra-index-url", public.url, "demo", "dep"),
    )
    assert world.stored() == ["dep-1.0-py3-none-any.whl"]


# -- built here


def _project(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "pyproject.toml").write_text(_PYPROJECT)
    (directory / "backend.py").write_text(_BACKEND)
    return directory


def _repository(directory: Path) -> str:
    project = _project(directory)
    for words in (
        ["init", "-q", "-b", "main", "."],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-q", "-m", "one"],
    ):
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, check=True, capture_output=True, text=True
    )
    return f"git+{directory.as_uri()}@{done.stdout.strip()}#egg=built"


@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
@pytest.mark.parametrize("source", ["sdist-of-index", "local-sdist", "directory", "vcs"])
def test_a_wheel_that_pip_built_is_not_published(
    world: World, index: IndexFactory, wheelhouse: Path, source: str, pip: str
) -> None:
    """Nor when pip's own wheel cache has it, the second time."""
    project = _project(world.base / "project")
    sdist = wheelhouse / "built-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(project, "built-1.0")
    arguments = {
        "sdist-of-index": ["built"],
        "local-sdist": [str(sdist)],
        "directory": [str(project)],
        "vcs": [""],
    }[source]
    if source == "vcs":
        if not shutil.which("git"):
            pytest.skip("git is not installed")
        arguments = [_repository(world.base / "repository")]
    served = index(wheelhouse)
    env: dict[str, str | None] = {
        "PIP_NO_CACHE_DIR": None,
        "PIP_CACHE_DIR": str(world.base / "cache"),
    }
    outputs = []
    for _ in range(2):
        environment = world.environment(pip)
        done = world.run(environment, "-i", served.url, *arguments, env=env)
        assert (environment.site_packages / "built.py").exists()
        assert world.stored() == []
        outputs.append(done.stdout)
    if source in ("sdist-of-index", "vcs"):
        assert "Building wheel" not in outputs[1]
    assert "0 of 1 distributions" in outputs[1]


def test_a_wheel_out_of_pips_http_cache_is_published(world: World, served: LocalIndex) -> None:
    env: dict[str, str | None] = {
        "PIP_NO_CACHE_DIR": None,
        "PIP_CACHE_DIR": str(world.base / "cache"),
    }
    world.run(world.environment(), "-i", served.url, "dep", plain=True, env=env)
    world.run(world.environment(), "-i", served.url, "dep", env=env)
    assert world.stored() == ["dep-1.0-py3-none-any.whl"]


# -- unusual wheels

_FILES = {"demo/__init__.py": "", "demo/part.py": "PART = 1\n"}


def _twice(directory: Path) -> None:
    wheel = make_wheel(directory, files=_FILES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("demo/part.py", "PART = 2\n")


def _with(**options: object) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        make_wheel(directory, **{"files": _FILES, **options})  # type: ignore[arg-type]

    return make


def _without(member: str) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        wheel = make_wheel(directory, files=_FILES)
        with zipfile.ZipFile(wheel) as archive:
            kept = [(info, archive.read(info)) for info in archive.infolist()]
        with zipfile.ZipFile(wheel, "w") as archive:
            for info, data in kept:
                if info.filename != member:
                    archive.writestr(info, data)

    return make


def _bytes(data: bytes) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        (directory / WHEEL).write_bytes(data)

    return make


def _truncated(directory: Path) -> None:
    wheel = make_wheel(directory, files=_FILES)
    wheel.write_bytes(wheel.read_bytes()[:-40])


def _flipped(directory: Path) -> None:
    """A member whose checksum is wrong."""
    wheel = make_wheel(directory, files={"demo.py": "A" * 500}, compress=False)
    wheel.write_bytes(wheel.read_bytes().replace(b"AAAA", b"AABA", 1))


_LEFT = f"WARNING: Not shared, and installed by pip itself: {WHEEL}: "

_UNUSUAL: dict[str, Callable[[Path], None]] = {
    "file-outside": _with(files={**_FILES, "../evil.py": ""}),
    "file-outside-below": _with(files={**_FILES, "demo/../../evil.py": ""}),
    "script-outside": _with(files={**_FILES, "demo-1.0.data/scripts/../../evil": ""}),
    "absolute-name": _with(files={**_FILES, "/nonexistent-directory/evil.py": ""}),
    "backslash": _with(files={**_FILES, "demo\\odd.py": ""}),
    "colon": _with(files={**_FILES, "demo/a:b": ""}),
    "dot-part": _with(files={**_FILES, "demo/./odd.py": ""}),
    "empty-part": _with(files={**_FILES, "demo//odd.py": ""}),
    "unknown-scheme": _with(files={**_FILES, "demo-1.0.data/nowhere/x": ""}),
    "scheme-without-file": _with(files={**_FILES, "demo-1.0.data/x": ""}),
    "no-record": _with(record=None),
    "no-metadata": _without("demo-1.0.dist-info/METADATA"),
    "no-wheel-file": _without("demo-1.0.dist-info/WHEEL"),
    "other-dist-info": _with(dist_info="other-1.0.dist-info"),
    "other-name": _with(metadata_name="other"),
    "two-dist-infos": _with(files={**_FILES, "other-1.0.dist-info/METADATA": ""}),
    "newer-format": _with(
        dist_info_files={"WHEEL": "Wheel-Version: 2.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    ),
    "duplicate-name": _twice,
    "file-and-directory": _with(files={"demo": "", **_FILES}),
    "name-too-long": _with(files={**_FILES, f"demo/{'n' * 256}.py": ""}),
    "not-a-zip": _bytes(b"not a zip"),
    "empty-file": _bytes(b""),
    "truncated": _truncated,
    "wrong-checksum": _flipped,
}


def _normalised(
    done: subprocess.CompletedProcess[str], environment: Environment
) -> tuple[int, list[str]]:
    text = (done.stdout + done.stderr).replace(str(environment.prefix), "<prefix>")
    ways = ("Using cached", "Shared store: 0 of 1", "Downloading")
    lines = [line for line in text.splitlines() if not line.strip().startswith(ways)]
    # Where pip itself ends in a traceback, its last line is what both have to say.
    if any(line.startswith("Traceback") for line in lines):
        lines = [re.sub(r" at 0x[0-9a-f]+", "", line) for line in lines[-2:]]
    return done.returncode, lines


@pytest.mark.parametrize("pip", [NEWEST_PIP, OLD_PIP])
@pytest.mark.parametrize("kind", _UNUSUAL)
def test_an_unusual_wheel_is_left_to_pip(
    world: World, wheelhouse: Path, kind: str, pip: str
) -> None:
    _UNUSUAL[kind](wheelhouse)
    plain, ours = world.environment(pip), world.environment(pip)
    arguments = ("--no-index", "-f", wheelhouse, "demo")
    expected = world.run(plain, *arguments, plain=True, status=None)
    done = run_as(
        None,
        ours.command("install", *arguments),
        env={
            "PIP_NO_CACHE_DIR": "1",
            "PIP_SHAREDCACHE_DIR": str(world.store),
            "PYTHONHASHSEED": "0",
        },
        cwd=world.base,
    )
    status, lines = _normalised(done, ours)
    said = [line for line in lines if line.startswith(_LEFT)]
    assert len(said) == (status == 0)  # pip's own errors stand alone
    assert (status, [line for line in lines if line not in said]) == _normalised(expected, plain)
    assert differences(snapshot(plain.prefix), snapshot(ours.prefix)) == []
    assert world.stored() == []
    assert list(world.store.glob("wheels/*/.*")) == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"record": "nothing/of/this,,\n"}, id="record-of-others"),
        pytest.param({"record": ""}, id="empty-record"),
        pytest.param({"add_directory_entries": True}, id="directory-entries"),
        pytest.param({"files": {}}, id="no-files"),
        pytest.param({"files": {"démo.py": "", "demo/ü ö/x": "é"}}, id="non-ascii"),
        pytest.param({"files": {"demo.pth": "import sys\n"}}, id="pth"),
        pytest.param({"name": "De.Mo"}, id="name-not-normalised"),
        pytest.param({"root_is_purelib": False}, id="platlib"),
        pytest.param(
            {"files": {"demo/__pycache__/x.cpython-311.pyc": b"x"}}, id="shipped-bytecode"
        ),
        pytest.param(
            {"files": {"demo/x.py": "X = 1\n", "demo/__pycache__/x.cpython-311.pyc": b"x"}},
            id="shipped-bytecode-that-is-compiled-again",
        ),
    ],
)
def test_unusual_but_sound_wheel_gives_pips_tree(
    world: World, wheelhouse: Path, options: dict[str, object]
) -> None:
    make_wheel(wheelhouse, **options)  # type: ignore[arg-type]
    plain, cold, warm = (world.environment() for _ in range(3))
    arguments = ("--no-index", "-f", wheelhouse, "de-mo" if "name" in options else "demo")
    expected = world.run(plain, *arguments, plain=True, status=None)
    for environment in (cold, warm):
        done = world.run(environment, *arguments, status=None)
        assert done.returncode == expected.returncode, done.stderr
        assert differences(snapshot(plain.prefix), snapshot(environment.prefix)) == []


def test_an_installation_that_pip_gives_up_is_taken_back(world: World, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, entry_points="[console_scripts]\nx = demo\n")
    plain, ours = world.environment(), world.environment()
    before = snapshot(ours.prefix)
    arguments = ("--no-index", "-f", wheelhouse, "demo")
    expected = world.run(plain, *arguments, plain=True, status=1)
    done = world.run(ours, *arguments, status=1)
    assert done.stderr.replace(str(ours.prefix), "") == expected.stderr.replace(
        str(plain.prefix), ""
    )
    assert differences(before, snapshot(ours.prefix)) == []


# -- damaged entries


def _writable(path: Path) -> Path:
    for one in (path, path.parent):
        one.chmod(one.stat().st_mode | 0o200)
    return path


def _restored(path: Path, mode: int) -> None:
    path.chmod(mode)
    path.parent.chmod(0o555)


def _in_entry(entry: Path, name: str) -> Path:
    """Return the path of a file of demo, or of the same file of the project of this entry."""
    (wheel,) = entry.glob("*.whl")
    return entry / name.replace("demo", wheel.name.partition("-")[0])


def _edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        path = _writable(_in_entry(entry, name))
        before = path.stat().st_mtime
        path.write_bytes(change(path.read_bytes()))
        os.utime(path, (before + 10, before + 10))
        _restored(path, 0o444)

    return damage


def _replace(name: str, put: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        path = _in_entry(entry, name)
        path.parent.chmod(0o755)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        put(path)
        path.parent.chmod(0o555)

    return damage


def _json(**changes: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


def _nothing(path: Path) -> None:
    """Leave the path empty."""


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


_PLACED = "files/demo/data.txt"
_DAMAGES: dict[str, Callable[[Path], None]] = {
    "wheel-truncated": _edit(WHEEL, lambda data: data[:-10]),
    "wheel-empty": _edit(WHEEL, lambda data: b""),
    "wheel-edited": _edit(WHEEL, _flip),
    "wheel-missing": _replace(WHEEL, _nothing),
    "wheel-is-a-symlink": _replace(WHEEL, lambda path: path.symlink_to("/etc/passwd")),
    "wheel-is-a-directory": _replace(WHEEL, Path.mkdir),
    "file-truncated": _edit(_PLACED, lambda data: data[:-1]),
    "file-empty": _edit(_PLACED, lambda data: b""),
    "file-edited": _edit(_PLACED, _flip),
    "file-missing": _replace(_PLACED, _nothing),
    "file-is-a-symlink": _replace(_PLACED, lambda path: path.symlink_to("/etc/passwd")),
    "file-is-a-directory": _replace(_PLACED, Path.mkdir),
    "source-truncated": _edit("files/demo/__init__.py", lambda data: data[:-1]),
    "source-missing": _replace("files/demo/__init__.py", _nothing),
    "file-is-a-pipe": _replace(_PLACED, lambda path: os.mkfifo(path, 0o444)),
    "metadata-truncated": _edit("files/demo-1.0.dist-info/METADATA", lambda data: data[:-1]),
    "files-missing": _replace("files", _nothing),
    "manifest-garbage": _edit("entry.json", lambda data: b"\x00garbage"),
    "manifest-truncated": _edit("entry.json", lambda data: data[: len(data) // 2]),
    "manifest-empty": _edit("entry.json", lambda data: b""),
    "manifest-a-list": _edit("entry.json", lambda data: b"[]"),
    "manifest-missing": _replace("entry.json", _nothing),
    "manifest-of-another-format": _edit("entry.json", _json(format=99)),
    "manifest-of-another-wheel": _edit("entry.json", _json(sha256="0" * 64)),
    "manifest-with-odd-rows": _edit("entry.json", _json(files=[["../x", 1, "0", 0, 0]])),
    "manifest-without-rows": _edit("entry.json", _json(files=[])),
    "manifest-with-a-number": _edit("entry.json", _json(files=7)),
    "manifest-with-another-name": _edit("entry.json", _json(filename="../demo.whl")),
    "manifest-is-a-pipe": _replace("entry.json", lambda path: os.mkfifo(path, 0o444)),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_entry_is_named_and_not_used(
    world: World, served: LocalIndex, damage: str
) -> None:
    plain, first, second, third = (world.environment() for _ in range(4))
    arguments = ("-i", served.url, "--no-deps", "demo")
    world.run(plain, *arguments, plain=True)
    world.run(first, *arguments)
    (entry,) = world.entries()
    _DAMAGES[damage](entry)
    # Files of a new entry must not have the time of the old one's by chance.
    time.sleep(max(0, entry.stat().st_mtime + 2 - time.time()))
    done = world.run(second, *arguments)
    assert differences(snapshot(plain.prefix), snapshot(second.prefix)) == []
    told = [line for line in done.stderr.splitlines() if str(entry) in line]
    assert len(told) == 1, done.stderr
    assert "root" in told[0] or f"uid {os.getuid()}" in told[0], told[0]
    assert "; a sound one was published " in told[0]
    assert [line for line in done.stderr.splitlines() if line and line not in told] == []
    # And it is no worse the next time.
    world.run(third, *arguments)
    assert differences(snapshot(plain.prefix), snapshot(third.prefix)) == []


def test_damaged_entries_of_all_kinds_are_named_and_not_used_by_one_run(
    world: World, index: IndexFactory, wheelhouse: Path
) -> None:
    """All of the above in one store: so each kind is in every run, also with --slice."""
    kinds = {f"demo{number}": kind for number, kind in enumerate(_DAMAGES)}
    for project in kinds:
        make_wheel(wheelhouse, project)
    arguments = ("-i", index(wheelhouse).url, *kinds)
    plain, first, second, third = (world.environment() for _ in range(4))
    world.run(plain, *arguments, plain=True)
    world.run(first, *arguments)
    entries = {next(entry.glob("*.whl")).name.partition("-")[0]: entry for entry in world.entries()}
    assert entries.keys() == kinds.keys()
    for project, kind in kinds.items():
        _DAMAGES[kind](entries[project])
    # Files of a new entry must not have the time of the old one's by chance.
    time.sleep(2)
    done = world.run(second, "-v", *arguments)  # else those of one kind are one line
    assert differences(snapshot(plain.prefix), snapshot(second.prefix)) == []
    lines = [line for line in done.stderr.splitlines() if line]
    told = {
        kind: [line for line in lines if str(entries[project]) in line]
        for project, kind in kinds.items()
    }
    wrong = {kind: said for kind, said in told.items() if len(said) != 1}
    wrong.update(
        {kind: said for kind, said in told.items() if "; a sound one was" not in str(said)}
    )
    assert wrong == {}, done.stderr
    assert len(lines) == len(kinds), done.stderr
    world.run(third, *arguments)
    assert differences(snapshot(plain.prefix), snapshot(third.prefix)) == []


@pytest.mark.parametrize("damage", ["wheel-edited", "file-truncated", "manifest-garbage"])
def test_a_damaged_entry_is_noticed_with_an_old_pip(
    world: World, served: LocalIndex, damage: str
) -> None:
    plain, first, second = (world.environment(OLD_PIP) for _ in range(3))
    arguments = ("-i", served.url, "--no-deps", "demo")
    world.run(plain, *arguments, plain=True)
    world.run(first, *arguments)
    (entry,) = world.entries()
    _DAMAGES[damage](entry)
    done = world.run(second, *arguments)
    assert differences(snapshot(plain.prefix), snapshot(second.prefix)) == []
    assert str(entry) in done.stderr
