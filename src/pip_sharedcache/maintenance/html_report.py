"""The HTML of the page with the content and the savings of a store.

The page is one file that needs no other file and runs no script.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pip_sharedcache import __version__
from pip_sharedcache.maintenance.stats import Savings, Totals, project_of
from pip_sharedcache.maintenance.svg import Bar, Point, bars, clean, over_time
from pip_sharedcache.model import megabytes
from pip_sharedcache.store import StoredEntry

_MOST = 20  # rows of a chart; a table has up to _MOST_ROWS
_MOST_ROWS = 500
_DAY = 24 * 3600  # seconds

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2329; --soft: #5b6670; --rule: #d9dee3;
  --one: #1f6fb2; --other: #e0912f; --bad: #b3261e; --pale: #1f6fb222; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e6eaee; --soft: #9aa6b1;
  --rule: #323a42; --one: #66aee8; --other: #f0b060; --bad: #ff8a80; --pale: #66aee833; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .3rem 0; } .soft, caption { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.35rem; }
svg { display: block; overflow: visible; } svg text { fill: var(--ink); font-size: 13px; }
.bar { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; margin: .5rem 0;
  font-size: 13px; break-inside: avoid; } .bar svg { grid-column: 1 / 3; }
.bar .number { color: var(--soft); } svg text.number { text-anchor: end; fill: var(--soft); }
.one { fill: var(--one); } .other { fill: var(--other); }
.area { fill: var(--pale); } .line { fill: none; stroke: var(--one); stroke-width: 2;
  vector-effect: non-scaling-stroke; }
.mark { stroke: var(--other); stroke-width: 2; stroke-dasharray: 4 3; }
.key { display: inline-block; width: .7rem; height: .7rem; margin: 0 .3rem 0 1rem; }
.key.one { background: var(--one); margin-left: 0; } .key.other { background: var(--other); }
.bad { color: var(--bad); } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--rule); }
th, td:not(:first-child) { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
summary { cursor: pointer; color: var(--soft); }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --one: #1f6fb2;
  --other: #e0912f; --bad: #b3261e; } body { max-width: none; padding: 0; font-size: 11pt; }
  svg, tr { break-inside: avoid; } h2, h2 + p { break-after: avoid; } summary { display: none; }
  details::details-content { content-visibility: visible; } }
"""


@dataclass
class Inventory:
    """The content of a store, counted one entry after another.

    ``entries``: the number of entries.
    ``stored``: the bytes of all entries.
    ``files``: the number of files.
    ``packages``: the bytes of each distribution.
    ``days``: the bytes published on each day (days since the epoch).
    ``damage``: a line for each damaged entry.
    """

    entries: int = 0
    stored: int = 0
    files: int = 0
    packages: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)

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
        "files": f"{holdings.files:,}",
        "runs of pip": f"{whole.runs:,}",
        "found in the store": _share(whole.found, whole.installed),
        "not downloaded": megabytes(whole.not_downloaded),
        "not copied": megabytes(whole.not_copied),
        "not compiled": "unknown" if seconds is None else f"{seconds:,.0f} s",
        **room,
    }
    parts = [
        f"<h1>Shared store of wheels</h1><p>{clean(store)}</p>",
        f'<p class="soft">As of {_moment(now)}.</p><dl>',
        *(
            f"<div><dt>{clean(name)}</dt><dd>{clean(value)}</dd></div>"
            for name, value in facts.items()
        ),
        "</dl>",
        _damage(holdings.damage),
        _by_package(holdings, savings),
        _growth(holdings.growth(now), collections),
        _saved("environment", savings),
        _saved("user", savings),
        _counts("Link modes, runs", savings.modes),
        _counts("Why another link mode was used, runs", savings.refusals),
        _counts("Why pip installed without the store, distributions", savings.reasons),
        f'<p class="soft">pip-sharedcache {clean(__version__)}</p>',
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Shared store {clean(store)}</title><style>{_STYLE}</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    )


