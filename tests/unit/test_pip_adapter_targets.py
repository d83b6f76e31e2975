"""Where a run of pip installs to, by its options."""

from __future__ import annotations

import site
import sys
from optparse import Values

import pytest

from pip_sharedcache.pip_adapter.targets import environment_of

USER = site.getuserbase()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, sys.prefix),
        ({"target_dir": "/t", "use_user_site": False}, "/t"),
        ({"prefix_path": "/p/../q"}, "/q"),
        ({"use_user_site": True}, USER),
        ({"root_path": "/r", "use_user_site": True}, f"/r{USER}"),
        ({"root_path": "/r"}, f"/r{sys.prefix}"),
        ({"root_path": "/r", "prefix_path": "/p"}, "/r/p"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_environment_is_where_the_options_lead(options: dict[str, object], wanted: str) -> None:
    assert environment_of(Values(options)) == wanted
