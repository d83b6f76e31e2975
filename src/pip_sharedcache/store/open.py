"""Which store a run uses, whom it believes there, and whether it answers at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import LayerSetting, Settings
from pip_sharedcache.errors import StoreNotMade, StoreUnusable
from pip_sharedcache.fs.responsiveness import is_responsive
from pip_sharedcache.model import Policy
from pip_sharedcache.store.layout import Store
from pip_sharedcache.trust.paths import is_replaceable, replaceable_steps

#: Seconds for a store to answer: one that does not is done without.
PATIENCE = 10.0

#: Carries which stores did not answer, a line each, to the pips that pip starts.
_AWAY = "_PIP_SHAREDCACHE_AWAY"

#: Carries which one of the configured stores is used, alone: who named them still counts.
ONLY = "_PIP_SHAREDCACHE_ONLY"


def open_store(settings: Settings) -> Store:
    """The store that commands speak of by ``settings``; a private one is made. Raises
    StoreUnusable, also where nothing is heard of it for ten seconds."""
    for layer in _layers(settings):
        if layer.path == settings.dir:
            return _open(layer, settings)
    raise _no_home()


def open_layers(settings: Settings, *, make: bool = True) -> Iterator[Store | StoreUnusable]:
    """Every store that ``settings`` name, nearest first, or why it cannot be used. ``make``: a
    layer for what is not shared is made where it is missing (StoreNotMade if not)."""
    layers, only = _layers(settings), os.environ.get(ONLY)
    if not layers:
        yield _no_home()
    for layer in [layer for layer in layers if str(layer.path) == only] or layers:
        try:
            yield _open(layer, settings, make=make)
        except StoreUnusable as error:
            yield error


def _layers(settings: Settings) -> tuple[LayerSetting, ...]:
    if settings.layers or settings.dir is None:
        return settings.layers
    return (LayerSetting(settings.dir, Policy.PUBLISH),)


def _no_home() -> StoreUnusable:
    return StoreUnusable(
        "no home directory is known to keep one in", "name one with PIP_SHAREDCACHE_DIR"
    )


def _open(layer: LayerSetting, settings: Settings, *, make: bool = True) -> Store:
    away = os.environ.get(_AWAY, "").split("\n")
    if str(layer.path) in away or not is_responsive(layer.path, PATIENCE):
        if str(layer.path) not in away:  # the pips that this one starts need not wait, too
            os.environ[_AWAY] = "\n".join([*filter(None, away), str(layer.path)])
        raise StoreUnusable(
            f"{layer.path} does not answer for {PATIENCE:g} seconds",
            "its file system may be away",
        )
    hidden = layer.policy is Policy.PRIVATE
    if hidden and not make and not os.path.lexists(layer.path):
        raise StoreNotMade(f"{layer.path} is not made yet", "the first installation makes it")
    store = Store.open(layer.path, private=settings.private, hidden=hidden)
    # What is published, or noted as used, bears the number of its user.
    store.policy = Policy.READ_ONLY if store.trust.unknown else layer.policy
    if trust.user_id() == 0 and not settings.dir_administered:
        # Through sudo it may be anybody who chose the store, and owns it.
        store.trust = store.trust.without_owner(
            f"is not believed by root in a store that was named by {settings.dir_source}"
        )
        if is_replaceable(store.path):
            store.replaceable_by = (
                f"the store was named by {settings.dir_source}, and others may move it"
            )
    else:
        check_replaceable(store)
    for names in settings.trust:
        store.restrict_trust(names, "is not named in the setting trust")
    return store


def check_replaceable(store: Store) -> None:
    """Note who may put another store in the place of this one: what lies there then is theirs, its
    owner included."""
    if store.owner == trust.user_id() != 0:
        return  # one's own, wherever one has put it
    found = store_replaceable_by(store)
    if found is not None:
        store.distrust_replaceable(*found)


def store_replaceable_by(store: Store) -> tuple[Path, frozenset[int] | None] | None:
    """Where on the way to ``store`` somebody else than root, its owner and ourselves may put
    another one in its place: the first such directory; and, where only their groups may, the gids
    of all of them. None where nobody may."""
    owners = frozenset({trust.user_id(), store.owner})
    found = [
        (step, gid)
        for step, gid in replaceable_steps(store.path, owners)
        if gid is None or not _is_ones_own(step, gid, owners)
    ]
    if not found:
        return None
    gids = frozenset(gid for _, gid in found if gid is not None)
    return found[0][0], None if None in (gid for _, gid in found) else gids


def _is_ones_own(step: Path, gid: int, owners: frozenset[int]) -> bool:
    """Whether the directory ``step`` belongs to one of ``owners``, and its group to nobody else: so
    it is made on many systems with the umask 002."""
    try:
        uid = step.lstat().st_uid
    except OSError:
        return False
    return uid in owners and uid != 0 and trust.is_private_group(gid, uid)
