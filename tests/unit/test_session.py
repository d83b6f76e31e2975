"""The flow for one wheel: what is found, published, kept private, spoiled, and what is said."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import struct
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import bytecode, fs
from pip_sharedcache import wheel as wheel_module
from pip_sharedcache.config import Settings
from pip_sharedcache.fs import remove_tree
from pip_sharedcache.model import Digest, LinkMode, Origin
from pip_sharedcache.placement import Placement, RunReport, commit, make_visible
from pip_sharedcache.session import notices
from pip_sharedcache.session import session as session_module
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import has_credentials, without_credentials
from pip_sharedcache.store import Spools, Store, lookup
from pip_sharedcache.store.layers import Layers
from support.probes import linux, needs, root
from support.process import as_user, file_size_limit
from support.wheels import digest as sha256
from support.wheels import make_wheel

pytestmark = needs(linux)

ALICE, GROUP = 54321, 54399
SHARED = Origin("https://index/demo.whl")
PRIVATE = Origin("https://index/private/demo.whl", "pip downloaded it with credentials")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs, "synchronise", lambda directory, files: None)


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, logger=session_module.__name__):
        yield


@pytest.fixture
def wheel(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels")


def _settings(path: Path, **changes: object) -> Settings:
    return Settings(path, "environment variable X", False, **changes)  # type: ignore[arg-type]


@pytest.fixture
def session(shared_tmp: Path) -> Session:
    (shared_tmp / "store").mkdir()
    return Session.start(_settings(shared_tmp / "store"))


def _digest(wheel: Path) -> Digest:
    return Digest(sha256(wheel))


def _install(session: Session, wheel: Path, origin: Origin | None = SHARED) -> bool:
    """Whether the wheel is installed through the store; nothing is placed."""
    if origin is not None:
        session.wheels.note(str(wheel), origin)
    begun = session.begin(str(wheel))
    if begun is None:
        return False
    begun.undo()
    return True


def _run(session: Session, wheel: Path, origin: Origin | None = SHARED) -> bool:
    """A whole run that installs one wheel."""
    done = _install(session, wheel, origin)
    session.finish()
    return done


def _again(session: Session, **changes: object) -> Session:
    """Another run with the same store."""
    return Session.start(_settings(session.settings.dir, **changes))


def _entries(session: Session, area: str = "wheels") -> int:
    assert session.layers.main is not None
    return len(list((session.layers.main.path / area).glob("??/[0-9a-f]*")))


def _hidden(session: Session) -> list[str]:
    """What is in staging or retired."""
    return [path.name for path in session.settings.dir.glob("*/??/.*")]


def _spoil_bytes(wheel: Path) -> None:
    """Other bytes of the same size and time."""
    before = wheel.stat()
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.chmod(0o644)
    wheel.write_bytes(bytes(data))
    wheel.chmod(0o444)
    os.utime(wheel, ns=(before.st_atime_ns, before.st_mtime_ns))


# -- starting


def test_a_store_that_cannot_be_used_is_said_once_with_its_source(
    tmp_path: Path, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session.start(_settings(tmp_path / "none"))
    assert session.layers.main is None
    assert session.lookup.find([_digest(wheel)], wheel.name) is None
    assert session.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    assert not _install(session, wheel)
    assert session.report.installed == 1
    assert session.summary() == ""
    (message,) = caplog.messages
    assert message.startswith("Installing without the shared store: ")
    assert str(tmp_path / "none") in message
    assert message.endswith("(environment variable X)")


def test_store_without_a_setting_is_made(tmp_path: Path) -> None:
    session = Session.start(Settings(tmp_path / "own", "default", True))
    assert session.layers.main is not None
    assert (tmp_path / "own").is_dir()


def test_notes_on_settings_are_said(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    Session.start(_settings(session.settings.dir, notes=("Unknown setting x is ignored",)))
    assert caplog.messages == ["Unknown setting x is ignored"]


def test_the_linker_gets_the_settings(tmp_path: Path) -> None:
    os.umask(0o027)
    settings = _settings(tmp_path, link_mode=LinkMode.HARDLINK, group_environment=False)
    made = Session.start(settings)._linker
    assert (made.choice.asked, made.umask, made.group_environment) == (
        LinkMode.HARDLINK,
        0o027,
        False,
    )


# -- installing


def test_a_wheel_is_published_at_the_end_and_then_found(session: Session, wheel: Path) -> None:
    assert _install(session, wheel)
    assert (session.report.published, _entries(session)) == (0, 0)
    assert _again(session).lookup.find([_digest(wheel)], wheel.name) is None, "not visible yet"
    session.finish()
    assert (session.report.published, session.report.found) == (1, 0)
    assert (_entries(session), _hidden(session)) == (1, [])
    again = _again(session)
    assert _run(again, wheel)
    assert (again.report.published, again.report.found, again.report.installed) == (0, 1, 1)
    assert _entries(session) == 1


def test_the_same_wheel_twice_in_a_run_is_found(session: Session, wheel: Path) -> None:
    assert _install(session, wheel)
    assert _install(session, wheel)
    session.finish()
    assert (session.report.installed, session.report.published, session.report.found) == (2, 1, 1)
    assert (_entries(session), _hidden(session)) == (1, [])


def test_what_is_staged_is_used_before_it_is_visible(session: Session, wheel: Path) -> None:
    """The same wheel for another distribution of the run, or for its bytecode."""
    assert _install(session, wheel)
    found = session.lookup.find([_digest(wheel)], wheel.name)
    assert found is not None
    assert found.path.name.startswith(".new-")
    assert found.wheel.read_bytes() == wheel.read_bytes()


def test_one_synchronisation_serves_a_whole_run(
    session: Session, shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(fs, "synchronise", lambda top, files: calls.append(len(list(files))))
    for name in ("one", "two", "three"):
        assert _install(session, make_wheel(shared_tmp / "wheels", name))
    assert calls == []
    session.finish()
    session.finish()
    assert len(calls) == 1
    assert (session.report.published, _entries(session)) == (3, 3)


def test_worker_leaves_the_staged_entries_of_its_parent(session: Session, wheel: Path) -> None:
    assert _install(session, wheel)
    session.enter_worker()
    part, error = session.end_worker([])
    assert (error, part.report.published) == (None, 0)
    assert (_entries(session), len(_hidden(session))) == (0, 1)


def test_task_of_a_worker_counts_from_0(session: Session, wheel: Path) -> None:
    assert _install(session, wheel)
    session.enter_worker()
    assert session.begin_task() == []
    assert session.report == RunReport()
    assert _install(session, wheel)
    assert (session.report.installed, session.report.found) == (1, 1)


def test_a_run_that_published_nothing_does_not_wait_for_the_disk(
    session: Session, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(session, wheel)
    monkeypatch.delattr(fs, "synchronise")
    assert _run(_again(session), wheel)


def test_a_disk_that_is_full_at_the_end_is_said_once_and_leaves_nothing(
    session: Session,
    shared_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(directory: Path, files: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(fs, "synchronise", full)
    for name in ("one", "two"):
        assert _install(session, make_wheel(shared_tmp / "wheels", name))
    session.finish()
    (message,) = caplog.messages
    assert message.startswith("Installed without publishing: ")
    assert os.strerror(errno.EDQUOT) in message
    assert session.report.published == 0
    assert (_entries(session), _hidden(session)) == (0, [])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_a_run_interrupted_at_its_end_leaves_nothing_in_staging(
    session: Session,
    shared_tmp: Path,
    kind: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(directory: Path, files: object) -> None:
        raise kind

    monkeypatch.setattr(fs, "synchronise", interrupted)
    for name in ("one", "two"):
        assert _install(session, make_wheel(shared_tmp / "wheels", name))
    with pytest.raises(kind):
        session.finish()
    assert (_entries(session), _hidden(session)) == (0, [])


def test_who_is_faster_publishes_and_the_other_installs_all_the_same(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = _again(session)
    assert _install(session, wheel)
    assert _run(other, wheel)
    assert (other.report.published, _entries(session)) == (1, 1)
    session.finish()
    assert session.report.published == 0
    assert (_entries(session), _hidden(session)) == (1, [])
    assert caplog.messages == []


def test_symlinks_name_the_visible_entry(session: Session, wheel: Path) -> None:
    """The staging directory is gone when the run ends, and with it what points there."""
    linking = _again(session, link_mode=LinkMode.SYMLINK)
    linking.wheels.note(str(wheel), SHARED)
    begun = linking.begin(str(wheel))
    assert begun is not None
    assert begun.entry.path.name == _digest(wheel)
    assert (_entries(session), linking.report.published) == (1, 1)
    begun.undo()


def test_symlinks_name_the_entry_of_the_faster_publisher(session: Session, wheel: Path) -> None:
    linking = _again(session, link_mode=LinkMode.SYMLINK)
    linking.wheels.note(str(wheel), SHARED)
    assert linking.lookup.find([_digest(wheel)], wheel.name) is None
    find, won = lookup.find, []

    def beaten(*args: Any) -> Any:
        """Finds nothing at first; then somebody publishes."""
        found = find(*args)
        if not won:
            won.append(True)
            assert _run(_again(session), wheel)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "find", beaten)
        begun = linking.begin(str(wheel))
    assert begun is not None
    assert begun.entry.path.name == _digest(wheel)
    assert linking.report.published == 0
    assert (_entries(session), _hidden(session)) == (1, [])
    begun.undo()


def test_a_wheel_that_was_built_here_is_left_to_pip(session: Session, wheel: Path) -> None:
    assert not _run(session, wheel, None)
    assert session.report.installed == 1
    assert _entries(session) == 0


def test_a_private_wheel_is_not_published_but_used_where_it_is_there(
    session: Session, wheel: Path
) -> None:
    assert not _run(session, wheel, PRIVATE)
    assert _entries(session) == 0
    assert _run(_again(session), wheel, SHARED)
    assert _run(_again(session), wheel, PRIVATE)


def test_a_private_wheel_below_a_shared_prefix_is_published(session: Session, wheel: Path) -> None:
    assert _run(_again(session, share=("https://index/private",)), wheel, PRIVATE)
    assert _entries(session) == 1


def test_a_wheel_that_was_served_is_found_without_reading_it(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    later = Session.start(session.settings)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    later.lookup.serve(entry)
    later.lookup.serve(entry)
    assert later.report.not_downloaded == wheel.stat().st_size, "counted once"
    assert _install(later, entry.wheel)
    assert later.report.found == 1


def test_any_of_several_digests_will_do(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    session = _again(session)
    other = Digest("ab" * 32)
    assert session.lookup.find([other, _digest(wheel)], wheel.name) is not None
    assert session.lookup.find([other], wheel.name) is None
    assert session.lookup.find([], wheel.name) is None


def test_an_unusual_wheel_is_left_to_pip_without_a_word(
    session: Session, shared_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = make_wheel(shared_tmp / "odd", record=None)
    assert not _run(session, odd)
    assert _hidden(session) == []
    assert caplog.messages == []
    assert session.report.published == 0


def test_a_wheel_that_is_gone_is_left_to_pip(session: Session, wheel: Path) -> None:
    wheel.unlink()
    assert not _install(session, wheel)


def test_a_store_that_cannot_take_it_is_said_in_one_line(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with file_size_limit(100):
        assert not _run(session, wheel)
    assert _hidden(session) == []
    (message,) = caplog.messages
    assert message.startswith("Installed without publishing: ")
    assert str(session.settings.dir) in message
    assert "\n" not in message


@needs(root)
def test_a_store_that_may_not_be_written_is_no_warning(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert session.layers.main is not None
    (session.layers.main.path / "wheels").mkdir()
    with as_user(ALICE):
        reading = Session.start(session.settings)
        assert not _install(reading, wheel)
    assert caplog.messages == []
    assert "1 installed by pip alone: you may not write the store;" in reading.summary()


# -- damage


def test_damaged_entry_is_not_used_again_and_its_publisher_named(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    later.lookup.mark_damaged(entry, "a file is missing")
    later.lookup.mark_damaged(entry, "another file is missing too")
    assert later.lookup.find([_digest(wheel)], wheel.name) is None
    later.wheels.note(str(wheel), SHARED)
    begun = later.begin(str(wheel))
    assert begun is not None
    assert begun.entry.identity != entry.identity, "unpacked anew from the wheel just checked"
    begun.undo()
    assert caplog.messages == [], "what was done about it is not known yet"
    later.finish()
    (message,) = caplog.messages
    assert "a file is missing" in message
    assert Path(entry.path).owner() in message
    assert message.endswith("; a sound one was published in its place")


def test_an_entry_that_is_deleted_before_it_is_opened_is_not_called_damaged(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    remove_tree(entry.path)
    later.wheels.note(str(wheel), SHARED)
    assert later.begin(str(wheel)) is None, "pip installs it"
    (message,) = caplog.messages
    assert message == f"{entry.path} is gone from the shared store: pip installs its own wheel"


def test_damaged_entry_is_not_used_for_symlinks(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    linking = _again(session, link_mode=LinkMode.SYMLINK)
    entry = linking.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    _spoil_bytes(entry.wheel)
    linking.lookup.mark_damaged(entry, "other bytes")
    linking.wheels.note(str(wheel), SHARED)
    begun = linking.begin(str(wheel))
    if begun is not None:
        begun.undo()
        assert begun.entry.identity != entry.identity
        assert begun.entry.wheel.read_bytes() == wheel.read_bytes()


def test_own_damaged_entry_is_replaced_at_the_end(session: Session, wheel: Path) -> None:
    """Else every later run would download the wheel again."""
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    _spoil_bytes(entry.wheel)
    later.lookup.mark_damaged(entry, "other bytes")
    assert _run(later, wheel)
    found = _again(session).lookup.find([_digest(wheel)], wheel.name)
    assert found is not None
    assert found.wheel.read_bytes() == wheel.read_bytes()
    assert _hidden(session) == []


def test_an_entry_that_vanished_meanwhile_is_left_to_pip(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    entry.path.rename(entry.path.with_name(".dead-x"))
    assert not _install(later, wheel)
    later.finish()
    (message,) = caplog.messages
    assert str(entry.path) in message


def test_a_staged_entry_that_vanished_is_left_to_pip_and_not_published(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert _install(session, wheel)
    entry = session.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    fs.remove_tree(entry.path)
    assert not _install(session, wheel)
    session.finish()
    assert any(str(entry.path) in message for message in caplog.messages)
    assert (session.report.published, _entries(session), _hidden(session)) == (0, 0, [])
    assert all("\n" not in message for message in caplog.messages)


def test_what_is_wrong_with_an_entry_is_said_once(
    session: Session, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(session, wheel)
    assert session.layers.main is not None
    entry = session.layers.main.path / "wheels" / _digest(wheel)[:2] / _digest(wheel)
    (entry / "entry.json").chmod(0o666)
    later = Session.start(session.settings)
    for _ in range(3):
        assert later.lookup.find([_digest(wheel)], wheel.name) is None
    for _ in range(2):
        later.finish()
    (message,) = caplog.messages
    assert str(entry) in message


# -- bytecode

SOURCES = {
    "demo/__init__.py": "ANSWER = 42\n",
    "demo/bad.py": "this is no Python\n",
    "demo/codec.py": "# coding: cp1252\nX = 1\n",
    "demo/data.txt": "text\n",
}


@pytest.fixture
def sources(shared_tmp: Path) -> Path:
    return make_wheel(shared_tmp / "wheels", files=SOURCES)


@contextmanager
def _placed(session: Session, wheel: Path, library: Path) -> Iterator[Placement]:
    """Its sources are in the library; at the end it is committed."""
    session.wheels.note(str(wheel), SHARED)
    begun = session.begin(str(wheel))
    assert begun is not None
    session.bytecode.provide(begun)
    for path in SOURCES:
        assert begun.save(path, str(library / path))
    yield begun
    begun.commit()


def _compiled(library: Path, path: str = "demo/__init__.py") -> Path:
    return Path(importlib.util.cache_from_source(str(library / path)))


def test_bytecode_is_placed_or_left_to_pip(session: Session, sources: Path, tmp_path: Path) -> None:
    with _placed(session, sources, tmp_path) as begun:
        assert session.bytecode.save(begun, str(tmp_path / "demo/__init__.py"))
        assert not session.bytecode.save(begun, str(tmp_path / "demo/bad.py"))
        assert not session.bytecode.save(begun, str(tmp_path / "demo/codec.py"))
        assert not session.bytecode.save(begun, str(tmp_path / "elsewhere.py"))
    assert os.listdir(tmp_path / "demo" / "__pycache__") == [_compiled(tmp_path).name]
    header = _compiled(tmp_path).read_bytes()[:16]
    status = (tmp_path / "demo/__init__.py").stat()
    assert header[:4] == importlib.util.MAGIC_NUMBER
    assert struct.unpack("<III", header[4:]) == (0, int(status.st_mtime), status.st_size)


def test_bytecode_is_compiled_once_and_shared_at_the_end(
    session: Session, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _placed(session, sources, tmp_path / "one") as begun:
        session.bytecode.save(begun, str(tmp_path / "one" / "demo/__init__.py"))
    assert _entries(session, "bytecode") == 0
    session.finish()
    assert (_entries(session, "bytecode"), _hidden(session)) == (1, [])
    assert session.report.published == 1, "bytecode is no wheel"
    monkeypatch.delattr(bytecode, "compile_all")
    again = _again(session)
    with _placed(again, sources, tmp_path / "two") as begun:
        assert again.bytecode.save(begun, str(tmp_path / "two" / "demo/__init__.py"))
        assert not again.bytecode.save(begun, str(tmp_path / "two" / "demo/bad.py"))
    assert _compiled(tmp_path / "two").read_bytes() == _compiled(tmp_path / "one").read_bytes()


def test_bytecode_of_sources_of_another_time_is_not_used(
    session: Session, sources: Path, tmp_path: Path
) -> None:
    """The wheel was published anew: a .pyc that names the old time would never be used."""
    with _placed(session, sources, tmp_path / "one") as begun:
        session.bytecode.save(begun, str(tmp_path / "one" / "demo/__init__.py"))
    session.finish()
    entry = begun.entry.path.with_name(_digest(sources))
    fs.remove_tree(entry)
    later = _again(session)
    in_a_minute = time.time() + 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: in_a_minute)
        with _placed(later, sources, tmp_path / "two") as begun:
            assert later.bytecode.save(begun, str(tmp_path / "two" / "demo/__init__.py"))
    later.finish()
    status = (tmp_path / "two" / "demo/__init__.py").stat()
    (named,) = struct.unpack("<I", _compiled(tmp_path / "two").read_bytes()[8:12])
    assert named == int(status.st_mtime)
    assert named != int((tmp_path / "one" / "demo/__init__.py").stat().st_mtime)
    assert (_entries(session, "bytecode"), _hidden(session)) == (1, [])


def test_where_bytecode_cannot_be_shared_pip_compiles(
    session: Session,
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with _placed(session, sources, tmp_path) as begun:
        for path in SOURCES:
            assert not session.bytecode.save(begun, str(tmp_path / path))
    session.finish()
    assert _entries(session, "bytecode") == 0
    assert not (tmp_path / "demo" / "__pycache__").exists()


def test_damaged_bytecode_is_said_once_and_pip_compiles(
    session: Session, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _placed(session, sources, tmp_path / "one") as begun:
        session.bytecode.save(begun, str(tmp_path / "one" / "demo/__init__.py"))
    session.finish()
    (stored,) = session.settings.dir.glob("bytecode/*/*/files/demo/__pycache__/*.pyc")
    stored.chmod(0o644)
    stored.write_bytes(b"")
    later = _again(session)
    with _placed(later, sources, tmp_path / "two") as begun:
        for _ in range(2):
            assert not later.bytecode.save(begun, str(tmp_path / "two" / "demo/__init__.py"))
    assert not _compiled(tmp_path / "two").exists()
    (message,) = caplog.messages
    assert message.startswith("Damaged bytecode of ")
    assert "compiled anew" in message
    assert str(stored) in message


def test_bytecode_that_was_deleted_meanwhile_is_gone_and_not_damaged(
    session: Session, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _placed(session, sources, tmp_path / "one") as begun:
        session.bytecode.save(begun, str(tmp_path / "one" / "demo/__init__.py"))
    session.finish()
    later = _again(session)
    with _placed(later, sources, tmp_path / "two") as begun:
        (entry,) = session.settings.dir.glob("bytecode/*/*")
        fs.remove_tree(entry)
        for _ in range(2):
            assert not later.bytecode.save(begun, str(tmp_path / "two" / "demo/__init__.py"))
    later.finish()
    assert caplog.messages == [f"{entry} is gone from the shared store: compiled after all"]
    assert _entries(session, "bytecode") == 0


def test_bytecode_that_does_not_fit_the_store_is_said_and_pip_compiles(
    session: Session,
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(entry: object, source: object, spools: Spools, *, hashes: bool) -> Any:
        spools.add("half.pyc", b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bytecode, "compile_all", full)
    with _placed(session, sources, tmp_path) as begun:
        for _ in range(2):
            assert not session.bytecode.save(begun, str(tmp_path / "demo/__init__.py"))
    (message,) = caplog.messages
    assert message.startswith("Installed without publishing: ")
    session.finish()
    assert (_entries(session), _entries(session, "bytecode"), _hidden(session)) == (1, 0, [])


@needs(root)
def test_bytecode_of_a_stranger_is_not_placed(
    shared_tmp: Path, sources: Path, tmp_path: Path
) -> None:
    """It cannot be checked against anything."""
    store = shared_tmp / "store"
    store.mkdir()
    store.chmod(0o1777)
    theirs = shared_tmp / "theirs"
    theirs.mkdir(mode=0o777)
    theirs.chmod(0o777)
    with as_user(ALICE):
        session = Session.start(_settings(store))
        with _placed(session, sources, theirs) as begun:
            session.bytecode.save(begun, str(theirs / "demo/__init__.py"))
        session.finish()
    (stored,) = store.glob("bytecode/*/*/files/demo/__pycache__/*.pyc")
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:16] + b"poison")
    own = Session.start(_settings(store))
    with _placed(own, sources, tmp_path) as begun:
        assert own.bytecode.save(begun, str(tmp_path / "demo/__init__.py"))
    assert b"poison" not in _compiled(tmp_path).read_bytes()
    own.finish()
    assert _entries(own, "bytecode") == 2


@needs(root)
def test_in_a_store_that_may_not_be_written_pip_compiles_without_a_word(
    session: Session, sources: Path, shared_tmp: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _run(session, sources)
    theirs = shared_tmp / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    with as_user(ALICE):
        reading = _again(session)
        with _placed(reading, sources, theirs) as begun:
            assert not reading.bytecode.save(begun, str(theirs / "demo/__init__.py"))
    assert caplog.messages == []


def test_undone_bytecode_is_taken_back(session: Session, sources: Path, tmp_path: Path) -> None:
    session.wheels.note(str(sources), SHARED)
    begun = session.begin(str(sources))
    assert begun is not None
    session.bytecode.provide(begun)
    begun.save("demo/__init__.py", str(tmp_path / "demo/__init__.py"))
    assert session.bytecode.save(begun, str(tmp_path / "demo/__init__.py"))
    begun.undo()
    assert os.listdir(tmp_path) == []


def test_bytecode_is_compiled_from_the_checked_sources(
    shared_tmp: Path, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The way to the store leads elsewhere a moment later (root through sudo): to a copy with other
    sources, of the same times and sizes."""
    link, genuine, evil = shared_tmp / "link", shared_tmp / "genuine", shared_tmp / "evil"
    genuine.mkdir()
    link.symlink_to(genuine)
    _run(Session.start(_settings(link)), sources)
    shutil.copytree(genuine, evil)
    (edited,) = evil.glob("wheels/*/*/files/demo/__init__.py")
    _spoil_bytes(edited)
    session = Session.start(_settings(link))
    session.wheels.note(str(sources), SHARED)
    begun = session.begin(str(sources))
    assert begun is not None
    link.unlink()
    link.symlink_to(evil)
    session.bytecode.provide(begun)
    begun.save("demo/__init__.py", str(tmp_path / "demo/__init__.py"))
    assert not session.bytecode.save(begun, str(tmp_path / "demo/__init__.py"))
    begun.commit()
    session.finish()
    assert (message := caplog.messages[0]).startswith("Bytecode in the shared store is not used: ")
    assert message.endswith(" was replaced while it was in use")
    assert list(shared_tmp.glob("*/bytecode/*/*")) == []


