"""What all tests among several users need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _environments_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Those of the test's ``site``, which lies in memory."""
    site = request.getfixturevalue("site") if "site" in request.fixturenames else None
    yield
    if site is not None:
        site.remove_environments()
