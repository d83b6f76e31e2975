"""The metadata and the files of wheels, which pip gets from the store where possible.

Every wrapper calls pip's own function unchanged unless an installation through the store is in
progress.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import parse_wheel_filename

from pip_sharedcache import trust, wheel
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Digest, Entry, Origin, as_digest
from pip_sharedcache.pip_adapter import seams
from pip_sharedcache.pip_adapter.seams import Arguments, Keywords, Original
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import RunWheel, has_credentials, without_credentials

logger = logging.getLogger(__name__)

_OCTETS = "application/octet-stream"


class Downloads:
    """The wrappers around pip's preparation of requirements.

    ``session``: the run in progress; None between runs.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.cache: str | None = None
        self._downloaders: weakref.WeakSet[Any] = weakref.WeakSet()
        self._acceptable: dict[str, tuple[Digest, ...]] = {}  # by URL
        self._authorised: set[str] = set()
        self._must_hash = False
        self._downloader: Any = None

    def put_in(self) -> None:
        """Wrap the seams, in the modules that look them up."""
        for seam, wrapper in (
            (seams.PREPARER, self._new_preparer),
            (seams.FETCH_METADATA, self._fetch_metadata),
            (seams.DOWNLOAD, self._download),
            (seams.DOWNLOAD_BATCH, self._download_batch),
            (seams.CHECK_HASHES, self._check_hashes),
            (seams.WHEEL_DISTRIBUTION, self._wheel_distribution),
        ):
            seams.wrap(seam, wrapper)

    def end(self) -> None:
        """Forget the session and the downloader at the end of a run."""
        self.session = None
        self._downloader = None

    # -- before a download

    def _new_preparer(self, init: Original, preparer: Any, args: Arguments, kw: Keywords) -> None:
        init(*args, **kw)
        if self.session is None or preparer.download_dir is not None:
            return  # pip download and pip wheel copy the files to a directory
        # With --require-hashes the user asks pip to check every byte.
        self._must_hash = bool(getattr(preparer, "require_hashes", True))
        if self._must_hash:
            self.session.check_everybody()
        self._must_hash |= self.session.settings.verify
        self._downloader = getattr(preparer, "_download", None)
        for name in ("_download", "_batch_download"):
            downloader = getattr(preparer, name, None)
            if downloader is not None:
                self._downloaders.add(downloader)
        session = getattr(preparer, "_session", None)
        if session is not None:
            session.hooks.setdefault("response", []).append(self._note_authorisation)

    def _note_authorisation(self, response: Any, **_: Any) -> None:
        request = response.request  # None for a file: URL
        if request is not None and "Authorization" in request.headers:
            self._authorised.add(without_credentials(request.url))

    def _fetch_metadata(self, fetch: Original, preparer: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(fetch, args, kw)
        if self.session is None or bound is None or preparer.download_dir is not None:
            return fetch(*args, **kw)
        requirement = bound["req"]
        link = requirement.link
        if link is None or not link.is_wheel:
            return fetch(*args, **kw)
        if link.is_file:
            self._note_local(self.session, preparer, requirement)
            return fetch(*args, **kw)
        digests = _digests(requirement, link)
        self._acceptable[link.url] = digests
        if self.session.find(digests, link.filename) is not None:
            return None  # pip reads the metadata from the entry's wheel, without a request
        return fetch(*args, **kw)

    def _note_local(self, session: Session, preparer: Any, requirement: Any) -> None:
        """Record a local wheel: it may be shared if an index or a find-links directory lists it."""
        path = requirement.link.file_path
        if self._was_built(requirement, path):
            return
        reason = ""
        if requirement.original_link is not None:
            listed = (_local_path(link) for link in getattr(preparer.finder, "find_links", ()))
            if os.path.realpath(os.path.dirname(path)) not in set(listed):
                reason = "pip took it from a local path"
        if not reason and session.shows_others() and not trust.readable_by_all(Path(path)):
            reason = "other users may not read the file"
        session.wheels.note(path, Origin(without_credentials(requirement.link.url), reason))

    def _was_built(self, requirement: Any, path: str) -> bool:
        if getattr(requirement, "cached_wheel_source_link", None) is not None:
            return True
        if getattr(requirement, "original_link_is_in_wheel_cache", False):
            return True
        below_cache = self.cache and Path(self.cache) in Path(path).parents
        return bool(below_cache) or "pip-ephem-wheel-cache-" in path

    # -- downloads

    def _download(self, download: Original, downloader: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(download, args, kw)
        if self.session is None or bound is None or downloader not in self._downloaders:
            return download(*args, **kw)
        link, location = bound["link"], bound["location"]
        served = self._serve(self.session, downloader, link, location)
        if served is not None:
            return served, _OCTETS
        path, content_type = download(*args, **kw)
        self._note_download(self.session, downloader, link, path)
        return path, content_type

    def _download_batch(
        self, download: Original, downloader: Any, args: Arguments, kw: Keywords
    ) -> Any:
        bound = seams.arguments(download, args, kw)
        if self.session is None or bound is None or downloader not in self._downloaders:
            return download(*args, **kw)
        return self._each(self.session, download, downloader, **bound)

    def _each(
        self, session: Session, download: Original, downloader: Any, links: Any, location: str
    ) -> Iterator[Any]:
        for link in links:
            served = self._serve(session, downloader, link, location)
            if served is not None:
                yield link, (served, _OCTETS)
                continue
            for one, (path, content_type) in download([link], location):
                self._note_download(session, downloader, one, path)
                yield one, (path, content_type)

    def _serve(self, session: Session, downloader: Any, link: Any, location: str) -> str | None:
        """Return the path of a usable wheel for ``link`` from the store; None to download it.

        The wheel is an entry's own, or a checked copy in ``location``."""
        if not link.is_wheel:
            return None
        digests = self._acceptable.get(link.url) or _digests(None, link)
        origin = Origin(
            without_credentials(link.url), self.private(getattr(downloader, "_session", None), link)
        )
        found = self._trusted(session, digests, link.filename, location, origin)
        if found is not None:
            logger.info("Using %s from the shared store", link.filename)
            if found.entry is not None:
                found.download = link, location
            return found.path
        copied = session.copy_untrusted(digests, link.filename, Path(location))
        if copied is None:
            return None
        logger.info("Using a checked copy of %s from the shared store", link.filename)
        session.wheels.note(str(copied), origin)
        return str(copied)

    def _trusted(
        self, session: Session, digests: Iterable[Digest], name: str, location: str, origin: Origin
    ) -> RunWheel | None:
        """Return the wheel ``name`` from a trusted publisher's entry; None if none is usable.

        If an entry is damaged, the next one follows. pip gets the entry's own wheel, or a copy in
        ``location`` where another file may be at the path by the time that pip opens it."""
        digests = tuple(digests)
        while (entry := session.find(digests, name)) is not None:
            if session.replaceable_by(entry) or _is_to_be_verified(session, entry):
                if not location:
                    return None
                copied = session.copy(entry, Path(location), told=True)
                if copied is None:
                    _pass_over(session, entry, f"{entry.wheel}: its bytes do not match its digest")
                    continue
                return session.wheels.note(str(copied), origin)
            if self.trust(session, entry, origin):
                return session.serve(entry)
        return None

    def another(self, session: Session, path: str, entry: Entry) -> RunWheel | None:
        """Return the wheel of a sound entry in place of that of the damaged ``entry``, or None.

        ``path``: the wheel of ``entry`` that pip was handed."""
        origin = session.wheels.at(path).origin
        if origin is None:
            return None
        digest, filename = entry.manifest.digest, entry.manifest.filename
        _, location = session.wheels.download_of(digest) or (None, "")
        return self._trusted(session, [digest], filename, location, origin)

    def trust(self, session: Session, entry: Entry, origin: Origin) -> bool:
        """Return whether pip may use the wheel of the trusted ``entry`` for ``origin``.

        The metadata must have its recorded digest. The wheel is hashed only if the user asked for
        that (--require-hashes, the setting verify)."""
        if self._must_hash and not self.is_sound(session, entry, entry.wheel):
            return False
        found = session.wheels.note(str(entry.wheel), origin)
        exceptions = importlib.import_module("pip._internal.exceptions")
        try:
            text = self._distribution(entry.wheel, entry.manifest.filename).read_text("METADATA")
        except (OSError, *wheel.BROKEN, exceptions.InstallationError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            _pass_over(session, entry, f"{entry.wheel}: cannot be read: {why}")
            return False
        if entry.metadata_digest() != hashlib.sha256(text.encode("utf-8")).hexdigest():
            _pass_over(session, entry, f"{entry.wheel}: METADATA differs from the manifest")
            return False
        found.digest, found.verified = entry.manifest.digest, True
        return True

    def is_sound(self, session: Session, entry: Entry, path_of_wheel: Path) -> bool:
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
            _pass_over(session, entry, f"{path}: its bytes do not match its digest")
            return False
        except OSError as error:
            _pass_over(session, entry, f"{path}: cannot be read: {reason(error)}")
            return False
        found.hashed = True
        return True

    def replace(self, session: Session, entry: Entry) -> str:
        """Return the path of another wheel in place of that of the damaged or deleted ``entry``.

        The wheel is from a sound entry, or pip downloads it. Raises pip's own errors and
        InstallationError."""
        if session.is_lost(entry):
            return self._fetch(session, entry, "the entry was deleted")
        other = self.another(session, str(entry.wheel), entry)
        if other is not None:
            if other.entry is not None:
                session.settle_damage(other.entry)
            return other.path
        path = self._fetch(session, entry, "the entry and its wheel are damaged")
        session.repairs.heal(entry, Path(path))
        return path

    def _fetch(self, session: Session, entry: Entry, what: str) -> str:
        exceptions = importlib.import_module("pip._internal.exceptions")
        hashes_module = importlib.import_module("pip._internal.utils.hashes")
        download = session.wheels.download_of(entry.manifest.digest)
        if download is None or self._downloader is None:
            whose = trust.user_name(entry.publisher)
            raise exceptions.InstallationError(
                f"The shared store has no usable wheel: {entry.path} (published by {whose}): "
                f"{what}; hint: name another store with --sharedcache-dir"
            )
        link, location = download
        path, _ = self._downloader(link, location)
        session.note_download(entry)
        hashes_module.Hashes({"sha256": [entry.manifest.digest]}).check_against_path(path)
        return str(path)

    def _note_download(self, session: Session, downloader: Any, link: Any, path: str) -> None:
        if link.is_wheel:
            private = self.private(getattr(downloader, "_session", None), link)
            got = session.wheels.note(path, Origin(without_credentials(link.url), private))
            if len(digests := self._acceptable.get(link.url, ())) == 1:
                got.digest = digests[0]

    def private(self, session: Any, link: Any) -> str:
        """Return why a downloaded wheel must not be shared; "" where all users can download it."""
        page = link.comes_from
        page = page if isinstance(page, str) else getattr(page, "url", "") or ""
        for url in (link.url, page):
            if has_credentials(url) or without_credentials(url) in self._authorised:
                return "pip downloaded it with credentials"
        if getattr(session, "cert", None):
            return "pip downloaded it with a client certificate"
        return ""

    def _check_hashes(self, check: Original, hashes: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(check, args, kw)
        if bound is None or self.session is None:
            return check(*args, **kw)
        found = self.session.wheels.at(bound["path"])
        known = found.digest is not None and hashes.is_hash_allowed("sha256", found.digest)
        if known and found.verified and found.entry is not None:
            return None  # the wheel has that digest: pip checked it, or the publisher is trusted
        result = check(*args, **kw)
        # pip accepted the file: if only one digest is allowed, the file has that digest.
        found.verified |= known and getattr(hashes, "digest_count", 0) == 1
        return result

    def _wheel_distribution(self, get: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        """Return the same distribution for each request of pip for the metadata of a wheel.

        pip requests it to resolve, to look for conflicts and to install. Each time, the opening of
        the archive would cost more than the reading of the metadata."""
        bound = seams.arguments(get, args, kw)
        path = str(getattr(bound["wheel"], "location", "")) if bound else ""
        found = self.session.wheels.at(path) if self.session is not None else None
        if found is None or bound is None or found.origin is None:
            return get(*args, **kw)
        name = str(bound["canonical_name"])
        if name not in found.distributions:
            found.distributions[name] = get(*args, **kw)
        return found.distributions[name]

    def _distribution(self, path: Path, filename: str) -> Any:
        """Return pip's own distribution of the wheel at ``path``, for which pip will ask again.

        Raises OSError, BadZipFile, pip's InstallationError."""
        module: Any = sys.modules[seams.WHEEL_DISTRIBUTION.module]
        archive = module.FilesystemWheel(str(path))
        return module.get_wheel_distribution(archive, parse_wheel_filename(filename)[0])

    def scripts_of(self, requirement: Any) -> list[str]:
        """Return the names of the scripts that pip generates for ``requirement``."""
        path = Path(requirement.local_file_path)
        entries = self._distribution(path, path.name).iter_entry_points()
        return [entry.name for entry in entries if entry.group.endswith("_scripts")]


def _is_to_be_verified(session: Session, entry: Entry) -> bool:
    """Return whether every byte of the wheel must be checked in a copy.

    The setting verify asks for the check. The copy is necessary if the publisher of ``entry`` or
    the store's owner, as another user, could change the entry after the check."""
    store = session.layers.of(entry)
    owner = store.owner if store is not None else entry.publisher
    return session.settings.verify and not {entry.publisher, owner} <= {0, trust.user_id()}


def _digests(requirement: Any, link: Any) -> tuple[Digest, ...]:
    """Return the sha256 digests that pip accepts for ``link``.

    This is the index's own digest, or else those of the requirement's --hash options."""
    if link.hash_name == "sha256" and (own := as_digest(link.hash)):
        return (own,)
    if requirement is None:
        return ()
    allowed: Sequence[str] = requirement.hash_options.get("sha256", ())
    return tuple(digest for text in allowed if (digest := as_digest(text)))


def _local_path(link: str) -> str:
    """Return the resolved directory of a --find-links value; "" for a URL of another machine."""
    if "://" not in link:
        return os.path.realpath(link)
    parts = urlsplit(link)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return ""
    return os.path.realpath(url2pathname(parts.path))


def _pass_over(session: Session, entry: Entry, what: str) -> None:
    """Mark ``entry`` as damaged, as ``what`` says, or as vanished if its path is gone.

    Garbage collection may have deleted it since the lookup: that is no damage."""
    if os.path.lexists(entry.path):
        session.mark_damaged(entry, what)
    else:
        session.mark_vanished(entry)
