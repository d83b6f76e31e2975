"""Which distributions may be installed side by side, and what is done when they do not appear."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import fs
from pip_sharedcache.config import Settings
from pip_sharedcache.model import Digest, Entry, LinkMode, Manifest, Origin, StoredFile
from pip_sharedcache.pip_adapter import parallel, seams
from pip_sharedcache.pip_adapter.downloads import Downloads
from pip_sharedcache.pip_adapter.path_conflicts import PathClaims
from pip_sharedcache.placement import RunReport, make_visible
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.session import Session
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.trust import mounts
from support.probes import linux, needs
from support.wheels import make_wheel


def _apart(scheme: dict[str, str], *distributions: list[str]) -> list[bool]:
    """Which of ``distributions``, given by their files, meet none of the others."""
    claims = PathClaims(lambda name: {**scheme, "headers": f"{scheme['headers']}/{name}"})
    for number, files in enumerate(distributions):
        scripts = [file[1:] for file in files if file.startswith("!")]
        names = [file for file in files if not file.startswith("!")]
        claims.add(number, f"d{number}", [f"d{number}-1.dist-info/METADATA", *names], scripts)
    return [claims.apart(number) for number in range(len(distributions))]


@pytest.fixture
def scheme(tmp_path: Path) -> dict[str, str]:
    """That of an environment whose lib64 is a link to lib."""
    library = tmp_path / "lib" / "python3.11" / "site-packages"
    library.mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("lib")
    (library / "real").mkdir()
    (library / "link").symlink_to("real")
    return {
        "purelib": str(library),
        "platlib": str(tmp_path / "lib64" / "python3.11" / "site-packages"),
        "scripts": str(tmp_path / "bin"),
        "headers": str(tmp_path / "include" / "site" / "python3.11"),
        "data": str(tmp_path),
    }


_CACHED = importlib.util.cache_from_source("demo/a.py")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("demo/a.py", "demo/a.py"),
        ("demo/a.py", "x-1.data/purelib/demo/a.py"),
        ("x-1.data/platlib/demo/a.py", "y-2.data/purelib/demo/a.py"),
        ("x-1.data/scripts/run", "y-2.data/scripts/run"),
        ("x-1.data/scripts/run", "y-2.data/data/bin/run"),
        ("!run", "y-2.data/scripts/run"),
        ("!run", "!run"),
        ("x-1.data/data/share/a", "y-2.data/data/share/a"),
        ("x-1.data/data/share/a", "y-2.data/data/./share//a"),
        ("demo/a.py", "x-1.data/data/lib/python3.11/site-packages/demo/a.py"),
        ("demo/a.py", "x-1.data/data/lib64/python3.11/site-packages/demo/a.py"),
        ("x-1.data/headers/a.h", "y-2.data/data/include/site/python3.11/d0/a.h"),
        ("real/a.py", "link/a.py"),
        ("demo/a.py", _CACHED),
        ("demo/a.py", "demo/a.py/b.py"),
        ("demo", "demo/sub/a.py"),
        ("x-1.data/data/bin", "!run"),
        ("demo/a.py", "d0-1.dist-info/more"),
    ],
)
def test_what_meets_at_a_path_is_not_installed_side_by_side(
    one: str, other: str, scheme: dict[str, str]
) -> None:
    assert _apart(scheme, [one], [other], ["own/a.py"]) == [False, False, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("demo/a.py", "demo/b.py"),
        ("x-1.data/scripts/run", "run"),
        ("x-1.data/headers/a.h", "x-1.data/scripts/a.h"),
        ("x-1.data/headers/a.h", "x-1.data/headers/a.h"),
        (_CACHED, _CACHED.replace("a.c", "b.c")),
        ("x-1.data/unknown/a", "x-1.data/unknown/a"),
    ],
)
def test_what_ends_elsewhere_is_installed_side_by_side(
    one: str, other: str, scheme: dict[str, str]
) -> None:
    assert _apart(scheme, [one], [other]) == [True, True]


def test_what_a_wheel_brings_twice_meets_no_other(scheme: dict[str, str]) -> None:
    assert _apart(scheme, ["demo/a.py", _CACHED, "!run", "x-1.data/scripts/run"], ["b.py"]) == [
        True,
        True,
    ]


def test_where_libraries_differ_a_wheel_may_end_in_either(
    scheme: dict[str, str], tmp_path: Path
) -> None:
    """Only its metadata says in which one."""
    scheme["platlib"] = str(tmp_path / "other")
    assert _apart(scheme, ["a.py"], ["x-1.data/platlib/a.py"], ["x-1.data/purelib/a.py"]) == [
        False,
        False,
        False,
    ]


def test_what_a_copy_logs_is_kept_as_text_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    shown = list(caplog.records)
    root = logging.getLogger()
    handlers = root.handlers
    with parallel._Log() as kept:
        logging.getLogger("pip").warning("%s is %d", "x", 7)
        drawn = ("drawn",)
        logging.getLogger("pip").warning("[present-rich] %s", *drawn)
    assert root.handlers is handlers
    assert caplog.records == shown
    assert [(record.msg, record.args) for record in kept] == [
        ("x is 7", ()),
        ("[present-rich] %s", drawn),
    ]


def test_reports_add_up() -> None:
    report, other = RunReport(), RunReport(3, 2, 1, 100)
    other.count(LinkMode.COPY, 7)
    report.add(other)
    report.add(other)
    assert (report.installed, report.found, report.published) == (6, 4, 2)
    assert report.not_downloaded == 200
    assert (report.placed[LinkMode.COPY], report.placed_bytes[LinkMode.COPY]) == (2, 14)


class _Placement:
    """Notes what is asked of it; fails at what its name says."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log
        self.dist_info = self

    def _do(self, what: str) -> None:
        self._log.append(f"{what} {self.name}")
        if what == self.name:
            raise OSError(28, "full", self.name)

    def record(self) -> None:
        self._do("record")

    def written(self) -> list[str]:
        return []

    def name_finally(self, error: OSError) -> None:
        pass

    def flush(self, kept: bool) -> None:
        self._do("flush")

    def make_visible(self) -> None:
        self._do("reveal")

    def undo(self) -> None:
        self._do("undo")


