"""The mounted file systems, as proc_pid_mountinfo(5) lists them."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_FSTAB = Path("/etc/fstab")
#: Units that the administrator made.
_UNITS = Path("/etc/systemd/system")
_AUTOMOUNT = "autofs"  # also the automount units of systemd

#: File systems of this machine's kernel, on which the owner is the user who created the file. A
#: file server can show one user for many (``all_squash``).
_LOCAL = frozenset(
    {
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs", "bcachefs"),
        *("jfs", "reiserfs", "ramfs"),
    }
)


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    ``number``: the id of the mount.
    ``device``: the device, as in st_dev.
    ``point``: the mount point.
    ``kind``: the type of the file system.
    ``source``: the device or another source.
    ``options``: those of this mount.
    ``all_options``: those of the file system.
    """

    number: str
    device: int
    point: str
    kind: str
    source: str
    options: str
    all_options: str

    @property
    def read_only(self) -> bool:
        """Return whether the file system is read-only here."""
        return "ro" in f"{self.options},{self.all_options}".split(",")

    @property
    def view_is_read_only(self) -> bool:
        """Return whether only this mount is read-only, not the file system."""
        return self.read_only and "ro" not in self.all_options.split(",")


def mounted() -> list[Mount]:
    """Return the mounted file systems, the last one above the others; [] if none are listed."""
    try:
        lines = _MOUNTS.read_bytes().split(b"\n")
    except OSError:  # not Linux, or no procfs
        return []
    return [_mount(os.fsdecode(line).split(" ")) for line in lines if line]


def mount_point_of(path: Path) -> str:
    """Return the mount point of the file system that has ``path``, or would have; "" if unknown."""
    there = {mount.point for mount in mounted() if mount.kind != _AUTOMOUNT}
    real = Path(os.path.realpath(path))
    return next((str(one) for one in (real, *real.parents) if str(one) in there), "")


def unmounted_point(path: Path) -> str:
    """Return the mount point on the absolute ``path`` at which no file system is mounted, or "".

    A mount point is a directory that fstab(5) or a unit of the administrator (systemd.mount(5))
    names, or at which the kernel mounts on demand (autofs). Symlinks on ``path`` can lead to one.
    """
    there: dict[str, str] = {mount.point: mount.kind for mount in mounted()}
    wanted = (
        _named_in_fstab()
        | _of_units()
        | {point for point, kind in there.items() if kind == _AUTOMOUNT}
    )
    if not wanted:
        return ""
    real = Path(os.path.realpath(path))
    if found := _first_unmounted(real, there, wanted):
        return found
    # fstab can name a symlink: what is mounted there has the real path.
    return "" if real == path else _first_unmounted(path, there, wanted)


def _first_unmounted(path: Path, there: Mapping[str, str], wanted: Container[str]) -> str:
    for one in (path, *path.parents):
        kind = there.get(str(one))
        if kind is None and str(one) in wanted:
            kind = there.get(os.path.realpath(one))
        if str(one) in wanted and kind in (None, _AUTOMOUNT):
            return str(one)
        if kind is not None:
            return ""
    return ""


def _named_in_fstab() -> set[str]:
    try:
        text = _FSTAB.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return set()
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    # mount(8) takes /lab/ for /lab.
    return {os.path.normpath(_unescaped(fields[1])) for fields in lines if len(fields) > 2}


def _of_units() -> set[str]:
    """Return the mount points of the units in /etc: those of packages may not be in use."""
    try:
        names = os.listdir(_UNITS)
    except OSError:
        return set()
    return {_unit_path(name[: -len(".mount")]) for name in names if name.endswith(".mount")}


def _unit_path(name: str) -> str:
    """Return the path that systemd-escape(1) made ``name`` of: "-" is "/", bytes are "\\x2d"."""
    raw = os.fsencode(f"/{name}".replace("-", "/"))
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda code: bytes([int(code[1], 16)]), raw))


def _unescaped(text: str) -> str:
    """Return ``text`` of fstab or mountinfo, where a blank is \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _mount(fields: list[str]) -> Mount:
    # A dash ends the optional fields, whose number varies.
    kind, source, *_, all_options = fields[fields.index("-", 6) + 1 :]
    major, _, minor = fields[2].partition(":")
    point, source = map(_unescaped, (fields[4], source))
    device = os.makedev(int(major), int(minor))
    return Mount(fields[0], device, point, kind, source, fields[5], all_options)


def kind_of(where: int | str | Path) -> str:
    """Return the type of the file system of a descriptor or a path; "" if it is unknown.

    A symlink at the end of a path is not followed.
    """
    if isinstance(where, int):
        return _kind_of_open(where)
    try:
        opened = os.open(where, getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return ""
    try:
        return _kind_of_open(opened)
    finally:
        os.close(opened)


@functools.lru_cache(maxsize=64)
def kind_of_device(device: int) -> str:
    """Return the type of the file system with this ``st_dev``; "" if it is unknown (btrfs)."""
    return next((mount.kind for mount in mounted() if mount.device == device), "")


def is_local(where: int | str | Path) -> bool:
    """Return whether ``where`` is on a file system that is known to be of this machine's kernel."""
    return kind_of(where) in _LOCAL


def _kind_of_open(descriptor: int) -> str:
    # Search by the mount id, not by st_dev: each btrfs subvolume has another st_dev.
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except (OSError, ValueError):  # not Linux, or no procfs
        return ""
    number = next((line.split()[1] for line in text.splitlines() if line.startswith("mnt_id")), "")
    return _kind(number)


@functools.lru_cache(maxsize=64)
def _kind(number: str) -> str:
    return next((mount.kind for mount in mounted() if mount.number == number), "")
