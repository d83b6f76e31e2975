"""The page on a store: right numbers, names that are only text, and nothing from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pip_sharedcache.cli.files import written
from pip_sharedcache.errors import FileError
from pip_sharedcache.maintenance.html_report import Inventory, page
from pip_sharedcache.maintenance.stats import Savings
from pip_sharedcache.maintenance.svg import Bar, Point, bars, clean, over_time
from pip_sharedcache.model import Installed
from pip_sharedcache.store import StoredEntry
from pip_sharedcache.store.run_log import Run

DAY = 24 * 3600
NOW = 20_000.5 * DAY
HOSTILE = "<script src=//x>'\"&\x1b[2J\u202e"


class Reader(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def _item(
    name: str, size: int, *, area: str = "wheels", day: float = 19_990, key: int = 1
) -> StoredEntry:
    path = Path("/store", area, "aa", f"{key:064x}")
    title = f"{name}-1.0-py3-none-any.whl" if area == "wheels" else "cpython-311"
    return StoredEntry(path, area, title, 1000, (1, key), day * DAY, None, 3, size)


def _savings(*runs: Run) -> Savings:
    savings = Savings(groups={"package": {}, "user": {}, "environment": {}})
    for run in runs:
        savings.add(0, run)
    return savings


def _run(*distributions: Installed, environment: str = "/env", refused: str = "") -> Run:
    return Run(
        int(NOW), environment, "reflink", refused, 1.0, 3000, 2000, 10, 1.0, 40, distributions
    )


def test_what_a_store_holds_is_added_up() -> None:
    items = [
        _item("demo", 1000, day=19_990),
        _item("demo", 500, area="bytecode", day=19_991),
        _item("other", 300, day=19_995, key=2),
        _item("lost", 7, area="bytecode", day=19_995, key=3),
    ]
    held = Inventory().add(items, NOW)
    assert (held.entries, held.stored, held.files) == (4, 1807, 20)
    assert held.packages == {
        "demo": 1500,
        "other": 300,
        "(bytecode without its wheel)": 7,
    }
    assert [(point.at / DAY, point.value) for point in held.growth(NOW)] == [
        *[(19_990, 0), (19_990, 1000), (19_991, 1000), (19_991, 1500)],
        *[(19_995, 1500), (19_995, 1807), (20_000.5, 1807)],
    ]


@pytest.mark.parametrize("published", [-1e30, -1.0, 1e18, 2.0**62])
def test_no_clock_breaks_the_page(published: float) -> None:
    item = _item("demo", 1000, day=published / DAY)
    held = Inventory().add([item], NOW)
    text = page("/store", held, _savings(), [Point(1 << 49, 5)], {}, NOW)
    assert "1970-01-01" in text or "2024-10-04" in text


def test_the_page_has_the_numbers_in_its_tables() -> None:
    held = Inventory().add([_item("demo", 2_000_000), _item("other", 5000, key=2)], NOW)
    found = Installed("demo-1.0-py3-none-any.whl", 2_000_000, "found")
    pips = Installed("mine-1.0-py3-none-any.whl", 0, "pip", "pip took it from a local path")
    savings = _savings(_run(found, pips), _run(found, environment="/two", refused="EXDEV"))
    collected = [Point(19_995 * DAY, 1_000_000)]
    words = Reader(page("/store", held, savings, collected, {"free": "9 GB"}, NOW)).words
    for told in (
        *("/store", "2.0 MB", "4.0 MB", "66 % of 3", "8 s", "9 GB", "/env", "/two"),
        *("pip took it from a local path", "no reflink: EXDEV"),
    ):
        assert told in words
    row = words.index("demo", words.index("distribution"))
    assert words[row : row + 4] == ["demo", "2.0 MB", "4.0 MB", "2"]
    assert any("garbage collections" in word for word in words)


def test_names_are_only_text_and_nothing_comes_from_elsewhere() -> None:
    item = _item("demo", 1000)
    damaged = StoredEntry(*(item.path, "wheels", HOSTILE, 0, (1, 1), NOW, None, 0, 0, "", HOSTILE))
    installed = Installed(HOSTILE, 10, "pip", HOSTILE)
    savings = _savings(_run(installed, environment=HOSTILE, refused=HOSTILE))
    text = page(HOSTILE, Inventory().add([damaged], NOW), savings, [], {HOSTILE: HOSTILE}, NOW)
    reader = Reader(text)
    known = "html head meta title style body h1 h2 p dl div dt dd section span svg rect details"
    known += " summary table thead tbody tr th td polygon polyline line text"
    assert set(reader.tags) <= set(known.split())
    names = {name for name, _ in reader.attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href", "xlink:href"}
    assert "url(" not in text and "@import" not in text
    assert "\x1b" not in text and "\u202e" not in text
    assert any("default-src 'none'" in (value or "") for _, value in reader.attributes)
    assert any("<script src=//x>" in word for word in reader.words)


def test_hostile_distribution_names_cost_no_time() -> None:
    long = "-".join(["a", "1", *[".".join("abcdefghijklmnop" * 2)] * 3]) + ".whl"
    hostile = [long, "a-x!y-py3-none-any.whl", ".whl", "-.whl", HOSTILE]
    runs = [_run(*[Installed(title, 1, "found") for title in hostile]) for _ in range(200)]
    assert set(_savings(*runs).groups["package"]) == {"a", "", "-whl", HOSTILE}


def test_an_empty_store_has_a_page() -> None:
    words = Reader(page("/store", Inventory().add([], NOW), _savings(), [], {}, NOW)).words
    assert "The store is empty." in words


def test_a_table_and_a_chart_are_bounded() -> None:
    items = [_item(f"demo{number}", 1000 + number, key=number) for number in range(1000)]
    text = page("/store", Inventory().add(items, NOW), _savings(), [], {}, NOW)
    assert text.count('class="bar"') == 20
    assert "and 500 more" in text
    assert "demo999" in text and "demo3<" not in text


def test_bars_are_as_long_as_their_numbers() -> None:
    rows = [Bar("a", (("one", 50.0), ("other", 100.0))), Bar("b", (("one", 0.0),))]
    widths = re.findall(r'style="width: ([^"]*)"', bars(rows, "title", str))
    assert widths == ["max(2px, 50.00%)", "max(2px, 100.00%)", "0.00%"]
    assert bars([Bar("a", (("one", 0.0),))], "title", str).count("<rect") == 1


def test_a_line_goes_from_left_to_right() -> None:
    points = [Point(100, 0), Point(150, 5), Point(200, 10)]
    drawn = over_time(points, [Point(50, 1), Point(150, 1), Point(900, 1)], "title", str, str)
    assert 'points="0.0,180.0 500.0,90.0 1000.0,0.0"' in drawn
    assert re.findall(r'x1="([^"]*)"', drawn) == ["50.00%", "100.00%"], "what was before is not"
    assert over_time([], [], "title", str, str) == ""
    assert "<polyline" in over_time([Point(1, 0)], [], "title", str, str)


def test_what_cannot_be_shown_is_spelled_out() -> None:
    assert clean("a\x00b<\udcff\u202e") == "a\\x00b&lt;\\udcff\\u202e"


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    path.chmod(0o600)
    with written(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600, "as it was"
        with written(tmp_path / "fresh"):
            pass
        assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_a_file_that_is_a_link_or_no_file_stays_one(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to("target")
    with written(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_text() == "new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with written(pipe) as file:
        file.write(b"new")
    assert os.read(reader, 10) == b"new" and pipe.is_fifo()
    os.close(reader)
    for wrong in (tmp_path, tmp_path / "none" / "page"):
        with pytest.raises(FileError, match="cannot be written"), written(wrong):
            pass
