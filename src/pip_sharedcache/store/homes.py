"""Private stores: their creation in the user's own home directory, and their tag as a cache."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.creation import Creation, mount_hint
from pip_sharedcache.trust.mounts import unmounted_point
from pip_sharedcache.trust.paths import replaceable_at

#: File that makes backup programs skip its directory (https://bford.info/cachedir/).
TAG_NAME = "CACHEDIR.TAG"
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# https://bford.info/cachedir/\n"


def refuse_foreign_home(path: Path) -> None:
    """Refuse a private store below another user's directory. Raises StoreUnusable, OSError.

    Under sudo with the caller's HOME, root would make directories there that the caller cannot
    write, and would trust the caller's bytecode. pip disables its cache in this case.
    """
    held, _ = _nearest(path)
    with held:
        _refuse_if_foreign(path, held)


def open_own(path: Path, mode: int, hidden: bool) -> Directory:
    """Open the directory of a private store, after making each missing directory.

    ``path`` itself gets ``mode`` (octal), the directories above it get 0o755, both as the umask
    allows. A missing ``hidden`` store may also lie below a directory of root (/tmp, a node's disk).
    The owner of the open descriptor is checked, not of the path: a path through another user's link
    can lead elsewhere later. The caller closes the directory. Raises StoreUnusable, OSError.
    """
    held, missing = _nearest(path)
    try:
        if missing and unmounted_point(path):  # the mount would hide it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if not (hidden and missing and trust.OWNERS_MEAN_SOMETHING and held.status().st_uid == 0):
            _refuse_if_foreign(path, held)
        for name in missing:
            with held as above:
                held = above.make(name, mode if above.path / name == path else 0o755)
            _refuse_if_foreign(path, held)
        if missing:
            tag(held)
        return held
    except BaseException:
        held.close()
        raise


def makes_near(path: Path) -> bool:
    """Return whether ``make_near`` would make the missing ``path``. Raises OSError."""
    if unmounted_point(path):  # the mount would hide it
        return False
    status = os.stat(path.parent)
    if status.st_mode & stat.S_ISVTX:
        return True
    own = not trust.OWNERS_MEAN_SOMETHING or status.st_uid == trust.user_id()
    return own and not (trust.user_id() == 0 and replaceable_at(path.parent) is not None)


def make_near(path: Path) -> None:
    """Make the missing store ``path`` for this user alone, with mode 0700.

    Does nothing where its parent is missing, or is neither this user's own nor sticky, or where a
    mount is missing: without the disk of the node, there is nothing to be near to. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if os.path.lexists(path) or not makes_near(path):
            return
        with Directory.open(path.parent) as above, above.make(path.name, 0o700) as held:
            tag(held)


def may_be_of_stranger(path: Path, owner: int) -> bool:
    """Return whether ``owner`` may have made ``path`` first, where every user may make it.

    That is the case in a sticky directory of others, for another owner than root, this user and
    the owner of the directory. Raises OSError.
    """
    above = os.stat(path.parent)
    if not trust.OWNERS_MEAN_SOMETHING or owner in (0, trust.user_id(), above.st_uid):
        return False
    return bool(above.st_mode & stat.S_ISVTX and above.st_mode & stat.S_IWOTH)


def _nearest(path: Path) -> tuple[Directory, list[str]]:
    """Open ``path`` or the nearest directory above it; return it and the missing names below.

    The caller closes the directory. Raises OSError.
    """
    missing: list[str] = []
    while True:
        try:
            return Directory.open(path), missing
        except FileNotFoundError:
            if path.parent == path:  # a drive that does not exist
                raise
            missing.insert(0, path.name)
            path = path.parent


def _refuse_if_foreign(path: Path, held: Directory) -> None:
    owner = held.status().st_uid
    if not trust.OWNERS_MEAN_SOMETHING:
        return
    if owner != trust.user_id():
        why = f"{held.path} belongs to {trust.user_name(owner)}"
    elif trust.user_id() == 0 and (moved := replaceable_at(held.path)) is not None:
        why = f"{moved} is not root's alone, and others may lead it elsewhere"
    else:
        return
    raise StoreUnusable(
        f"{path} is not for {trust.user_name(trust.user_id())}, since {why}",
        "name a store with PIP_SHAREDCACHE_DIR",
    )


def tag(held: Directory) -> None:
    """Tag the open store as a cache, so that backup programs skip it.

    Never raises: the store works without the tag, and the next write reports a full disk.
    """
    with contextlib.suppress(OSError):
        Creation().file(held.proc_path / TAG_NAME, TAG)


def missing_store(path: Path) -> tuple[str, str]:
    """Return the sentence on the store ``path``, which does not exist, and the remedy.

    The remedy is no command that makes a store where a file system would hide it later.
    """
    what = f"{path} does not exist"
    if point := unmounted_point(Path(os.path.abspath(path))):
        return f"{what}: nothing is mounted at {point}", f"mount {shlex.quote(point)}"
    make = f"pip-sharedcache store init {shlex.quote(str(path))}"
    above = _above(path)
    try:
        status = above.stat()
        if status.st_uid != 0 or os.path.ismount(os.path.realpath(above)) or os.listdir(above):
            return what, make
    except OSError:  # nothing is known about it
        return what, make
    return (
        f"{what}, and {above} is empty",
        f"mount the file system of the store; if {above} is no mount point, store init makes one",
    )


def _above(path: Path) -> Path:
    """Return the nearest directory above ``path`` that exists; ``path`` without one."""
    return next((one for one in path.parents if os.path.isdir(one)), path)


def no_store(path: Path) -> StoreUnusable:
    """Return the error for the store ``path``, which does not exist.

    Its hint is for this user: not everybody may run the command of ``missing_store``.
    """
    what, remedy = missing_store(path)
    above = _above(path)
    owners, verb = [0], "" if remedy.startswith("mount the ") else "run "
    if not remedy.startswith("mount "):
        if os.access(above, os.W_OK | os.X_OK):
            return StoreUnusable(what, remedy)
        with contextlib.suppress(OSError):
            owners.insert(0, above.stat().st_uid)
    hint = trust.hint_for(remedy, *owners, verb=verb)
    other = "" if hint == remedy else "; or name another store with PIP_SHAREDCACHE_DIR"
    return StoreUnusable(what, f"{hint}{other}")


def refuse_unmounted(path: Path, names: list[str], status: os.stat_result) -> None:
    """Refuse the directory ``path`` with these ``names`` if a mount is to hide it.

    ``status``: that of the directory. An empty one of another user, where this user may not write,
    is no store yet: perhaps its file system is not mounted.
    """
    if names:
        return
    if point := unmounted_point(path):
        what = f"{path} is empty, and nothing is mounted at {point}"
        raise StoreUnusable(what, mount_hint(point)) from None
    if status.st_uid != trust.user_id() and not os.access(path, os.W_OK):
        command = f"pip-sharedcache store init {shlex.quote(str(path))}"
        made = trust.hint_for(command, status.st_uid)
        raise StoreUnusable(
            f"{path} is empty: no store is there, or its file system is not mounted",
            f"it may have to be mounted; for a new store, {made}",
        ) from None
