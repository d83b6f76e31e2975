"""Coverage of what runs in the tests' environments, under `coverage run`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from support import REPOSITORY, SESSION_ENVIRONMENT

#: Whether the tests run under coverage.
WANTED = "COVERAGE_RUN" in SESSION_ENVIRONMENT

# Processes get an environment of their own, and other users may not be able to read coverage.
_START = """\
import os
os.environ["COVERAGE_FILE"] = {data!r}
os.environ["COVERAGE_PROCESS_START"] = {configuration!r}
try:
    import coverage
    coverage.process_startup()
except Exception:
    pass
"""


def measure(site_packages: Path) -> None:
    """Let each Python that has ``site_packages`` measure itself, from its start on."""
    spec = importlib.util.find_spec("coverage")
    if not WANTED or spec is None or spec.origin is None:
        return
    (site_packages / "coverage").symlink_to(Path(spec.origin).parent)
    start = _START.format(
        data=os.path.abspath(SESSION_ENVIRONMENT.get("COVERAGE_FILE", REPOSITORY / ".coverage")),
        configuration=str(REPOSITORY / "pyproject.toml"),
    )
    (site_packages / "measured.pth").write_text(f"import sys; exec({start!r})\n", encoding="utf-8")
