"""Lookup of entries by digest, with the checks that they are complete and trusted.

Takes no lock and writes nothing.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import MOST_MANIFEST, Digest, Entry, Identity, Manifest, megabytes
from pip_sharedcache.store import bytecode_paths
from pip_sharedcache.store.layout import BYTECODE, DEAD, WHEELS, Store
from pip_sharedcache.store.usage_marks import OWNERS_FAULT, used_beside
from pip_sharedcache.trust import access_lists

logger = logging.getLogger(__name__)

MANIFEST = "entry.json"
#: The file name that the manifest of a build record gives.
BUILD_RECORD = "note"

#: Names of other users that a lookup reads beside an entry: a group member can add any number.
_MOST_BESIDE = 16


@dataclass(frozen=True)
class LookupResult:
    """The result of a lookup.

    ``entry``: the usable entry, or None.
    ``untrusted``: an entry whose wheel may be copied and checked: untrusted or damaged.
    ``distrust_reasons``: why entries of other publishers were not used.
    ``damages``: the damage of other entries, with their publishers.
    ``unreadable``: entries that the disk or the file server failed to read.
    ``own``: a damaged entry of this user that was skipped, and its damage.
    """

    entry: Entry | None = None
    untrusted: Entry | None = None
    distrust_reasons: tuple[str, ...] = ()
    damages: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    own: tuple[Entry, str] | None = None


def find(
    store: Store, digest: Digest, filename: str, without: Container[Identity] = ()
) -> LookupResult:
    """Look for the wheel ``filename`` with this ``digest``; damaged entries never raise an error.

    ``without``: identities of entries known to be damaged. The same bytes under another file name
    do not count: pip reads tags and the build number from the name.
    """
    return _search(store, WHEELS, digest, digest, filename, without)


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

    found = _search(store, BYTECODE, digest, f"{digest}.{tag}", interpreter, without, check)
    return LookupResult(found.entry, damages=found.damages + found.unreadable, own=found.own)


def find_build_record(
    store: Store, area: str, key: Digest, without: Container[Identity] = ()
) -> LookupResult:
    """Look for an entry of ``stage_build_record`` in ``area``; only a usable one counts."""
    found = _search(store, area, key, key, BUILD_RECORD, without)
    return LookupResult(found.entry, own=found.own)


def _search(
    store: Store,
    area: str,
    digest: Digest,
    plain: str,
    filename: str,
    without: Container[Identity],
    check: Callable[[Entry], None] = lambda entry: None,
) -> LookupResult:
    reasons: list[str] = []
    untrusted: Entry | None = None
    damages: list[str] = []
    unreadable: list[str] = []
    own: tuple[Entry, str] | None = None
    with ExitStack() as stack:
        try:
            chain = stack.enter_context(store.opened(area, digest[:2]))
            shard = chain[0]
        except OSError:
            return LookupResult()
        for name in _candidates(store, plain, shard):
            try:
                with shard.subdirectory(name) as held:
                    status = held.status()
                    if (status.st_dev, status.st_ino) in without:
                        continue
                    if objection := distrust_reason(store, held, chain):
                        # Of an untrusted entry, read the wheel alone, which is checked: a manifest
                        # of 60 MB of brackets would take the time and memory of every user.
                        if area != WHEELS:
                            continue
                        alone = _wheel_alone(held, status, digest, filename)
                        if alone is not None:
                            who = trust.user_name(status.st_uid)
                            if not store.trust.unknown:  # the run itself warns of this once
                                reasons.append(
                                    f"wheels of {who} in {store.path} are checked in a copy, "
                                    f"since {who} {objection}"
                                )
                            untrusted = untrusted or alone
                        continue
                    try:
                        entry = read_entry(held, status, digest, area)
                        if entry.manifest.filename == filename:
                            check(entry)
                    except (DamagedEntry, OSError) as error:
                        untrusted = untrusted or _wheel_alone(held, status, digest, filename)
                        if status.st_uid == trust.user_id() and _is_of_entry(error):
                            mine = _nameless(held, status, digest, filename)
                            own = own or (mine, _what(error, held.path))
                        raise
            except FileNotFoundError:
                continue
            except (DamagedEntry, OSError) as error:
                if isinstance(error, OSError) and error.errno in fs.PROCESS_ERRORS:
                    logger.debug("Not looked at: %s: %s", shard.path / name, reason(error))
                    continue
                who = _publisher(shard, name)
                of_disk = isinstance(error, OSError) and error.errno in fs.DISK_ERRORS
                lines = unreadable if of_disk else damages
                lines.append(f"{_what(error, shard.path / name)} (published by {who})")
                continue
            if entry.manifest.filename != filename:
                continue
            # A debug line, since a warning at every installation would be noise.
            for other in (*reasons, *damages, *unreadable):
                logger.debug("Passed over in the shared store: %s", other)
            return LookupResult(entry, own=own)
    return LookupResult(None, untrusted, tuple(reasons), tuple(damages), tuple(unreadable), own)


def distrust_reason(store: Store, entry: Directory, chain: Sequence[Directory]) -> str:
    """Return why ``entry`` in ``chain`` (shard to store) is not trusted, or "". Raises OSError."""
    status = entry.status()
    objection = store.trust.distrust_reason(status, tuple(one.status() for one in chain))
    if objection or not trust.OWNERS_MEAN_SOMETHING:
        return objection
    # Files in the entry inherit from its access list: one check covers all of them.
    if theirs := access_lists.foreign_writers(entry.where, status.st_mode, inherited=True):
        return f"published what {theirs}"
    if status.st_uid in store.trust.uids:
        return ""
    for one in chain:
        if theirs := access_lists.foreign_publishers(one.where):
            return f"published in a directory that {theirs}"
    return ""


def _is_of_entry(error: DamagedEntry | OSError) -> bool:
    """Return whether the entry caused ``error``, not this process or the disk."""
    return isinstance(error, DamagedEntry) or error.errno in OWNERS_FAULT


def _what(error: DamagedEntry | OSError, path: Path) -> str:
    if isinstance(error, DamagedEntry):
        return str(error)
    return f"{path} cannot be read: {reason(error)}"


def _nameless(held: Directory, status: os.stat_result, digest: Digest, filename: str) -> Entry:
    """Return the damaged entry in ``held``; only its path and owner are known."""
    manifest = Manifest(filename, digest, 0, ())
    return Entry(held.path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _wheel_alone(
    held: Directory, status: os.stat_result, digest: Digest, filename: str
) -> Entry | None:
    """Return the entry reduced to its wheel; None if ``held`` has no regular file ``filename``."""
    try:
        wheel_status = held.file_status(filename)
    except OSError:
        return None
    if not stat.S_ISREG(wheel_status.st_mode):
        return None
    manifest = Manifest(filename, digest, wheel_status.st_size, ())
    return Entry(held.path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def replaceable_by(store: Store, entry: Entry) -> str:
    """Return who may replace ``entry`` (Trust.replaceable_by); "" if no other user may."""
    shard = entry.path.parent
    way = (shard, shard.parent, store.path)
    try:
        status = tuple(map(os.stat, way))
        if who := store.replaceable_by or store.trust.replaceable_by(status):
            return who
        for path, one in zip(way, status) if trust.OWNERS_MEAN_SOMETHING else ():
            if theirs := access_lists.foreign_writers(path, one.st_mode):
                return f"{path} {theirs}"
        return ""
    except OSError as error:
        return f"{shard} cannot be looked at: {reason(error)}"


def open_entry(entry: Entry) -> Directory:
    """Open ``entry``; the caller closes it. Raises DamagedEntry if it was deleted or replaced."""
    try:
        held = Directory.open(entry.path)
    except OSError as error:
        raise DamagedEntry(f"{entry.path} cannot be opened: {reason(error)}") from error
    status = held.status()
    if (status.st_dev, status.st_ino) != entry.identity:
        held.close()
        raise DamagedEntry(f"{entry.path} was replaced while it was in use")
    return held


def copy_wheel(entry: Entry, target: Path) -> bool:
    """Copy the wheel of an untrusted ``entry`` to the new ``target``; return whether it matches.

    If the copy does not have the digest, ``target`` is deleted. Raises DamagedEntry, OSError.
    """
    name = entry.manifest.filename
    with open_entry(entry) as held:
        source = os.fdopen(held.open_file(name), "rb")
    with source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode) or is_sparse(status):
            return False
        # An untrusted file of any size must not fill the disk before the check of its digest.
        if status.st_size > shutil.disk_usage(target.parent).free // 2:
            size = megabytes(status.st_size)
            raise DamagedEntry(
                f"{entry.wheel} has {size}: half the room in {target.parent} is less"
            )
        with fs.create_file(target, 0o600) as copy:
            left = status.st_size  # a file that grows during the copy would fill the disk
            for block in wheel.blocks(source):
                fs.write_all(copy, block[:left])
                left -= len(block)
                if left <= 0:
                    break
    if wheel.digest_of(target)[0] == entry.manifest.digest:
        return True
    target.unlink()
    return False


def is_sparse(status: os.stat_result) -> bool:
    """Return whether a file is mostly holes: no wheel is, but a planted file can fill the disk."""
    return hasattr(status, "st_blocks") and status.st_blocks * 512 < status.st_size // 2


def find_retired(entry: Entry) -> Entry | None:
    """Return the retired ``entry`` at its present path; None if it was deleted."""
    for path in entry.path.parent.glob(f"{DEAD}{entry.path.name}-*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == entry.identity:
            return replace(entry, path=path)
    return None


def is_damaged(path: Path, digest: Digest) -> bool:
    """Return whether ``path`` holds no complete entry of the wheel ``digest``, of any owner.

    Reads the whole wheel, so callers ask only if a name is taken.
    """
    try:
        with Directory.open(path) as held:
            entry = read_entry(held, held.status(), digest, WHEELS)
            return wheel.digest_of(entry.wheel)[0] != digest
    except DamagedEntry:
        return True
    except OSError as error:
        return error.errno not in fs.PROCESS_ERRORS


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
    except OSError:
        return
    beside = re.compile(re.escape(plain) + r"\.\d+")
    others = {name for name in shard.names() if beside.fullmatch(name)}
    yield from sorted(others - {own, *named})[:_MOST_BESIDE]


def _is_own(shard: Directory, name: str) -> bool:
    try:
        return shard.file_status(name).st_uid == trust.user_id()
    except OSError:
        return False


def read_manifest(held: Directory) -> tuple[Manifest, os.stat_result]:
    """Return the manifest of a held entry and its file's status. Raises DamagedEntry, OSError."""
    try:
        text, status = held.read(MANIFEST, MOST_MANIFEST)
        return Manifest.from_json(text), status
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its manifest") from error
    except ValueError as error:
        raise DamagedEntry(f"{held.path / MANIFEST} is damaged: {error}") from error
    except MemoryError as error:  # raised at the limit of a batch job (ulimit -v)
        raise DamagedEntry(f"{held.path / MANIFEST} takes more memory than there is") from error


