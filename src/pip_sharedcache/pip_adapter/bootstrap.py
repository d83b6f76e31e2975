"""What another interpreter gets from this one, so that its pip installs through the store; and
this one itself, where all of it lies in an archive (PEP 441)."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from pip_sharedcache import resources

#: Tells the runner in another interpreter what to run and where it lies. JSON.
RUNNER_VARIABLE = "_PIP_SHAREDCACHE_RUNNER"
RUNNER = resources.path_of("pip_adapter", "__runner__.py")

#: What is found there, and nothing else of what this interpreter has.
CARRIED = ("pip_sharedcache", "wrapt", "packaging", "platformdirs")
_OLDEST = [3, 9]  # ours

_KNOWN: dict[str, list[int]] = {}

_PYTHON_REQUIRES = re.compile(r"^PYTHON_REQUIRES = \((\d+), (\d+)\)", re.MULTILINE)


def carried(pip: str = "") -> dict[str, Any] | None:
    """What the runner is told: the roots of packages, the oldest Python that each says it runs on
    (``since``), and the oldest that is needed in any case (``requires``). ``pip``: the path of
    pip's own runner, where this pip is carried over, too. None where a package has no root.
    """
    roots = _roots(("pip", *CARRIED) if pip else CARRIED)
    if roots is None or not RUNNER.is_file():
        return None
    since = {name: _KNOWN.get(name) or _since(name, roots[name]) for name in CARRIED[1:]}
    return {"pip": pip, "roots": roots, "requires": _requires(pip), "since": since}


def _roots(names: tuple[str, ...]) -> dict[str, str] | None:
    roots: dict[str, str] = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return None
        roots[name] = os.path.dirname(os.path.dirname(spec.origin))
        if not os.path.isfile(spec.origin) and not os.path.isfile(roots[name]):
            return None  # neither a file nor in an archive
    return roots


class _Neighbours:
    """Finds the packages that we depend on where our own is installed."""

    root = str(Path(__file__).parents[2])

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package of that name, for PathFinder to find elsewhere if it is not there."""
        if fullname not in CARRIED[1:]:
            return None
        return PathFinder.find_spec(fullname, [cls.root], target)


def prefer_neighbours() -> None:
    """Have the packages that we depend on come from where our own is installed: PYTHONPATH may
    name other versions of them, which were made for other programs."""
    finders = [getattr(finder, "__name__", "") for finder in sys.meta_path]
    if not resources.IN_ARCHIVE and _Neighbours not in sys.meta_path and "PathFinder" in finders:
        # Behind the runner's, which knows what to do on an old Python.
        sys.meta_path.insert(finders.index("PathFinder"), _Neighbours)


def leave_archive() -> None:
    """Where this process runs an archive, have only those packages found there: whatever pip sees
    on sys.path counts as installed in the environment."""
    if not resources.IN_ARCHIVE:
        return
    finder = runpy.run_path(str(RUNNER), run_name="runner")["CarriedFinder"]
    roots = _roots(("pip", *CARRIED))
    if roots is None:
        return
    # What is known of them is found there, too.
    _KNOWN.update({name: _since(name, roots[name]) for name in CARRIED[1:]})
    sys.meta_path.insert(0, finder(roots))
    archives = set(roots.values())
    sys.path[:] = [path for path in sys.path if path not in archives or os.path.isdir(path)]


def _requires(runner: str) -> list[int]:
    """The oldest Python that pip's own runner lets pip run on; ours at least."""
    found = _PYTHON_REQUIRES.search(_text_of(runner)) if runner else None
    return max(_OLDEST, [int(found[1]), int(found[2])] if found else [])


def _text_of(runner: str) -> str:
    """pip's own runner; "" where it cannot be read. Of a pip in an archive ``runner`` is the
    directory."""
    try:
        if not resources.IN_ARCHIVE:
            return Path(runner).read_text(encoding="utf-8")
        return (pkgutil.get_data("pip", "__pip-runner__.py") or b"").decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _since(name: str, root: str) -> list[int]:
    """The oldest Python 3 that the distribution ``name`` in the directory or archive ``root`` says
    it runs on."""
    import importlib.metadata  # late: most commands of pip have no need of it

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        found = next(iter(importlib.metadata.distributions(name=name, path=[root])), None)
        says = SpecifierSet(found.metadata["Requires-Python"] or "") if found else SpecifierSet()
    except InvalidSpecifier:
        return [3, 0]
    return [3, next((minor for minor in range(100) if says.contains(f"3.{minor}.99")), 0)]
