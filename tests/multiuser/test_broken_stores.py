"""store doctor on real stores, broken in one way each: it names the breakage, its command mends it,
--fix mends what is the caller's own, and then doctor is content."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_handmade_store import make_by_hand
from multiuser.test_shared_store import Site, inodes, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, home_of, run_as
from support.filesystems import mounted, read_only, unmount

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

Change = Callable[[Path, Site], None]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@dataclass(frozen=True)
class Diagnosis:
    """What one run of doctor said."""

    status: int
    facts: dict[str, Any]
    findings: dict[str, dict[str, Any]]
    fixed: list[str]


@dataclass(frozen=True)
class Doctor:
    """Runs doctor, and the commands that it names, as one account (None: root)."""

    site: Site
    account: Account | None
    settings: dict[str, str | None]
    environment: Path

    def __call__(self, *arguments: str, first: str = "true") -> Diagnosis:
        """Run it, in a shell that has run the commands ``first``."""
        command = self.site.template.command(
            "store", "doctor", "--json", "--environment", self.environment, *arguments
        )
        done = self.shell(f'{first}\nexec "$@"', *command)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        said = json.loads(done.stdout)
        assert done.returncode == (1 if said["findings"] else 0)
        findings = {finding["name"]: finding for finding in said["findings"]}
        assert len(findings) == len(said["findings"]), f"one breakage, {said['findings']}"
        for finding in findings.values():
            assert finding["sentence"] and finding["command"], finding
            assert "\n" not in finding["sentence"] + finding["command"]
        fixed = [finding["name"] for finding in said["fixed"]]
        return Diagnosis(done.returncode, said["facts"], findings, fixed)

    def shell(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.site.template.scripts}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        changes = {**self.settings, "PATH": path}
        command = ["sh", "-c", script, "sh", *arguments]
        return run_as(self.account, command, env=changes, timeout=100)


def doctor_of(site: Site, name: str, store: Path | None, **changes: str | None) -> Doctor:
    account = site.account(name)
    return Doctor(site, account, site.settings(store, **changes), site.directory(account))


def modes(top: Path) -> dict[str, tuple[int, int, int]]:
    """Whose and how everything at and below top is: what doctor must not change."""
    return {path: (now.mode, now.uid, now.gid) for path, now in inodes(top).items()}


def published(site: Site, store: Path, name: str) -> Path:
    """The entry of alpha that this account has published there."""
    account = site.account(name)
    site.install(account, site.environment(account), store, "--no-compile", "alpha")
    (found,) = (path for path in store.glob("wheels/??/*"))
    return found


# -- what its owner mends


def wrong_group(store: Path, site: Site) -> None:
    os.chown(store, -1, site.accounts.userc.gid)
    store.chmod(0o2755)


def wrong_group_of_shards(store: Path, site: Site) -> None:
    for shard in (store / "wheels").glob("a*"):
        os.chown(shard, -1, site.accounts.userc.gid)
        shard.chmod(0o3775)


def no_setgid(store: Path, site: Site) -> None:
    store.chmod(0o755)


def no_sticky_bit(store: Path, site: Site) -> None:
    for shard in store.glob("*/??"):
        shard.chmod(0o2775)


def not_for_the_group(store: Path, site: Site) -> None:
    (store / "bytecode" / "7f").chmod(0o3755)


def writable_by_everybody(store: Path, site: Site) -> None:
    store.chmod(0o777)


def an_access_list(store: Path, site: Site) -> None:
    subprocess.run(["setfacl", "-m", "u:userc:rwx", store / "wheels"], check=True)


def a_default_access_list(store: Path, site: Site) -> None:
    for shard in (store / "wheels").iterdir():
        subprocess.run(["setfacl", "-d", "-m", "g::r-x", shard], check=True)


def no_shard(store: Path, site: Site) -> None:
    (store / "wheels" / "1c").rmdir()


def no_bytecode(store: Path, site: Site) -> None:
    shutil.rmtree(store / "bytecode")


def no_use(store: Path, site: Site) -> None:
    (store / "use").rmdir()


def configuration_for_its_owner(store: Path, site: Site) -> None:
    (store / "store.json").chmod(0o600)


def configuration_for_everybody(store: Path, site: Site) -> None:
    (store / "store.json").chmod(0o666)


def configuration_empty(store: Path, site: Site) -> None:
    os.truncate(store / "store.json", 0)


OWNERS_MEND = [
    (wrong_group, "group", "has the group userc, not pkgshare"),
    (wrong_group_of_shards, "group", "16 directories differ"),
    (no_setgid, "mode", "has mode 0755, not 2755"),
    (no_sticky_bit, "mode", "members may delete entries of other publishers"),
    (not_for_the_group, "mode", "members of the group cannot publish"),
    (writable_by_everybody, "mode", "all users may add files, and rename those of others"),
    (an_access_list, "access-list", "wheels has an access list"),
    (a_default_access_list, "access-list", "256 directories differ"),
    (no_shard, "missing", "wheels/1c is missing"),
    (no_bytecode, "missing", "257 directories differ"),
    (no_use, "missing", "use is missing"),
    (configuration_for_its_owner, "configuration", "others cannot read it"),
    (configuration_for_everybody, "configuration", "the file is not trusted; it lists @pkgshare"),
    (configuration_empty, "configuration", "is empty: the store cannot be used"),
]

broken = pytest.mark.parametrize(
    ("change", "name", "words"), OWNERS_MEND, ids=lambda item: getattr(item, "__name__", "")
)
owned = pytest.mark.parametrize("owner", ["root", "usera"], ids=["of-root", "of-usera"])


def test_a_sound_store_is_sound_for_everybody(site: Site) -> None:
    store = site.make_store(site.accounts.usera)
    published(site, store, "usera")
    before = modes(store)
    for name in ("root", "usera", "userb", "userc"):
        said = doctor_of(site, name, store)()
        assert (said.status, said.findings, said.fixed) == (0, {}, [])
        assert said.facts["publishing"] is (name != "userc")
        assert said.facts["link_mode"]["gets"] == "copy", "tmpfs has no reflinks"
        allowed = name in ("root", "usera")
        refusal = said.facts["link_mode"]["refusals"]["hardlink"]
        protected = probes.protected_hardlinks() is None
        assert refusal == ("Operation not permitted" if protected and not allowed else None)
    assert modes(store) == before


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077], ids=oct)
def test_private_store_that_an_installation_made_has_no_finding(site: Site, umask: int) -> None:
    usera = site.accounts.usera
    home = site.directory(usera)
    doctor = doctor_of(site, "usera", None, HOME=str(home))
    environment = site.environment(usera)
    command = environment.command("install", "--no-compile", "alpha")
    run_as(usera, command, umask=umask, env=doctor.settings, check=True)
    said = doctor()
    assert said.facts["store"].startswith(str(home))
    # A wheel, a resolution and a judged page.
    assert said.facts["entries"] == [{"publisher": "usera", "distrust_reason": None, "entries": 3}]
    assert said.findings == {}


@pytest.mark.parametrize("kind", ["one user", "3775", "1777", "acl"])
def test_sound_stores_of_other_kinds(site: Site, kind: str) -> None:
    if kind == "one user":
        store = site.make_store(site.accounts.usera, group="")
        published(site, store, "usera")
    else:
        store = make_by_hand(site, kind, None)
        subprocess.run(["chmod", "+t", store], check=True)
        for name in ("usera", "userb"):
            account = site.account(name)
            site.install(account, site.environment(account), store, "alpha")
    for name in ("root", "usera", "userb", "userc"):
        said = doctor_of(site, name, store)()
        assert said.findings == {}
        # root does not believe an owner in a store that anybody could have named.
        trusted = name == "usera" or (kind == "one user" and name != "root")
        reasons = [
            one["distrust_reason"] for one in said.facts["entries"] if one["publisher"] == "usera"
        ]
        assert (None in reasons) is trusted


@broken
@owned
def test_command_of_a_finding_fixes_it(
    site: Site, owner: str, change: Change, name: str, words: str
) -> None:
    store = site.make_store(site.account(owner))
    change(store, site)
    before = modes(store)
    doctor = doctor_of(site, owner, store)
    said = doctor()
    assert modes(store) == before
    assert list(said.findings) == [name]
    assert words in said.findings[name]["sentence"]
    assert "root" in said.findings[name]["by"]
    done = doctor.shell(said.findings[name]["command"])
    assert done.returncode == 0, done.stderr
    assert doctor().findings == {}


@broken
@owned
def test_fix_repairs_the_store_for_its_owner_only(
    site: Site, owner: str, change: Change, name: str, words: str
) -> None:
    maker = site.account(owner)
    sound = modes(site.make_store(maker))
    store = site.make_store(maker)
    change(store, site)
    before = modes(store)
    for stranger in ("userb", "userc"):
        said = doctor_of(site, stranger, store)("--fix")
        assert said.fixed == []
        assert all(finding["left"] for finding in said.findings.values())
        assert name in said.findings or name == "access-list" or said.status == 0
    assert modes(store) == before
    said = doctor_of(site, owner, store)("--fix")
    assert said.fixed == [name]
    assert (said.status, said.findings) == (0, {})
    assert sorted(modes(store).values()) == sorted(sound.values())


# -- what is left to somebody


def _chown(path: Path, uid: int) -> None:
    subprocess.run(["chown", "-hR", str(uid), path], check=True)


def a_shard_is_a_link(store: Path, site: Site) -> None:
    (store / "wheels" / "2d").rmdir()
    (store / "wheels" / "2d").symlink_to("/etc")


def wheels_of_a_stranger(store: Path, site: Site) -> None:
    os.chown(store / "wheels", site.accounts.userc.uid, -1)
    (store / "wheels").chmod(0o2755)


def configuration_damaged(store: Path, site: Site) -> None:
    (store / "store.json").write_text('{"format": 1, "trusted": ["@pkgshare", "userc",]}')


def configuration_of_a_stranger(store: Path, site: Site) -> None:
    os.chown(store / "store.json", site.accounts.userc.uid, -1)


def configuration_writable_and_naming_more(store: Path, site: Site) -> None:
    path = store / "store.json"
    path.write_text(json.dumps({"format": 1, "group": "pkgshare", "trusted": ["userc"]}))
    path.chmod(0o666)


def anybody_may_replace_it(store: Path, site: Site) -> None:
    store.parent.chmod(0o777)


def out_of_the_groups_reach(store: Path, site: Site) -> None:
    store.parent.chmod(0o700)


def somebodys_use_of_a_stranger(store: Path, site: Site) -> None:
    (store / "use" / "0").mkdir()
    _chown(store / "use" / "0", site.accounts.userc.uid)


def an_entry_of_nobody(store: Path, site: Site) -> None:
    _chown(published(site, store, "usera"), 65534)


def an_entry_that_all_may_write(store: Path, site: Site) -> None:
    published(site, store, "usera").chmod(0o777)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (a_shard_is_a_link, "no-directory", "wheels/2d is not a directory"),
        (wheels_of_a_stranger, "owner", "wheels belongs to userc"),
        (configuration_damaged, "configuration", "is damaged"),
        (configuration_of_a_stranger, "configuration", "belongs to userc"),
        (configuration_writable_and_naming_more, "configuration", "it lists userc"),
        (anybody_may_replace_it, "above", "all users may replace the store with another one"),
        (out_of_the_groups_reach, "out-of-reach", "members of pkgshare may not enter it"),
        (somebodys_use_of_a_stranger, "use", "use/0 belongs to userc"),
        (an_entry_of_nobody, "nobody", "1 entries belong to uid 65534"),
        (an_entry_that_all_may_write, "entry-writable", "of usera"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_finding_that_may_be_intended_is_kept_by_fix_and_fixed_by_the_command(
    site: Site, change: Change, name: str, words: str
) -> None:
    store = site.make_store(None)
    change(store, site)
    before = modes(store.parent)
    doctor = doctor_of(site, "root", store)
    said = doctor("--fix")
    assert modes(store.parent) == before
    assert said.fixed == []
    assert list(said.findings) == [name]
    assert words in said.findings[name]["sentence"]
    assert said.findings[name]["left"]
    done = doctor.shell(said.findings[name]["command"])
    assert done.returncode == 0, done.stderr
    assert doctor().findings == {}


def test_unknown_names_are_reported(site: Site) -> None:
    store = site.make_store(None)
    path = store / "store.json"
    known = path.read_text()
    path.write_text(json.dumps({**json.loads(known), "trusted": ["@pkgshare", "@nowhere", "gone"]}))
    path.chmod(0o644)
    doctor = doctor_of(site, "usera", store)
    said = doctor()
    assert "lists @nowhere, gone, whom" in said.findings["unknown-names"]["sentence"]
    editor = site.directory() / "editor"
    editor.write_text(f"#!/bin/sh\ncat > \"$1\" <<'END'\n{known}END\n")
    editor.chmod(0o755)
    root = doctor_of(site, "root", store, EDITOR=str(editor))
    assert root.shell(said.findings["unknown-names"]["command"]).returncode == 0
    assert doctor().findings == {}


@pytest.mark.parametrize(("mode", "sticky"), [(0o777, "1777"), (0o2775, "3775")])
def test_a_store_made_by_hand_is_to_be_sticky(site: Site, mode: int, sticky: str) -> None:
    doctors = []
    for _ in range(2):
        store = site.directory() / "store"
        store.mkdir()
        os.chown(store, -1, site.accounts.group_gid)
        store.chmod(mode)
        doctor = doctor_of(site, "root", store)
        said = doctor()
        assert said.findings["mode"]["command"] == f"chmod {sticky} {store}"
        assert os.listdir(store) == []
        doctors.append(doctor)
    assert doctors[0].shell(said.findings["mode"]["command"]).returncode == 0
    assert doctors[1]().findings == {}
    said = doctors[0]("--fix")
    assert (said.fixed, said.status) == (["mode"], 0)


def test_fix_does_not_follow_planted_symlinks(site: Site) -> None:
    """In a top that all may write a member has put a link in place of wheels."""
    store = site.make_store(None)
    elsewhere = site.directory() / "elsewhere"
    shutil.copytree(store / "wheels", elsewhere)
    for path in (elsewhere, *elsewhere.iterdir()):
        path.chmod(0o700)
    store.chmod(0o777)
    run_as(site.accounts.userc, ["mv", store / "wheels", store / "kept"], check=True)
    run_as(site.accounts.userc, ["ln", "-s", elsewhere, store / "wheels"], check=True)
    before = modes(elsewhere)
    said = doctor_of(site, "root", store)("--fix")
    assert modes(elsewhere) == before
    assert said.fixed == ["mode"]
    assert "is not a directory" in said.findings["no-directory"]["sentence"]


# -- what is around the store


def test_a_full_file_system(site: Site) -> None:
    with mounted("tmpfs", site.directory(), size_mb=160) as point:
        doctor = doctor_of(site, "root", _store_on(site, point))
        assert doctor().findings == {}
        filler = point / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 100 << 20)
        assert "has no more than 6" in doctor().findings["free-space"]["sentence"]
        with filler.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        said = doctor("--fix")
        assert "0 bytes" in said.findings["free-space"]["sentence"]
        assert said.findings["free-space"]["left"]
        assert said.facts["publishing"] is False
        assert doctor.shell(said.findings["free-space"]["command"]).returncode == 0
        filler.unlink()
        assert doctor().findings == {}


def test_no_inodes_left(site: Site) -> None:
    with mounted("tmpfs", site.directory(), options="nr_inodes=7000") as point:
        doctor = doctor_of(site, "root", _store_on(site, point))
        assert doctor().findings == {}
        filler = point / "filler"
        filler.mkdir()
        with pytest.raises(OSError, match="No space"):
            for number in range(7000):
                (filler / str(number)).touch()
        said = doctor()
        assert ", 0 inodes free" in said.findings["free-space"]["sentence"]
        assert said.facts["publishing"] is False
        shutil.rmtree(filler)
        assert doctor().findings == {}


def _store_on(site: Site, point: Path, directory: str = "store") -> Path:
    store = point / directory
    command = site.template.command(
        "store", "init", "--layout", "tree", "--group", "pkgshare", store
    )
    run_as(None, command, env=site.settings(), check=True)
    return store


@probes.needs(probes.bind_mounts)
def test_read_only_mount_is_a_finding_for_users_with_write_permission(site: Site) -> None:
    store = site.make_store(None)
    with read_only(store, store.parent / "view") as view:
        assert doctor_of(site, "userc", view)().findings == {}, "may only read it anyway"
        doctor = doctor_of(site, "usera", view)
        said = doctor("--fix")
        assert said.facts["filesystem"]["read_only"] is True
        assert said.facts["publishing"] is False
        assert said.findings["read-only"]["by"] == "root"
        done = doctor_of(site, "root", view).shell(said.findings["read-only"]["command"])
        assert done.returncode == 0, done.stderr
        assert doctor().findings == {}
        assert doctor().facts["publishing"] is True


@probes.needs(probes.protected_hardlinks)
def test_hard_links_to_files_of_others_are_refused(site: Site) -> None:
    store = site.make_store(None)
    published(site, store, "usera")
    asked = {"PIP_SHAREDCACHE_LINK_MODE": "hardlink"}
    assert doctor_of(site, "usera", store, **asked)().findings == {}, "her own file"
    doctor = doctor_of(site, "userb", store, **asked)
    said = doctor("--fix")
    sentence = said.findings["link-mode"]["sentence"]
    assert "a file of usera cannot be hard-linked" in sentence
    assert "fs.protected_hardlinks" in sentence
    assert sentence.endswith("copy is used")
    assert doctor(first=said.findings["link-mode"]["command"]).findings == {}


@pytest.mark.parametrize("where", ["file", "environment", "option"])
def test_a_store_on_another_file_system(site: Site, where: str) -> None:
    with mounted("tmpfs", site.directory()) as point:
        store = _store_on(site, point)
        file = site.directory() / "pip.conf"
        settings: dict[str, str | None] = {"PIP_CONFIG_FILE": str(file)}
        file.write_text("[sharedcache]\nverify = changed\n")
        if where == "file":
            file.write_text("[sharedcache]\nlink_mode = hardlink\nverify = changed\n")
        elif where == "environment":
            settings["PIP_SHAREDCACHE_LINK_MODE"] = "hardlink"
        else:
            settings["_PIP_SHAREDCACHE_OPTION_LINK_MODE"] = "hardlink"
        doctor = doctor_of(site, "root", store, **settings)
        said = doctor()
        assert "they are on different file systems" in said.findings["link-mode"]["sentence"]
        said = doctor(first=said.findings["link-mode"]["command"])
        assert said.findings == {}
        assert said.facts["settings"]["verify"]["source"] == str(file)


@probes.needs(probes.xfs)
def test_reflinks_are_found_where_they_work(site: Site) -> None:
    with mounted("xfs", site.directory()) as point:
        doctor = doctor_of(site, "root", _store_on(site, point))
        (point / "environment").mkdir()
        said = Doctor(site, None, doctor.settings, point / "environment")()
        assert said.facts["link_mode"]["gets"] == "reflink"
        assert said.facts["filesystem"]["kind"] == "xfs"
        assert os.listdir(point / "environment") == []


# -- the way to a store


def test_home_of_another_user(site: Site) -> None:
    own = home_of(site.accounts.usera, site.base)
    doctor = doctor_of(site, "root", None, HOME=str(own), XDG_CACHE_HOME=None)
    said = doctor("--fix")
    assert "belongs to usera" in said.findings["home"]["sentence"]
    assert not (own / ".cache").exists()
    assert doctor(first=said.findings["home"]["command"]).findings == {}


def test_home_that_is_not_there(site: Site) -> None:
    doctor = doctor_of(site, "userb", None, HOME="/nonexistent/home")
    said = doctor("--fix")
    assert "cannot be made: you may not write /" in said.findings["home"]["sentence"]
    assert said.findings["home"]["command"].startswith("export PIP_SHAREDCACHE_DIR=")


def test_private_store_that_does_not_exist_is_no_finding_and_not_made(site: Site) -> None:
    home = home_of(site.accounts.userb, site.base)
    said = doctor_of(site, "userb", None)("--fix")
    assert said.findings == {}
    assert "state" in said.facts
    assert os.listdir(home) == []


def test_a_missing_store(site: Site) -> None:
    store = site.directory(site.accounts.usera) / "store"
    doctor = doctor_of(site, "usera", store)
    said = doctor("--fix")
    assert (
        "does not exist (environment variable PIP_SHAREDCACHE_DIR)"
        in (said.findings["missing"]["sentence"])
    )
    assert not store.exists()
    assert doctor.shell(said.findings["missing"]["command"]).returncode == 0
    assert doctor().findings == {}


def test_a_file_in_place_of_the_store(site: Site) -> None:
    store = site.directory() / "store"
    store.write_text("precious")
    doctor = doctor_of(site, "root", store)
    said = doctor("--fix")
    assert "is not a directory" in said.findings["no-directory"]["sentence"]
    assert store.read_text() == "precious"
    assert doctor.shell(said.findings["no-directory"]["command"]).returncode == 0
    assert doctor().findings == {}


@pytest.mark.parametrize("which", ["store", "parent"])
def test_a_store_that_one_may_not_enter(site: Site, which: str) -> None:
    store = site.make_store(None, group="userc")
    barred = store if which == "store" else store.parent
    barred.chmod(0o2700 if which == "store" else 0o700)
    said = doctor_of(site, "usera", store)("--fix")
    assert str(barred) in said.findings["out-of-reach"]["sentence"]
    assert said.findings["out-of-reach"]["left"]
    root = doctor_of(site, "root", store)
    assert root.shell(said.findings["out-of-reach"]["command"]).returncode == 0
    assert doctor_of(site, "usera", store)().findings == {}


def test_root_sees_the_untrusted_publishers_of_a_store(site: Site) -> None:
    store = site.make_store(site.accounts.usera)
    said = doctor_of(site, "root", store)()
    assert said.facts["root"] == "environment variable PIP_SHAREDCACHE_DIR"
    file = site.directory() / "pip.conf"
    file.write_text(f"[sharedcache]\ndir = {store}\n")
    said = doctor_of(site, "root", None, PIP_CONFIG_FILE=str(file))()
    assert said.facts["root"] == str(file), "a variable named that"
    with site.administered(site.template, store) as settings:
        said = doctor_of(site, "root", None, **settings)()
    assert "root" not in said.facts
    assert said.facts["store"] == str(store)


@pytest.fixture
def hanging(site: Site) -> Iterator[Path]:
    """A sound store, under a file system whose server never answers (fuse(4))."""
    store = site.make_store(None)
    try:
        connection = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={connection},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"away", os.fsencode(store), b"fuse.away", 0, options.encode()) != 0:
        os.close(connection)
        pytest.skip(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
    try:
        yield store
    finally:
        os.close(connection)  # whoever still waits gets an error
        if os.path.ismount(store):
            unmount(store)


@pytest.mark.parametrize("name", ["root", "usera"])
def test_a_store_that_hangs(site: Site, hanging: Path, name: str) -> None:
    said = doctor_of(site, name, hanging)("--fix")
    assert "does not answer for 10 seconds" in said.findings["hanging"]["sentence"]
    assert said.findings["hanging"]["by"] == "root"
    # It is in no fstab, so only the first half does: what is below appears.
    doctor_of(site, "root", hanging).shell(said.findings["hanging"]["command"])
    assert doctor_of(site, name, hanging)().findings == {}


@pytest.mark.parametrize("gone", ["everything", "wheels", "shards", "use"])
def test_directories_that_a_cleaner_deleted_are_named_by_what_needs_them(
    site: Site, gone: str
) -> None:
    store, usera = site.make_store(None), site.accounts.usera
    if gone == "use":
        site.install(usera, site.environment(usera), store, "alpha")
    doomed = {
        "everything": [path for path in store.iterdir() if path.is_dir()],
        "wheels": [store / "wheels"],
        "shards": [*store.glob("wheels/??"), *store.glob("bytecode/??")],
        "use": [store / "use"],
    }[gone]
    for path in doomed:
        shutil.rmtree(path)
    first = store / "use" if gone == "use" else store / "wheels"
    first = first / "00" if gone == "shards" else first
    command = f"pip-sharedcache store init --group pkgshare {store} makes it again (as root)"
    said = site.install(usera, site.environment(usera), store, "alpha")
    (warned,) = [line for line in said.splitlines() if "WARNING" in line]
    assert f"{first} is missing" in warned
    assert command in warned
    assert "you may not write" not in said
    env = site.settings(store)
    told = run_as(usera, site.template.command("store", "info"), env=env, check=True).stdout
    assert (f"install only, since {first} is missing" in told) is (gone != "use")
    if gone != "use":
        done = run_as(usera, site.template.command("store", "add", "alpha"), env=env)
        error = f"ERROR: Cannot publish in the store: {store}: {first} is missing"
        assert done.stderr.startswith(error)
        assert command in done.stderr
    run_as(
        None,
        site.template.command("store", "init", "--layout", "tree", "--group", "pkgshare", store),
        check=True,
    )
    said = site.install(usera, site.environment(usera), store, "alpha")
    assert "WARNING" not in said
    assert "1 added to it" in said or gone == "use"


def test_a_deleted_configuration_is_named_where_publishers_are_not_trusted_for_it(
    site: Site,
) -> None:
    store, usera, userb = site.make_store(None), site.accounts.usera, site.accounts.userb
    site.install(usera, site.environment(usera), store, "alpha")
    (store / "store.json").unlink()
    said = site.install(userb, site.environment(userb), store, "alpha")
    assert f"{store}/store.json, which lists publishers, is missing" in said
    env = site.settings(store)
    doctor = run_as(userb, site.template.command("store", "doctor"), env=env)
    assert f"{store}/store.json is missing: only entries of root are trusted" in doctor.stdout
    assert f"pip-sharedcache store init --group pkgshare {store}" in doctor.stdout


def test_init_warns_where_a_member_cannot_publish(site: Site) -> None:
    command = site.environment(None).command(
        "store", "init", "--layout", "tree", "--group", "pkgshare"
    )
    reached, kept = site.directory(), site.directory(mode=0o700)
    for parent, warns in ((reached, False), (kept, True)):
        done = run_as(None, [*command, parent / "store"], env=site.settings(), check=True)
        assert ("a member of pkgshare, cannot publish" in done.stderr) is warns
