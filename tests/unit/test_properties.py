"""Parsers of what somebody else wrote: each gives a value that keeps its promises, or raises the
error that it documents, whatever the bytes are."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import random
import string
import struct
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from pip_sharedcache import config, wheel
from pip_sharedcache.errors import SettingError, UnusualWheel
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.stats import GROUPS, Savings
from pip_sharedcache.model import Digest, Installed, Manifest, StoredFile, path_problem
from pip_sharedcache.signing import BytecodeStatement, armor, read_signed, read_statement
from pip_sharedcache.signing.allowed import read_allowed
from pip_sharedcache.store import run_log, symlink_registry
from pip_sharedcache.store.run_log import Run
from pip_sharedcache.store.usage_marks import ENTRY_NAME
from support import REPOSITORY
from support.wheels import make_wheel

# The same examples in every run. Its tables of characters go where all of the tests' caches are.
set_hypothesis_home_dir(REPOSITORY / ".cache" / "hypothesis")
settings.register_profile(
    "deterministic",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
THOROUGH = settings(settings.get_profile("deterministic"), max_examples=80)
FEW = settings(THOROUGH, max_examples=40)

TEXT = st.text(max_size=12) | st.text(string.printable, max_size=12)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | TEXT
    | st.sampled_from(["../x", "/etc", "a/../b", "\ud800", "\0", "a\u202eb", "x" * 300])
)
JSON = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DEEP = st.sampled_from([100, 900, 960, 980, 100_000]).map(lambda depth: "[" * depth + "]" * depth)
PATHS = st.lists(
    st.sampled_from(["a", "b.py", ".hidden", "é", "with space", "demo-1.0.dist-info", "RECORD"]),
    min_size=1,
    max_size=4,
).map("/".join)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
COUNTS = st.integers(0, (1 << 50) - 1)


def spoil(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with one part of it, however deep, replaced, removed or doubled."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        copy: Any = value.copy()
        change = draw(st.integers(0, 5))
        if change == 0:
            del copy[key]
        elif change == 1 and isinstance(copy, list):
            copy.insert(key, copy[key])
        else:
            copy[key] = spoil(draw, copy[key])
        return copy
    return draw(JSON)


@st.composite
def nearly(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> bytes:
    """JSON text of a valid value, spoiled in a few places of the value or of the bytes."""
    value = draw(valid)
    for _ in range(draw(st.integers(0, 2))):
        value = spoil(draw, value)
    text = bytearray(json.dumps(value).encode("ascii"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    if not draw(st.integers(0, 9)):
        deep = draw(DEEP).encode("ascii")
        at = text.find(draw(st.sampled_from([b"[", b'"', b"1"])))
        text[at : at + 1] = deep
    return bytes(text)


def hostile(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Any bytes, any JSON, and what is nearly valid."""
    any_json = JSON.map(lambda value: json.dumps(value).encode("ascii"))
    return st.one_of(st.binary(max_size=200), any_json, nearly(valid), nearly(valid))


def leaves_its_directory(path: str) -> bool:
    """Whether ``path`` joined to a directory leads out of it, by the system's own rules."""
    return not os.path.normpath(os.path.join("/top/dir", path)).startswith("/top/dir/")


def peak_of(action: Callable[[], object]) -> int:
    """The most bytes that ``action`` held at once. It may raise ValueError."""
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# -- paths


@settings(THOROUGH)
@given(st.text(max_size=40) | PATHS | st.text("ab./\\:~ \0\n\u202eé\ud800", max_size=12))
@example("a" * 255 + "/" + "b" * 255)
@example("a" * 256)
@example("a/" * 1024 + "a")
@example("..")
@example("a/..")
@example("a\n")
def test_path_without_problem_stays_inside_and_can_be_shown(path: str) -> None:
    problem = path_problem(path)
    assert problem == "" or problem.split()[0] in ("has", "is")
    if problem:
        return
    assert not leaves_its_directory(path)
    assert os.path.normpath(path) == path
    assert len(path) <= 2048
    assert all(0 < len(os.fsencode(part)) <= 255 for part in path.split("/"))
    assert not {"\\", ":"} & set(path)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in path)


