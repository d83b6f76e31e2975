"""Trust in an entry, and in the directories above it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pip_sharedcache import trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Entry
from pip_sharedcache.store.layout import Store
from pip_sharedcache.trust import access_lists


def distrust_reason(store: Store, entry: Directory, chain: Sequence[Directory]) -> str:
    """Return why ``entry`` in ``chain`` (shard to store) is not trusted, or "". Raises OSError."""
    status = entry.status()
    why = store.trust.distrust_reason(status, tuple(one.status() for one in chain))
    if why or not trust.OWNERS_MEAN_SOMETHING:
        return why
    # Files in the entry inherit from its access list: one check covers all of them.
    if theirs := access_lists.foreign_writers(entry.where, status.st_mode, inherited=True):
        return f"published what {theirs}"
    if status.st_uid in store.trust.uids:
        return ""
    for one in chain:
        if theirs := access_lists.foreign_publishers(one.where):
            return f"published in a directory that {theirs}"
    return ""


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
