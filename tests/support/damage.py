"""What accidents, and careless owners, do to one file of an entry in a store."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Damage = Callable[[Path, Path], None]


def damage(path: Path, kind: str, outside: Path) -> None:
    """Do it to the file at path, whose owner, and directory, are as before; outside: an empty or
    new directory for what is not to lie in the store."""
    status = path.lstat()
    outside.mkdir(parents=True, exist_ok=True)
    outside.chmod(0o755)
    with unlocked(path.parent):
        KINDS[kind](path, outside)
        if os.path.lexists(path) and path.lstat().st_uid != status.st_uid:
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


@contextmanager
def unlocked(directory: Path) -> Iterator[None]:
    """As owner, write in a directory that is read-only; it gets its mode back."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    directory.chmod(0o755)
    try:
        yield
    finally:
        directory.chmod(mode)


def rewrite(path: Path, data: bytes, *, seconds: float = 0) -> None:
    """Other bytes for the same inode, mode kept, time kept or moved by so many seconds."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:  # no O_CREAT: in a sticky directory, the kernel could refuse it
        file.truncate(0)
        file.write(data)
    path.chmod(stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(seconds * 10**9)))


def _flipped(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


def _replaced(make: Callable[[Path, Path, bytes], None]) -> Damage:
    def replace(path: Path, outside: Path) -> None:
        data = path.read_bytes()
        path.unlink()
        make(path, outside, data)

    return replace


def _symlink(path: Path, outside: Path, data: bytes) -> None:
    (outside / path.name).write_bytes(data)
    path.symlink_to(outside / path.name)


def _hard_link(path: Path, outside: Path, data: bytes) -> None:
    (outside / path.name).write_bytes(b"# somebody's own\n")
    (outside / path.name).chmod(0o444)
    os.utime(outside / path.name, (1_000_000_000, 1_000_000_000))
    os.link(outside / path.name, path)


def _mode(mode: Callable[[int], int]) -> Damage:
    def change(path: Path, _: Path) -> None:
        path.chmod(mode(stat.S_IMODE(path.stat().st_mode)))

    return change


#: Where the size tells, the time is kept: each is to be noticed for what it is.
KINDS: dict[str, Damage] = {
    "emptied": lambda path, _: rewrite(path, b""),
    "truncated": lambda path, _: rewrite(path, path.read_bytes()[: path.stat().st_size // 2]),
    "extended": lambda path, _: rewrite(path, path.read_bytes() + b"\0"),
    "edited": lambda path, _: rewrite(path, _flipped(path), seconds=100),
    "edited-at-once": lambda path, _: rewrite(path, _flipped(path), seconds=0.7),
    "edited-unseen": lambda path, _: rewrite(path, _flipped(path)),
    "deleted": lambda path, _: path.unlink(),
    "group-writable": _mode(lambda mode: mode | 0o020),
    "not-executable": _mode(lambda mode: mode & ~0o111),
    "unreadable": _mode(lambda mode: 0),
    "symlink": _replaced(_symlink),
    "directory": _replaced(lambda path, outside, data: path.mkdir()),
    "fifo": _replaced(lambda path, outside, data: os.mkfifo(path, 0o444)),
    "hard-link": _replaced(_hard_link),
}
