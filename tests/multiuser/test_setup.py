"""`store setup`: from nothing to a store that every later command finds, by one command."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", "1.0")
        yield found


class Home:
    """A home directory of usera, in which nothing was set up yet."""

    def __init__(self, site: Site) -> None:
        self._site, self.path = site, site.directory(site.accounts.usera)
        self.own = self.path / ".cache" / "pip-sharedcache"
        self.configuration = self.path / ".config" / "pip" / "pip.conf"

    def run(self, *words: str | Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
        env = {
            **self._site.settings(),
            "PIP_CONFIG_FILE": None,
            "XDG_CACHE_HOME": None,
            "XDG_CONFIG_HOME": None,
            "VIRTUAL_ENV": None,
            "HOME": str(self.path),
            **changes,
        }
        command = self._site.template.command(*words)
        return run_as(self._site.accounts.usera, command, env=env, cwd=self.path)

    def environment(self, name: str, owner: Account | None = None) -> Path:
        """What looks like an environment of usera, or of ``owner``."""
        path = self.path / name
        path.mkdir(parents=True)
        (path / "pyvenv.cfg").write_text("")
        who = owner or self._site.accounts.usera
        os.chown(path, who.uid, who.gid)
        return path

    def store(self) -> str:
        """The store that a later command finds."""
        done = self.run("store", "--json", "info")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["store"])


@pytest.fixture
def home(site: Site) -> Home:
    return Home(site)


def test_without_a_directory_a_user_has_their_own_store(home: Home) -> None:
    done = home.run("store", "setup")
    assert done.returncode == 0, done.stderr
    assert f"Made {home.own} (layout " in done.stdout
    assert "No setting is needed: you find your own store" in done.stdout
    assert done.stdout.splitlines()[-1] == "Next: pip-sharedcache install REQUIREMENT"
    assert not home.configuration.exists()
    assert home.store() == str(home.own)
    done = home.run("install", "--target", home.path / "library", "alpha")
    assert f"distributions from {home.own}" in done.stdout


def test_a_directory_is_named_in_the_users_configuration(home: Home) -> None:
    store = home.path / "a store"
    done = home.run("store", "setup", "--group", "pkgshare", store)
    assert done.returncode == 0, done.stderr
    assert "for the members of pkgshare." in done.stdout
    command = f"pip config --user set sharedcache.dir '{store}'"
    assert f"Wrote {home.configuration}: {command}" in done.stdout
    assert f"\nEach other member of pkgshare types: {command}\n" in done.stdout
    assert home.store() == str(store)
    assert (store / "wheels" / "00").stat().st_mode & 0o7777 == 0o3775
    again = home.run("store", "setup", "--group", "pkgshare", store)
    assert again.returncode == 0, again.stderr
    assert f"No setting is needed: {home.configuration} names it already." in again.stdout
    assert f"Each other member of pkgshare types: {command}\n" in again.stdout


def test_nothing_is_made_where_another_store_is_named(home: Home) -> None:
    home.run("store", "setup", home.path / "first")
    done = home.run("store", "setup", home.path / "second")
    assert done.returncode == 2
    assert f"{home.configuration} names another store: {home.path / 'first'}" in done.stderr
    assert not (home.path / "second").exists()
    assert home.store() == str(home.path / "first")


def test_a_group_needs_a_directory(home: Home) -> None:
    done = home.run("store", "setup", "--group", "pkgshare")
    assert done.returncode == 2
    assert "hint: pip-sharedcache store setup --group pkgshare DIR" in done.stderr


def test_dry_run_prints_the_plan_and_changes_nothing(home: Home) -> None:
    store = home.path / "store"
    done = home.run("store", "setup", "--dry-run", store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"Would make {store}, for you.",
        f"Would run: pip config --user set sharedcache.dir {store}",
    ]
    assert sorted(os.listdir(home.path)) == []


def test_dry_run_prints_what_the_run_prints_of_the_place(home: Home) -> None:
    above = home.path / "open"
    above.mkdir()
    above.chmod(0o777)
    home.environment(".venv")
    for store in (above / "a" / "store", above / "store"):
        planned = home.run("store", "setup", "--dry-run", store, PIP_CONFIG_FILE=os.devnull)
        home.run("store", "init", store)
        done = home.run("store", "setup", store)
        again = home.run("store", "setup", "--dry-run", store)
        assert done.returncode == 0, done.stderr
        assert f"WARNING: Others can replace the store: {above}: others can " in planned.stderr
        assert planned.stderr == again.stderr == done.stderr
        (line,) = [line for line in done.stdout.splitlines() if "store enable" in line]
        assert line.endswith(f" --python {home.path / '.venv'}")
        assert line in planned.stdout.splitlines()
        assert line in again.stdout.splitlines()
        home.configuration.unlink()


def test_environments_that_it_finds_are_named(site: Site, home: Home) -> None:
    for name in (".venv", ".virtualenvs/one two"):
        home.environment(name)
    listed = home.path / ".conda" / "environments.txt"
    listed.parent.mkdir()
    listed.write_text(f"{home.path / 'gone'}\n")
    done = home.run("store", "--json", "setup")
    named = json.loads(done.stdout)["environments"]
    assert named == [str(home.path / ".venv"), str(home.path / ".virtualenvs" / "one two")]
    done = home.run("store", "setup")
    enable = "To let its own pip use the store: pip-sharedcache store enable --python"
    assert f"{enable} '{home.path / '.virtualenvs' / 'one two'}'" in done.stdout


def test_environments_of_others_are_not_named(site: Site, home: Home) -> None:
    """Their owners choose what the command that is named would run."""
    own = home.environment(".venv")
    userb = site.accounts.userb
    active = home.environment("theirs", userb)
    home.environment("env", userb)
    (home.path / "venv").symlink_to(own)
    os.chown(home.path / "venv", userb.uid, userb.gid, follow_symlinks=False)
    variables = {"VIRTUAL_ENV": str(active)}
    done = home.run("store", "--json", "setup", "--dry-run", **variables)
    assert json.loads(done.stdout)["environments"] == [str(own)], done.stderr
    done = home.run("store", "setup", "--dry-run", **variables)
    assert [line for line in done.stdout.splitlines() if "store enable" in line] == [
        f"To let its own pip use the store: pip-sharedcache store enable --python {own}"
    ]


@pytest.mark.parametrize("command", ["setup", "init"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a:b", "':' and line breaks separate the stores"),
        ("a\nb", "':' and line breaks separate the stores"),
        ("a\rb", "':' and line breaks separate the stores"),
        ("blank ", "a blank at the end is not read"),
        ("p read-only", "the last word, read-only, is read as a policy"),
        ("my private", "the last word, private, is read as a policy"),
        ("my Backfill", "the last word, Backfill, is read as a policy"),
        ("a\udce4", "the name is not UTF-8"),
    ],
)
def test_a_directory_that_no_setting_can_name_is_not_made(
    home: Home, command: str, name: str, why: str
) -> None:
    done = home.run("store", command, home.path / name)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f" is not made: the setting dir cannot name it: {why}" in line
    assert line.endswith("hint: name another directory")
    assert os.listdir(home.path) == []


@pytest.mark.parametrize("name", ["private", "a  b", " a", "read-only/x", "\u00e4 #;%(x)s"])
def test_an_unusual_directory_is_set_up_and_found(home: Home, name: str) -> None:
    done = home.run("store", "setup", home.path / name)
    assert done.returncode == 0, done.stderr
    assert home.store() == str(home.path / name)


@pytest.mark.parametrize(
    "name", ["/", "home", "file", "file/x", "/usr/x", "link", "a:b", "group", "root's"]
)
def test_dry_run_refuses_what_the_run_refuses(site: Site, home: Home, name: str) -> None:
    paths = {"home": home.path, "root's": site.directory(None)}
    directory = paths.get(name, home.path / name)
    (home.path / "file").touch()
    (home.path / "link").symlink_to(site.directory(site.accounts.usera))
    words = ["--group", "root"] if name == "group" else []
    planned = home.run("store", "setup", "--dry-run", *words, directory)
    done = home.run("store", "setup", *words, directory)
    assert (planned.returncode, planned.stdout, planned.stderr) == (2, "", done.stderr)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(directory) in line
    assert sorted(os.listdir(home.path)) == ["file", "link"]


@pytest.mark.parametrize("which", ["directory", "file", "no file"])
def test_a_configuration_that_cannot_be_written_is_named_with_the_reason(
    site: Site, home: Home, which: str
) -> None:
    store, configuration = site.directory(site.accounts.usera) / "store", home.configuration
    above, changes = home.path / ".config", {}
    if which == "directory":
        home.path.chmod(0o555)
        os.chown(home.path, 0, 0)
        why = f"{configuration} cannot be written: {above}: Permission denied"
    elif which == "file":
        configuration.parent.mkdir(parents=True)
        configuration.write_text("[global]\ntimeout = 60\n")
        why = f"{configuration} cannot be written: Permission denied"
    else:
        changes["PIP_CONFIG_FILE"] = os.devnull
        why = "pip uses no configuration file, since PIP_CONFIG_FILE is /dev/null"
    done = home.run("store", "setup", store, **changes)
    assert done.returncode == 2
    command = f"pip config --user set sharedcache.dir {store}"
    assert done.stderr == (
        f"ERROR: {store} is ready, but sharedcache.dir is not set: {why}; hint: repair this and "
        f"type: {command}; or, without a file: export PIP_SHAREDCACHE_DIR={store}\n"
    )


def test_a_private_store_that_is_there_keeps_its_layout(home: Home) -> None:
    installed = home.run("install", "--target", home.path / "files", "alpha")
    assert installed.returncode == 0, installed.stderr
    before = json.loads(home.run("store", "info", "--json").stdout)["layout"]
    entries = sorted(path.name for path in home.own.glob("wheels/*/*"))
    for options in (["--dry-run"], [], []):
        done = home.run("store", "setup", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{home.own} is there already"), done.stdout
        assert "Made" not in done.stdout
    assert json.loads(home.run("store", "info", "--json").stdout)["layout"] == before
    assert sorted(path.name for path in home.own.glob("wheels/*/*")) == entries


def test_user_who_may_not_change_the_file_for_all_gets_a_way_beside_it(home: Home) -> None:
    file = home.path / "pip.conf"
    file.write_text("[sharedcache]\ndir = /srv/of-all\n", encoding="ascii")
    file.chmod(0o444)
    own = home.path / "own"
    done = home.run("store", "setup", own, PIP_CONFIG_FILE=str(file))
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"; hint: use that one, or pip-sharedcache store init {own} && "
        f"pip config --user set sharedcache.dir {own}\n"
    )


def test_a_variable_that_names_another_store_is_to_be_unset(home: Home) -> None:
    done = home.run("store", "setup", PIP_SHAREDCACHE_DIR=str(home.path / "other"))
    assert done.returncode == 2
    assert done.stderr.endswith("; hint: set up that one, or unset PIP_SHAREDCACHE_DIR\n")


def test_no_mode_helps_in_a_directory_of_another_user(site: Site) -> None:
    above = site.directory(site.accounts.usera)
    command = site.template.command("store", "init", above / "store")
    done = run_as(None, command, env=site.settings())
    assert done.returncode == 0
    who = site.accounts.usera.name
    assert f"{above}: {who} can rename files in this directory" in done.stderr
    assert "hint: name a directory of root, or of yours" in done.stderr
