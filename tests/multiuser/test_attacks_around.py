"""Attacks around the entries: on their names, on the shards, on the store, by races, by sudo.

usera is a member of the group and attacks with his own account; userc is not, and has only what is
his own. Each victim ends up with what plain pip would have made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from multiuser.test_attacks import (
    assert_as_plain,
    assert_fit_for_a_terminal,
    beside,
    install,
    pinned,
    run_packages,
    source_with_matching_manifest,
    swapped_wheel,
)
from multiuser.test_shared_store import Site, entries, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, home_of, run_as, start_as, stop
from support.damage import rewrite
from support.environments import Environment
from support.filesystems import mounted
from support.process import as_user
from support.tampering import EVIL, evil_like, wheel_of
from support.trees import differences, snapshot
from support.wheels import digest

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

SOURCE = "alpha/__init__.py"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@pytest.fixture
def store(site: Site) -> Path:
    """A group's store made by root, in which nothing is."""
    return site.make_store(None)


def usera_acts(site: Site) -> AbstractContextManager[None]:
    usera = site.accounts.usera
    return as_user(usera.uid, usera.gid, [site.accounts.group_gid])


def publish(site: Site, account: Account | None, store: Path, *arguments: str) -> Path:
    """Somebody installs alpha; gives the entry that they publish by it."""
    install(site, account, store, *(arguments or ["alpha"]))
    uid = account.uid if account else 0
    (found,) = [path for path in (store / "wheels").glob("??/*") if path.lstat().st_uid == uid]
    return found


def place_of(site: Site, store: Path) -> Path:
    """Where the entry of alpha is to be."""
    name = digest(site.wheels / "alpha-1.0-py3-none-any.whl")
    return store / "wheels" / name[:2] / name


# -- names that are taken


def an_empty_directory(place: Path) -> None:
    place.mkdir()


def an_empty_directory_for_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


def a_file(place: Path) -> None:
    place.write_bytes(b"")


def a_fifo(place: Path) -> None:
    os.mkfifo(place)


def a_symlink_to_nothing(place: Path) -> None:
    place.symlink_to("nothing")


def a_symlink_to_the_root(place: Path) -> None:
    place.symlink_to("/")


def a_directory_nobody_may_enter(place: Path) -> None:
    place.mkdir()
    (place / "entry.json").write_bytes(b"{}")
    place.chmod(0)


def a_directory_of_garbage(place: Path) -> None:
    (place / "files" / "alpha").mkdir(parents=True)
    (place / "files" / "alpha" / "__init__.py").write_bytes(EVIL)
    (place / "entry.json").write_bytes(b"garbage")
    (place / "alpha-1.0-py3-none-any.whl").write_bytes(b"garbage")


OCCUPANTS: tuple[Callable[[Path], None], ...] = (
    an_empty_directory,
    an_empty_directory_for_all,
    a_file,
    a_fifo,
    a_symlink_to_nothing,
    a_symlink_to_the_root,
    a_directory_nobody_may_enter,
    a_directory_of_garbage,
)


@pytest.mark.parametrize("occupy", OCCUPANTS, ids=lambda one: one.__name__.replace("_", "-"))
@pytest.mark.parametrize("victim", ["userb", "root"])
def test_taken_name_is_skipped(
    site: Site, store: Path, occupy: Callable[[Path], None], victim: str
) -> None:
    account, place = site.account(victim), place_of(site, store)
    with usera_acts(site):
        occupy(place)
    before = place.lstat()
    environment, _ = install(site, account, store)
    assert_as_plain(site, environment)
    own = place.with_name(f"{place.name}.{account.uid if account else 0}")
    assert wheel_of(own).read_bytes() == (site.wheels / wheel_of(own).name).read_bytes()
    assert (place.lstat().st_ino, place.lstat().st_uid) == (before.st_ino, before.st_uid)
    site.index.clear()
    environment, _ = install(site, account, store)
    assert_as_plain(site, environment)
    assert site.index.wheel_requests() == [], "found again"


