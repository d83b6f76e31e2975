"""Manifests survive the way to the disk and back; anything else is refused. Counts in words."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest

from pip_sharedcache import model
from pip_sharedcache.model import (
    FORMAT,
    PACKED_FORMAT,
    Digest,
    Entry,
    LinkMode,
    Manifest,
    StoredFile,
    as_digest,
    megabytes,
    total_size,
)
from pip_sharedcache.placement import RunReport, Unserved

DIGEST = Digest("0123456789abcdef" * 4)
FILE = StoredFile("demo/__init__.py", 3, "ab" * 32, False, 1_700_000_000)
MANIFEST = Manifest("demo-1.0-py3-none-any.whl", DIGEST, 1234, (FILE,))


def _any_text(chance: random.Random, longest: int = 30) -> str:
    alphabet = string.ascii_letters + string.digits + " !\"#$%&'()*+,-;<=>?@[]^_`{|}~.äß€漢字😀\xa0"
    return "".join(chance.choice(alphabet) for _ in range(chance.randint(0, longest)))


def _any_manifest(chance: random.Random) -> Manifest:
    files = tuple(
        StoredFile(
            f"{_any_text(chance)}x/{_any_text(chance)}x",
            chance.randrange(1 << 40),
            f"{chance.getrandbits(256):064x}",
            chance.random() < 0.5,
            chance.randrange(1 << 33),
        )
        for _ in range(chance.randrange(8))
    )
    digest = Digest(f"{chance.getrandbits(256):064x}")
    return Manifest(f"{_any_text(chance)}.whl", digest, chance.randrange(1 << 40), files)


@pytest.mark.parametrize("seed", range(40))
def test_a_manifest_survives_the_way_to_text_and_back(seed: int) -> None:
    manifest = _any_manifest(random.Random(seed))
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text.encode("utf-8")) == manifest


def test_a_manifest_that_is_said_to_fit_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of the bytecode, with its longer names and what does not compile."""
    paths = ["a/b.py", "ä/漢.py", 'quo"te/"".py'] * 100
    most = (1 << 62) - 1
    compiled = [f"{path[:-3]}/__pycache__/x.cpython-3999t.opt-2.pyc" for path in paths]
    sizes = []
    for names, failed in ((paths, ()), (compiled[:150], paths[150:])):
        files = tuple(StoredFile(name, most, "ab" * 32, True, most) for name in names)
        text = Manifest("x" * 250, DIGEST, most, files, tuple(failed)).to_json()
        sizes.append(len(text.encode("utf-8")))
    monkeypatch.setattr(model, "MOST_MANIFEST", max(sizes))
    assert not model.manifest_fits(paths)


def test_executables_come_back_as_truth_values() -> None:
    program = StoredFile("demo/run", 3, "ab" * 32, True, 1)
    again = Manifest.from_json(Manifest("demo", DIGEST, 1, (program, FILE)).to_json())
    assert [file.executable for file in again.files] == [True, False]


def test_the_text_is_one_line_that_names_its_format() -> None:
    text = MANIFEST.to_json()
    assert "\n" not in text
    assert json.loads(text)["format"] == FORMAT


def _changed(**changes: Any) -> str:
    data = json.loads(MANIFEST.to_json())
    for key, value in changes.items():
        if value is None:
            del data[key]
        else:
            data[key] = value
    return json.dumps(data)


ROW = ["demo/__init__.py", 3, "ab" * 32, 0, 1]

MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "cut short": MANIFEST.to_json()[:-20],
    "zeros": b"\0" * 200,
    "not utf-8": b'{"format": "\xff\xfe"}',
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "a text": '"format"',
    "nested without end": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "older format": _changed(format=0),
    "newer format": _changed(format=PACKED_FORMAT + 1),
    "format as text": _changed(format=str(FORMAT)),
    "no format": _changed(format=None),
    "no filename": _changed(filename=None),
    "no digest": _changed(sha256=None),
    "no size": _changed(size=None),
    "no files": _changed(files=None),
    "filename is a number": _changed(filename=7),
    "filename is a list": _changed(filename=["a"]),
    "digest is short": _changed(sha256=DIGEST[:-1]),
    "digest is long": _changed(sha256=DIGEST + "0"),
    "digest is not hexadecimal": _changed(sha256="g" * 64),
    "digest with a line end": _changed(sha256=DIGEST + "\n"),
    "digest is a number": _changed(sha256=7),
    "size is a text": _changed(size="7"),
    "size is a fraction": _changed(size=7.5),
    "size is not a number": _changed(size=float("nan")),
    "size with too many digits": _changed().replace("1234", "9" * 10_000),
    "files is a number": _changed(files=7),
    "files is a text": _changed(files="demo"),
    "files is an empty text": _changed(files=""),
    "files is an object": _changed(files={"a": 1}),
    "files is an empty object": _changed(files={}),
    "row is too short": _changed(files=[ROW[:4]]),
    "row is too long": _changed(files=[[*ROW, 1]]),
    "row is a number": _changed(files=[7]),
    "row is null": _changed(files=[ROW, [None] * 5]),
    "row is an object": _changed(files=[{"path": "a"}]),
    "row is a text of five letters": _changed(files=["abcde"]),
    "path is a number": _changed(files=[[7, *ROW[1:]]]),
    "path is a list": _changed(files=[[["a"], *ROW[1:]]]),
    "file size is a text": _changed(files=[[ROW[0], "3", *ROW[2:]]]),
    "file digest is a number": _changed(files=[[*ROW[:2], 7, *ROW[3:]]]),
    "file digest is null": _changed(files=[[*ROW[:2], None, *ROW[3:]]]),
    "file mtime is a text": _changed(files=[[*ROW[:4], "1"]]),
    "file size is negative": _changed(files=[[ROW[0], -1, *ROW[2:]]]),
    "file size is astronomic": _changed(files=[[ROW[0], 10**4000, *ROW[2:]]]),
    "size is astronomic": _changed(size=10**4000),
    "file mtime is before all time": _changed(files=[[*ROW[:4], -(10**4000)]]),
    "filename is above": _changed(filename="../x.whl"),
    "filename with an escape": _changed(filename="\x1b[2Jx.whl"),
    **{
        f"path is {path!a}"[:40]: _changed(files=[[path, *ROW[1:]]])
        for path in (
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//x",
            "a/.",
            "a\\x",
            "C:/x",
            "a/\0x",
            "a/\nx",
            "a/\x1b[2Jx",
            "a/\x7fx",
            "a/\x9b2Jx",
            "a/\u202ex",
            "a/\u2028x",
            "a/\ud800x",
            "a/" + "x" * 256,
            "a/" + "ü" * 128,
            "/".join(["x" * 200] * 11),
        )
    },
    "file mtime is a fraction": _changed(files=[[*ROW[:4], 1.5]]),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_manifest_is_refused_or_differs_in_a_value_only(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(_any_manifest(chance).to_json().encode("utf-8"))
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        found = Manifest.from_json(bytes(data))
    except ValueError:
        return
    assert Manifest.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DIGEST, DIGEST),
        (DIGEST.upper(), DIGEST),
        (DIGEST[:-1], None),
        (DIGEST + "0", None),
        (DIGEST + "\n", None),
        ("sha256:" + DIGEST, None),
        ("", None),
        ("x" * 64, None),
        ("\u0660" * 64, None),
    ],
    ids=[
        *("plain", "upper case", "short", "long", "line end", "prefix", "empty", "letters"),
        "digits of another script",
    ],
)
def test_only_64_hexadecimal_digits_are_a_digest(text: str, expected: str | None) -> None:
    assert as_digest(text) == expected


def test_an_entry_knows_where_its_wheel_lies() -> None:
    entry = Entry(Path("/store/wheels/01") / DIGEST, 0, (1, 2), MANIFEST)
    assert entry.wheel == Path(f"/store/wheels/01/{DIGEST}/demo-1.0-py3-none-any.whl")


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["demo-1.0.dist-info/METADATA"], "demo-1.0.dist-info/METADATA"),
        (
            ["demo/_vendor/a-1.dist-info/METADATA", "demo-1.0.dist-info/METADATA"],
            "demo-1.0.dist-info/METADATA",
        ),
        (
            ["demo-1.0.data/purelib/a-1.dist-info/METADATA", "demo-1.0.dist-info/METADATA"],
            "demo-1.0.dist-info/METADATA",
        ),
        (["demo/_vendor/a-1.dist-info/METADATA"], None),
        (["a-1.dist-info/METADATA", "demo-1.0.dist-info/METADATA"], None),
        (["demo-1.0.dist-info/sub/METADATA"], None),
    ],
)
def test_metadata_is_that_of_the_wheel_itself(paths: list[str], found: str | None) -> None:
    files = tuple(StoredFile(path, 1, "", False, 0) for path in paths)
    metadata = Manifest("demo-1.0-py3-none-any.whl", Digest(DIGEST), 1, files).metadata
    assert (metadata and metadata.path) == found


