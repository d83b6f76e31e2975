"""The stores of a run: opening, trust in their owners, and the check that they respond."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import OFF, LayerSetting, Settings
from pip_sharedcache.errors import StoreNotMade, StoreUnusable, reason
from pip_sharedcache.fs.responsiveness import is_responsive
from pip_sharedcache.model import Policy
from pip_sharedcache.store.homes import make_near, makes_near, may_be_of_stranger
from pip_sharedcache.store.layout import Store
from pip_sharedcache.trust.mounts import unmounted_point
from pip_sharedcache.trust.paths import is_replaceable, replaceable_steps

#: Seconds that a store has to respond; a run does not use a store that takes longer.
PATIENCE = 10.0

#: Lists the unresponsive stores, one a line, for the pips that pip starts.
_UNRESPONSIVE = "_PIP_SHAREDCACHE_UNRESPONSIVE"

#: Selects one of the configured stores; trust still depends on the source of the setting.
ONLY = "_PIP_SHAREDCACHE_ONLY"

#: Whether runs write to the stores: "no" in a dry run, and in the pips that it starts. "yes" lets a
#: dry run record the resolution.
_WRITES = "_PIP_SHAREDCACHE_WRITES"


def may_write() -> bool:
    """Return whether this process may make stores for its run, and write to them."""
    return os.environ.get(_WRITES) != "no"


@contextlib.contextmanager
def without_writes() -> Iterator[None]:
    """Let ``may_write`` be false in this process, and in those that it starts, meanwhile.

    Nothing changes where the environment of this process says whether it may.
    """
    if _WRITES in os.environ:
        yield
        return
    os.environ[_WRITES] = "no"
    try:
        yield
    finally:
        del os.environ[_WRITES]


def open_store(settings: Settings) -> Store:
    """Open the store ``settings.dir``; a private one that is missing is made.

    Raises StoreUnusable, also if the store does not respond for ten seconds.
    """
    for layer in _layers(settings):
        if layer.path == settings.dir:
            return _open(layer, settings)
    raise _no_store(settings)


def open_layers(settings: Settings, *, make: bool = True) -> Iterator[Store | StoreUnusable]:
    """Yield every store that ``settings`` name, nearest first, or why it is unusable.

    ``make``: whether to make a missing layer for entries that are not shared; StoreNotMade if not.
    In a dry run, all layers are read-only.
    """
    layers, only, writes = _layers(settings), os.environ.get(ONLY), may_write()
    if not layers:
        yield _no_store(settings)
    for layer in [layer for layer in layers if str(layer.path) == only] or layers:
        try:
            store = _open(layer, settings, make=make and writes)
            yield store if writes else replace(store, policy=Policy.READ_ONLY)
        except StoreUnusable as error:
            yield error


def _layers(settings: Settings) -> tuple[LayerSetting, ...]:
    if settings.layers or settings.dir is None:
        return settings.layers
    return (LayerSetting(settings.dir, Policy.PUBLISH),)


def _no_store(settings: Settings) -> StoreUnusable:
    if settings.off:
        source = settings.dir_source
        if source.startswith("option "):  # both options set the same variable
            source = f"option --no-sharedcache or --sharedcache-dir={OFF}"
        return StoreUnusable(
            f"no store is used: dir is {OFF} ({source})", "name one with --sharedcache-dir"
        )
    return StoreUnusable(
        "no home directory is known to keep one in", "name one with PIP_SHAREDCACHE_DIR"
    )


def _open(layer: LayerSetting, settings: Settings, *, make: bool = True) -> Store:
    known = os.environ.get(_UNRESPONSIVE, "").split("\n")
    if str(layer.path) in known or not is_responsive(layer.path, PATIENCE):
        if str(layer.path) not in known:  # else each pip that this one starts waits too
            os.environ[_UNRESPONSIVE] = "\n".join([*filter(None, known), str(layer.path)])
        raise StoreUnusable(
            f"{layer.path} does not answer for {PATIENCE:g} seconds; its file system may be "
            "unreachable"
        )
    hidden, near = layer.policy is Policy.PRIVATE, layer.policy is Policy.BACKFILL
    if not make and is_made_later(layer):
        raise StoreNotMade(f"{layer.path} is not made yet; the first installation makes it")
    if near:
        _make_near(layer.path)
    store = Store.open(layer.path, private=settings.private, hidden=hidden)
    # Without a reliable uid, entries and usage marks would name a wrong user.
    policy = Policy.READ_ONLY if store.trust.unknown else layer.policy
    store = replace(store, policy=policy)
    if near and may_be_of_stranger(store.path, store.owner):
        where = store.path.parent
        why = f"is not trusted in {where}, where every user may make a store of this name"
        store = replace(store, trust=store.trust.without_owner(why))
    if trust.user_id() == 0 and not settings.dir_administered:
        # Under sudo, any user may have chosen the store, and may own it.
        named = f"named by {settings.dir_source}"
        why = f"is not trusted by root in a store that was {named}"
        store = replace(store, trust=store.trust.without_owner(why))
        if is_replaceable(store.path):
            moved = f"the store was {named}, and others may move it"
            store = replace(store, replaceable_by=moved)
    # The owner of a store chose its path.
    elif store.owner != trust.user_id() or store.owner == 0:
        found = store_replaceable_by(store)
        store = store if found is None else store.with_replaceable_path(*found)
    for names in settings.trust:
        store = store.narrowed(names, "is not named in the setting trust")
    return store


def is_made_later(layer: LayerSetting) -> bool:
    """Return whether the first installation makes the missing store of ``layer``."""
    if os.path.lexists(layer.path):
        return False
    if layer.policy is Policy.PRIVATE:
        return not unmounted_point(layer.path)
    try:
        return layer.policy is Policy.BACKFILL and makes_near(layer.path)
    except OSError:
        return False


def _make_near(path: Path) -> None:
    try:
        make_near(path)
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be made: {reason(error)}") from error


def store_replaceable_by(store: Store) -> tuple[Path, frozenset[int] | None] | None:
    """Return where others may put another store in place of ``store``; None if none may.

    Others are users except root, this user and the owner of ``store``. The result is the first such
    directory on the path, and the gids of the groups if only their members may, else None.
    """
    return path_replaceable_by(store.path, store.owner)


def path_replaceable_by(
    path: Path, owner: int, *, is_made: bool = True
) -> tuple[Path, frozenset[int] | None] | None:
    """Return the same for the store of ``owner`` at ``path``; ``is_made``: whether it is there."""
    owners = frozenset({trust.user_id(), owner})
    found = [
        (step, gid)
        for step, gid in replaceable_steps(path, owners, is_made=is_made)
        if gid is None or not _is_ones_own(step, gid, owners)
    ]
    if not found:
        return None
    gids = frozenset(gid for _, gid in found if gid is not None)
    return found[0][0], None if None in (gid for _, gid in found) else gids


def _is_ones_own(step: Path, gid: int, owners: frozenset[int]) -> bool:
    """Return whether one of ``owners`` has ``step``, and ``gid`` is that user's private group.

    Many systems make such directories, with the umask 002.
    """
    try:
        uid = step.lstat().st_uid
    except OSError:
        return False
    return uid in owners and uid != 0 and trust.is_private_group(gid, uid)
