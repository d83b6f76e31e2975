"""A store on the node's own disk is made where it is missing, and never where a disk is missing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, running_site
from support import probes
from support.accounts import Account, Accounts, run_as, start_as
from support.environments import Environment, EnvironmentFactory
from support.filesystems import mounted
from support.probes import needs
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, pytest.mark.pips, needs(probes.accounts)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as made:
        for name in ("alpha", "beta"):
            make_wheel(made.wheels, name, files={f"{name}/__init__.py": f"NAME = {name!r}\n" * 50})
        yield made


@pytest.fixture
def group(site: Site) -> Path:
    """The group's store, with alpha in it."""
    store = site.make_store(None)
    site.install(site.accounts.usera, site.environment(site.accounts.usera), store, "alpha")
    return store


@pytest.fixture
def scratch(site: Site) -> Path:
    """A node's disk: every user may make something there."""
    directory = site.directory(None) / "scratch"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


def _layers(near: Path, far: Path) -> Path:
    return Path(f"{near} backfill\n{far}")


def _install(
    site: Site, account: Account | None, layers: Path, *words: str
) -> tuple[Environment, str, str]:
    environment = site.environment(account)
    variables = {**site.settings(), "PIP_SHAREDCACHE_DIR": str(layers)}
    argv = environment.command("install", *words)
    done = run_as(account, argv, env=variables, check=True)
    return environment, done.stdout, done.stderr


def _wheels(store: Path) -> list[str]:
    return sorted(path.name for path in store.glob("wheels/??/*/*.whl"))


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_a_missing_near_store_is_made_for_its_user(
    site: Site, group: Path, scratch: Path, umask: int
) -> None:
    userb = site.accounts.userb
    near = scratch / "pip-store-userb"
    variables = {**site.settings(), "PIP_SHAREDCACHE_DIR": str(_layers(near, group))}
    argv = site.environment(userb).command("install", "alpha", "beta")
    done = run_as(userb, argv, env=variables, umask=umask, check=True)
    assert done.stderr == ""
    status = near.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (userb.uid, 0o700)
    assert (near / "CACHEDIR.TAG").is_file()
    assert _wheels(near) == ["alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl"]
    # The group's store could go: all is near.
    _, said, warned = _install(site, userb, Path(f"{near} backfill"), "alpha", "beta")
    assert (f"2 of 2 distributions from {near}" in said, warned) == (True, "")


def test_a_parent_of_the_user_alone_is_as_good(site: Site, group: Path) -> None:
    userb = site.accounts.userb
    near = site.directory(userb) / "near"
    _, _, warned = _install(site, userb, _layers(near, group), "alpha")
    assert (_wheels(near), warned) == (["alpha-1.0-py3-none-any.whl"], "")


@pytest.mark.parametrize("parent", ["missing", "root's", "other's"])
def test_elsewhere_it_is_not_made_and_one_line_says_so(
    site: Site, group: Path, scratch: Path, parent: str
) -> None:
    userb = site.accounts.userb
    above = scratch / "below"
    if parent != "missing":
        above.mkdir()
        above.chmod(0o777 if parent == "other's" else 0o755)
        if parent == "other's":
            os.chown(above, site.accounts.userc.uid, site.accounts.userc.gid)
    near = above / "near"
    _, said, warned = _install(site, userb, _layers(near, group), "alpha")
    assert not near.exists()
    assert "1 of 1 distributions" in said
    (line,) = warned.splitlines()
    assert line.startswith(f"WARNING: Installing without one of the shared stores: {near} does not")


def test_processes_of_a_job_make_it_together(site: Site, group: Path, scratch: Path) -> None:
    userb = site.accounts.userb
    near = scratch / "pip-store-userb"
    variables = {**site.settings(), "PIP_SHAREDCACHE_DIR": str(_layers(near, group))}
    environments = [site.environment(userb) for _ in range(4)]
    started = [
        start_as(userb, one.command("install", "alpha"), env=variables) for one in environments
    ]
    for process in started:
        said, warned = process.communicate(timeout=300)
        assert (process.returncode, warned) == (0, ""), said
    assert _wheels(near) == ["alpha-1.0-py3-none-any.whl"]


