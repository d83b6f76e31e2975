"""Which store a run uses, whom it believes there, and whether it answers at all."""

from __future__ import annotations

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.processes import answers
from pip_sharedcache.store.layout import Store
from pip_sharedcache.ways import may_be_moved, swapped_at

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
    elif trust.user_id() == 0 and (where := swapped_at(store.path, store.owner)) is not None:
        # What lies there may be anybody's who exchanged what root had named.
        why = f"others may exchange what lies below {where}"
        store.trust = store.trust.without_owner(f"is not believed by root where {why}")
        store.moves = why
    for names in settings.trust:
        store.narrow(names, "is not named in the setting trust")
    return store
