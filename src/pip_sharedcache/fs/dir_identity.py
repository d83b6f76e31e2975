"""Identity of a directory, independent of its path.

Another directory can have the same path: on another host, while the disk is not mounted, or when
the directory was deleted and made again.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pip_sharedcache.fs import libc

#: The name of this host; a restart does not change the name.
HOST_NAME = socket.gethostname()

# statx(2): the size of struct statx, the offsets of two fields, and flags.
_SIZE, _ATTRIBUTES, _BORN = 256, 8, 80
_WITH_BIRTH, _MOUNT_ROOT = 0x800, 0x2000
_AT_FDCWD = -100


class DirIdentity(NamedTuple):
    """Identity of a directory; where ``born`` is known, unique among the directories of all hosts.

    ``inode``: the inode number.
    ``born``: the time at which the directory was made (nanoseconds); 0 where the time is unknown.
    """

    inode: int
    born: int


def directory_chain(path: str) -> list[DirIdentity]:
    """Return the identities of ``path`` and of the directories above it, up to the mount point.

    ``path`` is absolute and contains no symlinks. Raises OSError.
    """
    way = []
    while True:
        place, is_root = _look(path)
        way.append(place)
        if is_root or path == os.path.dirname(path):
            return way
        path = os.path.dirname(path)


def find_moved_directory(path: str, way: Sequence[DirIdentity], host: str) -> str:
    """Return the present path of the directory that was at ``path``; "" where it no longer exists.

    ``way`` is the earlier result of ``directory_chain(path)`` on ``host``. The function finds a
    directory that was renamed, or one of whose parents was renamed, within the same directory.

    Raises OSError where the answer is unknown: the disk is not mounted or belongs to another host,
    or the user may not read a directory.
    """
    below: list[str] = []
    for number, wanted in enumerate(way):
        try:
            found = _look(path)[0]
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found is not None and _is_same(found, wanted, host):
            return _below(path, way[number - 1], below, host) if below else path
        below.insert(0, os.path.basename(path))
        path = os.path.dirname(path)
    raise FileNotFoundError(errno.ENOENT, "The disk of this path is not mounted", path)


def _is_same(found: DirIdentity, wanted: DirIdentity, host: str) -> bool:
    if found.inode != wanted.inode:
        return False
    if found.born and wanted.born:
        return found.born == wanted.born
    return host == HOST_NAME  # a disk of another host can have the same inode number


def _below(directory: str, wanted: DirIdentity, names: Sequence[str], host: str) -> str:
    """Return the path to which ``names`` led from ``directory`` before the first was renamed.

    ``wanted`` is the identity of the first. Return "" where no such path exists. Raises OSError.
    """
    with os.scandir(directory) as children:
        same = [child.path for child in children if child.inode() == wanted.inode]
    for path in same:
        try:
            if _is_same(_look(path)[0], wanted, host):
                found = os.path.join(path, *names[1:])
                os.stat(found)
                return found
        except (FileNotFoundError, NotADirectoryError):
            continue
    return ""


def _look(path: str) -> tuple[DirIdentity, bool]:
    """Return the identity of ``path``, and whether it is a mount point. Raises OSError."""
    status = os.stat(path)
    ask = libc.c_function("statx")
    if ask is None:
        return DirIdentity(status.st_ino, 0), os.path.ismount(path)
    buffer = libc.buffer(_SIZE)
    if ask(_AT_FDCWD, os.fsencode(path), 0, _WITH_BIRTH, buffer):
        return DirIdentity(status.st_ino, 0), os.path.ismount(path)
    (mask,) = struct.unpack_from("=I", buffer)
    (attributes,) = struct.unpack_from("=Q", buffer, _ATTRIBUTES)
    (known,) = struct.unpack_from("=Q", buffer, _ATTRIBUTES + 48)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BORN)
    born = seconds * 10**9 + nanoseconds if mask & _WITH_BIRTH else 0
    # os.path.ismount compares device numbers: it takes a btrfs subvolume for a mount point, and
    # misses a bind mount.
    is_root = bool(attributes & _MOUNT_ROOT) if known & _MOUNT_ROOT else os.path.ismount(path)
    return DirIdentity(status.st_ino, born), is_root
