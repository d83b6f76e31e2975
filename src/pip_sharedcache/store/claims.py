"""Claims: which wheels a run is about to download and publish, so that other runs can wait for it.

A claim is a file ``use/<uid>/getting-<host>-<pid>-…`` with digests, which its run deletes. Nothing
rests on it: a run that sees no claim, or waits for nothing, downloads by itself. Claims are in one
order for all runs, by the clock of the file system, and each run waits for older ones only: no two
runs wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pip_sharedcache import fs, trust
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.entry_trust import distrust_reason
from pip_sharedcache.store.layout import USE, Store
from pip_sharedcache.store.usage_marks import CLAIM, users

#: Seconds. The claim of another host, whose process cannot be asked, counts for so long after it
#: was made or renewed.
LIFETIME = 60.0

_NAME = re.compile(rf"{CLAIM}(?P<host>[A-Za-z0-9]+)-(?P<pid>[0-9]{{1,10}})-[0-9a-f]+")
_MOST = 1 << 20  # bytes


@dataclass(frozen=True)
class Claim:
    """The claim of one run.

    ``user``: the uid of the user.
    ``name``: the name of the file.
    ``since``: when it was made, in nanoseconds since the epoch, by the clock of the file system.
    ``digests``: the wheels.
    ``read``: when this process read or made it (time.monotonic).
    """

    user: int
    name: str
    since: int
    digests: frozenset[str]
    read: float = field(default_factory=time.monotonic, compare=False)

    @property
    def order(self) -> tuple[int, str]:
        """Return the place of the claim in the order of all claims."""
        return self.since, self.name


def make(store: Store, digests: Iterable[str]) -> Claim:
    """Claim the wheels ``digests`` for this process. Raises OSError.

    Claims that killed runs of this user left are deleted.
    """
    name = f"{CLAIM}{fs.HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    wanted = frozenset(digests)
    with store.own_usage_marks() as held:
        held.replace(name, _content(wanted))
        since = held.file_status(name).st_ctime_ns
        for left in filter(_NAME.fullmatch, held.names()):
            with contextlib.suppress(OSError):
                if left != name and _is_left_over(held, left):
                    held.remove(left)
    return Claim(trust.user_id(), name, since, wanted)


def renew(store: Store, claim: Claim) -> None:
    """Let ``claim`` of this process count for LIFETIME from now on. Never raises."""
    with contextlib.suppress(OSError), store.own_usage_marks() as held:
        held.file_status(claim.name)
        held.replace(claim.name, _content(claim.digests))


def release(store: Store, claim: Claim) -> None:
    """Delete ``claim`` of this process. Never raises: one of an ended process does not count."""
    with contextlib.suppress(OSError), store.opened(USE, str(claim.user)) as (held, *_):
        held.remove(claim.name)


def older(store: Store, own: Claim) -> list[Claim]:
    """Return the claims of trusted publishers before ``own`` that have some of its digests.

    Those of ended processes, and of the processes that started this one, are left out: they wait
    for this one. Never raises.
    """
    found = []
    above = _ancestors()
    for user, held in users(store):
        with contextlib.suppress(OSError):
            names = [match for match in map(_NAME.fullmatch, held.names()) if match]
            if not names or not _is_trusted(store, user):
                continue
            for match in names:
                if match[0] == own.name or (
                    match["host"] == fs.HOST and int(match["pid"]) in above
                ):
                    continue
                with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
                    text, status = held.read(match[0], _MOST)
                    digests = frozenset(map(str, json.loads(text)))
                    claim = Claim(user, match[0], status.st_ctime_ns, digests)
                    is_older = claim.order < own.order and digests & own.digests
                    if is_older and status.st_uid == user and is_kept(store, claim, own):
                        found.append(claim)
    return found


def is_kept(store: Store, claim: Claim, own: Claim) -> bool:
    """Return whether the run of ``claim`` still has it; False if that is not known."""
    match = _NAME.fullmatch(claim.name)
    try:
        with store.opened(USE, str(claim.user)) as (held, *_):
            renewed = held.file_status(claim.name).st_ctime
        if match is None:
            return False
        if match["host"] != fs.HOST:
            now = own.since / 10**9 + time.monotonic() - own.read
            return now - renewed < LIFETIME
        pid = int(match["pid"])
        return fs.alive(pid) and os.stat(f"/proc/{pid}").st_uid in (claim.user, 0)
    except OSError:
        return False


def _content(digests: Iterable[str]) -> bytes:
    return json.dumps(sorted(digests)).encode("ascii")


def _is_trusted(store: Store, user: int) -> bool:
    with store.opened(USE, str(user)) as (held, *chain):
        return not distrust_reason(store, held, chain)


def _is_left_over(held: Directory, name: str) -> bool:
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if match["host"] == fs.HOST:
        return int(match["pid"]) != os.getpid() and not fs.alive(int(match["pid"]))
    return fs.is_stale(held.proc_path, held.file_status(name).st_mtime)


def _ancestors() -> set[int]:
    """Return the numbers of this process and of those above it; proc_pid_stat(5)."""
    found = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found
