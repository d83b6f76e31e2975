"""Garbage collection in a remote store: objects that are old, and not used here, are deleted.

An object store does not record when an object was got. So an object counts as used when it was put,
and when the local stores used the same. Ages are by the clock of the store that has the times. An
object that is deleted although somebody needs it costs a download or a compilation: the next run
that publishes the same puts it again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.maintenance.remote_verify import delete_objects
from pip_sharedcache.maintenance.remotes import LocalUse, clock
from pip_sharedcache.maintenance.retention import GRACE
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.access import Answer, Fetch, Has, Request
from pip_sharedcache.remote.inventory import RemoteObject, in_batches, read_inventory
from pip_sharedcache.remote.statement_objects import MOST_STATEMENT_OBJECT
from pip_sharedcache.remote.stores import RemoteStore, wheel_key
from pip_sharedcache.signing import BuildStatement, read_signed
from pip_sharedcache.signing.statements import read_statement
from pip_sharedcache.store import BUILDS, BYTECODE, WHEELS

_MOST_TEMPORARY = 1 << 28  # bytes
_AT_ONCE = 64  # objects


@dataclass(frozen=True)
class RemoteCollection:
    """The result for one remote store; nothing if ``store.failure`` prevented the choice.

    ``chosen``: the objects that nobody has used for so long.
    ``deleted``: those of them that were deleted; none in a dry run.
    ``left``: the bytes of the objects that stay.
    ``used``: the number of old objects that stay because a local store used the same.
    ``ignored``: the number of objects with names of other forms, which stay.
    """

    chosen: tuple[RemoteObject, ...] = ()
    deleted: tuple[RemoteObject, ...] = ()
    left: int = 0
    used: int = 0
    ignored: int = 0


def collect_remote(
    store: RemoteStore,
    local: LocalUse,
    *,
    older_than: float | None = None,
    max_size: float | None = None,
    dry_run: bool = False,
) -> RemoteCollection:
    """Delete the objects of ``store`` that were put, and used here, ``older_than`` seconds ago.

    Then the longest unused ones, until at most ``max_size`` bytes are left; then bytecode and build
    records of wheels that are not there. Nothing that was put or used within the last hour is
    deleted. ``local``: what all local stores know. Raises OSError.
    """
    inventory = read_inventory(store)
    now = time.time() if dry_run else clock(store)
    wheel_of = _wheels_of_builds(store, inventory.of(BUILDS))
    if store.failure is not None or now is None:
        return RemoteCollection()
    choice = _Choice(inventory.objects, local, wheel_of, now)
    choice.choose(older_than, max_size)
    orphans = choice.orphans()
    there = _there(store, {choice.wheel_of(one) for one in orphans})
    if there is None:
        return RemoteCollection()
    choice.doom(one for one in orphans if choice.wheel_of(one) not in there)
    # Derived data first: a wheel without it is whole.
    chosen = sorted(choice.chosen.values(), key=lambda one: (one.kind == WHEELS, one.key))
    deleted = [] if dry_run else delete_objects(store, chosen)
    gone = {one.key for one in (chosen if dry_run else deleted)}
    return RemoteCollection(
        tuple(chosen),
        tuple(deleted),
        sum(one.size for one in inventory.objects if one.key not in gone),
        choice.used_here(older_than),
        inventory.ignored,
    )


class _Choice:
    """The choice among ``objects``; ``chosen`` has those to delete, by their keys.

    ``wheel_of_build``: the digest of the wheel, by the key of the object of a build record.
    """

    def __init__(
        self,
        objects: Sequence[RemoteObject],
        local: LocalUse,
        wheel_of_build: Mapping[str, Digest],
        now: float,
    ) -> None:
        self.chosen: dict[str, RemoteObject] = {}
        self._objects, self._local, self._now = objects, local, now
        self._wheel_of_build = wheel_of_build
        self._derived: dict[Digest | None, list[RemoteObject]] = defaultdict(list)
        for one in objects:
            if one.kind in (BYTECODE, BUILDS):
                self._derived[self.wheel_of(one)].append(one)

    def wheel_of(self, one: RemoteObject) -> Digest | None:
        """Return the digest of the wheel of ``one``; None if a build record does not say it."""
        return self._wheel_of_build.get(one.key) if one.kind == BUILDS else one.digest

    def choose(self, older_than: float | None, max_size: float | None) -> None:
        """Choose by age, then by size. A build record stays as long as its wheel."""
        judged = [one for one in self._objects if one.kind != BUILDS]
        judged.sort(key=self._unused, reverse=True)
        free = [one for one in judged if self._unused(one) > GRACE]
        if older_than is not None:
            self.doom(one for one in free if self._unused(one) > older_than)
        left = sum(one.size for one in self._objects)
        left -= sum(one.size for one in self.chosen.values())
        for one in free if max_size is not None else ():
            if left > max_size and one.key not in self.chosen:  # type: ignore[operator]
                left -= self.doom([one])

    def doom(self, some: Iterable[RemoteObject]) -> int:
        """Choose ``some``, and what is derived from their wheels; return the bytes of the new."""
        size = 0
        for one in some:
            for each in (one, *(self._derived[one.digest] if one.kind == WHEELS else ())):
                size += each.size if each.key not in self.chosen else 0
                self.chosen[each.key] = each
        return size

    def orphans(self) -> list[RemoteObject]:
        """Return the other derived objects whose wheels are not listed."""
        wheels = {one.digest for one in self._objects if one.kind == WHEELS}
        return [
            one
            for digest, some in self._derived.items()
            for one in some
            if digest is not None
            and digest not in wheels
            and one.key not in self.chosen
            and self._put(one) > GRACE
        ]

    def used_here(self, older_than: float | None) -> int:
        """Return how many objects older than ``older_than`` stay, since they were used here."""
        return sum(
            older_than is not None
            and one.key not in self.chosen
            and self._put(one) > older_than >= self._local.age_of(one)
            for one in self._objects
        )

    def _put(self, one: RemoteObject) -> float:
        """Return the seconds since ``one`` was put."""
        return self._now - one.modified

    def _unused(self, one: RemoteObject) -> float:
        """Return the seconds since ``one`` was put or used.

        Users of a wheel put what is derived from it.
        """
        puts = [self._put(one)]
        if one.kind == WHEELS:
            puts += map(self._put, self._derived[one.digest])
        return min(*puts, self._local.age_of(one))


def _wheels_of_builds(store: RemoteStore, builds: Sequence[RemoteObject]) -> dict[str, Digest]:
    """Return the wheels of the build records ``builds``, by their keys, as the objects say.

    A signature is not asked for: a record that lies is useless, whether it stays or not.
    """
    found: dict[str, Digest] = {}

    def answered(request: Request, answer: Answer) -> None:
        if isinstance(request, Fetch) and answer.size >= 0:
            digest = _wheel_in(request.path)
            request.path.unlink()
            if digest is not None:
                found[request.key] = digest

    for batch in in_batches(builds, _MOST_TEMPORARY, _AT_ONCE):
        with fs.temporary_directory() as directory:
            numbered = enumerate(batch)
            most = MOST_STATEMENT_OBJECT
            store.ask([Fetch(b.key, directory / str(n), most) for n, b in numbered], answered)
    return found


def _wheel_in(path: Path) -> Digest | None:
    try:
        with path.open("rb") as file:
            statement = read_statement(read_signed(file).statement)
    except (ValueError, OSError):
        return None
    return statement.wheel if isinstance(statement, BuildStatement) else None


def _there(store: RemoteStore, wheels: Iterable[Digest | None]) -> set[Digest] | None:
    """Return those of ``wheels`` that ``store`` has, also if its listing lags behind.

    None if the store fails.
    """
    by_key = {wheel_key(digest): digest for digest in wheels if digest is not None}
    found: set[Digest] = set()

    def answered(request: Request, answer: Answer) -> None:
        if answer.size >= 0:
            found.add(by_key[request.key])

    return found if store.ask([Has(key) for key in by_key], answered) else None
