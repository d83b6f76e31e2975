"""Sizes, ages and counts, as options accept them and as messages show them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import datetime, timezone

#: The number of bytes in each unit of size.
SIZES = dict.fromkeys(("", "b", "byte", "bytes"), 1)
for _power, _unit in enumerate("kmgtp", 1):
    SIZES |= dict.fromkeys((_unit, f"{_unit}b"), 1000**_power)
    SIZES |= dict.fromkeys((f"{_unit}i", f"{_unit}ib"), 1024**_power)

_HOUR = 3600
#: The number of seconds in each unit of age.
AGES = {
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), _HOUR),
    **dict.fromkeys(("", "d", "day", "days"), 24 * _HOUR),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 24 * _HOUR),
}

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def age(text: str) -> float:
    """Return the age ``text`` in seconds. Raises argparse.ArgumentTypeError."""
    return _quantity(text, AGES, "an age, like 90min, 12h, 30d or 8w; a number alone is days")


def size(text: str) -> float:
    """Return the size ``text`` in bytes. Raises argparse.ArgumentTypeError."""
    wanted = "a size, like 500M, 50GB or 200GiB; a number alone is bytes (1 GB = 10**9)"
    return _quantity(text, SIZES, wanted)


def _quantity(text: str, units: Mapping[str, int], wanted: str) -> float:
    match = _NUMBER.fullmatch(text)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return float(match[1]) * unit


def counted(number: int, one: str, many: str) -> str:
    """Return ``number`` with ``one`` (singular) or ``many`` (plural) behind it."""
    return f"{number:,} {one if number == 1 else many}"


def entries(number: int) -> str:
    """Return ``number`` with "entry" or "entries" behind it."""
    return counted(number, "entry", "entries")


def moment(seconds: float | None) -> str | None:
    """Return ``seconds`` since the epoch for a JSON result: UTC, as ISO 8601 has it.

    None for None, and for a time that no calendar has: a file can have any timestamp.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def key(name: str) -> str:
    """Return ``name``, such as that of a setting, as a key of a JSON result."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())