def test_both_names_taken_costs_the_sharing_and_nothing_else(site: Site, store: Path) -> None:
    place, userb = place_of(site, store), site.accounts.userb
    with usera_acts(site):
        place.mkdir()
        place.with_name(f"{place.name}.{userb.uid}").mkdir()
    environment, said = install(site, userb, store)
    assert_as_plain(site, environment)
    own = place.with_name(f"{place.name}.{userb.uid}")
    taken = f"its place is taken by {place} of usera, {own} of usera"
    assert f"{taken}; hint: usera or root can " in said


def test_thousands_of_names_beside_an_entry_are_not_all_looked_at(site: Site, store: Path) -> None:
    place = place_of(site, store)
    with usera_acts(site):
        place.mkdir()
        for number in range(3000):
            one = place.with_name(f"{place.name}.{number + 100_000}")
            one.mkdir()
            (one / "entry.json").write_bytes(b"[" * 1000)
    environment, said = install(site, site.accounts.userb, store)
    assert_as_plain(site, environment)
    assert said.count("entry.json") < 40


def test_squatted_staging_and_retired_names_are_left_alone(site: Site, store: Path) -> None:
    """Some look like those of the victim's own process, dead long since."""
    userb = site.accounts.userb
    shard = place_of(site, store).parent
    home = home_of(userb, site.base)
    (home / "kept").write_text("userb's\n")
    os.chown(home / "kept", userb.uid, userb.gid)
    with usera_acts(site):
        for name in (".new-host-1-00000000", ".new-", ".new-a-b-c-d-e", f".dead-{'0' * 64}-1"):
            (shard / name).symlink_to(home)
        (shard / ".new-host-2-00000000").mkdir()
        (shard / ".new-host-2-00000000" / "link").symlink_to(home)
        os.utime(shard / ".new-host-2-00000000", (0, 0))
    before = inodes(shard)
    environment, _ = install(site, userb, store)
    assert_as_plain(site, environment)
    for account in (userb, None):
        command = site.template.command("store", "gc")
        done = run_as(account, command, env=site.settings(store))
        assert done.returncode in (0, 1), done.stderr
        assert_fit_for_a_terminal(done.stdout + done.stderr)
        if account is userb:
            assert {path: inodes(shard).get(path) for path in before if path != str(shard)} == {
                path: status for path, status in before.items() if path != str(shard)
            }
    assert (home / "kept").read_text() == "userb's\n"


def test_member_cannot_give_an_entry_to_a_trusted_user(site: Site, store: Path) -> None:
    entry = publish(site, site.accounts.usera, store)
    python = site.template.python
    code = "import os, sys; os.chown(sys.argv[1], int(sys.argv[2]), -1)"
    done = run_as(site.accounts.usera, [python, "-c", code, entry, "0"])
    assert "PermissionError" in done.stderr


# -- races


FLIP = """
import os, sys, time
one, other, third = sys.argv[1:]
print("ready", flush=True)
while True:
    os.rename(one, third)
    os.rename(other, one)
    os.rename(third, other)
"""

REWRITE = """
import os, sys
path, good, evil = sys.argv[1:]
good, evil = open(good, "rb").read(), open(evil, "rb").read()
time = os.stat(path).st_mtime_ns
print("ready", flush=True)
with open(path, "r+b", buffering=0) as file:
    while True:
        for data in (good, evil):
            file.seek(0)
            file.write(data)
            os.utime(file.fileno(), ns=(time, time))
"""

#: Exchanges two files when one of them was closed so many times: inotify(7) tells.
EXCHANGE = """
import ctypes, os, struct, sys
times, one, other = int(sys.argv[1]), *sys.argv[2:]
libc = ctypes.CDLL(None)
queue = libc.inotify_init()
assert libc.inotify_add_watch(queue, one.encode(), 0x10) > 0  # IN_CLOSE_NOWRITE
print("ready", flush=True)
while times > 0:
    times -= len(os.read(queue, 16))  // 16
os.rename(one, one + "-third")
os.rename(other, one)
"""

