"""The publishers in a store, whether they are trusted, and the owners of usage marks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.doctor.report import DoctorReport, enumeration, quoted, words
from pip_sharedcache.model import StoredFile
from pip_sharedcache.store import (
    BYTECODE,
    SHARDS,
    USE,
    WHEELS,
    Store,
    distrust_reason,
    read_manifest,
)


@dataclass
class Publishers:
    """The publishers of the entries in a store.

    ``entries``: the number of entries, by uid and by the reason for distrust ("" for trusted ones).
    ``sample``: a trusted entry for trials, of another user if possible; None if there is none.
    ``sample_publisher``: the uid of its publisher.
    ``writable``: the entries that others may write, by their publisher.
    """

    entries: Counter[tuple[int, str]] = field(default_factory=Counter)
    sample: Path | None = None
    sample_publisher: int = -1
    writable: dict[int, list[Path]] = field(default_factory=dict)


def look_at_publishers(report: DoctorReport, store: Store, *, mapped: bool) -> Publishers:
    """Report the publishers and their number of entries, and the publishers that are untrusted.

    ``mapped``: whether a user namespace hides some owners.
    """
    found = _survey(store)
    known: dict[str, dict[str, int]] = {}
    for (uid, objection), number in sorted(found.entries.items()):
        counts = known.setdefault(trust.user_name(uid), {})
        counts[objection] = counts.get(objection, 0) + number
    parts = [
        f"{number} of {name}" + (f" (checked in a copy: {name} {objection})" if objection else "")
        for name, counts in known.items()
        for objection, number in counts.items()
    ]
    report.add_fact("entries", "; ".join(parts) or "none yet", known)
    nobody = {uid: n for (uid, _), n in found.entries.items() if uid in trust.NOBODY}
    if nobody and not mapped:
        _find_nobody(report, store, nobody)
    for uid, paths in found.writable.items():
        who = trust.user_name(uid)
        report.add_finding(
            "entry-writable",
            f"Others may write {enumeration(paths)} of {who}: the content is not trusted",
            f"chmod -R go-w {words(paths)}",
            (0, uid),
            unfixed="others may have changed it: see store verify",
        )
    return found


def _find_nobody(report: DoctorReport, store: Store, nobody: dict[int, int]) -> None:
    number = sum(nobody.values())
    areas = words([store.path / WHEELS, store.path / BYTECODE])
    owners = " -o ".join(f"-uid {uid}" for uid in nobody)
    report.add_finding(
        "nobody",
        f"{number} entries belong to uid {', '.join(map(str, nobody))}, which may be anyone "
        "(a squashed or unmapped owner): they are not trusted",
        f"find {areas} -mindepth 2 -maxdepth 2 -type d \\( {owners} \\) -exec rm -r {{}} +",
        (0,),
        unfixed="doctor deletes no entries",
    )


def _survey(store: Store) -> Publishers:
    found = Publishers()
    own = trust.user_id()
    for area, chain in _shards(store):
        shard = chain[0]
        for name in shard.names():
            if name.startswith("."):
                continue
            try:
                with shard.subdirectory(name) as held:
                    status, objection = held.status(), distrust_reason(store, held, chain)
            except OSError:
                continue  # retired meanwhile, or not an entry
            path = shard.path / name
            found.entries[status.st_uid, objection] += 1
            if trust.writable_by_others(status):
                found.writable.setdefault(status.st_uid, []).append(path)
            better = found.sample is None or own == found.sample_publisher != status.st_uid
            if area == WHEELS and better and not objection:
                found.sample, found.sample_publisher = path, status.st_uid
    return found


def _shards(store: Store) -> Iterator[tuple[str, tuple[Directory, ...]]]:
    """Yield each existing shard: its area, and the chain of directories on which trust depends.

    The chain starts with the shard. The directories are open until the next shard is asked for.
    """
    with Directory.open(store.path) as top:
        for area in (WHEELS, BYTECODE):
            try:
                above = top.subdirectory(area)
            except OSError:
                continue  # not made yet, or not readable: directories.py reports this
            with above:
                for name in SHARDS:
                    try:
                        shard = above.subdirectory(name)
                    except OSError:
                        continue
                    with shard:
                        yield area, (shard, above, top)


def sample_file(held: Directory) -> StoredFile | None:
    """Return the largest file of the entry ``held``; None if the manifest is damaged or empty."""
    try:
        manifest, _ = read_manifest(held)
    except (DamagedEntry, OSError):
        return None
    return max(manifest.files, key=lambda file: file.size, default=None)


def look_at_use(report: DoctorReport, store: Store) -> None:
    """Report whether usage marks, which garbage collection reads, can be kept."""
    above = store.path / USE
    squatted: dict[int, list[Path]] = {}
    try:
        names = sorted(os.listdir(above))
    except OSError:
        return  # not made yet, or not readable: directories.py reports this
    for name in names:
        try:
            status = (above / name).lstat()
        except OSError:
            continue
        theirs = trust.OWNERS_MEAN_SOMETHING and name.isdecimal() and status.st_uid != int(name)
        if theirs and trust.user_id() in (0, int(name)):
            squatted.setdefault(status.st_uid, []).append(above / name)
    for uid, paths in squatted.items():
        report.add_finding(
            "use",
            f"{enumeration(paths)} belongs to {trust.user_name(uid)}: the user of that "
            "number cannot keep usage marks, and store gc may delete entries that this user needs",
            f"rm -r {words(paths)}",
            (0, uid),
            unfixed=f"{trust.user_name(uid)} owns it",
        )
    own = above / str(trust.user_id())
    noted = f"in {quoted(own)}" if own.is_dir() else "from the first installation on"
    report.add_fact("use", noted, str(own) if own.is_dir() else None)
