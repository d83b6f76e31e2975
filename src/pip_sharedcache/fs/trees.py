"""Deletion and measurement of whole directory trees.

A tree may be read-only, or belong to another user who moves files at the same time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pip_sharedcache.fs.dirfd import BY_DESCRIPTOR, DIRECTORY, Directory, set_time

_DEEPEST = 200  # levels of directories inside each other that a walk enters

#: Why a directory is not entered.
MOUNTED = "Another file system is mounted on it"

#: Where a directory is: its st_dev and the number of its mount, 0 where that is unknown.
Place = tuple[int, int]


def remove_tree(path: Path, above: Directory | None = None) -> None:
    """Delete the directory tree ``path``, including read-only directories of this user.

    ``above``: the parent directory of ``path`` if it is open. The function follows no symlinks,
    and deletes nothing of what is mounted inside the tree, be it a directory of the same file
    system. As root, it enters
    directories of one user only, and of root: the owner of the tree could have moved others'
    directories there. Raises OSError.
    """
    owners: set[int] = set()
    if not BY_DESCRIPTOR:
        _remove_by_path(path)
    elif above is not None and above.descriptor is not None:
        place = place_of(above.descriptor)
        _remove_below(above.descriptor, path.name, place, _DEEPEST, owners)
    else:
        with Directory.open(path.parent) as opened:
            assert opened.descriptor is not None
            place = place_of(opened.descriptor)
            _remove_below(opened.descriptor, path.name, place, _DEEPEST, owners)


def place_of(descriptor: int) -> Place:
    """Return where the open directory is. Raises OSError.

    A directory of the same file system that is mounted somewhere (mount --bind) has the same
    st_dev; proc_pid_fdinfo(5) has the number of its mount.
    """
    mount = 0
    with suppress(OSError, ValueError), open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        mount = int(file.read().partition(b"mnt_id:")[2].split()[0] or b"0")
    return os.fstat(descriptor).st_dev, mount


def is_mount_point(name: str, above: Directory) -> bool:
    """Return whether something is mounted on the directory ``name`` in ``above``. Raises OSError.

    False where that is unknown.
    """
    if above.descriptor is None:
        return False
    with above.subdirectory(name) as held:
        assert held.descriptor is not None
        return place_of(held.descriptor) != place_of(above.descriptor)


def remove_empty(name: str, above: Directory) -> None:
    """Delete the empty directory ``name`` in ``above``. Raises OSError."""
    path, descriptor = above.at(name)
    os.rmdir(path, dir_fd=descriptor)


def restore_file(descriptor: int, path: Path, mode: int, mtime: int) -> None:
    """Give the open file ``path`` of this user ``mode`` and the time ``mtime`` (seconds) again.

    Raises OSError.
    """
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode)
    set_time(descriptor, path, mtime)


def give_tree(path: Path, identity: tuple[int, int], uid: int) -> None:
    """Let the user ``uid`` own the tree ``path``, which this process (root's) just made.

    A directory becomes theirs after all that is below it, and nothing is done below it afterwards:
    they could have moved others' files there, which would become theirs. Follows no symlink.
    ``identity``: its device and inode; the owner of the directory above could have exchanged it.
    Raises OSError.
    """
    top = os.open(path, DIRECTORY)
    try:
        status = os.fstat(top)
        if (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "It was exchanged", str(path))
        for _, directories, files, inside in os.fwalk(
            ".", topdown=False, follow_symlinks=False, dir_fd=top
        ):
            for name in (*files, *directories):
                os.chown(name, uid, -1, dir_fd=inside, follow_symlinks=False)
        os.fchown(top, uid, -1)
    finally:
        os.close(top)


def _remove_below(above: int, name: str, place: Place, depth: int, owners: set[int]) -> None:
    """Delete as remove_tree does; ``owners``: the users but root whose directories were entered."""
    with _opened(name, above, place, depth) as directory:
        status = os.fstat(directory)
        if os.geteuid() == 0 != status.st_uid:
            owners.add(status.st_uid)
            if len(owners) > 1:
                raise PermissionError(errno.EPERM, "It has a directory of another user", name)
        if status.st_uid == os.geteuid() and status.st_mode & 0o700 != 0o700:
            os.fchmod(directory, 0o700)
        with os.scandir(directory) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for inside, is_directory in entries:
            if is_directory:
                _remove_below(directory, inside, place, depth - 1, owners)
            else:
                os.unlink(inside, dir_fd=directory)
    os.rmdir(name, dir_fd=above)


@contextmanager
def _opened(name: str, above: int, place: Place, depth: int) -> Iterator[int]:
    """Open the directory ``name`` in ``above``, yield the descriptor and close it.

    Raises OSError: ELOOP where ``depth`` is 0, EXDEV where something is mounted.
    """
    if not depth:  # no wheel is so deep; a hostile tree would use up the descriptors
        raise OSError(errno.ELOOP, "The directories are nested too deeply", name)
    directory = os.open(name, DIRECTORY, dir_fd=above)
    try:
        if place_of(directory) != place:
            raise OSError(errno.EXDEV, MOUNTED, name)
        yield directory
    finally:
        os.close(directory)


def _remove_by_path(path: Path) -> None:
    for current, directories, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(current, name))
        for name in directories:
            os.rmdir(os.path.join(current, name))
    os.rmdir(path)


def tree_size(held: Directory) -> int:
    """Return the bytes of all files below ``held``; count hard links once, and holes not at all.

    The size in a manifest or of a sparse file can be any number. Raises OSError.
    """
    if held.descriptor is None:
        files = (path for path in held.path.rglob("*") if path.is_file())
        return sum(path.lstat().st_size for path in files)
    return sum(_sizes(held.descriptor, place_of(held.descriptor), _DEEPEST, set()))


def _sizes(directory: int, place: Place, depth: int, counted: set[int]) -> Iterator[int]:
    with os.scandir(directory) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                with _opened(entry.name, directory, place, depth) as below:
                    yield from _sizes(below, place, depth - 1, counted)
                continue
            status = entry.stat(follow_symlinks=False)
            if status.st_nlink > 1:
                if status.st_ino in counted:
                    continue
                counted.add(status.st_ino)
            # A small file can lie in its inode and have no block: it would count as 0 bytes.
            yield min(status.st_size, max(status.st_blocks * 512, 4096))


def make_parents(directory: Path, make: Callable[[Path], None]) -> None:
    """Call ``make`` for each missing directory of the path ``directory``, from the top down."""
    if not directory.is_dir():
        make_parents(directory.parent, make)
        make(directory)
