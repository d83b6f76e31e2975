"""A store that does not answer, clocks that disagree, accounts and homes that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import offline
from support.accounts import Account, Accounts, home_of, run_as
from support.damage import damage
from support.environments import Environment, EnvironmentFactory, make_environment
from support.faults import faults_of_distribution, faults_of_store, leftovers, visible_entries
from support.filesystems import mounted, overlaid
from support.fuse import silent
from support.probes import accounts as accounts_probe
from support.probes import fuse, needs, overlays, tmpfs
from support.wheels import digest, make_wheel

INFO = "demo-1.0.dist-info"
HOURS = 3600
#: Runs at another time of day, which Python's own clocks do not know of.
CLOCK = """
import os, time
_now, _ahead = time.time, int(os.environ["TESTS_SECONDS_AHEAD"])
time.time = lambda: _now() + _ahead
"""


@pytest.fixture
def wheels(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels").parent


def _settings(wheels: Path, store: Path | None, **others: str | None) -> dict[str, str | None]:
    return offline(wheels, store, **others)


# -- a store that hangs


@pytest.mark.filesystem
@needs(fuse)
@pytest.mark.parametrize("private", [False, True], ids=["named", "private"])
def test_store_that_never_answers_is_done_without_after_a_while(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path, private: bool
) -> None:
    one, point = environment(), tmp_path / "away"
    point.mkdir()
    with silent(point):
        if private:
            env = _settings(wheels, None, XDG_CACHE_HOME=str(point))
        else:
            env = _settings(wheels, point / "pip-sharedcache")
        # Its end is waited for, and that of its output: what is left behind must not hold it open.
        result = run_as(None, one.command("install", "demo"), env=env, timeout=60)

    assert result.returncode == 0, result.stderr
    (said,) = result.stderr.splitlines()
    assert said.startswith("WARNING: Installing without the shared store:"), said
    assert f"{point / 'pip-sharedcache'} does not answer for 10 seconds" in said
    assert not faults_of_distribution(one.site_packages, INFO)


@pytest.mark.filesystem
@needs(fuse)
@pytest.mark.parametrize("command", ["info", "list", "gc"])
def test_commands_on_a_store_that_never_answers_say_so(
    command: str, environment: EnvironmentFactory, tmp_path: Path
) -> None:
    one, point = environment(), tmp_path / "away"
    point.mkdir()
    with silent(point):
        env = _settings(tmp_path, point / "store")
        result = run_as(None, one.command("store", command), env=env, timeout=60)

    assert result.returncode == 2, result.stdout + result.stderr
    assert "does not answer for 10 seconds" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


# -- mounts


@pytest.mark.filesystem
@needs(overlays)
def test_damaged_entry_in_a_lower_layer_gets_a_sound_one_beside_it(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    """A container's image with a store in it: directories of the image cannot be renamed."""
    one, image = environment(), tmp_path / "image"
    image.mkdir()
    run_as(None, one.command("install", "demo"), env=_settings(wheels, image), check=True)
    (entry,) = visible_entries(image)
    damage(entry / "files" / "demo" / "__init__.py", "truncated", tmp_path / "outside")
    with mounted("tmpfs", tmp_path) as above, overlaid(image, above) as store:
        argv = one.command("install", "--force-reinstall", "demo")
        result = run_as(None, argv, env=_settings(wheels, store))
        assert result.returncode == 0, result.stderr
        assert "; a sound one was published beside it as" in result.stderr
        assert not faults_of_distribution(one.site_packages, INFO)
        assert len(visible_entries(store)) == 2
        result = run_as(None, argv, env=_settings(wheels, store), check=True)
        assert "1 of 1 distributions" in result.stdout
        assert not faults_of_distribution(one.site_packages, INFO)