COPIES = """
import hashlib, pathlib, sys
from pip_sharedcache import store as stores
from pip_sharedcache.errors import DamagedEntry
store = stores.Store.open(pathlib.Path(sys.argv[1]))
digest, name, place = sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4])
good = refused = 0
for number in range(600):
    found = stores.find(store, digest, name)
    assert found.entry is None, found
    if found.untrusted is None:
        refused += 1
        continue
    target = place / str(number)
    try:
        whole = stores.copy_wheel(found.untrusted, target)
    except (DamagedEntry, OSError):
        refused += 1
        assert not target.exists()
        continue
    refused += not whole
    good += whole
    assert target.exists() == whole
    if whole:
        assert hashlib.sha256(target.read_bytes()).hexdigest() == digest
        target.unlink()
print(good, refused)
"""


def _start_race(site: Site, entry: Path, how: str) -> Callable[[], None]:
    """usera exchanges his wheel, or his entry, or rewrites it in place, without pause."""
    usera, python = site.accounts.usera, site.template.python
    with usera_acts(site):
        place = beside(entry, "race")
        shutil.copytree(entry, place / "evil")
        good = place / "good"
        shutil.copy2(wheel_of(entry), good)
        swapped_wheel(place / "evil")
        evil_wheel = place / "wheel"
        shutil.copy2(wheel_of(place / "evil"), evil_wheel)
        if how == "entry":
            other, third = entry.with_name(".attack-other"), entry.with_name(".attack-third")
            (place / "evil").chmod(0o755)
            (place / "evil").rename(other)
            arguments = ["-c", FLIP, entry, other, third]
        elif how == "wheel":
            entry.chmod(0o755)
            evil_wheel.rename(entry / "other")
            arguments = ["-c", FLIP, wheel_of(entry), entry / "other", entry / "third"]
        elif how.isdigit():
            entry.chmod(0o755)
            evil_wheel.rename(entry / "other")
            arguments = ["-c", EXCHANGE, how, wheel_of(entry), entry / "other"]
        elif how == "source":
            source = entry / "files" / "alpha" / "__init__.py"
            source.chmod(0o644)
            shutil.copy2(source, place / "source")
            (place / "evil source").write_bytes(evil_like(source))
            arguments = ["-c", REWRITE, source, place / "source", place / "evil source"]
        else:
            wheel_of(entry).chmod(0o644)
            arguments = ["-c", REWRITE, wheel_of(entry), good, evil_wheel]
    racer = start_as(usera, [python, *arguments])
    assert racer.stdout is not None
    assert racer.stdout.readline() == "ready\n"

    def end() -> None:
        if not how.isdigit():
            assert racer.poll() is None, "the attack went on to the end"
        stop(racer)

    return end


@pytest.mark.parametrize("how", ["entry", "wheel", "bytes"])
def test_what_changes_between_check_and_use_is_never_taken(site: Site, how: str) -> None:
    """userc may not publish, so that each of his installations meets the attack anew."""
    userc = site.accounts.userc
    store = site.directory() / "store"
    subprocess.run(["cp", "-a", site.make_store(None), store], check=True)
    (store / "store.json").unlink()  # nobody is named, so that only root is believed
    entry = publish(site, site.accounts.usera, store)
    end = _start_race(site, entry, how)
    name = digest(site.wheels / "alpha-1.0-py3-none-any.whl")
    place = site.directory(userc)
    argv = [site.template.python, "-c", COPIES, store, name, "alpha-1.0-py3-none-any.whl", place]
    done = run_as(userc, argv, check=True)
    good, refused = map(int, done.stdout.split())
    assert good + refused == 600
    for _ in range(6):
        environment, _ = install(site, userc, store)
        assert_as_plain(site, environment)
    end()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", ["entry", "wheel", "bytes", "source", "1", "2", "3"])
def test_verify_always_takes_nothing_that_a_member_changes_meanwhile(
    site: Site, store: Path, how: str
) -> None:
    """He is believed, but every byte is to be checked."""
    victim = site.accounts.userb if how == "source" else site.accounts.userc
    entry = publish(site, site.accounts.usera, store)
    if how == "source":  # the victim is the first to compile
        for path in store.glob("bytecode/*/*"):
            shutil.rmtree(path)
    end = _start_race(site, entry, how)
    for _ in range(1 if how.isdigit() else 6):
        environment, _ = install(site, victim, store, PIP_SHAREDCACHE_VERIFY="always")
        assert_as_plain(site, environment)
        # What he has published hides the attack, and what he has compiled is for everybody.
        for path in store.glob(f"[wb]*/*/{entry.name}*"):
            try:
                own = path.stat().st_uid == victim.uid
            except FileNotFoundError:  # between two names
                continue
            if own:
                for compiled in path.glob("files/**/*.pyc"):
                    assert EVIL[:20] not in compiled.read_bytes()
                shutil.rmtree(path)
    end()


