"""Temporary files and directories whose names say which process they belong to, so that those of a
killed process are removed by a later one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.fs.dirfd import Directory
from pip_sharedcache.fs.host import HOST, alive
from pip_sharedcache.fs.trees import remove_tree

_NAME = re.compile(r"\.?pip-sharedcache-([A-Za-z0-9]+)-([0-9]{1,10})-[\w-]+")
_STALE = 7 * 24 * 3600  # seconds after which what another host left is left over

_swept: set[Path] = set()


def temporary_name() -> str:
    """A new name that tells of this process, and that nobody can guess."""
    return f"pip-sharedcache-{HOST}-{os.getpid()}-{secrets.token_hex(8)}"


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new directory of this user's alone, deleted at the end. Those that killed processes of this
    user left beside it are deleted, too. Raises OSError."""
    above = Path(tempfile.gettempdir())
    sweep_temporary(above)
    prefix = f"{temporary_name().rpartition('-')[0]}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=above) as directory:
        yield Path(directory)


def sweep_temporary(above: Path) -> None:
    """Delete what killed processes of this user left in ``above``, once a process. Never raises."""
    if above in _swept:
        return
    _swept.add(above)
    with contextlib.suppress(OSError), Directory.open(above) as held:
        for name in filter(_NAME.fullmatch, held.names()):
            with contextlib.suppress(OSError):
                _remove(held, name)


def _remove(held: Directory, name: str) -> None:
    status = held.file_status(name)
    named = _NAME.fullmatch(name)
    # Whoever else may write there can put anything there, under any name.
    if named is None or not trust.OWNERS_MEAN_SOMETHING or status.st_uid != trust.user_id():
        return
    host, pid = named[1], int(named[2])
    if host == HOST:
        if pid == os.getpid() or alive(pid):
            return
    elif time.time() - status.st_ctime < _STALE:
        return
    if stat.S_ISDIR(status.st_mode):
        remove_tree(held.path / name, held)
    elif stat.S_ISREG(status.st_mode):
        held.remove(name)
