"""What sudo carries along: root runs, and a user has chosen variables, links and files.

usera's own store holds an evil alpha that he published. Root may be led there, and still ends up
with what plain pip would have made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from multiuser.test_attacks import assert_as_plain, edited_source, pinned, swapped_wheel
from multiuser.test_attacks_around import publish, usera_acts
from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import probes, slices
from support.accounts import Accounts, run_as, start_as, stop

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@contextmanager
def _command_line_that_says(site: Site, text: str) -> Iterator[Path]:
    """A file that belongs to root, that only root may write, and that says what usera wants: the
    command line of a program that he may run and not read (proc_pid_cmdline(5))."""
    program = site.directory() / "sleep"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    program.chmod(0o711)
    name = f"{text}\n#"
    running = start_as(
        site.accounts.usera,
        ["bash", "-c", 'echo ready; exec -a "$0" "$1" 600', name, program],
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    path = Path(f"/proc/{running.pid}/cmdline")
    while not path.read_text().startswith(text):
        assert running.poll() is None
    assert (path.stat().st_uid, path.stat().st_mode & 0o022) == (0, 0), "as if it were root's"
    try:
        yield path
    finally:
        stop(running)


@pytest.mark.parametrize("hashes", [False, True], ids=["", "require-hashes"])
@pytest.mark.parametrize("way", ["PIP_CONFIG_FILE", "HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"])
def test_no_configuration_that_a_user_chose_counts_as_roots(
    site: Site, way: str, hashes: bool
) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    entry = publish(site, usera, store)
    with usera_acts(site):
        edited_source(entry)
    environment = site.environment(None)
    top = site.directory(usera)
    with _command_line_that_says(site, f"[sharedcache]\ndir = {store}") as said:
        variables: dict[str, str | None] = {"PIP_CONFIG_FILE": None}
        if way == "PIP_CONFIG_FILE":
            variables[way] = str(said)
        else:
            below = top / ("pip" if way != "HOME" else ".config/pip")
            with usera_acts(site):
                below.mkdir(parents=True)
                (below / "pip.conf").symlink_to(said)
            variables[way] = str(top)
        env = {**site.settings(), "HOME": str(top), **variables}
        arguments = pinned(site) if hashes else ["alpha"]
        done = run_as(None, environment.command("install", *arguments), env=env, check=True)
    assert str(store) in done.stdout, "it is used, and not believed"
    assert_as_plain(site, environment)


FLIP = """
import os, sys
link, one, other = sys.argv[1:]
print("ready", flush=True)
while True:
    for target in (one, other):
        os.symlink(target, link + ".new")
        os.rename(link + ".new", link)
"""

OPENS = """
import pathlib, sys
from pip_sharedcache import store as stores
from pip_sharedcache.errors import StoreUnusable
path = pathlib.Path(sys.argv[1])
opened = believed = 0
for _ in range(int(sys.argv[3])):
    try:
        store = stores.Store.open(path, private=True)
    except StoreUnusable:
        continue
    opened += 1
    believed += store.trust.trusts(int(sys.argv[2]))
print(opened, believed)
"""


@contextmanager
def _flipping(site: Site, link: Path, one: Path, other: Path) -> Iterator[None]:
    """usera has his link lead here and there, without pause."""
    racer = start_as(site.accounts.usera, [site.template.python, "-c", FLIP, link, one, other])
    assert racer.stdout is not None
    assert racer.stdout.readline() == "ready\n"
    try:
        yield
        assert racer.poll() is None, "the attack went on to the end"
    finally:
        stop(racer)


def test_cache_home_with_another_owner_makes_root_trust_no_publisher(site: Site) -> None:
    usera = site.accounts.usera
    own, theirs, top = site.directory(), site.directory(usera), site.directory(usera)
    (own / "pip-sharedcache").mkdir()
    with usera_acts(site):
        (theirs / "pip-sharedcache").mkdir()
    path = top / "link" / "pip-sharedcache"
    argv = [site.template.python, "-c", OPENS, path, str(usera.uid), str(slices.share(4000))]
    with _flipping(site, top / "link", own, theirs):
        done = run_as(None, argv, check=True)
    assert done.stdout.split() == ["0", "0"], "a way that others may change is not taken"


def test_no_wheel_is_opened_where_a_link_led_before(site: Site) -> None:
    """The store is root's, and root believes what is there; the way that usera's variable names
    leads to usera's own a moment later, where a wheel of the same name lies."""
    usera = site.accounts.usera
    genuine = site.make_store(None)
    publish(site, None, genuine)
    evil = site.directory(usera) / "store"
    top = site.directory(usera)
    with usera_acts(site):
        shutil.copytree(genuine, evil)
        (entry,) = evil.glob("wheels/??/*")
        swapped_wheel(entry)
    variables = {"PIP_SHAREDCACHE_DIR": str(top / "link")}
    with _flipping(site, top / "link", genuine, evil):
        for _ in range(8):
            environment = site.environment(None)
            env = {**site.settings(), **variables}
            run_as(None, environment.command("install", "alpha"), env=env, check=True)
            assert_as_plain(site, environment)


@pytest.mark.parametrize("open_to", ["group", "everybody", "another owner"])
def test_a_store_that_root_named_may_have_been_exchanged(site: Site, open_to: str) -> None:
    """The configuration is root's, a directory on the way to the store lets others rename."""
    usera, userb = site.accounts.usera, site.accounts.userb
    top = site.directory(userb if open_to == "another owner" else None)
    if open_to != "another owner":
        os.chown(top, -1, usera.gid)
        top.chmod(0o775 if open_to == "group" else 0o777)
    evil = site.make_store(usera)
    entry = publish(site, usera, evil)
    with usera_acts(site):
        edited_source(entry)
    init = site.template.command(
        "store", "init", "--layout", "tree", "--group", "pkgshare", top / "store"
    )
    run_as(None, init, env=site.settings(), check=True)
    if open_to == "another owner":  # he lets his friend in for a moment
        top.chmod(0o777)
    with usera_acts(site):
        (top / "store").rename(top / "away")
        shutil.copytree(evil, top / "store")
    if open_to == "another owner":
        top.chmod(0o755)
    environment = site.environment(None)
    with site.administered(environment, top / "store") as env:
        done = run_as(None, environment.command("install", "alpha"), env=env, check=True)
    assert str(top) in done.stdout, "it is used, and not believed"
    assert_as_plain(site, environment)


def test_store_in_a_directory_of_its_owner_is_trusted(site: Site) -> None:
    """Who owns the store may own the way there, too: root believes them in any case."""
    usera = site.accounts.usera
    store = site.make_store(usera)
    entry = publish(site, usera, store)
    assert entry.stat().st_uid == usera.uid
    environment = site.environment(None)
    site.index.clear()
    with site.administered(environment, store) as env:
        done = run_as(None, environment.command("install", "alpha"), env=env, check=True)
    assert "1 of 1 distributions" in done.stdout
    assert "not trusted" not in done.stdout + done.stderr
    assert_as_plain(site, environment)
