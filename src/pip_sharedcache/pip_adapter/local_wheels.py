"""Wheels that pip takes from the local file system, and its values for those of the store."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from pip_sharedcache import trust
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Entry, Origin
from pip_sharedcache.pip_adapter import seams
from pip_sharedcache.pip_adapter.links import local_directory
from pip_sharedcache.pip_adapter.protocols import Distribution, Link, Preparer, Requirement
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import without_credentials

#: The type of the content of each wheel, which pip does not read.
OCTETS = "application/octet-stream"


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


def origin_of(session: Session, preparer: Preparer, requirement: Requirement, link: Link) -> Origin:
    """Return the origin of the wheel at ``link`` on this machine.

    It is pushed only if the setting share names it: readers of a remote store have no access to
    this disk.
    """
    private = private_because(session, preparer, requirement, link.file_path)
    named = session.sharing.is_shared_anyway(link.url)
    return Origin(without_credentials(link.url), private, is_public=named)


def distribution_of(path: Path, filename: str) -> Distribution:
    """Return pip's own distribution of the wheel at ``path``, for which pip will ask again.

    Raises OSError, BadZipFile, pip's InstallationError.
    """
    module: Any = sys.modules[seams.WHEEL_DISTRIBUTION.module]
    archive = module.FilesystemWheel(str(path))
    found: Distribution = module.get_wheel_distribution(archive, parse_wheel_filename(filename)[0])
    return found


def checked(call: Call, path: str) -> Any:
    """Return pip's file for the wheel at ``path``, in place of the result of ``seams.GET_FILE``.

    Raises pip's HashMismatch where the user named other digests.
    """
    if hashes := call.named["hashes"]:
        hashes.check_against_path(path)
    return sys.modules[seams.GET_FILE.module].File(path, OCTETS)


def is_sound(session: Session, entry: Entry, path_of_wheel: Path) -> bool:
    """Return whether the wheel of ``entry`` has its digest, by pip's own check.

    ``path_of_wheel``: the path at which the check reads the wheel."""
    hashes_module = importlib.import_module("pip._internal.utils.hashes")
    path, found = str(entry.wheel), session.wheels.at(str(entry.wheel))
    if found.hashed:
        return True
    try:
        hashes_module.Hashes({"sha256": [entry.manifest.digest]}).check_against_path(
            str(path_of_wheel)
        )
    except hashes_module.HashMismatch:
        session.lookup.skip(entry, f"{path}: its bytes do not match its digest")
        return False
    except OSError as error:
        session.lookup.skip(entry, f"{path}: cannot be read: {reason(error)}")
        return False
    found.hashed = True
    return True


def directory_for(download: tuple[Any, str] | None) -> str:
    """Return the directory for the copy or the ``download`` of a wheel; "" without a download.

    ``download``: pip's link and directory. A wheel of the store got no directory of its own: to
    make and to delete one for each wheel takes longer than to look up the wheel.
    """
    if download is None:
        return ""
    return download[1] or new_directory()


def new_directory() -> str:
    """Make a directory, which pip deletes at its end; return the path. Raises OSError."""
    module = importlib.import_module("pip._internal.utils.temp_dir")
    return str(module.TempDirectory(kind="unpack", globally_managed=True).path)
