"""What one run found damaged in the store, and what is published anew for it at the end.

One's own entry is replaced; beside somebody else's a sound one is published.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.model import Digest, Entry, Identity
from pip_sharedcache.session.notices import warn

logger = logging.getLogger(__name__)


class Repairs:
    """The damage of one run. ``damaged``: entries that are not to be used again in it.
    ``reported``: what was said, without what was done about it.

    What is found is told when it is known what became of it, in one line.
    """

    def __init__(self) -> None:
        self.damaged: set[Identity] = set()
        self.reported: set[str] = set()
        self._to_report: dict[Digest, list[str]] = {}
        self._lasting: set[str] = set()
        self._elsewhere: set[str] = set()
        self._homes: dict[Digest, Path] = {}
        self._own: dict[Digest, Entry] = {}
        self._wheels: dict[Digest, tuple[Entry, Path]] = {}
        self._bytecode: dict[Digest, Entry] = {}

    def record_damage(self, digest: Digest, what: str, *, lasting: bool = False) -> None:
        """The entry of ``digest`` is damaged; ``what`` says it, and whose it is. ``lasting``: the
        user hears of it even if a later attempt finds a sound entry, since a disk or file server
        that fails now and then will fail again."""
        if lasting:
            self._lasting.add(what)
        lines = self._to_report.setdefault(digest, [])
        if what not in lines and what not in self.reported:
            lines.append(what)

    def mark_damaged(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and say whose it is, once: thousands of its files
        may be missing."""
        if entry.identity in self.damaged:
            return
        self.damaged.add(entry.identity)
        self._homes[entry.manifest.digest] = entry.path.parents[2]
        if entry.publisher == trust.user_id():
            self._own[entry.manifest.digest] = entry
        owner = trust.user_name(entry.publisher)
        line = f"Damaged entry of {owner} in the shared store is not used: {what}"
        self.record_damage(entry.manifest.digest, line)

    def skip_build_record(self, record: Identity) -> None:
        """A note that leads to no usable entry does not stand in another one's way."""
        self.damaged.add(record)

    def own_damage(self, digest: Digest) -> Entry | None:
        """The damaged entry of ``digest`` that this user published; None where there is none."""
        return self._own.get(digest)

    def settle(self, sound: Entry) -> None:
        """The wheel of ``sound`` was installed from there, beside damaged entries of it, which
        their publishers heal. That needs no warning: everybody finds the sound one."""
        for line in self._to_report.pop(sound.manifest.digest, ()):
            if line in self._lasting:
                self._report(line, "; a later attempt succeeded")
            else:
                logger.debug("%s; the sound one %s is used", line, sound.path)

    def mark_bytecode_damaged(
        self, damaged: Entry | None, entry: Entry, what: str, *, told: bool
    ) -> None:
        """The bytecode ``damaged`` of ``entry`` is damaged. It is made anew for the store at the
        end of the run, and the user is warned: not where that is ``told``, since a sound one is
        used."""
        if damaged is None or damaged.identity in self.damaged:
            return
        self.damaged.add(damaged.identity)
        owner = trust.user_name(damaged.publisher)
        line = f"Damaged bytecode of {owner} in the shared store is compiled anew: {what}"
        if told:
            logger.debug("Damaged bytecode of %s is not used: %s", owner, what)
            return
        self._bytecode[entry.manifest.digest] = entry
        warn(line)

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
        digest = entry.manifest.digest
        where = "in its place" if entry.path.name == digest else f"beside it as {entry.path.name}"
        store = entry.path.parents[2]
        if self._homes.get(digest, store) != store:
            where = f"in {store}"
        for line in self._to_report.pop(digest, ()):
            self._report(line, f"; a sound one was published {where}")

    def report_rest(self) -> None:
        """Nothing more is published in this run: tell what was not told yet."""
        for lines in self._to_report.values():
            for line in lines:
                if line not in self._elsewhere:
                    self._report(line, "")
        self._to_report.clear()

    def leave_to_others(self) -> None:
        """In a copy: what was found until now is told by the first process, but for what is
        published here."""
        self._elsewhere.update(line for lines in self._to_report.values() for line in lines)

    def mark_reported(self, lines: Iterable[str]) -> None:
        """A copy has told ``lines``."""
        self.reported.update(lines)
        for digest, known in self._to_report.items():
            self._to_report[digest] = [line for line in known if line not in self.reported]

    def _report(self, line: str, outcome: str) -> None:
        self.reported.add(line)
        warn(line + outcome)
