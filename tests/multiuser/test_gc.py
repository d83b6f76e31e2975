"""Garbage collection among real users, with real pips at work meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_shared_store import (
    Site,
    entry_of,
    foreign_changes,
    inodes,
    rich_wheel,
    running_site,
)
from support import probes
from support.accounts import Account, Accounts, run_as, start_as, stop
from support.environments import Environment
from support.faults import faults_of_store
from support.index import LocalIndex
from support.index_server import Body
from support.trees import differences, snapshot
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]

HOUR, DAY = 3600, 24 * 3600
SYMLINKS = {"PIP_SHAREDCACHE_LINK_MODE": "symlink"}

#: Our command, so many seconds later; what was retired is deleted yet so many later.
LATER = """
import sys
from pip_sharedcache.cli import main
from pip_sharedcache.maintenance import gc
from pip_sharedcache.store import usage_marks
now, delete = usage_marks.now, gc.delete_retired
later, deleting = float(sys.argv.pop(1)), float(sys.argv.pop(1))
usage_marks.now = lambda store: now(store) + later
gc.delete_retired = lambda store, when: delete(store, when - later + deleting)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", requires="beta")
        rich_wheel(found.wheels, "beta")
        rich_wheel(found.wheels, "gamma")
        sources = {f"many/m{number}.py": f"N = {number}\n" for number in range(3000)}
        make_wheel(found.wheels, "many", files={"many/__init__.py": "", **sources})
        # The tests count wheels and their bytecode; test_resolutions.py collects resolutions.
        found.more_settings["PIP_SHAREDCACHE_RESOLUTIONS"] = "off"
        yield found


@pytest.fixture
def store(site: Site) -> Path:
    """A store for the group in which usera has published alpha and beta."""
    return site.filled_store("alpha")


def gc(
    site: Site,
    account: Account | None,
    store: Path,
    *arguments: str,
    later: float = 0,
    deleting: float = 0,
) -> subprocess.CompletedProcess[str]:
    """Run our gc as account, so many seconds later; as to deleting, by a time of its own."""
    clocks = [str(later), str(deleting)]
    command = [site.template.python, "-c", LATER, *clocks, "store", "gc", *arguments]
    done = run_as(account, command, env=site.settings(store))
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    return done


def gc_facts(site: Site, account: Account | None, store: Path, later: float) -> dict[str, Any]:
    done = gc(site, account, store, "--json", "--older-than", "30d", later=later)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def is_right(site: Site, environment: Environment, *arguments: str) -> list[str]:
    """What is not as plain pip makes it."""
    return differences(site.plain_tree(0o022, *arguments), snapshot(environment.prefix))


def retired(store: Path) -> list[Path]:
    return sorted(store.glob("*/*/.dead-*"))


def visible(store: Path) -> list[Path]:
    """The entries that can be seen; others may lie retired beside them."""
    found = [*(store / "wheels").glob("*/*"), *(store / "bytecode").glob("*/*")]
    return [path for path in found if not path.name.startswith(".")]


#: Our command, for which an entry is deleted as soon as it was found.
DELETED_ONCE_FOUND = """
import shutil, subprocess, sys
from pip_sharedcache.cli import main
from pip_sharedcache.session.lookup import WheelLookup
find = WheelLookup.find
def find_and_delete(lookup, digests, filename):
    found = find(lookup, digests, filename)
    if found is not None and found.path.exists():
        subprocess.run(["chmod", "-R", "u+w", found.path], check=True)
        shutil.rmtree(found.path)
    return found
WheelLookup.find = find_and_delete
sys.exit(main())
"""


