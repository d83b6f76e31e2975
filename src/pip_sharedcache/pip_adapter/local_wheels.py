"""Wheels that pip takes from the local file system: which were built, and which others may have."""

from __future__ import annotations

import os
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.pip_adapter.links import local_directory
from pip_sharedcache.pip_adapter.protocols import Preparer, Requirement
from pip_sharedcache.session.session import Session


def was_built(requirement: Requirement, path: str, cache: str | None) -> bool:
    """Return whether pip built the wheel at ``path`` of this machine.

    ``cache``: pip's cache directory; None without one.
    """
    if getattr(requirement, "cached_wheel_source_link", None) is not None:
        return True
    if getattr(requirement, "original_link_is_in_wheel_cache", False):
        return True
    below_cache = cache and Path(cache) in Path(path).parents
    return bool(below_cache) or "pip-ephem-wheel-cache-" in path


def private_because(
    session: Session, preparer: Preparer, requirement: Requirement, path: str
) -> str:
    """Return why the wheel at ``path`` must not be shared; "" if others can have it.

    It may be shared if an index or a --find-links directory lists it.
    """
    if requirement.original_link is not None:
        listed = (local_directory(link) for link in getattr(preparer.finder, "find_links", ()))
        if os.path.realpath(os.path.dirname(path)) not in set(listed):
            return "pip took it from a local path"
    if session.sharing.shows_others() and not trust.readable_by_all(Path(path)):
        return "other users may not read the file"
    return ""
