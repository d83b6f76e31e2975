"""File systems of the tests' own: loop images, read-only views, and who shares which blocks."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

Kind = Literal["ext4", "xfs", "btrfs", "tmpfs"]

_MAKE: dict[str, list[str]] = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}

_FS_IOC_FIEMAP = 0xC020660B
_FIEMAP_SYNC = 0x1
_FIEMAP_HEADER = struct.Struct("=QQIIII")
_FIEMAP_EXTENT = struct.Struct("=QQQQQIIII")
_EXTENT_LAST = 0x1
# UNKNOWN, DELALLOC, DATA_INLINE, DATA_TAIL: the physical offset says nothing about blocks.
_EXTENT_WITHOUT_BLOCKS = 0x2 | 0x4 | 0x200 | 0x400
_EXTENTS_A_CALL = 256


_CLONE_NEWNS = 0x20000


def keep_mounts_apart() -> None:
    """Let only this process and its children see what is mounted from now on; mounts go with them,
    even when they are killed. Without the right to (unshare(2)), nothing changes.

    One file system whose server is dead makes others fail: mkfs.btrfs asks for every mounted loop
    device's file, also those of tests that run beside it or were killed days ago.
    """
    if sys.platform == "linux" and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        # Refused where / is no mount point (a chroot); then others go on seeing these mounts.
        subprocess.run(["mount", "--make-rprivate", "/"], stderr=subprocess.DEVNULL, check=False)


class MountError(RuntimeError):
    """A file system could not be made, mounted or unmounted."""


@contextmanager
def mounted(kind: Kind, base: Path, size_mb: int = 512, options: str = "") -> Iterator[Path]:
    """A new file system, mounted below base; gives the mount point, whose mode is 0755."""
    place = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=base))
    place.chmod(0o755)
    image, point = place / "image", place / "mount"
    point.mkdir(mode=0o755)
    try:
        if kind == "tmpfs":
            chosen = ",".join(filter(None, [f"size={size_mb}m,mode=0755", options]))
            showing: AbstractContextManager[object] = _mounted_at(point, "tmpfs", "tmpfs", chosen)
        else:
            make_image(kind, image, size_mb)
            showing = mounted_image(kind, image, point, options)
        with showing:
            if "ro" not in options.split(","):
                point.chmod(0o755)
            yield point
    finally:
        if not os.path.ismount(point):
            point.rmdir()
            image.unlink(missing_ok=True)
            place.rmdir()


def make_image(kind: Kind, image: Path, size_mb: int) -> None:
    """Write the image of a new file system, a sparse file."""
    with image.open("wb") as stream:
        stream.truncate(size_mb << 20)
    _run(*_MAKE[kind], str(image))


def mounted_image(
    kind: Kind, image: Path, point: Path, options: str = ""
) -> AbstractContextManager[None]:
    """Show the file system in the file ``image`` at the directory ``point``."""
    return _mounted_at(point, kind, str(image), ",".join(filter(None, ["loop", options])))


@contextmanager
def _mounted_at(point: Path, kind: str, source: str, options: str) -> Iterator[None]:
    _run("mount", "-t", kind, "-o", options, source, str(point))
    try:
        yield
    finally:
        unmount(point)


@contextmanager
def read_only(path: Path, at: Path) -> Iterator[Path]:
    """Show the directory path read-only at another place (made if missing, then removed)."""
    made = not at.exists()
    if made:
        at.mkdir(mode=0o755)
        at.chmod(0o755)
    try:
        _run("mount", "--bind", str(path), str(at))
        try:
            _run("mount", "-o", "remount,bind,ro", str(at))
            yield at
        finally:
            unmount(at)
    finally:
        if made and not is_mounted(at):
            at.rmdir()


@contextmanager
def overlaid(lower: Path, base: Path) -> Iterator[Path]:
    """Show the directory lower at another place below base, with a layer above it for what is
    changed there (overlayfs)."""
    place = Path(tempfile.mkdtemp(prefix="overlay-", dir=base))
    place.chmod(0o755)
    for name in ("upper", "work", "mount"):
        (place / name).mkdir()
    parts = {"lowerdir": lower, "upperdir": place / "upper", "workdir": place / "work"}
    options = ",".join(f"{name}={path}" for name, path in parts.items())
    with _mounted_at(place / "mount", "overlay", "overlay", options):
        yield place / "mount"


def limit(place: Path, size_mb: int) -> None:
    """Let the btrfs mounted at place hold so many MB at most: a quota (EDQUOT), for root, too."""
    _run("btrfs", "quota", "enable", str(place))
    _run("btrfs", "quota", "rescan", "-w", str(place))
    _run("btrfs", "qgroup", "limit", f"{size_mb}M", "0/5", str(place))


def unmount(point: Path) -> None:
    """Unmount; a busy file system is tried for some seconds, then detached."""
    deadline = time.monotonic() + 5
    while True:
        done = subprocess.run(["umount", str(point)], capture_output=True, text=True)
        if done.returncode == 0 or not is_mounted(point):
            return
        if time.monotonic() > deadline:
            _run("umount", "--lazy", str(point))
            return
        time.sleep(0.2)


def mounts_below(path: Path) -> list[Path]:
    """Mount points at or below path, the deepest first."""
    top = os.path.realpath(path)
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        escaped = line.split()[4]
        point = os.fsdecode(
            re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped)
        )
        if point == top or point.startswith(top.rstrip("/") + "/"):
            found.append(Path(point))
    return sorted(found, key=lambda point: len(point.parts), reverse=True)


def is_mounted(point: Path) -> bool:
    """Whether something is mounted at this very place (bind mounts included)."""
    return Path(os.path.realpath(point)) in mounts_below(point)


def remove_tree(path: Path) -> None:
    """Remove a directory with all below it: directories without write permission, too.

    Mounts below it are unmounted first: what they show belongs to somebody else.
    """
    if Path("/proc/self/mountinfo").exists():
        for point in mounts_below(path):
            unmount(point)
        left = mounts_below(path)
        if left:
            raise MountError(f"not removed, still mounted: {left}")
    if not path.exists():
        return
    if os.geteuid() != 0:
        for directory, names, _ in os.walk(path):
            for name in [".", *names]:
                below = Path(directory, name)
                if not below.is_symlink():
                    below.chmod(stat.S_IMODE(below.stat().st_mode) | stat.S_IRWXU)
    # A quarter of the processor time of rmtree.
    _run("rm", "-rf", "--", str(path))


def shares_extents(a: Path, b: Path) -> bool:
    """Whether two files lie in the same blocks, every extent of them (a reflink does).

    False where nothing can be shared: empty files, data inline in the metadata, no FIEMAP.
    Two names of one inode are an error: that is a hard link, ask for st_ino instead.
    """
    first, second = a.stat(), b.stat()
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):
        raise ValueError(f"{a} and {b} are one inode")
    if first.st_dev != second.st_dev or first.st_size != second.st_size or not first.st_size:
        return False
    blocks = _blocks(a)
    return bool(blocks) and blocks == _blocks(b)


def _blocks(path: Path) -> list[tuple[int, int, int]]:
    """(logical, physical, length) of all extents, neighbours merged; [] if any has no blocks."""
    import fcntl

    found: list[tuple[int, int, int]] = []
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        start, last = 0, False
        while not last:
            size = _FIEMAP_HEADER.size + _EXTENTS_A_CALL * _FIEMAP_EXTENT.size
            answer = bytearray(size)
            _FIEMAP_HEADER.pack_into(
                answer, 0, start, (1 << 64) - 1 - start, _FIEMAP_SYNC, 0, _EXTENTS_A_CALL, 0
            )
            try:
                fcntl.ioctl(stream.fileno(), _FS_IOC_FIEMAP, answer, True)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                    return []
                raise
            count = _FIEMAP_HEADER.unpack_from(answer)[3]
            if not count:
                break
            for number in range(count):
                extent = _FIEMAP_EXTENT.unpack_from(
                    answer, _FIEMAP_HEADER.size + number * _FIEMAP_EXTENT.size
                )
                logical, physical, length, flags = extent[0], extent[1], extent[2], extent[5]
                if flags & _EXTENT_WITHOUT_BLOCKS:
                    return []
                _append(found, logical, physical, length)
                start, last = logical + length, bool(flags & _EXTENT_LAST)
    return found


def _append(found: list[tuple[int, int, int]], logical: int, physical: int, length: int) -> None:
    # One file may have as one extent what the other has as two adjacent ones.
    if found:
        before = found[-1]
        if before[0] + before[2] == logical and before[1] + before[2] == physical:
            found[-1] = (before[0], before[1], before[2] + length)
            return
    found.append((logical, physical, length))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MountError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise MountError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
