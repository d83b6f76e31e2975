"""What killed publishers leave behind: staging directories that nobody fills any more."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory

logger = logging.getLogger(__name__)

_STALE = 6 * 3600  # seconds after which a staging directory of ours on another host is left over

#: Staging directories of this process. In a container an earlier process may have had its number.
in_use: set[str] = set()
_swept: set[Path] = set()


def sweep(shard: Directory) -> None:
    """Remove staging directories that killed publishers of ours (as root: anybody's) left in
    ``shard``, once a run: listing it takes the longer the more the store holds."""
    if shard.path in _swept:
        return
    _swept.add(shard.path)
    for name in shard.names():
        if name in in_use or not name.startswith(".new-"):
            continue
        try:
            status = shard.file_status(name)
            foreign = trust.user_id() not in (0, status.st_uid)
            if foreign or not stat.S_ISDIR(status.st_mode):
                continue
            _, host, pid, _ = name.split("-", 3)
            if host == fs.HOST:
                left_over = not fs.alive(int(pid))
            else:
                left_over = fs.file_system_time(shard.proc_path) - status.st_mtime > _STALE
            if left_over:
                fs.remove_tree(shard.path / name, shard)
        except (OSError, ValueError):
            continue  # a neighbour removed it, or it is not one of ours


def clear(path: Path) -> None:
    """Delete a directory of ours that nobody is to see. Never raises: what a store that became
    read-only, or went away, does not let go of is cleared by a later run."""
    try:
        if os.path.lexists(path):
            fs.remove_tree(path)
    except OSError as error:
        logger.debug("%s is left over: %s", path, reason(error))
