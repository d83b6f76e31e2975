"""Judged pages as values, and those in the stores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pip_sharedcache import store as stores
from pip_sharedcache.config import Settings
from pip_sharedcache.session.judged_pages import JudgedPage, SharedPages, with_page
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.resolutions import Page
from pip_sharedcache.session.state import RunState
from pip_sharedcache.store import JUDGED_PAGE, RESOLUTION, Store
from pip_sharedcache.store.layers import Layers

PAGE = Page("https://i.test/demo/", "ab" * 32, '"tag"', "https://i.test/demo/", "text/html", "", "")
JUDGED = JudgedPage(
    {"page": PAGE.url},
    PAGE,
    ('{"url":"demo-1.whl"}', '{"url":"demo-2.whl"}'),
    ("1", "2"),
    ([0, 0, None, -3, []], [0, 0, None, -3, [1, ""]]),
    2,
    ("3 Requires-Python >=4",),
    ("part",),
)


def test_judged_page_survives_json() -> None:
    assert JudgedPage.from_data(json.loads(json.dumps(JUDGED.to_data()))) == JUDGED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("question", []),
        ("page", {}),
        ("page", {**vars(PAGE), "etag": 1}),
        ("files", ["{}"]),
        ("files", [1, 2]),
        ("versions", ["1"]),
        ("order", [[0]]),
        ("order", [[0], [0]]),
        ("order", ["abc", "abc"]),
        ("order", None),
        ("version_at", -1),
        ("version_at", "2"),
        ("version_at", 5),
        ("refused", [None]),
        ("leads_to", 3),
        ("leads_to", ["\ud800"]),
    ],
)
def test_judged_page_with_a_wrong_value_is_none(name: str, value: Any) -> None:
    assert JudgedPage.from_data({**JUDGED.to_data(), name: value}) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    ),
    st.sampled_from(sorted(JUDGED.to_data())),
)
def test_any_json_value_is_a_judged_page_or_none(value: Any, name: str) -> None:
    JudgedPage.from_data({**JUDGED.to_data(), name: value})
    if isinstance(value, dict):
        JudgedPage.from_data(value)


def _shared(store: Store) -> tuple[SharedPages, Publisher]:
    run = RunState(Settings(dir=store.path, dir_source="a test"), Layers([store]))
    publishing = Publisher(run)
    return SharedPages(run, publishing), publishing


def test_shared_page_is_found_by_its_question_only(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    pages, publishing = _shared(store)
    pages.share(JUDGED, private_because="")
    publishing.make_visible()
    later, publishing = _shared(store)
    assert later.find(JUDGED.question) == JUDGED
    assert later.find({"page": "https://i.test/other/"}) is None
    assert later.is_own(JUDGED)
    key = stores.key_of(JUDGED.question)
    assert stores.find_resolutions(store, key, kind=RESOLUTION) == ()
    assert len(stores.find_resolutions(store, key, kind=JUDGED_PAGE)) == 1


def test_page_that_has_changed_replaces_this_users_own(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    for digest in ("ab" * 32, "cd" * 32):
        pages, publishing = _shared(store)
        pages.find(JUDGED.question)
        pages.share(replace(JUDGED, page=replace(PAGE, digest=digest)), private_because="")
        publishing.make_visible()
    found = _shared(store)[0].find(JUDGED.question)
    assert found is not None
    assert found.page.digest == "cd" * 32
    assert len(list(store.path.glob("resolutions/*/*"))) == 1


def test_after_a_failure_nothing_more_is_staged(shared_tmp: Path) -> None:
    store = Store.make(shared_tmp / "store")
    pages, publishing = _shared(store)
    pages.share(replace(JUDGED, files=("x" * (9 << 20), "")), private_because="")
    pages.share(JUDGED, private_because="")
    publishing.make_visible()
    assert not list(store.path.glob("resolutions/*/*"))


def test_page_is_known_with_another_etag_and_more_projects() -> None:
    later = with_page(JUDGED, '"new"', ["more", "part"])
    assert later.page.etag == '"new"'
    assert later.leads_to == ("more", "part")
    assert with_page(JUDGED, '"tag"', []) == JUDGED
