"""Tests, with one file, of the methods that work between a store and an environment."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.fs.dirfd import (
    NEW,
    Directory,
    clone,
    create_file,
    make_directory,
    write_all,
)
from pip_sharedcache.fs.host import HOST, unloadable_because
from pip_sharedcache.fs.sync import synchronise
from pip_sharedcache.fs.trees import remove_tree
from pip_sharedcache.model import LinkMode, StoredFile
from pip_sharedcache.placement.jobs import TargetDir
from pip_sharedcache.placement.link_choice import LinkChoice
from pip_sharedcache.placement.linker import Linker
from pip_sharedcache.placement.ways import TRY_NEXT
from pip_sharedcache.store.sources import Source

_CONTENT = b"of pip-sharedcache store doctor\n" * 256  # too much to be kept in an inode


def try_link_modes(
    source: Source,
    file: StoredFile,
    directory: Path,
    left_out: Mapping[LinkMode, str],
) -> dict[LinkMode, str]:
    """Try each link mode; return "" for a mode that works, else the system's reason.

    Place ``file`` of ``source`` in ``directory`` (in the environment's file system), and
    delete it again. For modes in ``left_out``, return the reason from there without a try. Raises
    DamagedEntry, OSError.
    """
    parent = TargetDir.of(os.stat(directory), False)
    refusals: dict[LinkMode, str] = {}
    for mode in LinkMode:
        if mode in left_out:
            refusals[mode] = left_out[mode]
            continue
        if mode is LinkMode.SYMLINK and (unloadable := unloadable_because(source.held.path)):
            refusals[mode] = unloadable
            continue
        linker = Linker(LinkChoice(mode), 0o022)
        destination = directory / f"{mode.value}-{os.getpid()}"
        try:
            placed = linker.place(source, file, str(destination), parent, private=False)
            refusals[mode] = "" if placed is mode else linker.choice.refused
        finally:
            destination.unlink(missing_ok=True)
    return refusals


def reflink_refusal(source: int, directory: Path) -> str:
    """Return why files in ``directory`` cannot share the data of ``source``; "" if they can.

    ``source``: a descriptor. A temporary file is made in ``directory``. Raises OSError.
    """
    with tempfile.TemporaryFile(dir=directory) as target:
        try:
            clone(source, target.fileno())
        except OSError as error:
            if error.errno in TRY_NEXT:
                return reason(error)
            raise
    return ""


def reflinks_within(directory: Path) -> bool:
    """Return whether files in ``directory`` can share their data by reflinks. Raises OSError."""
    with tempfile.TemporaryFile(dir=directory) as source:
        source.write(_CONTENT)
        source.flush()
        return not reflink_refusal(source.fileno(), directory)


@contextmanager
def try_writing(directory: Path, mtime: int) -> Iterator[tuple[Directory, StoredFile]]:
    """Make an entry of one file in ``directory`` as in publishing; yield it, and delete it.

    The file has the time ``mtime`` (seconds); the entry is made durable and renamed, and yielded
    as an open directory, which this function closes. Its name is that of a staging directory, so
    that a later run deletes the entry if this process is killed. Raises OSError.
    """
    first, second = (directory / f".new-{HOST}-{os.getpid()}-doctor{step}" for step in (1, 2))
    try:
        make_directory(first, 0o700)
        make_directory(first / "files", 0o700)
        probe = first / "files" / "probe"
        with create_file(probe, 0o444, mtime) as descriptor:
            write_all(descriptor, _CONTENT)
        synchronise(first, [probe])
        os.rename(first, second)
        with Directory.open(second) as held:
            yield held, StoredFile("probe", len(_CONTENT), "", False, mtime)
    finally:
        for path in (first, second):
            if os.path.lexists(path):
                _remove(path)


def _remove(path: Path) -> None:
    try:
        remove_tree(path)
    except KeyboardInterrupt:  # in the middle: nothing may be left in the store
        remove_tree(path)
        raise


def try_making_as(uid: int, gid: int, directory: Path) -> str:
    """Return why ``uid`` with the only group ``gid`` cannot make directories in ``directory``.

    A fork of this process, which root runs, becomes the user, and makes and deletes a directory.
    Return "" where this succeeds, and where the process may not become another user. Raises
    OSError.
    """
    name = f"{NEW}{HOST}-{os.getpid()}-trial"
    copy = os.fork()
    if copy == 0:
        number = 0
        try:
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            number = _making_fails(directory / name)
        finally:  # the parent process's clean-up must not run here
            os._exit(number)
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    return os.strerror(status) if status > 0 else ""


def _making_fails(path: Path) -> int:
    try:
        os.mkdir(path, 0o700)
        os.rmdir(path)
    except OSError as error:
        return min(error.errno or errno.EIO, 255)
    return 0
