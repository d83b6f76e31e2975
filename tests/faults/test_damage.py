"""Every kind of damage to every kind of file of an entry, by a publisher who is trusted: what is
installed is right, it is said whose entry was damaged, and the next installation finds a sound one.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import probes
from support.accounts import Account, Accounts, run_as
from support.damage import KINDS, damage, rewrite
from support.faults import faults_of_entry, faults_of_store, state_of, visible_entries
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]

#: One distribution for each kind of file that an entry has: what of it is damaged.
FILES = {
    "d-source": "files/d_source/__init__.py",
    "d-deep": "files/d_deep/deep/er/__init__.py",
    "d-data": "files/d_data/data.txt",
    "d-program": "files/d_program/bin/tool",
    "d-script": "files/d_script-1.0.data/scripts/d_script-script",
    "d-scheme": "files/d_scheme-1.0.data/data/share/d_scheme/notes.txt",
    "d-metadata": "files/d_metadata-1.0.dist-info/METADATA",
    "d-record": "files/d_record-1.0.dist-info/RECORD",
    "d-wheel": "d_wheel-1.0-py3-none-any.whl",
    "d-manifest": "entry.json",
    "d-bytecode": "files/d_bytecode/__pycache__/__init__.*.pyc",
}
#: The wheels whose damaged file an installation uses: pip writes a RECORD of its own.
USED = [name for name in FILES if name != "d-record"]
#: What size, time, kind and mode of a file tell when it is placed.
SEEN = [kind for kind in KINDS if kind not in ("edited-unseen", "not-executable")]
#: Whose entries; they are installed one after another, or side by side.
OWNERS = {"own": {"PIP_SHAREDCACHE_PROCESSES": "1"}, "root": {"PIP_SHAREDCACHE_PROCESSES": "2"}}
#: Not damaged: with so many files it is worth to install side by side.
MANY = "many"


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in FILES:
            rich_wheel(found.wheels, name.replace("-", "_"))
        make_wheel(found.wheels, MANY, files={f"many/{n}.txt": str(n) for n in range(500)})
        yield found


@pytest.fixture(autouse=True)
def _environments_removed(site: Site) -> Iterator[None]:
    yield
    site.remove_environments()


@pytest.fixture(scope="module")
def filled(site: Site) -> dict[str, Path]:
    """Stores of the group's in which all was published by usera, or by root, who owns them."""
    stores = {}
    for name in OWNERS:
        publisher = _publisher(site, name)
        stores[name] = site.make_store(None)
        site.install(publisher, site.environment(publisher), stores[name], *FILES, MANY)
        assert len(visible_entries(stores[name], "bytecode")) == len(FILES) + 1
        assert faults_of_store(stores[name]) == []
    return stores


@pytest.fixture
def store(site: Site, filled: dict[str, Path], owner: str) -> Path:
    copy = site.directory() / "store"
    subprocess.run(["cp", "-a", filled[owner], copy], check=True)
    return copy


def _publisher(site: Site, owner: str) -> Account | None:
    return site.accounts.usera if owner == "own" else None


def _name(site: Site, owner: str) -> str:
    publisher = _publisher(site, owner)
    return publisher.name if publisher else "root"


def _wheel(site: Site, name: str) -> Path:
    return site.wheels / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"


def _entry(site: Site, store: Path, name: str) -> Path:
    part = "bytecode" if name == "d-bytecode" else "wheels"
    sha256 = digest(_wheel(site, name))
    (entry,) = (store / part / sha256[:2]).glob(f"{sha256}*")
    return entry


def _damage(site: Site, store: Path, kind: str, names: Iterable[str] = FILES) -> None:
    outside = site.directory()
    for name in names:
        (path,) = _entry(site, store, name).glob(FILES[name])
        damage(path, kind, outside / name)


def _install(
    site: Site, store: Path, owner: str, *more: str, user: str = "usera", **settings: str
) -> list[str]:
    """Install all as ``user`` into a new environment, which must be as plain pip makes it; returns
    the lines of what was warned of. The requests that the index has counted are those of this."""
    expected = site.plain_tree(0o022, *FILES, MANY)
    site.index.clear()
    account = site.account(user)
    environment, temporary = site.environment(account), site.directory(account)
    settings = {**OWNERS[owner], "TMPDIR": str(temporary), **settings}
    # Without -v, many warnings of one kind are one line.
    said = site.install(account, environment, store, "-v", *FILES, MANY, *more, **settings)
    assert differences(expected, snapshot(environment.prefix)) == []
    assert list(temporary.iterdir()) == [], "also of worker processes, nothing is left"
    site.remove_environments()
    (summary,) = re.findall(r"Shared store: (\d+) of (\d+) distributions from (.*)", said)
    others = re.findall(r"; (\d+) (?:added to|installed by pip alone)", summary[2])
    assert int(summary[0]) + sum(map(int, others)) == int(summary[1]), "each counts once"
    return [line for line in map(str.strip, said.splitlines()) if line.startswith("WARNING:")]


