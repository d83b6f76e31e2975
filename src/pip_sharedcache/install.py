"""The flow for one wheel: find or publish its entry, place its files, finish.

pip runs the installation; the boundary to it (``interception``) asks here what the store has, and
hands over every file that pip saves. Whatever goes wrong with the store ends in pip's own way
and one line that says why.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from operator import methodcaller
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pip_sharedcache import bytecode, linker, trust, wheel
from pip_sharedcache import store as stores
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import (
    DamagedEntry,
    NotPublished,
    NotWritable,
    StoreUnusable,
    UnusualWheel,
)
from pip_sharedcache.linker import Linker, Placement
from pip_sharedcache.model import Digest, Entry, LinkMode, Origin, Report
from pip_sharedcache.store import Staged, Store

logger = logging.getLogger(__name__)


class Session:
    """One run of ``pip install``: its settings, its store (None: unusable, said once), what it
    did so far."""

    def __init__(self, settings: Settings, store: Store | None, umask: int) -> None:
        self.settings = settings
        self.store = store
        self.report = Report()
        self.linker = Linker(
            settings.link_mode, umask, group_environment=settings.group_environment
        )
        self._origins: dict[str, Origin] = {}
        self._found: dict[tuple[Digest, str], Entry] = {}
        self._by_wheel: dict[str, Entry] = {}
        self._spoiled: set[tuple[int, int]] = set()
        self._served: set[Digest] = set()
        self._complete: list[Placement] = []
        self._digests: dict[str, Digest] = {}
        self._staged: list[Staged] = []
        self._said: set[str] = set()

    @classmethod
    def start(cls, settings: Settings) -> Session:
        """Open the store that ``settings`` name. Never raises for the store's state: it warns."""
        for note in settings.notes:
            logger.warning(note)
        store = None
        try:
            store = open_store(settings)
        except StoreUnusable as error:
            logger.warning(
                "Installing without the shared store: %s (%s)", error, settings.dir_source
            )
        return cls(settings, store, trust.current_umask())

    # -- before pip downloads

    def find(self, digests: Iterable[Digest], filename: str) -> Entry | None:
        """The usable entry for ``filename`` with one of ``digests``, or None."""
        if self.store is None:
            return None
        for digest in digests:
            known = self._found.get((digest, filename))
            if known is not None:
                return known
            found = stores.find(self.store, digest, filename)
            for objection in found.objections:
                self.say_once(f"Shared store: {objection}")
            if found.entry is not None and found.entry.identity not in self._spoiled:
                self._found[digest, filename] = found.entry
                return found.entry
        return None

    def copy_untrusted(
        self, digests: Iterable[Digest], filename: str, directory: Path
    ) -> Path | None:
        """Copy the wheel out of an entry whose publisher is not trusted; None where there is none.

        The bytes are believed only after they were hashed in our own copy, so this saves the
        download and trusts nobody.
        """
        if self.store is None:
            return None
        for digest in digests:
            entry = stores.find(self.store, digest, filename).untrusted
            if entry is None:
                continue
            target = directory / filename
            try:
                with stores.hold(entry) as held:
                    if _is_hollow(held.file_status(filename)):
                        continue
                    source = os.fdopen(held.open_file(filename), "rb")
                with source, linker.create_file(target, 0o600) as copy:
                    for block in wheel.blocks(source):
                        linker.write_all(copy, block)
                if wheel.digest_of(target)[0] == digest:
                    self._count_download(digest, entry.manifest.size)
                    return target
                self.say_once(
                    f"{entry.wheel} is not the wheel it says it is "
                    f"(published by {trust.user_name(entry.publisher)}): downloaded again"
                )
                target.unlink()
            except (OSError, DamagedEntry) as error:
                self.say_once(f"Not used from the shared store: {error}")
        return None

    def serve(self, entry: Entry, digest: Digest) -> None:
        """Note that pip was handed the entry's own wheel instead of downloading it."""
        self._by_wheel[str(entry.wheel)] = entry
        self._count_download(digest, entry.manifest.size)

    def spoil(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and say whose it is."""
        known = entry.identity in self._spoiled
        self._spoiled.add(entry.identity)
        self._found.pop((entry.manifest.digest, entry.manifest.filename), None)
        if known:
            return  # thousands of its files may be missing: one line tells of them all
        owner = trust.user_name(entry.publisher)
        self.say_once(f"Damaged entry of {owner} in the shared store is not used: {what}")

    def _count_download(self, digest: Digest, size: int) -> None:
        if digest not in self._served:
            self._served.add(digest)
            self.report.not_downloaded += size

    # -- where wheels come from

    def note_origin(self, path: str, origin: Origin) -> None:
        """Remember where pip took the wheel at ``path`` from. A wheel nothing is noted of was
        built here, and is neither looked up nor published."""
        self._origins[os.path.abspath(path)] = origin

    def note_digest(self, path: str, digest: Digest) -> None:
        """pip itself has found that the file at ``path`` has this ``digest``."""
        self._digests[os.path.abspath(path)] = digest

    def names_in(self, path: str) -> list[str] | None:
        """The files of the wheel at ``path``; None where it cannot be read."""
        served = self._by_wheel.get(path)
        if served is not None:
            return [file.path for file in served.manifest.files]
        return wheel.names_in(path)

    def is_served(self, path: str) -> bool:
        """Whether the wheel at ``path`` is the store's own."""
        return path in self._by_wheel

    def knows(self, path: str) -> bool:
        """Whether ``path`` is a wheel that came with a known origin, and stays as it is while
        this run lasts."""
        return os.path.abspath(path) in self._origins

    def is_shared_anyway(self, url: str) -> bool:
        """Whether ``url`` (or an absolute path) is below a prefix in the setting ``share``."""
        return any(_is_below(url, prefix) for prefix in self.settings.share)

    # -- installing

    def begin(self, path: str) -> Placement | None:
        """Start to install the wheel at ``path``: a placement to be committed or undone, or None
        where pip does it all. Every distribution that is installed comes by here once."""
        self.report.installed += 1
        origin = self._origins.get(os.path.abspath(path))
        if self.store is None or origin is None:
            return None
        entry = self._find_or_publish(self.store, Path(path), origin)
        if entry is None:
            return None
        try:
            return Placement(entry, stores.hold(entry), self.linker, self.report)
        except DamagedEntry as error:
            self.spoil(entry, str(error))
            return None

    def _find_or_publish(self, store: Store, path: Path, origin: Origin) -> Entry | None:
        served = self._by_wheel.get(str(path))
        if served is not None:
            self.report.found += 1
            return served
        try:
            digest = self._digests.get(os.path.abspath(path)) or wheel.digest_of(path)[0]
        except OSError:
            return None  # pip meets the same error, and words it
        found = self.find([digest], path.name)
        if found is not None:
            self.report.found += 1
            return found
        if origin.private_because and not self.is_shared_anyway(origin.url):
            logger.debug("%s is not shared: %s", path.name, origin.private_because)
            return None
        entry = self._stage(
            lambda: stores.stage(store, path, path.name, digest), "Installed without publishing"
        )
        if entry is not None:
            self._found[digest, path.name] = entry
        return entry

    def _stage(self, stage: Callable[[], Staged], otherwise: str) -> Entry | None:
        """Stage an entry, which becomes visible at the end of the run; None where that cannot be,
        which is said."""
        try:
            staged = stage()
        except UnusualWheel as error:
            logger.debug("Left to pip's own installer: %s", error)
        except NotWritable as error:
            logger.debug("%s: %s", otherwise, error)
            self.report.read_only = True
        except NotPublished as error:
            self.say_once(f"{otherwise}: {error}")
        else:
            self._staged.append(staged)
            if self.settings.link_mode is not LinkMode.SYMLINK:
                return staged.entry
            # What is placed names the entry's own path, so that must be the final one.
            return self._reveal()[-1]
        return None

    def _reveal(self) -> list[Entry | None]:
        """Make visible what was staged; say what could not be."""
        staged, self._staged = self._staged, []
        if self.store is None or not staged:
            return []
        revealed: list[Entry | None] = []
        for one, outcome in zip(staged, stores.reveal(self.store, staged)):
            if isinstance(outcome, NotPublished):
                self.say_once(f"Installed without publishing: {outcome}")
                revealed.append(None)
                continue
            if outcome.identity == one.entry.identity and outcome.manifest.size:
                self.report.published += 1
            revealed.append(outcome)
        return revealed

    def provide_bytecode(self, placement: Placement) -> None:
        """Give ``placement`` the bytecode for this interpreter, found or else compiled; nothing
        where it cannot be shared."""
        if self.store is None:
            return
        try:
            entry = self._bytecode_of(self.store, placement.entry)
            if entry is not None:
                placement.use_bytecode(entry, stores.hold(entry))
        except DamagedEntry as error:
            self.say_of_bytecode(error)

    def save_bytecode(self, placement: Placement, source: str) -> bool | None:
        """Place the shared bytecode of the placed ``source``: True; False where it is known not
        to compile; None where pip is to compile it."""
        try:
            return placement.save_bytecode(source)
        except DamagedEntry as error:
            self.say_of_bytecode(error)
        except OSError as error:
            # A colleague's __pycache__, a full disk: pip tries too, and goes on without.
            logger.debug("No bytecode for %s: %s", source, error)
        return None

    def say_of_bytecode(self, error: DamagedEntry) -> None:
        """One line for all damaged bytecode of a run: it is compiled anew."""
        self.say_once(f"Damaged bytecode in the shared store is not used: {error}")

    def _bytecode_of(self, store: Store, entry: Entry) -> Entry | None:
        """The bytecode of ``entry`` for this interpreter, found or else compiled and published;
        None where bytecode cannot be shared."""
        tag, key = bytecode.tag(), bytecode.fits(entry)
        if not tag:
            return None
        found = stores.find_bytecode(store, entry.manifest.digest, tag, key).entry
        return found or self._stage(
            lambda: stores.stage_bytecode(
                store, entry, tag, key, lambda files: bytecode.compile_all(entry, files)
            ),
            "Installed without sharing bytecode",
        )

    # -- the end

    def settle(self, placement: Placement, *, later: bool) -> None:
        """End the installation of one wheel. ``later``: nothing is replaced by it, so that it may
        appear together with others (``show``), made durable at once. Raises OSError."""
        if not later:
            placement.commit()
            return
        placement.record()
        placement.close()
        self._complete.append(placement)

    def take_complete(self) -> list[Placement]:
        """What was settled for later since this was asked last."""
        complete, self._complete = self._complete, []
        return complete

    def finish(self) -> None:
        """Make visible what this run staged. To be called however the run ended."""
        self._reveal()

    def summary(self) -> str:
        """The line for the end of a run that installed something; "" where there is none."""
        if self.store is None or not self.report.installed:
            return ""
        line = self.report.sentence(self.store.path)
        refused = self.linker.refusals.get(self.settings.link_mode)
        if refused and self.settings.link_mode is not LinkMode.COPY:
            line += f" (no {self.settings.link_mode.value} here: {refused})"
        return line

    def say_once(self, message: str) -> None:
        """Warn, the first time."""
        if message not in self._said:
            self._said.add(message)
            logger.warning(message, extra={"once": True})

    def absorb(self, report: Report) -> None:
        """Count what another process did for this run."""
        self.report.add(report)


def show(placements: Sequence[Placement]) -> None:
    """Let complete distributions appear, all made durable before the first does: the files of one
    wait for the same commit of the file system's journal. Raises OSError, the first one, when all
    others are done."""
    first: OSError | None = None
    ready = list(placements)
    try:
        for step in (methodcaller("flush"), methodcaller("reveal")):
            for placement in list(ready):
                try:
                    step(placement)
                except OSError as error:
                    ready.remove(placement)
                    placement.undo()
                    first = first or error
    except BaseException:  # Ctrl-C: each is whole or absent; undo spares what is visible
        for placement in ready:
            placement.undo()
        raise
    if first is not None:
        raise first


def open_store(settings: Settings) -> Store:
    """The store that ``settings`` name; a private one is made. Raises StoreUnusable."""
    if settings.dir is None:
        raise StoreUnusable(
            "no home directory is known to keep one in", "name one with PIP_SHAREDCACHE_DIR"
        )
    return Store.open(settings.dir, private=settings.private)


def without_credentials(url: str) -> str:
    """``url`` without user info, fragment and query, as it may be shown and compared."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def has_credentials(url: str) -> bool:
    """Whether ``url`` carries user info."""
    return "@" in urlsplit(url).netloc


def _is_hollow(status: os.stat_result) -> bool:
    """Whether a file is mostly holes: no wheel is, but a planted one could fill our disk."""
    return hasattr(status, "st_blocks") and status.st_blocks * 512 < status.st_size // 2


def _is_below(url: str, prefix: str) -> bool:
    start, whole = (
        without_credentials(text if "://" in text else Path(text).as_uri())
        for text in (prefix, url)
    )
    start = start.rstrip("/")
    return whole == start or whole.startswith(start + "/")


__all__ = ["Session", "has_credentials", "open_store", "show", "without_credentials"]
