"""Wheels that were built here: which wheel in the store was made from which source, how, by whom.

Only where the store's owner allows it (``"builds": true`` in store.json). What is kept below
``builds/`` is a note that leads from the source and the settings to a wheel, which lies where all
wheels do. It cannot be checked against a digest, so only a trusted publisher's is followed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Digest, Entry, Identity, as_digest
from pip_sharedcache.store.layout import BUILDS, Store
from pip_sharedcache.store.lookup import find_build_record, open_entry, read_manifest
from pip_sharedcache.store.staging import Staged, stage_build_record

_NOTE = "build.json"
NONE_YET: Identity = (0, 0)


@dataclass(frozen=True)
class Build:
    """One built wheel: its digest and file name, and ``details`` (JSON values): from which source,
    with which settings, who built it, where and when. ``record``: which one says so, NONE_YET
    before it is written. ``damaged``: a note of this user's that does not, and is to be
    replaced."""

    digest: Digest
    filename: str
    details: Mapping[str, Any]
    record: Identity = NONE_YET
    damaged: Identity = NONE_YET


def key_of(settings: Mapping[str, Any]) -> Digest:
    """What a build is looked up by: ``settings`` are JSON values, all that it depends on."""
    text = json.dumps(settings, sort_keys=True)
    return Digest(hashlib.sha256(text.encode("utf-8")).hexdigest())


def find_build(store: Store, key: Digest, without: Iterable[Identity] = ()) -> Build | None:
    """What a trusted publisher built for ``key``, if anything. Never raises for what lies there."""
    return _find(store, key, without)[1]


def _find(
    store: Store, key: Digest, without: Iterable[Identity]
) -> tuple[Entry | None, Build | None]:
    """The note for ``key`` and what it says; damaged ones are passed over for those beside them."""
    passed, damaged = set(without), NONE_YET
    while (entry := (found := find_build_record(store, BUILDS, key, passed)).entry) is not None:
        if found.own is not None:
            damaged = found.own[0].identity
        try:
            with open_entry(entry) as held:
                build = read_build(held, entry.identity)
        except (DamagedEntry, OSError):
            build = None
        if build is not None:
            return entry, replace(build, damaged=damaged)
        passed.add(entry.identity)
        if entry.publisher == trust.user_id():
            damaged = entry.identity
    return None, None


def read_build(held: Directory, identity: Identity) -> Build | None:
    """What the note ``held`` says; None where that is nothing, or not what its manifest tells of.
    Raises OSError."""
    try:
        text = held.read(f"files/{_NOTE}")[0]
        told = {file.path: file.sha256 for file in read_manifest(held)[0].files}
        if told.get(_NOTE) != hashlib.sha256(text).hexdigest():
            return None
        data: Any = json.loads(text)
        digest, filename, details = as_digest(data["sha256"]), data["filename"], data["details"]
    except (DamagedEntry, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    plain = isinstance(filename, str) and filename.endswith(".whl") and "/" not in filename
    if digest is None or not plain or not isinstance(details, dict):
        return None
    return Build(digest, filename, details, identity)


def stage_build(
    store: Store, key: Digest, build: Build, damaged: Collection[Identity] = ()
) -> Staged:
    """Note what was built for ``key``; a note of an identity in ``damaged``, or one that says
    nothing, does not stand in its way. Raises NotPublished."""
    data = {"sha256": build.digest, "filename": build.filename, "details": build.details}
    text = json.dumps(data, indent=1, ensure_ascii=False).encode("utf-8")
    return stage_build_record(
        store, BUILDS, key, _NOTE, text, lambda: _find(store, key, damaged)[0], damaged
    )