def test_a_wheel_that_a_member_writes_to_meanwhile_is_no_traceback(site: Site, store: Path) -> None:
    """Whoever is believed may have anything installed, but pip goes on."""
    entry = publish(site, site.accounts.usera, store)
    end = _start_race(site, entry, "bytes")
    for _ in range(6):
        environment, _ = install(site, site.accounts.userc, store)
        assert (environment.site_packages / "alpha").is_dir()
    end()


# -- what was placed, and is rewritten by its publisher afterwards


def _rewrite_everything(entry: Path) -> None:
    for path in (entry / "files").rglob("*"):
        if path.is_file():
            rewrite(path, evil_like(path))


@pytest.mark.parametrize(
    ("ground", "mode"),
    [("tmpfs", "copy"), ("tmpfs", "hardlink"), ("tmpfs", "reflink"), ("xfs", "reflink")],
)
def test_a_publisher_changes_nothing_that_was_placed(site: Site, ground: str, mode: str) -> None:
    """A hard link of usera's file is refused by the kernel, so it is a copy."""
    if ground == "xfs":
        probes.require(probes.xfs)
    if mode == "hardlink":
        probes.require(probes.protected_hardlinks)
    store = site.make_store(None)
    base = store.parent
    if ground == "xfs":
        with mounted("xfs", base, size_mb=320) as point:
            moved = point / "store"
            subprocess.run(["cp", "-a", store, moved], check=True)
            userb = site.accounts.userb
            (point / "of-userb").mkdir()
            os.chown(point / "of-userb", userb.uid, userb.gid)
            _check_rewriting(site, moved, mode, point / "of-userb" / "environment")
    else:
        _check_rewriting(site, store, mode, None)


def _check_rewriting(site: Site, store: Path, mode: str, path: Path | None) -> None:
    userb = site.accounts.userb
    entry = publish(site, site.accounts.usera, store)
    environment = site.environment(userb, path)
    said = site.install(userb, environment, store, "alpha", PIP_SHAREDCACHE_LINK_MODE=mode)
    assert ("reflinked" in said) == (path is not None)
    assert "hard-linked" not in said
    before = snapshot(environment.prefix)
    with usera_acts(site):
        _rewrite_everything(entry)
    assert snapshot(environment.prefix) == before
    assert_as_plain(site, environment)


@pytest.mark.parametrize("trust", ["", "owner"])
def test_symlinks_are_the_publishers_files_for_ever(site: Site, store: Path, trust: str) -> None:
    """Opt-in, and only to whom one believes: the store's owner answers for the group that he
    named. With trust = owner the victim's own entry is what the links lead to."""
    userb, entry = site.accounts.userb, publish(site, site.accounts.usera, store)
    settings = {"PIP_SHAREDCACHE_LINK_MODE": "symlink", "PIP_SHAREDCACHE_TRUST": trust}
    environment, said = install(site, userb, store, **settings)
    assert "symlinked" in said
    placed = environment.site_packages / SOURCE
    assert placed.is_symlink()
    with usera_acts(site):
        _rewrite_everything(entry)
    assert (EVIL in placed.read_bytes()) == (not trust)
    if trust:
        assert placed.resolve().stat().st_uid == userb.uid


# -- the shards and the store


def _handmade(site: Site, mode: int = 0o1777) -> Path:
    """A directory of root's for everybody, in which usera was first and made the shards."""
    store = site.directory() / "store"
    store.mkdir()
    store.chmod(mode)
    entry = publish(site, site.accounts.usera, store, "--no-compile", "alpha")
    assert entry.parent.stat().st_uid == site.accounts.usera.uid
    return store


