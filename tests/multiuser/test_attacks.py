"""What the publisher of an entry does to it, and what somebody else then ends up with.

usera publishes and attacks, with his own account. A victim who does not believe him gets what
plain pip would have made, whatever he did. One who believes him, since the store's owner named his
group, is protected from all that can be seen; what cannot be seen is stated here as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, entry_of, rich_wheel, running_site
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import LinkMode
from pip_sharedcache.placement import LinkChoice, Linker
from pip_sharedcache.placement.jobs import TargetDir
from pip_sharedcache.store import Source
from pip_sharedcache.store.entry_reading import read_manifest
from pip_sharedcache.trust import mounts
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import rewrite, unlocked
from support.environments import Environment
from support.process import as_user
from support.tampering import (
    EVIL,
    bind,
    describe,
    evil_like,
    manifest_of,
    replace,
    wheel_of,
    write_manifest,
)
from support.trees import differences, snapshot
from support.wheels import digest

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.acl, probes.tmpfs)]

Attack = Callable[[Path], None]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        rich_wheel(found.wheels, "alpha")
        yield found


@pytest.fixture(scope="module")
def published(site: Site) -> Path:
    """A group's store made by root, in which usera has published alpha with its bytecode."""
    store = site.make_store(None)
    usera = site.accounts.usera
    site.install(usera, site.environment(usera), store, "alpha")
    return store


@pytest.fixture
def store(site: Site, published: Path) -> Path:
    """The same, for one test alone."""
    return copy_of(site, published)


@pytest.fixture(scope="module")
def basket(site: Site) -> Path:
    """A group's store made by root, in which usera has published a wheel for each attack."""
    names = [attack.__name__ for attack in (*UNSEEN, *SEEN)]
    for name in names:
        rich_wheel(site.wheels, name)
    return site.filled_store(*names)


def copy_of(site: Site, published: Path) -> Path:
    """A copy of a store, owners and times included."""
    copy = site.directory() / "store"
    subprocess.run(["cp", "-a", published, copy], check=True)
    return copy


def attack_as_usera(site: Site, attack: Attack, store: Path) -> None:
    """Run the attack with usera's rights; what only root could do says so and does it itself."""
    _attack_entry(site, attack, entry_of(store, "alpha"))


def attack_all_as_usera(site: Site, attacks: Sequence[Attack], store: Path) -> dict[Attack, Path]:
    """Run each attack on the entry that has its name; gives these entries."""
    entries = {attack: entry_of(store, attack.__name__) for attack in attacks}
    for attack, entry in entries.items():
        _attack_entry(site, attack, entry)
    return entries


def _attack_entry(site: Site, attack: Attack, entry: Path) -> None:
    usera = site.accounts.usera
    if attack in BY_ROOT:
        attack(entry)
        return
    with as_user(usera.uid, usera.gid, [site.accounts.group_gid]):
        attack(entry)


def package_of(entry: Path) -> str:
    """The package in an entry."""
    return wheel_of(entry).name.partition("-")[0]


def source_of(entry: Path) -> str:
    """A source in an entry, relative to its files."""
    return f"{package_of(entry)}/__init__.py"


def program_of(entry: Path) -> str:
    """A program in an entry, relative to its files."""
    return f"{package_of(entry)}/bin/tool"


def bytecode_of(entry: Path) -> Path:
    """The bytecode that was published for an entry."""
    (found,) = (entry.parents[2] / "bytecode" / entry.parent.name).glob(f"{entry.name}.*")
    return found


def beside(entry: Path, name: str) -> Path:
    """A place of usera's own, on the same file system."""
    place = entry.parent / f".attack-{name}-{package_of(entry)}"
    place.mkdir()
    return place


# -- what nothing but the bytes shows


def edited_source(entry: Path) -> None:
    source = entry / "files" / source_of(entry)
    rewrite(source, evil_like(source))


