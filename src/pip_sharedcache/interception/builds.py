"""Wheels that pip builds: taken from the store where somebody trusted has built the same, and noted
there where its owner allows that.

What pip would keep in its own cache of built wheels may be shared: an sdist of which the index
tells the digest, version control at a fixed commit. Everything that the result depends on, as far
as it can be known, is in the key.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from pip_sharedcache import linker, trust
from pip_sharedcache import store as stores
from pip_sharedcache.install import Session
from pip_sharedcache.interception import seams
from pip_sharedcache.interception.downloads import Downloads
from pip_sharedcache.interception.seams import Arguments, Keywords, Original
from pip_sharedcache.model import Digest, Origin
from pip_sharedcache.origins import has_credentials, without_credentials

logger = logging.getLogger(__name__)

#: Environment variables that compilers and build backends go by.
_VARIABLES = (
    *("CC", "CXX", "FC", "CPP", "LD", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "FFLAGS", "LDFLAGS"),
    *("RUSTFLAGS", "ARCHFLAGS", "MACOSX_DEPLOYMENT_TARGET", "CMAKE_ARGS", "MPICC", "NVCC"),
)
_COMMIT_LENGTH = 40  # hexadecimal digits of a fixed commit in a URL


class Builds:
    """The wrappers around pip's cache of built wheels and its builds."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads
        self._settings: dict[str, Any] = {}

    def put_in(self) -> None:
        """Wrap the seams, if this pip has them all."""
        if not any(seam.problem() for seam in (seams.BUILT, seams.BUILD)):
            seams.wrap(seams.BUILT, self._built)
            seams.wrap(seams.BUILD, self._build)

    def begin(self, options: Any) -> None:
        """A run with these ``options`` of pip's begins."""
        self._settings = {
            "config": getattr(options, "config_settings", None) or {},
            "global": getattr(options, "global_options", None) or [],
            "build": getattr(options, "build_options", None) or [],
        }

    def _key(self, session: Session, link: Any) -> Digest | None:
        """What a build from ``link`` is looked up by; None where it is not shared."""
        source = _source(link)
        if session.store is None or not session.store.builds or source is None:
            return None
        if has_credentials(link.url):
            return None  # others may not have that source
        return stores.key_of(
            {
                "source": source,
                "subdirectory": link.subdirectory_fragment or "",
                "settings": self._settings,
                "environment": {name: os.environ.get(name, "") for name in _VARIABLES},
                "salt": session.settings.build_salt,
                "tag": str(next(sys_tags())),  # the C library's version included
            }
        )

    def _built(self, get: Original, cache: Any, args: Arguments, kw: Keywords) -> Any:
        found = get(*args, **kw)
        bound, session = seams.arguments(get, args, kw), self._downloads.session
        if found is not None or bound is None or session is None:
            return found
        link, name = bound["link"], bound["package_name"]
        if not name:
            return None  # as pip's own: a URL by itself may be anything
        key = self._key(session, link)
        if key is None or session.store is None:
            return None
        while (build := stores.find_build(session.store, key, session.repairs.spoiled)) is not None:
            entry = session.find([build.digest], build.filename)
            if entry is not None and self._downloads.believe(session, entry):
                break
            # Its wheel was collected, say. Another build is noted beside it, or in its place.
            session.repairs.pass_over(build.note)
        else:
            return None
        pip_wheel = importlib.import_module("pip._internal.models.wheel").Wheel(build.filename)
        fits = canonicalize_name(pip_wheel.name) == canonicalize_name(name)
        if not fits or not pip_wheel.supported(bound["supported_tags"]):
            return None
        logger.info(
            "Using %s from the shared store, built by %s",
            build.filename,
            trust.user_name(entry.publisher),
        )
        session.serve(entry, build.digest)
        session.origins.note(str(entry.wheel), Origin(without_credentials(link.url)))
        return self._as_pips(str(entry.wheel), build.details)

    def _as_pips(self, path: str, details: Mapping[str, Any]) -> Any:
        cache = importlib.import_module("pip._internal.cache")
        urls = importlib.import_module("pip._internal.utils.urls")
        entry = cache.CacheEntry(cache.Link(urls.path_to_url(path)), persistent=True)
        if origin := details.get("origin"):
            entry.origin = cache.DirectUrl.from_json(origin)
        return entry

    def _build(self, build: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        bound, session = seams.arguments(build, args, kw), self._downloads.session
        if bound is None or session is None or session.store is None:
            return build(*args, **kw)
        requirement = bound["req"]
        link = requirement.link
        key = self._key(session, link) if self._may_be_shared(session, requirement) else None
        path = build(*args, **kw)
        if path and key is not None:
            info = getattr(requirement, "download_info", None)
            session.note_build(
                path,
                key,
                {
                    "source": without_credentials(link.url),
                    "origin": info.to_json() if info is not None else "",
                    "by": trust.user_name(trust.user_id()),
                    "on": linker.HOST,
                    "at": int(time.time()),
                    "python": sys.version.split()[0],
                },
            )
        return path

    def _may_be_shared(self, session: Session, requirement: Any) -> bool:
        """Whether pip itself would keep the wheel, and nothing speaks against showing it."""
        builder = sys.modules[seams.BUILD.module]
        if not builder._should_cache(requirement):
            return False
        config = getattr(requirement, "config_settings", None) or {}
        if config != self._settings["config"]:
            return False  # a lookup knows no settings of single requirements
        reason = self._downloads.private(None, requirement.link)
        return not reason or session.origins.is_shared_anyway(requirement.link.url)


def _source(link: Any) -> str | None:
    """What ``link`` leads to, if that can never be another source."""
    if link.is_vcs:
        url, _, revision = without_credentials(link.url).rpartition("@")
        fixed = len(revision) == _COMMIT_LENGTH and not set(revision) - set("0123456789abcdef")
        return f"{url}@{revision}" if fixed else None
    if link.is_wheel or link.is_file or link.hash_name != "sha256":
        return None
    return f"sha256:{link.hash}"
