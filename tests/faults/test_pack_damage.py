"""Every kind of damage to a pack, to the manifest in it and to the wheel beside it: what is
installed is right, it is said whose entry was damaged, and the next installation finds a sound one.

As in test_damage for trees; here there is one distribution for each kind and file, and all are
installed at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_shared_store import Site, rich_wheel, running_site
from support import packed, probes
from support.accounts import Account, Accounts, run_as
from support.damage import KINDS, damage, rewrite
from support.faults import faults_of_entry, faults_of_store, state_of, visible_entries
from support.packed import PACK
from support.trees import differences, snapshot
from support.wheels import digest, make_wheel

pytestmark = [pytest.mark.multiuser, probes.needs(probes.accounts, probes.tmpfs)]

#: What size, time, kind and mode of a file tell.
SEEN = [kind for kind in KINDS if kind not in ("edited-unseen", "not-executable")]
#: The files of a packed entry, and of packed bytecode.
PARTS = ("pack", "wheel", "bytecode")


def _swapped(manifest: dict[str, Any]) -> None:
    """Two files of a pack are each where the other is."""
    rows = manifest["files"]
    rows[0][5], rows[1][5] = rows[1][5], rows[0][5]


def _rows(change: Callable[[list[Any]], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        return packed.with_manifest(data, lambda manifest: change(manifest["files"]))

    return changed


def _of_bytecode(data: bytes) -> int:
    """Where in a pack some bytecode lies."""
    return int(packed.manifest_of(data)["files"][0][5])


Edit = Callable[[bytes], bytes]

#: What is done to the end of a pack, whose time is kept, and noticed at a look-up, or when the
#: manifest is compared with the wheel.
INDEX: dict[str, Edit] = {
    "a byte": lambda data: packed.flipped(data, packed.span(data)[0] + 9),
    "a byte of the comment": lambda data: packed.flipped(data, len(data) - 12),
    "cut before it": lambda data: data[: packed.span(data)[0]],
    "no json": lambda data: packed.with_text(data, b"{"),
    "of trees": lambda data: packed.with_manifest(data, lambda one: one.update(format=1)),
    "of another wheel": lambda data: packed.with_manifest(
        data, lambda one: one.update(sha256="0" * 64)
    ),
    "one row less": _rows(lambda rows: rows.pop()),
    "without offsets": _rows(lambda rows: [row.pop() for row in rows]),
    "outside": _rows(lambda rows: rows[0].__setitem__(5, 1 << 40)),
    "a size": _rows(lambda rows: rows[0].__setitem__(1, rows[0][1] + 1)),
}
#: What only the bytes show.
UNSEEN: dict[str, Edit] = {
    "a byte of a file": lambda data: packed.flipped(data, packed.row_of(data, "data.txt")[0]),
    "a byte of a source": lambda data: packed.flipped(
        data, packed.row_of(data, "er/__init__.py")[0]
    ),
    "bytecode byte": lambda data: packed.flipped(data, _of_bytecode(data) + 20),
    "two files in each other's place": lambda data: packed.with_manifest(data, _swapped),
    "all at one place": _rows(lambda rows: [row.__setitem__(5, 60) for row in rows]),
}
#: What no installation needs.
UNUSED: dict[str, Edit] = {
    "a header": lambda data: packed.flipped(data, 14),
    "the archive's list": lambda data: packed.flipped(data, packed.span(data)[1] + 20),
}
#: Whose entries; they are installed one after another, or side by side.
OWNERS = {"own": {"PIP_SHAREDCACHE_PROCESSES": "1"}, "root": {"PIP_SHAREDCACHE_PROCESSES": "2"}}
#: Not damaged: with so many files it is worth to install side by side.
MANY = "many"
owners = pytest.mark.parametrize("owner", OWNERS)


def _named(what: str) -> str:
    return f"p-{re.sub('[^a-z]+', '-', what)}"


BY_KIND = {_named(f"{part} {kind}"): (part, kind) for part in PARTS for kind in SEEN}
BY_EDIT = {_named(what): edit for what, edit in {**INDEX, **UNSEEN, **UNUSED}.items()}
INDEX_NAMES, UNSEEN_NAMES = [_named(what) for what in INDEX], [_named(what) for what in UNSEEN]
NAMES = [*BY_KIND, *BY_EDIT]


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            rich_wheel(found.wheels, name.replace("-", "_"))
        make_wheel(found.wheels, MANY, files={f"many/{n}.txt": str(n) for n in range(500)})
        yield found


@pytest.fixture(autouse=True)
def _environments_removed(site: Site) -> Iterator[None]:
    yield
    site.remove_environments()


@pytest.fixture(scope="module")
def filled(site: Site) -> dict[str, Path]:
    """Packed stores of the group's in which all was published by usera, or by root, their owner."""
    stores = {}
    for name in OWNERS:
        publisher = _publisher(site, name)
        stores[name] = site.make_store(None, layout="packed")
        site.install(publisher, site.environment(publisher), stores[name], *NAMES, MANY)
        assert len(visible_entries(stores[name], "bytecode")) == len(NAMES) + 1
        assert faults_of_store(stores[name]) == []
        assert all(map(packed.is_packed, visible_entries(stores[name])))
    return stores


