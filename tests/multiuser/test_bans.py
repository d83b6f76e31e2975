"""`store ban` and `store who-has` among real users, with real pips."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_gc import is_right, retired, visible
from multiuser.test_removal import command, entry_of_hidden
from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.faults import faults_of_store
from support.filesystems import Kind, mounted
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", requires="beta")
        rich_wheel(found.wheels, "beta")
        rich_wheel(found.wheels, "beta", "2.0")
        rich_wheel(found.wheels, "gamma")
        blob = os.urandom(1 << 19)  # enough for what xfs reserves before it creates a file
        make_wheel(found.wheels, "large", files={"large/__init__.py": "", "large/blob": blob})
        found.more_settings["PIP_SHAREDCACHE_RESOLUTIONS"] = "off"  # the tests count entries
        yield found


@pytest.fixture(params=["tree", "packed"])
def store(site: Site, request: pytest.FixtureRequest) -> Path:
    """A store of root's for the group in which usera has published alpha and beta 2.0."""
    return site.filled_store("alpha", layout=request.param)


def ban(site: Site, account: Account | None, store: Path, *arguments: str) -> str:
    done = command(site, account, store, "ban", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lines_about(said: str, word: str) -> list[str]:
    return [line for line in said.splitlines() if word in line]


def what_is_banned(site: Site, store: Path) -> list[str]:
    done = command(site, site.accounts.userc, store, "ban", "--list", "--json")
    bans = json.loads(done.stdout)["bans"]
    return [one["sha256"] or f"{one['name']}=={one['version']}" for one in bans]


# -- what a ban does


@pytest.mark.parametrize("form", ["digest", "prefixed", "beginning", "version"])
def test_banned_wheel_is_retired_and_installed_by_pip_alone(
    site: Site, store: Path, form: str
) -> None:
    userb = site.accounts.userb
    beta = entry_of(store, "beta")
    prefixed = f"sha256:{beta.name}"
    word = {
        "digest": beta.name,
        "prefixed": prefixed,
        "beginning": beta.name[:8],
        "version": "Beta==2",
    }[form]
    said = ban(site, None, store, word, "--because", "it steals tokens")
    assert "Retired 2 entries of " in said
    assert {path.name[:64] for path in visible(store)} == {entry_of_hidden(store, "alpha").name}
    for _ in range(2):
        environment = site.environment(userb)
        site.index.clear()
        said = site.install(userb, environment, store, "alpha")
        (line,) = lines_about(said, " is banned in ")
        assert line.strip().startswith(f"WARNING: beta-2.0-py3-none-any.whl is banned in {store}: ")
        assert "it steals tokens" in line
        assert "1 of 2 distributions" in said
        assert is_right(site, environment, "alpha") == []
        assert {path.name[:64] for path in visible(store)} == {entry_of_hidden(store, "alpha").name}
    assert faults_of_store(store) == []


def test_resolutions_do_not_bring_a_banned_wheel_back(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    site.install(userb, site.environment(userb), store, "alpha", PIP_SHAREDCACHE_RESOLUTIONS="on")
    ban(site, None, store, "beta==2.0")
    environment = site.environment(userb)
    said = site.install(userb, environment, store, "alpha", PIP_SHAREDCACHE_RESOLUTIONS="on")
    assert len(lines_about(said, " is banned in ")) == 1
    assert "1 of 2 distributions" in said
    assert is_right(site, environment, "alpha") == []


def test_untrusted_copy_of_a_banned_wheel_is_not_served(site: Site, store: Path) -> None:
    ban(site, None, store, "beta==2.0")
    os.rename(retired(store)[0], retired(store)[0].with_name(digest(_wheel(site, "beta-2.0"))))
    environment = site.environment(None)
    said = site.install(None, environment, store, "beta")
    assert len(lines_about(said, " is banned in ")) == 1
    assert "Using a checked copy" not in said


def test_offline_does_not_offer_a_banned_wheel(site: Site) -> None:
    userb = site.accounts.userb
    far, near = site.filled_store("beta"), site.make_store(userb)
    both = f"{near} backfill:{far}"
    site.install(userb, site.environment(userb), near, "beta", PIP_SHAREDCACHE_DIR=both)
    ban(site, None, far, "beta==2.0")
    assert entry_of(near, "beta"), "the copy is in a store that bans nothing"
    environment = site.environment(userb)
    settings = site.settings(near, PIP_SHAREDCACHE_DIR=both, PIP_SHAREDCACHE_OFFLINE="yes")
    done = run_as(userb, environment.command("install", "beta"), env=settings)
    assert done.returncode == 1
    assert "No matching distribution found for beta" in done.stderr
    (line,) = lines_about(done.stderr, "Offline: ")
    assert f"; beta==2.0 is banned in {far}); hint: " in line


@pytest.mark.parametrize("word", ["beta==2.0", "digest"])
def test_offline_names_a_ban_or_damage_as_the_reason(site: Site, store: Path, word: str) -> None:
    userb = site.accounts.userb
    beta = entry_of(store, "beta")
    ban(site, None, store, beta.name if word == "digest" else word, "--because", "it steals")
    environment = site.environment(userb)
    settings = site.settings(store, PIP_SHAREDCACHE_OFFLINE="yes")
    done = run_as(userb, environment.command("install", "alpha"), env=settings)
    (line,) = lines_about(done.stderr, "Offline: ")
    what = "beta-2.0-py3-none-any.whl" if word == "digest" else word
    assert f"; {what} is banned in {store}: it steals); hint: " in line
    alpha = entry_of_hidden(store, "alpha")
    name = "alpha-1.0-py3-none-any.whl"
    (alpha / name).chmod(0o666)
    done = run_as(userb, environment.command("install", "alpha"), env=settings)
    (line,) = lines_about(done.stderr, "Offline: ")
    assert f"; {name} is damaged: {alpha / name} " in line


def test_wrong_hash_offline_is_pips_error_alone(site: Site, store: Path, tmp_path: Path) -> None:
    userb = site.accounts.userb
    listed = site.directory(userb) / "requirements.txt"
    listed.write_text(f"beta==2.0 --hash=sha256:{'0' * 64}\n")
    settings = site.settings(store, PIP_SHAREDCACHE_OFFLINE="yes")
    done = run_as(userb, site.environment(userb).command("install", "-r", listed), env=settings)
    assert done.returncode == 1
    assert "DO NOT MATCH" in done.stderr
    assert "Offline: " not in done.stderr


def test_both_bans_of_a_wheel_give_their_reasons(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    ban(site, None, store, entry_of(store, "beta").name, "--because", "it steals")
    ban(site, None, store, "beta==2.0", "--because", "it is broken")
    said = site.install(userb, site.environment(userb), store, "beta")
    (line,) = lines_about(said, " is banned in ")
    assert f"is banned in {store}: it steals; also banned in {store}: it is broken;" in line


@pytest.mark.parametrize("what", ["download", "wheel"])
def test_fetching_a_banned_wheel_says_so(site: Site, store: Path, what: str) -> None:
    userb = site.accounts.userb
    ban(site, None, store, "beta==2.0", "--because", "it steals")
    place = site.directory(userb)
    option = "--dest" if what == "download" else "--wheel-dir"
    command = site.environment(userb).command(what, "--no-deps", "beta", option, place)
    done = run_as(userb, command, env=site.settings(store))
    assert done.returncode == 0, done.stderr
    (line,) = lines_about(done.stderr, " is banned in ")
    assert f"beta-2.0-py3-none-any.whl is banned in {store}: it steals; pip keeps it" in line
    assert [path.name for path in place.iterdir()] == ["beta-2.0-py3-none-any.whl"]


def test_adding_a_banned_wheel_says_so(site: Site, store: Path) -> None:
    ban(site, None, store, "beta==2.0", "--because", "it steals")
    usera = site.accounts.usera
    done = command(site, usera, store, "add", "--quiet", "beta")
    assert done.returncode == 1
    assert f"Not in {store}: beta 2.0: banned in {store}: it steals" in done.stdout
    done = command(site, usera, store, "add", "--json", "beta")
    (row,) = json.loads(done.stdout)["distributions"]
    assert row["banned"] == f"banned in {store}: it steals"


def _wheel(site: Site, stem: str) -> Path:
    (found,) = site.wheels.glob(f"{stem}-*.whl")
    return found


def test_import_and_export_refuse_banned_wheels(site: Site, store: Path) -> None:
    usera = site.accounts.usera
    archive = site.directory(usera) / "all.tar"
    assert command(site, usera, store, "export", str(archive)).returncode == 0
    ban(site, None, store, "beta==2.0", "--because", "broken")
    done = command(site, usera, store, "import", str(archive))
    assert done.returncode == 1
    (line,) = lines_about(done.stdout + done.stderr, "banned")
    assert "beta-2.0-py3-none-any.whl" in line


@pytest.mark.parametrize("banning", ["near", "far"])
def test_a_ban_holds_for_all_stores_of_a_run(site: Site, banning: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    far = site.filled_store("beta")
    near = site.make_store(userb)
    both = f"{near} backfill:{far}"
    if banning == "far":
        site.install(userb, site.environment(userb), near, "beta", PIP_SHAREDCACHE_DIR=both)
        assert entry_of(near, "beta"), "it was copied there"
        ban(site, None, far, "beta==2.0")
    else:
        ban(site, userb, near, "beta==2.0")
    said = site.install(userb, site.environment(userb), near, "beta", PIP_SHAREDCACHE_DIR=both)
    assert len(lines_about(said, " is banned in ")) == 1
    assert "0 of 1 distributions" in said
    if banning == "near":
        assert not visible(near)
    said = site.install(usera, site.environment(usera), far, "beta")
    assert ("banned" in said) is (banning == "far"), "who uses the far store alone"


def test_a_lifted_ban_lets_the_wheel_come_back(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    beta = entry_of(store, "beta").name
    ban(site, None, store, "beta==2.0")
    ban(site, None, store, beta)
    assert what_is_banned(site, store) == ["beta==2.0", beta]
    done = command(site, None, store, "ban", "--lift", "beta==2", beta[:9], "gamma==1")
    assert done.returncode == 1
    assert lines_about(done.stdout, "Not banned: gamma==1")
    assert what_is_banned(site, store) == []
    said = site.install(userb, site.environment(userb), store, "beta")
    assert "1 added to it" in said


# -- a full file system


def fill(account: Account | None, directory: Path) -> None:
    """Leave no byte and no entry of a directory to ``account`` on the file system."""
    text = "for size in 1M 4k 1; do dd if=/dev/zero bs=$size >> fill; done; mkdir -p more; "
    text += "for n in $(seq 999); do mkdir more/$n || exit 0; done"
    run_as(account, ["sh", "-c", text], cwd=directory)


@pytest.fixture(params=["tmpfs", "ext4", "xfs", "btrfs"])
def small(site: Site, request: pytest.FixtureRequest) -> Iterator[Path]:
    kind: Kind = request.param
    sizes = {"xfs": 320, "btrfs": 128}
    with mounted(kind, site.directory(None), size_mb=sizes.get(kind, 16)) as point:
        usera = site.accounts.usera
        os.chown(point, usera.uid, usera.gid)
        yield point


@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("banning", ["owner", "root"])
def test_ban_on_a_full_disk_takes_the_space_of_the_banned_wheel(
    site: Site, small: Path, banning: str, layout: str
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = small / "store"
    init = site.template.command("store", "init", "--layout", layout, store)
    run_as(usera, init, env=site.settings(), check=True)
    site.install(usera, site.environment(usera), store, "large", "gamma")
    gamma = entry_of_hidden(store, "gamma")
    fill(usera, small)
    said = ban(site, usera if banning == "owner" else None, store, "large==1.0")
    assert "Retired 2 entries" in said
    assert what_is_banned(site, store) == ["large==1.0"]
    assert {path.name[:64] for path in visible(store)} == {gamma.name}
    said = site.install(userb, site.environment(userb), store, "large")
    assert len(lines_about(said, " is banned in ")) == 1
    subprocess.run(["rm", "-rf", small / "fill", small / "more"], check=True)
    assert faults_of_store(store) == []


def test_ban_without_any_space_says_that_nothing_is_banned(site: Site) -> None:
    """The wheel belongs to a member, so the owner may retire it, but not delete it."""
    usera, userb = site.accounts.usera, site.accounts.userb
    with mounted("ext4", site.directory(None), size_mb=16) as small:
        os.chown(small, usera.uid, usera.gid)
        store = small / "store"
        init = site.template.command("store", "init", "--group", "pkgshare", store)
        run_as(usera, init, env=site.settings(), check=True)
        site.install(userb, site.environment(userb), store, "beta")
        fill(usera, small)
        for word in ("beta==2.0", "delta==1.0"):
            done = command(site, usera, store, "ban", word)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert f"Nothing is banned: {store}/bans.json cannot be changed: No space left" in line
            assert f"; hint: free some space in {store}, then run the same command" in line
            assert ("; 2 entries retired, which the next" in line) is (word == "beta==2.0")
            assert what_is_banned(site, store) == []
        subprocess.run(["rm", "-rf", small / "fill"], check=True)
        ban(site, usera, store, "beta==2.0")
        ban(site, usera, store, "gamma==1.0")
        fill(usera, small)
        done = command(site, usera, store, "ban", "--lift", "beta==2.0", "gamma==1.0")
        assert done.returncode == 0, done.stderr
        assert what_is_banned(site, store) == []


# -- who may, and whose list counts


def test_members_can_neither_ban_nor_lift(site: Site, store: Path) -> None:
    userb = site.accounts.userb
    ban(site, None, store, "gamma==1.0")
    for line in (["ban", "beta==2.0"], ["ban", "--lift", "gamma==1.0"]):
        done = command(site, userb, store, *line)
        assert done.returncode == 2
        assert "belongs to root; hint: root can run the same command" in done.stderr
    path = store / "bans.json"
    for shell in ("rm -f", "mv -f /dev/null", "touch", "chmod 666"):
        run_as(userb, ["sh", "-c", f"{shell} {path}"])
    assert run_as(userb, ["sh", "-c", f"echo > {path}"]).returncode
    assert what_is_banned(site, store) == ["gamma==1.0"]
    assert len(visible(store)) == 4


def test_owner_bans_entries_of_members(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(usera)
    site.install(userb, site.environment(userb), store, "beta")
    assert "Retired 2 entries" in ban(site, usera, store, "beta==2.0")
    assert not visible(store)
    ban(site, None, store, "gamma==1.0")
    assert what_is_banned(site, store) == ["beta==2.0", "gamma==1.0"], "root adds to usera's"
    ban(site, usera, store, "alpha==1.0")
    assert len(what_is_banned(site, store)) == 3, "and usera to root's"


def test_list_of_another_user_is_ignored_and_said(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.filled_store("beta")
    store.chmod(0o3777)  # made by hand: others may put files there
    row = {"name": "beta", "version": "2.0", "because": "", "by": "root", "at": 1}
    text = json.dumps({"format": 1, "bans": [row]})
    path = store / "bans.json"
    for shell in (f"cat > {path}", f"ln -s /etc/shadow {path}", f"mkdir -m 0 {path}"):
        run_as(userb, ["sh", "-c", shell], input=text, check=True)
        environment = site.environment(usera)
        said = site.install(usera, environment, store, "beta")
        (line,) = lines_about(said, "bans.json")
        assert f"List of bans ignored: {path}: it belongs to userb" in line
        assert "banned" not in said.replace(str(path), "")
        assert is_right(site, environment, "beta") == []
        run_as(userb, ["rm", "-rf", path], check=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("chmod 666 {0}", "others could have changed its list of bans"),
        ("chmod 600 {0}", "its list of bans cannot be read"),
        ("echo > {0}", "its list of bans is damaged"),
        ("echo '{{\"format\": 2}}' > {0}", "upgrade pip-sharedcache"),
        ("head -c 2000000 /dev/zero > {0}", "its list of bans cannot be read"),
        ("rm {0}; ln -s /dev/null {0}", "its list of bans cannot be read"),
        ("rm {0}; mkfifo {0}", "its list of bans cannot be read"),
    ],
)
def test_store_whose_list_says_nothing_reliable_is_not_used(
    site: Site, change: str, why: str
) -> None:
    userb = site.accounts.userb
    store = site.filled_store("beta")
    ban(site, None, store, "gamma==1.0")
    subprocess.run(["sh", "-c", change.format(store / "bans.json")], check=True)
    environment = site.environment(userb)
    said = site.install(userb, environment, store, "beta")
    (line,) = lines_about(said, "bans")
    assert why in line
    assert "root" in line, "who can help"
    assert is_right(site, environment, "beta") == []
    for options in ([], ["--json"]):
        done = command(site, userb, store, "ban", "--list", *options)
        assert done.returncode == 2, done.stdout
        assert "No wheel is banned" not in done.stdout
        assert why in done.stderr
        if options:
            assert {"error", "bans"} & set(json.loads(done.stdout)) == {"error"}


def test_texts_of_a_list_do_not_control_the_terminal(site: Site, store: Path) -> None:
    ban(site, None, store, "beta==2.0", "--because", "\x1b[2J\nevil")
    userb = site.accounts.userb
    said = site.install(userb, site.environment(userb), store, "beta")
    assert "\x1b[2J" not in said
    assert len(lines_about(said, " is banned in ")) == 1


def test_ban_refuses_what_is_not_one_wheel_or_version(site: Site, store: Path) -> None:
    for word in ("beta", "beta>=1", "beta==1.*", "be*==1.0", "0123abcd", "../x", "==1", "", " "):
        done = command(site, None, store, "ban", word)
        assert done.returncode == 2, word
        assert "hint: " in done.stderr
    assert not (store / "bans.json").exists()


# -- who-has


@pytest.mark.parametrize("form", ["digest", "version"])
def test_who_has_names_environments_by_records_and_symlinks(site: Site, form: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(None)
    mine, theirs, gone = (site.environment(one) for one in (usera, userb, userb))
    site.install(usera, mine, store, "beta")
    site.install(userb, theirs, store, "beta", PIP_SHAREDCACHE_LINK_MODE="symlink")
    site.install(userb, gone, store, "beta")
    run_as(userb, gone.command("uninstall", "-y", "beta"), env=site.settings(store), check=True)
    before = command(site, None, store, "who-has", "beta").stdout.splitlines()
    assert sorted(line.rpartition("  ")[2] for line in before[1:4]) == ["own", "own", "symlinks"]
    word = entry_of(store, "beta").name if form == "digest" else "beta==2.0"
    said = command(site, None, store, "ban", word)
    assert said.returncode == 1, "it broke symlinks"
    assert (
        f"Symlinks into a banned wheel are broken now: of userb in {theirs.prefix}" in said.stdout
    )
    for name in ("beta==2.0", word):
        done = command(site, None, store, "who-has", name, "--json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)["installations"]
        found = {one["environment"]: one for one in rows}
        assert set(found) == {str(one.prefix) for one in (mine, theirs, gone)}
        assert [found[str(one.prefix)]["there"] for one in (mine, theirs, gone)] == [
            *("yes", "yes", "no")
        ]
        assert found[str(theirs.prefix)]["symlinks"] is True
        assert found[str(theirs.prefix)]["broken"] is True
        shown = command(site, None, store, "who-has", name).stdout.splitlines()
        (line,) = [line for line in shown if str(theirs.prefix) in line]
        assert line.endswith("  broken symlinks")
        assert found[str(mine.prefix)]["user"] == "usera"
    assert command(site, None, store, "who-has", "gamma").returncode == 1


def test_who_has_counts_environments_that_are_gone(site: Site) -> None:
    userb = site.accounts.userb
    store, here = site.make_store(None), site.environment(userb)
    target = site.directory(userb) / "target"
    site.install(userb, here, store, "beta")
    site.install(userb, here, store, "--target", str(target), "beta")
    shutil.rmtree(target)
    done = command(site, None, store, "who-has", "beta")
    assert done.returncode == 0
    assert str(target) not in done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "1 environment, by the records there are.",
        "1 record leads to no directory of this host: deleted, or of another host; -v lists them.",
    ]
    assert str(target) in command(site, None, store, "who-has", "beta", "-v").stdout
    told = json.loads(command(site, None, store, "who-has", "beta", "--json").stdout)
    assert [one["environment"] for one in told["installations"]] == [str(here.prefix)]
    assert [one["environment"] for one in told["nowhere"]] == [str(target)]
    # A directory that this user may not look into is not gone.
    closed = site.directory(userb)
    target = closed / "inner" / "target"
    site.install(userb, here, store, "--target", str(target), "beta")
    closed.chmod(0o700)
    shown = command(site, site.accounts.usera, store, "who-has", "beta").stdout
    assert str(target) in shown


def test_who_has_skips_records_whose_paths_no_system_call_takes(site: Site) -> None:
    """Each user writes records of their own, in any form."""
    usera, userb = site.accounts.usera, site.accounts.userb
    store, here = site.make_store(None), site.environment(userb)
    site.install(userb, here, store, "beta")
    site.install(usera, site.environment(usera), store, "beta")
    (record,) = (store / "use" / str(usera.uid)).glob("run-*")
    told = json.loads(record.read_text())
    for number, path in enumerate(["/x\0", "/\ud800"]):
        text = json.dumps({**told, "environment": path})
        run_as(
            usera,
            ["tee", str(record.with_name(f"{record.name}{number}"))],
            input=text,
            check=True,
        )
        entry = entry_of(store, "beta").name
        links = [{"library": path, "host": "", "way": []}, [entry, path], [entry, f"{path}/y"]]
        text = "".join(json.dumps(one) + "\n" for one in links)
        run_as(
            usera,
            ["tee", str(record.with_name(f"links-{number}"))],
            input=text,
            check=True,
        )
    run_as(usera, ["rm", str(record)], check=True)
    page = str(site.directory(None) / "page.html")
    for arguments in (["who-has", "beta"], ["stats"], ["report", "--html", page], ["gc"]):
        done = command(site, None, store, *arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    found = json.loads(command(site, None, store, "who-has", "beta", "--json").stdout)
    assert [one["environment"] for one in found["installations"]] == [str(here.prefix)]


def test_who_has_without_a_record_says_so(site: Site) -> None:
    store = site.make_store(None)
    site.install(None, site.environment(None), store, "beta", PIP_SHAREDCACHE_STATS="off")
    done = command(site, None, store, "who-has", "beta", "delta")
    assert done.returncode == 1
    assert done.stdout == "No record names beta.\nNo record names delta.\n"
    done = command(site, None, store, "who-has", "ab" * 32)
    assert done.returncode == 1
    assert "Records have no digests" in done.stdout
    assert "who-has NAME==VERSION" in done.stdout


def test_gc_retires_what_a_run_published_after_the_ban(site: Site, store: Path) -> None:
    ban(site, None, store, "beta==2.0")
    (dead,) = [path for path in retired(store) if any(path.glob("beta-*.whl"))]
    back = dead.with_name(dead.name[len(".dead-") :].rpartition("-")[0])
    os.rename(dead, back)
    assert command(site, None, store, "gc", "--json").returncode == 0
    assert back.exists(), "published within the hour"
    done = command(site, None, store, "gc", "--json", later=7200)
    assert json.loads(done.stdout)["retired"] == [str(back)]
    assert entry_of_hidden(store, "alpha")


def test_who_has_knows_the_directory_of_target(site: Site) -> None:
    userb = site.accounts.userb
    store, target = site.make_store(None), site.directory(userb) / "tokens"
    site.install(userb, site.environment(userb), store, "--quiet", "--target", str(target), "beta")
    ban(site, None, store, "beta==2.0")
    done = command(site, None, store, "who-has", "beta==2.0")
    assert done.returncode == 0, done.stderr
    head, row, total = done.stdout.splitlines()
    assert head.startswith("distribution ")
    assert row.split()[:3] == ["beta-2.0-py3-none-any.whl", str(target), "userb"]
    assert row.split()[4:] == ["yes", "own"]
    assert total == "1 environment, by the records there are."