def test_bytecode_is_not_compiled_from_what_was_put_in_place_of_what_we_stage(
    session: Session, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner of a sticky shard, in a store made by hand, may rename what others have in it."""
    session.wheels.note(str(sources), SHARED)
    begun = session.begin(str(sources))
    assert begun is not None
    staged = begun.entry.path
    assert staged.name.startswith(".new-")
    staged.rename(staged.with_name("away"))
    shutil.copytree(staged.with_name("away"), staged)
    _spoil_bytes(staged / "files" / "demo" / "__init__.py")
    session.bytecode.provide(begun)
    assert begun.bytecode is None
    assert "was replaced while it was in use" in caplog.messages[0]
    begun.undo()
    session.finish()
    assert _entries(session, "bytecode") == 0


# -- durable before it is cloned


@pytest.mark.parametrize("files", [299, 5])
def test_many_fresh_files_are_made_durable_together_before_they_are_cloned(
    session: Session, shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    synced: list[int] = []

    def synchronise(directory: Path, files: Iterable[Path]) -> None:
        synced.append(len(list(files)))

    monkeypatch.setattr(fs, "synchronise", synchronise)
    wheel = make_wheel(shared_tmp / "many", files={f"demo/{n}.txt": "" for n in range(files)})
    session.wheels.note(str(wheel), SHARED)
    begun = session.begin(str(wheel))
    assert begun is not None
    for _ in range(2):
        session.before_placing()
    assert len(synced) == (1 if files > 100 else 0), "once is enough"
    begun.undo()
    session.links.refusals[LinkMode.REFLINK] = "not here"
    other = make_wheel(shared_tmp / "many", "other", files={f"o/{n}.txt": "" for n in range(files)})
    session.wheels.note(str(other), SHARED)
    more = session.begin(str(other))
    assert more is not None
    session.before_placing()
    assert len(synced) == (1 if files > 100 else 0), "nothing is cloned"
    more.undo()


def test_what_cannot_be_made_durable_is_not_published(
    session: Session,
    shared_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The system tells of a write that failed once: the sync at the end would succeed."""
    errors = [errno.EIO]

    def synchronise(directory: Path, files: Iterable[Path]) -> None:
        if errors:
            raise OSError(errors.pop(), "Input/output error")

    monkeypatch.setattr(fs, "synchronise", synchronise)
    wheel = make_wheel(shared_tmp / "many", files={f"demo/{n}.txt": "" for n in range(400)})
    session.wheels.note(str(wheel), SHARED)
    begun = session.begin(str(wheel))
    assert begun is not None
    session.before_placing()
    begun.undo()
    session.finish()
    assert (_entries(session), _hidden(session)) == (0, [])
    (message,) = caplog.messages
    assert message.startswith("Installed without publishing: ")
    assert message.endswith("cannot keep what was published: Input/output error")


# -- from a publisher who is not trusted


@pytest.fixture
def strangers(shared_tmp: Path, wheel: Path) -> Session:
    """A session beside an entry of somebody who is not trusted."""
    store = shared_tmp / "store"
    store.mkdir()
    store.chmod(0o1777)
    with as_user(ALICE):
        assert _run(Session.start(_settings(store)), wheel)
    return Session.start(_settings(store))


@needs(root)
def test_a_strangers_wheel_is_copied_and_checked(
    strangers: Session, wheel: Path, tmp_path: Path
) -> None:
    os.umask(0o077)
    copied = strangers.lookup.copy_untrusted(
        [Digest("ab" * 32), _digest(wheel)], wheel.name, tmp_path
    )
    assert copied == tmp_path / wheel.name
    assert copied.read_bytes() == wheel.read_bytes()
    assert copied.stat().st_uid == 0
    assert strangers.report.not_downloaded == wheel.stat().st_size
    assert _run(strangers, copied)
    assert strangers.report.published == 1, "our own entry, beside the stranger's"
    assert _entries(strangers) == 2


@needs(root)
def test_a_strangers_wheel_with_other_bytes_is_not_taken(
    strangers: Session, wheel: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (stored,) = strangers.settings.dir.glob("wheels/??/*/*.whl")
    stored.chmod(0o644)
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    published = stored.stat().st_mtime_ns
    stored.write_bytes(bytes(data))
    os.utime(stored, ns=(published, published))
    stored.chmod(0o444)
    assert strangers.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    assert os.listdir(tmp_path) == []
    assert strangers.report.not_downloaded == 0
    assert any(f"published by uid {ALICE}" in message for message in caplog.messages)


@needs(root)
def test_a_copy_that_does_not_fit_is_no_error(
    strangers: Session, wheel: Path, tmp_path: Path
) -> None:
    with file_size_limit(100):
        assert strangers.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    assert os.listdir(tmp_path) == []


@needs(root)
def test_a_copy_does_not_touch_what_is_there(
    strangers: Session, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / wheel.name).write_text("pip's own")
    assert strangers.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    assert (tmp_path / wheel.name).read_text() == "pip's own"


def test_nothing_is_copied_where_there_is_nothing(
    session: Session, wheel: Path, tmp_path: Path
) -> None:
    assert session.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    _run(session, wheel)
    assert session.lookup.copy_untrusted([_digest(wheel)], wheel.name, tmp_path) is None
    assert os.listdir(tmp_path) == []


# -- the end


def test_without_an_installation_there_is_no_summary(session: Session) -> None:
    assert session.summary() == ""


def test_the_summary_is_one_line_that_names_the_store(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    session.report.count(LinkMode.COPY, 5)
    assert session.summary() == (
        f"Shared store: 0 of 1 distributions from {session.settings.dir}; 1 added to it; "
        "files 1 copied; 0 bytes not downloaded; 0 bytes not copied"
    )


@pytest.mark.parametrize("mode", list(LinkMode), ids=lambda mode: mode.value)
def test_the_summary_says_why_the_mode_that_was_asked_for_was_not_used(
    session: Session, mode: LinkMode
) -> None:
    session = Session(_settings(session.settings.dir, link_mode=mode), session.layers, 0o022)
    session.report.installed = 1
    assert "(" not in session.summary()
    session.links.refusals[mode] = "Operation not permitted"
    if mode is not LinkMode.COPY:
        assert session.summary().endswith(f" (no {mode.value} here: Operation not permitted)")


# -- prefixes and credentials

BELOW = [
    ("https://a/b", "https://a/b", True),
    ("https://a/b/c.whl", "https://a/b", True),
    ("https://a/b/c.whl", "https://a/b/", True),
    ("https://a/bc", "https://a/b", False),
    ("https://a/bc/d.whl", "https://a/b/", False),
    ("https://a/", "https://a/b", False),
    ("https://ab/b/c.whl", "https://a", False),
    ("https://a.evil.org/b/c.whl", "https://a", False),
    ("https://a/b/c.whl", "https://a", True),
    ("http://a/b/c.whl", "https://a/b", False),
    ("https://a:8443/b/c.whl", "https://a/b", False),
    ("https://a:8443/b/c.whl", "https://a:8443/b", True),
    ("https://me:secret@a/b/c.whl", "https://a/b", True),
    ("https://a/b/c.whl", "https://me:secret@a/b", True),
    ("https://a@evil.org/b/c.whl", "https://a", False),
    ("https://a/b/c.whl#sha256=x", "https://a/b", True),
    ("https://a/b?x=https://c/d", "https://c/d", False),
    ("file:///data/wheels/c.whl", "/data/wheels", True),
    ("file:///data/wheels/c.whl", "/data/wheels/", True),
    ("file:///data/wheels2/c.whl", "/data/wheels", False),
    ("file:///data/my%20wheels/c.whl", "file:///data/my%20wheels", True),
    ("file:///data/wheels/c.whl", "/", True),
    ("/data/wheels/c.whl", "/data/wheels", True),
    ("/data/wheels2/c.whl", "/data/wheels", False),
]


@pytest.mark.parametrize(
    ("url", "prefix", "expected"), BELOW, ids=[f"{url} below {prefix}" for url, prefix, _ in BELOW]
)
def test_a_prefix_ends_where_a_name_ends(
    tmp_path: Path, url: str, prefix: str, expected: bool
) -> None:
    session = Session(_settings(tmp_path, share=("https://elsewhere", prefix)), Layers([]), 0o022)
    assert session.sharing.is_shared_anyway(url) is expected


def test_without_prefixes_nothing_is_shared_anyway(tmp_path: Path) -> None:
    session = Session(_settings(tmp_path), Layers([]), 0o022)
    assert not session.sharing.is_shared_anyway("https://a/b")


@pytest.mark.parametrize(
    ("url", "shown", "carries"),
    [
        ("https://a/b/c.whl", "https://a/b/c.whl", False),
        ("https://me:p%40ss@a:1/b#sha256=1", "https://a:1/b", True),
        ("https://token@a/b?x=y@z", "https://a/b", True),
        ("https://a/b@1.0/c.whl?sig=secret", "https://a/b@1.0/c.whl", False),
        ("https://me@you@a/b", "https://a/b", True),
        ("file:///a/b@c.whl", "file:///a/b@c.whl", False),
    ],
)
def test_credentials_are_seen_and_never_shown(url: str, shown: str, carries: bool) -> None:
    assert without_credentials(url) == shown
    assert has_credentials(url) is carries


def test_a_store_is_opened_as_it_is(session: Session) -> None:
    assert isinstance(session.layers.main, Store)


# -- what pip tells of a wheel's file


def test_a_digest_that_pip_has_checked_is_not_computed_again(
    session: Session, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(session, wheel)
    later = _again(session)
    checked = later.wheels.at(os.path.relpath(wheel))
    checked.digest, checked.verified = _digest(wheel), True
    monkeypatch.delattr(wheel_module, "digest_of")
    assert _install(later, wheel)
    assert later.report.found == 1


def test_a_wheel_is_published_under_the_digest_that_it_has(session: Session, wheel: Path) -> None:
    """pip said another one: nobody is to find other bytes under that."""
    said = session.wheels.at(str(wheel))
    said.digest, said.verified = Digest("ab" * 32), True
    _run(session, wheel)
    again = _again(session)
    assert again.lookup.find([Digest("ab" * 32)], wheel.name) is None


def test_a_known_wheel_is_one_that_came_from_somewhere(
    session: Session, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.wheels.at(str(wheel)).origin is None
    session.wheels.note(str(wheel), PRIVATE)
    monkeypatch.chdir(wheel.parent)
    assert session.wheels.at(str(wheel)).origin is PRIVATE
    assert session.wheels.at(wheel.name).origin is PRIVATE
    assert session.wheels.at(str(wheel.parent)).origin is None


def test_only_the_stores_own_wheel_is_served(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    assert later.wheels.at(str(entry.wheel)).entry is None
    later.lookup.serve(entry)
    assert later.wheels.at(str(entry.wheel)).entry == entry
    assert later.wheels.at(str(wheel)).entry is None


def test_the_names_in_a_wheel_are_those_of_its_archive_or_of_its_manifest(
    session: Session, wheel: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        expected = archive.namelist()
    assert session.wheels.at(str(wheel)).names() == expected
    _run(session, wheel)
    later = _again(session)
    entry = later.lookup.find([_digest(wheel)], wheel.name)
    assert entry is not None
    later.lookup.serve(entry)
    entry.wheel.chmod(0o644)
    entry.wheel.write_bytes(b"not looked into again")
    assert sorted(later.wheels.at(str(entry.wheel)).names() or ()) == sorted(expected)


@pytest.mark.parametrize("kind", ["gone", "a directory", "no archive", "cut off"])
def test_a_wheel_that_cannot_be_read_has_no_names(session: Session, wheel: Path, kind: str) -> None:
    data = wheel.read_bytes()
    wheel.unlink()
    if kind == "a directory":
        wheel.mkdir()
    elif kind != "gone":
        wheel.write_bytes(b"no archive" if kind == "no archive" else data[: len(data) // 2])
    assert session.wheels.at(str(wheel)).names() is None


def test_a_warning_of_this_process_or_of_another_is_shown_once(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    for message in ("one", "two", "one"):
        warn(message)
    for message in ("one", "three", "three"):
        told = {"name": caplog.records[0].name, "levelno": logging.WARNING, "msg": message}
        record = logging.makeLogRecord(told)
        logging.getLogger(record.name).handle(record)
    assert caplog.messages == ["one", "two", "three"]
    _again(session)
    warn("one")
    assert caplog.messages == ["one", "two", "three", "one"], "another run"


@pytest.mark.parametrize(("number", "lines"), [(3, 3), (4, 1), (9, 1)])
def test_many_held_warnings_of_one_kind_are_one_line(
    session: Session, number: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    notices.hold()
    for one in range(number):
        warn(f"/store/entry{one} is gone from the shared store: downloaded instead")
        warn("Another one: once")
    assert caplog.messages == []
    session.finish()
    shown = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(shown) == lines + 1
    assert shown[0].startswith("/store/entry0 is gone from the shared store: downloaded instead")
    if lines == 1:
        assert shown[0].endswith(f" (and {number - 1} more of this kind: -v shows each)")
    warn("after the end")
    assert caplog.messages[-1] == "after the end"


def test_warnings_are_shown_although_the_end_of_the_run_fails(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(session.turns, "end", failing)
    notices.hold()
    warn("something")
    with pytest.raises(OSError, match="Input/output error"):
        session.finish()
    assert caplog.messages == ["something"]


def test_what_another_process_did_is_counted(session: Session, wheel: Path) -> None:
    _run(session, wheel)
    other = RunReport(2, 1, 1, 500)
    other.count(LinkMode.REFLINK, 7)
    session.report.add(other)
    assert session.summary() == (
        f"Shared store: 1 of 3 distributions from {session.settings.dir}; 2 added to it; "
        "files 1 reflinked; 500 bytes not downloaded; 7 bytes not copied"
    )


# -- complete distributions appear

INFO = "demo-1.0.dist-info"


def _complete(
    session: Session, wheel: Path, library: Path, info: str = INFO, *, later: bool = True
) -> Placement:
    """Installed by pip, as far as it goes; not yet shown if ``later``."""
    session.wheels.note(str(wheel), SHARED)
    begun = session.begin(str(wheel))
    assert begun is not None
    staged = begun.stage_dist_info(info)
    session.bytecode.provide(begun)
    names = [file.path for file in begun.entry.manifest.files]
    for path in begun.take_over(names, compiles=True):
        assert begun.save(path, begun.destination(path, str(library / path)))
    (library / staged / "INSTALLER").write_text("pip\n")
    (library / staged / "RECORD").write_text(f"{staged}/INSTALLER,,\n")
    session.settle(begun, later=later)
    return begun


class Several:
    """Distributions that are complete, and in one library."""

    def __init__(self, session: Session, base: Path) -> None:
        self.names = ("one", "two", "three")
        self.library = base / "library"
        self.placements = [
            _complete(session, make_wheel(base / "wheels", name), self.library, self._info(name))
            for name in self.names
        ]

    def _info(self, name: str) -> str:
        return f"{name}-1.0.dist-info"

    def visible(self) -> list[str]:
        return [name for name in self.names if (self.library / self._info(name)).exists()]

    def left(self, name: str) -> list[str]:
        """What is there of a distribution."""
        return sorted(path.name for path in self.library.iterdir() if name in path.name)


@pytest.fixture
def several(session: Session, shared_tmp: Path) -> Several:
    return Several(session, shared_tmp)


def test_settled_now_a_distribution_is_visible_at_once(
    session: Session, wheel: Path, tmp_path: Path
) -> None:
    begun = _complete(session, wheel, tmp_path, later=False)
    assert sorted(os.listdir(tmp_path)) == ["demo", INFO]
    assert begun.dist_info.made_visible
    assert session.take_complete() == []


def test_settled_for_later_it_is_complete_and_not_visible(
    session: Session, wheel: Path, tmp_path: Path
) -> None:
    before = os.listdir("/proc/self/fd")
    begun = _complete(session, wheel, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before), "thousands may wait at once"
    assert sorted(os.listdir(tmp_path)) == [begun.dist_info.staged, "demo"]
    record = (tmp_path / begun.dist_info.staged / "RECORD").read_text()
    assert "installing" not in record
    assert "demo/part/__init__.py" in record
    assert session.take_complete() == [begun]
    assert session.take_complete() == [], "whoever took it shows it"
    make_visible([begun])
    assert sorted(os.listdir(tmp_path)) == ["demo", INFO]


def test_a_distribution_whose_record_cannot_be_finished_is_not_complete(
    session: Session, wheel: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError):
        patch.setattr(Placement, "record", _full)
        _complete(session, wheel, tmp_path)
    assert session.take_complete() == []


def _full(*_: object) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_all_are_durable_before_the_first_is_visible(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    rename, keep = os.rename, commit.flush_placed

    def noted_rename(source: Any, target: Any) -> None:
        done.append(("shown", os.path.basename(target)))
        rename(source, target)

    def noted(paths: list[str]) -> bool:
        records = {Path(path) for path in paths if os.path.basename(path) == "RECORD"}
        assert len(records) == 3
        assert not any("installing" in record.read_text() for record in records)
        done.append(("durable", ""))
        return keep(paths)

    monkeypatch.setattr(os, "rename", noted_rename)
    monkeypatch.setattr(commit, "flush_placed", noted)
    make_visible(several.placements)
    assert [kind for kind, _ in done] == ["durable"] + ["shown"] * 3, "one sync for all"
    assert several.visible() == list(several.names)


@pytest.mark.parametrize("step", ["flush", "make_visible"])
@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_those_that_cannot_appear_are_undone_and_the_others_appear(
    several: Several, step: str, which: tuple[int, ...]
) -> None:
    for number in which:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(number))

        def fail(*_: object, error: OSError = error) -> None:
            raise error

        setattr(several.placements[number], step, fail)
    with pytest.raises(OSError) as caught:
        make_visible(several.placements)
    assert caught.value.filename == str(which[0]), "the first one"
    good = [name for number, name in enumerate(several.names) if number not in which]
    assert several.visible() == good
    for number in which:
        assert several.left(several.names[number]) == []


def test_failed_sync_is_reported_before_a_failed_commit(
    several: Several,
) -> None:
    several.placements[0].make_visible = _full  # type: ignore[method-assign]

    def broken(kept: bool) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    several.placements[2].flush = broken  # type: ignore[method-assign]
    with pytest.raises(OSError) as caught:
        make_visible(several.placements)
    assert caught.value.errno == errno.EIO
    assert several.visible() == ["two"]


def test_nothing_to_show_is_nothing(session: Session) -> None:
    make_visible(session.take_complete())


@pytest.mark.parametrize("step", ["flush", "make_visible"])
@pytest.mark.parametrize("number", [0, 1, 2], ids=["at the first", "in the middle", "at the last"])
def test_interrupted_each_is_whole_or_absent(several: Several, step: str, number: int) -> None:
    """What is absent leaves neither files nor what it was filled under."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    setattr(several.placements[number], step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_visible(several.placements)
    visible = several.visible()
    for name in several.names:
        expected = [name, f"{name}-1.0.dist-info"] if name in visible else []
        assert several.left(name) == sorted(expected), name
