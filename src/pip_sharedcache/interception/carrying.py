"""What another interpreter gets from this one, so that its pip installs through the store."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

#: Tells the runner in another interpreter what to run and where it lies. JSON.
RUNNER_VARIABLE = "_PIP_SHAREDCACHE_RUNNER"
RUNNER = Path(__file__).with_name("__runner__.py")

#: What is found there, and nothing else of what this interpreter has.
_CARRIED = ("pip_sharedcache", "wrapt", "packaging", "platformdirs")
_OLDEST = [3, 9]  # ours

_PYTHON_REQUIRES = re.compile(r"^PYTHON_REQUIRES = \((\d+), (\d+)\)", re.MULTILINE)


def carried(pip: str = "") -> dict[str, Any] | None:
    """What the runner is told: the roots of packages, the oldest Python that each says it runs on
    (``since``), and the oldest that is needed in any case (``requires``). ``pip``: the path of
    pip's own runner, where this pip is carried over, too. None where a package has no directory.
    """
    roots: dict[str, str] = {}
    for name in ("pip", *_CARRIED) if pip else _CARRIED:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
            return None  # inside an archive: another interpreter gets plain pip
        roots[name] = os.path.dirname(os.path.dirname(spec.origin))
    if not RUNNER.is_file():
        return None
    since = {name: _since(name) for name in _CARRIED[1:]}
    return {"pip": pip, "roots": roots, "requires": _requires(pip), "since": since}


def _requires(runner: str) -> list[int]:
    """The oldest Python that pip's own runner lets pip run on; ours at least."""
    try:
        text = Path(runner).read_text(encoding="utf-8") if runner else ""
        found = _PYTHON_REQUIRES.search(text)
    except (OSError, UnicodeDecodeError):
        found = None
    return max(_OLDEST, [int(found[1]), int(found[2])] if found else [])


def _since(name: str) -> list[int]:
    """The oldest Python 3 that the installed distribution ``name`` says it runs on."""
    import importlib.metadata  # late: most commands of pip have no need of it

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        says = SpecifierSet(importlib.metadata.metadata(name)["Requires-Python"] or "")
    except (importlib.metadata.PackageNotFoundError, InvalidSpecifier):
        return [3, 0]
    return [3, next((minor for minor in range(100) if says.contains(f"3.{minor}.99")), 0)]
