"""Records of the runs that used a store: one small file for each run, written by its user.

Each run leaves a new file below ``use/<uid>/``. If there are many, the files of one host are
gathered into one of bounded size. No file is written in place, so hosts lose no records of each
other. Other users write these files, so each value is checked for its type before use.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pip_sharedcache import fs, trust
from pip_sharedcache.fs import HOST, Directory
from pip_sharedcache.model import Installed, is_nameable
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.usage_marks import names_of, users

_RUN = f"run-{HOST}-"
_RECORDS = ("run-", "runs-")  # of any host
_GATHERED = f"runs-{HOST}"
_GATHERING = f"gathering-{HOST}"
_COLLECTED = "collected-"
#: Where a distribution of a run came from (model.Installed.how).
HOW = ("found", "added", "pip", "pulled")
#: What a run did with a resolution.
RESOLUTIONS = ("", "recorded", "reused")
_MANY = 64  # records; if there are more, they are gathered
_MOST = 1 << 19  # bytes of a gathered file; the oldest runs are dropped
_DAY = 24 * 3600  # seconds
_STUCK = 60  # seconds after which a gathering process counts as killed
_LONGEST = 4096  # characters of a text in a record
_LONGEST_TITLE = 255  # characters, as in file names


@dataclass(frozen=True)
class Run:
    """One run of pip that installed something.

    ``at``: seconds since the epoch.
    ``environment``: the prefix of the interpreter; "" if the user's settings withhold it.
    ``mode``: the link mode that was requested.
    ``refused``: why that link mode was not available; "" if it was.
    ``seconds``: the duration, the work of pip included.
    ``not_downloaded``: bytes that the run did not download.
    ``not_copied``: bytes that the run did not copy.
    ``compiled``: bytes of the source that the run compiled.
    ``compile_seconds``: the duration of that compilation.
    ``reused``: bytes of the source that had bytecode already.
    ``distributions``: what the run installed.
    ``resolution``: "recorded" or "reused" if the run did so with a resolution; else "".
    ``requests_saved``: requests that the reused resolution saved.
    ``seconds_saved``: the time that it saved.
    """

    at: int
    environment: str
    mode: str
    refused: str
    seconds: float
    not_downloaded: int
    not_copied: int
    compiled: int
    compile_seconds: float
    reused: int
    distributions: tuple[Installed, ...]
    resolution: str = ""
    requests_saved: int = 0
    seconds_saved: float = 0.0


@dataclass(frozen=True)
class Collection:
    """One garbage collection.

    ``at``: seconds since the epoch.
    ``entries``: the number of entries that it retired.
    ``size``: the bytes of these entries.
    """

    at: int
    entries: int
    size: int


def append_run(store: Store, run: Run) -> None:
    """Write a record of ``run``. Raises OSError, as usage_marks.mark_used does."""
    line = json.dumps(asdict(run)) + "\n"
    with store.own_usage_marks() as held:
        held.replace(f"{_RUN}{secrets.token_hex(8)}", line.encode("ascii"))
        names = held.names()
        fresh = [name for name in names if name.startswith(_RUN)]
        others = [name for name in names if name.startswith(_RECORDS) and HOST not in name]
        if len(others) > _MANY:
            fresh += _taken_over(held, others)
        if len(fresh) > _MANY:
            _gather(held, fresh)


def runs(store: Store) -> Iterator[tuple[int, Run]]:
    """Yield the uid of the user and the run for each valid record, in no order."""
    for user, held in users(store):
        for name in names_of(store, held, None):
            if name.startswith(_RECORDS):
                with contextlib.suppress(OSError):  # gathered meanwhile, or unreadable
                    for run in _read(user, held, name):
                        yield user, run


def append_collection(store: Store, one: Collection) -> None:
    """Write a record of ``one``; delete all but the last _MANY of this user. Raises OSError."""
    with store.own_usage_marks() as held:
        name = f"{_COLLECTED}{one.at:012d}-{secrets.token_hex(4)}"
        held.replace(name, json.dumps(asdict(one)).encode("ascii"))
        own = sorted(name for name in held.names() if name.startswith(_COLLECTED))
        for old in own[:-_MANY]:
            held.remove(old)


def collections(store: Store) -> Iterator[tuple[int, Collection]]:
    """Yield the uid of the user and the collection for each valid record, in no order."""
    for user, held in users(store):
        for name in names_of(store, held, None):
            if name.startswith(_COLLECTED):
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                    text, status = held.read(name)
                    told: Any = json.loads(text)
                    numbers = (_count(told[one]) for one in ("at", "entries", "size"))
                    if status.st_uid == user or not trust.OWNERS_MEAN_SOMETHING:
                        yield user, Collection(*numbers)


def _taken_over(held: Directory, others: Iterable[str]) -> list[str]:
    """Rename old records of other hosts to records of this host; return the new names.

    Each batch job or container may be a new host, which never gathers its records. A record is old
    after a day, a gathered file after 30 days.
    """
    taken = []
    now = fs.file_system_time(held.proc_path)
    for name in others:
        with contextlib.suppress(OSError):  # another host was faster
            patience = _DAY if name.startswith("run-") else 30 * _DAY
            if now - held.file_status(name).st_ctime > patience:
                new = f"{_RUN}{secrets.token_hex(8)}"
                os.rename(held.proc_path / name, held.proc_path / new)
                taken.append(new)
    return taken


def _gather(held: Directory, fresh: list[str]) -> None:
    """Put the runs of this host into one file.

    A second process leaves this to the first: each would lose records that the other has deleted.
    """
    try:
        age = fs.file_system_time(held.proc_path) - held.file_status(_GATHERING).st_ctime
        if 0 <= age < _STUCK:
            return
        held.remove(_GATHERING)
    except FileNotFoundError:
        pass
    try:
        with fs.create_file(held.proc_path / _GATHERING, 0o644):
            pass
    except FileExistsError:
        return
    try:
        lines = _lines(held, _GATHERED)
        for name in sorted(fresh):
            lines += _lines(held, name)
        lines.sort(key=_when)
        size = 0
        kept = []
        for line in reversed(lines):
            size += len(line) + 1
            if size > _MOST:
                break
            kept.append(line)
        held.replace(_GATHERED, b"".join(line + b"\n" for line in reversed(kept)))
        for name in fresh:
            held.remove(name)
    finally:
        held.remove(_GATHERING)


def _lines(held: Directory, name: str) -> list[bytes]:
    try:
        return held.read(name)[0].splitlines()
    except OSError:
        return []


def _when(line: bytes) -> int:
    run = _run(line)
    return run.at if run is not None else 0


def _read(user: int, held: Directory, name: str) -> Iterator[Run]:
    text, status = held.read(name)
    if trust.OWNERS_MEAN_SOMETHING and status.st_uid != user:
        return
    for line in text.splitlines():
        run = _run(line)
        if run is not None:
            yield run


def _run(line: bytes) -> Run | None:
    """Return the run that a line records, or None if the line is invalid."""
    try:
        told: Any = json.loads(line)
        return Run(
            at=_count(told["at"]),
            environment=_text(told["environment"]),
            mode=_text(told["mode"]),
            refused=_text(told["refused"]),
            seconds=_seconds(told["seconds"]),
            not_downloaded=_count(told["not_downloaded"]),
            not_copied=_count(told["not_copied"]),
            compiled=_count(told["compiled"]),
            compile_seconds=_seconds(told["compile_seconds"]),
            reused=_count(told["reused"]),
            distributions=tuple(map(_installed, told["distributions"])),
            # Records of older versions lack the rest.
            resolution=_one_of(RESOLUTIONS, told.get("resolution", "")),
            requests_saved=_count(told.get("requests_saved", 0)),
            seconds_saved=_seconds(told.get("seconds_saved", 0.0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _installed(told: Any) -> Installed:
    title, how, why = (_text(told[name]) for name in ("title", "how", "why"))
    if len(title) > _LONGEST_TITLE or how not in HOW:
        raise TypeError("no distribution")
    pulled = told.get("pulled", False)  # records of older versions lack it
    if not isinstance(pulled, bool):
        raise TypeError("no truth value")
    return Installed(title, _count(told["size"]), how, why, pulled)


def _text(told: object) -> str:
    """Return the text ``told``. Raises TypeError for one that cannot be (part of) a path."""
    if not isinstance(told, str) or len(told) > _LONGEST or not is_nameable(told):
        raise TypeError("no text")
    return told


def _one_of(words: tuple[str, ...], told: object) -> str:
    if told not in words:
        raise TypeError(f"none of {words}")
    return str(told)


def _count(told: object) -> int:
    if not isinstance(told, int) or not 0 <= told < 1 << 50:
        raise TypeError("no number of bytes or seconds")
    return told


def _seconds(told: object) -> float:
    if not isinstance(told, (int, float)) or not 0 <= told < 1e8 or math.isnan(told):
        raise TypeError("no number of seconds")
    return float(told)
