"""Private stores: opened or made in a home of this user's own, and marked as a cache."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.creation import Creation
from pip_sharedcache.trust.paths import replaceable_at

#: Tells programs that make backups to leave a directory out (https://bford.info/cachedir/).
TAG_NAME = "CACHEDIR.TAG"
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# https://bford.info/cachedir/\n"


def refuse_foreign_home(path: Path) -> None:
    """Do not use or make a private store in somebody else's home: root under sudo with the
    caller's HOME would leave directories there that the caller cannot write, and believe the
    caller's bytecode. pip switches its cache off there. Raises StoreUnusable, OSError."""
    held, _ = _nearest(path)
    with held:
        _refuse_if_foreign(path, held)


def open_own(path: Path, mode: int, hidden: bool) -> Directory:
    """The directory of a private store, held open; what is missing is made, itself with ``mode``;
    a ``hidden`` one also below a directory of root's, /tmp or a node's disk. Asked for its owner is
    what is open: a path through somebody else's link leads elsewhere the next moment. Raises
    StoreUnusable, OSError."""
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
    """The directory ``path``, or what is there above it, held open; and what is missing below."""
    missing: list[str] = []
    while True:
        try:
            return Directory.open(path), missing
        except FileNotFoundError:
            if path.parent == path:  # a drive that is not there
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
    """Mark the store held open as a cache, so that backups leave it out. Never raises: a store
    without the mark works as well, and a full disk is reported by what is written next."""
    with contextlib.suppress(OSError):
        Creation().file(held.proc_path / TAG_NAME, TAG)