@contextmanager
def held_back(index: LocalIndex, project: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """An index that is slow with this project: when it was asked for it, and when it may answer."""
    asked, answer, page = threading.Event(), threading.Event(), index.project_page

    def slow(wanted: str, in_json: bool) -> Body | None:
        if wanted == project:
            asked.set()
            assert answer.wait(120)
        return page(wanted, in_json)

    index.project_page = slow  # type: ignore[method-assign]
    try:
        yield asked, answer
    finally:
        answer.set()
        index.project_page = page  # type: ignore[method-assign]


# -- who uses what


def test_each_user_marks_what_they_use_bytecode_too(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    before = inodes(store)
    site.install(userb, site.environment(userb), store, "alpha")
    assert foreign_changes(before, inodes(store), userb.uid) == []
    names = set(os.listdir(store / "use" / str(userb.uid)))
    marked = {name for name in names if not name.startswith("run-")}
    assert len(names - marked) == 1, "the record of the run"
    assert marked == {path.name for path in visible(store)}
    assert len(marked) == 4, "two wheels, and the bytecode of each"


def test_what_one_user_uses_is_kept_for_all(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    old = 40 * DAY
    for path in visible(store):
        when = path.stat().st_mtime - old
        os.utime(path, (when, when))
    site.install(userb, site.environment(userb), store, "beta")
    facts = gc_facts(site, site.accounts.usera, store, 0)
    assert len(facts["retired"]) == 2
    wheels = [path.name for entry in visible(store) for path in entry.glob("*.whl")]
    assert wheels == ["beta-1.0-py3-none-any.whl"]
    assert len(visible(store)) == 2, "with its bytecode"


def test_a_reader_without_a_place_for_marks_installs_all_the_same(site: Site, store: Path) -> None:
    userc = site.accounts.userc
    environment = site.environment(userc)
    said = site.install(userc, environment, store, "alpha")
    assert "noted" not in said
    assert "2 of 2 distributions" in said
    assert not (store / "use" / str(userc.uid)).exists()


def test_squatted_mark_directory_is_reported_to_its_victim_and_by_gc(
    site: Site, store: Path
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    place = store / "use" / str(userb.uid)
    run_as(usera, ["mkdir", place], check=True)
    environment = site.environment(userb)
    said = site.install(userb, environment, store, "alpha")
    assert said.count(f"{place} was put there by usera") == 1
    assert is_right(site, environment, "alpha") == []
    done = gc(site, None, store)
    assert done.returncode == 1
    assert f"Usage marks of userb ignored: {place}: belongs to usera; " in done.stdout


# -- installations under way


@pytest.mark.parametrize("collector", ["root", "usera"])
def test_pip_goes_on_with_a_wheel_whose_entry_was_retired_meanwhile(
    site: Site, store: Path, collector: str
) -> None:
    userb = site.accounts.userb
    environment = site.environment(userb)
    with held_back(site.index, "beta") as (asked, answer):
        pip = start_as(userb, environment.command("install", "alpha"), env=site.settings(store))
        assert asked.wait(120)
        # It has the wheel of alpha, and waits for the page of beta.
        site.index.clear()
        facts = gc_facts(site, site.account(collector), store, 40 * DAY)
        assert len(facts["retired"]) == 4
        assert not visible(store)
        answer.set()
        _, err = pip.communicate(timeout=120)
    assert pip.returncode == 0, err
    assert "Traceback" not in err
    assert site.index.wheel_requests("alpha") == []
    assert is_right(site, environment, "alpha") == []


def test_pip_downloads_what_was_even_deleted_meanwhile(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    environment = site.environment(userb)
    with held_back(site.index, "beta") as (asked, answer):
        pip = start_as(userb, environment.command("install", "alpha"), env=site.settings(store))
        assert asked.wait(120)
        site.index.clear()
        gc(site, None, store, "--older-than", "30d", later=40 * DAY, deleting=2 * HOUR)
        assert not retired(store)
        answer.set()
        out, err = pip.communicate(timeout=120)
    assert pip.returncode == 0, err
    assert "is gone from the shared store: downloaded after all" in out + err
    assert len(site.index.wheel_requests("alpha")) == 1
    assert is_right(site, environment, "alpha") == []
    assert entry_of(store, "alpha").stat().st_uid == userb.uid, "published anew"


@pytest.mark.parametrize("hashed", [False, True], ids=["", "with hashes"])
def test_what_is_deleted_before_it_is_read_was_not_damaged(
    site: Site, store: Path, hashed: bool
) -> None:
    usera = site.accounts.usera
    environment, entry = site.environment(usera), entry_of(store, "beta")
    requirements = environment.prefix.parent / "requirements.txt"
    requirements.write_text("beta==1.0" + f" --hash=sha256:{entry.name}" * hashed + "\n")
    site.index.clear()
    command = [environment.python, "-c", DELETED_ONCE_FOUND, "install", "-r", requirements]
    done = run_as(usera, command, env=site.settings(store), check=True)
    said = done.stdout + done.stderr
    assert f"{entry} is gone from the shared store: downloaded after all" in said
    assert "Damaged" not in said
    assert len(site.index.wheel_requests("beta")) == 1
    assert is_right(site, environment, "beta") == []


@pytest.mark.parametrize(
    ("mode", "later", "deleting"),
    [("symlink", 0, 0), ("copy", 2 * HOUR, 0), ("hardlink", 2 * HOUR, 0), ("copy", 2 * HOUR, DAY)],
    ids=["as promised", "in use", "in use, linked", "deleted in use"],
)
def test_installations_are_right_while_everybody_collects(
    site: Site, store: Path, mode: str, later: float, deleting: float
) -> None:
    """Everything is as old as can be when an installation begins, and all collect all the time.
    Even by clocks that are hours ahead, for which nothing is in use."""
    usera, userb = site.accounts.usera, site.accounts.userb
    over, retirements = threading.Event(), [0]
    made: list[Environment] = []
    site.plain_tree(0o022, "alpha")  # before two threads ask for it

    def collect(account: Account | None) -> None:
        while not over.is_set():
            wanted = ("--json", "--older-than", "1h")
            done = gc(site, account, store, *wanted, later=later, deleting=deleting)
            retirements[0] += len(json.loads(done.stdout)["retired"])

    def install(account: Account) -> list[str]:
        environment = site.environment(account)
        made.append(environment)
        site.install(account, environment, store, "alpha", PIP_SHAREDCACHE_LINK_MODE=mode)
        return is_right(site, environment, "alpha") if mode == "copy" else []

    wrong: list[str] = []
    with ThreadPoolExecutor() as pool:
        collecting = [pool.submit(collect, account) for account in (usera, userb, None)]
        try:
            for _ in range(5):
                make_old(store)
                for found in [pool.submit(install, account) for account in (usera, userb)]:
                    wrong += found.result()
        finally:
            over.set()
        for found_none in collecting:
            found_none.result()
    for environment in made:
        program = "import alpha.deep.er, beta; print(alpha.__version__)"
        done = run_as(None, [environment.python, "-c", program])
        if done.stdout != "1.0\n":
            wrong.append(done.stderr)
    assert wrong == []
    assert retirements[0] >= 4


@pytest.mark.parametrize(("later", "deleting"), [(0, 0), (2 * HOUR, 0), (2 * HOUR, DAY)])
def test_thousands_of_files_are_right_while_everybody_collects_at_age_0(
    site: Site, store: Path, later: float, deleting: float
) -> None:
    """Two users install in two processes each, three collect, by clocks for which nothing is in
    use, and all that is retired is deleted at once in the last case."""
    users = [site.accounts.usera, site.accounts.userb] * 2
    environments = [site.environment(user) for user in users]
    over, wrong, retirements = threading.Event(), [], [0]

    def collect(account: Account | None) -> None:
        while not over.is_set():
            wanted = ("--json", "--older-than", "0h")
            done = gc(site, account, store, *wanted, later=later, deleting=deleting)
            retirements[0] += len(json.loads(done.stdout)["retired"])

    with ThreadPoolExecutor() as pool:
        collecting = [pool.submit(collect, one) for one in (*users[:2], None)]
        try:
            installs = [
                pool.submit(site.install, user, environment, store, "many", "alpha")
                for user, environment in zip(users, environments)
            ]
            for install in installs:
                said = install.result()
                wrong += [line for line in said.splitlines() if "Damaged" in line]
        finally:
            over.set()
        for done in collecting:
            done.result()
    for environment in environments:
        wrong += is_right(site, environment, "many", "alpha")
    assert wrong == []
    assert faults_of_store(store) == []
    assert later == 0 or retirements[0] > 0


def make_old(store: Path) -> None:
    """Let all entries have been published long ago, and be used by nobody."""
    for mark in (store / "use").glob("*/[0-9a-f]*"):
        mark.unlink()
    for path in visible(store):
        try:
            os.utime(path, (10**9, 10**9))
        except FileNotFoundError:
            continue  # collected meanwhile


# -- symlinked environments


@pytest.mark.parametrize("collector", ["root", "usera"])
def test_symlinked_environments_are_kept_until_they_are_deleted(
    site: Site, store: Path, collector: str
) -> None:
    """usera published; userb's environment is nobody else's to look at."""
    userb, account = site.accounts.userb, site.account(collector)
    private = site.directory(userb, 0o700)
    environment = site.environment(userb, private / "environment")
    site.install(userb, environment, store, "alpha", **SYMLINKS)
    assert (environment.site_packages / "alpha" / "__init__.py").is_symlink()
    assert gc_facts(site, account, store, 400 * DAY)["retired"] == []
    run_as(userb, [environment.python, "-c", "import alpha.deep.er, beta"], check=True)
    shutil.rmtree(environment.prefix)
    facts = gc_facts(site, account, store, 400 * DAY)
    if collector == "root":
        assert len(facts["retired"]) == 4
    else:
        assert facts["retired"] == [], "usera cannot see that the environment is gone"
        gc(site, userb, store)
        assert len(gc_facts(site, account, store, 400 * DAY)["retired"]) == 4
    assert not visible(store)


@pytest.mark.parametrize("how", ["sed -i s/1.0/1.0/", "rm"])
def test_symlinked_environments_are_kept_when_files_in_them_are_edited_or_deleted(
    site: Site, store: Path, how: str
) -> None:
    """An editor puts a new file in the place of a link: also of the one that was noted."""
    userb = site.accounts.userb
    environment = site.environment(userb)
    site.install(userb, environment, store, "alpha", **SYMLINKS)
    noted = set()
    for note in (store / "use" / str(userb.uid)).glob("links-*"):
        rows = [json.loads(line) for line in note.read_text().splitlines()]
        noted |= {Path(row[1]) for row in rows if isinstance(row, list)}
    assert len(noted) == 2
    for path in noted:
        run_as(userb, [*how.split(), path], check=True)
        assert not path.is_symlink()
    for account in (site.accounts.usera, userb, None):
        assert gc_facts(site, account, store, 400 * DAY)["retired"] == []
    said = gc(site, None, store, "-v", "--older-than", "30d", later=400 * DAY).stdout
    assert f"Kept for symlinks of userb in {environment.site_packages}" in said
    program = "import alpha.deep.er, beta.deep.er"
    run_as(userb, [environment.python, "-c", program], check=True)
    moved = environment.prefix.rename(environment.prefix.with_name("moved"))
    assert gc_facts(site, None, store, 400 * DAY)["retired"] == [], "it was only renamed"
    shutil.rmtree(moved)
    assert len(gc_facts(site, None, store, 400 * DAY)["retired"]) == 4


@pytest.mark.parametrize("healer", ["root", "usera"])
@pytest.mark.parametrize("file", ["files/alpha/__init__.py", "entry.json", "*.whl"])
def test_symlinked_environments_outlast_the_healing_of_what_they_lead_to(
    site: Site, store: Path, healer: str, file: str
) -> None:
    """usera published; the environment is userb's, and imports all the time."""
    userb = site.accounts.userb
    environment = site.environment(userb)
    site.install(userb, environment, store, "alpha", **SYMLINKS)
    (damaged,) = entry_of(store, "alpha").glob(file)
    command = f"chmod u+w {damaged} && printf '# of usera\n' > {damaged} && chmod a-w {damaged}"
    run_as(site.accounts.usera, ["sh", "-c", command], check=True)
    over, failed = threading.Event(), []

    def use() -> None:
        path = environment.site_packages / "alpha" / "deep" / "er" / "__init__.py"
        while not over.is_set():
            if not path.exists():
                failed.append(path)

    with ThreadPoolExecutor() as pool:
        using = pool.submit(use)
        fix = [site.template.python, "-m", "pip_sharedcache", "store", "verify", "--fix"]
        try:
            done = run_as(site.account(healer), fix, env=site.settings(store))
        finally:
            over.set()
        using.result()
    assert done.returncode == 1, done.stderr
    assert failed == []
    assert f"symlinks of userb in {environment.site_packages}" in done.stdout
    assert ("kept, because symlinks" if file == "*.whl" else "made anew") in done.stdout
    program = "import alpha.deep.er; print(alpha.__version__)"
    if file != "*.whl":
        done = run_as(userb, [environment.python, "-c", program], check=True)
        assert done.stdout == "1.0\n"
        again = run_as(site.account(healer), fix, env=site.settings(store))
        assert "all are sound" in again.stdout


# -- who may take away what


def test_the_owner_of_the_store_retires_what_only_its_publisher_can_delete(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(usera)
    on = {"PIP_SHAREDCACHE_RESOLUTIONS": "on"}
    site.install(userb, site.environment(userb), store, "gamma", **on)
    facts = gc_facts(site, usera, store, 40 * DAY)
    areas = sorted(Path(path).relative_to(store).parts[0] for path in facts["retired"])
    assert areas == ["bytecode", "resolutions", "resolutions", "wheels"], "a judged page, too"
    done = gc(site, usera, store, deleting=2 * HOUR)
    assert done.returncode == 1
    assert len(retired(store)) == 4
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Cannot retire")]
    assert line in {
        f"Cannot retire or delete 4 entries of userb: {path}: belongs to another user; "
        "hint: userb or root can run the same command"
        for path in retired(store)
    }
    assert gc(site, userb, store, deleting=2 * HOUR).returncode == 0
    assert retired(store) == []


def test_a_member_takes_away_only_their_own(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    site.install(userb, site.environment(userb), store, "gamma")
    facts = gc_facts(site, userb, store, 40 * DAY)
    assert len(facts["retired"]) == 2
    assert len(facts["refused"]) == 4
    assert [entry.stat().st_uid for entry in visible(store)] == [site.accounts.usera.uid] * 4


def test_nothing_outside_is_deleted_while_a_member_moves_things(site: Site, store: Path) -> None:
    """usera, whose retired entry root deletes, swaps its directories for symlinks all the time."""
    usera = site.accounts.usera
    precious = site.directory()
    for number in range(50):
        (precious / f"file-{number}").touch()
    shard = store / "wheels" / "ab"
    dead = shard / f".dead-{'ab' * 32}-0123"
    run_as(usera, ["mkdir", "-p", dead], check=True)
    swap = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "while True:\n"
        "    for number in range(40):\n"
        "        try:\n"
        "            os.makedirs(f'd{number}/e', exist_ok=True)\n"
        "            os.rename(f'd{number}', f'x{number}')\n"
        "            os.symlink(sys.argv[2], f'd{number}')\n"
        "            os.unlink(f'd{number}')\n"
        "            os.rename(f'x{number}', f'd{number}')\n"
        "        except OSError: pass\n"
    )
    swapping = start_as(usera, [site.template.python, "-c", swap, str(dead), str(precious)])
    for _ in range(12):
        gc(site, None, store, deleting=2 * HOUR)
    stop(swapping)
    assert len(list(precious.iterdir())) == 50
    gc(site, None, store, deleting=2 * HOUR)
    assert not dead.exists()