@settings(THOROUGH)
@given(PATHS)
def test_path_of_plain_names_has_no_problem(path: str) -> None:
    assert path_problem(path) == ""


# -- manifests

FILES = st.builds(
    StoredFile, PATHS, st.integers(0, 1 << 61), HASHES | st.just(""), st.booleans(), COUNTS
)
MANIFESTS = st.builds(
    Manifest,
    st.sampled_from(["demo-1.0-py3-none-any.whl", "cpython-311", ""]),
    HASHES.map(Digest),
    st.integers(0, 1 << 61),
    st.lists(FILES, max_size=4).map(tuple),
    st.lists(PATHS, max_size=2).map(tuple),
)


def check_manifest(manifest: Manifest) -> None:
    assert len(manifest.digest) == 64
    assert set(manifest.digest) <= set("0123456789abcdef")
    assert not {"/", "\\"} & set(manifest.filename)
    assert manifest.filename not in (".", "..")
    for file in manifest.files:
        assert 0 <= file.size < 1 << 62
        assert 0 <= file.mtime < 1 << 62
        assert file.executable in (True, False)
        assert file.sha256 == "" or len(file.sha256) == 64
    for path in (*(file.path for file in manifest.files), *manifest.failed):
        assert path_problem(path) == ""
        assert not leaves_its_directory(path)


@settings(THOROUGH)
@given(MANIFESTS)
def test_manifest_written_and_read_is_the_same(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json().encode("utf-8")) == manifest


@settings(THOROUGH, max_examples=250)
@given(hostile(MANIFESTS.map(lambda manifest: json.loads(manifest.to_json()))))
def test_manifest_of_any_bytes_is_sound_or_a_value_error(text: bytes) -> None:
    try:
        manifest = Manifest.from_json(text)
    except ValueError as error:
        assert str(error)
        assert len(str(error)) < 1000
        return
    check_manifest(manifest)
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest


GOOD = json.loads(Manifest("", Digest("0" * 64), 1, (StoredFile("a", 1, "", False, 1),)).to_json())


@pytest.mark.parametrize("failed", ["abc", {"a": 1}, ["../x"], [1], [["a"]], None, 5])
def test_manifest_whose_failed_is_no_list_of_paths_is_refused(failed: object) -> None:
    with pytest.raises(ValueError, match="not an entry"):
        Manifest.from_json(json.dumps({**GOOD, "failed": failed}))


@pytest.mark.parametrize("depth", [100, 950, 990, 10_000])
def test_manifest_nested_deeply_is_refused(depth: int) -> None:
    text = json.dumps(GOOD).replace('"a", 1', "[" * depth + "]" * depth + ", 1")
    with pytest.raises(ValueError, match="not an entry"):
        Manifest.from_json(text)


@pytest.mark.parametrize("failed", ["a" * 200_000, "\u4e2d" * 200_000])
def test_manifest_whose_failed_is_a_long_text_takes_no_memory(failed: str) -> None:
    text = json.dumps({**GOOD, "failed": failed}, ensure_ascii=False)
    assert peak_of(lambda: Manifest.from_json(text)) < 8 * len(failed)


# -- registries of symlinks

ENTRIES = st.builds(lambda name, end: name + end, HASHES, st.sampled_from(["", ".0", ".cpython"]))
ENVIRONMENTS = st.fixed_dictionaries(
    {
        "library": st.sampled_from(["/home/a/lib", "/e"]),
        "host": st.just("host"),
        "way": st.lists(st.tuples(COUNTS, COUNTS).map(list), min_size=1, max_size=2),
    }
)
LINKS = st.tuples(ENTRIES, st.sampled_from(["/home/a/lib/x.py", "/e/y"])).map(list)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    """A directory for one file, held open."""
    with Directory.open(tmp_path_factory.mktemp("own")) as held:
        yield held


def links_of(own: Directory, text: bytes) -> list[symlink_registry.Link]:
    (own.path / "links-0").write_bytes(text)
    return list(symlink_registry._read(os.geteuid(), own, "links-0"))


