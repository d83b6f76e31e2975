"""Charts as SVG, for a page that is read on a screen, on a phone and on paper.

Widths are in percent and heights in pixels, so that text keeps its size. The page sets the colours:
each bar or line has a class, and the style of the page defines this class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

_LINE = 18  # pixels of a line of text
_BAR = 10
_STEP = 12  # from one bar of a row to the next
_HIGH = 180  # pixels of a chart over time
_WIDE = 1000  # units of a chart over time, from left to right


class Bar(NamedTuple):
    """One row of a chart.

    ``label``: the name of the row.
    ``values``: a class and a number for each bar of the row.
    """

    label: str
    values: tuple[tuple[str, float], ...]


def bars(rows: Sequence[Bar], title: str, tell: Callable[[float], str]) -> str:
    """Return horizontal bars as HTML; the longest one has the full width.

    ``tell`` returns the words for a number. Each row is a separate picture, so that a page can
    break between rows, and a long label can use more lines.
    """
    longest = max((value for row in rows for _, value in row.values), default=0) or 1
    parts = []
    for row in rows:
        told = ", ".join(tell(value) for _, value in row.values)
        drawn = ""
        for number, (kind, value) in enumerate(row.values):
            width = f"{100 * value / longest:.2f}%"
            width = f"max(2px, {width})" if value else width  # a small value stays visible
            place = f'x="0" y="{number * _STEP}" height="{_BAR}"'
            drawn += f'<rect class="{kind}" {place} style="width: {width}"/>'
        image = _image(f"{row.label}: {told}", len(row.values) * _STEP, drawn)
        parts.append(
            f'<div class="bar"><span>{clean(row.label)}</span> <span class="number">{clean(told)}'
            f"</span>{image}</div>"
        )
    return f'<div role="group" aria-label="{clean(title)}">{"".join(parts)}</div>'


class Point(NamedTuple):
    """A point of a chart over time.

    ``at``: seconds since the epoch.
    ``value``: the number at this time.
    """

    at: float
    value: float


def over_time(
    points: Sequence[Point],
    marks: Sequence[Point],
    title: str,
    tell: Callable[[float], str],
    when: Callable[[float], str],
) -> str:
    """Return a line through ``points``, in their order, with the area below it; "" for no points.

    ``marks`` are drawn as vertical lines; each has its value as a title. ``tell`` returns the words
    for a number, ``when`` those for a time.
    """
    if not points:
        return ""
    first, last = points[0].at, points[-1].at
    span = (last - first) or 1
    highest = max(point.value for point in points) or 1

    def x(at: float) -> float:
        return min(max(0.0, (at - first) / span), 1.0) * _WIDE

    line = " ".join(f"{x(at):.1f},{_HIGH * (1 - value / highest):.1f}" for at, value in points)
    plot = (
        f'<svg x="0" y="{_LINE}" width="100%" height="{_HIGH}" '
        f'viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none">'
        f'<polygon class="area" points="0,{_HIGH} {line} {_WIDE},{_HIGH}"/>'
        f'<polyline class="line" points="{line}"/></svg>'
    )
    ticks = ""
    for at, value in marks:
        if first <= at:
            place, words = f"{x(at) / _WIDE * 100:.2f}%", f"{when(at)}: {tell(value)} collected"
            ticks += f'<line class="mark" x1="{place}" x2="{place}" y1="{_LINE}" '
            ticks += f'y2="{_LINE + _HIGH}"><title>{clean(words)}</title></line>'
    below = _LINE + _HIGH + 14
    texts = (
        f'<text x="0" y="13">{clean(tell(highest))}</text>'
        f'<text x="0" y="{below}">{clean(when(first))}</text>'
        f'<text x="100%" y="{below}" class="number">{clean(when(last))}</text>'
    )
    return _image(title, below + 6, plot + ticks + texts)


def _image(title: str, height: int, content: str) -> str:
    return (
        f'<svg role="img" width="100%" height="{height}" aria-label="{clean(title)}">'
        f"<title>{clean(title)}</title>{content}</svg>"
    )


def clean(text: str) -> str:
    """Return ``text`` escaped for HTML: any user can choose the names in a store."""
    return escape("".join(one if one.isprintable() else ascii(one)[1:-1] for one in text))
