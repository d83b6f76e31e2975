"""Which store a run uses, whom it believes there, and whether it answers at all."""

from __future__ import annotations

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.processes import answers
from pip_sharedcache.store.layout import Store
from pip_sharedcache.ways import exchangers, may_be_moved

#: Seconds for a store to answer: one that does not is done without.
PATIENCE = 10.0


def open_store(settings: Settings) -> Store:
    """The store that ``settings`` name; a private one is made. Raises StoreUnusable, also where
    nothing is heard of it for ten seconds."""
    if settings.dir is None:
        raise StoreUnusable(
            "no home directory is known to keep one in", "name one with PIP_SHAREDCACHE_DIR"
        )
    if not answers(settings.dir, PATIENCE):
        raise StoreUnusable(
            f"{settings.dir} does not answer for {PATIENCE:g} seconds",
            "its file system may be away",
        )
    store = Store.open(settings.dir, private=settings.private)
    if trust.user_id() == 0 and not settings.dir_administered:
        # Through sudo it may be anybody who chose the store, and owns it.
        store.trust = store.trust.without_owner(
            f"is not believed by root in a store that was named by {settings.dir_source}"
        )
        if may_be_moved(store.path):
            store.moves = f"the store was named by {settings.dir_source}, and others may move it"
    else:
        _mind_the_way(store)
    for names in settings.trust:
        store.narrow(names, "is not named in the setting trust")
    return store


def _mind_the_way(store: Store) -> None:
    """Note who may put another store in the place of this one: what lies there then is theirs, its
    owner included."""
    own = trust.user_id()
    if store.owner == own != 0:
        return  # one's own, wherever one has put it
    groups: set[int] = set()
    alone = True
    first = None
    for step, gid in exchangers(store.path, frozenset({own, store.owner})):
        if gid is not None and _is_nobody_elses(gid, {own, store.owner}):
            continue
        first = first or step
        alone = alone and gid is not None
        groups |= {gid} if gid is not None else set()
    if first is not None:
        store.mind_exchange(first, frozenset(groups) if alone else None)


def _is_nobody_elses(gid: int, uids: set[int]) -> bool:
    return any(trust.is_private_group(gid, uid) for uid in uids)
