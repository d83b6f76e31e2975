"""Looking up an entry by digest: what is there, whether it is whole, whether it is believed.

Takes no lock and writes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import trust, wheel
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.linker import Directory
from pip_sharedcache.model import Digest, Entry, Manifest
from pip_sharedcache.store.layout import BYTECODE, WHEELS, Store

MANIFEST = "entry.json"

#: Any member may put names beside an entry; so many are looked at and spoken of, no more.
_MOST_BESIDE = 16


@dataclass(frozen=True)
class Found:
    """What looking up a digest gave: a usable ``entry``, or one of an ``untrusted`` publisher
    (whose wheel may be copied and checked), and why others were passed over (``objections``)."""

    entry: Entry | None = None
    untrusted: Entry | None = None
    objections: tuple[str, ...] = ()


def find(store: Store, digest: Digest, filename: str) -> Found:
    """Look for the wheel ``filename`` with this ``digest``. Never raises for what lies there.

    A wheel of the same bytes under another file name is not taken: pip reads tags and build
    number off the name.
    """
    return _search(store, WHEELS, digest, digest, filename)


def find_bytecode(store: Store, digest: Digest, tag: str, interpreter: str) -> Found:
    """Look for the bytecode that lies under ``tag`` for the wheel ``digest``, and was made for
    exactly ``interpreter``. Only a usable entry counts: derived data cannot be checked."""
    return Found(_search(store, BYTECODE, digest, f"{digest}.{tag}", interpreter).entry)


def _search(store: Store, area: str, digest: Digest, plain: str, filename: str) -> Found:
    objections: list[str] = []
    untrusted: Entry | None = None
    with ExitStack() as stack:
        try:
            top = stack.enter_context(Directory.open(store.path))
            shards = stack.enter_context(top.subdirectory(area))
            shard = stack.enter_context(shards.subdirectory(digest[:2]))
            chain = (shard.status(), shards.status(), top.status())
        except OSError:
            return Found()
        for name in _candidates(store, plain, shard):
            try:
                with shard.subdirectory(name) as held:
                    status = held.status()
                    objection = store.trust.objection(status, chain)
                    if not objection and status.st_uid not in store.trust.uids:
                        objection = trust.access_list_objection(shard.descriptor)
                    entry = _read_entry(held, status, digest)
                    if area == WHEELS:
                        _check_wheel(held, entry)
            except FileNotFoundError:
                continue
            except OSError as error:
                objections.append(f"{shard.path / name} cannot be read: {reason(error)}")
                continue
            except DamagedEntry as error:
                objections.append(f"{error} (published by {_publisher(shard, name)})")
                continue
            if entry.manifest.filename != filename:
                continue
            if not objection:
                return Found(entry)
            who = trust.user_name(entry.publisher)
            objections.append(
                f"wheels of {who} in {store.path} are checked in a copy, since {who} {objection}"
            )
            untrusted = untrusted or entry
    return Found(None, untrusted, tuple(objections))


def hold(entry: Entry) -> Directory:
    """Open an entry that ``find`` or ``publish`` gave; the caller closes it.

    Raises DamagedEntry if it is gone or another one has taken its place.
    """
    try:
        held = Directory.open(entry.path)
    except OSError as error:
        raise DamagedEntry(f"{entry.path} cannot be opened: {reason(error)}") from error
    status = held.status()
    if (status.st_dev, status.st_ino) != entry.identity:
        held.close()
        raise DamagedEntry(f"{entry.path} was replaced while it was in use")
    return held


def is_damaged(path: Path, digest: Digest) -> bool:
    """Whether what lies at ``path`` is no whole entry of the wheel ``digest``, whoever owns it.

    Reads the whole wheel: asked only where a name is taken.
    """
    try:
        with Directory.open(path) as held:
            entry = _read_entry(held, held.status(), digest)
            _check_wheel(held, entry)
            return wheel.digest_of(entry.wheel)[0] != digest
    except (DamagedEntry, OSError):
        return True


def _candidates(store: Store, plain: str, shard: Directory) -> Iterator[str]:
    """Names under which the entry may lie: the plain one, then those beside it.

    Others than those of known uids are looked for only where the plain one exists and the
    group is trusted. A shard is listed last of all: it grows with the store, and neither a hit
    nor a miss is to take longer for that.
    """
    yield plain
    known = [f"{plain}.{uid}" for uid in sorted(store.trust.uids)]
    yield from known
    if not store.trust.gids:
        return
    try:
        shard.file_status(plain)
    except OSError:
        return
    beside = re.compile(re.escape(plain) + r"\.\d+")
    others = {name for name in shard.names() if beside.fullmatch(name)}
    yield from sorted(others - set(known))[:_MOST_BESIDE]


def _read_entry(held: Directory, status: os.stat_result, digest: Digest) -> Entry:
    """Read and check an entry's manifest. Raises DamagedEntry, OSError."""
    try:
        text, record = held.read(MANIFEST)
        manifest = Manifest.from_json(text)
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its manifest") from error
    except ValueError as error:
        raise DamagedEntry(f"{held.path / MANIFEST} is damaged: {error}") from error
    plain = manifest.filename.isprintable() and "/" not in manifest.filename
    if manifest.digest != digest or not plain:
        raise DamagedEntry(f"{held.path / MANIFEST} speaks of another wheel")
    _check_owner(held, MANIFEST, record, status)
    return Entry(held.path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _check_wheel(held: Directory, entry: Entry) -> None:
    """Raise DamagedEntry if the wheel in the entry is not there as the manifest says."""
    name = entry.manifest.filename
    try:
        status = held.file_status(name)
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its wheel") from error
    _check_owner(held, name, status, held.status())
    metadata = [file for file in entry.manifest.files if file.path.endswith(".dist-info/METADATA")]
    if not metadata:
        raise DamagedEntry(f"{held.path / MANIFEST} does not list the wheel's files")
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.manifest.size:
        raise DamagedEntry(f"{held.path / name} is not the wheel that was published")
    if int(status.st_mtime) != metadata[0].mtime:  # all of an entry has one time
        raise DamagedEntry(f"{held.path / name} was changed after it was published")


def _check_owner(held: Directory, name: str, one: os.stat_result, entry: os.stat_result) -> None:
    if trust.OWNERS_MEAN_SOMETHING and one.st_uid != entry.st_uid:
        raise DamagedEntry(f"{held.path / name} belongs to {trust.user_name(one.st_uid)}")
    if trust.writable_by_others(one):
        raise DamagedEntry(f"{held.path / name} may be written by others than its owner")


def _publisher(shard: Directory, name: str) -> str:
    try:
        return trust.user_name(shard.file_status(name).st_uid)
    except OSError:
        return "somebody"
