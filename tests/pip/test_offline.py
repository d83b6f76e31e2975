"""The setting offline: pip resolves among the wheels of the store, and makes no request."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.accounts import run_as
from support.environments import NEWEST_PIP, Environment, EnvironmentFactory
from support.index import IndexFactory, LocalIndex
from support.probes import linux, needs
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.pips, needs(linux)]

PIPS = ["23.0.1", "25.0.1", NEWEST_PIP]
OFFLINE = {"PIP_SHAREDCACHE_OFFLINE": "yes"}


@pytest.fixture
def served(index: IndexFactory, wheelhouse: Path) -> LocalIndex:
    """demo 1.0, which needs part of any version; part has two."""
    make_wheel(wheelhouse, "demo", requires=["part"])
    for version in ("1.0", "2.0"):
        make_wheel(wheelhouse, "part", version)
    return index(wheelhouse)


class Site:
    """An index, a store, and environments whose pip installs through it."""

    def __init__(self, index: LocalIndex, make: EnvironmentFactory, top: Path, pip: str) -> None:
        self.index, self.store = index, top / "store"
        self._make, self._pip, self._number = make, pip, 0
        self.store.mkdir()

    def environment(self) -> Environment:
        self._number += 1
        return self._make(f"environment{self._number}", pip=self._pip)

    def install(
        self, environment: Environment, *arguments: str, **changes: str | None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(environment, "install", *arguments, **changes)

    def run(
        self, environment: Environment, *arguments: str, **changes: str | None
    ) -> subprocess.CompletedProcess[str]:
        variables = {"PIP_SHAREDCACHE_DIR": str(self.store), "PIP_NO_CACHE_DIR": "1"}
        env: dict[str, str | None] = {**self.index.variables, **variables, **changes}
        return run_as(None, environment.command(*arguments), env=env)


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    served: LocalIndex,
    environment: EnvironmentFactory,
    tmp_path: Path,
) -> Site:
    pip = getattr(request, "param", NEWEST_PIP)
    return Site(served, environment, tmp_path, pip)


@pytest.mark.parametrize("site", PIPS, indirect=True)
def test_pip_resolves_among_the_wheels_of_the_store(site: Site) -> None:
    first = site.environment()
    assert site.install(first, "demo").returncode == 0
    before = len(site.index.requests)
    second = site.environment()
    done = site.install(second, "demo", **OFFLINE)
    assert done.returncode == 0, done.stderr
    (summary,) = [line for line in done.stdout.splitlines() if line.startswith("Shared store:")]
    assert "2 of 2 distributions from" in summary
    assert "not downloaded" in summary
    assert len(site.index.requests) == before
    assert differences(snapshot(first.prefix), snapshot(second.prefix)) == []


@pytest.mark.parametrize("before", [True, False])
def test_the_newest_version_in_the_store_is_chosen(site: Site, before: bool) -> None:
    assert site.install(site.environment(), "part==1.0").returncode == 0
    site.index.clear()
    words = ["--offline", "install", "part"] if before else ["install", "part", "--offline"]
    done = site.run(site.environment(), *words)
    assert "Successfully installed part-1.0" in done.stdout, done.stderr
    assert site.index.requests == []


def test_what_is_missing_is_pips_error_and_one_line(site: Site) -> None:
    assert site.install(site.environment(), "part==1.0").returncode == 0
    site.index.clear()
    done = site.install(site.environment(), "demo", **OFFLINE)
    assert done.returncode == 1
    assert "ERROR: No matching distribution found for demo" in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Offline" in line]
    assert line == (
        f"WARNING: Offline: pip found only what is in {site.store} (wheels: 1); hint: without the "
        "setting offline, it asks its index"
    )
    assert site.index.requests == []


@pytest.mark.parametrize("words", [["./none"], ["-r", "none.txt"]], ids=str)
def test_what_is_wrong_in_itself_is_pips_error_alone(site: Site, words: list[str]) -> None:
    assert site.install(site.environment(), "part==1.0").returncode == 0
    done = site.install(site.environment(), *words, **OFFLINE)
    assert done.returncode == 1
    assert "Offline" not in done.stderr


@pytest.mark.parametrize("what", ["direct", "requirements", "find-links"])
def test_no_request_is_made_for_what_is_named_by_its_url(
    site: Site, tmp_path: Path, what: str
) -> None:
    assert site.install(site.environment(), "part==1.0").returncode == 0
    site.index.clear()
    file = f"{site.index.host}/files/part-2.0-py3-none-any.whl"
    lines = {"direct": f"part @ {file}", "find-links": f"--find-links {site.index.url}\npart==2.0"}
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(lines.get(what, ""))
    named = site.index.url if what == "requirements" else str(requirements)
    done = site.install(site.environment(), "-r", named, **OFFLINE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Offline: pip found only" in done.stderr
    assert site.index.requests == []


def test_directories_of_find_links_count(site: Site, wheelhouse: Path) -> None:
    assert site.install(site.environment(), "part==1.0").returncode == 0
    site.index.clear()
    done = site.install(site.environment(), "--find-links", str(wheelhouse), "demo", **OFFLINE)
    assert "Successfully installed demo-1.0 part-2.0" in done.stdout, done.stderr
    assert site.index.requests == []


@pytest.mark.parametrize("site", ["22.0.2"], indirect=True)
def test_pip_that_does_not_fit_asks_no_index(site: Site) -> None:
    site.index.clear()
    done = site.install(site.environment(), "part", **OFFLINE)
    assert done.returncode == 1
    assert "Installing without the shared store" in done.stderr
    assert site.index.requests == []


def test_no_store_is_no_reason_to_ask_the_index(site: Site, tmp_path: Path) -> None:
    site.index.clear()
    broken = tmp_path / "broken"
    broken.write_text("")
    done = site.install(site.environment(), "part", PIP_SHAREDCACHE_DIR=str(broken), **OFFLINE)
    assert done.returncode == 1
    assert "pip found nothing, since no store can be used (wheels: 0)" in done.stderr
    assert site.index.requests == []


@pytest.mark.parametrize("site", PIPS, indirect=True)
def test_version_control_is_refused_before_it_starts(
    site: Site, wheelhouse: Path, tmp_path: Path
) -> None:
    make_wheel(wheelhouse, "needy", requires=["other @ git+https://127.0.0.1:1/other.git"])
    assert site.install(site.environment(), "--no-deps", "needy").returncode == 0
    site.index.clear()
    started = tmp_path / "started"
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "hg", "svn", "bzr"):
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $*" >> {started}\nexit 1\n')
        (programs / name).chmod(0o755)
    path = f"{programs}:/usr/bin:/bin"
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("other @ hg+https://127.0.0.1:1/other\n")
    for words, url in (
        (["install", "other @ git+https://127.0.0.1:1/other.git"], "git+https://127.0.0.1:1/"),
        (["install", f"git+file://{tmp_path}/other@main"], "git+file:"),
        (["install", "-e", "git+ssh://git@127.0.0.1:1/other.git#egg=other"], "git+ssh://"),
        (["install", "-r", str(requirements)], "hg+https://127.0.0.1:1/other"),
        (["install", "needy"], "git+https://127.0.0.1:1/other.git"),
        (["download", "-d", str(tmp_path), "other @ git+https://127.0.0.1:1/o.git"], "git+https:"),
    ):
        done = site.run(site.environment(), *words, **OFFLINE, PATH=path)
        assert done.returncode == 1, words
        assert "Traceback" not in done.stderr, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        assert line.startswith(f"ERROR: Not fetched from version control: {url}"), line
        assert "the setting offline" in line
        assert not started.exists(), started.read_text()
    done = site.install(site.environment(), "other @ git+https://127.0.0.1:1/o.git", PATH=path)
    assert done.returncode == 1
    assert f"{programs}/git" in started.read_text()


@pytest.mark.parametrize("words", ["index versions part", "list --outdated", "search part"])
@pytest.mark.parametrize("how", ["option", "variable"])
def test_no_command_makes_a_request(site: Site, words: str, how: str) -> None:
    environment = site.environment()
    assert site.install(environment, "part==1.0").returncode == 0
    site.index.clear()
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": None, **(OFFLINE if how == "variable" else {})}
    option = ["--offline"] if how == "option" else []
    done = site.run(environment, *option, *words.split(), **settings)
    (line,) = done.stderr.splitlines()[:1]
    assert line.startswith("ERROR: The setting offline allows no request: http"), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert site.index.requests == []


def test_commands_without_a_request_run_as_ever(site: Site) -> None:
    environment = site.environment()
    assert site.install(environment, "part==1.0").returncode == 0
    site.index.clear()
    done = site.run(environment, "list", PIP_DISABLE_PIP_VERSION_CHECK=None, **OFFLINE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "part" in done.stdout
    assert site.index.requests == []


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_wheels_of_a_restored_store_are_found(site: Site, layout: str) -> None:
    """As `tar -m` and `cp -r` leave it: with other times."""
    environment = site.environment()
    made = site.run(environment, "store", "init", "--layout", layout, str(site.store))
    assert made.returncode == 0, made.stderr
    assert site.install(environment, "demo").returncode == 0
    copy = site.store.with_name("copy")
    subprocess.run(["cp", "-r", site.store, copy], check=True)
    site.index.clear()
    settings = {**OFFLINE, "PIP_SHAREDCACHE_DIR": str(copy)}
    done = site.run(site.environment(), "install", "demo", **settings)
    assert "Successfully installed demo-1.0" in done.stdout, done.stderr
    assert "WARNING" not in done.stderr
    assert site.index.requests == []
    verified = site.run(environment, "store", "verify", **settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr


#: Settings that are wrong beside offline, which the user asks for, or wants and misspells.
WRONG: dict[str, tuple[list[str], dict[str, str], str]] = {
    "variable": (["--offline"], {"PIP_SHAREDCACHE_LINK_MODE": "bogus"}, "link-mode = 'bogus'"),
    "option": (["--offline", "--sharedcache-link-mode", "bogus"], {}, "link-mode = 'bogus'"),
    "number": ([], {**OFFLINE, "PIP_SHAREDCACHE_PROCESSES": "999"}, "processes = '999'"),
    "directory": (["--offline"], {"PIP_SHAREDCACHE_DIR": "rel"}, "dir = 'rel'"),
    "itself": ([], {"PIP_SHAREDCACHE_OFFLINE": "maybe"}, "offline = 'maybe'"),
    "itself in a file": (["FILE", "offline = maybe\n"], {}, "offline = 'maybe'"),
    "file": (["FILE", "offline = yes\nlink-mode = bogus\n"], {}, "link-mode = 'bogus'"),
}


def _wrong(name: str, directory: Path) -> tuple[list[str], dict[str, str], str]:
    options, variables, what = WRONG[name]
    if options[:1] == ["FILE"]:
        file = directory / "wrong.conf"
        file.write_text(f"[sharedcache]\n{options[1]}")
        options, variables = [], {"PIP_CONFIG_FILE": str(file)}
    return options, variables, what


@pytest.mark.parametrize("way", ["command", "hook"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_beside_offline_makes_no_request(
    site: Site, tmp_path: Path, name: str, way: str
) -> None:
    one = site.environment()
    run_as(None, one.command("store", "enable", "--prefix", one.prefix), check=True)
    options, variables, what = _wrong(name, tmp_path)
    pip = one.command() if way == "command" else one.plain()
    direct = f"{site.index.host}/files/part-2.0-py3-none-any.whl"
    env = {**site.index.variables, "PIP_SHAREDCACHE_DIR": str(site.store), **variables}
    for words in (
        ["install", "part"],
        ["download", "-d", str(tmp_path / "files"), "part"],
        ["wheel", "-w", str(tmp_path / "files"), direct],
    ):
        site.index.clear()
        done = run_as(None, [*pip, *options, *words], env=env)
        assert (done.returncode, site.index.requests) == (2, []), done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"ERROR: sharedcache.{what} (")
    done = run_as(None, [*pip, *options, "index", "versions", "part"], env=env)
    assert (done.returncode, site.index.requests) == (1, []), done.stdout + done.stderr


def test_a_wrong_setting_stops_no_hooked_pip_that_may_make_requests(site: Site) -> None:
    one = site.environment()
    run_as(None, one.command("store", "enable", "--prefix", one.prefix), check=True)
    env = {**site.index.variables, "PIP_SHAREDCACHE_LINK_MODE": "bogus"}
    for said in ({}, {"PIP_SHAREDCACHE_OFFLINE": "no"}):
        argv = one.plain("install", "--force-reinstall", "part")
        done = run_as(None, argv, env={**env, **said}, check=True)
        assert "Installing without the shared store: sharedcache.link-mode" in done.stderr


@pytest.mark.parametrize("way", ["command", "hook"])
def test_isolated_does_not_lift_the_variable(site: Site, way: str) -> None:
    """A program that calls pip with --isolated must not make requests that its user forbids."""
    one = site.environment()
    run_as(None, one.command("store", "enable", "--prefix", one.prefix), check=True)
    pip = one.command() if way == "command" else one.plain()
    site.index.clear()
    words = ["--isolated", "install", "--index-url", site.index.url, "part"]
    done = run_as(None, [*pip, *words], env={**site.index.variables, **OFFLINE})
    assert (done.returncode, site.index.requests) == (1, []), done.stdout + done.stderr
    assert "No matching distribution found for part" in done.stderr


@pytest.mark.parametrize("way", ["command", "hook"])
@pytest.mark.parametrize("words", [["install"], ["download"], ["index", "versions"]], ids=str)
def test_switched_off_and_offline_makes_no_request_in_another_interpreter(
    site: Site, words: list[str], way: str
) -> None:
    """pip's own runner would start a pip there that knows nothing of offline."""
    one, other = site.environment(), site.environment()
    run_as(None, one.command("store", "enable", "--prefix", one.prefix), check=True)
    pip = one.command() if way == "command" else one.plain()
    there = ["--no-sharedcache", "--offline", "--python", str(other.python)]
    done = run_as(None, [*pip, *there, *words, "part"], env=site.index.variables)
    assert done.returncode == (1 if words[0] == "index" else 2), done.stdout + done.stderr
    assert "offline" in done.stderr
    assert site.index.requests == []
    run_as(None, [*pip, *there, "list"], env=site.index.variables, check=True)