def test_total_size_is_that_of_all_files() -> None:
    assert total_size([FILE, StoredFile("a", 10, "", False, 0)]) == 13
    assert total_size([]) == 0


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (123_456, "123.5 kB"),
        (1_000_000, "1.0 MB"),
        (2_345_678_901, "2.3 GB"),
        (10**12, "1.0 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_said_in_units_that_a_person_reads(size: int, words: str) -> None:
    assert megabytes(size) == words


def test_run_with_hits_only_is_summarised_in_one_line() -> None:
    report = RunReport(installed=3, found=3, not_downloaded=2_500_000)
    report.count(LinkMode.REFLINK, 1_000_000)
    report.count(LinkMode.REFLINK, 500_000)
    report.count(LinkMode.COPY, 9_000_000)
    assert report.sentence([Path("/data/store")]) == (
        "Shared store: 3 of 3 distributions from /data/store; files 1 copied, 2 reflinked; "
        "2.5 MB not downloaded; 1.5 MB not copied"
    )


def test_a_run_that_added_some_says_so() -> None:
    report = RunReport(installed=2, published=2)
    report.count(LinkMode.HARDLINK, 10)
    report.count(LinkMode.SYMLINK, 20)
    assert report.sentence([Path("/s")]) == (
        "Shared store: 0 of 2 distributions from /s; 2 added to it; "
        "files 1 hard-linked, 1 symlinked; 0 bytes not downloaded; 30 bytes not copied"
    )


def test_a_run_that_pulled_wheels_says_how_many() -> None:
    report, worker = RunReport(installed=2, published=2, pulled=1), RunReport(pulled=1)
    report.add(worker)
    assert report.sentence([Path("/s")]) == (
        "Shared store: 0 of 2 distributions from /s; 2 added to it; 2 pulled from remote stores; "
        "0 bytes not copied"
    )
    report.not_downloaded = 1000
    assert "; 1.0 kB not downloaded; " in report.sentence([Path("/s")])


def test_a_run_without_local_stores_names_none() -> None:
    report = RunReport(installed=3, pulled=2)
    report.unserved.append(Unserved("new.whl", "no store takes it", added=False))
    assert report.sentence([]) == (
        "Shared store: no local store can be used; 2 of 3 distributions pulled from remote stores; "
        "1 installed by pip alone: no store takes it; 0 bytes not copied"
    )


def test_a_run_that_could_not_add_says_why() -> None:
    report = RunReport(installed=4, published=1)
    report.unserved.append(Unserved("new.whl", "the store did not have it", added=True))
    report.unserved.append(Unserved("a.whl", "you may not write the store", added=False))
    sentence = report.sentence([Path("/s")])
    assert "; 1 installed by pip alone: you may not write the store; " in sentence
    assert "files" not in sentence
    report.unserved.append(Unserved("b.whl", "it was built here", added=False))
    report.unserved.append(Unserved("c.whl", "it was built here", added=False))
    sentence = report.sentence([Path("/s")])
    why = "2 they were built here, 1 you may not write the store"
    assert f"; 3 installed by pip alone: {why}; " in sentence


def test_a_wheel_whose_damaged_entry_is_healed_counts_once() -> None:
    report = RunReport(installed=3, found=1, replaced=2)
    for name in ("a.whl", "b.whl"):
        report.unserved.append(Unserved(name, "its entry is damaged", added=False))
    assert report.sentence([Path("/s")]).startswith(
        "Shared store: 1 of 3 distributions from /s; 2 installed by pip alone: their entries are "
        "damaged; 2 damaged entries published anew; "
    )


def test_two_runs_do_not_share_their_counts() -> None:
    RunReport().count(LinkMode.COPY, 5)
    assert not RunReport().placed


def test_what_another_process_did_is_added_and_stays_as_it_is() -> None:
    report, other = RunReport(2, 1, 1, 100), RunReport(3, 2, 0, 50)
    other.unserved.append(Unserved("a.whl", "it was built here", added=False))
    report.count(LinkMode.COPY, 5)
    other.count(LinkMode.COPY, 7)
    other.count(LinkMode.REFLINK, 11)
    report.add(other)
    assert (report.installed, report.found, report.published) == (5, 3, 1)
    assert (report.not_downloaded, report.unserved) == (150, other.unserved)
    assert report.placed == {LinkMode.COPY: 2, LinkMode.REFLINK: 1}
    assert report.placed_bytes == {LinkMode.COPY: 12, LinkMode.REFLINK: 11}
    report.count(LinkMode.REFLINK, 1)
    assert other.placed == {LinkMode.COPY: 1, LinkMode.REFLINK: 1}
    report.add(RunReport())
    assert (report.installed, len(report.unserved)) == (5, 1), "it was so, and is so"


def test_what_a_resolution_saved_is_added_to_the_report() -> None:
    report = RunReport(resolution="reused", requests_saved=3, seconds_saved=1.5)
    report.add(RunReport(requests_saved=1, seconds_saved=0.5))
    assert (report.resolution, report.requests_saved, report.seconds_saved) == ("reused", 4, 2.0)
