"""Trust in an entry, and in the directories above it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence

from pip_sharedcache import trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Entry
from pip_sharedcache.store.layout import Store
from pip_sharedcache.trust import access_lists

#: Directories whose access lists let no others write: the question, the directory, and the time of
#: its last change, which a change of the list sets. A file server is asked for each list once.
_closed: set[tuple[str, int, int, int]] = set()


def distrust_reason(store: Store, entry: Directory, chain: Sequence[Directory]) -> str:
    """Return why ``entry`` in ``chain`` (shard to store) is not trusted, or "". Raises OSError."""
    status = entry.status()
    why = store.trust.distrust_reason(status, tuple(one.status() for one in chain))
    if why or not trust.OWNERS_MEAN_SOMETHING:
        return why
    # Files in the entry inherit from its access list: one check covers all of them.
    inherited = functools.partial(
        access_lists.foreign_writers, entry.where, status.st_mode, inherited=True
    )
    if theirs := _ask_once("inherited", status, inherited):
        return f"published what {theirs}"
    if status.st_uid in store.trust.uids:
        return ""
    for one in chain:
        publishers = functools.partial(_foreign_publishers, one)
        if theirs := _ask_once("publishers", one.status(), publishers):
            return f"published in a directory that {theirs}"
    return ""


def _foreign_publishers(one: Directory) -> str:
    with one.subdirectory(os.curdir) as readable:  # the list of a mere place cannot be read
        return access_lists.foreign_publishers(readable.where)


def _ask_once(question: str, status: os.stat_result, ask: Callable[[], str]) -> str:
    """Return the answer of ``ask`` about the directory with ``status``; "" is remembered."""
    key = question, status.st_dev, status.st_ino, status.st_ctime_ns
    answer = "" if key in _closed else ask()
    if not answer:
        _closed.add(key)
    return answer


def replaceable_by(store: Store, entry: Entry) -> str:
    """Return who may replace ``entry`` (Trust.replaceable_by); "" if no other user may."""
    shard = entry.path.parent
    way = (shard, shard.parent, store.path)
    try:
        status = tuple(map(os.stat, way))
        if who := store.replaceable_by or store.trust.replaceable_by(status):
            return who
        for path, one in zip(way, status) if trust.OWNERS_MEAN_SOMETHING else ():
            writers = functools.partial(access_lists.foreign_writers, path, one.st_mode)
            if theirs := _ask_once("writers", one, writers):
                return f"{path} {theirs}"
        return ""
    except OSError as error:
        return f"{shard} cannot be looked at: {reason(error)}"
