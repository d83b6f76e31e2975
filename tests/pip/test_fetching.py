"""`pip download`, `pip wheel` and `pip lock` take wheels from the store, and add none to it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from support.accounts import run_as
from support.damage import damage
from support.environments import NEWEST_PIP, Environment, EnvironmentFactory
from support.index import IndexFactory, LocalIndex
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

PIPS = ["23.0.1", "25.1.1", NEWEST_PIP]
KEEPS = ["download", "wheel"]
OFFLINE = {"PIP_SHAREDCACHE_OFFLINE": "yes"}
DEMO = "demo-1.0-py3-none-any.whl"

#: Lines of pip, or of pip-sharedcache, about the way on which a file comes.
_WAY = re.compile(
    r" *(Downloading|Using cached|Using .* from the shared store|Obtaining dependency info"
    r"|Using a checked copy of|\[|━)"
)


@pytest.fixture
def served(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    """demo 1.0, which needs part of any version; part has two."""
    make_wheel(wheelhouse, "demo", requires=["part"], files={"demo/__init__.py": "", "demo/d": "d"})
    for version in ("1.0", "2.0"):
        make_wheel(wheelhouse, "part", version)
    return index(wheelhouse)


class Site:
    """An index, a store, an environment to install into, and directories for results."""

    def __init__(self, index: LocalIndex, make: EnvironmentFactory, top: Path, pip: str) -> None:
        self.index, self.top, self.store = index, top, top / "store"
        self.store.mkdir()
        self._make, self._pip, self._number = make, pip, 0
        self.tool = make("tool", pip=pip)

    def environment(self) -> Environment:
        self._number += 1
        return self._make(f"environment{self._number}", pip=self._pip)

    def install(self, *arguments: str) -> None:
        done = self.run("install", *arguments, environment=self.environment())
        assert done.returncode == 0, done.stderr

    def run(
        self,
        *arguments: str,
        environment: Environment | None = None,
        plain: bool = False,
        umask: int = 0o022,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        variables = {"PIP_SHAREDCACHE_DIR": str(self.store), "PIP_NO_CACHE_DIR": "1"}
        every: dict[str, str | None] = {**self.index.variables, **variables, **(env or {})}
        tool = environment or self.tool
        command = tool.plain(*arguments) if plain else tool.command(*arguments)
        done = run_as(None, command, env=every, cwd=self.top, umask=umask)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def fetch(
        self,
        command: str,
        name: str,
        *words: str,
        status: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` into the directory ``name``, with the store."""
        option = "--dest" if command == "download" else "-w"
        done = self.run(command, option, name, *words, env=env)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def plainly(self, command: str, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Do the same with plain pip."""
        option = "--dest" if command == "download" else "-w"
        done = self.run(command, option, name, *words, plain=True)
        assert done.returncode == 0, done.stderr
        return done

    def in_store(self) -> dict[str, tuple[int, int]]:
        """Inode and time of change of all below the store but the usage marks of users."""
        found = {}
        for path in self.store.rglob("*"):
            if self.store / "use" not in (path, *path.parents):
                status = path.lstat()
                found[str(path)] = status.st_ino, status.st_ctime_ns
        return found

    def entry(self, project: str, version: str = "1.0") -> Path:
        """The directory of the entry of a wheel."""
        (wheel,) = self.store.glob(f"wheels/*/*/{project}-{version}-*.whl")
        return wheel.parent


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    served: LocalIndex,
    environment: EnvironmentFactory,
    tmp_path: Path,
) -> Site:
    return Site(served, environment, tmp_path, getattr(request, "param", NEWEST_PIP))


def told(text: str, *places: str) -> list[str]:
    """The lines of pip that do not depend on the way of the files, nor on the names of places."""
    for place in places:
        text = text.replace(place, "PLACE")
    return [line for line in text.splitlines() if line and not _WAY.match(line)]


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "WARNING" in line]


@pytest.mark.parametrize("site", PIPS, indirect=True)
@pytest.mark.parametrize("command", KEEPS)
def test_stored_wheels_are_kept_as_by_plain_pip_without_a_download(
    site: Site, command: str
) -> None:
    site.install("demo")
    before = site.in_store()
    site.index.clear()
    for umask in (0o022, 0o077):
        plain, ours = f"plain{umask}", f"ours{umask}"
        expected = site.run(
            *(command, "--dest" if command == "download" else "-w", plain, "demo"),
            plain=True,
            umask=umask,
        )
        site.index.clear()
        done = site.run(
            *(command, "--dest" if command == "download" else "-w", ours, "demo"), umask=umask
        )
        assert done.returncode == expected.returncode == 0, done.stderr
        assert site.index.wheel_requests() == site.index.metadata_requests() == []
        assert "Using demo-1.0-py3-none-any.whl from the shared store" in done.stdout
        assert differences(snapshot(site.top / plain), snapshot(site.top / ours)) == []
        assert told(done.stdout, ours) == told(expected.stdout, plain)
        assert told(done.stderr) == told(expected.stderr)
    assert (site.top / ours / DEMO).read_bytes() == (site.index.directory / DEMO).read_bytes()
    assert site.in_store() == before


@pytest.mark.parametrize("command", KEEPS)
def test_missing_wheels_are_downloaded_and_not_published(site: Site, command: str) -> None:
    site.install("part==1.0")
    before = site.in_store()
    site.index.clear()
    site.fetch(command, "kept", "demo", "part==1.0")
    assert set(site.index.wheel_requests()) == {f"/files/{DEMO}"}
    assert sorted(os.listdir(site.top / "kept")) == [DEMO, "part-1.0-py3-none-any.whl"]
    assert site.in_store() == before


@pytest.mark.parametrize("site", ["25.1.1", NEWEST_PIP], indirect=True)
def test_lock_reads_metadata_from_stored_wheels(site: Site) -> None:
    site.install("demo")
    before = site.in_store()
    plain = site.run("lock", "-o", "pylock.plain.toml", "demo", plain=True)
    site.index.clear()
    done = site.run("lock", "-o", "pylock.ours.toml", "demo")
    assert done.returncode == plain.returncode == 0, done.stderr
    assert site.index.wheel_requests() == site.index.metadata_requests() == []
    locked = [(site.top / f"pylock.{name}.toml").read_text() for name in ("plain", "ours")]
    assert locked[0] == locked[1]
    assert f"{site.index.url.replace('simple/', 'files/')}{DEMO}" in locked[0]
    assert told(done.stderr, "ours") == told(plain.stderr, "plain")
    assert site.in_store() == before


@pytest.mark.parametrize("site", PIPS, indirect=True)
@pytest.mark.parametrize("command", KEEPS)
def test_offline_the_files_come_from_the_store_alone(site: Site, command: str) -> None:
    site.install("demo")
    before = site.in_store()
    site.index.clear()
    site.fetch(command, "kept", "demo", env=OFFLINE)
    assert site.index.requests == []
    site.plainly(command, "plain", "demo")
    assert differences(snapshot(site.top / "plain"), snapshot(site.top / "kept")) == []
    assert site.in_store() == before
    site.index.clear()
    done = site.fetch(command, "kept", "part==1.0", status=1, env=OFFLINE)
    assert "Offline: pip found only what is in" in done.stderr
    assert site.index.requests == []


@pytest.mark.parametrize(
    ("command", "doing"),
    [
        ("install", "Installing"),
        ("download", "Downloading"),
        ("wheel", "Collecting wheels"),
        ("lock", "Locking"),
    ],
)
def test_warning_fits_the_command(site: Site, command: str, doing: str) -> None:
    (site.store / "store.json").write_text("damaged")
    done = site.run(command, "part==1.0", environment=site.environment())
    assert done.returncode == 0, done.stderr
    (line,) = [one for one in done.stderr.splitlines() if "without the shared store" in one]
    assert line.strip().startswith(f"WARNING: {doing} without the shared store: ")


def test_offline_lock_makes_no_request(site: Site) -> None:
    site.install("demo")
    site.index.clear()
    done = site.run("lock", "-o", "pylock.toml", "demo", env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert site.index.requests == []
    text = (site.top / "pylock.toml").read_text()
    assert digest(site.index.directory / DEMO) in text
    assert (site.entry("demo") / DEMO).as_uri() in text


@pytest.mark.parametrize("command", KEEPS)
@pytest.mark.parametrize("where", ["wheel", "archive-end", "nearer"])
def test_damaged_wheel_is_never_kept(site: Site, command: str, where: str) -> None:
    """Unseen damage in the middle of the wheel, damage of its archive; with a sound entry below."""
    site.install("demo")
    stores = str(site.store)
    if where == "nearer":
        below, site.store = site.store, site.top / "near"
        site.store.mkdir()
        stores = f"{site.store}:{below}"
        site.install("demo")
    damage(
        site.entry("demo") / DEMO,
        "truncated" if where == "archive-end" else "edited-unseen",
        site.top / "outside",
    )
    before = site.in_store()
    site.index.clear()
    done = site.fetch(command, "kept", "demo", env={"PIP_SHAREDCACHE_DIR": stores})
    assert digest(site.top / "kept" / DEMO) == digest(site.index.directory / DEMO)
    asked = site.index.wheel_requests()
    assert asked == ([] if where == "nearer" else [f"/files/{DEMO}"])
    if where != "nearer":
        assert any("Damaged entry " in line for line in warnings_of(done)), done.stderr
    assert site.in_store() == before


def test_offline_damage_is_an_error_that_names_the_entry(site: Site) -> None:
    site.install("demo")
    damage(site.entry("demo") / DEMO, "edited-unseen", site.top / "outside")
    done = site.fetch("download", "kept", "demo", status=1, env=OFFLINE)
    assert str(site.entry("demo")) in done.stderr
    assert not (site.top / "kept" / DEMO).exists()


@pytest.mark.parametrize("layers", [("empty", "full"), ("full", "empty"), ("part", "full")])
def test_each_layer_is_looked_at(site: Site, layers: Iterable[str]) -> None:
    names = {"empty": [], "full": ["demo"], "part": ["part"]}
    for name in layers:
        site.store = site.top / name
        site.store.mkdir()
        if names[name]:
            site.install(*names[name])
    site.index.clear()
    where = ":".join(str(site.top / name) for name in layers)
    site.fetch("download", "kept", "demo", env={"PIP_SHAREDCACHE_DIR": where})
    assert site.index.wheel_requests() == []
    assert len(os.listdir(site.top / "kept")) == 2


def test_what_is_in_the_directory_already_stays(site: Site) -> None:
    site.install("demo")
    for name in ("plain", "ours"):
        (site.top / name).mkdir()
        (site.top / name / DEMO).write_bytes((site.index.directory / DEMO).read_bytes())
    old = os.stat(site.top / "ours" / DEMO)
    expected = site.plainly("download", "plain", "demo")
    done = site.fetch("download", "ours", "demo")
    assert os.stat(site.top / "ours" / DEMO).st_ino == old.st_ino
    assert told(done.stdout, "ours") == told(expected.stdout, "plain")


@pytest.mark.parametrize("command", KEEPS)
def test_required_hashes_are_checked_on_every_byte(site: Site, command: str) -> None:
    site.install("part==2.0")
    wheel = "part-2.0-py3-none-any.whl"
    requirements = site.top / "requirements.txt"
    requirements.write_text(f"part==2.0 --hash=sha256:{digest(site.index.directory / wheel)}\n")
    site.index.clear()
    site.fetch(command, "kept", "--require-hashes", "-r", str(requirements))
    assert site.index.wheel_requests() == []
    damage(site.entry("part", "2.0") / wheel, "edited-unseen", site.top / "outside")
    done = site.fetch(command, "again", "--require-hashes", "-r", str(requirements))
    assert site.index.wheel_requests() == [f"/files/{wheel}"]
    assert "Damaged entry of" in done.stderr
    assert (site.top / "again" / wheel).read_bytes() == (site.top / "kept" / wheel).read_bytes()


def test_download_for_another_platform_takes_its_wheel(site: Site) -> None:
    name = "demo-3.0-cp39-cp39-win_amd64.whl"
    make_wheel(site.index.directory, "demo", "3.0", tag="cp39-cp39-win_amd64")
    options = ["--platform", "win_amd64", "--python-version", "3.9", "--only-binary", ":all:"]
    site.run("install", "--target", str(site.top / "target"), "--no-deps", *options, "demo")
    site.index.clear()
    site.fetch("download", "kept", "--no-deps", *options, "demo")
    assert os.listdir(site.top / "kept") == [name]
    assert site.index.wheel_requests() == []


def test_wheel_of_a_source_is_built_as_by_plain_pip(site: Site) -> None:
    project = site.top / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (project / "backend.py").write_text(_BACKEND)
    site.install("part")
    before = site.in_store()
    site.index.clear()
    for name, how in (("plain", site.plainly), ("ours", site.fetch)):
        run: Callable[..., object] = how
        run("wheel", name, str(project))
    assert sorted(os.listdir(site.top / "ours")) == sorted(os.listdir(site.top / "plain"))
    assert len(os.listdir(site.top / "ours")) == 2
    assert site.in_store() == before


@pytest.mark.parametrize("off", ["--no-sharedcache", "dir"])
def test_switched_off_it_is_plain_pip(site: Site, off: str) -> None:
    site.install("demo")
    site.index.clear()
    words = ["--no-sharedcache"] if off.startswith("-") else ["--sharedcache-dir=none"]
    done = site.fetch("download", "kept", *words, "demo")
    assert len(set(site.index.wheel_requests())) == 2
    assert "shared store" not in done.stdout + done.stderr


def test_store_that_cannot_be_used_is_named_and_pip_downloads(site: Site) -> None:
    broken = site.top / "broken"
    broken.write_text("")
    done = site.fetch("download", "kept", "demo", env={"PIP_SHAREDCACHE_DIR": str(broken)})
    (line,) = warnings_of(done)
    assert f"without the shared store: {broken}" in line
    assert len(os.listdir(site.top / "kept")) == 2


def test_hooked_pip_takes_wheels_from_the_store(site: Site) -> None:
    site.install("demo")
    environment = site.environment()
    enabled = site.run("store", "enable", "--python", str(environment.prefix))
    assert enabled.returncode == 0, enabled.stderr
    site.index.clear()
    done = site.run("download", "-d", "kept", "demo", environment=environment, plain=True)
    assert done.returncode == 0, done.stderr
    assert site.index.wheel_requests() == []
    assert "Using demo-1.0-py3-none-any.whl from the shared store" in done.stdout


_BACKEND = """
import os, zipfile


def get_requires_for_build_wheel(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    filename = "built-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        archive.writestr("built.py", "")
        archive.writestr(
            "built-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\nRequires-Dist: part\\n",
        )
        archive.writestr(
            "built-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr("built-1.0.dist-info/RECORD", "")
    return filename
"""