@pytest.mark.filesystem
@needs(tmpfs)
def test_no_symlinks_into_a_store_from_which_no_library_can_be_loaded(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one = environment()
    with mounted("tmpfs", tmp_path, options="noexec") as store:
        env = _settings(wheels, store, PIP_SHAREDCACHE_LINK_MODE="symlink")
        result = run_as(None, one.command("install", "demo"), env=env, check=True)
        assert (
            "no symlink here: libraries cannot be loaded from a file system that is mounted noexec"
            in result.stdout
        )
        assert not [path for path in one.site_packages.rglob("*") if path.is_symlink()]
        assert not faults_of_distribution(one.site_packages, INFO)
        doctor = run_as(None, one.command("store", "doctor"), env=env)
        assert doctor.returncode == 1
        assert "link-mode = symlink is asked for" in doctor.stdout
        assert "mounted noexec" in doctor.stdout


# -- accounts and homes


@pytest.fixture
def user(accounts: Accounts, shared_tmp: Path) -> Account:
    """Whose home lies in a directory that everybody may look into."""
    home_of(accounts.usera, shared_tmp)
    return accounts.usera


@pytest.fixture
def of_user(user: Account, shared_tmp: Path, public_python: Path) -> Environment:
    return _environment_of(user, shared_tmp / "environment", public_python)


def _environment_of(account: Account, path: Path, python: Path) -> Environment:
    environment = make_environment(path, python=python)
    for directory, _, files in os.walk(environment.prefix):
        for inside in [directory, *(os.path.join(directory, name) for name in files)]:
            os.chown(inside, account.uid, account.gid, follow_symlinks=False)
    return environment


def _group_store(environment: Environment, shared_tmp: Path, accounts: Accounts) -> Path:
    store = shared_tmp / "store"
    init = environment.command(
        "store", "init", "--layout", "tree", store, "--group", accounts.group
    )
    run_as(None, init, check=True)
    return store


@pytest.mark.multiuser
@needs(accounts_probe)
def test_publisher_that_the_name_service_does_not_know_is_named_by_number(
    user: Account,
    of_user: Environment,
    wheels: Path,
    shared_tmp: Path,
    accounts: Accounts,
    public_python: Path,
) -> None:
    """An account of another host, in the group there, that this host has never heard of."""
    stranger = Account("#54321", 54321, accounts.group_gid)
    store = _group_store(of_user, shared_tmp, accounts)
    theirs = _environment_of(stranger, shared_tmp / "theirs", public_python)
    identity = [f"--reuid={stranger.uid}", f"--regid={stranger.gid}", "--clear-groups"]
    env = _settings(wheels, store)
    as_stranger = ["setpriv", *identity, "--", *theirs.command("install", "demo")]
    run_as(None, as_stranger, env={**env, "HOME": "/nonexistent"}, check=True)
    (entry,) = visible_entries(store)
    assert entry.lstat().st_uid == stranger.uid

    # In a store of the group it is believed, known or not; a narrowed trust names it.
    result = run_as(user, of_user.command("install", "demo"), env=env, check=True)
    assert "1 of 1 distributions" in result.stdout
    assert not result.stderr
    assert not faults_of_distribution(of_user.site_packages, INFO)
    env["PIP_SHAREDCACHE_TRUST"] = user.name
    again = of_user.command("install", "--force-reinstall", "demo")
    result = run_as(user, again, env=env, check=True)
    assert "uid 54321 is not named in the setting trust" in result.stdout, result.stderr
    assert "Traceback" not in result.stderr
    assert not faults_of_distribution(of_user.site_packages, INFO)
    assert not faults_of_store(store)


@pytest.mark.multiuser
@needs(accounts_probe)
@pytest.mark.parametrize("home", ["missing", "read-only", "none", "of somebody else"])
@pytest.mark.parametrize("shared", [True, False], ids=["group-store", "no-store-named"])
def test_home_that_cannot_be_used(
    home: str,
    shared: bool,
    user: Account,
    of_user: Environment,
    wheels: Path,
    shared_tmp: Path,
    accounts: Accounts,
) -> None:
    """As daemons, batch jobs and sudo without -H have it."""
    place = {
        "missing": shared_tmp / "nothing" / "there",
        "read-only": shared_tmp / "of-root",
        "none": None,
        "of somebody else": home_of(accounts.userb, shared_tmp),
    }[home]
    if home == "read-only":
        (shared_tmp / "of-root").mkdir(mode=0o755)
    before = _everything(place)
    store = _group_store(of_user, shared_tmp, accounts) if shared else None
    env = _settings(wheels, store, HOME=None if place is None else str(place))

    result = run_as(user, of_user.command("install", "demo"), env=env)

    assert result.returncode == 0, result.stderr
    assert "Successfully installed demo-1.0" in result.stdout
    assert "Traceback" not in result.stderr
    assert not faults_of_distribution(of_user.site_packages, INFO)
    assert _everything(place) == before
    if store is not None:
        assert not result.stderr
        assert len(visible_entries(store)) == 1
    elif place is not None:
        (said,) = result.stderr.splitlines()
        assert said.startswith("WARNING: Installing without the shared store:"), said
        assert str(place) in said


@pytest.mark.multiuser
@needs(accounts_probe)
def test_root_with_the_home_of_a_user_leaves_nothing_of_roots_there(
    user: Account, environment: EnvironmentFactory, wheels: Path, shared_tmp: Path
) -> None:
    """sudo keeps HOME where it is told to: a private store of root's there would lock the user
    out of it."""
    one, home = environment(), shared_tmp / user.name
    env = _settings(wheels, None, HOME=str(home), SUDO_UID=str(user.uid))
    result = run_as(None, one.command("install", "demo"), env=env)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert not faults_of_distribution(one.site_packages, INFO)
    owners = {path.lstat().st_uid for path in home.rglob("*")}
    assert 0 not in owners, result.stderr
    (said,) = result.stderr.splitlines()
    assert said.startswith("WARNING: Installing without the shared store:"), said


def _everything(place: Path | None) -> list[Path]:
    return [] if place is None or not place.exists() else sorted(place.rglob("*"))


# -- clocks


@pytest.mark.parametrize("ahead", [7 * HOURS, -7 * HOURS])
def test_clocks_that_are_hours_apart_damage_nothing(
    ahead: int, environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    """Another host, whose clock is wrong, publishes; here it is installed, and the other way."""
    one, other, store = environment("one"), environment("other"), tmp_path / "store"
    store.mkdir(mode=0o755)
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    right = _settings(wheels, store)
    wrong = {**right, "PYTHONPATH": str(tmp_path / "clock"), "TESTS_SECONDS_AHEAD": str(ahead)}
    probe = [one.python, "-c", "import time; print(time.time())"]
    asked = [float(run_as(None, probe, env=env, check=True).stdout) for env in (right, wrong)]
    assert abs(asked[1] - asked[0] - ahead) < HOURS

    run_as(None, one.command("install", "demo"), env=wrong, check=True)
    for env in (right, wrong):
        argv = other.command("install", "--force-reinstall", "demo")
        result = run_as(None, argv, env=env, check=True)
        assert "1 of 1 distributions" in result.stdout
        assert not result.stderr
        assert not faults_of_distribution(other.site_packages, INFO)
        program = "import demo, demo.part; print(demo.__cached__, demo.part.ANSWER)"
        said = run_as(None, [other.python, "-v", "-c", program], check=True)
        assert "42" in said.stdout
        # A time that does not fit would have it compiled again, at every start for others.
        assert "# wrote" not in said.stderr and "bytecode is stale" not in said.stderr
    # What was used today is not taken away, whoever's clock it was used by.
    run_as(None, one.command("store", "gc", "--older-than", "1d"), env=wrong, check=True)
    assert len(visible_entries(store)) == 1
    # An installation under way has its hour, even if it is chosen by a clock that is ahead.
    run_as(None, one.command("store", "gc", "--older-than", "1h"), env=wrong, check=True)
    entries = [*visible_entries(store), *visible_entries(store, "bytecode")]
    assert len([*entries, *leftovers(store)]) == 2
    assert not faults_of_store(store)


@pytest.mark.parametrize("ahead", [7 * HOURS, -7 * HOURS])
def test_wrong_clock_does_not_take_away_what_another_host_is_staging(
    ahead: int, environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    one, store = environment(), tmp_path / "store"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    store.mkdir(mode=0o755)
    (wheel,) = wheels.iterdir()
    theirs = store / "wheels" / digest(wheel)[:2] / ".new-elsewhere-1234-0badcafe"
    theirs.mkdir(parents=True)
    env = {"PYTHONPATH": str(tmp_path / "clock"), "TESTS_SECONDS_AHEAD": str(ahead)}
    run_as(None, one.command("install", "demo"), env=_settings(wheels, store, **env), check=True)
    assert leftovers(store) == [theirs]
    assert len(visible_entries(store)) == 1


# -- limits of the process


def test_install_with_few_descriptors_is_pips_and_says_one_line(
    environment: EnvironmentFactory, wheels: Path, tmp_path: Path
) -> None:
    """pip itself needs few; the store and its worker processes would need more."""
    one, few = environment(), ["prlimit", "--nofile=16"]
    env = _settings(wheels, tmp_path / "store")

    result = run_as(None, [*few, *one.command("install", "demo")], env=env)

    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert "may not open 48 more files" in line
    assert not faults_of_distribution(one.site_packages, INFO)