def _exchange(site: Site, own: Path) -> None:
    """usera, whose shard it is, puts an entry of his own in place of another's."""
    with usera_acts(site):
        evil = beside(own, "exchanged")
        shutil.copytree(own, evil / "entry")
        _rewrite_everything(evil / "entry")
        swapped_wheel(evil / "entry")
        own.rename(own.with_name(".attack-kept"))
        (evil / "entry").chmod(0o755)
        (evil / "entry").rename(own)
        own.chmod(0o555)


@pytest.mark.parametrize("victim", ["userb", "root"])
def test_no_symlink_leads_to_a_replaceable_entry(site: Site, victim: str) -> None:
    store, account = _handmade(site), site.account(victim)
    settings = {"PIP_SHAREDCACHE_LINK_MODE": "symlink"}
    for _ in range(2):  # what was just published, then what is found
        environment, said = install(site, account, store, **settings)
        assert "symlinked" not in said
        assert "may replace" in said
        assert_as_plain(site, environment)
    place = place_of(site, store)
    _exchange(site, place.with_name(f"{place.name}.{account.uid if account else 0}"))
    assert_as_plain(site, environment)


@pytest.mark.parametrize("victim", ["userb", "root"])
def test_an_exchanged_entry_is_not_taken(site: Site, victim: str) -> None:
    store, account = _handmade(site), site.account(victim)
    install(site, account, store)
    place = place_of(site, store)
    _exchange(site, place.with_name(f"{place.name}.{account.uid if account else 0}"))
    environment, _ = install(site, account, store)
    assert_as_plain(site, environment)


STAGING = """
import os, pathlib, sys, time
shard, target = map(pathlib.Path, sys.argv[1:])
print("ready", flush=True)
while True:
    for name in os.listdir(shard):
        if name.startswith(".new-") and not (shard / name).is_symlink():
            try:
                os.rename(shard / name, shard / (".attack-" + name))
                os.symlink(target, shard / name)
            except OSError:
                continue
            print(name, flush=True)
"""


@pytest.mark.parametrize("victim", ["userb", "root"])
def test_nothing_is_written_where_a_link_leads_that_replaces_staging(
    site: Site, victim: str
) -> None:
    """Who owns a shard may rename what others are filling there."""
    store, account = _handmade(site), site.account(victim)
    target = site.directory(account)
    shard = place_of(site, store).parent
    racer = start_as(site.accounts.usera, [site.template.python, "-c", STAGING, shard, target])
    assert racer.stdout is not None
    assert racer.stdout.readline() == "ready\n"
    for _ in range(8):
        environment, _ = install(site, account, store)
        assert_as_plain(site, environment)
        for area in ("wheels", "bytecode"):  # so that there is something to publish again
            for path in (store / area).glob("??/*"):
                if path.lstat().st_uid == (account.uid if account else 0):
                    shutil.rmtree(path)
    assert racer.poll() is None
    assert racer.stdout.readline().startswith(".new-"), "the attack met nothing"
    stop(racer)
    assert os.listdir(target) == []


def test_member_cannot_change_the_list_of_trusted_publishers(site: Site, store: Path) -> None:
    usera, path = site.accounts.usera, store / "store.json"
    before = inodes(store)
    for command in (
        ["sh", "-c", 'echo {} > "$0"', path],
        ["rm", "-f", path],
        ["mv", path, f"{path}.old"],
        ["mv", store / "wheels", store / "old"],
        ["ln", "-sfT", "/tmp", store / "use"],
        ["mkdir", store / "new"],
        ["chmod", "777", store],
    ):
        assert run_as(usera, command).returncode != 0
    assert inodes(store) == before


def test_store_json_of_a_member_names_no_publisher(site: Site) -> None:
    store = site.directory() / "store"
    store.mkdir()
    store.chmod(0o1777)
    with usera_acts(site):
        (store / "store.json").write_text(
            '{"format": 1, "group": "pkgshare", "trusted": ["usera", "@pkgshare"]}'
        )
    entry = publish(site, site.accounts.usera, store)
    with usera_acts(site):
        source_with_matching_manifest(entry)
    for account in (site.accounts.userb, site.accounts.userc, None):
        environment, said = install(site, account, store)
        assert "checked copy" in said
        assert_as_plain(site, environment)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.write_bytes(b"[" * 1_000_000),
    ],
    ids=["fifo", "directory", "symlink", "deep"],
)
def test_no_store_json_stops_an_installation(site: Site, make: Callable[[Path], None]) -> None:
    store = site.directory() / "store"
    store.mkdir()
    store.chmod(0o1777)
    with usera_acts(site):
        make(store / "store.json")
    environment, _ = install(site, site.accounts.userb, store)
    assert_as_plain(site, environment)