def test_all_are_durable_before_the_first_appears() -> None:
    log: list[str] = []
    make_visible([_Placement("a", log), _Placement("b", log)])  # type: ignore[list-item]
    assert log == ["record a", "record b", "flush a", "flush b", "reveal a", "reveal b"]


@pytest.mark.parametrize("fails", ["record", "flush", "reveal"])
def test_one_that_cannot_appear_is_undone_and_the_others_appear(fails: str, tmp_path: Path) -> None:
    log: list[str] = []
    names = ("a", fails, "b")
    with pytest.raises(OSError) as raised:
        make_visible([_Placement(name, log) for name in names])  # type: ignore[misc]
    assert raised.value.filename == fails
    assert {"reveal a", "reveal b", f"undo {fails}"} <= set(log)
    assert "undo a" not in log


# -- which distributions the copies are given


class Requirement:
    """What pip's loop has of one distribution."""

    def __init__(self, name: str, path: Path | None, act: Callable[..., None] | None = None):
        self.name = name
        self.local_file_path = path and str(path)
        self._act = act
        self.scripts: tuple[str, ...] = ()

    def install(self, **how: Any) -> None:
        if self._act is not None:
            self._act(self, how)


def _scripts(requirement: Requirement) -> list[str]:
    return list(requirement.scripts)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Settings(tmp_path, "test"), Layers([]), 0o022)


