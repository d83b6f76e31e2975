"""The data for another interpreter, whose pip then installs through the store.

The module also prepares this interpreter, where all packages lie in one archive (PEP 441).
"""

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

#: JSON for the runner in another interpreter: what to run, and the paths.
RUNNER_VARIABLE = "_PIP_SHAREDCACHE_RUNNER"
RUNNER = resources.path_of("pip_adapter", "__runner__.py")

#: The only packages of this interpreter that the other interpreter can import.
CARRIED = ("pip_sharedcache", "wrapt", "packaging", "platformdirs")
_OLDEST = [3, 9]  # of pip-sharedcache

_KNOWN: dict[str, list[int]] = {}

_PYTHON_REQUIRES = re.compile(r"^PYTHON_REQUIRES = \((\d+), (\d+)\)", re.MULTILINE)


def carried(pip: str = "") -> dict[str, Any] | None:
    """Return the data for the runner; None where a package has no root.

    The keys are the ``roots`` of packages, the oldest Python for each package by its metadata
    (``since``), and the oldest Python for all of them (``requires``). ``pip`` is the path of pip's
    own runner if this pip is carried over, too; else "".
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
    """A finder for our dependencies in the directory where pip_sharedcache is installed."""

    root = str(Path(__file__).parents[2])

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the package; None where it is not there: PathFinder searches then."""
        if fullname not in CARRIED[1:]:
            return None
        return PathFinder.find_spec(fullname, [cls.root], target)


def prefer_neighbours() -> None:
    """Make imports find our dependencies in the directory where pip_sharedcache is installed.

    PYTHONPATH may contain other versions of them, made for other programs.
    """
    finders = [getattr(finder, "__name__", "") for finder in sys.meta_path]
    if not resources.IN_ARCHIVE and _Neighbours not in sys.meta_path and "PathFinder" in finders:
        # After the runner's finder, which has packages that suit an old Python.
        sys.meta_path.insert(finders.index("PathFinder"), _Neighbours)


def leave_archive() -> None:
    """Limit imports from the archive that this process runs to the carried packages.

    pip regards everything on sys.path as installed in the environment, so the archive must leave
    sys.path. Without an archive the function does nothing.
    """
    if not resources.IN_ARCHIVE:
        return
    finder = runpy.run_path(str(RUNNER), run_name="runner")["CarriedFinder"]
    roots = _roots(("pip", *CARRIED))
    if roots is None:
        return
    # Their metadata is in the archive, too, so read it before the archive leaves sys.path.
    _KNOWN.update({name: _since(name, roots[name]) for name in CARRIED[1:]})
    sys.meta_path.insert(0, finder(roots))
    archives = set(roots.values())
    sys.path[:] = [path for path in sys.path if path not in archives or os.path.isdir(path)]


def _requires(runner: str) -> list[int]:
    """Return the oldest Python that pip's own runner allows; at least that of pip-sharedcache."""
    found = _PYTHON_REQUIRES.search(_text_of(runner)) if runner else None
    return max(_OLDEST, [int(found[1]), int(found[2])] if found else [])


def _text_of(runner: str) -> str:
    """Return the text of pip's own runner; "" where it is unreadable.

    For a pip in an archive, ``runner`` is the directory.
    """
    try:
        if not resources.IN_ARCHIVE:
            return Path(runner).read_text(encoding="utf-8")
        return (pkgutil.get_data("pip", "__pip-runner__.py") or b"").decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _since(name: str, root: str) -> list[int]:
    """Return the oldest Python 3, as [3, minor], that the distribution ``name`` supports.

    ``root``: the directory or archive with its metadata.
    """
    import importlib.metadata  # late: the import would slow down every command of pip

    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        found = next(iter(importlib.metadata.distributions(name=name, path=[root])), None)
        says = SpecifierSet(found.metadata["Requires-Python"] or "") if found else SpecifierSet()
    except InvalidSpecifier:
        return [3, 0]
    return [3, next((minor for minor in range(100) if says.contains(f"3.{minor}.99")), 0)]
