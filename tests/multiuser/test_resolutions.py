"""Resolutions of other users in a group's store: whose are read, and what a member can plant."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multiuser.test_gc import DAY, LATER
from multiuser.test_shared_store import Site, entries, running_site
from support.accounts import Account, Accounts, run_as
from support.index import LocalIndex, Public
from support.probes import needs, tmpfs
from support.wheels import make_wheel

pytestmark = [pytest.mark.multiuser, needs(tmpfs)]

KEY = "ab" + "1" * 62

_BEGIN = f"""
import contextlib, json, os, sys
from pathlib import Path
from pip_sharedcache.config import load
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import (
    find_resolutions, make_visible, open_store, stage_resolution, usage_marks
)
store = open_store(load([], os.environ))
KEY = Digest("{KEY}")
"""
_PUBLISH = """
question = {"requirements": [{"requirement": "demo>=1"}]}
data = {"at": int(sys.argv[1]), "question": question, "result": ["demo https://h/demo.whl"]}
(outcome,) = make_visible(store, [stage_resolution(store, KEY, data)])
assert isinstance(outcome, Entry), outcome
print(outcome.path)
"""
_FIND = """
found = find_resolutions(store, KEY)
for one in found:
    with contextlib.suppress(PermissionError):
        usage_marks.mark_used(store, [one.entry.path.name])
print(json.dumps([[one.at, one.publisher] for one in found]))
"""
#: Evil under the names that a lookup reads, by a member who may publish.
_PLANT = """
shard = store.path / "resolutions" / KEY[:2]
def entry(name, files):
    top = shard / name
    (top / "files").mkdir(parents=True)
    for path, data in files.items():
        (top / path).write_bytes(data)
    for path in (top / "files", top):
        path.chmod(0o555)
good = b'{"format": 1, "filename": "resolution", "sha256": "%s", "size": 0, "files": []}'
brackets = b"[" * 60_000_000
os.mkfifo(shard / f"{KEY}.1")
(shard / f"{KEY}.2").symlink_to("/proc/self/fd/0")
(shard / f"{KEY}.3").symlink_to(shard / KEY)
(shard / f"{KEY}.4").write_text("a file")
entry(f"{KEY}.5", {"entry.json": brackets})
entry(f"{KEY}.6", {"entry.json": good % KEY.encode(), "files/resolution.json": brackets})
entry(f"{KEY}.7", {"files/resolution.json": b'{"format": 1, "at": 9}'})
(shard / f"{KEY}.8" / "files").mkdir(parents=True)
os.mkfifo(shard / f"{KEY}.8" / "entry.json")
with (shard / f"{KEY}.8" / "files" / "resolution.json").open("wb") as file:
    file.truncate(1 << 40)
(shard / f"{KEY}.8").chmod(0o555)
for number in range(100, 1100):
    (shard / f"{KEY}.{number}").mkdir()