def _assert_said(site: Site, owner: str, warnings: list[str], names: Iterable[str]) -> None:
    """One line for each, with whose entry was damaged, and what was done."""
    whose = _name(site, owner)
    where = "in its place" if owner == "own" else "beside it as"
    for name in names:
        wheel = _wheel(site, name).name
        if name == "d-bytecode":
            expected = rf"Damaged bytecode of {whose} in .* is compiled anew: .*d_bytecode.*"
        else:
            expected = rf"Damaged entry.*\b{whose}\b.*; a sound one was published {where}"
        entry = digest(_wheel(site, name))
        about = [w for w in warnings if "WARNING" in w and (entry in w or wheel in w)]
        assert len(about) == 1, "\n".join([name, *warnings])
        assert re.search(expected, about[0]), about[0]


def _assert_healed(site: Site, store: Path, owner: str, names: Iterable[str]) -> None:
    """A sound entry of usera's is there for each: in place of his own, or beside another user's."""
    uid = site.accounts.usera.uid
    for name in names:
        part = "bytecode" if name == "d-bytecode" else "wheels"
        sha256 = digest(_wheel(site, name))
        (found,) = [
            entry
            for entry in visible_entries(store, part)
            if entry.name.startswith(sha256) and entry.stat().st_uid == uid
        ]
        assert found.name.endswith(f".{uid}") is (owner != "own"), name
        assert faults_of_entry(found) == []


def _assert_silent(site: Site, store: Path, owner: str, *more: str) -> None:
    """The next installation needs no repair, no download, and changes no wheel's entry."""
    before = state_of(store / "wheels")
    assert _install(site, store, owner, *more) == []
    assert site.index.wheel_requests() == []
    assert state_of(store / "wheels") == before


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("kind", SEEN)
def test_damaged_entry_is_skipped_reported_and_healed(
    site: Site, store: Path, owner: str, kind: str
) -> None:
    _damage(site, store, kind)
    _assert_said(site, owner, _install(site, store, owner), USED)
    _assert_healed(site, store, owner, USED)
    _assert_silent(site, store, owner)


@pytest.mark.parametrize("owner", OWNERS)
def test_damage_with_the_same_size_and_time_is_reported_if_all_is_hashed(
    site: Site, store: Path, owner: str
) -> None:
    always = ("--sharedcache-verify", "always")
    _damage(site, store, "edited-unseen")
    _assert_said(site, owner, _install(site, store, owner, *always), USED)
    _assert_healed(site, store, owner, USED)
    _assert_silent(site, store, owner, *always)


@pytest.mark.parametrize("owner", OWNERS)
def test_a_file_and_the_wheel_damaged_are_downloaded_after_all(
    site: Site, store: Path, owner: str
) -> None:
    names = [name for name in USED if name not in ("d-wheel", "d-manifest", "d-bytecode")]
    _damage(site, store, "truncated", names)
    for name in names:
        damage(_entry(site, store, name) / _wheel(site, name).name, "edited-unseen", store.parent)
    warnings = _install(site, store, owner)
    _assert_said(site, owner, warnings, names)
    asked = sorted(Path(path).name for path in site.index.wheel_requests())
    assert asked == sorted(_wheel(site, name).name for name in names)
    _assert_healed(site, store, owner, names)
    _assert_silent(site, store, owner)


@pytest.mark.parametrize("owner", ["own"])
@pytest.mark.parametrize("kind", ["deleted", "unreadable"])
def test_damage_beside_a_sound_copy_is_silent_and_healed_once_by_its_publisher(
    site: Site, store: Path, owner: str, kind: str
) -> None:
    _damage(site, store, kind, USED)
    warned = _install(site, store, owner, user="userb")
    assert len(warned) == len(USED), "userb publishes a sound one beside each"
    site.index.clear()
    for _ in range(2):
        assert _install(site, store, owner, user="userc") == []
    _assert_said(site, owner, _install(site, store, owner), USED)
    _assert_healed(site, store, owner, USED)
    assert faults_of_store(store) == []
    before = state_of(store / "wheels")
    for user in ("usera", "userb", "userc"):
        assert _install(site, store, owner, user=user) == []
    assert state_of(store / "wheels") == before
    assert site.index.wheel_requests() == []


