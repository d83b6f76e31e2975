"""The command `verify`, which checks every byte of the entries, and repairs damaged ones."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pip_sharedcache import trust
from pip_sharedcache.cli.output import FINDINGS, FINE, NAMES, Output, reasons
from pip_sharedcache.cli.quantities import counted, entries
from pip_sharedcache.cli.remotes import add_remote_option, verify_remote
from pip_sharedcache.cli.stores import (
    main_store,
    settings_in_use,
    store_in_use,
    store_to_change,
)
from pip_sharedcache.errors import UsageError
from pip_sharedcache.maintenance.entries import copied_lines, read_entries, unread_lines
from pip_sharedcache.maintenance.heal import Check, check
from pip_sharedcache.maintenance.setup import level
from pip_sharedcache.maintenance.signatures import CheckedSignature, check_signatures
from pip_sharedcache.maintenance.verdict import Damage
from pip_sharedcache.store import AREAS, Store, list_signatures, signers_of

HELP = "check every byte of every entry"
DESCRIPTION = (
    "Compare every file of every entry with the entry's own wheel, whose digest "
    "is the entry's name. Exit status 1 means that an entry is damaged, repaired or not, or could "
    "not be read; with --signatures, that a signature does not count."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command to ``parser``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES)
    parser.add_argument(
        "--fix", action="store_true", help="repair your entries (as root: all entries)"
    )
    parser.add_argument(
        "--signatures",
        action="store_true",
        help="check the signatures instead, and every byte that is signed",
    )
    what = "check the objects of this remote store, or of all that the setting dir names"
    add_remote_option(parser, f"{what}; --fix deletes those that no run uses")


#: Faults of one kind in one entry, and entries with the same kinds of faults, that have lines each.
_MOST_ALIKE = 3


def run(chosen: argparse.Namespace, output: Output) -> int:
    """Run the command, and return the exit status."""
    if chosen.remote is not None:
        if chosen.signatures:
            raise UsageError("--remote checks the signatures in any case: leave out --signatures")
        return verify_remote(chosen, output)
    if chosen.signatures:
        return _check_signatures(chosen, output)
    return _check_entries(chosen, output)


@dataclass
class _Results:
    """The results of the checks of all entries.

    ``checked``: the number of entries that were compared with their wheels.
    ``damaged``: the damaged entries without those in ``copied``.
    ``copied``: the entries that a copy of the store left without their times.
    ``unread``: the entries that cannot be read, and why.
    ``alike``: the number of damaged entries of each likeness.
    """

    checked: int = 0
    damaged: list[Check] = field(default_factory=list)
    copied: list[Check] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)
    alike: Counter[_Likeness] = field(default_factory=Counter)

    def add(self, one: Check) -> None:
        """Add the result of one check."""
        if one.verdict.unread:
            self.unread[one.verdict.item.path] = _what_is_unread(one)
        self.checked += bool(one.verdict.damage or not one.verdict.unread)
        if one.verdict.damage:
            self.alike[_likeness(one)] += 1
            (self.copied if one.verdict.is_copied else self.damaged).append(one)

    @property
    def fixed(self) -> int:
        """Return the number of repaired entries."""
        found = (*self.damaged, *self.copied)
        return sum(one.healing is not None and one.healing.done for one in found)


def _check_entries(chosen: argparse.Namespace, output: Output) -> int:
    store = store_to_change(output) if chosen.fix else store_in_use(output)
    contents = read_entries(store, chosen.names, AREAS, uses=False)
    results = _Results(unread=dict(contents.unread))
    found = check(store, contents.items, fix=chosen.fix)
    for one in output.progress(found, "Checked", len(contents.items)):
        if one is not None:  # else the entry vanished or was replaced meanwhile
            results.add(one)
            _tell_check(one, results, output)
    for line in _lines_of_more(results, output):
        output.find(line)
    copied, damaged = results.copied, results.damaged
    for line in copied_lines(store, [one.verdict.item for one in copied if not one.healing]):
        output.find(line)
    output.result(
        {
            "checked": results.checked,
            "damaged": list(map(_facts, damaged)),
            "copied": list(map(_facts, copied)),
            "missing": list(contents.missing),
            "unread": reasons(results.unread.items()),
        }
    )
    problems = replace(contents, unread=tuple(results.unread.items())).problems()
    output.find_or_warn(problems)
    output.say(_summary(store, results, fix=chosen.fix))
    if not chosen.fix and any(_may_repair(one.verdict.item.publisher) for one in damaged):
        output.say("hint: the same command with --fix repairs the damaged entries that are yours")
    return FINDINGS if damaged or copied or problems else FINE


def _tell_check(one: Check, results: _Results, output: Output) -> None:
    """Print the result of one check, which ``results`` have already."""
    item = one.verdict.item
    if not one.verdict.damage:
        if not one.verdict.unread:
            output.detail(f"{item.path}: {item.title} is sound")
        return
    like = _likeness(one)
    tell = output.find if results.alike[like] <= _MOST_ALIKE else output.detail
    if not one.verdict.is_copied:
        _tell(one, tell, output.detail)
    if one.healing:
        tell(f"{item.path} of {like.publisher}: {one.healing.what}")


def _lines_of_more(results: _Results, output: Output) -> list[str]:
    """Return a line for each kind of damage of more entries than were named."""
    return [
        like.line(number - _MOST_ALIKE)
        for like, number in results.alike.items()
        if number > _MOST_ALIKE and not output.verbose and (like.what or not like.copied)
    ]


def _summary(store: Store, results: _Results, *, fix: bool) -> str:
    damaged, copied = len(results.damaged), len(results.copied)
    line = f"Checked {entries(results.checked)} of {store.path}"
    if results.checked:
        line += f": {damaged} damaged" if damaged or copied else ": all are sound"
        line += f", {copied} copied without their times" if copied else ""
    return line + (f", {results.fixed} of them repaired." if (damaged or copied) and fix else ".")


def _check_signatures(chosen: argparse.Namespace, output: Output) -> int:
    if chosen.names or chosen.fix:
        raise UsageError("With --signatures, all signatures are checked, and none is repaired")
    settings = settings_in_use(output)
    store = main_store(settings, output)
    signers = signers_of(settings, [store])
    if signers is None:
        raise UsageError(
            "No signature is checked: no signers are named",
            f"pip config {level()} set sharedcache.signers /path/to/allowed_signers",
        )
    unread: list[tuple[Path, str]] = []
    there = list(list_signatures(store, unread))
    told: list[dict[str, Any]] = []
    for one in output.progress(check_signatures(store, there, signers), "Checked", len(there)):
        if one is None:
            continue  # deleted meanwhile
        told.append(_tell_signature(one, output))
    output.result({"signatures": told, "unread": reasons(unread)})
    problems = unread_lines(unread)
    output.find_or_warn(problems)
    wrong = sum(not (one["counts"] or one["gone"]) for one in told)
    end = "all count" if not wrong else f"{wrong} of them {'do' if wrong > 1 else 'does'} not count"
    number = counted(len(told), "signature", "signatures")
    output.say(f"Checked {number} of {store.path}" + (f": {end}." if told else "."))
    return FINDINGS if wrong or problems else FINE


def _tell_signature(one: CheckedSignature, output: Output) -> dict[str, Any]:
    """Print what is wrong with a signature; return all about it for the JSON result."""
    path, owner = one.signature.path, trust.user_name(one.signature.owner)
    about = f"{one.signature.kind} {one.signature.key}".strip()
    by = f", signed by {one.by}" if one.by else ""
    line = f"{path}: {about or 'no signature'}{by}: {one.why or 'it counts'} (file of {owner})"
    if one.why and not one.is_gone:
        output.find(line)
    else:
        output.detail(line)
    return {
        "path": str(path),
        "kind": one.signature.kind,
        "subject": one.signature.key,
        "signed_by": one.by or None,
        "owner": owner,
        "counts": not one.why,
        "gone": one.is_gone,
        "reason": one.why or None,
    }


def _what_is_unread(one: Check) -> str:
    """Return the first part of an entry that cannot be read, with the reason, and the others."""
    (path, why), *others = one.verdict.unread
    more = f", and {len(others)} more files" if others else ""
    what = f"{path}: {why}{more}" if path else why
    return f"{what}; {one.healing.what}" if one.healing and not one.verdict.damage else what


class _Likeness(NamedTuple):
    """What entries have in common whose lines are counted after the first ones.

    ``publisher``: the name of their owner. ``kinds``: those of their faults. ``what``: the result
    of their repair; "" for none. ``copied``: as in Verdict.
    """

    publisher: str
    kinds: tuple[str, ...]
    what: str
    copied: bool

    def line(self, number: int) -> str:
        """Return the line for ``number`` more entries."""
        what = f"; {self.what}" if self.what else ""
        them = "entry" if number == 1 else "entries"
        have = "has" if number == 1 else "have"
        return (
            f"{number:,} more {them} of {self.publisher} {have} the same kind of damage "
            f"({', '.join(self.kinds)}){what} (-v names each)"
        )


def _likeness(one: Check) -> _Likeness:
    who = trust.user_name(one.verdict.item.publisher)
    kinds = sorted({damage.kind for damage in one.verdict.damage})
    what = one.healing.what if one.healing else ""
    return _Likeness(who, tuple(kinds), what, one.verdict.is_copied)


def _tell(one: Check, tell: Callable[[str], None], detail: Callable[[str], None]) -> None:
    """Print the damage of an entry: by ``tell``, and by ``detail`` what is like it."""
    item, who = one.verdict.item, trust.user_name(one.verdict.item.publisher)
    by_kind: dict[str, list[Damage]] = {}
    for damage in one.verdict.damage:
        by_kind.setdefault(damage.kind, []).append(damage)
    for some in by_kind.values():
        alike = some[1:] if len(some) > _MOST_ALIKE else []
        for damage in some[: 1 if alike else None]:
            more = f", and {len(alike):,} more files have this fault" if alike else ""
            what = f"{item.path / damage.path} {damage.what}{more}"
            tell(f"{what} ({item.title}, published by {who})")
        for damage in alike:
            detail(f"{item.path / damage.path} {damage.what}")


def _may_repair(publisher: int) -> bool:
    return trust.user_id() in (0, publisher)


def _facts(one: Check) -> dict[str, Any]:
    """Return the damage of an entry and its repair, for the JSON result."""
    item = one.verdict.item
    fixed, how = one.healing or (None, "")
    return {
        "path": str(item.path),
        "area": item.area,
        "title": item.title,
        "sha256": item.digest,
        "publisher": trust.user_name(item.publisher),
        "damage": [vars(damage) for damage in one.verdict.damage],
        "fixed": fixed,
        "action": how or None,
    }
