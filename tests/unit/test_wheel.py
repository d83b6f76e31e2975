"""Reading wheels: what an ordinary one holds, and each thing that makes one unusual."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pip_sharedcache import model, wheel
from pip_sharedcache.errors import UnusualWheel
from support.wheels import make_wheel

INFO = "demo-1.0.dist-info"


def _members(path: Path, filename: str = "") -> list[wheel.Member]:
    with zipfile.ZipFile(path) as archive:
        return wheel.members(archive, filename or path.name)


def _refused(path: Path, filename: str = "") -> str:
    with pytest.raises(UnusualWheel) as caught:
        _members(path, filename)
    assert str(caught.value).startswith(filename or path.name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("directories", [False, True], ids=["files only", "with directories"])
def test_an_ordinary_wheel_gives_its_files(tmp_path: Path, directories: bool) -> None:
    path = make_wheel(tmp_path, add_directory_entries=directories)
    assert sorted(member.path for member in _members(path)) == [
        *(f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL")),
        "demo/__init__.py",
        "demo/data.txt",
        "demo/part/__init__.py",
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (stat.S_IFREG | 0o755, True),
        (stat.S_IFREG | 0o001, True),
        (stat.S_IFREG | 0o644, False),
        (stat.S_IFLNK | 0o777, False),
        (0o755, False),
        (0, False),
    ],
    ids=["program", "for others", "plain", "symlink", "no kind", "nothing"],
)
def test_executable_is_what_pip_takes_for_it(tmp_path: Path, mode: int, expected: bool) -> None:
    path = make_wheel(tmp_path)
    info = zipfile.ZipInfo("demo/run")
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"#!/bin/sh\n")
    (found,) = [member for member in _members(path) if member.path == "demo/run"]
    assert found.executable is expected


@pytest.mark.parametrize("key", sorted(wheel.SCHEME_KEYS), ids=lambda key: f"{key}")
def test_every_scheme_of_pips_is_ordinary(tmp_path: Path, key: str) -> None:
    files = {f"demo-1.0.data/{key}/a/b.txt": "b", "demo/__init__.py": ""}
    paths = [member.path for member in _members(make_wheel(tmp_path, files=files))]
    assert f"demo-1.0.data/{key}/a/b.txt" in paths


@pytest.mark.parametrize(
    ("name", "version"),
    [("My.Demo", "1.0"), ("demo_x-y", "2.0+local"), ("UPPER", "1!3"), ("a", "1.0.dev1")],
)
def test_names_are_compared_as_pip_compares_them(tmp_path: Path, name: str, version: str) -> None:
    assert _members(make_wheel(tmp_path, name, version))


@pytest.mark.parametrize(
    "path",
    [
        *("demo/ü/漢字.py", "demo/with space", "demo/..x", "demo/...", "demo/.hidden", "top.py"),
        *("demo/" + "x" * 255, "demo/%41", "a.dist-info.txt", "demo/a.data/b"),
    ],
    ids=lambda path: ascii(path)[:30],
)
def test_odd_but_plain_paths_are_ordinary(tmp_path: Path, path: str) -> None:
    found = _members(make_wheel(tmp_path, files={path: ""}))
    assert path in [member.path for member in found]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "plain relative path"),
        ("../evil.py", "plain relative path"),
        ("demo/../../evil.py", "plain relative path"),
        ("demo/..", "plain relative path"),
        ("./demo.py", "plain relative path"),
        ("demo//x.py", "plain relative path"),
        ("demo/./x.py", "plain relative path"),
        ("demo\\x.py", "character"),
        ("C:/evil.py", "character"),
        ("demo/x.py:stream", "character"),
        ("demo/new\nline.py", "character"),
        ("demo/\x1b[2J.py", "character"),
        ("demo/\u202etxt.py", "character"),
        ("demo/" + "x" * 256, "too long"),
        ("demo/" + "ü" * 128, "too long"),
        ("demo-1.0.data/scripts", "scheme"),
        ("demo-1.0.data/lib/x.py", "scheme"),
        ("demo-1.0.data/Scripts/x", "scheme"),
        ("other-1.0.data/unknown/x", "scheme"),
        ("x.data", "scheme"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_an_unusual_path_is_left_to_pip(tmp_path: Path, path: str, words: str) -> None:
    assert words in _refused(make_wheel(tmp_path, files={path: "x"}))


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "plain relative path"), ("demo/\0", "character"), ("demo/\ud800", "character")],
    ids=["empty", "zero byte", "no text"],
)
def test_paths_that_only_a_broken_archive_gives_are_left_to_pip(
    tmp_path: Path, path: str, words: str
) -> None:
    source = make_wheel(tmp_path)
    with zipfile.ZipFile(source) as archive:
        archive.infolist()[0].filename = path
        with pytest.raises(UnusualWheel, match=words):
            wheel.members(archive, source.name)


def test_an_encrypted_file_is_left_to_pip(tmp_path: Path) -> None:
    source = make_wheel(tmp_path)
    with zipfile.ZipFile(source) as archive:
        archive.infolist()[0].flag_bits |= 0x1
        with pytest.raises(UnusualWheel, match="encrypted"):
            wheel.members(archive, source.name)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_named_twice_is_left_to_pip(tmp_path: Path) -> None:
    source = make_wheel(tmp_path)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("demo/__init__.py", "other")
    assert "lists a file twice" in _refused(source)


@pytest.mark.parametrize("deep", ["demo/x/y.py", "demo/x/y/z.py"])
def test_a_file_that_is_a_directory_too_is_left_to_pip(tmp_path: Path, deep: str) -> None:
    refused = _refused(make_wheel(tmp_path, files={"demo/x": "", deep: ""}))
    assert "'demo/x' is a file and a directory" in refused


@pytest.mark.parametrize(
    "filename",
    ["demo.whl", "demo-1.0.zip", "demo-1.0-py3.whl", "demo-x-py3-none-any.whl", "-1.0-a-b-c.whl"],
)
def test_a_file_name_that_is_no_wheels_is_left_to_pip(tmp_path: Path, filename: str) -> None:
    _refused(make_wheel(tmp_path), filename)


def test_a_wheel_of_another_name_is_left_to_pip(tmp_path: Path) -> None:
    assert INFO in _refused(make_wheel(tmp_path), "other-1.0-py3-none-any.whl")


def test_no_information_is_left_to_pip(tmp_path: Path) -> None:
    source = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("demo.py", "")
    assert "0 .dist-info" in _refused(source)
    with zipfile.ZipFile(source, "w"):
        pass
    assert "0 .dist-info" in _refused(source)


def test_two_informations_are_left_to_pip(tmp_path: Path) -> None:
    source = make_wheel(tmp_path, files={"other-1.0.dist-info/METADATA": ""})
    assert "2 .dist-info" in _refused(source)


def test_information_below_the_top_is_none(tmp_path: Path) -> None:
    source = make_wheel(tmp_path, files={"demo/other-1.0.dist-info/METADATA": ""})
    assert _members(source)
    with zipfile.ZipFile(tmp_path / "demo-1.0-py3-none-any.whl", "w") as archive:
        for name in ("METADATA", "RECORD", "WHEEL"):
            archive.writestr(f"demo/{INFO}/{name}", "")
    assert "0 .dist-info" in _refused(tmp_path / "demo-1.0-py3-none-any.whl")


@pytest.mark.parametrize("missing", ["METADATA", "RECORD", "WHEEL"])
def test_each_required_file_that_lacks_is_left_to_pip(tmp_path: Path, missing: str) -> None:
    source = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(source, "w") as archive:
        for name in {"METADATA", "RECORD", "WHEEL"} - {missing}:
            archive.writestr(f"{INFO}/{name}", "")
    assert f"has no {missing}" in _refused(source)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1], ids=str)
def test_digest_and_size_are_those_of_all_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = bytes(range(256)) * (size // 256 + 1)
    path.write_bytes(data[:size])
    assert wheel.digest_of(path) == (hashlib.sha256(data[:size]).hexdigest(), size)


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wheel.digest_of(tmp_path / "none")


def test_blocks_are_the_rest_in_pieces_of_a_mebibyte() -> None:
    file = io.BytesIO(b"x" * ((2 << 20) + 5))
    file.seek(3)
    assert [len(block) for block in wheel.blocks(file)] == [1 << 20, 1 << 20, 2]


def test_the_outline_is_what_a_manifest_says_of_files(tmp_path: Path) -> None:
    files = {"demo/tool": "abc", "demo/empty": ""}
    path = make_wheel(tmp_path, files=files, executables=["demo/tool"], add_directory_entries=True)
    with zipfile.ZipFile(path) as archive:
        outline = wheel.outline(archive)
    assert {row for row in outline if INFO not in row[0]} == {
        ("demo/tool", 3, True),
        ("demo/empty", 0, False),
    }
    assert len(outline) == 5


def test_metadata_that_would_fill_the_memory_is_left_to_pip(tmp_path: Path) -> None:
    metadata = b"Name: demo\n" + bytes(1 << 26)
    path = make_wheel(tmp_path, dist_info_files={"METADATA": metadata})
    assert "METADATA is too large" in _refused(path)


def test_a_wheel_of_more_files_than_a_manifest_can_tell_is_left_to_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "MOST_MANIFEST", 100 * 128)
    path = make_wheel(tmp_path, files={f"demo/{number}.py": "" for number in range(90)})
    assert "has 93 files, too many for a store" in _refused(path)


def test_broken_stream_of_a_member_is_reported(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"demo/x": "x" * 1000}, compress=False)
    path.write_bytes(path.read_bytes().replace(b"x" * 1000, b"x" * 999 + b"y"))
    with zipfile.ZipFile(path) as archive:
        member = wheel.Member(archive.getinfo("demo/x"), False)
        with pytest.raises(wheel.BROKEN, match="CRC"):
            list(wheel.content(archive, member))


def _both(path: Path) -> list[tuple[str, bytes | None, bytes]]:
    """Each file: its path, what read_small reads, and what content reads."""
    with path.open("rb") as file, zipfile.ZipFile(path) as archive:
        return [
            (
                member.path,
                wheel.read_small(file.fileno(), member),
                b"".join(wheel.content(archive, member)),
            )
            for member in wheel.members(archive, path.name)
        ]


@pytest.mark.parametrize("compress", [False, True])
def test_small_files_are_read_at_once(tmp_path: Path, compress: bool) -> None:
    files = {"demo/empty": "", "demo/é.txt": "é" * 1000, "demo/x": "x" * wheel._SMALL}
    path = make_wheel(tmp_path, files=files, compress=compress)
    read = _both(path)
    assert {name for name, data, _ in read if data is not None} >= files.keys()
    assert [data for _, data, _ in read] == [data for _, _, data in read]


def test_file_that_is_not_small_is_left_to_zipfile(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, files={"demo/x": "x" * (wheel._SMALL + 1)})
    assert {name for name, data, _ in _both(path) if data is None} == {"demo/x"}


def _cut(header: bytearray) -> None:
    header[-1:] = b""


def _another_name(header: bytearray) -> None:
    header[30] ^= 1


def _another_signature(header: bytearray) -> None:
    header[0] ^= 1


def _utf_8(header: bytearray) -> None:
    header[7] ^= 8


def _long_extra_field(header: bytearray) -> None:
    struct.pack_into("<H", header, 28, 60_000)


def _damaged_data(header: bytearray) -> None:
    header[-1] ^= 1


@pytest.mark.parametrize(
    "damage",
    [_cut, _another_name, _another_signature, _utf_8, _long_extra_field, _damaged_data],
)
@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_small_file_that_is_not_ordinary_is_left_to_zipfile(
    tmp_path: Path, damage: Callable[[bytearray], None], compress: int
) -> None:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("demo/x", b"some data" * 100)
    with zipfile.ZipFile(path) as archive:
        member = wheel.Member(archive.getinfo("demo/x"), False)
        data = bytearray(path.read_bytes()[: archive.start_dir])
    with path.open("rb") as file:
        assert wheel.read_small(file.fileno(), member) == b"some data" * 100
    damage(data)
    path.write_bytes(data)
    with path.open("rb") as file:
        assert wheel.read_small(file.fileno(), member) is None


def _pieces() -> Iterator[bytes]:
    for number in range(20):
        yield os.urandom(number * 5000)


def test_digest_of_a_large_file_is_its_sha256(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 8 + b"end"
    (tmp_path / "file").write_bytes(data)
    expected = (hashlib.sha256(data).hexdigest(), len(data))
    assert wheel.digest_of(tmp_path / "file") == expected


def test_digest_in_a_thread_is_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = list(_pieces())
    expected = wheel.digest_of_blocks(pieces)
    before = threading.active_count()
    assert wheel.digest_beside(iter(pieces)) == expected
    assert threading.active_count() == before  # a fork must find no other thread

    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert wheel.digest_beside(iter(pieces)) == expected


def test_error_of_the_pieces_passes_the_thread() -> None:
    def failing() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("bad password")

    with pytest.raises(RuntimeError, match="bad password"):
        wheel.digest_beside(failing())


@pytest.mark.parametrize(
    "name",
    [
        "demo-1.0-py3-none-any.whl",
        "Demo_Two-1.0-py2.py3-none-any.whl",
        "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "demo-1!1.0.post1+local.2-1-cp39-abi3-macosx_10_9_universal2.whl",
    ],
)
def test_file_name_in_a_wheel_is_the_one_that_it_had(tmp_path: Path, name: str) -> None:
    project, version, *build, python, abi, platform = name.removesuffix(".whl").split("-")
    tag = f"{python}-{abi}-{platform}"
    path = make_wheel(tmp_path, project, version, tag=tag)
    if build:
        with zipfile.ZipFile(path) as archive:
            told = archive.read(f"{project}-{version}.dist-info/WHEEL").decode()
        more = {"WHEEL": f"{told}Build: {build[0]}\n"}
        path = make_wheel(tmp_path, project, version, tag=tag, dist_info_files=more)
    assert wheel.filename_in(path.rename(tmp_path / "unnamed")) == name


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"dist_info": "demo-1.0-2.dist-info"}, "gives no file name"),
        ({"dist_info": "demo.dist-info"}, "gives no file name"),
        ({"dist_info_files": {"WHEEL": "Tag: py3-none\n"}}, "give no file name"),
        ({"dist_info_files": {"WHEEL": "Wheel-Version: 1.0\n"}}, "give no file name"),
        ({"dist_info_files": {"WHEEL": "Tag: py3-none-a/../b\n"}}, "give no file name"),
        ({"dist_info_files": {"WHEEL": "Tag: cp1-a-x\nTag: cp2-b-x\n"}}, "tags give no file name"),
        ({"dist_info_files": {"WHEEL": "x" * (2 << 20)}}, "too large"),
        ({"dist_info": "other"}, "has 0 .dist-info directories"),
    ],
)
def test_wheel_whose_metadata_give_no_file_name_is_refused(
    tmp_path: Path, made: dict[str, object], expected: str
) -> None:
    path = make_wheel(tmp_path, **made)  # type: ignore[arg-type]
    with pytest.raises(UnusualWheel, match=expected):
        wheel.filename_in(path)


def test_file_that_is_no_wheel_has_no_file_name(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"PK\x03\x04" + os.urandom(2000))
    with pytest.raises(UnusualWheel, match="it is no wheel"):
        wheel.filename_in(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo-1.0.dist-info/METADATA", "")
    with pytest.raises(UnusualWheel, match="has no WHEEL"):
        wheel.filename_in(path)
