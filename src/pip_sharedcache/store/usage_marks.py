"""Usage marks: when each user used an entry. Garbage collection reads them.

Below ``use/<uid>/`` each user has an empty file for each entry. Its ctime is the time of the use,
by the clock of the file system: no user can set this clock, and all hosts have the same. Files are
replaced, never written in place. A store that this user cannot write gets no usage marks.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import DISK_ERRORS, NEW, Directory, retry_stale
from pip_sharedcache.fs.own_directory import make_if_missing
from pip_sharedcache.model import Policy
from pip_sharedcache.store.layout import USE, Store

Result = TypeVar("Result")

#: The names of entries.
ENTRY_NAME = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9_.-]+)?")

#: Seconds; a usage mark that is no older is not replaced.
FRESH = 600

#: The prefix of claims (claims.py).
CLAIM = "getting-"

#: In place of an entry's name: this user makes symlinks into entries.
SYMLINKS = "symlinks"

_CLOCK = ".clock"
_MARK = 0o644
_ROUNDED = 2  # seconds
#: A FIFO, a huge file, a link or an unreadable file in place of a record: its owner's fault.
OWNERS_FAULT = frozenset(
    {errno.EINVAL, errno.EFBIG, errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENXIO, errno.EISDIR}
)


@dataclass(frozen=True)
class UsageMark:
    """One use of an entry.

    ``when``: seconds since the epoch.
    ``user``: the uid of the user.
    """

    when: float
    user: int


def now(store: Store) -> float:
    """Return the seconds since the epoch by the clock of the file system that has ``store``.

    Files in ``store`` have their times from this clock. If this user cannot write there, and so
    cannot delete either, the clock of this host is used.
    """
    if store.policy is Policy.READ_ONLY:
        return time.time()
    try:
        with store.own_usage_marks() as held:
            held.replace(_CLOCK)
            return held.file_status(_CLOCK).st_ctime
    except OSError:
        return time.time()


def mark_used(store: Store, names: Iterable[str]) -> None:
    """Record that this user uses the entries ``names`` now; SYMLINKS may be one of them.

    Raises OSError: EEXIST if another user made something in place of this user's directory.
    """
    with store.own_usage_marks() as held:
        for name in names:
            marked = _made_or_there(held, name)
            # A local clock that is ahead costs one extra mark. One that is behind would make an old
            # mark look fresh, and gc would retire what this run uses: ask the file system, once.
            if not (
                _is_fresh(time.time() - marked)
                and _is_fresh(time.time() + _clock_offset(store) - marked)
            ):
                held.replace(name)


def _made_or_there(held: Directory, name: str) -> float:
    """Make the mark ``name`` if it is missing; return its ctime, 0 if it has to be replaced.

    A new mark then costs a file server two requests, and one that is fresh no look before. Raises
    OSError.
    """
    status = make_if_missing(held, name, _MARK)
    right = status is not None and stat.S_IMODE(status.st_mode) == _MARK
    return status.st_ctime if status is not None and right else 0


def _is_fresh(age: float) -> bool:
    # File systems round their time down, to some milliseconds.
    return -_ROUNDED <= age < FRESH


@functools.lru_cache(maxsize=16)
def _clock_offset(store: Store) -> float:
    """Return the seconds by which the clock of the store's file system is ahead of this host's.

    The file system is asked once in a process.
    """
    with store.own_usage_marks() as held:
        return fs.file_system_time(held.proc_path) - time.time()


def last_uses(store: Store, unread: list[tuple[Path, str]] | None = None) -> dict[str, UsageMark]:
    """Return the last use of each entry that has a usage mark, by the name of the entry.

    Directories of marks that the disk or the file server failed to read are added to ``unread``,
    with the reason: entries without a mark may have been used.
    """
    latest: dict[str, UsageMark] = {}
    for user, held in users(store, unread):
        try:
            marks = read_again_if_stale(store, held, lambda held: dict(_marks(user, held)))  # noqa: B023
        except OSError as error:
            if unread is None or error.errno not in DISK_ERRORS:
                raise
            unread.append((held.path, reason(error)))
            continue
        for name, when in marks.items():
            if name not in latest or latest[name].when < when:
                latest[name] = UsageMark(when, user)
    return latest


def used_beside(store: Store, plain: str) -> tuple[str, ...]:
    """Return the names ``<plain>.<uid>`` that this user has used.

    At that time, the entry ``plain`` was damaged or untrusted. The usage marks are read once per
    run. Never raises.
    """
    return _all_used_beside(store).get(plain, ())


@functools.lru_cache(maxsize=16)
def _all_used_beside(store: Store) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    try:
        with store.opened(USE, str(trust.user_id())) as (held, *_):
            for name in filter(ENTRY_NAME.fullmatch, held.names()):
                head, _, tail = name.rpartition(".")
                if tail.isdigit():
                    found.setdefault(head, []).append(name)
    except OSError:
        return {}  # this user has marked nothing yet
    return {head: tuple(sorted(names)) for head, names in found.items()}


def uses(store: Store, name: str) -> list[UsageMark]:
    """Return the last use of the entry ``name`` by each user, the latest first."""
    found = [
        UsageMark(when, user)
        for user, held in users(store)
        if (when := _when(user, held, name)) is not None
    ]
    return sorted(found, key=lambda use: use.when, reverse=True)


def forget(store: Store, present: Container[str], before: float) -> None:
    """Delete the obsolete usage marks of this user (as root: of all users).

    A mark is obsolete if it is older than ``before`` (seconds since the epoch) and its entry is not
    in ``present``. An unfinished file and a claim count as marks. Never raises: what cannot be
    listed or deleted is left to the next run.
    """
    for user, held in users(store):
        if trust.user_id() not in (0, user):
            continue
        with contextlib.suppress(OSError):
            for name in held.names():
                obsolete = name not in present and (
                    ENTRY_NAME.fullmatch(name) or name == SYMLINKS or name.startswith((NEW, CLAIM))
                )
                if obsolete and (_when(user, held, name) or before) < before:
                    with contextlib.suppress(OSError):
                        held.remove(name)


def squatters(store: Store) -> list[tuple[Path, int, int]]:
    """Return the directories for one user's usage marks that another user owns.

    Such a directory prevents usage marks of the first user. Each result has the path, the uid in
    the name and the uid of the owner.
    """
    return [
        (store.path / USE / name, int(name), status.st_uid)
        for name, status in _directories(store)
        if trust.OWNERS_MEAN_SOMETHING and status.st_uid != int(name)
    ]


def _directories(
    store: Store, unread: list[tuple[Path, str]] | None = None
) -> list[tuple[str, os.stat_result]]:
    """Return the name and the status of each path below ``use/`` whose name is a uid."""

    def read() -> list[tuple[str, os.stat_result]]:
        found = []
        with store.opened(USE) as (above, _):
            for name in above.names():
                if name.isascii() and name.isdecimal() and str(int(name)) == name:
                    with contextlib.suppress(OSError):  # removed meanwhile
                        found.append((name, above.file_status(name)))
        return found

    try:
        return retry_stale(read)
    except OSError as error:  # no usage marks yet, or unreadable
        if unread is not None and error.errno in DISK_ERRORS:
            unread.append((store.path / USE, reason(error)))
        return []


def users(
    store: Store, unread: list[tuple[Path, str]] | None = None
) -> Iterator[tuple[int, Directory]]:
    """Yield the uid and the directory of each user, held open until the next step.

    A directory that another user owns is skipped: any user can make one with any name. One that the
    disk or the file server failed to read is added to ``unread``, with the reason.
    """
    for name, _ in _directories(store, unread):
        try:
            with store.opened(USE, name) as (held, *_):
                if not trust.OWNERS_MEAN_SOMETHING or held.status().st_uid == int(name):
                    yield int(name), held
        except OSError as error:  # removed meanwhile, a link, or unreadable
            if unread is not None and error.errno in DISK_ERRORS:
                unread.append((store.path / USE / name, reason(error)))


def names_of(store: Store, held: Directory, unread: list[tuple[Path, str]] | None) -> list[str]:
    """Return the names in the directory ``held`` of one user.

    Returns none if the disk or the file server fails; the directory is then added to ``unread``,
    with the reason. Raises OSError for other errors.
    """
    try:
        return read_again_if_stale(store, held, Directory.names)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        if unread is not None:
            unread.append((held.path, reason(error)))
        return []


def unread_of(store: Store) -> list[tuple[Path, str]]:
    """Return the directories of ``users`` that the disk or the file server fails to read."""
    unread: list[tuple[Path, str]] = []
    for _, held in users(store, unread):
        names_of(store, held, unread)
    return unread


def read_again_if_stale(
    store: Store, held: Directory, read: Callable[[Directory], Result]
) -> Result:
    """Return ``read(held)``, for the directory ``held`` of one user; open it again on ESTALE.

    Raises OSError.
    """

    def again() -> Result:
        with store.opened(USE, held.path.name) as (fresh, *_):
            return read(fresh)

    return retry_stale(lambda: read(held), again)


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
