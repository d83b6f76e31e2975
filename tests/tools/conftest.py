"""What the tests with other people's tools and shells have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import offline
from support.wheels import make_wheel


@pytest.fixture
def env(shared_tmp: Path) -> dict[str, str | None]:
    """Variables for a pip that finds `demo`, and an empty store for us."""
    make_wheel(shared_tmp / "wheels")
    (shared_tmp / "store").mkdir()
    return offline(shared_tmp / "wheels", shared_tmp / "store", PIP_DISABLE_PIP_VERSION_CHECK="1")