@pytest.fixture
def store(site: Site, filled: dict[str, Path], owner: str) -> Path:
    copy = site.directory() / "store"
    subprocess.run(["cp", "-a", filled[owner], copy], check=True)
    return copy


def _publisher(site: Site, owner: str) -> Account | None:
    return site.accounts.usera if owner == "own" else None


def _whose(site: Site, owner: str) -> str:
    publisher = _publisher(site, owner)
    return publisher.name if publisher else "root"


def _wheel(site: Site, name: str) -> Path:
    return site.wheels / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"


def _area(name: str) -> str:
    return "bytecode" if name.startswith("p-bytecode") else "wheels"


def _entry(site: Site, store: Path, name: str) -> Path:
    sha256 = digest(_wheel(site, name))
    (entry,) = (store / _area(name) / sha256[:2]).glob(f"{sha256}*")
    return entry


def _damage(site: Site, store: Path, names: Iterable[str]) -> None:
    outside = site.directory()
    for name in names:
        entry = _entry(site, store, name)
        if name in BY_EDIT:
            pack = entry / PACK
            rewrite(pack, BY_EDIT[name](pack.read_bytes()))
            continue
        part, kind = BY_KIND[name]
        damage(entry / (_wheel(site, name).name if part == "wheel" else PACK), kind, outside / name)


def _install(site: Site, store: Path, owner: str, *more: str, **settings: str) -> list[str]:
    """Install all as usera into a new environment, which must be as plain pip makes it; returns
    what was warned of. The requests that the index has counted are those of this."""
    expected = site.plain_tree(0o022, *NAMES, MANY)
    site.index.clear()
    environment = site.environment(site.accounts.usera)
    chosen: dict[str, Any] = {**OWNERS[owner], **settings}
    # Without -v, many warnings of one kind are one line.
    words = ("-v", *NAMES, MANY, *more)
    said = site.install(site.accounts.usera, environment, store, *words, **chosen)
    assert differences(expected, snapshot(environment.prefix)) == []
    site.remove_environments()
    return [line for line in map(str.strip, said.splitlines()) if line.startswith("WARNING:")]


def _assert_said(site: Site, owner: str, warnings: list[str], names: Iterable[str]) -> None:
    """One line for each, with whose entry was damaged, and what was done; and none else."""
    whose, left = _whose(site, owner), list(warnings)
    where = "in its place" if owner == "own" else "beside it as"
    for name in names:
        expected = rf"Damaged entry.*\b{whose}\b.*; a sound one was published {where}"
        if _area(name) == "bytecode":
            expected = rf"Damaged bytecode.*\b{whose}\b.* is compiled anew: .*"
            expected = rf"Damaged bytecode in .* is compiled anew: .*by {whose}\)|{expected}"
        entry = digest(_wheel(site, name))
        about = [w for w in warnings if entry in w or _wheel(site, name).name in w]
        assert len(about) == 1, "\n".join([name, *about])
        assert re.search(expected, about[0]), f"{name}: {about[0]}"
        left.remove(about[0])
    assert left == []


def _assert_healed(site: Site, store: Path, owner: str, names: Iterable[str]) -> None:
    """A sound pack of usera's is there for each: in place of his own, or beside another user's."""
    uid = site.accounts.usera.uid
    for name in names:
        sha256 = digest(_wheel(site, name))
        (found,) = [
            entry
            for entry in visible_entries(store, _area(name))
            if entry.name.startswith(sha256) and entry.stat().st_uid == uid
        ]
        assert found.name.endswith(f".{uid}") is (owner != "own"), name
        assert packed.is_packed(found), name
        assert faults_of_entry(found) == []


