"""What a run does without, since somebody else than its user could make use of it: symlinks where
their targets may be exchanged, sharing what is private in a store of somebody who is not believed.
"""

from __future__ import annotations

import logging

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.store import Store

logger = logging.getLogger(__name__)


def no_symlinks_because(settings: Settings, store: Store) -> str:
    """Why no file is placed as a symlink into ``store`` in this run; "" where some may be."""
    if trust.user_id() == 0 and not settings.dir_administered:
        # Through sudo it may be anybody who named it, and could let it lead elsewhere later.
        return f"the store was named by {settings.dir_source}"
    try:
        store.own_use().close()
    except OSError as error:  # nobody could know that what they lead to is still needed
        return f"links cannot be noted: {reason(error)}"
    return ""


def shared_although_private(settings: Settings, store: Store | None) -> tuple[str, ...]:
    """The setting ``share``; nothing where root does not believe the owner of the store: whoever
    named that through sudo may have named what is shared, too. Warns."""
    if settings.share and store is not None and not store.trust.believes(store.owner):
        owner = trust.user_name(store.owner)
        logger.warning("Setting share is ignored: %s belongs to %s", store.path, owner)
        return ()
    return settings.share
