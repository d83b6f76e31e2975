"""The damage that one run found in the store, and the entries to publish anew at its end.

This user's own damaged entry is replaced. For an entry of another publisher a sound one is
published beside it.
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
    """The damage that one run found.

    Each damage is reported in one line, when the outcome is known.

    ``damaged``: the entries, build records and bytecode that the run does not use again.
    ``reported``: the lines that were reported, without the outcome.
    ``healed``: the wheels whose damaged entry the run publishes anew, if it can.
    """

    def __init__(self) -> None:
        self.damaged: set[Identity] = set()
        self.reported: set[str] = set()
        self.healed: set[Digest] = set()
        self._to_report: dict[Digest, list[str]] = {}
        self._lasting: set[str] = set()
        self._elsewhere: set[str] = set()
        self._homes: dict[Digest, Path] = {}
        self._own: dict[Digest, Entry] = {}
        self._wheels: dict[Digest, tuple[Entry, Path]] = {}
        self._bytecode: dict[Digest, Entry] = {}

    def record_damage(self, digest: Digest, what: str, *, lasting: bool = False) -> None:
        """Record damage to the entry of ``digest``; ``what`` names the damage and the publisher.

        ``lasting``: warn even if a later attempt finds a sound entry, because a disk or a file
        server that fails at times will fail again.
        """
        if lasting:
            self._lasting.add(what)
        lines = self._to_report.setdefault(digest, [])
        if what not in lines and what not in self.reported:
            lines.append(what)

    def mark_damaged(self, entry: Entry, what: str) -> None:
        """Do not use ``entry`` again in this run, and record its damage and publisher.

        Only the first damage is recorded: thousands of its files may be missing.
        """
        if entry.identity in self.damaged:
            return
        self.damaged.add(entry.identity)
        self._homes[entry.manifest.digest] = entry.path.parents[2]
        if entry.publisher == trust.user_id():
            self._own[entry.manifest.digest] = entry
        owner = trust.user_name(entry.publisher)
        line = f"Damaged entry of {owner} in the shared store is not used: {what}"
        self.record_damage(entry.manifest.digest, line)

    def is_known(self, digest: Digest) -> bool:
        """Return whether the run found damage to an entry of ``digest``."""
        return digest in self._to_report or digest in self._homes

    def skip_build_record(self, record: Identity) -> None:
        """Skip a build record that leads to no usable entry, so that it does not block others."""
        self.damaged.add(record)

    def own_damage(self, digest: Digest) -> Entry | None:
        """Return the damaged entry of ``digest`` that this user published, or None."""
        return self._own.get(digest)

    def settle(self, sound: Entry) -> None:
        """Drop the damage to entries of a wheel that was installed from the ``sound`` entry.

        Their publishers heal them. All users find the sound entry, so only lasting damage causes a
        warning.
        """
        for line in self._to_report.pop(sound.manifest.digest, ()):
            if line in self._lasting:
                self._report(line, "; a later attempt succeeded")
            else:
                logger.debug("%s; the sound one %s is used", line, sound.path)

    def mark_bytecode_damaged(
        self, damaged: Entry | None, entry: Entry, what: str, *, told: bool
    ) -> None:
        """Do not use the bytecode ``damaged`` of ``entry`` again in this run.

        The run makes bytecode anew for the store at its end, and warns. With ``told`` it does
        neither, because sound bytecode is in use.
        """
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

    def mark_bytecode_vanished(self, vanished: Entry, *, told: bool) -> None:
        """Do not use the bytecode ``vanished`` again in this run: it was deleted during the run.

        Warn, but not with ``told``, because sound bytecode is in use.
        """
        self.damaged.add(vanished.identity)
        line = f"{vanished.path} is gone from the shared store"
        if told:
            logger.debug("%s: other bytecode is used", line)
        else:
            warn(f"{line}: compiled after all")

    def heal(self, entry: Entry, wheel_file: Path) -> None:
        """Record that the run is to publish the damaged ``entry`` anew at its end.

        ``wheel_file`` has the digest of the entry: the entry's own wheel, or one that pip
        downloaded.
        """
        self._wheels[entry.manifest.digest] = entry, wheel_file

    def take(self) -> tuple[list[tuple[Entry, Path]], list[Entry]]:
        """Return and clear what to publish anew: entries with their wheel files, and bytecode.

        The second list has the entries whose bytecode is to be made.
        """
        wheels, bytecode = self._wheels, self._bytecode
        self._wheels, self._bytecode = {}, {}
        self.healed.update(wheels)
        # An entry made anew has other times: bytecode of the old one would not match.
        stale = [entry for digest, entry in bytecode.items() if digest not in wheels]
        return list(wheels.values()), stale

    def done(self, entry: Entry) -> None:
        """Report damage for which ``entry`` was published, and the place of ``entry``."""
        digest = entry.manifest.digest
        where = "in its place" if entry.path.name == digest else f"beside it as {entry.path.name}"
        store = entry.path.parents[2]
        if self._homes.get(digest, store) != store:
            where = f"in {store}"
        for line in self._to_report.pop(digest, ()):
            self._report(line, f"; a sound one was published {where}")

    def report_rest(self) -> None:
        """Report the remaining damage, because this run publishes no more entries."""
        for lines in self._to_report.values():
            for line in lines:
                if line not in self._elsewhere:
                    self._report(line, "")
        self._to_report.clear()

    def leave_to_parent(self) -> None:
        """Leave the damage found before now to the parent process, in a new worker process.

        The worker process still reports damage for which it publishes a sound entry.
        """
        self._elsewhere.update(line for lines in self._to_report.values() for line in lines)

    def mark_reported(self, lines: Iterable[str]) -> None:
        """Record that a worker process reported ``lines``."""
        self.reported.update(lines)
        for digest, known in self._to_report.items():
            self._to_report[digest] = [line for line in known if line not in self.reported]

    def _report(self, line: str, outcome: str) -> None:
        self.reported.add(line)
        warn(line + outcome)