def edited_bytecode(entry: Path) -> None:
    bytecode = bytecode_of(entry)
    for path in (bytecode / "files").rglob("*.pyc"):
        rewrite(path, path.read_bytes()[:16] + b"evil " + EVIL)
        describe(bytecode, str(path.relative_to(bytecode / "files")))


def source_with_matching_manifest(entry: Path) -> None:
    rewrite(entry / "files" / source_of(entry), EVIL)
    describe(entry, source_of(entry))


def swapped_wheel(entry: Path) -> None:
    wheel, new = wheel_of(entry), beside(entry, "wheel") / "new"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(new, "w") as made:
        for info in old.infolist():
            made.writestr(info, EVIL if info.filename == source_of(entry) else old.read(info))
    rewrite(wheel, new.read_bytes())
    rewrite(entry / "files" / source_of(entry), EVIL)
    describe(entry, source_of(entry))
    manifest = manifest_of(entry)
    manifest["size"] = wheel.stat().st_size
    write_manifest(entry, manifest)
    shutil.rmtree(new.parent)


# -- what its name, kind, owner, size, time or mode shows


def evil_wheel_under_the_digest(entry: Path) -> None:
    """An honest entry of another wheel of that name, moved."""
    swapped_wheel(entry)
    manifest = manifest_of(entry)
    manifest["sha256"] = digest(wheel_of(entry))
    write_manifest(entry, manifest)


def symlink_for_a_source(entry: Path) -> None:
    evil = beside(entry, "file") / "evil.py"
    source = entry / "files" / source_of(entry)
    evil.write_bytes(evil_like(source))
    evil.chmod(0o444)
    os.utime(evil, ns=(0, source.stat().st_mtime_ns))
    replace(source, lambda path: path.symlink_to(evil))


def _symlink_for_a_directory(directory: Path, place: Path) -> None:
    shutil.copytree(directory, place / "copy")
    for path in (place / "copy").rglob("*.py"):
        rewrite(path, evil_like(path))
    with unlocked(directory.parent):
        directory.chmod(0o755)
        directory.rename(place / "before")
        directory.symlink_to(place / "copy")


def symlink_for_a_directory(entry: Path) -> None:
    _symlink_for_a_directory(entry / "files" / package_of(entry), beside(entry, "directory"))


def symlink_for_files(entry: Path) -> None:
    _symlink_for_a_directory(entry / "files", beside(entry, "files"))


def symlink_for_the_manifest(entry: Path) -> None:
    source_with_matching_manifest(entry)
    manifest = entry / "entry.json"
    kept = beside(entry, "manifest") / "entry.json"
    shutil.copy2(manifest, kept)
    replace(manifest, lambda path: path.symlink_to(kept))


def symlink_for_the_wheel(entry: Path) -> None:
    swapped_wheel(entry)
    kept = beside(entry, "kept") / "wheel"
    shutil.copy2(wheel_of(entry), kept)
    replace(wheel_of(entry), lambda path: path.symlink_to(kept))


def _hard_link(entry: Path, name: str, owner: int, mode: int) -> None:
    """usera may not make it where fs.protected_hardlinks is on: root does, as if it were off."""
    path = entry / "files" / name
    theirs = entry.parents[3] / f"theirs-{package_of(entry)}"
    theirs.write_bytes(evil_like(path))
    os.chown(theirs, owner, owner)
    theirs.chmod(mode)
    os.utime(theirs, ns=(0, path.stat().st_mtime_ns))
    replace(path, lambda new: os.link(theirs, new))
    describe(entry, name)


def hard_link_of_the_victims_file(entry: Path) -> None:
    _hard_link(entry, source_of(entry), _uid("userb"), 0o600)


def hard_link_of_a_setuid_program_of_root(entry: Path) -> None:
    _hard_link(entry, program_of(entry), 0, 0o4755)


def fifo_for_a_source(entry: Path) -> None:
    replace(entry / "files" / source_of(entry), os.mkfifo)


