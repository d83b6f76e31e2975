"""The opening of a store for maintenance, and the making of a store."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import config, fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import FileError, StoreNotMade, StoreUnusable, UsageError
from pip_sharedcache.model import Policy
from pip_sharedcache.placement import reflinks_within, try_making_as
from pip_sharedcache.store import (
    BYTECODE,
    SHARDS,
    STORE_JSON,
    WHEELS,
    Store,
    expected_directories,
    path_replaceable_by,
)
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.trust import access_lists


@dataclass(frozen=True)
class Made:
    """A store that was made, and the problems of its place.

    ``store``: the store.
    ``replaceable_in``: the directory above the store in which others may rename the store, or None.
    ``distrusted``: a directory in which the group's members are not trusted, and the reason.
    ``refused``: a member (uid) who cannot publish, the directory, and the reason.
    """

    store: Store
    replaceable_in: Path | None
    distrusted: tuple[Path, str] | None = None
    refused: tuple[int, Path, str] | None = None


def open_at(path: Path | str) -> Store:
    """Open the store at ``path``, whatever the configuration is; raise StoreUnusable."""
    return open_main(Settings(Path(os.path.abspath(path)), "the caller"))[0]


def open_main(settings: Settings, *, make: bool = False) -> tuple[Store, list[StoreUnusable]]:
    """Open the store to which a run with ``settings`` would publish.

    Return this store, and the reasons why other stores cannot be used. ``make`` is as for
    store.open_layers. Raise StoreUnusable if no store can be used.
    """
    layers, unusable = Layers.of_settings(settings, make=make)
    if layers.main is None:
        raise unusable[0]
    return layers.main, [one for one in unusable if not isinstance(one, StoreNotMade)]


def require_writable(store: Store) -> None:
    """Raise StoreUnusable if this process may not change ``store``."""
    if store.trust.unknown:
        raise StoreUnusable(
            f"Cannot change the store: {store.path}: file owners cannot be known, since "
            f"{store.trust.unknown}",
            "run the command without it",
        )
    if store.policy is Policy.READ_ONLY:
        raise StoreUnusable(
            f"Cannot change the store: {store.path}: the setting dir calls it read-only",
            f"name it alone with --sharedcache-dir {shlex.quote(str(store.path))}",
        )


def require_publishable(store: Store) -> None:
    """Raise StoreUnusable if this user may not publish in ``store``."""
    require_writable(store)
    if not store.may_publish():
        why, remedy = store.missing_directories()
        raise StoreUnusable(
            f"Cannot publish in the store: {store.path}: {why or 'you may not write there'}",
            remedy or "name another store with PIP_SHAREDCACHE_DIR",
        )


def make_store(
    directory: Path | str, group: str = "", *, builds: bool = False, packed: bool | None = None
) -> Made:
    """Make a store in ``directory``, for the members of ``group`` or for this user alone.

    ``builds``: whether users share the wheels that they build, too. ``packed``: whether entries are
    packed; None: where the file system of the store cannot reflink. Raise UsageError if
    the directory or the group is not suitable, FileError if the system refuses.
    """
    path = Path(os.path.abspath(directory))
    refuse_unsuitable(path, group, builds=builds, packed=packed)
    with _explained(path):
        if packed is None and not os.path.lexists(path / STORE_JSON):
            # A private store has no store.json, and its entries are trees.
            packed = not is_store(path) and not _reflinks_at(path)
        store = Store.make(path, group, builds=builds, packed=packed)
    replaceable = replaceable_in(store.path, store.owner, store.group)
    if not group:
        return Made(store, replaceable)
    return Made(store, replaceable, _distrusted(store), _refused(store))


def is_store(path: Path) -> bool:
    """Return whether ``path`` is the directory of a store, also of one without store.json."""
    return (path / STORE_JSON).is_file() or (path / WHEELS).is_dir()


def refuse_unsuitable(
    path: Path, group: str = "", *, builds: bool = False, packed: bool | None = None
) -> None:
    """Raise what ``make_store`` would raise, as far as that is known without a write.

    ``path`` is absolute. The other arguments and the errors are those of ``make_store``.
    """
    _refuse_unnameable(path)
    with _explained(path):
        Store.refuse_unsuitable(path, group, builds=builds, packed=packed)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise FileError in place of an OSError of the block, which makes the store ``path``."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        failure = FileError.of(path, f"made: {where}", error)
        if isinstance(error, PermissionError) and trust.user_id() == 0:
            failure.hint = (
                "a file server may treat root as another user (root_squash): let the user who is "
                "to own the store make it, or root on the file server"
            )
        raise failure from error


def _refuse_unnameable(path: Path) -> None:
    """Refuse a store that users could name nowhere. Raises UsageError."""
    if path in (config.site_store(), config.own_store()):
        return  # users need no name to find it
    if why := config.unnameable(path):
        raise UsageError(
            f"{path} is not made: the setting dir cannot name it: {why}", "name another directory"
        )


def _reflinks_at(path: Path) -> bool:
    """Return whether files in the new store ``path`` can be reflinked. Raises OSError."""
    while not path.is_dir():
        path = path.parent
    return reflinks_within(path)


def _distrusted(store: Store) -> tuple[Path, str] | None:
    """Return a directory in which others than the group may publish, and the reason.

    The cause is an access list (NFSv4) that a directory inherits from the one above; it counts
    whatever the mode is.
    """
    for relative, _ in expected_directories(shared=True):
        if theirs := access_lists.foreign_publishers(store.path / relative):
            return store.path / relative, theirs
    return None


def _refused(store: Store) -> tuple[int, Path, str] | None:
    """Return a member of the group who cannot publish, the directory, and the reason.

    Only root can try this: None for other users.
    """
    gid, member = trust.group_id(store.group), trust.member_of(store.group)
    if trust.user_id() != 0 or not fs.can_fork() or gid is None or member is None:
        return None  # only root can act as a member
    for area in (WHEELS, BYTECODE):
        shard = store.path / area / SHARDS[0]
        if why := try_making_as(member, gid, shard):
            return member, shard, why
    return None


def replaceable_in(path: Path, owner: int, group: str, *, is_made: bool = True) -> Path | None:
    """Return the directory above ``path`` in which others may rename a store of ``owner``, or None.

    ``group``: the name of the group that shares the store, or "": its members are trusted.
    ``is_made``: whether the store is there already.
    """
    found = path_replaceable_by(path, owner, is_made=is_made)
    if found is None:
        return None
    where, gids = found
    gid = trust.group_id(group)
    trusted = gids is not None and all(one == gid for one in gids)
    return None if trusted else where


def trusted_names(store: Store) -> list[str]:
    """Return the names of the publishers that the caller trusts in ``store``.

    root trusts none of those that the store lists, and not every owner.
    """
    if store.trust.unknown:
        return ["no publisher, since file owners cannot be known"]
    owner = [trust.user_name(store.owner)] if store.trust.trusts(store.owner) else []
    listed = store.trust.trusted_of(store.trusted)
    return list(dict.fromkeys(["root", *owner, "yourself", *listed]))
