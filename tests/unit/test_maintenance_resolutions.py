"""Resolutions in the commands: gc, verify, list, stats, doctor, export."""

from __future__ import annotations

import json
import os
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance import collect
from pip_sharedcache.model import Digest, Entry, Installed
from pip_sharedcache.pip_adapter import resolver_seams
from pip_sharedcache.pip_adapter.seams import Seam
from pip_sharedcache.store import (
    RESOLUTIONS,
    Store,
    find_resolutions,
    make_visible,
    publish,
    run_log,
    stage_resolution,
    stale_staging,
    usage_marks,
)
from pip_sharedcache.store.staging import stage_record
from support.damage import damage
from support.faults import visible_entries
from support.probes import linux, needs, root
from support.process import as_user
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, GROUP = 54321, 54399
KEY, OTHER = Digest("ab" + "1" * 62), Digest("cd" + "2" * 62)
DAY = 24 * 3600
KINDS = ["emptied", "edited", "edited-unseen", "edited-at-once", "deleted", "symlink", "fifo"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture
def store(shared_tmp: Path) -> Store:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    return Store.make(shared_tmp / "store")


def resolution(at: int = 1_700_000_000, *requirements: Any) -> dict[str, Any]:
    return {
        "at": at,
        "question": {
            "requirements": [
                {"requirement": one, "url": "", "constraint": False}
                if isinstance(one, str)
                else one
                for one in requirements
            ]
        },
        "result": [["demo", "1.0"], ["other", "2.0"]],
    }


def put(store: Store, key: Digest = KEY, **more: Any) -> Entry:
    data = resolution(*more.pop("data", ()))
    (entry,) = make_visible(store, [stage_resolution(store, key, data, **more)])
    assert isinstance(entry, Entry)
    return entry


def age(store: Store, entry: Entry, days: float) -> None:
    """Let the resolution be published days ago."""
    then = time.time() - days * DAY
    entry.path.chmod(0o755)
    os.utime(entry.path, (then, then))
    entry.path.chmod(0o555)


def said(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


def test_gc_retires_a_resolution_by_its_last_use(store: Store) -> None:
    old, used = put(store), put(store, OTHER)
    for entry in (old, used):
        age(store, entry, 100)
    usage_marks.mark_used(store, [used.path.name])
    done = collect(store, older_than=50 * DAY)
    assert [item.path for item in done.retired] == [old.path]
    assert find_resolutions(store, KEY) == ()
    assert len(find_resolutions(store, OTHER)) == 1, "none of its wheels is in the store"


def test_gc_without_age_keeps_resolutions_and_their_usage_marks(store: Store) -> None:
    entry = put(store)
    age(store, entry, 400)
    usage_marks.mark_used(store, [entry.path.name])
    assert collect(store).retired == ()
    assert entry.path.name in usage_marks.last_uses(store)
    assert len(find_resolutions(store, KEY)) == 1


def test_gc_counts_resolutions_in_the_size(store: Store) -> None:
    entries = [put(store), put(store, OTHER)]
    for number, entry in enumerate(entries):
        age(store, entry, 10 + number)
    with Directory.open(entries[0].path) as held:
        done = collect(store, max_size=fs.tree_size(held))
    assert [item.path for item in done.retired] == [entries[1].path]


def test_gc_deletes_retired_resolutions_and_leftovers_of_killed_publishers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put(store)
    dead = entry.path.with_name(f".dead-{entry.path.name}-x")
    entry.path.rename(dead)
    left = dead.with_name(f".new-{fs.HOST}-999999999-abcdef")
    left.mkdir()
    stale_staging._swept.clear()
    assert (collect(store).kept, left.exists()) == (1, False)
    now = usage_marks.now(store)
    monkeypatch.setattr(usage_marks, "now", lambda store: now + 3601)
    assert collect(store).deleted == 1
    assert list(dead.parent.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_verify_finds_and_removes_a_damaged_resolution(
    store: Store, shared_tmp: Path, kind: str, no_hanging: None, capsys: Captured
) -> None:
    entry = put(store)
    assert cli.main(["store", "verify", "--json"]) == 0
    assert said(capsys)["checked"] == 1
    damage(entry.path / "files" / "resolution.json", kind, shared_tmp / "outside")
    assert cli.main(["store", "verify", "--fix", "--json"]) == 1
    (told,) = said(capsys)["damaged"]
    assert (told["path"], told["title"], told["fixed"]) == (str(entry.path), "resolution", True)
    assert visible_entries(store.path, RESOLUTIONS) == []
    assert cli.main(["store", "verify"]) == 0


def test_verify_finds_a_resolution_that_is_none(store: Store, capsys: Captured) -> None:
    staged = stage_record(store, RESOLUTIONS, KEY, "resolution.json", b"[" * 9999, lambda: None)
    make_visible(store, [staged])
    assert cli.main(["store", "verify", "--json"]) == 1
    (told,) = said(capsys)["damaged"]
    assert "is no resolution" in told["damage"][0]["what"]


def test_list_shows_resolutions(store: Store, capsys: Captured) -> None:
    assert cli.main(["store", "list", "--resolutions"]) == 0
    assert capsys.readouterr().out == f"{store.path} holds no resolutions yet.\n"
    requirements: tuple[Any, ...] = (
        "Demo>=1",
        "numpy[x]==2 ; python_version > '3'",
        "a @ https://h/a.whl",
    )
    requirements += ({"requirement": "other<2", "url": "", "constraint": True},)
    requirements += ({"requirement": "", "url": "https://h/x.zip", "constraint": False},)
    old = put(store, data=(1_600_000_000, *requirements))
    new = put(store, OTHER, data=(1_700_000_000, "\x1b[2J", 7))
    assert cli.main(["store", "list", "--resolutions", "--json"]) == 0
    first, second = said(capsys)["resolutions"]
    assert (first["key"], first["requirements"], first["recorded"]) == (
        *(OTHER, ["\x1b[2J"], "2023-11-14T22:13:20Z"),
    )
    assert second["requirements"] == ["Demo", "numpy", "a", "https://h/x.zip"]
    assert (second["path"], second["distributions"]) == (str(old.path), 2)
    assert second["publisher"] == first["used_by"]
    assert second["bytes"] == old.manifest.files[0].size
    assert (second["trusted"], second["damage"]) == (True, None)
    assert cli.main(["store", "list", "--resolutions"]) == 0
    head, one, two, total = capsys.readouterr().out.splitlines()
    assert total.startswith("Total: 2 resolutions, ")
    assert head.split() == [
        *("key", "distributions", "requirements", "publisher", "recorded", "last", "used", "size"),
    ]
    assert "\\x1b[2J" in one
    assert "Demo, numpy, a and 1 more" in two
    assert "2020-09-13" in two
    assert new.path.name.startswith(one.split()[0])


@pytest.mark.parametrize(
    ("name", "status", "found"), [("DEMO", 0, 1), (KEY[:8], 0, 1), ("numpy", 1, 0)]
)
def test_list_takes_names_of_requirements_and_keys(
    store: Store, capsys: Captured, name: str, status: int, found: int
) -> None:
    put(store, data=(1, "demo>=1"))
    put(store, OTHER, data=(2, "else"))
    assert cli.main(["store", "list", "--resolutions", "--json", name]) == status
    assert len(said(capsys)["resolutions"]) == found


@needs(root)
def test_list_reads_no_resolution_of_an_untrusted_publisher(
    shared_tmp: Path, capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    Store.make(shared_tmp / "store", str(GROUP))
    with as_user(ALICE, GROUP):
        put(Store.open(shared_tmp / "store"), data=(1, "demo"))
    assert cli.main(["store", "list", "--resolutions", "--json"]) == 0
    (told,) = said(capsys)["resolutions"]
    assert (told["trusted"], told["distributions"], told["requirements"]) == (False, None, [])
    with as_user(ALICE, GROUP):
        assert cli.main(["store", "list", "--resolutions", "--json"]) == 0
    (told,) = said(capsys)["resolutions"]
    assert (told["trusted"], told["distributions"], told["requirements"]) == (True, 2, ["demo"])


def test_list_names_a_damaged_resolution(store: Store, capsys: Captured) -> None:
    staged = stage_record(store, RESOLUTIONS, KEY, "resolution.json", b"[]", lambda: None)
    make_visible(store, [staged])
    assert cli.main(["store", "list", "--resolutions"]) == 1
    assert "Damaged entry of" in capsys.readouterr().out


def test_list_of_wheels_shows_no_resolutions(store: Store, capsys: Captured) -> None:
    put(store)
    assert cli.main(["store", "list", "--bytecode", "--json"]) == 0
    assert said(capsys)["entries"] == []


def test_stats_count_resolutions_and_what_they_saved(store: Store, capsys: Captured) -> None:
    entry = put(store)
    run = run_log.Run(
        *(1_800_000_000, "/e", "copy", "", 2.5, 0, 0, 0, 0.0, 0),
        (Installed("demo-1.0-py3-none-any.whl", 5, "found"),),
    )
    run_log.append_run(store, replace(run, resolution="recorded"))
    for _ in range(2):
        run_log.append_run(
            store, replace(run, resolution="reused", requests_saved=137, seconds_saved=4.4)
        )
    assert cli.main(["store", "stats", "--json", "--by", "user"]) == 0
    told = said(capsys)
    size = entry.manifest.files[0].size
    assert (told["entries"], told["wheels"], told["stored"]) == (1, 0, size)
    assert (told["resolutions"], told["resolutions_stored"]) == (1, size)
    assert (told["resolutions_recorded"], told["resolutions_reused"]) == (1, 2)
    assert (told["requests_saved"], round(told["seconds_saved"], 3)) == (274, 8.8)
    assert told["by"] == "user"
    (of_user,) = told["groups"]
    assert of_user["resolutions_reused"] == 2
    assert cli.main(["store", "stats"]) == 0
    out = capsys.readouterr().out
    assert f"Resolutions:     1 of {size} bytes: 1 run recorded one, 2 reused one\n" in out
    assert "Not resolved:    9 seconds, 274 requests\n" in out


def test_export_leaves_resolutions_out(store: Store, shared_tmp: Path, capsys: Captured) -> None:
    put(store)
    wheel = make_wheel(shared_tmp, "demo")
    publish(store, wheel, wheel.name, Digest(digest(wheel)))
    assert cli.main(["store", "export", str(shared_tmp / "all.tar")]) == 0
    with tarfile.open(shared_tmp / "all.tar") as archive:
        assert [name.partition("/")[2] for name in archive.getnames()] == [wheel.name]


def _without_resolutions(store: Store) -> None:
    for shard in (store.path / RESOLUTIONS).iterdir():
        shard.rmdir()
    (store.path / RESOLUTIONS).rmdir()


def _doctor(environment: Path, *options: str) -> int:
    environment.mkdir(exist_ok=True)
    return cli.main(["store", "doctor", "--environment", str(environment), *options])


def test_doctor_has_nothing_against_an_older_store_of_one_user(
    store: Store, shared_tmp: Path, capsys: Captured
) -> None:
    _without_resolutions(store)
    assert _doctor(shared_tmp / "environment", "--json") == 0
    assert said(capsys)["facts"]["directories"] == {"expected": 773, "differing": 0}


def test_doctor_says_whether_resolutions_are_reused(
    store: Store, shared_tmp: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line() -> str:
        _doctor(shared_tmp / "environment")
        (found,) = [one for one in capsys.readouterr().out.splitlines() if "resolutions:" in one]
        return found.partition(":")[2].strip()

    assert line() == "recorded and reused"
    missing = Seam("pip._internal.nowhere", "Resolver.resolve", ())
    monkeypatch.setattr(resolver_seams, "ALL", (missing,))
    assert line() == (
        "neither recorded nor reused with this pip: "
        "pip._internal.nowhere.Resolver.resolve is missing"
    )
    os.environ["PIP_SHAREDCACHE_RESOLUTIONS"] = "off"
    assert line() == "neither recorded nor reused: resolutions = off"
    os.environ.update(PIP_SHAREDCACHE_RESOLUTIONS="on", PIP_SHAREDCACHE_OFFLINE="yes")
    assert line() == "neither recorded nor reused: offline = yes"


@needs(root)
def test_doctor_says_whether_resolutions_are_recorded_by_who_may_only_read(
    shared_tmp: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.make(shared_tmp / "store", str(GROUP))
    (shared_tmp / "environment").mkdir()
    reader = "reused from trusted publishers; not recorded (publishing not {})"
    cases = (
        ("store", GROUP, "recorded and reused"),
        ("store", 54321, reader.format("possible for you: you may read the store only")),
        ("store read-only", GROUP, reader.format("tried: the settings call the store read-only")),
        ("none-such", GROUP, "neither recorded nor reused: no store can be used"),
    )
    for named, gid, expected in cases:
        monkeypatch.setenv("PIP_SHAREDCACHE_DIR", str(shared_tmp / named))
        with as_user(ALICE, gid):
            _doctor(shared_tmp / "environment")
        assert f"resolutions: {expected}" in " ".join(capsys.readouterr().out.split()), named


@needs(root)
def test_doctor_says_what_an_older_store_of_a_group_lacks(
    shared_tmp: Path, capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    store = Store.make(shared_tmp / "store", str(GROUP))
    _without_resolutions(store)
    assert _doctor(shared_tmp / "environment", "--json") == 1
    findings = [one for one in said(capsys)["findings"] if one["name"] == "no-resolutions"]
    (finding,) = findings
    missing = store.path / RESOLUTIONS
    assert finding["sentence"] == f"{missing} is missing: users share no resolutions in this store"
    assert finding["command"] == f"pip-sharedcache store init --group {GROUP} {store.path}"
    _doctor(shared_tmp / "environment", "--fix", "--json")
    capsys.readouterr()
    assert len(list(missing.iterdir())) == 256
    with as_user(ALICE, GROUP):
        put(Store.open(store.path))
    assert _doctor(shared_tmp / "environment") == 0


@needs(root)
def test_info_of_an_older_store_says_nothing_of_resolutions(
    shared_tmp: Path, capsys: Captured
) -> None:
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "store")
    store = Store.make(shared_tmp / "store", str(GROUP))
    _without_resolutions(store)
    for command in (["info"], ["list"], ["list", "--resolutions"], ["gc"], ["verify"], ["stats"]):
        with as_user(ALICE, GROUP):
            assert cli.main(["store", *command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "missing" not in captured.err
