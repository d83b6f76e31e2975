"""The HTML of the page with the content and the savings of a store.

The page is one file that needs no other file and runs no script. ``page.html`` is its template.
"""

from __future__ import annotations

import importlib.resources
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template

from pip_sharedcache import __version__
from pip_sharedcache.maintenance.stats import Savings, Totals, project_of
from pip_sharedcache.maintenance.svg import Bar, Point, bars, clean, over_time
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import StoredEntry

_MOST = 20  # rows of a chart; a table has up to _MOST_ROWS
_MOST_ROWS = 500
_DAY = 24 * 3600  # seconds


@dataclass
class Inventory:
    """The content of a store, counted one entry after another.

    ``entries``: the number of entries.
    ``stored``: the bytes of all entries.
    ``files``: the number of files.
    ``packages``: the bytes of each distribution.
    ``days``: the bytes published on each day (days since the epoch).
    ``damage``: a line for each damaged entry.
    ``unread``: the number of entries and directories that could not be read.
    """

    entries: int = 0
    stored: int = 0
    files: int = 0
    packages: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    unread: int = 0

    def add(self, items: Iterable[StoredEntry], now: float) -> Inventory:
        """Count ``items``, and return this inventory.

        ``now``: seconds since the epoch. A time of publication before 1970 or after ``now`` is
        moved to this limit, because clocks can be wrong.
        """
        titles: dict[str, str] = {}
        compiled: Counter[str] = Counter()
        for item in items:
            self.entries += 1
            self.stored += item.size
            self.files += item.files + 2  # plus the wheel and the manifest
            self.days[int(min(max(0, item.published), now) // _DAY)] += item.size
            if item.damage:
                self.damage.append(f"{item.title}: {item.damage}")
            if item.area == "wheels":
                titles[item.digest] = project_of(item.title)
                self.packages[titles[item.digest]] += item.size
            elif item.area != "bytecode":
                self.packages["(resolutions and build records)"] += item.size
            else:
                compiled[item.digest] += item.size
        for digest, size in compiled.items():
            self.packages[titles.get(digest, "(bytecode without its wheel)")] += size
        return self

    def growth(self, now: float) -> list[Point]:
        """Return the bytes stored before and after each day on which entries were published."""
        points, size = [], 0
        for day in sorted(self.days):
            points.append(Point(day * _DAY, size))
            size += self.days[day]
            points.append(Point(day * _DAY, size))
        return [*points, Point(max(now, points[-1].at), size)] if points else []


def page(
    store: str,
    holdings: Inventory,
    savings: Savings,
    collections: Sequence[Point],
    room: Mapping[str, str],
    now: float,
) -> str:
    """Return the text of the page.

    ``savings``: by package, user and environment. ``collections``: the time of each garbage
    collection, and the bytes that it retired. ``room``: the free space of file systems and quotas,
    in words.
    """
    whole = savings.whole
    seconds = whole.saved_seconds(whole)
    facts = {
        "stored": megabytes(holdings.stored),
        "installed from it": megabytes(whole.apparent),
        "installed by pip alone": f"{whole.by_pip:,} of {whole.installed:,}",
        "entries": f"{holdings.entries:,}",
        **({"could not be read": f"{holdings.unread:,}"} if holdings.unread else {}),
        "files": f"{holdings.files:,}",
        "runs of pip": f"{whole.runs:,}",
        "found in the store": _share(whole.found, whole.installed),
        "not downloaded": megabytes(whole.not_downloaded),
        "not copied": megabytes(whole.not_copied),
        "not compiled": "unknown" if seconds is None else f"{seconds:,.0f} s",
        **room,
    }
    sections = [
        _damage(holdings.damage),
        _by_package(holdings, savings),
        _growth(holdings.growth(now), collections),
        _saved("environment", savings),
        _saved("user", savings),
        _counts("Link modes, runs", savings.modes),
        _counts("Why another link mode was used, runs", savings.refusals),
        _counts("Why pip installed without the store, distributions", savings.reasons),
    ]
    template = importlib.resources.files(__package__).joinpath("page.html")
    return Template(template.read_text(encoding="utf-8")).substitute(
        store=clean(store),
        moment=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
        facts="\n".join(
            f"<div><dt>{clean(name)}</dt><dd>{clean(value)}</dd></div>"
            for name, value in facts.items()
        ),
        sections="\n".join(filter(None, sections)),
        version=clean(__version__),
    )


def _share(part: int, of: int) -> str:
    return f"{part * 100 // of} % of {of:,}" if of else "nothing yet"


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{clean(title)}</h2>{''.join(content)}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that the reader unfolds on a screen, and that is open on paper."""
    line = "".join(f'<th scope="col">{clean(one)}</th>' for one in head)
    shown = "".join(
        f"<tr>{''.join(f'<td>{clean(cell)}</td>' for cell in row)}</tr>"
        for row in rows[:_MOST_ROWS]
    )
    return (
        f'<details><summary>as a table</summary><div class="wide"><table><thead><tr>{line}</tr>'
        f"</thead><tbody>{shown}</tbody></table></div>{_more(rows, _MOST_ROWS)}</details>"
    )


def _more(rows: Sequence[object], most: int) -> str:
    return f"<p>… and {len(rows) - most} more</p>" if len(rows) > most else ""


def _damage(damage: Sequence[str]) -> str:
    if not damage:
        return ""
    lines = "".join(f'<p class="bad">{clean(one)}</p>' for one in damage[:_MOST])
    return _section(f"Damaged entries: {len(damage)}", lines, _more(damage, _MOST))


def _pairs(
    title: str, chart: str, key: Sequence[str], rows: Sequence[tuple[str, int, int]], table: str
) -> str:
    """Return a section with two bars for each of ``rows``, and with ``table``.

    ``key``: the meaning of the first and of the second number of a row.
    """
    one, other = key
    words = f'<p class="soft"><span class="key one"></span>{one} <span class="key other"></span>'
    pairs = [Bar(name, (("one", a), ("other", b))) for name, a, b in rows[:_MOST]]
    return _section(title, f"{words}{other}</p>", bars(pairs, chart, _size), table)


def _by_package(holdings: Inventory, savings: Savings) -> str:
    stored, installed = holdings.packages, savings.groups["package"]
    rows = [
        (name, stored[name], installed.get(name, Totals()).apparent)
        for name in stored.keys() | installed.keys()
    ]
    if not rows:
        return _section("Distributions", "<p>The store is empty.</p>")
    rows.sort(key=lambda row: (-row[1] - row[2], row[0]))
    table = _table(
        ["distribution", "stored", "installed from it", "times"],
        [
            [name, megabytes(a), megabytes(b), str(installed.get(name, Totals()).from_store)]
            for name, a, b in rows
        ],
    )
    chart = "Bytes stored and installed, by distribution"
    return _pairs("Distributions", chart, ("stored", "installed from it"), rows, table)


def _growth(points: Sequence[Point], collections: Sequence[Point]) -> str:
    if not points:
        return ""
    dashed = "; dashed: garbage collections" if collections else ""
    key = f'<p class="soft">Bytes stored now, by day of publication{dashed}</p>'
    chart = over_time(points, collections, "Bytes stored, over time", _size, _date)
    rows = [[_date(point.at), _size(point.value)] for point in points[1::2]]
    return _section("Growth", key, chart, _table(["day", "stored"], rows))


def _saved(group: str, savings: Savings) -> str:
    if not savings.groups[group]:
        return ""
    named = sorted(
        savings.groups[group].items(),
        key=lambda one: (-one[1].not_downloaded - one[1].not_copied, one[0]),
    )
    table = _table(
        [group, "runs", "found", "not downloaded", "not copied"],
        [
            [
                *(name, str(sums.runs), _share(sums.found, sums.installed)),
                *(megabytes(sums.not_downloaded), megabytes(sums.not_copied)),
            ]
            for name, sums in named
        ],
    )
    rows = [(name, sums.not_downloaded, sums.not_copied) for name, sums in named]
    chart = f"Bytes not downloaded and not copied, by {group}"
    return _pairs(f"Saved, by {group}", chart, ("not downloaded", "not copied"), rows, table)


def _counts(title: str, counts: Counter[str]) -> str:
    if not counts:
        return ""
    rows = [Bar(name, (("one", number),)) for name, number in counts.most_common(_MOST)]
    return _section(title, bars(rows, title, "{:,.0f}".format))


def _size(value: float) -> str:
    return megabytes(int(value))


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
