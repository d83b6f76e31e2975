"""The result of an examination: facts, and findings with the command that fixes each."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache import trust
from pip_sharedcache.config import OPTION_PREFIX

#: The beginning of the names of facts about one of several stores; a number follows.
LAYER = "layer "
#: The same for facts about a remote store.
REMOTE = "remote "


@dataclass(frozen=True)
class Fact:
    """A neutral piece of information.

    ``name``: the kind, for programs.
    ``text``: the information, for people.
    ``value``: the information, for programs.
    """

    name: str
    text: str
    value: Any


@dataclass(frozen=True)
class Finding:
    """One fault.

    ``name``: the kind, for programs.
    ``sentence``: the fault and its consequence.
    ``command``: a line for a shell that fixes the fault.
    ``unfixed``: if ``fix`` is None, why the fault is left to people.
    ``by``: the uids that may run the command; empty if every user may.
    ``fix``: fixes the fault and raises OSError; None if this process may not, or other users could
    lose something.
    ``minor``: whether installations do not need what is missing.
    """

    name: str
    sentence: str
    command: str
    unfixed: str = ""
    by: Sequence[int] = ()
    fix: Callable[[], None] | None = None
    minor: bool = False

    @property
    def whose(self) -> str:
        """Return the names of the users who may run the command; "" if every user may."""
        return " or ".join(dict.fromkeys(trust.user_name(uid) for uid in self.by))


@dataclass
class DoctorReport:
    """The facts and findings so far."""

    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_faults(self) -> bool:
        """Return whether a finding is of more than minor weight."""
        return not all(one.minor for one in self.findings)

    def add_fact(self, name: str, text: str, value: Any = ...) -> None:
        """Add a fact; its value is its text if no value is given."""
        self.facts.append(Fact(name, text, text if value is ... else value))

    def add_finding(
        self,
        name: str,
        sentence: str,
        command: str,
        unfixed: str = "",
        by: Sequence[int] = (),
        fix: Callable[[], None] | None = None,
        *,
        minor: bool = False,
    ) -> None:
        """Add a finding with these fields; ``fix`` does not count if ``unfixed`` is given."""
        self.findings.append(
            Finding(name, sentence, command, unfixed, by, None if unfixed else fix, minor)
        )


def not_owner_of(*owners: int) -> str:
    """Return why this process may not act for ``owners``; "" for root and for the only owner."""
    may = trust.user_id() == 0 or set(owners) == {trust.user_id()}
    return "" if may else "another user owns it"


def quoted(*paths: Path | str) -> str:
    """Return ``paths`` as words of a shell command."""
    return shlex.join(map(str, paths))


def enumeration(paths: Sequence[Path], most: int = 3) -> str:
    """Return the first ``most`` of ``paths`` for a sentence, and the number of the others."""
    named = ", ".join(map(str, paths[:most]))
    more = len(paths) - most
    return f"{named} and {more} more" if more > 0 else named


def writers_of(path: Path | str) -> tuple[int, ...]:
    """Return the uids that may change the file ``path``.

    Empty if this user may, or if it is no file, such as the name of another source of a setting.
    """
    try:
        return () if os.access(path, os.W_OK) else (0, os.stat(path).st_uid)
    except OSError:
        return ()


def forget(name: str, source: str) -> str:
    """Return the command that removes the setting ``name`` from its ``source``."""
    words = source.split()
    if words[0] == "environment":
        return f"unset {words[-1]}"
    if words[0] == "option":
        return f"unset {OPTION_PREFIX}{name.replace('-', '_').upper()}"
    pattern = name.replace("-", "[-_]")
    return f"sed -i '/^{pattern} *[=:]/d' {quoted(source)}"
