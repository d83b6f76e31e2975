"""Which entries the names on a command line mean: the same for list, info, verify and export."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pip_sharedcache.store import Item

#: For the help of those commands.
HELP = "a distribution (demo, demo==1.0), a wheel's file name, or the beginning of a digest"

_FEWEST_DIGITS = 6  # of a digest's beginning; fewer are a name: "bad" and "face" are both


def named(items: Sequence[Item], names: Sequence[str]) -> tuple[list[Item], list[str]]:
    """Those of ``items`` that ``names`` mean, with their bytecode; all where there are no names.
    And the names that mean none of them."""
    if not names:
        return list(items), []
    digests: set[str] = set()
    missing = []
    for name in names:
        found = {item.digest for item in items if _is_meant(item, name)}
        digests |= found
        if not found:
            missing.append(name)
    return [item for item in items if item.digest in digests], missing


def absent(names: Sequence[str]) -> list[str]:
    """What is said of ``names`` that mean nothing in the store."""
    return [f"The store has no wheel of {name}" for name in names]


def _is_meant(item: Item, name: str) -> bool:
    if len(name) >= _FEWEST_DIGITS and item.digest.startswith(name.lower()):
        return True
    if not item.title.endswith(".whl"):
        return False
    if item.title == name:
        return True
    project, version = _parsed(item.title)
    try:
        wanted = Requirement(name)
    except InvalidRequirement:
        return project == canonicalize_name(name)
    if project != canonicalize_name(wanted.name):
        return False
    if not wanted.specifier:
        return True
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _parsed(title: str) -> tuple[str, Version | None]:
    """The distribution and the version in the file name of a wheel, which anybody may have
    chosen."""
    try:
        name, version, _, _ = parse_wheel_filename(title)
    except (InvalidWheelFilename, InvalidVersion):
        return canonicalize_name(title.partition("-")[0]), None
    return name, version
