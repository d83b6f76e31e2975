"""The publishers in a store, whether they are trusted, and the owners of usage marks."""

from __future__ import annotations

import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import CopiedEntry, DamagedEntry, reason
from pip_sharedcache.fs import Directory, retry_stale
from pip_sharedcache.maintenance.doctor.report import DoctorReport, enumeration, quoted
from pip_sharedcache.maintenance.entries import unread_lines
from pip_sharedcache.model import Digest
from pip_sharedcache.store import (
    AREAS,
    SHARDS,
    USE,
    WHEELS,
    Store,
    distrust_reason,
    usage_marks,
)
from pip_sharedcache.store.entry_reading import read_entry
from pip_sharedcache.store.restored import COPIED
from pip_sharedcache.store.unread import is_damage
from pip_sharedcache.trust import identity

_MOST_NAMED = 3
_MOST_SAMPLES = 10  # entries of a publisher whose times are looked at


def look_at_publishers(report: DoctorReport, store: Store) -> Path | None:
    """Report the publishers and their number of entries, and the publishers that are untrusted.

    Return a trusted entry for trials, of another user if possible; None if there is none.
    """
    numbers: Counter[tuple[int, str]] = Counter()  # of entries, by uid and reason for distrust
    writable: dict[int, list[Path]] = defaultdict(list)
    samples: dict[bool, Path] = {}  # by whether the publisher is another user
    sampled: dict[int, list[Path]] = defaultdict(list)
    unread: list[tuple[Path, str]] = []
    for area, path, status, why in _entries(store, unread):
        numbers[status.st_uid, why] += 1
        if trust.writable_by_others(status):
            writable[status.st_uid].append(path)
        if area == WHEELS and len(sampled[status.st_uid]) < _MOST_SAMPLES:
            sampled[status.st_uid].append(path)
        if area == WHEELS and not why:
            samples.setdefault(status.st_uid != trust.user_id(), path)
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for (uid, why), number in sorted(numbers.items()):
        known[trust.user_name(uid)][why] += number
    parts = [
        f"{number} of {name}" + (f" (checked in a copy: {name} {why})" if why else "")
        for name, counts in known.items()
        for why, number in counts.items()
    ]
    facts = [
        {"publisher": name, "distrust_reason": why or None, "entries": number}
        for name, counts in known.items()
        for why, number in counts.items()
    ]
    report.add_fact("entries", "; ".join(parts) or "none yet", facts)
    _find_unread(report, store, unread)
    _find_copied(report, store, sampled)
    if not identity.users_are_mapped():
        _find_nobody(report, store, numbers)
    for uid, paths in writable.items():
        report.add_finding(
            "entry-writable",
            f"Others may write {enumeration(paths)} of {trust.user_name(uid)}: the content is not "
            "trusted",
            f"chmod -R go-w {quoted(*paths)}",
            "others may have changed it: see store verify",
            (0, uid),
        )
    return samples.get(True, samples.get(False))


def _find_unread(report: DoctorReport, store: Store, unread: list[tuple[Path, str]]) -> None:
    unread += usage_marks.unread_of(store)
    if unread:
        *lines, total = unread_lines(unread)
        report.add_finding(
            "unread",
            f"{lines[0]}. {total}",
            f"ls -la {quoted(*(path for path, _ in unread[:_MOST_NAMED]))}; dmesg | tail",
            "the system, the disk or the file server refuses to read it",
        )


def _find_copied(report: DoctorReport, store: Store, sampled: Mapping[int, list[Path]]) -> None:
    """Report the publishers whose entries lost their times; the first entries are looked at."""
    for uid, paths in sampled.items():
        copied = [path for path in paths if _is_copied(path)]
        if copied:
            who = trust.user_name(uid)
            report.add_finding(
                "copied",
                f"Entries of {who} in {store.path}, which belongs to "
                f"{trust.user_name(store.owner)}, {COPIED}, for example {copied[0]}: installations "
                "check the wheels in a copy, and use nothing else of them; `pip-sharedcache store "
                f"adopt {quoted(store.path)}` makes the store yours",
                "pip-sharedcache store verify",
                "only their owner can give them their times again",
                (uid,),
            )


def _is_copied(path: Path) -> bool:
    try:
        with Directory.open(path) as held:
            read_entry(held, held.status(), Digest(path.name[:64]), WHEELS)
    except CopiedEntry:
        return True
    except (OSError, DamagedEntry):
        return False  # others report what cannot be read, and verify reports damage
    return False


def _find_nobody(report: DoctorReport, store: Store, numbers: Counter[tuple[int, str]]) -> None:
    nobody = {uid: number for (uid, _), number in numbers.items() if uid in trust.NOBODY}
    if nobody:
        areas = quoted(*(store.path / area for area in AREAS if (store.path / area).is_dir()))
        owners = " -o ".join(f"-uid {uid}" for uid in nobody)
        report.add_finding(
            "nobody",
            f"{sum(nobody.values())} entries belong to uid {', '.join(map(str, nobody))}, which "
            "may be anyone (a squashed or unmapped owner): they are not trusted",
            f"find {areas} -mindepth 2 -maxdepth 2 -type d \\( {owners} \\) -exec rm -r {{}} +",
            "doctor deletes no entries",
            (0,),
        )


def _entries(
    store: Store, unread: list[tuple[Path, str]]
) -> Iterator[tuple[str, Path, os.stat_result, str]]:
    """Yield the area, path and status of each entry, and why it is not trusted ("" if it is).

    Shards and entries that cannot be read are added to ``unread``, with the reason.
    """
    for area in AREAS:
        for shard in SHARDS:
            try:
                yield from retry_stale(functools.partial(_of_shard, store, area, shard, unread))
            except OSError as error:
                if not is_damage(error):  # not made yet, or no directory: see directories.py
                    unread.append((store.path / area / shard, reason(error)))


def _of_shard(
    store: Store, area: str, shard: str, unread: list[tuple[Path, str]]
) -> list[tuple[str, Path, os.stat_result, str]]:
    found = []
    with store.opened(area, shard) as chain:
        for name in chain[0].names():
            if name.startswith("."):
                continue
            try:
                with chain[0].subdirectory(name) as held:
                    why = distrust_reason(store, held, chain)
                    found.append((area, held.path, held.status(), why))
            except OSError as error:
                if not is_damage(error):  # retired meanwhile, or not an entry
                    unread.append((chain[0].path / name, reason(error)))
    return found


def look_at_use(report: DoctorReport, store: Store) -> None:
    """Report whether usage marks, which garbage collection reads, can be kept."""
    squatted: dict[int, list[Path]] = defaultdict(list)
    for path, user, owner in sorted(usage_marks.squatters(store)):
        if trust.user_id() in (0, user):
            squatted[owner].append(path)
    for uid, paths in squatted.items():
        report.add_finding(
            "use",
            f"{enumeration(paths)} belongs to {trust.user_name(uid)}: the user of that number "
            "cannot keep usage marks, and store gc may delete entries that this user needs",
            f"rm -r {quoted(*paths)}",
            f"{trust.user_name(uid)} owns it",
            (0, uid),
        )
    own = store.path / USE / str(trust.user_id())
    if own.is_dir():
        report.add_fact("use", f"in {quoted(own)}", str(own))
    elif own.parent.is_dir():
        report.add_fact("use", "from the first installation on", None)