def fifo_for_the_manifest(entry: Path) -> None:
    replace(entry / "entry.json", os.mkfifo)


def fifo_for_the_wheel(entry: Path) -> None:
    replace(wheel_of(entry), os.mkfifo)


def socket_for_a_source(entry: Path) -> None:
    replace(entry / "files" / source_of(entry), bind)


def socket_for_the_manifest(entry: Path) -> None:
    replace(entry / "entry.json", bind)


def directory_for_a_source(entry: Path) -> None:
    replace(entry / "files" / source_of(entry), Path.mkdir)


def directory_for_the_manifest(entry: Path) -> None:
    replace(entry / "entry.json", Path.mkdir)


def directory_for_the_wheel(entry: Path) -> None:
    replace(wheel_of(entry), Path.mkdir)


def _endless_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o444, os.makedev(1, 5))  # /dev/zero
    os.chown(path, _uid("usera"), -1)


def device_for_a_source(entry: Path) -> None:
    replace(entry / "files" / source_of(entry), _endless_device)


def device_for_the_manifest(entry: Path) -> None:
    replace(entry / "entry.json", _endless_device)


def device_for_the_wheel(entry: Path) -> None:
    replace(wheel_of(entry), _endless_device)


def setuid_program(entry: Path) -> None:
    (entry / "files" / program_of(entry)).chmod(0o4555)


def setgid_program(entry: Path) -> None:
    (entry / "files" / program_of(entry)).chmod(0o2555)


def setuid_wheel(entry: Path) -> None:
    wheel_of(entry).chmod(0o4444)


def source_writable_by_the_group(entry: Path) -> None:
    (entry / "files" / source_of(entry)).chmod(0o464)


def directory_writable_by_all(entry: Path) -> None:
    (entry / "files" / package_of(entry)).chmod(0o777)


def files_writable_by_the_group(entry: Path) -> None:
    (entry / "files").chmod(0o775)


def manifest_writable_by_all(entry: Path) -> None:
    (entry / "entry.json").chmod(0o666)


def wheel_writable_by_all(entry: Path) -> None:
    wheel_of(entry).chmod(0o666)


def entry_writable_by_all(entry: Path) -> None:
    entry.chmod(0o777)


