"""JSON of other users: what is read, and what is refused before it costs time."""

from __future__ import annotations

import pytest

from pip_sharedcache.untrusted_json import load_json


def test_json_with_usual_numbers_is_read() -> None:
    text = b'{"a": [1, -2.5, 1e3, true, null], "b": ' + b"9" * 40 + b"}"
    assert load_json(text) == {"a": [1, -2.5, 1000.0, True, None], "b": 10**40 - 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"9" * 41, "a number of 41 digits"),
        (b"[-0." + b"1" * 50 + b"]", "a number of 53 digits"),
        (b"9" * 8_000_000, "a number of 8000000 digits"),
        (b"NaN", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"{", "Expecting property name"),
        (b"\xff", "codec can't decode"),
    ],
    ids=["integer", "fraction", "huge", "nan", "infinity", "cut off", "no utf-8"],
)
def test_json_that_could_hold_a_reader_up_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        load_json(text)