def wheel_name(held: Directory) -> str:
    """Return the name of the only ``.whl`` file in a held entry, or "". Raises OSError."""
    names = [name for name in held.names() if name.endswith(".whl")]
    return names[0] if len(names) == 1 else ""


def read_entry(held: Directory, status: os.stat_result, digest: Digest, area: str) -> Entry:
    """Return the held entry after checks of manifest and wheel. Raises DamagedEntry, OSError."""
    manifest, record = read_manifest(held)
    if manifest.digest != digest:
        raise DamagedEntry(f"{held.path / MANIFEST} speaks of another wheel")
    # All files of an entry have one time; another time shows a modification.
    if manifest.files and not fs.has_time(record, manifest.files[0].mtime):
        raise DamagedEntry(f"{held.path / MANIFEST} was changed after it was published")
    _check_owner(held, MANIFEST, record, status)
    entry = Entry(held.path, status.st_uid, (status.st_dev, status.st_ino), manifest)
    if area == WHEELS:
        _check_wheel(held, entry)
    return entry


def _check_wheel(held: Directory, entry: Entry) -> None:
    """Raise DamagedEntry if the wheel in the entry does not match the manifest."""
    name = entry.manifest.filename
    try:
        status = held.file_status(name)
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its wheel") from error
    _check_owner(held, name, status, held.status())
    metadata = entry.manifest.metadata
    if metadata is None:
        raise DamagedEntry(f"{held.path / MANIFEST} does not list the wheel's files")
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.manifest.size:
        raise DamagedEntry(f"{held.path / name} is not the wheel that was published")
    if not fs.has_time(status, metadata.mtime):  # all files of an entry have one time
        raise DamagedEntry(f"{held.path / name} was changed after it was published")


def _check_owner(held: Directory, name: str, one: os.stat_result, entry: os.stat_result) -> None:
    if trust.OWNERS_MEAN_SOMETHING and one.st_uid != entry.st_uid:
        raise DamagedEntry(f"{held.path / name} belongs to {trust.user_name(one.st_uid)}")
    if objection := trust.mode_distrust_reason(one):
        raise DamagedEntry(f"{held.path / name} {objection}")


def _publisher(shard: Directory, name: str) -> str:
    try:
        return trust.user_name(shard.file_status(name).st_uid)
    except OSError:
        return "somebody"
