"""Packs and trees side by side: in several layers, in archives, in one store; and link modes."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_builds import Workshop
from multiuser.test_gc import gc
from multiuser.test_shared_store import Site, access, entry_of, inodes, rich_wheel, running_site
from support import packed, probes
from support.accounts import Account, Accounts, run_as
from support.damage import damage
from support.environments import Environment
from support.faults import faults_of_store, leftovers, visible_entries
from support.packed import PACK, contents, is_packed
from support.trees import differences, snapshot

pytestmark = [
    pytest.mark.multiuser,
    probes.needs(probes.accounts, probes.acl, probes.bind_mounts, probes.tmpfs),
]

NAMES = ("alpha", "beta")
#: Link modes that take trees only, and how files are placed from these.
LINKS = {"hardlink": "hard-linked", "symlink": "symlinked"}


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        for name in NAMES:
            rich_wheel(found.wheels, name)
        yield found


def _init(site: Site, account: Account | None, layout: str, *more: str) -> Path:
    store = site.directory(account) / "store"
    command = site.template.command("store", "init", "--layout", layout, *more, store)
    run_as(account, command, env=site.settings(), check=True)
    return store


def _switch(store: Path, layout: str) -> None:
    """As its owner does by hand."""
    told = json.loads((store / "store.json").read_text())
    assert told["format"] == 2
    (store / "store.json").write_text(json.dumps({**told, "layout": layout}))


def _assert_as_plain(site: Site, environment: Environment, *names: str) -> None:
    assert differences(site.plain_tree(0o022, *names), snapshot(environment.prefix)) == []


def _json(site: Site, account: Account | None, store: Path, *command: str) -> Any:
    done = run_as(
        account, site.template.command("store", "--json", *command), env=site.settings(store)
    )
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


# -- layers


@pytest.mark.parametrize(
    ("far", "near", "verify"),
    [("tree", "packed", "changed"), ("packed", "tree", "always"), ("packed", "packed", "changed")],
)
def test_a_nearer_layer_keeps_what_it_copies_in_its_own_form(
    site: Site, far: str, near: str, verify: str
) -> None:
    userb = site.accounts.userb
    there = _init(site, None, far)
    site.install(None, site.environment(None), there, "alpha")
    here = _init(site, userb, near)
    layers = Path(f"{here} backfill\n{there} read-only")
    site.index.clear()
    before = inodes(there)
    environment = site.environment(userb)
    said = site.install(userb, environment, layers, "alpha", PIP_SHAREDCACHE_VERIFY=verify)
    assert site.index.wheel_requests() == []
    _assert_as_plain(site, environment, "alpha")
    assert "WARNING" not in said
    assert inodes(there) == before
    for part in ("wheels", "bytecode"):
        (origin,), (copy,) = visible_entries(there, part), visible_entries(here, part)
        assert is_packed(origin) is (far == "packed")
        assert is_packed(copy) is (near == "packed")
        assert contents(copy) == contents(origin), "bytecode is copied, too, not compiled"
    assert faults_of_store(here) == []

    shutil.move(there, f"{there}.away")
    environment = site.environment(userb)
    site.index.clear()
    site.install(userb, environment, here, "alpha")
    assert site.index.wheel_requests() == []
    _assert_as_plain(site, environment, "alpha")


@pytest.mark.parametrize(("one", "other"), [("tree", "packed"), ("packed", "tree")])
def test_an_archive_goes_from_a_store_of_one_form_into_one_of_the_other(
    site: Site, one: str, other: str
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store, new = site.filled_store(*NAMES, layout=one), site.make_store(None, layout=other)
    archive = site.directory(usera) / "archive.tar"
    _json(site, usera, store, "export", str(archive))
    _json(site, userb, new, "import", str(archive))
    assert [is_packed(entry) for entry in visible_entries(new)] == [other == "packed"] * 2
    site.index.clear()
    environment = site.environment(userb)
    site.install(userb, environment, new, *NAMES)
    assert site.index.wheel_requests() == []
    _assert_as_plain(site, environment, *NAMES)
    assert faults_of_store(new) == []


# -- both in one store


@pytest.fixture
def mixed(site: Site) -> Path:
    """usera has published alpha as a pack, and as trees beta, and the bytecode of both."""
    usera, store = site.accounts.usera, site.make_store(None, layout="packed")
    site.install(usera, site.environment(usera), store, "--no-compile", "alpha")
    _switch(store, "tree")
    site.install(usera, site.environment(usera), store, *NAMES)
    assert is_packed(entry_of(store, "alpha"))
    assert not is_packed(entry_of(store, "beta"))
    assert not any(map(is_packed, visible_entries(store, "bytecode")))
    return store


def _links_of(store: Path, account: Account) -> str:
    notes = (store / "use" / str(account.uid)).glob("links-*")
    return "".join(note.read_text() for note in notes)


@pytest.mark.parametrize("mode", LINKS)
def test_packed_store_is_copied_from_where_links_are_asked_for(site: Site, mode: str) -> None:
    usera, store = site.accounts.usera, site.filled_store(*NAMES, layout="packed")
    environment = site.environment(usera)
    said = site.install(usera, environment, store, *NAMES, PIP_SHAREDCACHE_LINK_MODE=mode)
    _assert_as_plain(site, environment, *NAMES)
    assert said.count("packed") == 1, said
    (summary,) = (line for line in said.splitlines() if line.startswith("Shared store:"))
    assert f"(no {mode} here: files are packed in the store)" in summary
    assert "copied;" in summary
    assert "linked" not in summary
    assert _links_of(store, usera) == ""


def test_symlinks_outlive_a_change_to_packs(site: Site) -> None:
    """What userb has symlinks into stays a tree, with its bytecode; the rest is packed."""
    userb, store = site.accounts.userb, site.filled_store(*NAMES)
    environment = site.environment(userb)
    site.install(userb, environment, store, "alpha", PIP_SHAREDCACHE_LINK_MODE="symlink")
    links = [path for path in environment.prefix.rglob("*") if store in path.resolve().parents]
    assert {path.suffix for path in links} >= {".py", ".pyc"}
    alpha, beta = (entry_of(store, name) for name in NAMES)
    told = _json(site, None, store, "repack", "--layout", "packed")
    assert (told["changed"] > 0, told["left"]) == (True, 2), told
    assert not is_packed(alpha)
    assert is_packed(beta)
    assert all(path.is_file() for path in links)


@pytest.mark.parametrize("mode", LINKS)
def test_trees_of_a_mixed_store_are_linked_and_packs_copied(
    site: Site, mixed: Path, mode: str
) -> None:
    usera = site.accounts.usera
    environment = site.environment(usera)
    said = site.install(usera, environment, mixed, *NAMES, PIP_SHAREDCACHE_LINK_MODE=mode)
    (summary,) = (line for line in said.splitlines() if line.startswith("Shared store:"))
    assert LINKS[mode] in summary
    assert "copied" in summary
    assert f"(no {mode} here: files are packed in the store)" in summary
    library = environment.site_packages
    placed = {name: library / name / "data.txt" for name in NAMES}
    compiled = {name: next((library / name / "__pycache__").glob("empty.*")) for name in NAMES}
    for path in (placed["alpha"], compiled["alpha"]):  # its bytecode is a tree
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
    for path in (placed["beta"], compiled["beta"]):
        assert path.is_symlink() if mode == "symlink" else path.stat().st_nlink > 1
    assert entry_of(mixed, "alpha").name not in _links_of(mixed, usera)
    assert (entry_of(mixed, "beta").name in _links_of(mixed, usera)) is (mode == "symlink")


def test_garbage_collection_breaks_no_environment_of_a_mixed_store(site: Site, mixed: Path) -> None:
    """Nothing is registered for what was copied: its entries go, and the others stay."""
    usera, day = site.accounts.usera, 24 * 3600
    environment = site.environment(usera)
    mode: dict[str, Any] = {"PIP_SHAREDCACHE_LINK_MODE": "symlink"}
    site.install(usera, environment, mixed, *NAMES, **mode)
    gc(site, None, mixed, "--older-than", "1d", later=40 * day, deleting=80 * day)
    assert [entry.name for entry in visible_entries(mixed)] == [entry_of(mixed, "beta").name]
    assert [path for path in environment.site_packages.rglob("*") if not path.exists()] == []
    command = "import alpha, beta; print(alpha.__version__, beta.__version__)"
    assert run_as(usera, [environment.python, "-c", command]).stdout == "1.0 1.0\n"


@pytest.mark.parametrize("healer", ["verify", "installation"])
@pytest.mark.parametrize("what", ["files/beta/data.txt", "entry.json"])
def test_a_damaged_tree_to_which_symlinks_lead_becomes_no_pack(
    site: Site, mixed: Path, healer: str, what: str
) -> None:
    usera = site.accounts.usera
    environment = site.environment(usera)
    mode: dict[str, Any] = {"PIP_SHAREDCACHE_LINK_MODE": "symlink"}
    site.install(usera, environment, mixed, "beta", **mode)
    _switch(mixed, "packed")
    entry = entry_of(mixed, "beta")
    damage(entry / what, "truncated", site.directory())
    if healer == "verify":
        fix = site.template.command("store", "verify", "--fix")
        assert "1 of them repaired" in run_as(usera, fix, env=site.settings(mixed)).stdout
    else:
        said = site.install(usera, site.environment(usera), mixed, "beta")
        assert "a sound one was published in its place" in said
    assert not is_packed(entry)
    assert faults_of_store(mixed) == []
    command = "import beta, beta.deep.er; print(beta.__version__)"
    assert run_as(usera, [environment.python, "-c", command]).stdout == "1.0\n"


def test_commands_tell_the_same_of_packs_and_trees(site: Site) -> None:
    usera = site.accounts.usera
    told = {}
    for layout in ("tree", "packed"):
        store = site.filled_store(*NAMES, layout=layout)
        environment = site.environment(usera)
        site.install(usera, environment, store, *NAMES)
        told[layout] = facts = {
            "list": _json(site, usera, store, "list", "--bytecode")["entries"],
            "resolutions": _json(site, usera, store, "list", "--resolutions")["resolutions"],
            "info": _json(site, usera, store, "info", "alpha"),
            "stats": _json(site, usera, store, "stats"),
            "verify": _json(site, usera, store, "verify"),
        }
        assert facts["verify"]["damaged"] == []
        for item in facts["list"]:
            assert item["damage"] is None
        assert _json(site, usera, store, "info")["layout"] == layout
        page = store.parent / "page.html"
        _json(site, None, store, "report", "--html", str(page))
        assert "alpha" in page.read_text()
        findings = _json(site, usera, store, "doctor")["findings"]
        assert {one["name"] for one in findings} <= {"layout"}, findings
    for command in ("list", "resolutions"):
        one, other = ([_lasting(item) for item in told[kind][command]] for kind in told)
        assert one == other
        assert one


def _lasting(item: dict[str, Any]) -> dict[str, Any]:
    kept = ("files", "area", "publisher", "trusted", "damage", "distributions")
    title = item.get("title", "").partition("-")[0]  # that of bytecode has a time
    return {"title": title, **{name: item[name] for name in kept if name in item}}


def test_packs_are_collected_and_their_bytes_counted(site: Site) -> None:
    store, usera = site.filled_store(*NAMES, layout="packed"), site.accounts.usera
    day = 24 * 3600
    facts = json.loads(
        gc(site, usera, store, "--json", "--older-than", "30d", later=40 * day).stdout
    )
    assert len(facts["retired"]) >= 4
    assert visible_entries(store) == visible_entries(store, "bytecode") == []
    gc(site, usera, store, later=40 * day, deleting=80 * day)
    assert leftovers(store) == []


# -- who may what


@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_packs_have_their_modes_whatever_the_umask(site: Site, umask: int) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store = site.make_store(usera, umask=umask, layout="packed")
    site.install(usera, site.environment(usera), store, *NAMES, umask=umask)
    for part in ("wheels", "bytecode", "resolutions"):
        for entry in visible_entries(store, part):
            assert oct(stat.S_IMODE(entry.stat().st_mode)) == oct(0o555)
            modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in entry.iterdir()}
            assert modes == {oct(0o444)}
            assert (entry / PACK).exists()
    site.index.clear()
    environment = site.environment(userb)
    said = site.install(userb, environment, store, *NAMES, umask=umask)
    assert "WARNING" not in said
    assert site.index.wheel_requests() == []
    expected = site.plain_tree(umask, *NAMES)
    assert differences(expected, snapshot(environment.prefix)) == []


@pytest.mark.parametrize("way", ["read-only-mount", "read-only-mode"])
@pytest.mark.parametrize("mode", ["reflink", "symlink"])
def test_packed_store_that_is_only_read_serves_and_is_not_changed(
    site: Site, way: str, mode: str
) -> None:
    userb, store = site.accounts.userb, site.filled_store(*NAMES, layout="packed")
    environment = site.environment(userb)
    site.index.clear()
    with access(store, way) as seen:
        before = inodes(store / "wheels")
        said = site.install(userb, environment, seen, *NAMES, PIP_SHAREDCACHE_LINK_MODE=mode)
        assert inodes(store / "wheels") == before
    assert site.index.wheel_requests() == []
    assert "WARNING" not in said
    _assert_as_plain(site, environment, *NAMES)


def test_builds_and_resolutions_are_packed_and_shared(
    accounts: Accounts, public_python: Path
) -> None:
    with running_site(accounts, public_python) as site:
        workshop = Workshop(site)
        usera, userb = accounts.usera, accounts.userb
        store = workshop.make_store(None, "--builds", "--layout", "packed")
        assert workshop.install(usera, store)[2] == 1
        for part in ("builds", "resolutions", "wheels", "bytecode"):
            found = visible_entries(store, part)
            assert found
            assert all(map(is_packed, found)), part
            assert [packed.faults_of_pack(entry / PACK) for entry in found] == [[]] * len(found)
        expected, _, _ = workshop.install(userb, None)
        environment, said, built = workshop.install(userb, store)
        assert built == 0
        assert f"from the shared store, built by {usera.name}" in said
        assert "WARNING" not in said
        assert differences(snapshot(expected.prefix), snapshot(environment.prefix)) == []
        assert _json(site, userb, store, "verify")["damaged"] == []
        listed = _json(site, userb, store, "list", "--resolutions")["resolutions"]
        assert [one["damage"] for one in listed] == [None] * len(listed)
        assert listed