@pytest.mark.parametrize(
    "gone", ["all", "pip_sharedcache", "pip_sharedcache/pip_adapter/__runner__.py"]
)
@pytest.mark.parametrize("said", ["variable", "file"])
def test_a_deleted_package_makes_no_request(
    site: Site, tmp_path: Path, said: str, gone: str
) -> None:
    """The hook of an environment stays, and plain pip would ask the index."""
    central, one = site.environment(), site.environment()
    run_as(None, central.command("store", "enable", "--prefix", one.prefix), check=True)
    place = central.prefix if gone == "all" else central.site_packages / gone
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    file = tmp_path / "offline.conf"
    file.write_text("[sharedcache]\noffline = yes\n")
    asked = OFFLINE if said == "variable" else {"PIP_CONFIG_FILE": str(file)}
    site.index.clear()
    for words in (["install", "part"], ["download", "-d", str(tmp_path), "part"]):
        done = run_as(None, one.plain(*words), env={**site.index.variables, **asked})
        assert (done.returncode, site.index.requests) == (2, []), done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("ERROR: No request is made, by the setting offline: ")
        assert line.endswith("__runner__.py cannot be read: No such file or directory")
    done = run_as(None, one.plain("list"), env={**site.index.variables, **asked}, check=True)
    assert done.stderr == ""
    done = run_as(None, one.plain("install", "part"), env=site.index.variables, check=True)
    assert "Successfully installed part" in done.stdout


@pytest.mark.parametrize("damage", ["model.py", "config/__init__.py", "pip_adapter/__runner__.py"])
@pytest.mark.parametrize("said", ["variable", "file"])
def test_a_damaged_package_makes_no_request_either(
    site: Site, tmp_path: Path, said: str, damage: str
) -> None:
    central, one = site.environment(), site.environment()
    run_as(None, central.command("store", "enable", "--prefix", one.prefix), check=True)
    damaged = central.site_packages / "pip_sharedcache" / damage
    if damage.endswith("__runner__.py"):
        damaged.write_text("def join(")
    else:
        damaged.unlink()
    file = tmp_path / "offline.conf"
    file.write_text("[sharedcache]\noffline = yes\n")
    asked = OFFLINE if said == "variable" else {"PIP_CONFIG_FILE": str(file)}
    site.index.clear()
    for words in (["install", "part"], ["download", "-d", str(tmp_path), "part"]):
        done = run_as(None, one.plain(*words), env={**site.index.variables, **asked})
        assert (done.returncode, site.index.requests) == (2, []), done.stdout + done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("ERROR: ")
        assert "damaged" in line
        assert "offline" in line