@settings(THOROUGH, max_examples=200)
@given(st.lists(hostile(ENVIRONMENTS) | hostile(LINKS), max_size=5).map(b"\n".join))
def test_links_of_any_bytes_are_absolute_and_of_entries(own: Directory, text: bytes) -> None:
    for link in links_of(own, text):
        assert ENTRY_NAME.fullmatch(link.entry)
        assert "/" not in link.entry
        for path in (link.path, link.library):
            assert path == "" or os.path.isabs(path)
            assert b"\0" not in os.fsencode(path)
            assert len(path) <= 4096
        assert link.path
        assert len(link.way) <= link.library.count("/") + 1
        assert all(type(number) is int for place in link.way for number in place)
        assert isinstance(link.host, str)


@settings(FEW)
@given(ENVIRONMENTS, st.lists(LINKS, max_size=3))
def test_links_written_and_read_are_the_same(
    own: Directory, environment: dict[str, Any], links: list[list[str]]
) -> None:
    text = "".join(json.dumps(row) + "\n" for row in (environment, *links))
    found = links_of(own, text.encode("ascii"))
    assert [[link.entry, link.path] for link in found] == links
    for link in found:
        assert (link.library, link.host) == (environment["library"], "host")
        assert list(map(list, link.way)) == environment["way"]


def test_link_after_a_damaged_environment_is_not_of_the_one_before(own: Directory) -> None:
    environment = {"library": "/e", "host": "h", "way": [[1, 1]]}
    rows = [environment, ["0" * 64, "/e/x"], {**environment, "way": 1}, ["1" * 64, "/f/x"]]
    found = links_of(own, "\n".join(map(json.dumps, rows)).encode("ascii"))
    assert [link.library for link in found] == ["/e", ""]


def test_environment_with_a_longer_way_than_its_path_is_not_taken(own: Directory) -> None:
    # For each link gc would look at each of these directories: hours, of a file of 1 MB.
    rows = [{"library": "/e", "host": "h", "way": [[1, 1]] * 50_000}, ["0" * 64, "/e/x"]]
    found = links_of(own, "\n".join(map(json.dumps, rows)).encode("ascii"))
    assert [(link.library, link.way) for link in found] == [("", ())]


# -- logs of runs

#: What can be part of a path; a record with another text is invalid.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
INSTALLED = st.builds(
    Installed,
    WORDS,
    COUNTS,
    st.sampled_from(["found", "added", "pip"]),
    WORDS,
)
SECONDS = st.floats(0, 1e7)
RUNS = st.builds(
    Run,
    COUNTS,
    WORDS,
    WORDS,
    WORDS,
    SECONDS,
    COUNTS,
    COUNTS,
    COUNTS,
    SECONDS,
    COUNTS,
    st.lists(INSTALLED, max_size=3).map(tuple),
)


@settings(THOROUGH)
@given(RUNS)
def test_run_written_and_read_is_the_same(run: Run) -> None:
    assert run_log._run(json.dumps(asdict(run)).encode("ascii")) == run


@settings(THOROUGH, max_examples=200)
@given(hostile(RUNS.map(asdict)))
def test_run_of_any_bytes_can_be_added_up(line: bytes) -> None:
    run = run_log._run(line)
    if run is None:
        return
    for text in (run.environment, run.mode, run.refused):
        assert isinstance(text, str)
        assert len(text) <= 4096
    for number in (run.at, run.not_downloaded, run.not_copied, run.compiled, run.reused):
        assert 0 <= number < 1 << 50
    for seconds in (run.seconds, run.compile_seconds):
        assert math.isfinite(seconds)
        assert 0 <= seconds < 1e8
    for one in run.distributions:
        assert len(one.title) <= 255
        assert 0 <= one.size < 1 << 50
        assert one.how in ("found", "added", "pip")
    savings = Savings(groups={group: {} for group in GROUPS})
    savings.add(os.geteuid(), run)
    assert savings.whole.installed == len(run.distributions)


@settings(FEW)
@given(st.lists(hostile(RUNS.map(asdict)), max_size=4).map(b"\n".join))
def test_log_of_any_bytes_gives_runs(own: Directory, text: bytes) -> None:
    (own.path / "run-0").write_bytes(text)
    found = list(run_log._read(os.geteuid(), own, "run-0"))
    assert len(found) <= len(text.splitlines())


# -- wheels

