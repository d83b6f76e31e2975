"""The names that a store has in its areas; all others are of other programs."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from pip_sharedcache import fs
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.layout import AREAS, DEAD, SHARDS, SIGNATURES, USE
from pip_sharedcache.store.usage_marks import ENTRY_NAME

#: How the names of unfinished files begin: ours, and an NFS client's.
UNFINISHED = (fs.NEW, ".nfs")
#: The directories of a store.
STORE_AREAS = (*AREAS, SIGNATURES, USE)


def misplaced(top: Directory) -> Iterator[str]:
    """Yield each path below the areas that has not the form of a store's. Raises OSError."""
    for area in STORE_AREAS:
        try:
            held = top.subdirectory(area)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            yield area
            continue
        with held:
            for name in held.names():
                if not is_of_area(area, name):
                    yield f"{area}/{name}"
                elif area != USE and name in SHARDS:
                    yield from (f"{area}/{name}/{one}" for one in _misplaced_in(held, name))


def _misplaced_in(held: Directory, name: str) -> list[str]:
    if not stat.S_ISDIR(held.file_status(name).st_mode):
        return [""]
    with held.subdirectory(name) as shard:
        return [one for one in shard.names() if not is_of_shard(one)]


def is_of_area(area: str, name: str) -> bool:
    """Return whether a store has files of this ``name`` in ``area``, one of STORE_AREAS."""
    shard = name.isascii() and name.isdecimal() if area == USE else name in SHARDS
    return shard or name.startswith(UNFINISHED)


def is_of_shard(name: str) -> bool:
    return ENTRY_NAME.fullmatch(name) is not None or name.startswith((DEAD, *UNFINISHED))
