"""Resolutions: recorded answers of pip's resolver and finder, below ``resolutions/``.

A resolution is a record (store.records): it leads from the digest of a question to what pip's
resolver looked at and chose, or (a judged page) to what pip's finder accepted of an index page. A
trusted publisher's resolution can name an old version as the only candidate, and nothing can be
checked against it: only those of trusted publishers are read. Everything that a resolution says is
checked by the run that replays it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.errors import (
    DamagedEntry,
    DirectoryMissing,
    NotWritable,
    ResolutionNotPublished,
)
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Identity, identity_of
from pip_sharedcache.store.built_wheels import NONE_YET
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.entry_trust import distrust_reason
from pip_sharedcache.store.layout import RESOLUTIONS, Store
from pip_sharedcache.store.records import read_record
from pip_sharedcache.store.staging import Staged, stage_record

#: The kinds of records. The only file of a record is ``<kind>.json``.
RESOLUTION, JUDGED_PAGE = "resolution", "page"
#: The version of the content of these files.
RESOLUTION_FORMAT = 1
#: The name of the value that says, with true, that everybody can get what a resolution rests on.
PUBLIC = "public"

_LARGEST = 8 << 20  # bytes of such a file, written or read
_MOST = 16  # names that one lookup opens: a group member can add any number
_MOST_LISTED = 10_000  # names in a shard that one lookup lists, for the same reason
_DAY = 24 * 3600  # seconds; no maintained clock is ahead by more


@dataclass(frozen=True)
class StoredResolution:
    """One resolution or judged page in a store, by a trusted publisher.

    ``data``: the JSON object in its file.
    ``record``: the device and inode of its entry.
    ``publisher``: the uid that owns the entry.
    ``at``: when it was recorded, in seconds since the epoch by the clock of the publisher.
    ``entry``: the entry, for its usage mark.
    """

    data: Mapping[str, Any]
    record: Identity
    publisher: int
    at: int
    entry: Entry


def find_resolutions(
    store: Store, key: Digest, without: Collection[Identity] = (), kind: str = RESOLUTION
) -> tuple[StoredResolution, ...]:
    """Return the records of a ``kind`` that trusted publishers made for ``key``, the newest first.

    ``without``: identities of resolutions that are not wanted. At most 16 names are read. Damaged
    resolutions are skipped: the contents of the store never cause an error.
    """
    found: dict[Identity, StoredResolution] = {}
    try:
        with store.opened(RESOLUTIONS, key[:2]) as chain:
            for name in itertools.islice(_names(store, key, chain[0]), _MOST):
                try:
                    with chain[0].subdirectory(name) as held:
                        status = held.status()
                        if identity_of(status) in without:
                            continue
                        if not distrust_reason(store, held, chain):
                            one = read_resolution(held, key, kind)
                            found[one.record] = one
                except (DamagedEntry, OSError, MemoryError):
                    continue
    except OSError:
        return ()
    now = time.time()
    return tuple(
        sorted(found.values(), key=lambda one: one.at if one.at < now + _DAY else 0, reverse=True)
    )


def _names(store: Store, key: Digest, shard: Directory) -> Iterator[str]:
    """Yield the names that resolutions for ``key`` can have: this user's, the plain one, others'.

    Names of uids that store.json does not list count only if the plain one exists and a group is
    trusted: the shard is listed then, since a long list must not slow down a miss.
    """
    own = f"{key}.{trust.user_id()}"
    listed = [f"{key}.{uid}" for uid in sorted(store.trust.uids)]
    named = dict.fromkeys([own, key, *listed])
    yield from named
    if not store.trust.gids:
        return
    beside = re.compile(re.escape(key) + r"\.\d+")
    try:
        shard.file_status(key)
        with os.scandir(shard.where) as names:
            first = [one.name for one in itertools.islice(names, _MOST_LISTED)]
    except OSError:
        return
    yield from sorted(name for name in first if beside.fullmatch(name) and name not in named)


def read_resolution(held: Directory, key: Digest, kind: str = RESOLUTION) -> StoredResolution:
    """Return the record of a ``kind`` in the open entry ``held``. Raises DamagedEntry, OSError."""
    status = held.status()
    entry = read_entry(held, status, key, RESOLUTIONS)
    data = read_record(held, f"{kind}.json", _LARGEST)
    if not isinstance(data, dict) or data.get("format") != RESOLUTION_FORMAT:
        raise DamagedEntry(f"{held.path} has no {kind} of format {RESOLUTION_FORMAT}")
    at = data.get("at")
    if not isinstance(at, int) or not 0 <= at < 1 << 50:
        raise DamagedEntry(f"{held.path} has a {kind} without its time")
    return StoredResolution(data, entry.identity, entry.publisher, at, entry)


def stage_resolution(
    store: Store,
    key: Digest,
    data: Mapping[str, Any],
    damaged: Collection[Identity] = (),
    replaces: Identity = NONE_YET,
    kind: str = RESOLUTION,
) -> Staged:
    """Stage a record of a ``kind`` for ``key``, which replaces those that are in the store already.

    ``data``: the JSON object for its file; ``format`` and ``at`` (now) are added if they are
    missing. ``damaged`` and ``replaces``: identities of resolutions that the run did not use. This
    user's own are replaced; beside another user's, this one gets a name of its own. A resolution
    that somebody publishes from now on is used instead of this one. Raises NotPublished:
    ResolutionNotPublished if this user may publish none here, or if ``data`` is too large.
    """
    data = {"format": RESOLUTION_FORMAT, "at": int(time.time()), **data}
    text = json.dumps(data, separators=(",", ":")).encode("ascii")
    if len(text) > _LARGEST:
        raise ResolutionNotPublished(f"a {kind} of {len(text)} bytes is too large to share")
    if store.group and not os.path.isdir(store.path / RESOLUTIONS):
        # Made by one member, it would have the modes of the store, and keep the others out.
        raise ResolutionNotPublished(f"{store.path} has no directory {RESOLUTIONS}")
    stale = {one.record for one in find_resolutions(store, key, kind=kind)} | {*damaged, replaces}

    def find_usable() -> Entry | None:
        return next((one.entry for one in find_resolutions(store, key, stale, kind)), None)

    try:
        return stage_record(store, RESOLUTIONS, key, f"{kind}.json", text, find_usable, stale)
    except (DirectoryMissing, NotWritable) as error:
        raise ResolutionNotPublished(error.message, error.hint) from error
