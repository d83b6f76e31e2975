"""RPCs of an NFS mount by operation, as the client's kernel counts them (/proc/self/mountstats)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from support.hosts import Host

_OPERATION = re.compile(r"^\s*(\w+): (\d+) (\d+)\b", re.MULTILINE)


def parse(text: str, mount_point: Path) -> Counter[str]:
    """Operation to number of calls, of the file system at ``mount_point``; zeros are left out.

    Counted are calls, not transmissions: what had to be sent twice counts once. An operation of v4
    is one compound, named after what it is for.
    """
    for part in re.split(r"^device ", text, flags=re.MULTILINE):
        if f" mounted on {mount_point} with fstype nfs" in part.partition("\n")[0]:
            rows = _OPERATION.findall(part.partition("per-op statistics")[2])
            return Counter({name: int(calls) for name, calls, _ in rows if int(calls)})
    raise LookupError(f"no NFS is mounted at {mount_point}")


def count(host: Host, mount_point: Path) -> Counter[str]:
    """The calls of a host so far, since it mounted the file system there."""
    return parse(host.sh("cat /proc/self/mountstats"), mount_point)