def _share(part: int, of: int) -> str:
    return f"{part * 100 // of} % of {of:,}" if of else "nothing yet"


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{clean(title)}</h2>{''.join(content)}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table that the reader unfolds on a screen, and that is open on paper."""
    line = "".join(f'<th scope="col">{clean(one)}</th>' for one in head)
    shown = (
        "<tr>" + "".join(f"<td>{clean(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = f"<p>… and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""
    return (
        f'<details><summary>as a table</summary><div class="wide"><table><thead><tr>{line}</tr>'
        f"</thead><tbody>{''.join(shown)}</tbody></table></div>{more}</details>"
    )


def _damage(damage: Sequence[str]) -> str:
    if not damage:
        return ""
    lines = "".join(f'<p class="bad">{clean(one)}</p>' for one in damage[:_MOST])
    more = f"<p>… and {len(damage) - _MOST} more</p>" if len(damage) > _MOST else ""
    return _section(f"Damaged entries: {len(damage)}", lines, more)


def _by_package(holdings: Inventory, savings: Savings) -> str:
    installed = savings.groups["package"]
    names = sorted(
        holdings.packages.keys() | installed.keys(),
        key=lambda name: (-_apparent(installed, name) - holdings.packages[name], name),
    )
    rows = [
        Bar(name, (("one", holdings.packages[name]), ("other", _apparent(installed, name))))
        for name in names[:_MOST]
    ]
    table = [
        [
            name,
            megabytes(holdings.packages[name]),
            megabytes(_apparent(installed, name)),
            str(installed[name].from_store if name in installed else 0),
        ]
        for name in names
    ]
    if not rows:
        return _section("Distributions", "<p>The store is empty.</p>")
    key = '<p class="soft"><span class="key one"></span>stored <span class="key other"></span>'
    return _section(
        "Distributions",
        f"{key}installed from it</p>",
        bars(rows, "Bytes stored and installed, by distribution", _size),
        _table(["distribution", "stored", "installed from it", "times"], table),
    )


def _apparent(installed: Mapping[str, Totals], name: str) -> int:
    return installed[name].apparent if name in installed else 0


def _growth(points: Sequence[Point], collections: Sequence[Point]) -> str:
    if not points:
        return ""
    key = '<p class="soft">Bytes stored now, by day of publication'
    key += "; dashed: garbage collections</p>" if collections else "</p>"
    chart = over_time(points, collections, "Bytes stored, over time", _size, _date)
    rows = [[_date(point.at), _size(point.value)] for point in points[1::2]]
    return _section("Growth", key, chart, _table(["day", "stored"], rows))


def _saved(group: str, savings: Savings) -> str:
    sums = savings.groups[group]
    if not sums:
        return ""
    names = sorted(sums, key=lambda name: (-_saving(sums[name]), name))
    rows = [
        Bar(name, (("one", sums[name].not_downloaded), ("other", sums[name].not_copied)))
        for name in names[:_MOST]
    ]
    table = [
        [
            name,
            str(sums[name].runs),
            _share(sums[name].found, sums[name].installed),
            megabytes(sums[name].not_downloaded),
            megabytes(sums[name].not_copied),
        ]
        for name in names
    ]
    key = '<p class="soft"><span class="key one"></span>not downloaded '
    key += '<span class="key other"></span>not copied</p>'
    return _section(
        f"Saved, by {group}",
        key,
        bars(rows, f"Bytes not downloaded and not copied, by {group}", _size),
        _table([group, "runs", "found", "not downloaded", "not copied"], table),
    )


def _saving(sums: Totals) -> int:
    return sums.not_downloaded + sums.not_copied


def _counts(title: str, counts: Counter[str]) -> str:
    if not counts:
        return ""
    rows = [Bar(name, (("one", number),)) for name, number in counts.most_common(_MOST)]
    return _section(title, bars(rows, title, _number))


_size: Callable[[float], str] = lambda value: megabytes(int(value))  # noqa: E731
_number: Callable[[float], str] = lambda value: f"{value:,.0f}"  # noqa: E731


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