def _let_userc_write(path: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:userc:rwx", path], check=True)


def access_list_on_a_source(entry: Path) -> None:
    _let_userc_write(entry / "files" / source_of(entry))


def access_list_on_a_directory(entry: Path) -> None:
    _let_userc_write(entry / "files" / package_of(entry))


def access_list_on_the_entry(entry: Path) -> None:
    _let_userc_write(entry)


def access_list_on_the_manifest(entry: Path) -> None:
    _let_userc_write(entry / "entry.json")


def sparse_manifest(entry: Path) -> None:
    replace(entry / "entry.json", Path.touch)
    os.truncate(entry / "entry.json", 1 << 40)


def deep_manifest(entry: Path) -> None:
    rewrite(entry / "entry.json", b"[" * 1_000_000)


def manifest_of_a_million_levels(entry: Path) -> None:
    text = json.dumps({**manifest_of(entry), "files": 0})
    deep = "[" * 500_000 + "]" * 500_000
    rewrite(entry / "entry.json", text.replace('"files": 0', f'"files": {deep}').encode())


def _with_a_row(entry: Path, *row: object) -> None:
    manifest = manifest_of(entry)
    size, sha256, executable, mtime = manifest["files"][0][1:]
    manifest["files"].append([*row, *[size, sha256, executable, mtime][len(row) - 1 :]])
    write_manifest(entry, manifest)


def file_above(entry: Path) -> None:
    _with_a_row(entry, "../../../../../evil.py")


def file_by_absolute_path(entry: Path) -> None:
    _with_a_row(entry, str(entry.parents[3] / "evil.py"))


def file_with_nul(entry: Path) -> None:
    _with_a_row(entry, f"{package_of(entry)}/nul\0.py")


def file_with_half_a_character(entry: Path) -> None:
    _with_a_row(entry, f"{package_of(entry)}/\ud800.py")


def file_with_a_very_long_name(entry: Path) -> None:
    _with_a_row(entry, f"{package_of(entry)}/{'x' * 300}.py")


def file_with_a_very_long_path(entry: Path) -> None:
    _with_a_row(entry, "/".join([package_of(entry), *["x" * 200] * 30]))


def file_of_astronomic_size(entry: Path) -> None:
    _with_a_row(entry, f"{package_of(entry)}/big.py", int("9" * 4000))


def file_from_before_all_time(entry: Path) -> None:
    _with_a_row(entry, f"{package_of(entry)}/old.py", 0, "", 0, -int("9" * 4000))


def _named(entry: Path, name: str) -> None:
    with unlocked(entry / "files" / package_of(entry)):
        shutil.copy2(entry / "files" / source_of(entry), entry / "files" / package_of(entry) / name)
        rewrite(entry / "files" / package_of(entry) / name, EVIL)
    describe(entry, f"{package_of(entry)}/{name}")
    (entry / "files" / package_of(entry) / name).chmod(0o644)  # something is to be said of it
    with (entry / "files" / package_of(entry) / name).open("ab") as file:
        file.write(b"#")


def file_named_with_a_newline(entry: Path) -> None:
    _named(entry, "a\nWARNING: all is well\n.py")


def file_named_with_terminal_escapes(entry: Path) -> None:
    _named(entry, "a\x1b[2J\x1b]0;of the attacker\x07.py")


def wheel_named_with_terminal_escapes(entry: Path) -> None:
    manifest = manifest_of(entry)
    manifest["filename"] = f"\x1b[2J{wheel_of(entry).name}"
    write_manifest(entry, manifest)


def _uid(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


UNSEEN: tuple[Attack, ...] = (
    edited_source,
    edited_bytecode,
    swapped_wheel,
)
#: What the kernel lets nobody else do.
BY_ROOT = (
    hard_link_of_the_victims_file,
    hard_link_of_a_setuid_program_of_root,
    device_for_a_source,
    device_for_the_manifest,
    device_for_the_wheel,
)
SEEN: tuple[Attack, ...] = (
    source_with_matching_manifest,  # the wheel tells another size
    evil_wheel_under_the_digest,
    symlink_for_a_source,
    symlink_for_a_directory,
    symlink_for_files,
    symlink_for_the_manifest,
    symlink_for_the_wheel,
    *BY_ROOT,
    fifo_for_a_source,
    fifo_for_the_manifest,
    fifo_for_the_wheel,
    socket_for_a_source,
    socket_for_the_manifest,
    directory_for_a_source,
    directory_for_the_manifest,
    directory_for_the_wheel,
    setuid_program,
    setgid_program,
    setuid_wheel,
    source_writable_by_the_group,
    directory_writable_by_all,
    files_writable_by_the_group,
    manifest_writable_by_all,
    wheel_writable_by_all,
    entry_writable_by_all,
    access_list_on_a_source,
    access_list_on_a_directory,
    access_list_on_the_entry,
    access_list_on_the_manifest,
    sparse_manifest,
    deep_manifest,
    manifest_of_a_million_levels,
    file_above,
    file_by_absolute_path,
    file_with_nul,
    file_with_half_a_character,
    file_with_a_very_long_name,
    file_with_a_very_long_path,
    file_of_astronomic_size,
    file_from_before_all_time,
    file_named_with_a_newline,
    file_named_with_terminal_escapes,
    wheel_named_with_terminal_escapes,
)


#: These show at the entry itself: one message names usera and the store, for all such entries.
SEEN_AT_THE_ENTRY = (entry_writable_by_all, access_list_on_the_entry)


def _words(attack: Attack) -> str:
    return attack.__name__.replace("_", "-")


seen = pytest.mark.parametrize("attack", SEEN, ids=_words)
unseen = pytest.mark.parametrize("attack", UNSEEN, ids=_words)


def install(
    site: Site, account: Account | None, store: Path, *arguments: str, **settings: str
) -> tuple[Environment, str]:
    """The victim installs alpha, which succeeds, and what is said is fit for a terminal."""
    environment = site.environment(account)
    said = site.install(account, environment, store, *(arguments or ["alpha"]), **settings)
    assert_fit_for_a_terminal(said)
    return environment, said


def assert_fit_for_a_terminal(said: str) -> None:
    assert "Traceback" not in said
    assert not re.search(r"[^\n\t -\x7e\u00a1-\uffff]", said), repr(said)
    assert "\nWARNING: all is well" not in said


def assert_as_plain(site: Site, environment: Environment, *names: str) -> None:
    """The packages (without any: alpha) are those of plain pip, and run."""
    names = names or ("alpha",)
    assert differences(site.plain_tree(0o022, *names), snapshot(environment.prefix)) == []
    assert run_packages(environment, *names) == "1.0\n" * len(names)


def run_packages(environment: Environment, *names: str) -> str:
    """What packages say of their versions, run by their own bytecode."""
    code = "".join(f"import {name}.deep.er; print({name}.__version__)\n" for name in names)
    done = run_as(None, [environment.python, "-c", code])
    return done.stdout + done.stderr


def pinned(site: Site, *names: str) -> list[str]:
    """Arguments that ask for these (without any: alpha) with their digests, and nothing without."""
    requirements = site.base / "requirements.txt"
    requirements.write_text(
        "".join(
            f"{name}==1.0 --hash=sha256:{digest(site.wheels / f'{name}-1.0-py3-none-any.whl')}\n"
            for name in names or ("alpha",)
        )
    )
    requirements.chmod(0o644)
    return ["--require-hashes", "-r", str(requirements)]


@pytest.mark.parametrize("victim", ["userb-with-hashes", "root"])
@pytest.mark.product
def test_attacks_of_an_untrusted_publisher_change_nothing(
    site: Site, basket: Path, victim: str
) -> None:
    store = copy_of(site, basket)
    names = [attack.__name__ for attack in attack_all_as_usera(site, (*UNSEEN, *SEEN), store)]
    if victim == "root":
        environment, _ = install(site, None, store, *names)
    else:
        environment, _ = install(site, site.accounts.userb, store, *pinned(site, *names))
    assert_as_plain(site, environment, *names)


def test_visible_attacks_of_a_trusted_publisher_change_nothing_and_are_reported(
    site: Site, basket: Path
) -> None:
    store = copy_of(site, basket)
    entries = attack_all_as_usera(site, SEEN, store)
    names = [attack.__name__ for attack in entries]
    # Without -v, many warnings of one kind are one line.
    environment, said = install(site, site.accounts.userb, store, "-v", *names)
    assert_as_plain(site, environment, *names)
    lines = [line for line in said.splitlines() if "usera" in line]
    silent = {
        attack for attack, entry in entries.items() if not any(entry.name in line for line in lines)
    }
    assert silent == set(SEEN_AT_THE_ENTRY)
    assert any(f"usera in {store}" in line and "the entry" in line for line in lines), said
    assert_list_is_fit_for_a_terminal(site, store)


@seen
def test_visible_attack_of_a_trusted_publisher_changes_nothing_and_is_reported(
    site: Site, store: Path, attack: Attack
) -> None:
    """Each by itself: no message of one is due to another."""
    attack_as_usera(site, attack, store)
    environment, said = install(site, site.accounts.userb, store)
    assert_as_plain(site, environment)
    assert "usera" in said, "whose entry it is"
    assert_list_is_fit_for_a_terminal(site, store)


def assert_list_is_fit_for_a_terminal(site: Site, store: Path) -> None:
    command = site.template.command("store", "list", "--bytecode", "-v")
    listed = run_as(site.accounts.userb, command, env=site.settings(store))
    assert listed.returncode in (0, 1), listed.stderr
    assert_fit_for_a_terminal(listed.stdout + listed.stderr)


@unseen
def test_what_the_owner_of_the_store_answers_for_by_naming_a_group(
    site: Site, store: Path, attack: Attack
) -> None:
    """No promise is broken here: this is what trust means. What protects is in the next test."""
    attack_as_usera(site, attack, store)
    environment, _ = install(site, site.accounts.userb, store)
    placed = list((environment.site_packages / "alpha").rglob("*.py*"))
    assert any(EVIL[:20] in path.read_bytes() for path in placed)


@unseen
@pytest.mark.parametrize("protection", ["require-hashes", "trust-owner", "trust-userb"])
def test_what_protects_from_members_of_the_group(
    site: Site, store: Path, attack: Attack, protection: str
) -> None:
    attack_as_usera(site, attack, store)
    settings = {"PIP_SHAREDCACHE_TRUST": protection[6:]} if "trust" in protection else {}
    arguments = pinned(site) if protection == "require-hashes" else ["alpha"]
    environment, said = install(site, site.accounts.userb, store, *arguments, **settings)
    assert_as_plain(site, environment)
    assert "usera" in said
    environment, said = install(site, site.accounts.userb, store, *arguments, **settings)
    assert_as_plain(site, environment)
    assert "Using alpha-1.0-py3-none-any.whl from the shared store" in said, "by now his own"


@pytest.mark.parametrize("attack", [edited_source, source_with_matching_manifest])
def test_verify_always_finds_bytes_that_are_not_those_of_the_wheel(
    site: Site, store: Path, attack: Attack
) -> None:
    attack_as_usera(site, attack, store)
    settings = {"PIP_SHAREDCACHE_VERIFY": "always"}
    environment, said = install(site, site.accounts.userb, store, **settings)
    assert_as_plain(site, environment)
    assert "usera" in said


def edited_source_and_the_time_of(other: Path) -> Attack:
    """Edit a source, and give all of the entry the time that ``other`` has; no bytecode."""
    time = wheel_of(other).stat().st_mtime_ns

    def attack(entry: Path) -> None:
        edited_source(entry)
        manifest = manifest_of(entry)
        manifest["files"] = [[*row[:4], time // 10**9] for row in manifest["files"]]
        write_manifest(entry, manifest)
        for path in (entry / "entry.json", wheel_of(entry), *(entry / "files").rglob("*")):
            os.utime(path, ns=(time, time))
        bytecode = bytecode_of(entry)
        bytecode.chmod(0o755)
        bytecode.rename(bytecode.with_name(f".attack-{bytecode.name}"))

    return attack


def test_bytecode_made_of_a_members_sources_fits_no_other_entry(site: Site, store: Path) -> None:
    """Else who once believed a member would go on doing so by bytecode of their own."""
    userb, entry = site.accounts.userb, entry_of(store, "alpha")
    install(site, None, store, "--no-compile", "alpha")
    of_root = entry.with_name(f"{entry.name}.0")
    with as_user(site.accounts.usera.uid, site.accounts.usera.gid, [site.accounts.group_gid]):
        edited_source_and_the_time_of(of_root)(entry)
    environment, said = install(site, userb, store)
    assert "of the attacker" in run_packages(environment, "alpha"), said
    environment, _ = install(site, userb, store, *pinned(site))
    assert_as_plain(site, environment)


@pytest.mark.parametrize("uid", [65534, 4294967294], ids=str)
def test_overflow_uid_is_not_trusted_even_in_a_shard_of_the_group(
    site: Site, store: Path, uid: int
) -> None:
    attack_as_usera(site, source_with_matching_manifest, store)
    entry, userb = entry_of(store, "alpha"), site.accounts.userb
    subprocess.run(["chown", "-R", str(uid), entry, bytecode_of(entry)], check=True)
    environment, said = install(site, userb, store)
    assert_as_plain(site, environment)
    assert "may be anyone" in said


def test_overflow_uid_does_not_trust_the_overflow_uid(site: Site, store: Path) -> None:
    """A squashed root or user shares its uid with everybody who is squashed."""
    attack_as_usera(site, source_with_matching_manifest, store)
    subprocess.run(["chown", "-R", "65534", entry_of(store, "alpha")], check=True)
    nobody = Account("nobody", 65534, 65534)
    environment, _ = install(site, nobody, store)
    assert_as_plain(site, environment)


# -- what somebody puts in the place of a file of the environment


def _plant_fifo(path: Path, theirs: Path) -> None:
    os.mkfifo(path)


def _plant_symlink(path: Path, theirs: Path) -> None:
    path.symlink_to(theirs)


def _plant_hard_link(path: Path, theirs: Path) -> None:
    os.link(theirs, path)


def _plant_file(path: Path, theirs: Path) -> None:
    path.write_bytes(EVIL)
    path.chmod(0o666)


def _plant_empty_file(path: Path, theirs: Path) -> None:
    path.touch()
    path.chmod(0o666)


@pytest.mark.parametrize("kind", ["nfs4", "xfs"])
@pytest.mark.parametrize("mode", [0o755, 0o2775], ids=["own-directory", "group-directory"])
@pytest.mark.parametrize(
    "plant",
    [_plant_fifo, _plant_symlink, _plant_hard_link, _plant_file, _plant_empty_file],
    ids=lambda plant: plant.__name__[len("_plant_") :],
)
def test_planted_file_in_a_new_directory_is_replaced_and_never_written(
    site: Site,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Path, Path], None],
    mode: int,
    kind: str,
) -> None:
    """On NFSv4, files in directories that nobody else may write are made without O_EXCL."""
    monkeypatch.setattr(mounts, "kind_of_device", lambda device: kind)
    usera, userb, group = site.accounts.usera, site.accounts.userb, site.accounts.group_gid
    entry = entry_of(store, "alpha")
    area = site.directory()
    area.chmod(0o755)
    theirs, directory = area / "theirs", area / "new"
    theirs.touch()
    theirs.chmod(0o666)  # else the kernel refuses hard links to it
    directory.mkdir()
    os.chown(theirs, userb.uid, userb.gid)
    os.chown(directory, userb.uid, group)
    directory.chmod(mode)
    planted = directory / "planted.py"
    with as_user(usera.uid, usera.gid, [group]):
        try:
            plant(planted, theirs)
            refused = False
        except PermissionError:
            refused = True
    assert refused is (mode == 0o755)
    if refused:  # as if usera had done it while the directory was open to all
        plant(planted, theirs)
        os.chown(planted, *((-1, -1) if theirs.samefile(planted) else (usera.uid, usera.gid)))
    before = theirs.stat()

    linker = Linker(LinkChoice(LinkMode.COPY), 0o022)
    with as_user(userb.uid, userb.gid, [group]), Directory.open(entry) as held:
        manifest, status = read_manifest(held)
        file = next(one for one in manifest.files if one.path == source_of(entry))
        target = TargetDir(directory.stat().st_dev, 0, made=True)
        source = Source(held, status.st_uid, manifest.files)
        linker.place(source, file, str(planted), target, private=False)

    placed = planted.lstat()
    assert stat.S_ISREG(placed.st_mode)
    assert (placed.st_uid, placed.st_nlink) == (userb.uid, 1)
    assert planted.read_bytes() == (entry / "files" / source_of(entry)).read_bytes()
    after = theirs.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        *(before.st_ino, 0),
        before.st_mtime_ns,
    )
