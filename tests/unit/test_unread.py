"""What cannot be read is neither sound nor damaged, and each command says so in the same way."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import cli, fs
from pip_sharedcache.maintenance.retention import GRACE
from pip_sharedcache.model import Digest, Entry
from pip_sharedcache.store import Store, find, publish, usage_marks
from support.damage import rewrite
from support.mirror import mirrored
from support.probes import fuse, linux, needs, root
from support.process import as_user
from support.wheels import digest, make_wheel

pytestmark = [needs(linux), pytest.mark.usefixtures("own_environment")]

ALICE, GROUP = 54321, 54399
EIO, ESTALE = os.strerror(errno.EIO), os.strerror(errno.ESTALE)
REFUSED = os.strerror(errno.EACCES)
COMMANDS = ("verify", "list", "gc", "stats", "report", "doctor")
NAMES = ("demo", "other", "third")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@dataclass
class Served:
    """A store on a file server, with three entries in three shards.

    ``store``: as the client sees it.
    ``entries``: the entries, by distribution.
    ``faults``: the file of the mirror's faults.
    """

    store: Store
    entries: dict[str, Entry]
    faults: Path
    outside: Path

    def fail(self, question: str, error: str, path: Path, times: int = -1) -> None:
        """Let the server answer questions about a path with an error."""
        line = f"{question} {error} {times} {path.relative_to(self.store.path.parent)}\n"
        with self.faults.open("a") as file:
            file.write(line)

    def run(self, command: str, *more: str) -> int:
        options = {
            "report": ["--html", str(self.outside / "page.html")],
            "doctor": ["--environment", str(self.outside)],
        }
        return cli.main(["store", command, *options.get(command, []), *more])


def _publish_all(store: Store, base: Path) -> dict[str, Entry]:
    found = {}
    for name in NAMES:
        wheel = make_wheel(base / "wheels", name, files={f"{name}/a.py": f"A = '{name}'\n"})
        found[name] = publish(store, wheel, wheel.name, Digest(digest(wheel)))
    assert len({entry.path.parent for entry in found.values()}) == len(NAMES)
    return found


@pytest.fixture
def outside(shared_tmp: Path) -> Path:
    path = shared_tmp / "outside"
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def served(shared_tmp: Path, outside: Path) -> Iterator[Served]:
    (shared_tmp / "server" / "store").mkdir(parents=True)  # with few shards: each is asked for
    faults = shared_tmp / "faults"
    faults.touch()
    os.environ["PIP_SHAREDCACHE_DIR"] = str(shared_tmp / "client" / "store")
    with mirrored(shared_tmp / "client", shared_tmp / "server", faults=faults):
        store = Store.open(shared_tmp / "client" / "store")
        yield Served(store, _publish_all(store, shared_tmp), faults, outside)


def _lines(what: str, path: Path, why: str, numbers: str) -> tuple[str, str]:
    return (
        f"Cannot read {what} of the store: {path}: {why}",
        f"Not read, so neither sound nor damaged: {numbers}",
    )


def _assert_said(command: str, out: str, path: Path, why: str) -> None:
    is_entry = len(path.name) == 64
    what, numbers = ("an entry", "1 entry") if is_entry else ("a directory", "1 directory")
    line, total = _lines(what, path, why, numbers)
    assert line in out, command
    assert total in out, command
    assert "amaged entry" not in out
    assert "1 damaged" not in out


@needs(fuse)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["shard", "entry"])
@pytest.mark.parametrize("error", ["EIO", "ESTALE"])
def test_what_the_server_fails_to_read_is_counted_by_itself(
    served: Served, command: str, where: str, error: str, capsys: Captured
) -> None:
    path = served.entries["demo"].path
    if where == "shard":
        path = path.parent
        served.fail("readdir", error, path)
    else:
        served.fail("opendir", error, path)
    assert served.run(command) == 1
    out = capsys.readouterr().out
    _assert_said(command, out, path, os.strerror(getattr(errno, error)))
    if command == "verify":
        assert f"Checked 2 entries of {served.store.path}: all are sound." in out
    if command == "list":
        assert "demo-1.0" not in out
        assert "other-1.0" in out


@needs(fuse)
@pytest.mark.parametrize("command", ["verify", "gc", "stats", "report"])
def test_json_lists_what_is_unread(served: Served, command: str, capsys: Captured) -> None:
    path = served.entries["demo"].path
    served.fail("opendir", "EIO", path)
    assert served.run(command, "--json") == 1
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["unread"] == [{"path": str(path), "reason": EIO}]
    if command == "verify":
        assert (result["checked"], result["damaged"]) == (2, [])


@needs(fuse)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("question", ["readdir", "opendir", "read", "lookup"])
def test_a_handle_that_a_restarted_server_lost_is_asked_for_again(
    served: Served, command: str, question: str, capsys: Captured
) -> None:
    """The kernel itself looks up a path a second time, and opens a file a second time."""
    path = served.entries["demo"].path
    times = {"readdir": 1, "opendir": 2, "lookup": 2, "read": 1}[question]
    served.fail(question, "ESTALE", path if question == "read" else path.parent, times)
    assert served.run(command) == 0
    assert "annot" not in capsys.readouterr().out


@needs(fuse)
def test_an_entry_with_a_file_that_cannot_be_read_is_not_checked(
    served: Served, capsys: Captured
) -> None:
    """And what lies below a directory that cannot be read is not missing."""
    demo, other = served.entries["demo"].path, served.entries["other"].path
    served.fail("opendir", "EIO", demo / "files" / "demo")
    served.fail("read", "EIO", other / "files" / "other" / "a.py")
    assert served.run("verify") == 1
    out = capsys.readouterr().out
    assert f"{demo}: files/demo: {EIO}\n" in out
    assert f"{other}: files/other/a.py: {EIO}\n" in out
    assert "Not read, so neither sound nor damaged: 2 entries\n" in out
    assert "Checked 1 entry of" in out
    assert "missing" not in out


@needs(fuse)
def test_damage_counts_as_damage_although_another_file_is_unread(
    served: Served, capsys: Captured
) -> None:
    demo = served.entries["demo"].path
    server = served.faults.parent / "server" / demo.relative_to(served.store.path.parent)
    rewrite(server / "files" / "demo-1.0.dist-info" / "METADATA", b"x")
    served.fail("read", "EIO", demo / "files" / "demo" / "a.py")
    assert served.run("verify", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["checked"] == 3
    assert [one["path"] for one in result["damaged"]] == [str(demo)]
    assert result["unread"] == [{"path": str(demo), "reason": f"files/demo/a.py: {EIO}"}]


@needs(fuse)
@pytest.mark.parametrize("part", ["wheel", "file"])
def test_fixing_retires_nothing_that_cannot_be_read(
    served: Served, part: str, capsys: Captured
) -> None:
    """Where its wheel is sound, an entry is made anew: a file on a bad block stays unreadable."""
    demo = served.entries["demo"]
    where = demo.wheel if part == "wheel" else demo.path / "files" / "demo" / "a.py"
    before = demo.path.stat().st_ino
    served.fail("read", "EIO", where)
    assert served.run("verify", "--fix") == 1
    out = capsys.readouterr().out
    if part == "wheel":
        assert "not repaired: some of it cannot be read now" in out
        assert demo.path.stat().st_ino == before
    else:
        assert "made anew from its own wheel" in out
    assert demo.path.is_dir()
    assert not list(served.store.path.glob("*/??/.dead-*")) or part == "file"


@needs(fuse)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("question", ["opendir", "readdir"])
def test_usage_marks_that_cannot_be_read_are_said(
    served: Served, command: str, question: str, capsys: Captured
) -> None:
    use = served.store.path / "use" / str(os.getuid())
    usage_marks.mark_used(served.store, [served.entries["demo"].path.name])
    served.fail(question, "EIO", use)
    assert served.run(command) == 1
    assert _lines("a directory", use, EIO, "1 directory")[0] in capsys.readouterr().out


@needs(fuse)
@pytest.mark.parametrize("command", ["verify", "gc", "list", "stats"])
@pytest.mark.parametrize("where", ["use", "use/user"])
def test_stale_handles_of_usage_marks_are_asked_for_again(
    served: Served, command: str, where: str
) -> None:
    usage_marks.mark_used(served.store, [served.entries["demo"].path.name])
    path = served.store.path / where.replace("user", str(os.getuid()))
    served.fail("readdir", "ESTALE", path, times=1)
    assert served.run(command) == 0


@needs(fuse)
@pytest.mark.parametrize("question", ["opendir", "readdir"])
def test_gc_retires_nothing_if_usage_marks_cannot_be_read(
    served: Served, question: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    later = time.time() + 3 * GRACE
    monkeypatch.setattr(usage_marks, "now", lambda store: later)
    use = served.store.path / "use" / str(os.getuid())
    usage_marks.mark_used(served.store, [served.entries["demo"].path.name])
    served.fail(question, "EIO", use)
    assert served.run("gc", "--older-than", "0", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["retired"] == []
    assert [one["path"] for one in result["unread"]] == [str(use)]
    served.faults.write_text("")
    assert served.run("gc", "--older-than", "0", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["retired"]) == len(NAMES)


@needs(fuse)
@pytest.mark.parametrize("where", ["shard", "entry"])
def test_gc_keeps_the_usage_marks_of_entries_that_it_cannot_read(
    served: Served, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = time.time() + 3 * GRACE
    monkeypatch.setattr(usage_marks, "now", lambda store: later)
    entry = served.entries["demo"].path
    absent = "ab" * 32
    usage_marks.mark_used(served.store, [entry.name, absent])
    served.fail("opendir", "EIO", entry.parent if where == "shard" else entry)
    assert served.run("gc") == 1
    marks = os.listdir(served.store.path / "use" / str(os.getuid()))
    assert entry.name in marks
    assert absent not in marks


@needs(fuse)
@pytest.mark.parametrize("question", ["readdir", "opendir", "read", "lookup"])
def test_a_lookup_finds_the_entry_by_new_handles(served: Served, question: str) -> None:
    entry = served.entries["demo"]
    times = {"readdir": 1, "opendir": 2, "lookup": 2, "read": 1}[question]
    served.fail(question, "ESTALE", entry.path, times)
    found = find(served.store, entry.manifest.digest, entry.manifest.filename)
    assert found.entry is not None
    assert found.unreadable == []


# -- what the system refuses to a user


@needs(root)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["shard", "entry"])
def test_what_a_user_may_not_read_is_counted_by_itself(
    shared_tmp: Path, outside: Path, command: str, where: str, capsys: Captured
) -> None:
    store = Store.make(shared_tmp / "store", str(GROUP))
    os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
    entries = _publish_all(store, shared_tmp)
    path = entries["demo"].path
    path = path.parent if where == "shard" else path
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode & 0o3700)
    served = Served(store, entries, shared_tmp, outside)
    with as_user(ALICE, groups=[GROUP]):
        assert served.run(command) == 1
    _assert_said(command, capsys.readouterr().out, path, REFUSED)


@needs(root)
def test_an_entry_that_its_own_publisher_may_not_read_is_damaged(
    shared_tmp: Path, outside: Path, capsys: Captured
) -> None:
    """Only the mode can be the cause, and the publisher can repair it."""
    store = Store.make(shared_tmp / "store", str(GROUP))
    os.environ["PIP_SHAREDCACHE_DIR"] = str(store.path)
    with as_user(ALICE, groups=[GROUP]):
        entries = _publish_all(store, outside)
        served = Served(store, entries, shared_tmp, outside)
        entries["demo"].path.chmod(0)
        assert served.run("verify") == 1
        assert "1 damaged" in capsys.readouterr().out
        assert served.run("verify", "--fix") == 1
        assert "1 of them repaired" in capsys.readouterr().out
        assert served.run("verify") == 0
