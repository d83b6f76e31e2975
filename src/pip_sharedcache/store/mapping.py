"""Directories below a store, opened or made; refusal where a file server gives them away."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import UsageError
from pip_sharedcache.fs import Directory


class OwnerMapped(PermissionError):
    """A file server that gives this user's files to another user: nothing can be published."""


def _open_new(above: Directory, name: str) -> Directory:
    """Open the directory ``name`` that was just made in ``above``; the caller closes it.

    If a file server gave it to another user, delete it and raise OwnerMapped. Raises OSError.
    """
    try:
        held = above.subdirectory(name)
    except FileNotFoundError:  # make_directory has deleted it
        _raise_if_mapped(above, name)
        raise
    if trust.OWNERS_MEAN_SOMETHING and held.status().st_uid != trust.user_id():
        try:
            _raise_if_mapped(above, name)  # else another user was faster
        except OwnerMapped:
            held.close()
            with contextlib.suppress(OSError):
                os.rmdir(above.proc_path / name)
            raise
    return held


def _raise_if_mapped(above: Directory, name: str) -> None:
    owner = fs.mapped_owner(above.proc_path)
    if owner is not None:
        raise OwnerMapped(errno.EPERM, fs.mapping_reason(owner), str(above.path / name))


def refuse_mapped_owner(path: Path) -> None:
    """Refuse a store that would belong to another user. Raises UsageError."""
    nearest = next(above for above in (path, *path.parents) if above.is_dir())
    owner = fs.mapped_owner(nearest)
    if owner is None:
        return
    command = f"runuser -u USER -- pip-sharedcache store init {shlex.quote(str(path))}"
    how = f" ({command})" if trust.user_id() == 0 else ""  # another user may not run it
    raise UsageError(
        f"{path} cannot be made: {fs.mapping_reason(owner)}, so nobody could publish there as "
        f"{trust.user_name(trust.user_id())}",
        f"let the user who is to own the store make it{how}, or root on the file server",
    )


def open_or_make(
    above: Directory, name: str, mode: int, *, place: bool = False, keep_access_lists: bool = False
) -> Directory:
    """Open the directory ``name`` in ``above``, or make it; the caller closes it.

    ``mode`` is for a new one (octal); ``place``: as for Directory.open. Raises OSError: EEXIST if
    something else than a directory has the name.
    """
    try:
        try:
            return above.subdirectory(name, place=place)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # another process was faster
                fs.make_directory(above.proc_path / name, mode, keep_access_lists=keep_access_lists)
            return _open_new(above, name)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise taken(above.path / name) from error
        raise


def taken(path: Path) -> OSError:
    """Return the error of a name that another user has taken."""
    who = trust.user_name(path.lstat().st_uid)
    return FileExistsError(errno.EEXIST, f"{path} was put there by {who}", str(path))