"""


@pytest.fixture(scope="module")
def site(accounts: Accounts, public_python: Path) -> Iterator[Site]:
    with running_site(accounts, public_python) as found:
        yield found


def _run(site: Site, user: Account | None, store: Path, code: str, *words: str, **env: str) -> str:
    command = [str(site.template.python), "-c", _BEGIN + code, *words]
    done = run_as(user, command, env={**site.settings(store), **env}, check=True, timeout=100)
    return done.stdout.strip()


def _publish(site: Site, user: Account | None, store: Path, at: int) -> Path:
    return Path(_run(site, user, store, _PUBLISH, str(at)))


def _found(site: Site, user: Account | None, store: Path, **env: str) -> Any:
    return json.loads(_run(site, user, store, _FIND, **env))


def test_resolution_of_a_member_is_found_by_members_and_not_by_root(site: Site) -> None:
    usera, userb, userc = site.accounts.usera, site.accounts.userb, site.accounts.userc
    store = site.make_store(None)
    assert _publish(site, usera, store, 5).name == KEY
    assert _publish(site, userb, store, 7).name == f"{KEY}.{userb.uid}"
    both = [[7, userb.uid], [5, usera.uid]]
    for user in (usera, userb, userc):
        assert _found(site, user, store) == both
    assert _found(site, None, store) == []
    assert sorted(path.parent.name for path in store.glob("use/*/ab*")) == sorted(
        2 * [str(usera.uid), str(userb.uid)]
    ), "userc may not write there"
    done = run_as(
        userb,
        site.template.command("store", "list", "--resolutions", "--json", "demo"),
        env=site.settings(store),
        check=True,
    )
    assert [one["recorded"] for one in json.loads(done.stdout)["resolutions"]] == [
        "1970-01-01T00:00:07Z",
        "1970-01-01T00:00:05Z",
    ]


def test_resolution_of_a_stranger_is_not_published_in_a_groups_store(site: Site) -> None:
    store = site.make_store(None)
    with pytest.raises(AssertionError, match="ResolutionNotPublished"):
        _publish(site, site.accounts.userc, store, 5)
    assert list(store.glob("resolutions/*/*")) == []


@pytest.mark.parametrize("narrowed", ["by the owner", "by the setting", "by the names"])
def test_resolution_of_an_untrusted_publisher_is_found_by_nobody_else(
    site: Site, narrowed: str
) -> None:
    usera, userb = site.accounts.usera, site.accounts.userb
    store, env = site.make_store(None), {}
    if narrowed == "by the owner":
        text = json.dumps({"format": 1, "group": site.accounts.group, "trusted": [userb.name]})
        (store / "store.json").write_text(text)
    elif narrowed == "by the setting":
        env = {"PIP_SHAREDCACHE_TRUST": "owner"}
    else:
        env = {"PIP_SHAREDCACHE_TRUST": "root userc"}
    planted = _publish(site, usera, store, 9)
    assert _found(site, usera, store, **env) == [[9, usera.uid]]
    assert _found(site, userb, store, **env) == []
    own = _publish(site, userb, store, 5)
    assert (planted.name, own.name) == (KEY, f"{KEY}.{userb.uid}")
    assert _found(site, userb, store, **env) == [[5, userb.uid]]
    assert planted.is_dir()


def test_what_a_member_plants_costs_others_no_resolution_and_little_time(site: Site) -> None:
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.make_store(None)
    _publish(site, userb, store, 5)
    start = time.monotonic()
    assert _found(site, userb, store) == [[5, userb.uid]]
    before = time.monotonic() - start
    _run(site, usera, store, _PLANT)
    start = time.monotonic()
    assert _found(site, userb, store) == [[5, userb.uid]]
    assert time.monotonic() - start < before + 20
    assert _publish(site, userb, store, 6).name == KEY
    assert _found(site, userb, store) == [[6, userb.uid]]
    for command in (["list", "--resolutions"], ["gc", "--older-than", "1h"], ["stats"], ["verify"]):
        done = run_as(
            userb,
            site.template.command("store", *command, "--json"),
            env=site.settings(store),
            timeout=100,
        )
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr


def test_damaged_resolution_of_a_member_is_passed_for_one_beside_it(site: Site) -> None:
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.make_store(None)
    first = _publish(site, usera, store, 9)
    _publish(site, userb, store, 5)
    damage = "next((store.path / 'resolutions').glob(f'*/{KEY}/files/*.json'))"
    _run(site, usera, store, f"file = {damage}; file.chmod(0o644); file.write_text('{{')")
    assert _found(site, userb, store) == [[5, userb.uid]]
    assert _publish(site, usera, store, 10) == first
    assert _found(site, userb, store) == [[10, usera.uid], [5, userb.uid]]


def test_older_store_of_a_group_takes_resolutions_after_init(site: Site) -> None:
    usera, store = site.accounts.usera, site.make_store(None)
    for shard in [*store.glob("resolutions/*"), store / "resolutions"]:
        shard.rmdir()
    assert _found(site, usera, store) == []
    with pytest.raises(AssertionError, match="ResolutionNotPublished"):
        _publish(site, usera, store, 1)
    command = site.template.command(
        "store", "init", "--layout", "tree", "--group", site.accounts.group, store
    )
    run_as(None, command, env=site.settings(), check=True)
    _publish(site, usera, store, 1)
    assert _found(site, site.accounts.userb, store) == [[1, usera.uid]]


def test_collection_by_a_member_retires_their_own_resolutions_only(site: Site) -> None:
    usera, userb, store = site.accounts.usera, site.accounts.userb, site.make_store(None)
    of_usera, of_userb = _publish(site, usera, store, 5), _publish(site, userb, store, 7)
    command = [str(site.template.python), "-c", LATER, str(100 * DAY), "0"]
    command += ["store", "gc", "--older-than", "30d", "--json"]
    for user, left in ((usera, {of_userb}), (None, set())):
        done = run_as(user, command, env=site.settings(store))
        assert done.returncode in (0, 1), done.stderr
        assert {path for path in (of_usera, of_userb) if path.exists()} == left
    assert _found(site, usera, store) == []
    run_as(None, [*command[:3], str(100 * DAY), str(DAY), "store", "gc"], env=site.settings(store))
    assert [path for path in store.glob("resolutions/*/*") if path.name[0] == "."] == []


def test_what_pips_http_cache_has_is_shared_if_it_needs_no_password(site: Site) -> None:
    """A fresh page, and a wheel, come from there without a request, and so without the password."""
    usera, store, wheels = site.accounts.usera, site.make_store(None), site.directory()
    make_wheel(wheels, "secret", "1.0")
    with LocalIndex(wheels, credentials=("me", "word"), public=Public()) as index:
        caching = {"PIP_NO_CACHE_DIR": None, "PIP_CACHE_DIR": str(site.directory(usera))}
        filling = {**site.settings(), **index.variables, **caching}
        filled = site.environment(usera)
        run_as(usera, filled.plain("install", "secret"), env=filling, check=True)
        env = {**index.variables, **caching, "PIP_INDEX_URL": index.url}
        for credentials, shared in ((index.credentials, False), (None, True), (None, True)):
            index.credentials = credentials
            index.clear()
            environment = site.environment(usera)
            install = environment.command("install", "secret")
            run_as(usera, install, env={**site.settings(store), **env}, check=True)
            assert (environment.site_packages / "secret").is_dir()
            assert bool(entries(store)) is shared
            assert len(list(store.glob("resolutions/*/*"))) == 2 * shared
            assert not index.wheel_requests()
    assert not index.answers, "nothing was to be published"
