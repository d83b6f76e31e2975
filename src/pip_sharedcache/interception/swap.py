"""pip's installation step, swapped: what is put into the seams while ``pip install`` runs.

Every wrapper calls pip's own function unchanged unless an installation through the store is under
way. pip runs one installation at a time in one thread, so what is under way is plain state.
"""

from __future__ import annotations

import importlib
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.install import Session, has_credentials, without_credentials
from pip_sharedcache.interception import guards, seams
from pip_sharedcache.linker import Placement
from pip_sharedcache.model import Digest, Entry, Origin, as_digest

logger = logging.getLogger(__name__)

Original = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]

_OCTETS = "application/octet-stream"


class Swap:
    """The wrappers, and what they know of the one installation under way."""

    def __init__(self, start: Callable[[], Session]) -> None:
        self._start = start
        self.session: Session | None = None
        self.placement: Placement | None = None
        self._cache: str | None = None
        self._downloaders: weakref.WeakSet[Any] = weakref.WeakSet()
        self._digests: dict[str, tuple[Digest, ...]] = {}
        self._authorised: set[str] = set()
        self._verified: dict[str, Digest] = {}

    def put_in(self) -> None:
        """Wrap every seam, in the module that looks it up when pip installs."""
        for seam, wrapper in (
            (seams.RUN_INSTALL, self._run_install),
            (seams.PREPARER, self._new_preparer),
            (seams.FETCH_METADATA, self._fetch_metadata),
            (seams.DOWNLOAD, self._download),
            (seams.DOWNLOAD_BATCH, self._download_batch),
            (seams.CHECK_HASHES, self._check_hashes),
            (seams.INSTALL_WHEEL, self._install_wheel),
            (seams.PARSE_WHEEL, self._parse_wheel),
            (seams.NEW_FILE, self._new_file),
            (seams.SAVE_FILE, self._save_file),
            (seams.ENSURE_DIRECTORY, self._ensure_directory),
            (seams.COMPACT, guards.information_first(lambda: self.session is not None)),
            (seams.WRITE_SCRIPT, guards.replace_links(lambda: self.placement is not None)),
            (seams.WRITE_RECOVERY, self._write_recovery),
        ):
            seams.wrap(seam, wrapper)
        seams.hand_on(seams.INSTALL_WHEEL, "pip._internal.req.req_install")
        self._replace_compiler()

    # -- the whole run

    def _run_install(self, run: Original, command: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(run, args, kw)
        if bound is None:
            return run(*args, **kw)
        self.session = session = self._start()
        self._cache = getattr(bound["options"], "cache_dir", None)
        try:
            status = run(*args, **kw)
        finally:
            self.session = None
            session.finish()
        if status == 0 and (line := session.summary()):
            logger.info(line)
        return status

    # -- what is known of a wheel before it is there

    def _new_preparer(self, init: Original, preparer: Any, args: Arguments, kw: Keywords) -> None:
        init(*args, **kw)
        if self.session is None or preparer.download_dir is not None:
            return  # pip download and pip wheel copy what they get
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
        self._digests[link.url] = digests
        if self.session.find(digests, link.filename) is not None:
            return None  # the wheel itself is at hand, so pip need not ask for its metadata
        return fetch(*args, **kw)

    def _note_local(self, session: Session, preparer: Any, requirement: Any) -> None:
        """A wheel that is a local file: shared if an index or a find-links directory lists it."""
        path = requirement.link.file_path
        if self._was_built(requirement, path):
            return
        reason = ""
        if requirement.original_link is not None:
            listed = (_local_path(link) for link in getattr(preparer.finder, "find_links", ()))
            if os.path.realpath(os.path.dirname(path)) not in set(listed):
                reason = "it came from a local path"
        session.note_origin(path, Origin(without_credentials(requirement.link.url), reason))

    def _was_built(self, requirement: Any, path: str) -> bool:
        if getattr(requirement, "cached_wheel_source_link", None) is not None:
            return True
        if getattr(requirement, "original_link_is_in_wheel_cache", False):
            return True
        below_cache = self._cache and Path(self._cache) in Path(path).parents
        return bool(below_cache) or "pip-ephem-wheel-cache-" in path

    # -- downloads

    def _download(self, download: Original, downloader: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(download, args, kw)
        if self.session is None or bound is None or downloader not in self._downloaders:
            return download(*args, **kw)
        link, location = bound["link"], bound["location"]
        served = self._serve(self.session, link, location)
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
            served = self._serve(session, link, location)
            if served is not None:
                yield link, (served, _OCTETS)
                continue
            for one, (path, content_type) in download([link], location):
                self._note_download(session, downloader, one, path)
                yield one, (path, content_type)

    def _serve(self, session: Session, link: Any, location: str) -> str | None:
        """The wheel of ``link`` out of the store, after pip's own check; None to download."""
        if not link.is_wheel:
            return None
        digests = self._digests.get(link.url) or _digests(None, link)
        origin = Origin(without_credentials(link.url), self._private(None, link))
        entry = session.find(digests, link.filename)
        if entry is not None and self._is_sound(session, entry):
            logger.info("Using %s from the shared store", link.filename)
            session.serve(entry, entry.manifest.digest)
            session.note_origin(str(entry.wheel), origin)
            return str(entry.wheel)
        copied = session.copy_untrusted(digests, link.filename, Path(location))
        if copied is None:
            return None
        logger.info("Using a checked copy of %s from the shared store", link.filename)
        session.note_origin(str(copied), origin)
        return str(copied)

    def _is_sound(self, session: Session, entry: Entry) -> bool:
        hashes_module = importlib.import_module("pip._internal.utils.hashes")
        path = str(entry.wheel)
        if self._verified.get(path) == entry.manifest.digest:
            return True
        try:
            hashes_module.Hashes({"sha256": [entry.manifest.digest]}).check_against_path(path)
        except hashes_module.HashMismatch:
            session.spoil(entry, f"{path} has other bytes than its digest says")
            return False
        except OSError as error:
            session.spoil(entry, f"{path} cannot be read: {error.strerror}")
            return False
        self._verified[path] = entry.manifest.digest
        return True

    def _note_download(self, session: Session, downloader: Any, link: Any, path: str) -> None:
        if link.is_wheel:
            private = self._private(getattr(downloader, "_session", None), link)
            session.note_origin(path, Origin(without_credentials(link.url), private))

    def _private(self, session: Any, link: Any) -> str:
        """Why a downloaded wheel is not to be shared; "" where everybody could have had it."""
        page = link.comes_from
        page = page if isinstance(page, str) else getattr(page, "url", "") or ""
        for url in (link.url, page):
            if has_credentials(url) or without_credentials(url) in self._authorised:
                return "it came with credentials"
        if getattr(session, "cert", None):
            return "it came with a client certificate"
        return ""

    def _check_hashes(self, check: Original, hashes: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(check, args, kw)
        if bound is not None and self.session is not None:
            digest = self._verified.get(bound["path"])
            if digest is not None and hashes.is_hash_allowed("sha256", digest):
                return None  # this very check ran on this very file when it was handed out
        return check(*args, **kw)

    # -- one wheel

    def _install_wheel(self, install: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(install, args, kw)
        if self.session is None or bound is None:
            return install(*args, **kw)
        self.placement = placement = self.session.begin(bound["wheel_path"])
        if placement is None:
            return install(*args, **kw)
        try:
            result = install(*args, **kw)
            placement.commit()
            return result
        except BaseException:
            placement.undo()
            raise
        finally:
            self.placement = None

    def _parse_wheel(self, parse: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        info_directory, metadata = parse(*args, **kw)
        if self.placement is None:
            return info_directory, metadata
        return self.placement.stage(info_directory), metadata

    def _new_file(self, init: Original, file: Any, args: Arguments, kw: Keywords) -> None:
        init(*args, **kw)
        if self.placement is not None:
            file.dest_path = self.placement.destination(file.src_record_path, file.dest_path)

    def _save_file(self, save: Original, file: Any, args: Arguments, kw: Keywords) -> Any:
        placement = self.placement
        if placement is None or self.session is None:
            return save(*args, **kw)
        try:
            saved = placement.save(file.src_record_path, file.dest_path)
        except DamagedEntry as error:
            # pip takes this one file out of the wheel, whose digest was checked.
            self.session.spoil(placement.entry, str(error))
            saved = False
        if not saved:
            return save(*args, **kw)
        file.written = True  # pip 26.3 asks; older ones do not mind
        return None

    def _ensure_directory(self, ensure: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        bound = seams.arguments(ensure, args, kw)
        if self.placement is None or bound is None:
            return ensure(*args, **kw)
        self.placement.make_parents(str(bound["path"]))
        return None

    def _write_recovery(self, write: Original, _: Any, args: Arguments, kw: Keywords) -> Any:
        """pip 26.3, stopped by a blocked import, leaves a distribution that it can uninstall: that
        must be under its real name."""
        placement = self.placement
        bound = seams.arguments(write, args, kw)
        if placement is not None and bound is not None:
            record, staged = bound["record"], placement.staged
            placement.reveal()
            record.info_dir = placement.info_directory
            record.installed = {
                source: path.replace(staged, record.info_dir)
                for source, path in record.installed.items()
            }
            record.generated = [path.replace(staged, record.info_dir) for path in record.generated]
        return write(*args, **kw)

    def save_bytecode(self, source: str) -> bool | None:
        """Place shared bytecode for ``source``; None where it is to be compiled."""
        if self.placement is None or self.session is None:
            return None
        return self.session.save_bytecode(self.placement, source)

    def _replace_compiler(self) -> None:
        """Give pip's wheel installer a ``compileall`` of its own, so that what it compiles can be
        seen without changing the module for everybody else."""
        module = importlib.import_module(seams.COMPILE.module)
        original = getattr(module, "compileall", None)
        if original is not None:
            module.compileall = _Compiler(self, original)  # type: ignore[attr-defined]


class _Compiler:
    """Stands for the module ``compileall`` inside pip's wheel installer."""

    def __init__(self, swap: Swap, original: Any) -> None:
        self._swap = swap
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def compile_file(self, fullname: str, *args: Any, **kw: Any) -> Any:
        """compileall.compile_file, where the store's bytecode does not do."""
        done = self._swap.save_bytecode(str(fullname))
        if done is not None:
            return done
        return self._original.compile_file(fullname, *args, **kw)


def _digests(requirement: Any, link: Any) -> tuple[Digest, ...]:
    """The sha256 digests that pip would accept for ``link``: the index's own, else those of the
    requirement's --hash options."""
    if link.hash_name == "sha256" and (own := as_digest(link.hash)):
        return (own,)
    if requirement is None:
        return ()
    allowed: Sequence[str] = requirement.hash_options.get("sha256", ())
    return tuple(digest for text in allowed if (digest := as_digest(text)))


def _local_path(link: str) -> str:
    """The directory that a --find-links value names, resolved; "" for a URL elsewhere."""
    if "://" not in link:
        return os.path.realpath(link)
    parts = urlsplit(link)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return ""
    return os.path.realpath(url2pathname(parts.path))
