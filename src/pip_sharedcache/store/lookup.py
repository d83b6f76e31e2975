"""Lookup of entries by digest, with the checks that they are complete and trusted.

Takes no lock and writes nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import CopiedEntry, DamagedEntry, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Identity, Policy, identity_of
from pip_sharedcache.store import bytecode_paths
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.entry_trust import distrust_reason
from pip_sharedcache.store.layout import BYTECODE, DEAD, WHEELS, Store
from pip_sharedcache.store.restored import COPIED, copied_hint, read_or_restore
from pip_sharedcache.store.usage_marks import OWNERS_FAULT, used_beside

logger = logging.getLogger(__name__)

#: The file name that the manifest of a build record gives.
BUILD_RECORD = "note"

#: Names of other users that a lookup reads beside an entry: a group member can add any number.
_MOST_BESIDE = 16


@dataclass
class LookupResult:
    """The result of a lookup; the lookup alone changes it.

    ``entry``: the usable entry, or None.
    ``untrusted``: an entry whose wheel may be copied and checked: untrusted or damaged.
    ``distrust_reasons``: why entries of other publishers were not used.
    ``damages``: the damage of other entries, with their publishers.
    ``unreadable``: entries that the disk or the file server failed to read.
    ``own``: a damaged entry of this user that was skipped, and its damage.
    ``copied``: whether an entry was not used because it lost its times in a copy of the store.
    ``silent``: the store whose file server does not answer, with the error; else None.
    """

    entry: Entry | None = None
    untrusted: Entry | None = None
    distrust_reasons: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    own: tuple[Entry, str] | None = None
    copied: bool = False
    silent: tuple[Path, str] | None = None


def find(
    store: Store, digest: Digest, filename: str, without: Container[Identity] = ()
) -> LookupResult:
    """Look for the wheel ``filename`` with this ``digest``; damaged entries never raise an error.

    ``without``: identities of entries known to be damaged. The same bytes under another file name
    do not count: pip reads tags and the build number from the name. A banned wheel is not found.
    """
    if store.bans.find(digest, filename) is not None:
        return LookupResult()
    return _Search(store, WHEELS, digest, filename, without).run(digest)


def find_bytecode(
    store: Store, wheel: Entry, tag: str, interpreter: str, without: Container[Identity] = ()
) -> LookupResult:
    """Look for the bytecode of ``wheel`` under ``tag``, for exactly the running ``interpreter``.

    Only a usable entry counts: no digest exists for derived data, but a complete entry has a file
    for each source. ``damages`` of the result reports damaged entries.
    """
    digest = wheel.manifest.digest

    def check(bytecode: Entry) -> None:
        for path in bytecode_paths.without_bytecode(wheel.manifest, bytecode.manifest):
            raise DamagedEntry(f"{bytecode.path} has no bytecode of {path}")

    search = _Search(store, BYTECODE, digest, interpreter, without, check)
    found = search.run(f"{digest}.{tag}")
    return LookupResult(found.entry, damages=found.damages + found.unreadable, own=found.own)


def find_build_record(
    store: Store, area: str, key: Digest, without: Container[Identity] = ()
) -> LookupResult:
    """Look for an entry of ``stage_record`` in ``area``; only a usable one counts."""
    found = _Search(store, area, key, BUILD_RECORD, without).run(key)
    return LookupResult(found.entry, own=found.own)


@dataclass
class _Search:
    """The search for one entry in one shard.

    ``check``: raises DamagedEntry if the entry is incomplete.
    ``chain``: the open directories, from the shard to the store.
    ``result``: the entries that are not usable.
    ``raised``: errors of an entry that end the search.
    The other fields are the arguments of ``find``.
    """

    store: Store
    area: str
    digest: Digest
    filename: str
    without: Container[Identity]
    check: Callable[[Entry], None] = lambda entry: None
    chain: tuple[Directory, ...] = ()
    result: LookupResult = field(default_factory=LookupResult)
    raised: frozenset[int] = frozenset({errno.ESTALE})

    def run(self, plain: str) -> LookupResult:
        """Return the usable entry ``plain`` or one beside it; or else the unusable ones."""

        def again() -> LookupResult:
            self.result, self.raised = LookupResult(), frozenset()
            return self._run(plain)

        return fs.retry_stale(lambda: self._run(plain), again)

    def _run(self, plain: str) -> LookupResult:
        found, began = self.result, time.monotonic()
        with ExitStack() as stack:
            try:
                opened = self.store.opened(self.area, self.digest[:2])
                self.chain = stack.enter_context(opened)
            except OSError as error:
                self._note_silence(error, began)
                return found
            for name in _candidates(self.store, plain, self.chain[0]):
                if (entry := self.usable(name)) is not None:
                    # A debug line, since a warning at every installation would be noise.
                    for other in (*found.distrust_reasons, *found.damages, *found.unreadable):
                        logger.debug("Not used from the shared store: %s", other)
                    return LookupResult(entry, own=found.own)
                if found.silent:
                    break
        return found

    def _note_silence(self, error: OSError, began: float) -> None:
        if fs.is_silence(error, began):
            self.result.silent = self.store.path, reason(error)

    def usable(self, name: str) -> Entry | None:
        """Return the entry ``name`` if it is usable; else record the reason and return None."""
        shard, began = self.chain[0], time.monotonic()
        path = shard.path / name
        try:
            with shard.subdirectory(name) as held:
                return self._look(held, held.status())
        except FileNotFoundError:
            return None
        except CopiedEntry:
            who = _publisher(shard, name)
            self.result.copied = True
            self.result.distrust_reasons.append(
                f"wheels of {who} in {self.store.path} are checked in a copy, since they "
                f"{COPIED}; hint: {copied_hint(self.store.path, who)}"
            )
            return None
        except DamagedEntry as error:
            lines, what = self.result.damages, _what(error, path)
        except OSError as error:
            if error.errno in self.raised:
                raise
            if error.errno in fs.PROCESS_ERRORS:
                logger.debug("Not looked at: %s: %s", path, reason(error))
                return None
            self._note_silence(error, began)
            lines = self.result.unreadable if error.errno in fs.DISK_ERRORS else self.result.damages
            what = _what(error, path)
        lines.append(f"{what} (published by {_publisher(shard, name)})")
        return None

    def _look(self, held: Directory, status: os.stat_result) -> Entry | None:
        """Return the open entry ``held`` if it is usable. Raises DamagedEntry, OSError."""
        if identity_of(status) in self.without:
            return None
        if why := distrust_reason(self.store, held, self.chain):
            # Of an untrusted entry, read the wheel alone, which is checked: a manifest of 60 MB of
            # brackets would take the time and memory of every user.
            if self.area == WHEELS and self._keep_wheel(held, status):
                who = trust.user_name(status.st_uid)
                if not self.store.trust.unknown:  # the run itself warns of this once
                    self.result.distrust_reasons.append(
                        f"wheels of {who} in {self.store.path} are checked in a copy, "
                        f"since {who} {why}"
                    )
            return None
        try:
            read = read_entry if self.store.policy is Policy.READ_ONLY else read_or_restore
            entry = read(held, status, self.digest, self.area)
            if entry.manifest.filename != self.filename:
                return None
            self.check(entry)
            return entry
        except (DamagedEntry, OSError) as error:
            self._keep_wheel(held, status)
            of_entry = isinstance(error, DamagedEntry) or error.errno in OWNERS_FAULT
            if status.st_uid == trust.user_id() and of_entry and self.result.own is None:
                self.result.own = self._without_files(held, status), _what(error, held.path)
            raise

    def _keep_wheel(self, held: Directory, status: os.stat_result) -> bool:
        """Return whether the unusable entry ``held`` has a wheel to copy; keep the first such."""
        try:
            wheel = held.file_status(self.filename)
        except OSError:
            return False
        if not stat.S_ISREG(wheel.st_mode):
            return False
        if self.result.untrusted is None:
            self.result.untrusted = self._without_files(held, status, wheel.st_size)
        return True

    def _without_files(self, held: Directory, status: os.stat_result, size: int = 0) -> Entry:
        identity = identity_of(status)
        return Entry.without_files(held.path, status.st_uid, identity, self.filename, size)


def _what(error: DamagedEntry | OSError, path: Path) -> str:
    if isinstance(error, DamagedEntry):
        return str(error)
    return f"{path} cannot be read: {reason(error)}"


def find_retired(entry: Entry) -> Entry | None:
    """Return the retired ``entry`` at its present path; None if it was deleted."""
    for path in entry.path.parent.glob(f"{DEAD}{entry.path.name}-*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        if identity_of(status) == entry.identity:
            return replace(entry, path=path)
    return None


def _candidates(store: Store, plain: str, shard: Directory) -> Iterator[str]:
    """Yield the names that the entry may have: this user's, the plain one, others beside it.

    Names that this user has used precede the plain one, which was damaged then, unless this user
    owns the plain one. Names of unknown uids count only if the plain one exists and a group is
    trusted. The shard is listed last, since a long list must slow down neither a hit nor a miss.
    """
    # This user published beside another entry because that one was untrusted or damaged.
    own = f"{plain}.{trust.user_id()}"
    yield own
    used = [name for name in used_beside(store, plain) if name != own]
    first = [plain] if used and _is_own(shard, plain) else []
    known = [f"{plain}.{uid}" for uid in sorted(store.trust.uids)]
    named = list(dict.fromkeys([*first, *used, plain, *known]))
    yield from (name for name in named if name != own)
    if not store.trust.gids:
        return
    try:
        shard.file_status(plain)
        names = shard.names()
    except OSError:
        return
    beside = re.compile(re.escape(plain) + r"\.\d+")
    others = {name for name in names if beside.fullmatch(name)}
    yield from sorted(others - {own, *named})[:_MOST_BESIDE]


def _is_own(shard: Directory, name: str) -> bool:
    try:
        return shard.file_status(name).st_uid == trust.user_id()
    except OSError:
        return False


def _publisher(shard: Directory, name: str) -> str:
    try:
        return trust.user_name(shard.file_status(name).st_uid)
    except OSError:
        return "somebody"
