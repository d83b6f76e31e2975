"""What is in a remote store, by its listing: the objects, and what their names say.

A listing can lag behind, and anybody who may write the store chooses names: names of other forms
are counted, and nothing rests on an object that is not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pip_sharedcache.model import Digest
from pip_sharedcache.remote.access import Answer, List, Listed, RemoteFailed, Request
from pip_sharedcache.remote.stores import RemoteStore
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, WHEELS

#: What objects are for, by the first part of their names: as the areas of a store.
KINDS = (WHEELS, BYTECODE, BUILDS, RESOLUTIONS)

_MOST = 1_000_000  # objects; more would take gigabytes of memory
_DIGEST = "([0-9a-f]{64})"
_INTERPRETER = "([A-Za-z0-9_.-]{1,100})-[0-9a-f]{8}"
_FORMS = {
    WHEELS: re.compile(_DIGEST),
    BYTECODE: re.compile(rf"{_DIGEST}\.{_INTERPRETER}"),
    BUILDS: re.compile(_DIGEST),
    RESOLUTIONS: re.compile(_DIGEST),
}


@dataclass(frozen=True)
class RemoteObject:
    """One object of a remote store, as the listing has it.

    ``kind``: one of KINDS.
    ``name``: the rest of its key.
    ``size``: in bytes.
    ``modified``: when it was put, by the clock of the store (seconds since the epoch).
    """

    kind: str
    name: str
    size: int
    modified: float

    @property
    def key(self) -> str:
        """Return the name of the object in the store."""
        return f"{self.kind}/{self.name}"

    @property
    def digest(self) -> Digest:
        """Return the sha256 of the wheel, or the key of a build record or a resolution."""
        return Digest(self.name[:64])

    @property
    def tag(self) -> str:
        """Return the tag of the interpreter of bytecode; "" for other objects."""
        match = _FORMS[BYTECODE].fullmatch(self.name)
        return match[2] if match else ""


@dataclass
class Inventory:
    """The objects of a remote store, and the number of others below the same prefixes."""

    objects: list[RemoteObject] = field(default_factory=list)
    ignored: int = 0

    def of(self, kind: str) -> list[RemoteObject]:
        """Return the objects of one of KINDS."""
        return [one for one in self.objects if one.kind == kind]


def read_inventory(store: RemoteStore, kinds: Sequence[str] = KINDS) -> Inventory:
    """Return the objects of ``kinds`` in ``store``; ``store.failure`` says whether it is whole."""
    found = Inventory()
    seen: set[str] = set()

    def answered(_: Request, answer: Answer) -> None:
        found.ignored += answer.ignored
        for one in answer.listed:
            if one.key in seen:
                continue
            seen.add(one.key)
            named = _parsed(one)
            if named is None:
                found.ignored += 1
            else:
                found.objects.append(named)
        if len(found.objects) > _MOST:
            raise RemoteFailed(f"it lists more than {_MOST:,} objects")

    store.ask([List(kind) for kind in kinds], answered)
    found.objects.sort(key=lambda one: one.key)
    return found


def _parsed(listed: Listed) -> RemoteObject | None:
    kind, _, name = listed.key.partition("/")
    if kind not in _FORMS or not _FORMS[kind].fullmatch(name):
        return None
    return RemoteObject(kind, name, listed.size, listed.modified)


def in_batches(
    objects: Iterable[RemoteObject], most: int, count: int
) -> Iterator[list[RemoteObject]]:
    """Yield ``objects`` in batches of at most ``count``, and ``most`` bytes; a larger one alone."""
    batch: list[RemoteObject] = []
    size = 0
    for one in objects:
        if batch and (len(batch) >= count or size + one.size > most):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch
