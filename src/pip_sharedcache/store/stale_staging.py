"""Staging directories that killed publishers left behind, and their removal."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import reason
from pip_sharedcache.fs import Directory

logger = logging.getLogger(__name__)

#: Staging directories of this process, by name: an earlier process in a container may have had its
#: pid.
in_use: dict[str, Path] = {}
_swept: set[Path] = set()


def sweep(shard: Directory) -> None:
    """Remove staging directories that killed publishers of this user left in ``shard``.

    As root, those of all users. Each run does this once for a shard, because a listing takes longer
    the more entries the store has. Raises OSError if the shard cannot be listed.
    """
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
                left_over = fs.is_stale(shard.proc_path, status.st_mtime)
            if left_over:
                fs.remove_tree(shard.path / name, shard)
        except (OSError, ValueError):
            continue  # another process removed it, or the name has another form


def clear_own() -> None:
    """Delete all staging directories of this process, not those of its parent process.

    An interruption can come before the staged entry is recorded elsewhere.
    """
    own = f".new-{fs.HOST}-{os.getpid()}-"
    for name, path in in_use.items():
        if name.startswith(own):
            clear(path)


def clear(path: Path) -> None:
    """Delete the directory ``path`` of this user, which no lookup finds. Never raises.

    If the store is read-only or unreachable by now, a later run deletes the directory.
    """
    try:
        if os.path.lexists(path):
            fs.remove_tree(path)
    except OSError as error:
        logger.debug("%s is left over: %s", path, reason(error))
