"""The counts of one run, for its summary line and for its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pip_sharedcache.model import Installed, LinkMode, megabytes


@dataclass(frozen=True)
class Unserved:
    """A wheel that the run did not take from the store.

    ``name``: its file name, for its user alone: other users may not see that of a private wheel.
    ``why``: the reason, as a phrase.
    ``added``: whether the run adds it to a store.
    """

    name: str
    why: str
    added: bool

    @property
    def sentence(self) -> str:
        """Return the line for the user."""
        what = "added to the shared store" if self.added else "installed by pip alone"
        return f"{self.name} was {what}: {self.why}"


@dataclass
class RunReport:
    """The actions of one run, for the line after "Successfully installed" and for its record.

    ``replaced``: damaged entries that the run published anew, after pip alone installed the wheel.
    ``pulled``: the distributions whose wheels came from remote stores.
    ``compiled``: bytes of the sources that the run compiled, in ``compile_seconds``.
    ``reused``: bytes of the sources whose bytecode was in the store.
    ``resolution``: "recorded" or "reused" if the run did so with a resolution; else "".
    ``requests_saved``, ``seconds_saved``: what the reused resolution saved.
    ``unserved``: the wheels that did not come from the store.
    """

    installed: int = 0
    found: int = 0
    published: int = 0
    not_downloaded: int = 0  # bytes
    pulled: int = 0
    replaced: int = 0
    placed: Counter[LinkMode] = field(default_factory=Counter)  # files
    placed_bytes: Counter[LinkMode] = field(default_factory=Counter)
    distributions: list[Installed] = field(default_factory=list)
    compiled: int = 0
    compile_seconds: float = 0.0
    reused: int = 0
    resolution: str = ""
    requests_saved: int = 0
    seconds_saved: float = 0.0
    unserved: list[Unserved] = field(default_factory=list)

    def count(self, mode: LinkMode, size: int) -> None:
        """Count one placed file of ``size`` bytes."""
        self.placed[mode] += 1
        self.placed_bytes[mode] += size

    def take(self) -> RunReport:
        """Return the counts, and count again from 0."""
        taken = replace(self)
        vars(self).update(vars(RunReport()))
        return taken

    def add(self, other: RunReport) -> None:
        """Add the counts of ``other``."""
        self.installed += other.installed
        self.found += other.found
        self.published += other.published
        self.replaced += other.replaced
        self.pulled += other.pulled
        self.not_downloaded += other.not_downloaded
        self.placed.update(other.placed)
        self.placed_bytes.update(other.placed_bytes)
        self.distributions += other.distributions
        self.compiled += other.compiled
        self.compile_seconds += other.compile_seconds
        self.reused += other.reused
        self.resolution = self.resolution or other.resolution
        self.requests_saved += other.requests_saved
        self.seconds_saved += other.seconds_saved
        self.unserved += other.unserved

    @property
    def not_copied(self) -> int:
        """Return the number of bytes that were placed without a copy."""
        return sum(self.placed_bytes.values()) - self.placed_bytes[LinkMode.COPY]

    def sentence(self, stores: Sequence[Path]) -> str:
        """Return one line: distributions from ``stores``, how files were placed, the savings.

        ``stores``: the local ones; none for a run that has only what remote stores gave.
        """
        named = ", ".join(map(str, stores))
        parts = [f"{self.found} of {self.installed} distributions from {named}"]
        if not stores:
            what = f"{self.pulled} of {self.installed} distributions pulled from remote stores"
            parts = [f"no local store can be used; {what}"]
        there = "it" if len(stores) == 1 else "them"
        if self.published:
            parts.append(f"{self.published} added to {there}")
        if self.pulled and stores:
            parts.append(f"{self.pulled} pulled from remote stores")
        if left := Counter(one.why for one in self.unserved if not one.added):
            parts.append(f"{sum(left.values())} installed by pip alone: {_reasons(left)}")
        if self.replaced:
            what = "entry" if self.replaced == 1 else "entries"
            parts.append(f"{self.replaced} damaged {what} published anew")
        if self.placed:
            ways = [
                f"{number} {PLACED[mode]}" for mode, number in sorted(self.placed.items()) if number
            ]
            parts.append("files " + ", ".join(ways))
        if self.not_downloaded or not self.pulled:  # pulled bytes are no saved ones
            parts.append(f"{megabytes(self.not_downloaded)} not downloaded")
        parts.append(f"{megabytes(self.not_copied)} not copied")
        return "Shared store: " + "; ".join(parts)


#: How a link mode has placed files, as a word of a sentence.
PLACED: Mapping[LinkMode, str] = {
    LinkMode.REFLINK: "reflinked",
    LinkMode.HARDLINK: "hard-linked",
    LinkMode.SYMLINK: "symlinked",
    LinkMode.COPY: "copied",
}


#: Words about one distribution, and those about several.
_SEVERAL = (
    ("it is ", "they are "),
    ("it was ", "they were "),
    ("it cannot ", "they cannot "),
    ("it came ", "they came "),
    ("pip took it ", "pip took them "),
    ("its entry is ", "their entries are "),
    ("its entry was copied without its times", "their entries were copied without their times"),
    ("its publisher is ", "their publishers are "),
)


def _reasons(counted: Counter[str]) -> str:
    """Return the reasons, the most frequent first, with their numbers if there are several."""
    said = [(number, _of_several(why) if number > 1 else why) for why, number in counted.items()]
    if len(said) == 1:
        return said[0][1]
    return ", ".join(f"{number} {why}" for number, why in sorted(said, key=lambda one: -one[0]))


def _of_several(why: str) -> str:
    """Return the reason ``why`` of one distribution in the words for several."""
    for one, several in _SEVERAL:
        why = why.replace(one, several)
    return why
