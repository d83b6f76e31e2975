"""Wheels that were built here: which wheel in the store was made from which source, how, by whom.

Only where the store's owner allows it (``"builds": true`` in store.json). What is kept below
``builds/`` is a note that leads from the source and the settings to a wheel, which lies where all
wheels do. It cannot be checked against a digest, so only a trusted publisher's is followed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.linker import Directory
from pip_sharedcache.model import Digest, Identity, as_digest
from pip_sharedcache.store.layout import BUILDS, Store
from pip_sharedcache.store.lookup import find_note, hold
from pip_sharedcache.store.publish import Staged, stage_note

_NOTE = "build.json"
NONE_YET: Identity = (0, 0)


@dataclass(frozen=True)
class Build:
    """One built wheel: its digest and file name, and ``details`` (JSON values): from which source,
    with which settings, who built it, where and when. ``note``: which one says so, NONE_YET before
    it is written."""

    digest: Digest
    filename: str
    details: Mapping[str, Any]
    note: Identity = NONE_YET


def key_of(settings: Mapping[str, Any]) -> Digest:
    """What a build is looked up by: ``settings`` are JSON values, all that it depends on."""
    text = json.dumps(settings, sort_keys=True)
    return Digest(hashlib.sha256(text.encode("utf-8")).hexdigest())


def find_build(store: Store, key: Digest, without: Container[Identity] = ()) -> Build | None:
    """What a trusted publisher built for ``key``, if anything. Never raises for what lies there."""
    entry = find_note(store, BUILDS, key, without).entry
    if entry is None:
        return None
    try:
        with hold(entry) as held:
            return read_build(held, entry.identity)
    except (DamagedEntry, OSError):
        return None  # built again, which costs no more than if it were not there


def read_build(held: Directory, identity: Identity) -> Build | None:
    """What the note ``held`` says; None where that is nothing. Raises OSError."""
    try:
        data: Any = json.loads(held.read(f"files/{_NOTE}", limit=1 << 20)[0])
        digest, filename, details = as_digest(data["sha256"]), data["filename"], data["details"]
    except (DamagedEntry, ValueError, KeyError, TypeError, RecursionError):
        return None
    plain = isinstance(filename, str) and filename.endswith(".whl") and "/" not in filename
    if digest is None or not plain or not isinstance(details, dict):
        return None
    return Build(digest, filename, details, identity)


def stage_build(
    store: Store, key: Digest, build: Build, damaged: Container[Identity] = ()
) -> Staged:
    """Note what was built for ``key``; a note of an identity in ``damaged`` does not stand in its
    way. Raises NotPublished."""
    data = {"sha256": build.digest, "filename": build.filename, "details": build.details}
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return stage_note(store, BUILDS, key, _NOTE, text.encode("utf-8"), damaged)
