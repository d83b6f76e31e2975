"""Wheels that pip built from sources, and the build records that lead to them.

A store shares them only if its store.json has ``"builds": true``. An entry below ``builds/`` is a
build record: it links a source and its build inputs to a wheel, which lies below ``wheels/`` like
every other wheel. No digest exists to check a build record against, so only the build records of
trusted publishers are used.
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
from pip_sharedcache.model import Digest, Entry, Identity, as_digest, path_problem
from pip_sharedcache.store.entry_reading import open_entry
from pip_sharedcache.store.layout import BUILDS, Store
from pip_sharedcache.store.lookup import find_build_record
from pip_sharedcache.store.records import read_record
from pip_sharedcache.store.staging import Staged, stage_record

_NOTE = "build.json"
_LARGEST = 1 << 20  # bytes of a build.json
NONE_YET: Identity = (0, 0)


@dataclass(frozen=True)
class Build:
    """One built wheel, as a build record describes it.

    ``digest``: the sha256 of the wheel.
    ``filename``: the file name of the wheel.
    ``details``: JSON values: the source, the settings, the builder, the place and the time.
    ``record``: the identity of the build record; NONE_YET before it is written.
    ``damaged``: this user's damaged build record, which a new one replaces; NONE_YET if none.
    ``signed_by``: the allowed signer whose statement it is; "" for a record of a trusted publisher.
    """

    digest: Digest
    filename: str
    details: Mapping[str, Any]
    record: Identity = NONE_YET
    damaged: Identity = NONE_YET
    signed_by: str = ""


def key_of(settings: Mapping[str, Any]) -> Digest:
    """Return the key of a record: the sha256 of the JSON values that its content depends on."""
    text = json.dumps(settings, sort_keys=True)
    return Digest(hashlib.sha256(text.encode("utf-8")).hexdigest())


def find_build(store: Store, key: Digest, without: Iterable[Identity] = ()) -> Build | None:
    """Return the wheel that a trusted publisher built for ``key``, or None.

    ``without``: identities of build records that are known to be damaged. The contents of the store
    never cause an error.
    """
    return _find(store, key, without)[1]


def _find(
    store: Store, key: Digest, without: Iterable[Identity]
) -> tuple[Entry | None, Build | None]:
    """Return the entry of the build record for ``key`` and its content, or None twice.

    A damaged build record is skipped, and the search continues with those beside it.
    """
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
    """Return the content of the build record ``held``; None if it is invalid.

    A build record that differs from its manifest is invalid. Raises OSError.
    """
    try:
        data = read_record(held, _NOTE, _LARGEST)
        digest, filename, details = as_digest(data["sha256"]), data["filename"], data["details"]
    except (DamagedEntry, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(filename, str) or not filename.endswith(".whl") or "/" in filename:
        return None
    if digest is None or path_problem(filename) or not isinstance(details, dict):
        return None
    return Build(digest, filename, details, identity)


def stage_build(
    store: Store, key: Digest, build: Build, damaged: Collection[Identity] = ()
) -> Staged:
    """Stage a build record of ``build`` for ``key``. Raises NotPublished.

    A build record that is invalid, or whose identity is in ``damaged``, does not prevent this.
    """
    data = {"sha256": build.digest, "filename": build.filename, "details": build.details}
    text = json.dumps(data, indent=1, ensure_ascii=False).encode("utf-8")
    return stage_record(
        store, BUILDS, key, _NOTE, text, lambda: _find(store, key, damaged)[0], damaged
    )