DOCUMENTED: tuple[type[Exception], ...] = (UnusualWheel, OSError, *wheel.BROKEN)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheels"))


def check_wheel(path: Path, name: str) -> None:
    """All that reads a wheel gives what may be placed, or raises what it documents."""
    names = wheel.names_in(str(path))
    assert names is None or isinstance(names, list)
    try:
        with path.open("rb") as file, zipfile.ZipFile(path) as archive:
            members = wheel.members(archive, name)
            small = [wheel.read_small(file.fileno(), member) for member in members]
            for member, data in zip(members, small):
                blocks = list(wheel.content(archive, member))
                assert all(len(block) <= 1 << 20 for block in blocks)
                assert data is None or data == b"".join(blocks)
    except DOCUMENTED:
        check_small(path, name)
        return
    paths = [member.path for member in members]
    assert len(set(paths)) == len(paths)
    assert not any(path_problem(one) or leaves_its_directory(one) for one in paths)


def check_small(path: Path, name: str) -> None:
    """What read_small reads of a damaged wheel is what zipfile reads; it never raises."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = wheel.members(archive, name)
    except DOCUMENTED:
        return
    with path.open("rb") as file, zipfile.ZipFile(path) as archive:
        for member in members:
            data = wheel.read_small(file.fileno(), member)
            if data is not None:
                assert data == b"".join(wheel.content(archive, member))


@settings(THOROUGH, max_examples=200)
@given(st.integers(0, 1 << 32))
def test_wheel_with_damaged_bytes_is_sound_or_a_documented_error(sound: Path, seed: int) -> None:
    content = bytearray(sound.read_bytes())
    directory = content.find(b"PK\x01\x02")
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        at = chance.choice(
            [chance.randrange(len(content)), chance.randrange(directory, len(content))]
        )
        content[at : at + 1] = chance.choice([b"\0", b"\xff", bytes([chance.randrange(256)]), b""])
    path = sound.with_name("damaged.whl")
    path.write_bytes(content)
    check_wheel(path, sound.name)


MEMBERS = st.lists(
    PATHS | st.text("ab./\\:~ \n\u202eé", min_size=1, max_size=8) | st.sampled_from(["../x", "/x"]),
    max_size=5,
)


@settings(FEW)
@given(MEMBERS)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_wheel_with_any_names_stays_inside(sound: Path, names: list[str]) -> None:
    path = sound.with_name("named.whl")
    path.write_bytes(sound.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        for name in names:
            archive.writestr(name, b"x")
    check_wheel(path, sound.name)
    try:
        with zipfile.ZipFile(path) as archive:
            paths = {member.path for member in wheel.members(archive, sound.name)}
    except UnusualWheel:
        return
    above = {str(one) for path in paths for one in Path(path).parents}
    assert not above & paths


def test_wheel_with_a_member_behind_all_files_is_a_documented_error(sound: Path) -> None:
    # An extra field of zip64 gives any 64 bits as the place of a member.
    content = bytearray(sound.read_bytes())
    first = content.find(b"PK\x01\x02")
    name, extra = struct.unpack_from("<HH", content, first + 28)
    assert extra == 0
    struct.pack_into("<H", content, first + 30, 12)
    struct.pack_into("<L", content, first + 42, 0xFFFFFFFF)
    at = first + 46 + name
    content[at:at] = struct.pack("<HHQ", 1, 8, (1 << 64) - 1)
    end = content.rfind(b"PK\x05\x06")
    (size,) = struct.unpack_from("<L", content, end + 12)
    struct.pack_into("<L", content, end + 12, size + 12)
    path = sound.with_name("behind.whl")
    path.write_bytes(content)
    check_wheel(path, sound.name)


@pytest.mark.parametrize(("offset", "value"), [(6, 0xFF), (9, 0x08)])
def test_names_in_a_wheel_that_zipfile_refuses_are_none(
    sound: Path, offset: int, value: int
) -> None:
    # A version that zipfile does not know; a name said to be UTF-8 that is not.
    content = bytearray(sound.read_bytes())
    first = content.find(b"PK\x01\x02")
    content[first + offset] = value
    content[first + 46] = 0xFF
    path = sound.with_name("refused.whl")
    path.write_bytes(content)
    assert wheel.names_in(str(path)) is None


def test_deep_paths_are_checked_in_memory_of_their_own_size() -> None:
    paths = [f"{number}/" + "a/" * 1000 + "a" for number in range(200)]
    peak = peak_of(lambda: wheel._check_collisions("demo.whl", paths))
    assert peak < 20 * sum(map(len, paths))
    with pytest.raises(UnusualWheel, match="'0/a' is a file and a directory"):
        wheel._check_collisions("demo.whl", [*paths, "0/a", "0/a.b"])


# -- settings

VALUES = st.one_of(
    st.text(max_size=20),
    st.text("~/ab:\n\0 \ud800\udc80é%[]=", max_size=12),
    st.sampled_from(["hardlink", "COPY", "always", "yes", "off", "full"]),
    st.integers(-5, 100).map(str),
    st.sampled_from(
        ["/a private", "/a:/b read-only", "~nobody/x", "~a\0b", "²", "٣", "https://[x"]
    ),
)
ENVIRONS = st.dictionaries(
    st.sampled_from([*config.NAMES, "unknown", ""]).map(
        lambda name: config.ENVIRONMENT_PREFIX + name.replace("-", "_").upper()
    ),
    VALUES,
    max_size=4,
)


def load(files: list[Path], environ: dict[str, str]) -> config.Settings | None:
    try:
        found = config.load(files, environ)
    except SettingError as error:
        assert error.message
        assert "\n" not in error.message
        return None
    for layer in found.layers:
        assert layer.path.is_absolute()
        assert "\0" not in str(layer.path)
    assert found.dir is None or found.dir in [layer.path for layer in found.layers]
    assert 0 <= found.processes <= 64
    assert found.stats in config.STATS
    return found


@settings(THOROUGH, max_examples=200)
@given(ENVIRONS)
@example({"PIP_SHAREDCACHE_DIR": "~a\0b"})
def test_settings_of_any_variables_are_sound_or_a_setting_error(environ: dict[str, str]) -> None:
    found = load([], environ)
    if found is not None:
        # What was found, given again, is found again.
        again = {
            config.ENVIRONMENT_PREFIX + name.replace("-", "_").upper(): places[-1].value
            for name, places in found.chosen.items()
        }
        assert replace(config.load([], again), notes=()) == replace(found, notes=())


LINES = st.one_of(
    st.sampled_from(["[sharedcache]", "[global]", "[DEFAULT]", "[", "[]", "", " ", "  x", "# c"]),
    st.builds(lambda name, value: f"{name} = {value}", st.sampled_from(config.NAMES), VALUES),
    st.text(max_size=12),
)


@settings(THOROUGH, max_examples=200)
@given(
    st.binary(max_size=60)
    | st.lists(LINES, max_size=6).map(
        lambda lines: "\n".join(["[sharedcache]", *lines]).encode("utf-8", "surrogatepass")
    )
)
def test_settings_of_any_file_are_sound_or_a_setting_error(own: Directory, text: bytes) -> None:
    path = own.path / "pip.conf"
    path.write_bytes(text)
    load([path], {})


# -- signed data

STATEMENTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "failed": st.lists(PATHS, max_size=2, unique=True).map(sorted),
        "files": st.lists(
            st.tuples(PATHS.map(lambda path: f"{path}.pyc"), st.integers(0, 1 << 32), HASHES),
            max_size=3,
            unique_by=lambda row: row[0],
        ).map(sorted),
        "format": st.just(1),
        "kind": st.just("bytecode"),
        "magic": st.sampled_from(["a70d0d0a", "cb0d0d0a", "a70d0d0"]),
        "tag": st.sampled_from(["cpython-311", "cpython-311.opt-1", "../x"]),
        "wheel": HASHES,
    }
)
BUILDS = st.fixed_dictionaries(
    {
        "details": st.dictionaries(TEXT, JSON, max_size=3),
        "filename": st.sampled_from(["demo-1.0-py3-none-any.whl", "../x.whl", "demo"]),
        "format": st.just(1),
        "key": HASHES,
        "kind": st.just("build"),
        "wheel": HASHES,
    }
)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


@settings(THOROUGH, max_examples=200)
@given(hostile(STATEMENTS) | hostile(BUILDS) | (STATEMENTS | BUILDS).map(canonical))
@example(b"[" * 100_000)
@example(canonical({"format": 1, "kind": "bytecode", "x": "y"}))
@example(b'{"format":1,"kind":"build","x":' + b"1" * 1_000_000 + b"}")
@example(b'{"format":1e999,"kind":"build"}')
def test_statement_of_any_bytes_is_sound_or_a_value_error(text: bytes) -> None:
    try:
        found = read_statement(text)
    except ValueError:
        return
    assert found.to_bytes() == text, "one form only"
    assert "/" not in found.key
    if isinstance(found, BytecodeStatement):
        for path in (*found.failed, *(file.path for file in found.files)):
            assert not path_problem(path)
            assert not leaves_its_directory(path)


@settings(FEW)
@given(
    STATEMENTS.map(
        lambda data: {
            **data,
            "magic": "a70d0d0a",
            "tag": "cpython-311",
            "files": [row for row in data["files"] if row[1] < 1 << 32],
        }
    )
)
def test_statement_of_sound_values_is_read(data: dict[str, Any]) -> None:
    found = read_statement(canonical(data))
    assert isinstance(found, BytecodeStatement)
    assert [tuple(file) for file in found.files] == data["files"]


HEADS = st.fixed_dictionaries(
    {
        "format": st.just(1),
        "kind": st.sampled_from(["bytecode", "build", "other"]),
        "key": TEXT,
        "statement": st.integers(0, 40) | COUNTS,
        "signature": st.integers(0, 40) | COUNTS,
    }
)


@settings(THOROUGH, max_examples=200)
@given(hostile(HEADS), st.binary(max_size=60))
@example(b"[" * 1_000_000, b"")
def test_signed_data_of_any_bytes_is_whole_or_a_value_error(head: bytes, rest: bytes) -> None:
    file = io.BytesIO(head + b"\n" + rest)
    try:
        found = read_signed(file)
    except ValueError:
        return
    assert rest.startswith(found.statement + found.signature)
    again = io.BytesIO(found.to_bytes() + b"payload")
    assert read_signed(again) == found
    assert again.read() == b"payload"


BLOBS = st.binary(max_size=40).map(lambda data: struct.pack(">I", len(data)) + data)


@settings(THOROUGH, max_examples=200)
@given(
    st.binary(max_size=60)
    | st.lists(BLOBS | st.binary(max_size=5), max_size=6).map(
        lambda parts: b"SSHSIG\0\0\0\1" + b"".join(parts)
    ),
    st.booleans(),
)
@example(b"SSHSIG\0\0\0\1\xff\xff\xff\xff", True)
def test_signature_of_any_bytes_is_read_or_a_value_error(data: bytes, wrapped: bool) -> None:
    if wrapped:
        body = base64.encodebytes(data)
        data = b"-----BEGIN SSH SIGNATURE-----\n" + body + b"-----END SSH SIGNATURE-----\n"
    with contextlib.suppress(ValueError):
        found = armor.read_envelope(data)
        assert found.namespace.isascii()
        assert found.fingerprint.startswith("SHA256:")
        assert not wrapped or found.key in base64.b64decode(body)


ALLOWED = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("alice", '"a b"', "#", "ssh-ed25519", "AAAA", "A===", "cert-authority", '"'),
                *('namespaces="a,b"', 'valid-before="20200101"', 'valid-before="99999999Z"'),
                *('valid-after="999999999999"', 'x="', ",", "=", "\n", "ssh-rsa A", "[", "*"),
            ]
        ),
        TEXT,
    ),
    max_size=12,
)


@settings(THOROUGH, max_examples=200)
@given(ALLOWED.map(" ".join))
@example("a " + "x" * 100_000)
@example("a " + '"' * 100_001 + " ssh-rsa AAAA")
@example("a " + 'n="",' * 20_000 + " ssh-rsa AAAA")
def test_allowed_signers_of_any_text_can_be_shown(text: str) -> None:
    for one in read_allowed(text.encode("utf-8", "surrogatepass")):
        assert one.principals.isprintable()
        assert one.key.isprintable()