def _hostile_use(place: Path, home: Path) -> None:
    place.symlink_to(home)


@pytest.mark.parametrize("kind", ["symlink", "directory", "file"])
def test_marks_are_not_written_where_another_user_leads_them(
    site: Site, store: Path, kind: str
) -> None:
    userb = site.accounts.userb
    home = home_of(userb, site.base)
    before = set(home.iterdir())
    publish(site, site.accounts.usera, store)
    own = store / "use" / str(userb.uid)
    with usera_acts(site):
        if kind == "symlink":
            own.symlink_to(home)
        elif kind == "directory":
            own.mkdir()
            own.chmod(0o777)
            (own / "marks").symlink_to(home / "marks")
        else:
            own.write_bytes(b"")
    environment, _ = install(site, userb, store)
    assert_as_plain(site, environment)
    assert set(home.iterdir()) == before
    assert kind != "directory" or os.listdir(own) == ["marks"]
    done = run_as(userb, site.template.command("store", "gc"), env=site.settings(store))
    assert done.returncode in (0, 1)
    assert_fit_for_a_terminal(done.stdout + done.stderr)


# -- an index page, and what sudo carries along


def test_no_index_page_comes_from_the_store(site: Site, store: Path) -> None:
    """Whatever a member plants, in the forms that pip keeps pages in and others: none of it is
    opened (a first reading would change its time of access), and pip asks the index."""
    userb = site.accounts.userb
    entry = publish(site, site.accounts.usera, store)
    page = f'<a href="{site.index.url}evil/alpha-9.0-py3-none-any.whl">alpha</a>'.encode()
    planted = []
    with usera_acts(site):
        use = store / "use" / str(site.accounts.usera.uid)
        for top in (entry.parent, use):
            for name in ("http", "http-v2", "simple", ".cache", "selfcheck"):
                (top / name / "alpha").mkdir(parents=True)
                planted += [top / name / "index.html", top / name / "alpha" / "index.html"]
        for path in planted:
            path.write_bytes(page)
            os.utime(path, (0, 0))
    own = site.directory(userb) / "cache"
    environment = site.environment(userb)
    settings = site.settings(store, PIP_NO_CACHE_DIR=None, PIP_CACHE_DIR=str(own))
    site.index.clear()
    run_as(userb, environment.command("install", "alpha"), env=settings, check=True)
    assert_as_plain(site, environment)
    assert "/simple/alpha/" in [path for _, path, _ in site.index.requests]
    assert {path.stat().st_atime for path in planted} == {0}
    planted[0].read_bytes()
    assert planted[0].stat().st_atime > 0, "reading shows here"


def _store_of_usera(site: Site) -> tuple[Path, Path]:
    """A store that usera made, with an evil alpha that he published; and its entry."""
    store = site.make_store(site.accounts.usera)
    entry = publish(site, site.accounts.usera, store)
    with usera_acts(site):
        swapped_wheel(entry)
    return store, entry


def _as_root_with_the_callers_environment(
    site: Site, environment: Environment, *arguments: str, **variables: str
) -> str:
    """As by sudo -E: usera's environment, root's rights."""
    home = home_of(site.accounts.usera, site.base)
    env = {**site.settings(), "HOME": str(home), "USER": "usera", **variables}
    done = run_as(None, environment.command("install", *arguments), env=env, check=True)
    said = done.stdout + done.stderr
    assert_fit_for_a_terminal(said)
    return said


