"""Requests to a remote store, their answers, and its failures."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Union

from pip_sharedcache.errors import SharedCacheError

#: Bytes a second that a remote store must send or take to be worth waiting for.
SLOWEST = 50_000


@dataclass(frozen=True)
class Fetch:
    """Get the object ``key``, of at most ``most`` bytes, as the new file ``path``."""

    key: str
    path: Path
    most: int


@dataclass(frozen=True)
class Put:
    """Put the file ``path`` as the object ``key``, if its bytes have this ``sha256``."""

    key: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Has:
    """Ask for the size of the object ``key``, and for the time at which it was put."""

    key: str


@dataclass(frozen=True)
class List:
    """List the objects below ``prefix``, such as "wheels"; there are several answers.

    The last one has ``is_last``. Objects that were put or deleted a moment ago can be wrong in it.
    """

    prefix: str

    @property
    def key(self) -> str:
        """Return what names the request; no object has such a name."""
        return f"{self.prefix}/"


@dataclass(frozen=True)
class Delete:
    """Delete the object ``key``. It does not matter whether there is one."""

    key: str


Request = Union[Fetch, Put, Has, List, Delete]


class Listed(NamedTuple):
    """One object of a listing: its key, bytes, and when it was put (seconds since the epoch)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    ``size``: bytes of the object; -1 where there is none.
    ``sha256``: of the bytes that were got.
    ``problem``: why the request has no result although the remote store works; "" if it has one.
    ``modified``: when the object was put, by the clock of the store (seconds since the epoch); 0 if
    that was not asked for.
    ``listed``: objects of a listing; ``ignored``: the number of others, with unusual names.
    ``is_last``: whether no further answer to the request follows.
    """

    size: int = -1
    sha256: str = ""
    problem: str = ""
    modified: float = 0.0
    listed: tuple[Listed, ...] = ()
    ignored: int = 0
    is_last: bool = True


MISSING = Answer()


class RemoteFailed(SharedCacheError):
    """A remote store that cannot be used: runs leave it alone until their end."""

    code = "remote-failed"


class Access(Protocol):
    """The access to one remote store. ``end`` must be called."""

    def ask(
        self,
        requests: Sequence[Request],
        answered: Callable[[Request, Answer], None],
        within: float | None = None,
    ) -> None:
        """Make ``requests``, several at one time, and call ``answered`` for each answer.

        ``within``: the most seconds for all of them; None for no limit but that of the silence.
        Raises RemoteFailed, whose text names no store. Requests without an answer leave no file.
        """

    def end(self) -> None:
        """End the access; further calls do nothing."""


def refusal(status: int, request: Request | None = None) -> RemoteFailed:
    """Return the failure of a store whose server answered ``request`` with the HTTP ``status``."""
    told = f"status {status}"
    if status in (401, 403):
        rights = {Put: "put objects", List: "list objects", Delete: "delete objects"}
        right = next((what for kind, what in rights.items() if isinstance(request, kind)), "read")
        hint = f"check your credentials, and that they may {right} there"
        return RemoteFailed(f"the server refuses access ({told})", hint)
    if status == 404:
        return RemoteFailed(f"it does not exist ({told})")
    if status == 429:
        return RemoteFailed(f"the server answers no more requests now ({told})")
    if status == 507:
        return RemoteFailed(f"it is full ({told})")
    who = "the server fails" if status >= 500 else "the server refuses the request"
    return RemoteFailed(f"{who} ({told})")


def unusable_directory(number: int) -> RemoteFailed:
    """Return the failure of a store in a directory of this machine, by its errno."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return RemoteFailed(f"it is full ({os.strerror(number)})")
    if number == errno.ENOENT:
        return RemoteFailed("its directory does not exist, and cannot be made")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RemoteFailed(f"its directory or a file in it refuses access: {os.strerror(number)}")
    return RemoteFailed(f"its directory cannot be used: {os.strerror(number)}")


def local_problem(number: int) -> str:
    """Return the problem of a file of this machine, by its errno."""
    return f"a file on this machine cannot be used: {os.strerror(number)}"


def silence(seconds: float) -> RemoteFailed:
    """Return the failure of a store that has not answered for so long."""
    return RemoteFailed(f"the server gave no answer in {seconds:g} seconds")


def slowness() -> RemoteFailed:
    """Return the failure of a store that is slower than SLOWEST."""
    return RemoteFailed(f"the connection has less than {SLOWEST // 1000} kB a second")


class Patience:
    """How long a store may still be silent or slow, from now on.

    ``timeout``: seconds without an answer or a byte, and for the rate of SLOWEST.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._heard = self._window = time.monotonic()
        self._moved = 0

    @property
    def end(self) -> float:
        """Return the time of time.monotonic at which to call ``check``, if nothing comes."""
        return min(self._heard, self._window) + self._timeout

    def answered(self) -> None:
        """Note an answer."""
        self._heard = self._window = time.monotonic()
        self._moved = 0

    def moved(self, count: int) -> None:
        """Note ``count`` bytes that were sent or received."""
        self._heard = time.monotonic()
        self._moved += count

    def check(self) -> None:
        """Raise RemoteFailed for a store that has been silent or slow for too long."""
        now = time.monotonic()
        if now >= self._window + self._timeout:
            if self._moved < SLOWEST * self._timeout:
                raise slowness() if self._moved else silence(self._timeout)
            self._window, self._moved = now, 0
        if now >= self._heard + self._timeout:
            raise silence(self._timeout)
