"""The verdict on one entry: its faults, and the parts that could not be read."""

from __future__ import annotations

from dataclasses import dataclass

from pip_sharedcache.model import Identity
from pip_sharedcache.store.entries import StoredEntry


@dataclass(frozen=True)
class Damage:
    """One fault of an entry.

    ``path``: the path below the entry; "" for the entry itself.
    ``kind``: one of missing, extra, type, unreadable, size, content, mode, owner, time.
    ``what``: the fault, in words that follow the path.
    """

    path: str
    kind: str
    what: str


@dataclass(frozen=True)
class Verdict:
    """The result of verifying one entry.

    ``item``: the entry.
    ``damage``: the faults; none if the entry is sound, or could not be read.
    ``identity``: the device and inode of the verified directory; None if it could not be opened.
    ``wheel``: the name of the entry's own wheel if this wheel is sound, so that the entry can be
    made anew from it; else "".
    ``unread``: what could not be read, so that it is neither sound nor damaged: paths below the
    entry ("": the entry itself), each with the reason.
    """

    item: StoredEntry
    damage: tuple[Damage, ...]
    identity: Identity | None = None
    wheel: str = ""
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def is_copied(self) -> bool:
        """Return whether a copy of the store lost times and modes, and all bytes are right."""
        return self.item.copied and {one.kind for one in self.damage} <= {"time", "mode"}
