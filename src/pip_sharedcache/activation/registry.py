"""The environments that this user enabled, so that `status --all` can list them.

Each has a file of its own in the user's data directory, so that two commands at once lose nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import config, fs, trust
from pip_sharedcache.errors import FileError, reason
from pip_sharedcache.trust import mounts

_LONGEST = 1 << 14  # bytes of a path
#: The names of records (``_name``). Files with other names are of other programs, or half written.
_RECORD = re.compile("[0-9a-f]{32}")


class Recorded(NamedTuple):
    """One environment that was enabled.

    ``prefix``: its directory.
    ``mount_point``: where the file system was mounted that it lay on; "" if that is unknown.
    """

    prefix: Path
    mount_point: str

    @property
    def is_unmounted(self) -> bool:
        """Return whether another file system is there now than the one it lay on."""
        point = mounts.mount_point_of(self.prefix)
        return bool(self.mount_point) and len(point) < len(self.mount_point)


class Known(NamedTuple):
    """All environments that were enabled.

    ``environments``: sorted by their directories.
    ``unread``: the files of records that cannot be used, each with the reason and the file's owner.
    """

    environments: list[Recorded]
    unread: list[tuple[Path, str]]


def note(prefix: Path) -> None:
    """Record that the environment ``prefix`` is enabled. Raises FileError, OSError.

    As root, the function writes nothing below a directory of another user: that user could not
    write there later.
    """
    directory = _directory()
    if (other := _foreign(directory)) is not None:
        raise FileError(
            f"{other} belongs to {trust.user_name(other.stat().st_uid)}, and root writes there "
            "nothing that its owner could not change",
            "run the command with root's own HOME (sudo -H), or as that user",
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = os.fsencode(f"{prefix}\0{mounts.mount_point_of(prefix)}")
        fs.replace_file(directory / _name(prefix), record, 0o600)
    except PermissionError as error:
        raise _refused(directory, error) from error


def forget(prefix: Path) -> None:
    """Delete the record of ``prefix``, if there is one. Never raises."""
    with contextlib.suppress(OSError):
        if _foreign(_directory()) is None:
            (_directory() / _name(prefix)).unlink()


def known() -> Known:
    """Return the recorded environments. Raises OSError where the directory cannot be read."""
    found, unread = [], []
    try:
        names = os.listdir(_directory())
    except FileNotFoundError:
        return Known([], [])
    for record in (_directory() / name for name in sorted(names) if _RECORD.fullmatch(name)):
        try:
            one = _recorded(record)
        except FileNotFoundError:
            continue  # another command deleted it meanwhile
        except OSError as error:
            unread.append((record, _useless(record, f"cannot be read: {reason(error)}")))
            continue
        if one is None:
            unread.append((record, _useless(record, "is damaged")))
        else:
            found.append(one)
    return Known(sorted(found), unread)


def _recorded(record: Path) -> Recorded | None:
    """Return the environment of the file ``record``; None for a damaged file. Raises OSError."""
    path, _, point = os.fsdecode(_content(record)).partition("\0")
    return Recorded(Path(path), point) if record.name == _name(Path(path)) else None


def _useless(record: Path, what: str) -> str:
    """Return why the file ``record`` cannot be used, whose it is, and what its user can do."""
    whose = ""
    with contextlib.suppress(OSError):
        whose = f" (it belongs to {trust.user_name(record.lstat().st_uid)})"
    again = f"rm {shlex.quote(str(record))}, and enable that environment again"
    return f"this record of an environment {what}{whose}; hint: {again}"


def _content(record: Path) -> bytes:
    """Return what the file ``record`` begins with; nothing of anything else. Raises OSError."""
    # O_NONBLOCK: the open of a FIFO would wait for a writer.
    descriptor = os.open(record, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, _LONGEST) if is_file else b""
    finally:
        os.close(descriptor)


def _directory() -> Path:
    return config.own_data() / "enabled"


def _name(prefix: Path) -> str:
    return hashlib.sha256(os.fsencode(prefix)).hexdigest()[:32]


def _existing(directory: Path) -> list[Path]:
    """Return ``directory`` and those above it, as far as they exist, the deepest first."""
    return [one for one in (directory, *directory.parents) if one.exists()]


def _foreign(directory: Path) -> Path | None:
    """Return, for root, the directory of another user in which ``directory`` is or would be."""
    if not trust.OWNERS_MEAN_SOMETHING or trust.user_id() != 0:
        return None
    nearest = _existing(directory)
    return next((one for one in nearest if one.stat().st_uid != 0), None)


def _refused(directory: Path, error: OSError) -> FileError:
    """Return the error for ``directory``, in which this user may not write."""
    there = _existing(directory)
    owner, mine = there[0].stat().st_uid, trust.user_id()
    same = []
    for one in there:
        if one.stat().st_uid != owner:
            break
        same.append(one)
    top = same[-1]
    hint = ""
    if owner != mine and top.parent != top and top.parent.stat().st_uid == mine:
        hint = f"root can run chown -R {trust.user_name(mine)} {shlex.quote(str(top))}"
    failed = FileError.of(there[0], "written", error)
    whose = f"{failed.message} (it belongs to {trust.user_name(owner)})"
    return FileError(whose, hint, path=failed.path, errno=failed.errno)
