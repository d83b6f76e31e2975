"""Who used what, and when: what garbage collection goes by.

Below ``use/<uid>/`` each user has an empty file for each entry they use: when it was made says when
that was, by the file system's own clock, which no user sets, and the same for all hosts. Files are
replaced, never written in place; a store that may not be written is used without.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.fs import NEW, Directory
from pip_sharedcache.model import Policy
from pip_sharedcache.store.layout import USE, Store

#: What entries are called.
ENTRY_NAME = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9_.-]+)?")

#: Seconds. A mark that is no older is not made anew.
FRESH = 600

_CLOCK = ".clock"
#: A FIFO, a huge file, a link, a file kept from others: in place of a note, it notes nothing.
OWNERS_FAULT = frozenset(
    {errno.EINVAL, errno.EFBIG, errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENXIO, errno.EISDIR}
)


@dataclass(frozen=True)
class UsageMark:
    """An entry was used: ``when``, in seconds since the epoch, and by whose uid."""

    when: float
    user: int


def now(store: Store) -> float:
    """Seconds since the epoch by the clock that the times in ``store`` are of: its file server's.
    By our own where we may not write there, and so may take nothing away."""
    if store.policy is Policy.READ_ONLY:
        return time.time()
    try:
        with store.own_usage_marks() as held:
            held.replace(_CLOCK)
            return held.file_status(_CLOCK).st_ctime
    except OSError:
        return time.time()


def mark_used(store: Store, names: Iterable[str]) -> None:
    """Note that this user uses the entries called ``names`` now. Raises OSError: EEXIST where
    somebody else has taken the place for this user's marks."""
    with store.own_usage_marks() as held:
        for name in names:
            try:
                age = time.time() - held.file_status(name).st_ctime
            except FileNotFoundError:
                age = -1
            if not 0 <= age < FRESH:  # a clock of ours that is wrong costs no more than this
                held.replace(name)


def last_uses(store: Store) -> dict[str, UsageMark]:
    """The last use of each entry that is marked, by the entry's name."""
    latest: dict[str, UsageMark] = {}
    for user, held in users(store):
        for name, when in _marks(user, held):
            if name not in latest or latest[name].when < when:
                latest[name] = UsageMark(when, user)
    return latest


def used_beside(store: Store, plain: str) -> tuple[str, ...]:
    """Names of the kind ``<plain>.<uid>`` that this user has used: the user met a damaged or
    untrusted entry called ``plain``. The marks are read once per run. Never raises."""
    if store.used_beside is None:
        found: dict[str, list[str]] = {}
        try:
            with store.opened(USE, str(trust.user_id())) as (held, *_):
                for name in filter(ENTRY_NAME.fullmatch, held.names()):
                    head, _, tail = name.rpartition(".")
                    if tail.isdigit():
                        found.setdefault(head, []).append(name)
        except OSError:
            found = {}  # this user has marked nothing yet
        store.used_beside = {head: tuple(sorted(names)) for head, names in found.items()}
    return store.used_beside.get(plain, ())


def uses(store: Store, name: str) -> list[UsageMark]:
    """The last use of the entry ``name`` by each user, the latest first."""
    found = [
        UsageMark(when, user)
        for user, held in users(store)
        if (when := _when(user, held, name)) is not None
    ]
    return sorted(found, key=lambda use: use.when, reverse=True)


def forget(store: Store, present: Collection[str], before: float) -> None:
    """Delete marks that say nothing any more, this user's own (as root: everybody's): from
    ``before`` that time, for entries of which none is ``present``. Never raises: what is left over
    is met again by the next run."""
    for user, held in users(store):
        if trust.user_id() not in (0, user):
            continue
        stale = [
            name
            for name in held.names()
            if name not in present
            and (ENTRY_NAME.fullmatch(name) or name.startswith(NEW))
            and (_when(user, held, name) or before) < before
        ]
        for name in stale:
            with contextlib.suppress(OSError):
                held.remove(name)


def squatters(store: Store) -> list[tuple[Path, int, int]]:
    """Directories for the marks of one user that belong to another, who thereby keeps that user's
    from being noted: path, the uid that it is for, and the one it belongs to."""
    return [
        (store.path / USE / name, int(name), status.st_uid)
        for name, status in _directories(store)
        if trust.OWNERS_MEAN_SOMETHING and status.st_uid != int(name)
    ]


def _directories(store: Store) -> Iterator[tuple[str, os.stat_result]]:
    """What lies where the marks of users belong: name, and status."""
    try:
        with store.opened(USE) as (above, _):
            for name in above.names():
                if name.isascii() and name.isdecimal() and str(int(name)) == name:
                    try:
                        yield name, above.file_status(name)
                    except OSError:
                        continue  # removed meanwhile
    except OSError:
        return  # nobody has noted anything yet, or it is not for us to read


def users(store: Store) -> Iterator[tuple[int, Directory]]:
    """The uids of users and their directories, each held open while it is looked at, and each that
    user's own: anybody may have made one of another's name."""
    for name, _ in _directories(store):
        try:
            with store.opened(USE, name) as (held, *_):
                if not trust.OWNERS_MEAN_SOMETHING or held.status().st_uid == int(name):
                    yield int(name), held
        except OSError:
            continue  # removed meanwhile, a link, or not for us to read


def _marks(user: int, held: Directory) -> Iterator[tuple[str, float]]:
    for name in held.names():
        if ENTRY_NAME.fullmatch(name) and (when := _when(user, held, name)) is not None:
            yield name, when


def _when(user: int, held: Directory, name: str) -> float | None:
    try:
        status = held.file_status(name)
    except OSError:
        return None
    own = not trust.OWNERS_MEAN_SOMETHING or status.st_uid == user
    return status.st_ctime if own and stat.S_ISREG(status.st_mode) else None