def test_store_commands_and_doctor_do_not_make_it(site: Site, group: Path, scratch: Path) -> None:
    userb, near = site.accounts.userb, scratch / "pip-store-userb"
    for layers in (_layers(near, group), Path(f"{near} backfill")):
        variables = {**site.settings(), "PIP_SHAREDCACHE_DIR": str(layers)}
        for words in (["info"], ["list"], ["doctor", "--json"]):
            argv = site.template.command("store", *words)
            done = run_as(userb, argv, env=variables)
            assert not near.exists(), words
            if words[0] == "doctor":
                found = [one["name"] for one in json.loads(done.stdout)["findings"]]
                assert not {"missing", "layer"} & set(found)


@pytest.mark.parametrize("by", ["stranger", "root"])
def test_who_makes_it_first_is_not_trusted_unless_it_is_root(
    site: Site, group: Path, scratch: Path, by: str
) -> None:
    """The name can be guessed, and every user may make it."""
    userb = site.accounts.userb
    maker = site.accounts.userc if by == "stranger" else None
    near = scratch / "pip-store-userb"
    argv = site.template.command("store", "init", near)
    run_as(maker, argv, env=site.settings(), check=True)
    site.install(maker, site.environment(maker), near, "alpha")
    _, said, _ = _install(site, userb, Path(f"{near} backfill"), "alpha")
    refused = f"userc is not trusted in {scratch}, where every user may make a store of this name"
    assert (refused in said) == (by == "stranger"), said
    assert ("a checked copy of alpha" in said) == (by == "stranger")


# -- a file system that is not there


def _unmounted(
    base: Path, fstab: str, script: list[str], env: dict[str, str | None]
) -> subprocess.CompletedProcess[str]:
    """Run a command where /etc/fstab has another text."""
    (base / "fstab").write_text(fstab)
    text = f'mount --bind {base}/fstab /etc/fstab && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", text, "sh", *script]
    return run_as(None, argv, env=env)


@pytest.fixture
def offline_env(shared_tmp: Path) -> dict[str, str | None]:
    from support import offline

    make_wheel(shared_tmp / "wheels")
    return offline(shared_tmp / "wheels", None)


@needs(probes.root)
@pytest.mark.parametrize("which", ["above", "itself", "link", "link to a link"])
def test_where_fstab_names_a_mount_point_the_hint_is_to_mount_it(
    which: str,
    environment: EnvironmentFactory,
    shared_tmp: Path,
    offline_env: dict[str, str | None],
) -> None:
    point = shared_tmp / "lab server"
    point.mkdir()
    store = point / "a" / "store" if which == "above" else point
    if which.startswith("link"):
        (shared_tmp / "link").symlink_to(point)
        (shared_tmp / "other").symlink_to("link")
        store = shared_tmp / ("link" if which == "link" else "other") / "store"
    line = f"server:/lab {str(point).replace(' ', chr(92) + '040')} nfs defaults 0 0\n"
    env = {**offline_env, "PIP_SHAREDCACHE_DIR": str(store)}
    one = environment()
    for words, status in ((["install", "demo"], 0), (["store", "list"], 2), (["store", "info"], 2)):
        done = _unmounted(shared_tmp, line, one.command(*words), env)
        assert done.returncode == status, done.stderr
        (said,) = done.stderr.splitlines()
        assert f"nothing is mounted at {point}; hint: mount '{point}'" in said
        assert "store init" not in said
    done = _unmounted(shared_tmp, line, one.command("store", "doctor"), env)
    assert "store init" not in done.stdout
    assert f"nothing is mounted at {point}" in done.stdout
    assert list(point.iterdir()) == []


