"""Resolutions as values, and the choice between those in the stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pip_sharedcache import store as stores
from pip_sharedcache.config import LayerSetting, Settings
from pip_sharedcache.model import Policy
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.remotes import RunRemotes
from pip_sharedcache.session.resolutions import Page, Resolution, SharedResolutions
from pip_sharedcache.session.state import RunState
from pip_sharedcache.store.layers import Layers

QUESTION = {"format": 1, "requirements": ["demo"]}
PAGE = Page("https://i.test/demo/", "ab" * 32, '"tag"', "https://i.test/demo/", "text/html", "", "")
RESOLUTION = Resolution(
    QUESTION,
    {PAGE.url: PAGE},
    {"https://i.test/demo-1.whl": "cd" * 32},
    {"demo": ""},
    "",
    ("demo https://i.test/demo-1.whl",),
    7,
    1.25,
)


def test_resolution_survives_json() -> None:
    data = json.loads(json.dumps(RESOLUTION.to_data()))
    assert Resolution.from_data(data) == RESOLUTION


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", 2),
        ("question", []),
        ("question", None),
        ("pages", {}),
        ("pages", [{"url": "x"}]),
        ("pages", [{**RESOLUTION.to_data()["pages"][0], "etag": None}]),
        ("pages", [{**RESOLUTION.to_data()["pages"][0], "more": ""}]),
        ("pages", 3),
        ("candidates", {"x": 1}),
        ("candidates", ["x"]),
        ("installed", {"x": None}),
        ("host", None),
        ("result", [1]),
        ("result", None),
        ("result", ["demo \ud800"]),
        ("pages", [{**RESOLUTION.to_data()["pages"][0], "links": "\ud800"}]),
        ("requests", "many"),
        ("requests", float("inf")),
        ("seconds", "x"),
    ],
)
def test_resolution_with_a_wrong_value_is_none(name: str, value: Any) -> None:
    assert Resolution.from_data({**RESOLUTION.to_data(), name: value}) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    ),
    st.sampled_from(sorted(RESOLUTION.to_data())),
)
def test_any_json_value_is_a_resolution_or_none(value: Any, name: str) -> None:
    Resolution.from_data({**RESOLUTION.to_data(), name: value})
    if isinstance(value, dict):
        Resolution.from_data(value)


def test_key_depends_on_the_question_alone() -> None:
    assert stores.key_of({"a": 1, "b": [2]}) == stores.key_of({"b": [2], "a": 1})
    assert stores.key_of({"a": 1}) != stores.key_of({"a": 2})


class _Run:
    """One run after another with the store at ``path``."""

    def __init__(self, path: Path) -> None:
        self.settings = Settings(
            dir=path, dir_source="a test", layers=(LayerSetting(path, Policy.PUBLISH),)
        )

    def find(
        self, question: Any, installed: dict[str, str], host: str = "this"
    ) -> Resolution | None:
        return self._shared()[1].find(question, lambda name: installed.get(name, ""), host)

    def share(self, resolution: Resolution) -> None:
        """Share a resolution as a run does that has looked for it before."""
        publishing, shared = self._shared()
        shared.find(resolution.question, lambda name: resolution.installed[name], "")
        shared.share(resolution, private_because="")
        publishing.make_visible()

    def _shared(self) -> tuple[Publisher, SharedResolutions]:
        layers, unusable = Layers.of_settings(self.settings)
        assert not unusable
        state = RunState(self.settings, layers)
        publishing = Publisher(state)
        return publishing, SharedResolutions(state, publishing, RunRemotes(state))


@pytest.fixture
def run(tmp_path: Path) -> _Run:
    stores.Store.make(tmp_path / "store")
    return _Run(tmp_path / "store")


def test_resolution_is_found_for_the_same_question_and_environment(run: _Run) -> None:
    run.share(RESOLUTION)
    assert run.find(QUESTION, {}) == RESOLUTION
    assert run.find(QUESTION, {"unrelated": "1"}) == RESOLUTION
    assert run.find({**QUESTION, "format": 3}, {}) is None
    assert run.find(QUESTION, {"demo": "1.0"}) is None


def test_newer_resolution_takes_the_place_of_a_stale_one(run: _Run) -> None:
    run.share(RESOLUTION)
    newer = RESOLUTION.with_etags({PAGE.url: '"other"'})
    run.share(newer)
    assert run.find(QUESTION, {}) == newer


def test_resolution_with_more_installed_does_not_take_the_place(run: _Run) -> None:
    """Otherwise two kinds of environments would replace each other's all the time."""
    run.share(RESOLUTION)
    more = Resolution(**{**vars(RESOLUTION), "installed": {"demo": "1.0"}})
    run.share(more)
    assert run.find(QUESTION, {}) == RESOLUTION
    assert run.find(QUESTION, {"demo": "1.0"}) is None


def test_resolution_with_less_installed_takes_the_place(run: _Run) -> None:
    more = Resolution(**{**vars(RESOLUTION), "installed": {"demo": "1.0"}})
    run.share(more)
    assert run.find(QUESTION, {"demo": "1.0"}) == more
    run.share(RESOLUTION)
    assert run.find(QUESTION, {}) == RESOLUTION


def test_resolution_with_a_marker_of_the_host_is_for_that_host(run: _Run) -> None:
    run.share(Resolution(**{**vars(RESOLUTION), "host": "this"}))
    assert run.find(QUESTION, {}) is not None
    assert run.find(QUESTION, {}, host="another") is None
