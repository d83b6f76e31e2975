"""What installations made of a store: one small record for each run, written by its user.

Below ``use/<uid>/`` each run leaves a new file; when there are many of them, those of one host are
gathered into one of a bounded size. Nothing is written in place, so that nothing is lost between
hosts. Whatever is read is somebody else's word, and typed before it is used.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pip_sharedcache import fs, trust
from pip_sharedcache.fs import HOST, Directory
from pip_sharedcache.model import Installed
from pip_sharedcache.store.layout import Store
from pip_sharedcache.store.usage_marks import users

_RUN = f"run-{HOST}-"
_RECORDS = ("run-", "runs-")  # of any host
_GATHERED = f"runs-{HOST}"
_GATHERING = f"gathering-{HOST}"
_COLLECTED = "collected-"
_MANY = 64  # runs; then they are gathered
_MOST = 1 << 19  # bytes of what is gathered; the oldest runs go first
_DAY = 24 * 3600  # seconds
_STUCK = 60  # seconds after which whoever gathers has been killed
_LONGEST = 4096  # characters of a text in it
_LONGEST_TITLE = 255  # as of file names


@dataclass(frozen=True)
class Run:
    """One run of pip that installed something.

    ``at``: seconds since the epoch; ``environment``: the prefix of the interpreter, "" where its
    user does not tell; ``mode``: the link mode that was asked for, and why it was not to be had
    (``refused``, "" where it was); ``seconds``: how long it took, pip's part included.
    ``not_downloaded``, ``not_copied``: bytes. ``compiled``: bytes of source, in
    ``compile_seconds``; ``reused``: those whose bytecode was there.
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


@dataclass(frozen=True)
class Collection:
    """A garbage collection took ``entries`` of ``size`` bytes out of sight, ``at`` seconds since
    the epoch."""

    at: int
    entries: int
    size: int


def append_run(store: Store, run: Run) -> None:
    """Leave a record of ``run``. Raises OSError, as marks.mark does."""
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
    """Every run that is told of, in no order, with the uid of who made it."""
    for user, held in users(store):
        for name in held.names():
            if name.startswith(_RECORDS):
                with contextlib.suppress(OSError):  # gathered meanwhile, or not for us to read
                    for run in _read(user, held, name):
                        yield user, run


def append_collection(store: Store, one: Collection) -> None:
    """Leave a record of a collection; those before the last _MANY go. Raises OSError."""
    with store.own_usage_marks() as held:
        name = f"{_COLLECTED}{one.at:012d}-{secrets.token_hex(4)}"
        held.replace(name, json.dumps(asdict(one)).encode("ascii"))
        own = sorted(name for name in held.names() if name.startswith(_COLLECTED))
        for old in own[:-_MANY]:
            held.remove(old)


def collections(store: Store) -> Iterator[tuple[int, Collection]]:
    """Every collection that is told of, in no order, with the uid of who made it."""
    for user, held in users(store):
        for name in held.names():
            if name.startswith(_COLLECTED):
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                    text, status = held.read(name)
                    told: Any = json.loads(text)
                    numbers = (_count(told[one]) for one in ("at", "entries", "size"))
                    if status.st_uid == user or not trust.OWNERS_MEAN_SOMETHING:
                        yield user, Collection(*numbers)


def _taken_over(held: Directory, others: Iterable[str]) -> list[str]:
    """Those of ``others`` of which nothing was heard for long, as records of this host: each batch
    job or container may be a host by itself, and never comes again."""
    taken = []
    for name in others:
        with contextlib.suppress(OSError):  # another host does the same, and was faster
            patience = _DAY if name.startswith("run-") else 30 * _DAY
            if time.time() - held.file_status(name).st_ctime > patience:
                new = f"{_RUN}{secrets.token_hex(8)}"
                os.rename(held.proc_path / name, held.proc_path / new)
                taken.append(new)
    return taken


def _gather(held: Directory, fresh: list[str]) -> None:
    """Put the runs of this host into one file. Two processes at it would lose what the other one
    has deleted, so that the second leaves it to the first."""
    try:
        age = time.time() - held.file_status(_GATHERING).st_ctime
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
    """What a line says; None where it is not of this kind."""
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
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _installed(told: Any) -> Installed:
    title, how, why = (_text(told[name]) for name in ("title", "how", "why"))
    if len(title) > _LONGEST_TITLE or how not in ("found", "added", "pip"):
        raise TypeError("no distribution")
    return Installed(title, _count(told["size"]), how, why)


def _text(told: object) -> str:
    if not isinstance(told, str) or len(told) > _LONGEST:
        raise TypeError("no text")
    return told


def _count(told: object) -> int:
    if not isinstance(told, int) or not 0 <= told < 1 << 50:
        raise TypeError("no number of bytes or seconds")
    return told


def _seconds(told: object) -> float:
    if not isinstance(told, (int, float)) or not 0 <= told < 1e8 or math.isnan(told):
        raise TypeError("no number of seconds")
    return float(told)
