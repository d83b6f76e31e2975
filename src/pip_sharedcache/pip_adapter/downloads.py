"""The metadata and the files of wheels, which pip gets from the store where possible.

Every wrapper calls pip's own function unchanged unless an installation through the store is in
progress.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from optparse import Values
from pathlib import Path
from typing import Any

from pip_sharedcache import trust, wheel
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Digest, Entry, Origin
from pip_sharedcache.pip_adapter import local_wheels, offline, resolver_seams, seams
from pip_sharedcache.pip_adapter.batches import Batches, Downloaded
from pip_sharedcache.pip_adapter.links import digests_of, serves_other, url_of
from pip_sharedcache.pip_adapter.misses import Misses, comes_from_index
from pip_sharedcache.pip_adapter.protocols import (
    Downloader,
    Hashes,
    Link,
    Preparer,
    Requirement,
)
from pip_sharedcache.pip_adapter.pulls import Pulls
from pip_sharedcache.pip_adapter.responses import Responses
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import RunWheel

logger = logging.getLogger(__name__)

_ENOUGH = 4  # wheels: for fewer, worker processes are not worth their start
_OCTETS = local_wheels.OCTETS


def do_nothing() -> None:
    """Do nothing: the value of ``Downloads.before_download`` outside of replays."""


class Downloads:
    """The wrappers around pip's preparation of requirements.

    ``session``: the run in progress; None between runs.
    ``responses``: what pip's sessions were answered.
    ``before_download``: called before each download that pip itself makes.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.cache: str | None = None
        self.responses = Responses()
        self.before_download: Callable[[], None] = do_nothing
        self._downloaders: weakref.WeakSet[Downloader] = weakref.WeakSet()
        self._acceptable: dict[str, tuple[Digest, ...]] = {}  # by URL
        self._must_hash = self._only_resolves = self._fetches = False
        self._downloader: Downloader | None = None
        self._batches = Batches()
        self._misses = Misses(self._digests, lambda link: self.responses.private(None, link))
        self._pulls = Pulls(self._misses, functools.partial(self._note_new, asks=False))

    def put_in(self) -> None:
        """Wrap the seams, in the modules that look them up."""
        for seam, handle in (
            (seams.PREPARER, self._new_preparer),
            (seams.FETCH_METADATA, self._fetch_metadata),
            (seams.DOWNLOAD, self._download),
            (seams.DOWNLOAD_BATCH, self._download_batch),
            (seams.DOWNLOAD_IN_TURN, self._download_in_turn),
            (seams.GET_FILE, self._get_file),
            (seams.CHECK_HASHES, self._check_hashes),
            (seams.WHEEL_DISTRIBUTION, self._wheel_distribution),
            (seams.OBTAIN, offline.obtain),
        ):
            seams.wrap(seam, seams.during(lambda: self.session, handle))
        if not resolver_seams.problem((resolver_seams.PREPARE_MORE,)):
            wrapper = seams.during(lambda: self.session, self._prepare_more)
            seams.wrap(resolver_seams.PREPARE_MORE, wrapper)

    @property
    def installing(self) -> Session | None:
        """The run of pip install in progress."""
        return None if self._fetches else self.session

    @property
    def fetching(self) -> Session | None:
        """The run of another command in progress, which installs and publishes nothing."""
        return self.session if self._fetches else None

    def begin(self, session: Session, options: Values, *, fetches: bool = False) -> None:
        """Begin a run with these ``options`` of pip; ``fetches``: it installs nothing."""
        self.session, self.cache = session, getattr(options, "cache_dir", None)
        self._fetches = fetches
        self._only_resolves = fetches or bool(getattr(options, "dry_run", False))
        session.compiles = not self._only_resolves and bool(getattr(options, "compile", True))

    def end(self) -> None:
        """Forget the session and the downloader at the end of a run."""
        self.session = None
        self._downloader = None

    # -- before a download

    def _new_preparer(self, session: Session, call: Call) -> None:
        call.proceed()
        preparer: Preparer = call.instance
        # With --require-hashes the user asks pip to check every byte.
        self._must_hash = bool(getattr(preparer, "require_hashes", True))
        if self._must_hash:
            session.lookup.distrust_publishers()
        self._must_hash |= session.settings.verify
        self._downloader = getattr(preparer, "_download", None)
        for name in ("_download", "_batch_download"):
            downloader = getattr(preparer, name, None)
            if downloader is not None:
                self._downloaders.add(downloader)
        pip_session = getattr(preparer, "_session", None)
        if pip_session is not None:
            self.responses.watch(pip_session)
            self._pulls.begin(session, pip_session)

    def _fetch_metadata(self, session: Session, call: Call) -> Any:
        preparer: Preparer = call.instance
        requirement: Requirement = call.named["req"]
        link = requirement.link
        if link is None or not link.is_wheel:
            return call.proceed()
        if link.is_file:
            path = link.file_path
            served = offline.serve(session, link, self.trust)
            if not served and not local_wheels.was_built(requirement, path, self.cache):
                origin = local_wheels.origin_of(session, preparer, requirement, link)
                session.wheels.note(path, origin)
            return call.proceed()
        digests = digests_of(link, requirement)
        self._acceptable[link.url] = digests
        if self.needs_metadata(session, link, digests):
            return call.proceed()
        return None  # pip reads the metadata from the entry's wheel, without a request

    def needs_metadata(
        self, session: Session, link: Link, digests: tuple[Digest, ...] = ()
    ) -> bool:
        """Return whether pip must get the metadata of the wheel at ``link`` from its index.

        ``digests``: those that pip accepts; by default the index's own.
        """
        entry = session.lookup.find(digests or digests_of(link), link.filename)
        digest = self._pulls.metadata_digest(link) if entry is None else entry.metadata_digest()
        return not digest or serves_other(link, digest)

    # -- downloads

    def _get_file(self, session: Session, call: Call) -> Any:
        link, kept = call.named["link"], call.named["download_dir"]
        ours = call.named["download"] in self._downloaders and not kept
        served = self._serve(session, link, "") if ours else None
        return call.proceed() if served is None else local_wheels.checked(call, served)

    def _download(self, session: Session, call: Call) -> Any:
        downloader, link = call.instance, call.named["link"]
        if downloader not in self._downloaders:
            return call.proceed()
        if (served := self._serve(session, link, call.named["location"])) is not None:
            return served, _OCTETS
        missing = list(filter(comes_from_index, [link]))
        waited = self._waits(session, missing)
        if waited or not self._pulls.fetch(session, missing, call.named["location"]):
            served = self._serve(session, link, call.named["location"])
            if served is not None:
                return served, _OCTETS
        self.before_download()
        path, content_type = self._batches.download(session, call.named["location"], call.proceed)
        self._note_download(session, link, path)
        return path, content_type

    def _download_in_turn(self, session: Session, call: Call) -> Any:
        """Run Downloader.batch, which calls the wrapped Downloader for each of its links."""
        if call.instance not in self._downloaders:
            return call.proceed()
        links, location = list(call.named["links"]), call.named["location"]
        return self._ahead(session, call, links, call.original(links, location))

    def _download_batch(self, session: Session, call: Call) -> Any:
        if call.instance not in self._downloaders:
            return call.proceed()
        links = list(call.named["links"])
        each = self._each(session, call, links, call.named["location"])
        return self._ahead(session, call, links, each)

    def _each(
        self, session: Session, call: Call, links: Iterable[Link], location: str
    ) -> Iterator[Downloaded]:
        for link in links:
            served = self._serve(session, link, location)
            if served is not None:
                yield link, (served, _OCTETS)
                continue
            self.before_download()
            path, content_type = self._batches.download_alone(session, call, link, location)
            self._note_download(session, link, path)
            yield link, (path, content_type)

    def _ahead(
        self, session: Session, call: Call, links: Sequence[Link], each: Iterable[Downloaded]
    ) -> Iterator[Downloaded]:
        """Yield what ``each`` yields, while the next of its ``links`` are asked for in threads."""
        missing = self._missing(session, links)
        most, location = session.settings.downloads, call.named["location"]
        urls = [url_of(link) for link in self._pulls.fetch(session, missing, location)]
        return self._batches.run(call.instance, urls, most, location, each)

    def pull_ahead(self, session: Session, links: Sequence[Link]) -> None:
        """Get the wheels of ``links`` from remote stores, before pip's resolver comes to them."""
        if not self._only_resolves and (missing := self._missing(session, links)):
            self._pulls.fetch(session, missing, local_wheels.new_directory())

    def _missing(self, session: Session, links: Sequence[Link]) -> list[Link]:
        """Return those of ``links`` that this run must get; if many, begin to stage wheels."""
        missing = self._misses.of(session, links)
        if self._waits(session, missing):
            missing = self._misses.of(session, missing)
        if len(missing) >= _ENOUGH and not self._only_resolves:
            session.begin_head_start()
        return missing

    def _prepare_more(self, session: Session, call: Call) -> Any:
        result = call.proceed()
        if session.compiles:
            self._pulls.fetch_bytecode(session, call.named["reqs"])
        return result

    def _waits(self, session: Session, missing: Iterable[Link]) -> bool:
        """Return whether another run was waited for, which downloads some of ``missing``."""
        return not self._only_resolves and self._misses.wait(session, missing)

    def _digests(self, link: Link) -> tuple[Digest, ...]:
        return self._acceptable.get(link.url) or digests_of(link)

    def _serve(self, session: Session, link: Link, location: str) -> str | None:
        """Return the path of a usable wheel for ``link`` from the store; None to download it.

        The wheel is an entry's own, or a checked copy in ``location``; "" for no copy."""
        if not link.is_wheel:
            return None
        if (pulled := self._pulls.take(link)) is not None:
            return pulled
        digests = self._digests(link)
        origin = self.responses.origin(link)
        found = self._trusted(session, digests, link.filename, location, origin)
        if found is not None:
            logger.info("Using %s from the shared store", link.filename)
            if found.entry is not None:
                found.download = link, location
            return found.path
        if not location:
            return None
        copied = session.lookup.copy_untrusted(digests, link.filename, Path(location))
        if copied is None:
            return None
        logger.info("Using a checked copy of %s from the shared store", link.filename)
        self._note_new(session, link, str(copied))
        return str(copied)

    def _note_new(self, session: Session, link: Link, path: str, asks: bool = True) -> RunWheel:
        """Record the wheel at ``path``, which can be published."""
        sharing = None if self._only_resolves else session.sharing
        return session.wheels.note(path, self.responses.origin(link, sharing, asks=asks))

    def _trusted(
        self, session: Session, digests: Iterable[Digest], name: str, location: str, origin: Origin
    ) -> RunWheel | None:
        """Return the wheel ``name`` from a trusted publisher's entry; None if none is usable.

        If an entry is damaged, the next one follows. pip gets the entry's own wheel, or a copy in
        ``location`` where another file may be at the path by the time that pip opens it."""
        digests = tuple(digests)
        while (entry := session.lookup.find(digests, name)) is not None:
            if session.lookup.replaceable_by(entry) or session.lookup.verifies_copy(entry):
                if not location:
                    return None
                copied = session.lookup.copy_trusted(entry, Path(location))
                if copied is None:
                    continue
                return session.wheels.note(str(copied), origin)
            if self.trust(session, entry, origin):
                return session.lookup.serve(entry)
        return None

    def another(self, session: Session, path: str, entry: Entry) -> RunWheel | None:
        """Return the wheel of a sound entry in place of that of the damaged ``entry``, or None.

        ``path``: the wheel of ``entry`` that pip was handed."""
        origin = session.wheels.at(path).origin
        if origin is None:
            return None
        digest, filename = entry.manifest.digest, entry.manifest.filename
        location = local_wheels.directory_for(session.wheels.download_of(digest))
        return self._trusted(session, [digest], filename, location, origin)

    def trust(self, session: Session, entry: Entry, origin: Origin) -> bool:
        """Return whether pip may use the wheel of the trusted ``entry`` for ``origin``.

        The metadata must have its recorded digest. The wheel is hashed only if the user asked for
        that (--require-hashes, the setting verify)."""
        if self._must_hash and not local_wheels.is_sound(session, entry, entry.wheel):
            return False
        found = session.wheels.note(str(entry.wheel), origin)
        exceptions = importlib.import_module("pip._internal.exceptions")
        try:
            made = local_wheels.distribution_of(entry.wheel, entry.manifest.filename)
            text = made.read_text("METADATA")
        except (OSError, *wheel.BROKEN, exceptions.InstallationError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            session.lookup.skip(entry, f"{entry.wheel}: cannot be read: {why}")
            return False
        if entry.metadata_digest() != hashlib.sha256(text.encode("utf-8")).hexdigest():
            session.lookup.skip(entry, f"{entry.wheel}: METADATA differs from the manifest")
            return False
        found.digest, found.verified = entry.manifest.digest, True
        return True

    def replace(self, session: Session, entry: Entry) -> str:
        """Return the path of another wheel in place of that of the damaged or deleted ``entry``.

        The wheel is from a sound entry, or pip downloads it. Raises pip's own errors and
        InstallationError."""
        if session.lookup.is_vanished(entry):
            return self.fetch(session, entry, "the entry was deleted")
        other = self.another(session, str(entry.wheel), entry)
        if other is not None:
            if other.entry is not None:
                session.lookup.settle_damage(other.entry)
            return other.path
        path = self.fetch(session, entry, "the entry and its wheel are damaged")
        session.heal(entry, Path(path))
        return path

    def fetch(self, session: Session, entry: Entry, what: str) -> str:
        """Return the path of the wheel of ``entry``, which pip downloads because of ``what``.

        Raises pip's own errors, and InstallationError where pip has no link to it."""
        exceptions = importlib.import_module("pip._internal.exceptions")
        hashes_module = importlib.import_module("pip._internal.utils.hashes")
        download = session.wheels.download_of(entry.manifest.digest)
        if download is None or self._downloader is None:
            whose = trust.user_name(entry.publisher)
            raise exceptions.InstallationError(
                f"The shared store has no usable wheel: {entry.path} (published by {whose}): "
                f"{what}; hint: name another store with --sharedcache-dir"
            )
        path, _ = self._downloader(download[0], local_wheels.directory_for(download))
        session.lookup.record_download(entry)
        hashes_module.Hashes({"sha256": [entry.manifest.digest]}).check_against_path(path)
        return str(path)

    def _note_download(self, session: Session, link: Link, path: str) -> None:
        session.turns.renew()
        if link.is_wheel:
            got = self._note_new(session, link, path)
            if len(digests := self._acceptable.get(link.url, ())) == 1:
                got.digest = digests[0]
                session.stage_ahead(got)

    def _check_hashes(self, session: Session, call: Call) -> Any:
        session.go_on()
        hashes: Hashes = call.instance
        found = session.wheels.at(call.named["path"])
        known = found.digest is not None and hashes.is_hash_allowed("sha256", found.digest)
        is_checked = found.entry is not None or (found.pulled and not self._must_hash)
        if known and found.verified and is_checked:
            return None  # the wheel has that digest: it was checked, or the publisher is trusted
        result = call.proceed()
        # pip accepted the file: if only one digest is allowed, the file has that digest.
        found.verified |= known and getattr(hashes, "digest_count", 0) == 1
        return result

    def _wheel_distribution(self, session: Session, call: Call) -> Any:
        """Return the same distribution for each request of pip: opening the archive takes long."""
        found = session.wheels.at(str(getattr(call.named["wheel"], "location", "")))
        if found.origin is None:
            return call.proceed()
        name = str(call.named["canonical_name"])
        if name not in found.distributions:
            found.distributions[name] = call.proceed()
        return found.distributions[name]

    def scripts_of(self, requirement: Requirement) -> list[str]:
        """Return the names of the scripts that pip generates for ``requirement``."""
        path = Path(requirement.local_file_path or "")
        entries = local_wheels.distribution_of(path, path.name).iter_entry_points()
        return [entry.name for entry in entries if entry.group.endswith("_scripts")]