def _assert_silent(site: Site, store: Path, owner: str, *more: str) -> None:
    """The next installation needs no repair, no download, and changes no wheel's entry."""
    before = state_of(store / "wheels")
    assert _install(site, store, owner, *more) == []
    assert site.index.wheel_requests() == []
    assert state_of(store / "wheels") == before


@owners
@pytest.mark.product
def test_damaged_pack_is_skipped_reported_and_healed(site: Site, store: Path, owner: str) -> None:
    names = [*BY_KIND, *INDEX_NAMES]
    _damage(site, store, names)
    _assert_said(site, owner, _install(site, store, owner), names)
    _assert_healed(site, store, owner, names)
    _assert_silent(site, store, owner)


@owners
@pytest.mark.product
def test_pack_with_the_same_size_and_time_is_reported_if_all_is_hashed(
    site: Site, store: Path, owner: str
) -> None:
    always = ("--sharedcache-verify", "always")
    _damage(site, store, BY_EDIT)
    names = [*INDEX_NAMES, *UNSEEN_NAMES]
    _assert_said(site, owner, _install(site, store, owner, *always), names)
    _assert_healed(site, store, owner, names)
    _assert_silent(site, store, owner, *always)


def _verify(site: Site, store: Path, account: Account | None, *more: str) -> tuple[int, str]:
    command = site.template.command("store", "verify", *more)
    done = run_as(account, command, env=site.settings(store))
    assert done.stderr == ""
    return done.returncode, done.stdout


@owners
@pytest.mark.product
def test_store_verify_finds_all_damage_of_packs_and_heals_it(
    site: Site, store: Path, owner: str
) -> None:
    usera, userb, publisher = site.accounts.usera, site.accounts.userb, _publisher(site, owner)
    paths = {_entry(site, store, name): name for name in NAMES}
    _damage(site, store, NAMES)

    status, out = _verify(site, store, userb, "--json")
    assert status == 1
    found = json.loads(out)
    each = "a wheel, bytecode and a judged page each, and one resolution"
    assert found["checked"] == 3 * (len(NAMES) + 1) + 1, each
    missed = paths.keys() - {Path(one["path"]) for one in found["damaged"]}
    assert {paths[path] for path in missed} == set()
    assert len(found["damaged"]) == len(NAMES)
    assert {one["publisher"] for one in found["damaged"]} == {_whose(site, owner)}

    status, out = _verify(site, store, publisher, "--fix")
    assert f"{len(NAMES)} damaged, {len(NAMES)} of them repaired." in out
    assert _verify(site, store, usera)[0] == 0
    assert faults_of_store(store) == []
    assert all(map(packed.is_packed, visible_entries(store)))
    assert _install(site, store, owner) == []


def _resolution(kind: str, data: bytes) -> bytes:
    """The pack of a record with damage that its own manifest describes, or not."""
    (row,) = packed.manifest_of(data)["files"]
    if kind == "a byte":
        return packed.flipped(data, row[5] + row[1] // 2)
    if kind == "outside":
        return packed.with_manifest(data, lambda one: one["files"][0].__setitem__(5, 1 << 40))
    if kind == "another name":
        return packed.with_manifest(data, lambda one: one["files"][0].__setitem__(0, "x.json"))
    content = {"brackets": b"[" * (1 << 20), "no json": b"{", "empty": b""}[kind]
    new = [row[0], len(content), hashlib.sha256(content).hexdigest(), 0, row[4], 0]
    text = json.dumps({**packed.manifest_of(data), "files": [new]}).encode()
    return packed.with_text(content, text, len(content))


@pytest.mark.parametrize("owner", ["own"])
def test_damaged_records_of_a_packed_store_cost_only_their_reuse(
    site: Site, store: Path, owner: str
) -> None:
    """One resolution, and a judged page for each project."""
    kinds = ["a byte", "outside", "another name", "brackets", "no json", "empty"]
    records = visible_entries(store, "resolutions")
    assert all(map(packed.is_packed, records))
    for number, entry in enumerate(records):
        pack = entry / PACK
        rewrite(pack, _resolution(kinds[number % len(kinds)], pack.read_bytes()))
    status, out = _verify(site, store, None, "--json")
    assert status == 1
    assert {Path(one["path"]) for one in json.loads(out)["damaged"]} == set(records)
    listing = site.template.command("store", "list", "--resolutions")
    listed = run_as(site.accounts.usera, listing, env=site.settings(store))
    assert listed.returncode == 1
    assert "Damaged entry of usera" in listed.stdout
    assert _install(site, store, owner) == []
    _verify(site, store, None, "--fix")
    assert _verify(site, store, None)[0] == 0
