"""Deleting a directory tree, be it read-only, or somebody else's who moves things meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pip_sharedcache.linker.descriptors import BY_DESCRIPTOR, DIRECTORY, Directory

_DEEPEST = 200  # directories inside each other that are removed


def remove_tree(path: Path) -> None:
    """Delete a directory tree, read-only directories of our own included; it may be somebody
    else's, who moves things meanwhile: no link is followed. Raises OSError."""
    if not BY_DESCRIPTOR:
        _remove_by_path(path)
        return
    with Directory.open(path.parent) as above:
        assert above.descriptor is not None
        _remove_below(above.descriptor, path.name, _DEEPEST)


def _remove_below(above: int, name: str, depth: int) -> None:
    if not depth:  # no wheel is so deep: somebody wants us to run out of descriptors
        raise OSError(errno.ELOOP, "Too many directories inside each other", name)
    directory = os.open(name, DIRECTORY, dir_fd=above)
    try:
        status = os.fstat(directory)
        if status.st_uid == os.geteuid() and status.st_mode & 0o700 != 0o700:
            os.fchmod(directory, 0o700)
        with os.scandir(directory) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for inside, is_directory in entries:
            if is_directory:
                _remove_below(directory, inside, depth - 1)
            else:
                os.unlink(inside, dir_fd=directory)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=above)


def _remove_by_path(path: Path) -> None:
    for current, directories, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(current, name))
        for name in directories:
            os.rmdir(os.path.join(current, name))
    os.rmdir(path)