@pytest.mark.parametrize("mode", ["copy", "symlink", "hardlink"])
def test_variables_do_not_make_root_trust_their_author(site: Site, mode: str) -> None:
    store, entry = _store_of_usera(site)
    environment = site.environment(None)
    _as_root_with_the_callers_environment(
        site,
        environment,
        "alpha",
        PIP_SHAREDCACHE_DIR=str(store),
        PIP_SHAREDCACHE_TRUST="@pkgshare",
        PIP_SHAREDCACHE_VERIFY="changed",
        PIP_SHAREDCACHE_LINK_MODE=mode,
    )
    before = snapshot(environment.prefix, modes=mode != "hardlink")
    plain = site.plain_tree(0o022, "alpha")
    if mode != "hardlink":  # links of root's own files have the store's modes
        assert differences(plain, before) == []
    assert run_packages(environment, "alpha") == "1.0\n"
    assert [path for path in environment.site_packages.rglob("*") if path.is_symlink()] == []
    with usera_acts(site):
        _rewrite_everything(entry)
        for path in entry.parent.glob(f"{entry.name}.*"):
            path.rename(path.with_name(f".attack-{path.name}"))
    assert snapshot(environment.prefix, modes=mode != "hardlink") == before


def test_a_configuration_in_the_callers_home_does_neither(site: Site) -> None:
    usera = site.accounts.usera
    store, _ = _store_of_usera(site)
    configuration = home_of(usera, site.base) / ".config" / "pip"
    with usera_acts(site):
        configuration.mkdir(parents=True)
        (configuration / "pip.conf").write_text(
            f"[sharedcache]\ndir = {store}\ntrust = usera\nlink-mode = symlink\n"
        )
    environment = site.environment(None)
    try:
        _as_root_with_the_callers_environment(site, environment, "alpha", PIP_CONFIG_FILE="")
    finally:
        shutil.rmtree(configuration.parent)
    assert_as_plain(site, environment)
    assert not (environment.site_packages / SOURCE).is_symlink()


def test_roots_private_store_is_not_made_in_the_callers_home(site: Site) -> None:
    home = home_of(site.accounts.usera, site.base)
    before = set(home.rglob("*"))
    environment = site.environment(None)
    said = _as_root_with_the_callers_environment(site, environment, "alpha")
    assert "belongs to usera" in said
    assert_as_plain(site, environment)
    assert set(home.rglob("*")) == before


def test_variables_do_not_make_root_share_what_is_private(site: Site) -> None:
    """A wheel from root's own directory, and a store in which everybody would read it."""
    store, _ = _store_of_usera(site)
    private = site.directory(None, mode=0o700)
    wheel = rich_wheel(private, "secret")
    before = set(entries(store))
    said = _as_root_with_the_callers_environment(
        site,
        site.environment(None),
        str(wheel),
        PIP_SHAREDCACHE_DIR=str(store),
        PIP_SHAREDCACHE_SHARE="/ https:// http://",
    )
    assert set(entries(store)) == before
    assert "Setting share is ignored" in said


# -- somebody who may write nothing but what is his own


def test_an_outsider_cannot_reach_anything(site: Site, store: Path) -> None:
    userc, entry = site.accounts.userc, publish(site, site.accounts.usera, store)
    before = inodes(store)
    for place in (store, store / "wheels", entry.parent, entry, store / "use", entry / "files"):
        assert run_as(userc, ["mkdir", place / "planted"]).returncode != 0
    for path in (entry / "entry.json", wheel_of(entry), entry / "files" / SOURCE):
        assert run_as(userc, ["sh", "-c", 'echo > "$0"', path]).returncode != 0
        assert run_as(userc, ["rm", "-f", path]).returncode != 0
        done = run_as(userc, ["ln", path, site.directory(userc) / "link"])
        assert done.returncode != 0 or probes.protected_hardlinks()
    assert inodes(store) == before


def test_store_of_an_outsider_changes_no_installation(site: Site) -> None:
    """Who names it believes its owner; --require-hashes shows what pip is not to take."""
    userb = site.accounts.userb
    store = site.make_store(site.accounts.userc, group="")
    entry = publish(site, site.accounts.userc, store)
    userc = site.accounts.userc
    with as_user(userc.uid, userc.gid):
        swapped_wheel(entry)
    environment, said = install(site, userb, store, *pinned(site))
    assert_as_plain(site, environment)
    assert "userc" in said
