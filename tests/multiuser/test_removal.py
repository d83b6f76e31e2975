"""`store remove` and `store clean` among real users, with real pips."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_gc import DAY, LATER, retired, visible
from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, Argument, run_as
from support.faults import faults_of_store
from support.filesystems import mounted

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha", requires="beta")
        rich_wheel(found.wheels, "beta")
        rich_wheel(found.wheels, "gamma")
        found.more_settings["PIP_SHAREDCACHE_RESOLUTIONS"] = "off"
        yield found


@pytest.fixture(params=["tree", "packed"])
def store(site: Site, request: pytest.FixtureRequest) -> Path:
    """A store for the group in which usera has published alpha and beta."""
    return site.filled_store("alpha", layout=request.param)


def command(
    site: Site, account: Account | None, store: Path, *arguments: object, later: float = 0
) -> subprocess.CompletedProcess[str]:
    """Run a store command as account, so many seconds later."""
    clocks = [str(later), str(later)]
    line: list[Argument] = [
        site.template.python,
        "-c",
        LATER,
        *clocks,
        "store",
        *map(str, arguments),
    ]
    done = run_as(account, line, env=site.settings(store))
    assert "Traceback" not in done.stderr, done.stderr
    return done


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- remove


def test_remove_retires_the_callers_wheel_and_its_bytecode(site: Site, store: Path) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    alpha = entry_of(store, "alpha")
    foretold = facts(
        command(site, usera, store, "remove", "alpha", "--dry-run", "--json", later=DAY)
    )
    assert len(visible(store)) == 4
    done = command(site, usera, store, "remove", "alpha", "--json", later=DAY)
    assert done.returncode == 0, done.stderr
    assert facts(done)["retired"] == foretold["retired"]
    assert str(alpha) in foretold["retired"]
    assert {path.name[:64] for path in visible(store)} == {entry_of_hidden(store, "beta").name}
    assert len(retired(store)) == 2
    assert faults_of_store(store) == []
    said = site.install(userb, site.environment(userb), store, "alpha")
    assert "1 added to it" in said, "it can be published again"


def entry_of_hidden(store: Path, wheel: str) -> Path:
    """The visible entry of a wheel; others may lie retired beside it."""
    (found,) = [path for path in visible(store) if any(path.glob(f"{wheel}-*.whl"))]
    return found


def test_remove_keeps_what_was_used_within_the_hour(site: Site, store: Path) -> None:
    done = command(site, site.accounts.usera, store, "remove", "alp*")
    assert done.returncode == 1
    assert "Kept 2 entries of " in done.stdout
    assert "used or published within the last hour (by usera 2)" in done.stdout
    assert len(visible(store)) == 4


def test_remove_keeps_entries_to_which_symlinks_lead(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.filled_store("alpha")
    environment = site.environment(userb)
    site.install(userb, environment, store, "beta", PIP_SHAREDCACHE_LINK_MODE="symlink")
    done = command(site, usera, store, "remove", "*", later=40 * DAY)
    assert done.returncode == 1
    assert "Kept 2 entries of " in done.stdout
    assert "symlinks lead there from an environment (by userb 2)" in done.stdout
    assert {path.name[:64] for path in visible(store)} == {entry_of_hidden(store, "beta").name}
    run_as(userb, [environment.python, "-c", "import beta"], check=True)


def test_remove_of_a_colleagues_entry_says_who_can(site: Site, store: Path) -> None:
    done = command(site, site.accounts.userb, store, "remove", "alpha==1.0", "delta", later=DAY)
    assert done.returncode == 1
    alpha = entry_of(store, "alpha")
    assert (
        f"Cannot retire 1 entry of usera: {alpha}: belongs to another user; "
        "hint: usera or root can run the same command"
    ) in done.stdout
    assert "Not in the store: delta" in done.stdout
    assert len(visible(store)) == 4


def test_remove_of_a_colleagues_entry_in_use_does_not_advise_to_wait(site: Site) -> None:
    store = site.filled_store("alpha")
    done = command(site, site.accounts.userb, store, "remove", "alpha")
    assert done.returncode == 1
    assert "belongs to another user; hint: usera or root can run the same command" in done.stdout
    assert "within the last hour" not in done.stdout
    assert len(visible(store)) == 4


def test_remove_leaves_bytecode_of_colleagues_to_gc(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(None)
    site.install(usera, site.environment(usera), store, "--no-compile", "beta")
    site.install(userb, site.environment(userb), store, "beta")
    done = command(site, usera, store, "remove", "beta", later=DAY)
    assert "Retired 1 entry of " in done.stdout
    assert "bytecode of other users, which gc retires a month after its last use" in done.stdout
    assert [path.parent.parent.name for path in visible(store)] == ["bytecode"]


@pytest.mark.parametrize("who", ["root", "owner"])
def test_remove_by_root_or_the_owner_takes_entries_of_all(site: Site, who: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(None if who == "root" else usera)
    site.install(userb, site.environment(userb), store, "alpha")
    digest = entry_of(store, "beta").name
    actor = None if who == "root" else usera
    done = command(site, actor, store, "remove", digest[:8], later=DAY)
    assert done.returncode == 0, done.stdout
    assert digest not in {path.name for path in visible(store)}
    assert len(visible(store)) == 2


# -- clean


def clean(
    site: Site, account: Account | None, store: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return command(site, account, store, "clean", *arguments)


def test_clean_deletes_a_private_store_although_it_is_read_only(site: Site, store: Path) -> None:
    usera = site.accounts.usera
    own, (beta,) = site.directory(usera) / "own", site.wheels.glob("beta-*.whl")
    private = f"{own} private"
    site.install(usera, site.environment(usera), own, str(beta), PIP_SHAREDCACHE_DIR=private)
    run_as(usera, ["chmod", "-R", "a-w", own], check=True)
    failed = run_as(usera, ["rm", "-rf", own])
    assert failed.returncode, "rm -rf cannot do it"
    done = clean(site, usera, store, "--yes", str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not own.exists()


def test_clean_asks_on_a_terminal_and_refuses_without_one(site: Site) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    done = clean(site, usera, store)
    assert done.returncode == 2
    assert "nobody can be asked without a terminal; hint: add --yes" in done.stderr
    for answer, code in (("n", 1), ("", 1), ("y", 0)):
        assert store.exists()
        master, slave = pty.openpty()
        try:
            line = [site.template.python, "-m", "pip_sharedcache", "store", "clean", store]
            identity = [f"--reuid={usera.uid}", f"--regid={usera.gid}", "--init-groups", "--"]
            env = {key: value for key, value in site.settings(store).items() if value is not None}
            with subprocess.Popen(
                ["setpriv", *identity, *map(str, line)],
                stdin=slave,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd="/",
                env={**os.environ, **env},
            ) as process:
                os.write(master, f"{answer}\n".encode())
                out, err = process.communicate(timeout=120)
        finally:
            os.close(master)
            os.close(slave)
        assert f"Delete {store} with 1 wheel? [y/N]" in err
        assert process.returncode == code, out + err
    assert not store.exists()


def test_clean_follows_no_symlink_and_no_mount(site: Site) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    outside = site.directory(usera) / "outside"
    run_as(usera, ["sh", "-c", f"mkdir {outside} && echo keep > {outside}/file"], check=True)
    link = store.with_name("link")
    run_as(usera, ["ln", "-s", store, link], check=True)
    done = clean(site, usera, store, "--yes", str(link))
    assert done.returncode == 2
    assert f"{link} is not deleted: it is a symlink; hint: name the store: {store}" in done.stderr
    shard = store / "wheels" / ("ff" if not any(store.glob("wheels/ff/*")) else "fe")
    places = [shard, store / "use" / "12345", store / "resolutions"]
    run_as(usera, ["rm", "-rf", *places], check=True)
    for place in places:
        run_as(usera, ["ln", "-s", outside, place], check=True)
    run_as(usera, ["mkdir", store / "use" / "12346"], check=True)
    with mounted("tmpfs", store / "use" / "12346", size_mb=1) as mount:
        (mount / "kept").write_text("of another file system")
        done = clean(site, None, store, "--yes")
        assert done.returncode == 1
        assert "Another file system is mounted on it" in done.stdout
        assert "root can run" not in done.stdout, "root has just tried"
        assert (mount / "kept").exists()
    # The same for a directory of the same file system, which has the same device number.
    entry = store / "wheels" / "01" / f"01{'0' * 62}"
    for place in (store / "use" / "12346", entry, entry.parent, store / "builds"):
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", outside, place], check=True)
        try:
            done = clean(site, None, store, "--yes")
        finally:
            subprocess.run(["umount", place], check=True)
        assert done.returncode == 1
        assert f"Cannot delete {place}: Another file system is mounted on it" in done.stdout
        assert (outside / "file").exists(), place
    assert (store / "store.json").exists(), "it is still a store"
    done = clean(site, usera, store, "--yes")
    assert done.returncode == 0, done.stdout
    assert not store.exists()
    assert (outside / "file").read_text() == "keep\n"


def test_clean_refuses_what_is_no_store_and_stores_of_others(site: Site) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    home = site.directory(userb)
    shell = "mkdir -p other/wheels/ab empty tagged && echo 1 > other/wheels/ab/file"
    shell += " && echo > tagged/CACHEDIR.TAG && echo > tagged/precious"
    run_as(userb, ["sh", "-c", f"cd {home} && {shell}"], check=True)
    for name in ("other", "empty", "tagged", ".", "/"):
        done = clean(site, userb, home, "--yes", str(home / name))
        assert done.returncode == 2, name
        assert "is no store that pip-sharedcache made" in done.stderr
    assert (home / "tagged" / "precious").exists()
    assert (home / "other" / "wheels" / "ab" / "file").exists()
    store = site.make_store(usera)
    done = clean(site, userb, store, "--yes")
    assert done.returncode == 2
    assert "it belongs to usera; hint: usera or root can run the same command" in done.stderr
    assert (store / "store.json").exists()


@pytest.mark.parametrize("who", ["root", "colleague"])
def test_clean_by_the_owner_names_what_colleagues_must_delete(site: Site, who: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    site.install(userb, site.environment(userb), store, "gamma")
    gamma = entry_of(store, "gamma")
    done = clean(site, usera, store, "--yes")
    assert done.returncode == 1
    assert "Cannot delete 2 entries of userb: " in done.stdout
    mine = f"find {store} -xdev -uid {userb.uid}"
    remove = f"{mine} -type d -exec chmod u+w {{}} + && {mine} -delete"
    assert f"; hint: root can run the same command, or userb: {remove}\n" in done.stdout
    assert f"Cannot delete the usage marks of userb: {store}/use/{userb.uid}: " in done.stdout
    assert {path.name[:64] for path in visible(store)} == {gamma.name}
    site.install(userb, site.environment(userb), store, "gamma")
    assert faults_of_store(store) == []
    if who == "root":
        done = clean(site, None, store, "--yes")
    else:
        assert "userb" in clean(site, usera, store, "--yes").stdout
        run_as(userb, ["sh", "-c", remove], check=True)
        done = clean(site, usera, store, "--yes")
    assert done.returncode == 0, done.stdout
    assert not store.exists()


def test_clean_warns_of_environments_whose_symlinks_break(site: Site) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    environment = site.environment(usera)
    site.install(usera, environment, store, "beta", PIP_SHAREDCACHE_LINK_MODE="symlink")
    done = clean(site, usera, store)
    assert done.returncode == 2
    assert f"will break: {environment.prefix}" in done.stderr


def test_clean_leaves_files_that_are_of_no_store(site: Site) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    run_as(usera, ["sh", "-c", f"echo notes > {store}/notes.txt"], check=True)
    done = clean(site, usera, store, "--yes")
    assert done.returncode == 1
    assert f"{store} stays: it holds notes.txt, which is of no store." in done.stdout
    assert os.listdir(store) == ["notes.txt"]


def test_clean_refuses_a_directory_with_the_file_names_of_a_store(site: Site) -> None:
    userb = site.accounts.userb
    shop = site.directory(userb) / "shop"
    shell = (
        f"mkdir -p {shop}/wheels {shop}/use/photos && cd {shop} && touch wheels/my.whl use/photos/b"
    )
    run_as(userb, ["sh", "-c", shell], check=True)
    store = site.make_store(userb)
    tag, own = (store / "CACHEDIR.TAG").read_text(), (store / "store.json").read_text()
    shops = json.dumps({"name": "my shop", "format": 1, "items": []})
    for text, mark in ((shops, ""), (shops, tag), (own, ""), (own, "of a shop"), ("", tag)):
        for name, content in (("store.json", text), ("CACHEDIR.TAG", mark)):
            (shop / name).unlink(missing_ok=True)
            if content:
                (shop / name).write_text(content)
        done = clean(site, userb, store, "--yes", str(shop))
        assert done.returncode == 2, done.stdout
        assert "is no store that pip-sharedcache made" in done.stderr
        assert (shop / "wheels" / "my.whl").exists()
        assert (shop / "use" / "photos" / "b").exists()


@pytest.mark.parametrize("layout", ["tree", "packed"])
@pytest.mark.parametrize("who", ["owner", "root"])
def test_clean_leaves_an_entry_with_a_foreign_file(site: Site, who: str, layout: str) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera, layout=layout)
    site.install(usera, site.environment(usera), store, "alpha")
    beta = entry_of(store, "beta")
    places = ["note", "mine/note", *(["files/beta/note"] if layout == "tree" else [])]
    shell = f"chmod -R u+w {beta}; cd {beta}; mkdir mine; for one in {' '.join(places)}; do "
    run_as(usera, ["sh", "-c", f"{shell} echo keep > $one; done"], check=True)
    done = clean(site, usera if who == "owner" else None, store, "--yes")
    assert done.returncode == 1, done.stderr
    for place in ("mine", "note", *places[2:]):
        assert f"Left, since it is of no store: {beta}/{place}\n" in done.stdout
    assert all((beta / place).read_text() == "keep\n" for place in places)
    assert [path.name for path in store.glob("wheels/*/*")] == [beta.name]
    assert list(store.glob("bytecode/*/*")) == []


@pytest.mark.parametrize("empty", ["store.json", "CACHEDIR.TAG", "store.json CACHEDIR.TAG"])
def test_clean_deletes_a_store_whose_own_files_are_empty(site: Site, empty: str) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    for name in empty.split():
        (store / name).write_text("")
    note = store / "wheels" / "note"
    note.write_text("keep")
    done = clean(site, usera, store, "--yes", str(store))
    assert done.returncode == 2
    assert note.exists()
    note.unlink()
    done = clean(site, usera, store, "--yes", str(store))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not store.exists()


def test_clean_leaves_files_of_no_store_below_the_areas(site: Site) -> None:
    usera = site.accounts.usera
    own = site.make_store(usera)
    site.install(usera, site.environment(usera), own, "beta")
    names = ["use/photos/b", "wheels/00/note", "wheels/precious", "zeta", "zulu"]
    shell = f"cd {own} && mkdir use/photos && echo keep | tee {' '.join(names)}"
    run_as(usera, ["sh", "-c", shell], check=True)
    done = clean(site, usera, own, "--yes")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("Left, since it is of no store: ") == 3
    assert f"{own} stays: it holds use/photos and 4 more, which are of no store." in done.stdout
    left = [path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file()]
    assert sorted(left) == names
    assert sorted(path.name for path in own.glob("wheels/*")) == ["00", "precious"]


@pytest.mark.parametrize("who", ["owner", "root"])
def test_clean_of_a_read_only_mount_says_only_that(site: Site, who: str) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "alpha")
    site.install(userb, site.environment(userb), store, "gamma")
    before = visible(store)
    subprocess.run(["mount", "--bind", store, store], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", store], check=True)
        done = clean(site, usera if who == "owner" else None, store, "--yes")
    finally:
        subprocess.run(["umount", store], check=True)
    able = "root can " if who == "owner" else ""
    assert (done.returncode, done.stdout, done.stderr) == (
        *(2, ""),
        f"ERROR: {store} is not deleted: Read-only file system; hint: {able}mount it writable\n",
    )
    assert visible(store) == before


@pytest.mark.parametrize("who", ["owner", "root"])
def test_clean_deletes_the_remains_of_a_failed_deletion(site: Site, who: str) -> None:
    usera = site.accounts.usera
    store, other = site.make_store(usera), site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    run_as(usera, ["rm", "-rf", store])
    assert os.listdir(store), "rm -rf cannot do it"
    assert not (store / "store.json").exists()
    actor = usera if who == "owner" else None
    shard = entry_of(store, "beta").parent
    for path in (store / "note", store / "wheels" / "note", shard / "note"):
        run_as(usera, ["touch", path], check=True)
        done = clean(site, actor, other, "--yes", str(store))
        assert done.returncode == 2, done.stdout
        assert "note is there" in done.stderr
        path.unlink()
    mark = store / "use"
    mark.mkdir()
    done = clean(site, actor, other, "--yes", str(store))
    assert done.returncode == 2
    assert "belongs to another user" in done.stderr
    mark.rmdir()
    done = clean(site, actor, other, "--yes", str(store))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not store.exists()


def test_clean_in_a_directory_of_another_user_leaves_an_empty_one(site: Site) -> None:
    usera = site.accounts.usera
    store = site.make_store(usera)
    site.install(usera, site.environment(usera), store, "beta")
    os.chown(store.parent, 0, 0)
    done = clean(site, usera, store, "--yes")
    assert done.returncode == 1
    why = f"{store} stays: it is empty, and root can delete it from {store.parent}."
    assert why in done.stdout
    assert os.listdir(store) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is damaged: it is no JSON object"),
        ("{}", "is damaged: format is missing"),
        ('{"format": 77, "group": null, "trusted": []}', "a store of format 77"),
    ],
)
def test_clean_of_a_store_with_a_damaged_store_json_says_what_to_do(
    site: Site, text: str, why: str
) -> None:
    store = site.filled_store("alpha")
    (store / "store.json").write_text(text)
    done = command(site, None, store, "clean", "--yes", store)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert why in line
    rule = f"rm {store / 'store.json'}"
    assert line.endswith(f"hint: if it is one, type {rule}, then the same command")
    subprocess.run(rule.split(), check=True)
    done = command(site, None, store, "clean", "--yes", store)
    assert (done.returncode, store.exists()) == (0, False), done.stdout + done.stderr