@needs(probes.root)
@pytest.mark.parametrize("policy", ["private", "backfill", ""])
def test_a_mount_point_with_a_slash_or_as_a_near_store_is_one(
    policy: str,
    environment: EnvironmentFactory,
    shared_tmp: Path,
    offline_env: dict[str, str | None],
) -> None:
    point = shared_tmp / "lab"
    point.mkdir(mode=0o755)
    env = {**offline_env, "PIP_SHAREDCACHE_DIR": f"{point} {policy}".strip()}
    for line in (f"server:/lab {point} nfs defaults 0 0\n", f"server:/lab {point}/ nfs rw 0 0\n"):
        for words, status in (
            (["install", "--force-reinstall", "demo"], 0),
            (["store", "info"], 2),
        ):
            done = _unmounted(shared_tmp, line, environment("one").command(*words), env)
            assert done.returncode == status, done.stderr
            (said,) = done.stderr.splitlines()
            assert f"{point} is empty, and nothing is mounted at {point}; hint: mount" in said
            assert list(point.iterdir()) == []


@needs(probes.root, probes.tmpfs)
def test_what_is_mounted_is_no_reason(
    environment: EnvironmentFactory, shared_tmp: Path, offline_env: dict[str, str | None]
) -> None:
    with mounted("tmpfs", shared_tmp, size_mb=16) as point:
        (shared_tmp / "link").symlink_to(point)
        argv = environment().command("install", "demo")
        for named in (point, shared_tmp / "link"):
            env = {**offline_env, "PIP_SHAREDCACHE_DIR": str(named / "store")}
            line = f"none {named} tmpfs defaults 0 0\n"
            done = _unmounted(shared_tmp, line, argv, env)
            (said,) = done.stderr.splitlines()
            assert f"hint: pip-sharedcache store init {named}/store" in said


@needs(probes.root)
def test_an_empty_directory_of_root_may_be_a_mount_point(
    environment: EnvironmentFactory, shared_tmp: Path, offline_env: dict[str, str | None]
) -> None:
    point = shared_tmp / "lab"
    point.mkdir()
    env = {**offline_env, "PIP_SHAREDCACHE_DIR": str(point / "store")}
    argv = environment().command("install", "demo")
    (said,) = run_as(None, argv, env=env, check=True).stderr.splitlines()
    assert f"{point / 'store'} does not exist, and {point} is empty" in said
    assert f"store init {point}" not in said, "no command to copy"
    (point / "other").mkdir()
    (said,) = run_as(None, argv, env=env, check=True).stderr.splitlines()
    assert f"hint: pip-sharedcache store init {point}/store" in said


@needs(probes.root)
@pytest.mark.parametrize("policy", ["backfill", "private"])
def test_no_near_store_is_made_where_nothing_is_mounted(
    policy: str,
    environment: EnvironmentFactory,
    shared_tmp: Path,
    offline_env: dict[str, str | None],
) -> None:
    point = shared_tmp / "node"
    point.mkdir()
    line = f"/dev/sdx {point} ext4 defaults 0 0\n"
    env = {**offline_env, "PIP_SHAREDCACHE_DIR": f"{point / 'near'} {policy}"}
    one = environment()
    for words in (["install", "demo"], ["store", "info"]):
        done = _unmounted(shared_tmp, line, one.command(*words), env)
        (said,) = done.stderr.splitlines()
        assert f"nothing is mounted at {point}; hint: mount {point}" in said
        assert os.listdir(point) == []


@needs(probes.root)
@pytest.mark.parametrize("command", [["setup"], ["setup", "--dry-run"], ["init"]])
def test_no_store_is_set_up_where_nothing_is_mounted(
    command: list[str],
    environment: EnvironmentFactory,
    shared_tmp: Path,
    offline_env: dict[str, str | None],
) -> None:
    point = shared_tmp / "node"
    point.mkdir()
    line = f"/dev/sdx {point} ext4 defaults 0 0\n"
    one = environment()
    for store in (point, point / "below" / "store"):
        argv = one.command("store", *command, store)
        done = _unmounted(shared_tmp, line, argv, offline_env)
        refused = f"{store} is not made: nothing is mounted at {point}; hint: mount {point}"
        assert (done.returncode, done.stderr) == (2, f"ERROR: {refused}\n")
        assert os.listdir(point) == []
