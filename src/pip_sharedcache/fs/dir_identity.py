"""Directories, told from others that have the same path: on another host, on a disk that is not
mounted now, made anew after they were deleted."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pip_sharedcache.fs import libc

#: This host's name, which outlasts a restart.
HOST_NAME = socket.gethostname()

# statx(2): struct statx, and what is asked of it.
_SIZE, _ATTRIBUTES, _BORN = 256, 8, 80
_WITH_BIRTH, _MOUNT_ROOT = 0x800, 0x2000
_AT_FDCWD = -100


class DirIdentity(NamedTuple):
    """What tells a directory: its inode, and when it was made (nanoseconds), 0 where that is not
    known. The two together are no other directory's, wherever."""

    inode: int
    born: int


def directory_chain(path: str) -> list[DirIdentity]:
    """The directory ``path``, an absolute one without links, and those above it up to where its
    file system is mounted. Raises OSError."""
    way = []
    while True:
        place, is_root = _look(path)
        way.append(place)
        if is_root or path == os.path.dirname(path):
            return way
        path = os.path.dirname(path)


def find_moved_directory(path: str, way: Sequence[DirIdentity], host: str) -> str:
    """Where the directory lies now that lay at ``path``, and ``directory_chain`` it was ``way``, on
    ``host``: there, or, where it or one above it was renamed, beside that; "" where it is gone.

    Raises OSError where that cannot be told: its disk is not mounted now or is another host's, or
    we may not look.
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
    raise FileNotFoundError(errno.ENOENT, "Its disk is not mounted here", path)


def _is_same(found: DirIdentity, wanted: DirIdentity, host: str) -> bool:
    if found.inode != wanted.inode:
        return False
    if found.born and wanted.born:
        return found.born == wanted.born
    return host == HOST_NAME  # another host's disk may well have the same number


def _below(directory: str, wanted: DirIdentity, names: Sequence[str], host: str) -> str:
    """What ``names`` lead to from ``directory``, the first of which is called something else now
    and is ``wanted``; "" where there is none. Raises OSError."""
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
    """What is at ``path``, and whether a file system is mounted there. Raises OSError."""
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
    # A part of btrfs has a device number of its own, and a bind mount has not.
    is_root = bool(attributes & _MOUNT_ROOT) if known & _MOUNT_ROOT else os.path.ismount(path)
    return DirIdentity(status.st_ino, born), is_root
