"""The words that select entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.selectors import Selector
from pip_sharedcache.store import BYTECODE, WHEELS, StoredEntry

DIGEST = "facade12" + "ab" * 28


def _item(title: str, digest: str = DIGEST, area: str = WHEELS) -> StoredEntry:
    return StoredEntry(Path("/s") / area / digest[:2] / digest, area, title, 0, (1, 1), 0.0)


@pytest.mark.parametrize(
    ("word", "selects"),
    [
        *(("Foo_Bar", True), ("foo.bar", True), (" foo-bar ", True), ("foo", False)),
        *(("foo-bar==1.0", True), ("foo-bar == 1", True), ("foo-bar>=1,<2", True)),
        *(("foo-bar==2", False), ("foo-bar==1.*", True), ("foo-bar==x y", False)),
        *(("foo-*", True), ("*", True), ("*bar", True), ("f*r==1.0", True), ("f*r==2", False)),
        *(("fo*o", False), ("foo?bar", False), ("foo-ba[r]", False), ("f.*", False)),
        *(("foo_bar-1.0-py3-none-any.whl", True), ("foo_bar-*.whl", True), ("*-cp3*.whl", False)),
        *((DIGEST, True), (DIGEST[:8], True), (DIGEST[:8].upper(), True), (DIGEST[:7], False)),
        *(("facade13", False), (DIGEST + "0", False), ("==1.0", False)),
        *((f"sha256:{DIGEST}", True), (f"sha256:{DIGEST[:8]}", True), ("sha256:facade13", False)),
    ],
)
def test_word_selects_a_wheel(word: str, selects: bool) -> None:
    assert Selector(word).selects(_item("foo_bar-1.0-py3-none-any.whl")) is selects


@pytest.mark.parametrize("word", ["", "  "])
def test_empty_word_is_a_wrong_argument(word: str) -> None:
    with pytest.raises(UsageError, match="empty NAME"):
        Selector(word)


@pytest.mark.parametrize(("word", "selects"), [(DIGEST[:8], True), ("*", False), ("cp*", False)])
def test_word_selects_bytecode_by_its_digest_only(word: str, selects: bool) -> None:
    assert Selector(word).selects(_item("cpython-313", area=BYTECODE)) is selects


def test_name_that_looks_like_a_digest_is_a_name_too() -> None:
    assert Selector("deadbeef").selects(_item("deadbeef-1.0-py3-none-any.whl"))
    assert Selector("facade").selects(_item("facade-1.0-py3-none-any.whl"))