class Loop:
    """Wheels that pip is about to install."""

    def __init__(self, base: Path, session: Session) -> None:
        self.base = base
        self.session = session
        self.requirements: list[Requirement] = []

    def add(
        self,
        name: str,
        *files: str,
        scripts: tuple[str, ...] = (),
        known: bool = True,
        content: str = "",
        act: Callable[..., None] | None = None,
    ) -> Requirement:
        wheel = make_wheel(
            self.base / "wheels", name, files=dict.fromkeys(files, content), compress=False
        )
        if known:
            self.session.wheels.note(str(wheel), Origin("https://index/x.whl"))
        self.requirements.append(Requirement(name, wheel, act))
        self.requirements[-1].scripts = scripts
        return self.requirements[-1]

    def unpacked(self, requirement: Requirement) -> None:
        """Have pip take its wheel out of an entry."""
        wheel = self.session.wheels.at(str(requirement.local_file_path))
        files = tuple(StoredFile(name, 0, "", False, 0) for name in wheel.names() or ())
        manifest = Manifest("x.whl", Digest("ab" * 32), 0, files)
        wheel.entry = Entry(Path(wheel.path).parent, 0, (0, 0), manifest)

    def together(self, **how: Any) -> parallel.ParallelInstall:
        return parallel.ParallelInstall(self.session, self.requirements, how)


