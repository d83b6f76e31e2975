"""Private stores: their creation in the user's own home directory, and their tag as a cache."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.creation import Creation
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