@pytest.mark.parametrize("owner", ["own"])
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_links_lead_into_the_sound_copy_beside_a_damaged_entry(
    site: Site, store: Path, owner: str, mode: str
) -> None:
    names, how = ["d-source", "d-data"], {"PIP_SHAREDCACHE_LINK_MODE": mode}
    _damage(site, store, "deleted", names)
    warned = []
    for user in ("userb", "usera", "usera", "userb"):
        environment = site.environment(site.account(user))
        said = site.install(site.account(user), environment, store, *names, **how)
        warned.append(said.count("WARNING: "))
        for name in names:
            path = FILES[name].partition("/")[2]
            placed = environment.site_packages / path
            with zipfile.ZipFile(_wheel(site, name)) as wheel:
                assert placed.read_bytes() == wheel.read(path)
            if len(warned) > 1:
                assert placed.is_symlink() is (mode == "symlink")
    assert warned == [2, 2, 0, 0]
    assert faults_of_store(store) == []


def _verify(site: Site, store: Path, account: Account | None, *more: str) -> tuple[int, str]:
    command = site.template.command("store", "verify", *more)
    done = run_as(account, command, env=site.settings(store))
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("kind", KINDS)
def test_store_verify_finds_all_of_it_and_heals_it(
    site: Site, store: Path, owner: str, kind: str
) -> None:
    usera, userb, publisher = site.accounts.usera, site.accounts.userb, _publisher(site, owner)
    names = ["d-program", "d-script"] if kind == "not-executable" else list(FILES)
    paths = {_entry(site, store, name) for name in names}
    _damage(site, store, kind, names)

    status, out = _verify(site, store, userb, "--json")
    assert status == 1
    found = json.loads(out)
    each = "a wheel, bytecode and a judged page each, and one resolution"
    assert found["checked"] == 3 * (len(FILES) + 1) + 1, each
    assert {Path(one["path"]) for one in found["damaged"]} == paths
    assert {one["publisher"] for one in found["damaged"]} == {_name(site, owner)}

    before, who = state_of(store), f"{publisher.name} or root" if publisher else "root"
    status, out = _verify(site, store, userb, "--fix", "-v")
    assert status == 1
    assert out.count(f"hint: {who} can run the same command") == len(names)
    assert state_of(store) == before, "others than the publisher change nothing"

    status, out = _verify(site, store, publisher, "--fix")
    assert f"{len(names)} damaged, {len(names)} of them repaired." in out
    assert _verify(site, store, usera)[0] == 0
    assert faults_of_store(store) == []
    assert _install(site, store, owner) == []


@pytest.mark.parametrize("owner", ["own"])
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_no_link_is_made_to_a_program_that_cannot_be_run(
    site: Site, store: Path, owner: str, mode: str
) -> None:
    """A link has the mode of the store's file: that is looked at, too."""
    usera, names = site.accounts.usera, ["d-program"]
    _damage(site, store, "not-executable", names)
    environment = site.environment(usera)
    tool = environment.site_packages / "d_program" / "bin" / "tool"
    said = site.install(usera, environment, store, *names, PIP_SHAREDCACHE_LINK_MODE=mode)
    assert stat.S_IMODE(tool.stat().st_mode) & 0o111 == 0o111
    _assert_said(site, owner, said.splitlines(), names)
    _assert_healed(site, store, owner, names)


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize(("column", "value"), [(0, "d_source/other.py"), (3, 1)])
def test_manifest_that_contradicts_its_wheel_is_not_trusted(
    site: Site, store: Path, owner: str, column: int, value: object
) -> None:
    """A name and the executable bit are nothing that a look at the files could tell."""
    manifest = _entry(site, store, "d-source") / "entry.json"
    data = json.loads(manifest.read_bytes())
    (row,) = [row for row in data["files"] if row[0] == "d_source/__init__.py"]
    row[column] = value
    rewrite(manifest, json.dumps(data).encode())
    _assert_said(site, owner, _install(site, store, owner), ["d-source"])
    _assert_healed(site, store, owner, ["d-source"])
    _assert_silent(site, store, owner)
