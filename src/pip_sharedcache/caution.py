"""What a run does without, since somebody else than its user could make use of it: symlinks where
their targets may be exchanged, sharing what is private in a store of somebody who is not believed.
"""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from pip_sharedcache import linker, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.store import Store

logger = logging.getLogger(__name__)


def no_symlinks_because(settings: Settings, store: Store) -> str:
    """Why no file is placed as a symlink into ``store`` in this run; "" where some may be."""
    if trust.user_id() == 0 and not settings.dir_administered and _may_be_moved(store.path):
        # Through sudo it may be anybody who named it, and could let it lead elsewhere later.
        return f"the store was named by {settings.dir_source}, and others may move it"
    try:
        if unloadable := linker.unloadable_because(store.path):
            return unloadable
        store.own_use().close()
    except OSError as error:  # nobody could know that what they lead to is still needed
        return f"links cannot be noted: {reason(error)}"
    return ""


def _may_be_moved(path: Path) -> bool:
    """Whether anybody but root owns, or may rename in, a directory that leads to ``path``, as it
    is written or in truth."""
    for above in {*path.parents, *path.resolve().parents, path}:
        status = above.lstat()
        link = stat.S_ISLNK(status.st_mode)
        open_to_others = trust.writable_by_others(status) and not status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or (open_to_others and not link):
            return True
    return False


def shared_although_private(settings: Settings, store: Store | None) -> tuple[str, ...]:
    """The setting ``share``; nothing where root does not believe the owner of the store: whoever
    named that through sudo may have named what is shared, too. Warns."""
    if settings.share and store is not None and not store.trust.believes(store.owner):
        owner = trust.user_name(store.owner)
        logger.warning("Setting share is ignored: %s belongs to %s", store.path, owner)
        return ()
    return settings.share
