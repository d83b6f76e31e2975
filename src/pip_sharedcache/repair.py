"""What one run found damaged in the store, and what is published anew for it at the end.

One's own entry is replaced; beside somebody else's a sound one is published.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Digest, Entry, Identity

logger = logging.getLogger(__name__)


class Repairs:
    """The damage of one run. ``spoiled``: entries that are not to be used again in it. ``say``
    warns the user, each line once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.spoiled: set[Identity] = set()
        self._say = say
        self._owners: dict[Digest, str] = {}
        self._wheels: dict[Digest, tuple[Entry, Path]] = {}
        self._bytecode: dict[Digest, Entry] = {}

    def note(self, digest: Digest, owner: str) -> None:
        """Looking up gave only a damaged entry of ``owner``; what is wrong with it is said."""
        self._owners[digest] = owner

    def spoil(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and say whose it is, once: thousands of its files
        may be missing."""
        if entry.identity in self.spoiled:
            return
        self.spoiled.add(entry.identity)
        owner = self._owners[entry.manifest.digest] = trust.user_name(entry.publisher)
        self._say(f"Damaged entry of {owner} in the shared store is not used: {what}")

    def pass_over(self, note: Identity) -> None:
        """A note that leads to no usable entry does not stand in another one's way."""
        self.spoiled.add(note)

    def spoil_bytecode(self, damaged: Entry | None, entry: Entry, error: DamagedEntry) -> None:
        """The bytecode ``damaged`` of ``entry`` is damaged: it is compiled here, and anew for the
        store at the end of the run."""
        if damaged is None or damaged.identity in self.spoiled:
            return
        self.spoiled.add(damaged.identity)
        self._bytecode[entry.manifest.digest] = entry
        owner = trust.user_name(damaged.publisher)
        self._say(f"Damaged bytecode of {owner} in the shared store is compiled anew: {error}")

    def heal(self, entry: Entry, wheel_file: Path) -> None:
        """Publish the spoiled ``entry`` anew at the end of the run, from ``wheel_file``, which has
        its digest: its own wheel, or one that pip has downloaded."""
        self._wheels[entry.manifest.digest] = entry, wheel_file

    def take(self) -> tuple[list[tuple[Entry, Path]], list[Entry]]:
        """What is to be published anew now: entries, each with the wheel that it is made from; and
        entries whose bytecode is."""
        wheels, bytecode = self._wheels, self._bytecode
        self._wheels, self._bytecode = {}, {}
        # An entry made anew has other times, and so other bytecode.
        stale = [entry for digest, entry in bytecode.items() if digest not in wheels]
        return list(wheels.values()), stale

    def done(self, entry: Entry) -> None:
        """``entry`` was published: say so where it stands for a damaged one."""
        owner = self._owners.pop(entry.manifest.digest, None)
        if owner is not None:
            how = "in place of" if entry.path.name == entry.manifest.digest else "beside"
            logger.warning(
                "Published %s anew, %s the damaged one of %s", entry.manifest.filename, how, owner
            )
