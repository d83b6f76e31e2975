"""The reuse and the publishing of wheels that pip builds.

A run takes a wheel from the store if a trusted publisher has built the same. It records its own
builds in the store if the store's owner allows that.

Only a wheel that pip would keep in its own cache of built wheels may be shared: built in isolation
from an sdist with a digest in the index, or from version control at a fixed commit. The key
contains every known input of the build (``build_inputs``).
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from pip_sharedcache import fs, trust
from pip_sharedcache import store as stores
from pip_sharedcache.model import Digest, Origin
from pip_sharedcache.pip_adapter import build_inputs, seams
from pip_sharedcache.pip_adapter.downloads import Downloads
from pip_sharedcache.pip_adapter.seams import Arguments, Keywords, Original
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import has_credentials, without_credentials

logger = logging.getLogger(__name__)

_COMMIT_LENGTH = 40  # hexadecimal digits of a fixed commit in a URL


class Builds:
    """The wrappers around pip's cache of built wheels and its builds."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads
        self._shares = False
        self._settings: dict[str, Any] = {}
        self._environ: dict[str, str] = {}
        self._around: dict[str, Any] | None = None
        self._template: Any = None

    def put_in(self) -> None:
        """Wrap the seams, if this pip has them all."""
        if not any(seam.problem() for seam in (seams.BUILT, seams.BUILD, seams.CANDIDATE)):
            seams.wrap(seams.CANDIDATE, self._new_candidate)
            seams.wrap(seams.BUILT, self._built)
            seams.wrap(seams.BUILD, self._build)

    def begin(self, options: Any) -> None:
        """Record the ``options`` of pip at the start of a run."""
        # Without isolation a build depends on all installed packages. A user who switches pip's
        # cache off (False; pip itself sets None) wants a new build.
        self._shares = (
            getattr(options, "build_isolation", False) is True
            and getattr(options, "use_pep517", None) is not False
            and getattr(options, "cache_dir", False) is not False
        )
        formats = getattr(options, "format_control", None)
        self._environ, self._around = dict(os.environ), None  # before pip changes os.environ
        self._settings = {
            "global": getattr(options, "global_options", None) or [],
            "build": getattr(options, "build_options", None) or [],
            "binary": [
                sorted(getattr(formats, name, None) or ()) for name in ("no_binary", "only_binary")
            ],
            "pre": bool(getattr(options, "pre", False)),
            "prefer": bool(getattr(options, "prefer_binary", False)),
            # The sources of the build dependencies.
            "indexes": [
                without_credentials(url)
                for url in (
                    getattr(options, "index_url", None) or "",
                    *(getattr(options, "extra_index_urls", None) or ()),
                    *(getattr(options, "find_links", None) or ()),
                )
            ],
            "no index": bool(getattr(options, "no_index", False)),
            "features": sorted(getattr(options, "features_enabled", None) or ()),
            # They select the build dependencies. pip's version decides which of them apply.
            "constraints": build_inputs.contents(
                [
                    *(getattr(options, "build_constraints", None) or ()),
                    *(getattr(options, "constraints", None) or ()),
                    *self._environ.get("PIP_CONSTRAINT", "").split(),
                    *self._environ.get("PIP_BUILD_CONSTRAINT", "").split(),
                ]
            ),
        }

    def _key(self, session: Session, link: Any, requirement: Any) -> Digest | None:
        """Return the key of a build of ``requirement`` from ``link``; None if it is not shared."""
        source = _source(link)
        shared = any(store.shares_builds for store in session.layers)
        if not shared or source is None or not self._shares:
            return None
        if has_credentials(link.url):
            return None  # other users may lack access to the source
        if self._around is None:
            self._around = build_inputs.surroundings(self._environ)
            names = ", ".join(sorted(self._around["variables"]))
            logger.debug("Shared builds depend on these environment variables: %s", names or "none")
        return stores.key_of(
            {
                "source": source,
                "subdirectory": link.subdirectory_fragment or "",
                "settings": self._settings,
                "config": getattr(requirement, "config_settings", None) or {},
                "options": getattr(requirement, "global_options", None) or [],
                "environment": self._around,
                "salt": session.settings.build_salt,
                "tag": str(next(sys_tags())),  # includes the version of the C library
            }
        )

    def _new_candidate(self, init: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        """Record the requirement for which pip asks its cache of built wheels next."""
        bound = seams.arguments(init, args, kw)
        before, self._template = self._template, bound and bound["template"]
        try:
            return init(*args, **kw)
        finally:
            self._template = before

    def _built(self, get: Original, cache: Any, args: Arguments, kw: Keywords) -> Any:
        found = get(*args, **kw)
        bound, session = seams.arguments(get, args, kw), self._downloads.session
        if found is not None or bound is None or session is None:
            return found
        link, name = bound["link"], bound["package_name"]
        if not name:
            return None  # as pip's cache does: a URL without a name may lead to any project
        if self._template is None:
            return None  # the settings of the build are unknown
        key = self._key(session, link, self._template)
        if key is None:
            return None
        origin = Origin(without_credentials(link.url))
        while (build := session.layers.find_build(key, session.repairs.damaged)) is not None:
            entry = session.find([build.digest], build.filename)
            if entry is not None and session.replaceable_by(entry):
                return None  # another file may be at the path, and no digest exists to check it
            if entry is not None and self._downloads.trust(session, entry, origin):
                break
            # A build record without its wheel must not block another build: the next build record
            # is published beside it, or replaces it.
            session.repairs.skip_build_record(build.record)
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
        if build.damaged != stores.NONE_YET:
            session.heal_build_record(key, build)
        return self._as_pips(session.serve(entry).path, build.details)

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
        shared = session.store.shares_builds and self._may_be_shared(session, requirement)
        key = self._key(session, link, requirement) if shared else None
        path = build(*args, **kw)
        if path and key is not None:
            info = getattr(requirement, "download_info", None)
            session.record_build(
                path,
                key,
                {
                    "source": without_credentials(link.url),
                    "origin": info.to_json() if info is not None else "",
                    "by": trust.user_name(trust.user_id()),
                    "on": fs.HOST,
                    "at": int(time.time()),
                    "python": sys.version.split()[0],
                    "variables": sorted(self._around["variables"]) if self._around else [],
                },
            )
        return path

    def _may_be_shared(self, session: Session, requirement: Any) -> bool:
        """Return whether pip itself would keep the wheel, and its source is not private."""
        builder = sys.modules[seams.BUILD.module]
        if not builder._should_cache(requirement):
            return False
        if getattr(requirement, "use_pep517", True) is False:
            return False  # setup.py runs without isolation from installed packages
        reason = self._downloads.private(None, requirement.link) or _private(requirement.link)
        return not reason or session.is_shared_anyway(requirement.link.url)


def _private(link: Any) -> str:
    """Return why the version-controlled source at ``link`` is private; "" if others may read it.

    Only the URL is checked: a name and password that git keeps for a server are not visible here.
    """
    if not link.is_vcs:
        return ""
    if "ssh" in link.scheme:
        return "pip fetches its source with an SSH key"
    if link.scheme.endswith("file"):
        path = Path(url2pathname(urlsplit(link.url).path.rpartition("@")[0]))
        if not trust.readable_by_all(path):
            return "other users may not read its source"
    return ""


def _source(link: Any) -> str | None:
    """Return the source at ``link``, if that can never be another source; else None."""
    if link.is_vcs:
        url, _, revision = without_credentials(link.url).rpartition("@")
        fixed = len(revision) == _COMMIT_LENGTH and not set(revision) - set("0123456789abcdef")
        return f"{url}@{revision}" if fixed else None
    if link.is_wheel or link.is_file or link.hash_name != "sha256":
        return None
    return f"sha256:{link.hash}"
