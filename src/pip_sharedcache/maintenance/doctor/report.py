"""What an examination gives: facts, and findings, each with the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.config import OPTION_PREFIX

_ITS_TEXT = object()


@dataclass(frozen=True)
class Fact:
    """Something that is neither good nor bad: ``text`` for people, ``value`` for programs."""

    name: str
    text: str
    value: Any


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    ``name``: the kind, for programs; ``sentence``: what it is and what follows from it;
    ``command``: what mends it, a line for a shell; ``by``: who may run that, as uids, none for
    anybody. ``fix`` does it, where this process may and nothing of others is lost by it, and
    raises OSError; ``unfixed`` says why it is left to people where it is None.
    """

    name: str
    sentence: str
    command: str
    by: tuple[int, ...] = ()
    fix: Callable[[], None] | None = None
    unfixed: str = ""

    @property
    def whose(self) -> str:
        """Who may run the command, in words; "" for anybody."""
        return " or ".join(dict.fromkeys(trust.user_name(uid) for uid in self.by))


@dataclass
class DoctorReport:
    """What was found so far."""

    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add_fact(self, name: str, text: str, value: Any = _ITS_TEXT) -> None:
        """Add a fact; its text is its value where none is given."""
        self.facts.append(Fact(name, text, text if value is _ITS_TEXT else value))

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        self.findings.append(finding)

    def add_finding(
        self,
        name: str,
        sentence: str,
        command: str,
        by: tuple[int, ...] = (),
        mend: Callable[[], None] | None = None,
        unmended: str = "",
    ) -> None:
        """Add the finding that has these fields."""
        self.add(Finding(name, sentence, command, by, mend, unmended))


def may_act_for(*owners: int) -> bool:
    """Whether this process may change what belongs to ``owners``: it is theirs, or root asks."""
    return trust.user_id() == 0 or set(owners) == {trust.user_id()}


def quoted(path: Path | str) -> str:
    """``path`` as one word of a shell command."""
    return shlex.quote(str(path))


def enumeration(paths: Sequence[Path], most: int = 3) -> str:
    """Some of ``paths`` for a sentence, and how many more there are."""
    named = ", ".join(map(str, paths[:most]))
    more = len(paths) - most
    return f"{named} and {more} more" if more > 0 else named


def words(paths: Iterable[Path | str]) -> str:
    """``paths`` as words of a shell command."""
    return " ".join(map(quoted, paths))


def forget(name: str, source: str) -> str:
    """The command that takes back a setting that was found in ``source``."""
    words = source.split()
    if words[0] == "environment":
        return f"unset {words[-1]}"
    if words[0] == "option":
        return f"unset {OPTION_PREFIX}{name.replace('-', '_').upper()}"
    pattern = name.replace("-", "[-_]")
    return f"sed -i '/^{pattern} *[=:]/d' {quoted(source)}"
