"""JSON that another user may have written: no number in it can hold a reader up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

_LONGEST_NUMBER = 40  # digits: before Python 3.11, int() takes hours for a million digits


def load_json(text: bytes) -> Any:
    """Return the JSON value of ``text``.

    Raises ValueError, also for NaN, Infinity and numbers of more than 40 digits; RecursionError and
    MemoryError, where ``text`` is nested too deeply or too large.
    """
    return json.loads(
        text, parse_int=_number(int), parse_float=_number(float), parse_constant=_refuse
    )


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if len(text) > _LONGEST_NUMBER:
            raise ValueError(f"a number of {len(text)} digits")
        return kind(text)

    return parse


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