@pytest.fixture
def loop(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(parallel, "_WORTH_IT", 1)
    return Loop(tmp_path, session)


Given = Callable[..., list[str]]


@pytest.fixture
def given(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Who would be given to how many copies; none is started."""
    calls: list[tuple[int, list[int]]] = []

    def start(size: int, order: list[int], *_: object) -> None:
        calls.append((size, list(order)))

    monkeypatch.setattr(parallel.WorkerPool, "start", start)

    def ask(size: int = 4, scripts: Callable[[Any], Any] = _scripts) -> list[str]:
        calls.clear()
        loop.together().start(size, scripts)
        if not calls:
            return []
        ((used, order),) = calls
        assert used == min(size or parallel._ON_SERVERS, len(order))
        return [loop.requirements[number].name for number in order]

    return ask


def test_distributions_that_share_nothing_are_all_given_to_copies(loop: Loop, given: Given) -> None:
    for name in ("one", "two", "three"):
        loop.add(
            name, f"{name}/__init__.py", f"{name}-1.0.data/scripts/{name}", scripts=(f"{name}s",)
        )
    assert sorted(given()) == ["one", "three", "two"]


_PYTHON = "python{}.{}".format(*sys.version_info)
SHARED = {
    "the same file": ("both/a.py", "both/a.py"),
    "a file and purelib": ("both/a.py", "two-1.0.data/purelib/both/a.py"),
    "a file and platlib": ("both/a.py", "two-1.0.data/platlib/both/a.py"),
    "purelib and platlib": ("one-1.0.data/purelib/a.py", "two-1.0.data/platlib/a.py"),
    "the same script": ("one-1.0.data/scripts/run", "two-1.0.data/scripts/run"),
    "the same data": ("one-1.0.data/data/share/a", "two-1.0.data/data/share/a"),
    "a header and data": (
        "one-1.0.data/headers/a.h",
        f"two-1.0.data/data/include/site/{_PYTHON}/one/a.h",
    ),
    "a file and data in the library": (
        "both/a.py",
        f"two-1.0.data/data/lib/{_PYTHON}/site-packages/both/a.py",
    ),
}


@pytest.mark.parametrize(("one", "two"), SHARED.values(), ids=SHARED.keys())
@pytest.mark.parametrize("known", [True, False], ids=["both for the store", "one for pip alone"])
def test_distributions_that_share_a_path_are_left_to_the_first_process(
    loop: Loop, given: Given, one: str, two: str, known: bool
) -> None:
    """Of those the last one wins, in pip's order."""
    loop.add("one", "one/x.py", one)
    loop.add("three", "three/x.py")
    loop.add("two", "two/x.py", two, known=known)
    loop.add("four", "four/x.py")
    assert sorted(given()) == ["four", "three"]


@pytest.mark.parametrize(
    "shipped", ["", "two-1.0.data/scripts/run"], ids=["also generated", "shipped"]
)
@pytest.mark.parametrize("known", [True, False], ids=["both for the store", "one for pip alone"])
def test_distributions_that_share_a_generated_script_are_left_to_the_first_process(
    loop: Loop, given: Given, shipped: str, known: bool
) -> None:
    loop.add("one", "one/x.py", scripts=("own", "run"))
    files = ("two/x.py", shipped) if shipped else ("two/x.py",)
    loop.add("two", *files, scripts=() if shipped else ("run",), known=known)
    loop.add("three", "three/x.py", scripts=("walk",))
    loop.add("four", "four/x.py", scripts=("stand",))
    assert sorted(given()) == ["four", "three"]


def test_a_script_and_a_file_of_its_name_share_nothing(loop: Loop, given: Given) -> None:
    loop.add("one", "one-1.0.data/scripts/run")
    loop.add("two", "run", "scripts/run")
    loop.add("three", "three-1.0.data/headers/run")
    assert len(given()) == 3


def test_of_three_that_share_a_path_none_is_given_to_copies(loop: Loop, given: Given) -> None:
    for name in ("one", "two", "three"):
        loop.add(name, "both/a.py")
    assert given() == []


def test_what_is_not_for_the_store_is_left_to_the_first_process(loop: Loop, given: Given) -> None:
    loop.add("one", "one/x.py")
    loop.add("built", "built/x.py", known=False)
    loop.add("two", "two/x.py")
    assert sorted(given()) == ["one", "two"]


@pytest.mark.parametrize("kind", ["no file", "gone", "no archive", "a directory"])
def test_what_cannot_be_read_is_left_to_the_pip_that_says_why(
    loop: Loop, given: Given, tmp_path: Path, kind: str
) -> None:
    loop.add("one", "one/x.py")
    loop.add("two", "two/x.py")
    path = tmp_path / "bad-1.0-py3-none-any.whl"
    if kind == "no archive":
        path.write_text("no archive")
    elif kind == "a directory":
        path.mkdir()
    loop.session.wheels.note(str(path), Origin("https://index/x.whl"))
    loop.requirements.append(Requirement("bad", None if kind == "no file" else path))
    assert sorted(given()) == ["one", "two"]


UNREADABLE: dict[str, dict[str, Any]] = {
    "a name that packaging refuses": {"filename": "not__plain-1.0-py3-none-any.whl"},
    "entry points in no encoding": {"dist_info_files": {"entry_points.txt": b"[a]\n\xff = a:b\n"}},
    "no metadata": {"dist_info": "other-2.0.dist-info"},
}


#: What the pips of some Pythons do themselves, and tell nobody.
PIPS_OWN = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@PIPS_OWN
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_wheel_whose_scripts_cannot_be_known_is_left_to_the_pip_that_says_why(
    loop: Loop, given: Given, kind: str
) -> None:
    """pip's loop words the error, or takes what we do not: nothing fails before it."""
    importlib.import_module(seams.WHEEL_DISTRIBUTION.module)
    loop.add("one", "one/x.py")
    odd = make_wheel(loop.base / "odd", "odd", files={"odd/x.py": ""}, **UNREADABLE[kind])
    loop.session.wheels.note(str(odd), Origin("https://index/odd.whl"))
    loop.requirements.append(Requirement("odd", odd))
    loop.add("two", "two/x.py")
    assert set(given(scripts=Downloads().scripts_of)) <= {"one", "two"}


@PIPS_OWN
def test_generated_scripts_are_those_of_pip(loop: Loop) -> None:
    importlib.import_module(seams.WHEEL_DISTRIBUTION.module)
    text = "[console_scripts]\nrun = a:b\n[gui_scripts]\nshow = a:b\n[other]\nnone = a:b\n"
    wheel = make_wheel(loop.base / "wheels", entry_points=text)
    scripts = Downloads().scripts_of(Requirement("demo", wheel))
    assert sorted(scripts) == ["run", "show"]


def test_what_takes_longest_is_begun_first(loop: Loop, given: Given) -> None:
    for name, number in (("few", 3), ("many", 30), ("some", 10)):
        loop.add(name, *(f"{name}/m{n}.py" for n in range(number)))
    assert given() == ["many", "some", "few"]


def test_what_is_to_be_unpacked_counts_for_its_bytes(loop: Loop, given: Given) -> None:
    loop.add("large", "large/data", content="x" * 50_000)
    loop.add("many", *(f"many/m{n}.py" for n in range(15)))
    assert given() == ["large", "many"]


def test_what_is_unpacked_already_counts_for_its_files(loop: Loop, given: Given) -> None:
    large = loop.add("large", "large/data", content="x" * 50_000)
    loop.add("many", *(f"many/m{n}.py" for n in range(15)))
    loop.unpacked(large)
    assert given() == ["many", "large"]


@pytest.mark.parametrize(("limit", "starts"), [(8, True), (9, False)], ids=["enough", "too little"])
def test_where_there_is_little_to_do_no_copy_is_started(
    loop: Loop, given: Given, limit: int, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        loop.unpacked(loop.add(name, f"{name}/x.py"))  # and three in .dist-info
    monkeypatch.setattr(parallel, "_WORTH_IT", limit)
    assert bool(given()) is starts


def test_for_one_distribution_no_copy_is_started(loop: Loop, given: Given) -> None:
    loop.add("one", *(f"one/m{n}.py" for n in range(500)))
    assert given() == []


def test_where_one_process_is_to_do_it_no_copy_is_started(loop: Loop, given: Given) -> None:
    for name in ("one", "two"):
        loop.add(name, f"{name}/x.py")
    assert given(1) == []


@pytest.mark.parametrize(("kind", "started"), [("ext4", 0), ("nfs4", 6), ("", 6)])
def test_for_a_file_server_several_copies_wait(
    loop: Loop, given: Given, kind: str, started: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        loop.add(f"n{number}", f"n{number}/x.py")
    monkeypatch.setattr(mounts, "kind_of", lambda where: kind)
    monkeypatch.setattr(fs, "cpus", lambda: 1)
    assert len(given(0)) == started


def test_no_more_copies_are_started_than_there_are_distributions(loop: Loop, given: Given) -> None:
    for name in ("one", "two", "three"):
        loop.add(name, f"{name}/x.py")
    for size in (2, 3, 64):
        assert len(given(size)) == 3


# -- what copies do, and what pip's loop takes of it

SIDE_BY_SIDE = [needs(linux), pytest.mark.usefixtures("nothing_left_behind", "no_hanging")]


class Noted:
    """A placement that notes in a file, which all processes share, what is done with it."""

    def __init__(self, name: str, path: Path, fails: str = "") -> None:
        self.name, self._path, self._fails = name, path, fails
        self.dist_info = self
        manifest = Manifest(f"{name}-1-py3-none-any.whl", Digest("0" * 64), 0, ())
        self.entry = Entry(path, 0, (0, 0), manifest)
        self.report = RunReport()

    def _do(self, what: str) -> None:
        with self._path.open("a", buffering=1) as file:
            file.write(f"{os.getpid()} {what} {self.name}\n")
        if what == self._fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"/in/{self.name}")

    def record(self) -> None:
        self._do("record")

    def close(self) -> None:
        self._do("close")

    def written(self) -> list[str]:
        return []

    def name_finally(self, error: OSError) -> None:
        pass

    def flush(self, kept: bool) -> None:
        self._do("flush")

    def make_visible(self) -> None:
        self._do("reveal")

    def undo(self) -> None:
        self._do("undo")


class Side:
    """A loop of distributions that are installed by copies: each is complete, and says so."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.session = loop.session
        self.path = loop.base / "log"
        self.path.touch()
        self.fails: dict[str, str] = {}
        self.acts: dict[str, Callable[[], None]] = {}

    def add(self, *names: str) -> None:
        for name in names:
            self.loop.add(name, f"{name}/x.py", act=self._install)

    def _install(self, requirement: Requirement, how: dict[str, Any]) -> None:
        name = requirement.name
        self.session.report.installed += 1
        if name in self.acts:
            self.acts[name]()
        logging.getLogger("pip").warning("installing %s as %s", name, how)
        placement: Any = Noted(name, self.path, self.fails.get(name, ""))
        try:
            self.session.settle(placement, later=True)
        except BaseException:  # as the wrapper of pip's install_wheel does
            placement.undo()
            raise

    def start(self, size: int = 2, **how: Any) -> parallel.ParallelInstall:
        begun = self.loop.together(**how)
        begun.start(size, _scripts)
        assert begun._pool is not None
        return begun

    def done(self, what: str, *, here: bool | None = None) -> list[str]:
        """Which distributions that was done with, by the first process or by copies."""
        rows = [line.split() for line in self.path.read_text().splitlines()]
        return sorted(
            name
            for process, did, name in rows
            if did == what and (here is None or (int(process) == os.getpid()) is here)
        )


@pytest.fixture
def side(loop: Loop) -> Side:
    return Side(loop)


def side_by_side(test: Callable[..., None]) -> Callable[..., None]:
    for mark in SIDE_BY_SIDE:
        test = mark(test)
    return test


@side_by_side
def test_what_copies_did_is_taken_and_appears_at_the_end(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["one", "two", "three", "four"]
    side.add(*names)
    begun = side.start(root="/r")
    assert not begun.is_worker
    for name in reversed(names):
        assert begun.take(name)
    assert caplog.messages == [f"installing {name} as {{'root': '/r'}}" for name in reversed(names)]
    assert side.done("record", here=False) == sorted(names), "complete, but not durable"
    assert side.done("flush") == side.done("reveal") == []
    begun.end(failed=False)
    assert side.done("flush", here=False) == side.done("reveal", here=False) == sorted(names)
    assert side.done("undo") == side.done("reveal", here=True) == []
    assert len(caplog.messages) == 4
    assert side.session.report.installed == 4


@side_by_side
def test_what_pips_loop_did_itself_appears_with_the_rest(side: Side) -> None:
    side.add("one", "two")
    begun = side.start()
    assert not begun.take("other")
    other: Any = Noted("other", side.path)
    side.session.settle(other, later=True)
    assert begun.take("one")
    assert begun.take("two")
    begun.end(failed=False)
    assert side.done("reveal", here=True) == ["other"]
    assert side.done("reveal", here=False) == ["one", "two"]
    assert side.session.take_complete() == []


@side_by_side
def test_ctrl_c_while_copies_are_waited_for_takes_back_what_the_first_process_did(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.add("one", "two")
    begun = side.start()
    other: Any = Noted("other", side.path)
    side.session.settle(other, later=True)
    assert begun.take("one")

    def interrupted(question: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(begun._pool, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun.end(failed=False)
    assert side.done("undo", here=True) == ["other"]
    assert side.done("reveal", here=True) == side.session.take_complete() == []


@side_by_side
def test_what_was_not_taken_is_undone(side: Side) -> None:
    side.add("one", "two", "three")
    begun = side.start()
    assert begun.take("two")
    begun.end(failed=False)
    assert side.done("reveal") == ["two"]
    assert side.done("undo") == ["one", "three"]
    assert side.session.report.installed == 1


@side_by_side
@pytest.mark.parametrize(
    "error",
    [parallel.LeftToOthers(), ValueError("unexpected"), OSError(errno.ENOSPC, "full")],
    ids=["not for the store", "an exception", "a full disk"],
)
def test_what_a_copy_fails_at_is_left_to_pips_loop_without_a_word(
    side: Side, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        logging.getLogger("pip").error("it fails")
        raise error

    side.add("one", "two", "three")
    side.acts["two"] = fail
    begun = side.start()
    assert [begun.take(name) for name in ("one", "two", "three")] == [True, False, True]
    begun.end(failed=False)
    assert side.done("reveal") == ["one", "three"]
    assert "it fails" not in caplog.messages
    assert side.session.report.installed == 2, "whoever installs it counts it"


@side_by_side
@pytest.mark.parametrize("size", [2, 3], ids="{} copies".format)
def test_what_a_killed_copy_was_at_is_left_to_pips_loop(side: Side, size: int) -> None:
    side.add("one", "two", "three", "four")
    side.acts["two"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
    begun = side.start(size)
    names = ("one", "two", "three", "four")
    taken = {name for name in names if begun.take(name)}
    assert taken == {"one", "three", "four"}
    begun.end(failed=False)
    # What the killed one had done before is installed anew.
    assert set(side.done("reveal", here=False)) <= taken


def _kill_after_taking(side: Side) -> parallel.ParallelInstall:
    """All was taken, and then one of the copies is gone."""
    begun = side.start()
    for name in ("one", "two", "three"):
        assert begun.take(name)
    assert begun._pool is not None
    victim = next(member for member in begun._pool._workers if member.done)
    os.kill(victim.process, signal.SIGKILL)
    return begun


@side_by_side
def test_what_a_copy_took_with_it_is_installed_anew(side: Side) -> None:
    side.add("one", "two", "three")
    here = os.getpid()
    installed: list[str] = []
    for name in ("one", "two", "three"):
        side.acts[name] = lambda name=name: installed.append(name) if os.getpid() == here else None
    begun = _kill_after_taking(side)
    assert installed == []
    begun.end(failed=False)
    assert installed, "by the first process"
    assert side.done("reveal", here=True) == sorted(installed)
    assert sorted(side.done("reveal")) == ["one", "three", "two"], "each appears once"


@side_by_side
def test_where_pips_loop_failed_nothing_is_installed_anew(side: Side) -> None:
    side.add("one", "two", "three")
    begun = _kill_after_taking(side)
    begun.end(failed=True)
    assert side.done("record", here=True) == []


@side_by_side
@pytest.mark.parametrize("fails", ["flush", "reveal"])
def test_failed_commit_in_a_worker_is_undone_there_and_reported_in_the_parent(
    side: Side, fails: str
) -> None:
    side.add("one", "two", "three", "four")
    side.fails["three"] = fails
    begun = side.start()
    for name in ("one", "two", "three", "four"):
        assert begun.take(name)
    with pytest.raises(OSError) as caught:
        begun.end(failed=False)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/in/three")
    assert side.done("undo") == ["three"]
    revealed = [name for name in side.done("reveal") if name != "three"]
    assert revealed == ["four", "one", "two"]


@side_by_side
def test_where_pips_loop_failed_what_it_had_taken_appears_and_no_more(side: Side) -> None:
    """As with plain pip: what was installed before the error stays."""
    side.add("one", "two", "three", "four")
    begun = side.start()
    assert begun.take("one")
    assert begun.take("two")
    begun.end(failed=True)
    assert side.done("reveal") == ["one", "two"]
    undone = set(side.done("undo"))
    assert undone >= set(side.done("record")) - {"one", "two"}
    assert not undone & {"one", "two"}


@side_by_side
def test_what_is_broken_off_right_when_it_is_complete_is_undone(side: Side) -> None:
    """pip still runs a few lines after the wheel is installed."""
    ready, never = os.pipe(), os.pipe()

    def install(requirement: Requirement, how: dict[str, Any]) -> None:
        side._install(requirement, how)
        os.write(ready[1], b"x")
        os.read(never[0], 1)

    for name in ("one", "two", "three"):
        side.loop.add(name, f"{name}/x.py", act=install)
    try:
        begun = side.start(2)
        for _ in range(2):
            os.read(ready[0], 1)
        begun.end(failed=True)
    finally:
        for end in (*ready, *never):
            os.close(end)
    assert side.done("reveal") == []
    assert side.done("undo") == side.done("record") != []


@side_by_side
def test_where_pips_loop_failed_what_is_under_way_is_broken_off_and_none_begun(side: Side) -> None:
    """Whoever waits for us after Ctrl-C may kill us soon."""
    ready, never = os.pipe(), os.pipe()

    def wait() -> None:
        os.write(ready[1], b"x")
        os.read(never[0], 1)

    side.add(*(f"part{number}" for number in range(20)))
    side.acts = {f"part{number}": wait for number in range(20)}
    try:
        begun = side.start(2)
        for _ in range(2):
            os.read(ready[0], 1)
        begun.end(failed=True)
        os.set_blocking(ready[0], False)
        with pytest.raises(BlockingIOError):
            os.read(ready[0], 1)
    finally:
        for end in (*ready, *never):
            os.close(end)
    assert side.done("record") == []
    assert side.done("reveal") == []


@side_by_side
def test_what_all_copies_say_is_said_once(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    names = ("one", "two", "three")
    side.add(*names)
    warn("said before")
    for name in names:
        side.acts[name] = lambda: (
            warn("said before"),
            warn("the same"),
        )[0]
    begun = side.start(3)
    for name in names:
        assert begun.take(name)
    begun.end(failed=False)
    assert caplog.messages.count("the same") == 1
    assert caplog.messages.count("said before") == 1


@side_by_side
def test_what_copies_publish_and_what_was_refused_there_is_known_here(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("one", "two", "three", "four")
    side.add(*names)
    session = side.session

    def act() -> None:
        session.report.count(LinkMode.COPY, 10)
        session.report.not_downloaded += 1
        session.links.refusals[LinkMode.REFLINK] = "Operation not supported"

    def finish() -> None:
        session.report.published += 1
        warn("Installed without publishing: full")

    side.acts = dict.fromkeys(names, act)
    monkeypatch.setattr(session, "finish", finish)
    begun = side.start(2)
    for name in names:
        assert begun.take(name)
    begun.end(failed=False)
    assert session.report.placed == {LinkMode.COPY: 4}
    assert session.report.placed_bytes == {LinkMode.COPY: 40}
    assert (session.report.installed, session.report.not_downloaded) == (4, 4)
    assert session.report.published == 2, "each copy at its end"
    assert session.links.refusals == {LinkMode.REFLINK: "Operation not supported"}


@side_by_side
def test_worker_knows_that_it_is_one_and_takes_no_tasks(side: Side) -> None:
    side.add("one", "two")
    seen: list[parallel.ParallelInstall] = []

    def act() -> None:
        assert seen[0].is_worker
        assert not seen[0].take("two")

    side.acts = {"one": act, "two": lambda: None}
    begun = side.loop.together()
    seen.append(begun)
    begun.start(2, _scripts)
    assert begun.take("one")
    assert begun.take("two")
    assert not begun.is_worker
    begun.end(failed=False)


def test_without_copies_what_pips_loop_completed_appears_at_the_end(side: Side) -> None:
    begun = side.loop.together()
    begun.start(4, _scripts)
    assert not begun.take("one")
    for name in ("one", "two"):
        placement: Any = Noted(name, side.path)
        side.session.settle(placement, later=True)
    assert side.done("reveal") == []
    begun.end(failed=False)
    assert side.done("flush") == side.done("reveal") == ["one", "two"]


@pytest.mark.parametrize("failed", [False, True], ids=["all went well", "pip's loop failed"])
def test_failed_commit_without_workers_is_reported(side: Side, failed: bool) -> None:
    begun = side.loop.together()
    begun.start(4, _scripts)
    for name, fails in (("one", "flush"), ("two", "")):
        placement: Any = Noted(name, side.path, fails)
        side.session.settle(placement, later=True)
    with pytest.raises(OSError) as caught:
        begun.end(failed=failed)
    assert caught.value.filename == "/in/one"
    assert (side.done("undo"), side.done("reveal")) == (["one"], ["two"])


@side_by_side
def test_what_is_installed_anew_is_counted_once(side: Side) -> None:
    side.add("one", "two", "three")
    begun = _kill_after_taking(side)
    begun.end(failed=False)
    assert side.session.report.installed == 3


@side_by_side
def test_an_error_while_something_is_installed_anew_does_not_hide_what_is_complete(
    side: Side,
) -> None:
    side.add("one", "two", "three")
    here = os.getpid()

    def fail() -> None:
        if os.getpid() == here:
            raise ValueError("pip's own error")

    side.acts = dict.fromkeys(("one", "two", "three"), fail)
    begun = _kill_after_taking(side)
    other: Any = Noted("other", side.path)
    side.session.settle(other, later=True)
    with pytest.raises(ValueError, match="pip's own error"):
        begun.end(failed=False)
    assert side.done("reveal", here=True) == ["other"]
