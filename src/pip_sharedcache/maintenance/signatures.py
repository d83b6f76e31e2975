"""Signatures of the derived data of a store: made, checked, deleted."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache import store as stores
from pip_sharedcache.errors import CannotCheck, DamagedEntry, NotSigned, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.retention import GRACE
from pip_sharedcache.model import Digest, identity_of
from pip_sharedcache.signing import (
    BUILD,
    BYTECODE,
    RESOLUTION,
    BuildStatement,
    BytecodeStatement,
    SignedData,
    Signers,
    Statement,
    sign,
)
from pip_sharedcache.signing.armor import read_envelope
from pip_sharedcache.store import Source, Store, StoredEntry, StoredSignature
from pip_sharedcache.store.built_wheels import read_build
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.layout import SHARDS, SIGNATURES

#: Seconds for which the resolution of a remote store is kept: index pages change.
_RESOLUTIONS = 7 * 24 * 3600


@dataclass(frozen=True)
class SignedEntry:
    """The result for one entry.

    ``item``: the entry.
    ``done``: whether it was signed now.
    ``why``: why it has no signature of the key, as a phrase; "" if it has one.
    """

    item: StoredEntry
    done: bool
    why: str = ""


@dataclass(frozen=True)
class CheckedSignature:
    """The result for one signature.

    ``signature``: the file.
    ``by``: the principal of the allowed signer who made it; "" if none did.
    ``why``: why it does not count, or is useless; "" if it serves.
    ``is_gone``: whether it is sound, but the data is gone.
    """

    signature: StoredSignature
    by: str
    why: str = ""
    is_gone: bool = False


def sign_entries(
    store: Store, items: Iterable[StoredEntry], key: Path
) -> Iterator[SignedEntry | None]:
    """Sign the bytecode and the build records in ``items`` of ``store`` with ``key``.

    Only those of publishers whom this user trusts are signed. Yields the result for each; None for
    one that has vanished meanwhile. An entry that ``key`` has signed already is not signed again: a
    hardware key asks for a touch each time. Raises SigningError, and NotPublished if the signatures
    cannot be written.
    """
    known = b""
    seen: set[tuple[str, str]] = set()
    for item in items:
        if item.damage or item.distrust_reason:
            who = trust.user_name(item.publisher)
            why = "damaged" if item.damage else f"{who} {item.distrust_reason}"
            yield SignedEntry(item, False, why)
            continue
        try:
            statement = _statement(item)
            text = statement.to_bytes()
        except FileNotFoundError:
            yield None
            continue
        except (DamagedEntry, OSError, ValueError, RecursionError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            yield SignedEntry(item, False, why)
            continue
        subject = statement.kind, statement.key
        if subject in seen:
            yield SignedEntry(item, False, "another entry for the same is signed")
            continue
        seen.add(subject)
        own = stores.own_signed(store, *subject)
        if own is not None and own.statement == text and _key_of(own.signature) == known != b"":
            yield SignedEntry(item, False)
            continue
        signature = sign(text, key)
        known = _key_of(signature)
        stores.write_signed(store, SignedData.of(statement, signature))
        yield SignedEntry(item, True)


def _key_of(signature: bytes) -> bytes:
    with suppress(ValueError):
        return read_envelope(signature).key
    return b""


def _statement(item: StoredEntry) -> Statement:
    """Return the statement about ``item``. Raises DamagedEntry, OSError."""
    with Directory.open(item.path) as held:
        status = held.status()
        if identity_of(status) != item.identity:
            raise FileNotFoundError
        if item.area == stores.BUILDS:
            build = read_build(held, item.identity)
            if build is None:
                raise DamagedEntry("it is no build record")
            return BuildStatement(item.digest, build.digest, build.filename, build.details)
        entry = read_entry(held, status, Digest(item.digest), item.area)
        with Source.of(entry, held.subdirectory(".")) as source:
            return stores.make_statement(entry, source)


def signed_builds(items: Iterable[StoredEntry], digests: set[str]) -> Iterator[StoredEntry]:
    """Yield those of the build records ``items`` that lead to a wheel with one of ``digests``."""
    for item in items:
        with suppress(DamagedEntry, OSError), Directory.open(item.path) as held:
            build = read_build(held, item.identity)
            if build is not None and build.digest in digests:
                yield item


def check_signatures(
    store: Store, signatures: Iterable[StoredSignature], signers: Signers
) -> Iterator[CheckedSignature | None]:
    """Check ``signatures`` of ``store``, and the signed bytes of every file.

    Yields the result for each; None for one that has vanished meanwhile. Raises CannotCheck.
    """
    for one in signatures:
        try:
            statement, signature = stores.check_stored(one, signers)
        except FileNotFoundError:
            yield None
            continue
        except CannotCheck:
            raise
        except NotSigned as error:
            yield CheckedSignature(one, "", str(error))
            continue
        why, is_gone = "", False
        if isinstance(statement, BytecodeStatement):
            why, is_gone = _fault(store, statement)
        yield CheckedSignature(one, signature.principal, why, is_gone)


def _fault(store: Store, statement: BytecodeStatement) -> tuple[str, bool]:
    """Return why no entry has the signed bytes, and whether there is no entry at all."""
    refusals = []
    for files in stores.find_unchecked(store, statement):
        with files:
            try:
                stores.check_signed(statement, files.read)
            except NotSigned as error:
                refusals.append(f"{files.path}: {error}")
            except OSError as error:
                refusals.append(f"{files.path}: {reason(error)}")
            else:
                return "", False
    return (refusals[0], False) if refusals else ("the store has no such bytecode", True)


def delete_signatures(store: Store, now: float) -> None:
    """Delete signatures of data that is gone, and old resolutions, as far as the system permits.

    ``now`` is as from usage_marks.now. All entries must be readable. Raises nothing: a signature
    that stays does no harm.
    """
    compiled, builds = (stores.names(store, area) for area in (stores.BYTECODE, stores.BUILDS))
    # Names end in the uid of a publisher who was not the first.
    there = {(BYTECODE, _without_uid(name)) for name in compiled}
    there |= {(BUILD, _without_uid(name)) for name in builds}
    for one in stores.list_signatures(store, []):
        subject = (one.kind, one.key.rpartition("-")[0] if one.kind == BYTECODE else one.key)
        known = one.kind in ("", BYTECODE, BUILD)  # others are of a later version
        is_old = one.kind == RESOLUTION and one.signed < now - _RESOLUTIONS
        if is_old or (known and one.signed < now - GRACE and subject not in there):
            with suppress(OSError), Directory.open(one.path.parent) as shard:
                shard.remove(one.path.name)
    for name in SHARDS:
        with suppress(OSError), store.opened(SIGNATURES, name) as (shard, *_):
            for left in (one for one in shard.names() if one.startswith(fs.NEW)):
                with suppress(OSError):
                    _delete_unfinished(shard, left, now)


def _delete_unfinished(shard: Directory, name: str, now: float) -> None:
    status = shard.file_status(name)
    mine = trust.user_id() in (0, status.st_uid)
    if mine and stat.S_ISREG(status.st_mode) and status.st_mtime < now - GRACE:
        shard.remove(name)


def _without_uid(name: str) -> str:
    stem, dot, end = name.rpartition(".")
    return stem if dot and end.isdecimal() else name
