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
from optparse import Values
from pathlib import Path
from typing import Any

from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from pip_sharedcache import fs, trust
from pip_sharedcache import store as stores
from pip_sharedcache.model import Digest, Origin
from pip_sharedcache.pip_adapter import build_inputs, local_wheels, seams
from pip_sharedcache.pip_adapter.downloads import Downloads
from pip_sharedcache.pip_adapter.links import private_source_because, source_of
from pip_sharedcache.pip_adapter.protocols import Link, Requirement
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import WantedWheel, has_credentials, without_credentials
from pip_sharedcache.store import Build

logger = logging.getLogger(__name__)


class Builds:
    """The wrappers around pip's cache of built wheels and its builds."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads
        self._shares = False
        self._settings: dict[str, Any] = {}
        self._environ: dict[str, str] = {}
        self._around: dict[str, Any] | None = None
        self._template: Requirement | None = None

    def put_in(self) -> None:
        """Wrap the seams, if this pip has them all."""
        if not any(seam.problem() for seam in (seams.BUILT, seams.BUILD, seams.CANDIDATE)):
            for seam, handle in (
                (seams.CANDIDATE, self._new_candidate),
                (seams.BUILT, self._built),
                (seams.BUILD, self._build),
            ):
                seams.wrap(seam, seams.during(lambda: self._downloads.installing, handle))

    def begin(self, options: Values) -> None:
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

    def _key(self, session: Session, link: Link, requirement: Requirement) -> Digest | None:
        """Return the key of a build of ``requirement`` from ``link``; None if it is not shared."""
        source = source_of(link)
        if not session.builds.are_used or source is None or not self._shares:
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

    def _new_candidate(self, _: Session, call: Call) -> Any:
        """Record the requirement for which pip asks its cache of built wheels next."""
        before, self._template = self._template, call.named["template"]
        try:
            return call.proceed()
        finally:
            self._template = before

    def _built(self, session: Session, call: Call) -> Any:
        found = call.proceed()
        link, name = call.named["link"], call.named["package_name"]
        # pip's cache, too, ignores a URL without a name, which may lead to any project. Without a
        # template, the settings of the build are unknown.
        if found is not None or not name or self._template is None:
            return found
        key = self._key(session, link, self._template)
        if key is None:
            return None
        origin = Origin(without_credentials(link.url))
        copied = ""
        while (build := session.builds.find(key)) is not None:
            entry = session.lookup.find([build.digest], build.filename)
            if entry is not None and session.lookup.replaceable_by(entry):
                return None  # another file may be at the path, and no digest exists to check it
            if entry is not None and self._downloads.trust(session, entry, origin):
                break
            if build.signed_by and (copied := self._copy_of_signed(session, build, origin)):
                break
            # A build record without its wheel must not block another build: the next build record
            # is published beside it, or replaces it.
            session.builds.skip(build)
        else:
            return None
        pip_wheel = importlib.import_module("pip._internal.models.wheel").Wheel(build.filename)
        fits = canonicalize_name(pip_wheel.name) == canonicalize_name(name)
        if not fits or not pip_wheel.supported(call.named["supported_tags"]):
            return None
        if copied:
            how = f"a build that {build.signed_by} signed"
        else:
            assert entry is not None
            how = f"built by {trust.user_name(entry.publisher)}"
            copied = session.lookup.serve(entry).path
        logger.info("Using %s from the shared store, %s", build.filename, how)
        session.builds.heal(key, build)
        return self._as_pips(copied, build.details)

    def _copy_of_signed(self, session: Session, build: Build, origin: Origin) -> str:
        """Return the path of a checked copy of the signed ``build``'s wheel; "" without one.

        Its publisher is not trusted, but the signer named its digest.
        """
        directory = Path(local_wheels.new_directory())
        copied = session.lookup.copy_untrusted([build.digest], build.filename, directory)
        pulled = copied is None
        if copied is None:
            wanted = WantedWheel(build.digest, build.filename)
            copied = session.remotes.pull_one(wanted, directory, compiles=session.compiles)
        if copied is None:
            return ""
        found = session.wheels.note(str(copied), origin)
        found.digest, found.verified, found.pulled = build.digest, True, pulled
        return str(copied)

    def _as_pips(self, path: str, details: Mapping[str, Any]) -> Any:
        cache = importlib.import_module("pip._internal.cache")
        urls = importlib.import_module("pip._internal.utils.urls")
        entry = cache.CacheEntry(cache.Link(urls.path_to_url(path)), persistent=True)
        if origin := details.get("origin"):
            entry.origin = cache.DirectUrl.from_json(origin)
        return entry

    def _build(self, session: Session, call: Call) -> Any:
        if not session.builds.are_published:
            return call.proceed()
        requirement: Requirement = call.named["req"]
        link = requirement.link
        key = None if link is None else self._key(session, link, requirement)
        if link is not None and key and not self._may_be_shared(session, requirement, link):
            key = None
        path = call.proceed()
        if path and link is not None and key is not None:
            info = getattr(requirement, "download_info", None)
            session.builds.record(
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
                is_public=self._is_public(session, link),
            )
        return path

    def _is_public(self, session: Session, link: Link) -> bool:
        """Return whether everybody can get the source at ``link``, or the setting share names it.

        Nothing says with which credentials a version control system got its source.
        """
        return self._downloads.responses.origin(link, session.sharing).is_public

    def _may_be_shared(self, session: Session, requirement: Requirement, link: Link) -> bool:
        """Return whether pip itself would keep the wheel, and its source is not private."""
        builder = sys.modules[seams.BUILD.module]
        if not builder._should_cache(requirement):
            return False
        if getattr(requirement, "use_pep517", True) is False:
            return False  # setup.py runs without isolation from installed packages
        reason = private_source_because(link)
        if not reason:
            reason = self._downloads.responses.private(None, link, session.sharing)
        return not reason or session.sharing.is_shared_anyway(link.url)
