"""Temporary files and directories whose names contain their process.

A later process thus finds and deletes the files of a killed process.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.fs.dirfd import Directory
from pip_sharedcache.fs.host import HOST, alive, file_system_time
from pip_sharedcache.fs.trees import remove_tree

_NAME = re.compile(r"\.?pip-sharedcache-([A-Za-z0-9]+)-([0-9]{1,10})-[\w-]+")
_STALE = 7 * 24 * 3600  # seconds after which a file of another host counts as left over

_swept: set[Path] = set()


def temporary_name() -> str:
    """Return a new name that contains this process's number and cannot be guessed."""
    return f"pip-sharedcache-{HOST}-{os.getpid()}-{secrets.token_hex(8)}"


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory that only this user can access, yield its path, and delete it.

    Also delete the directories that killed processes of this user left. Raises OSError.
    """
    above = Path(tempfile.gettempdir())
    sweep_temporary(above)
    prefix = f"{temporary_name().rpartition('-')[0]}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=above) as directory:
        yield Path(directory)


def sweep_temporary(above: Path) -> None:
    """Delete the files of this user's killed processes in ``above``, once per process.

    Never raises.
    """
    if above in _swept:
        return
    _swept.add(above)
    with contextlib.suppress(OSError), Directory.open(above) as held:
        for named in filter(None, map(_NAME.fullmatch, held.names())):
            with contextlib.suppress(OSError):
                _remove(held, named[0], named[1], int(named[2]))


def _remove(held: Directory, name: str, host: str, pid: int) -> None:
    status = held.file_status(name)
    # Other users can write to the directory under any name: delete only files of this user.
    if not trust.OWNERS_MEAN_SOMETHING or status.st_uid != trust.user_id():
        return
    if host == HOST:
        if pid == os.getpid() or alive(pid):
            return
    elif file_system_time(held.proc_path) - status.st_ctime < _STALE:
        return
    if stat.S_ISDIR(status.st_mode):
        remove_tree(held.path / name, held)
    elif stat.S_ISREG(status.st_mode):
        held.remove(name)
