"""Features disabled for safety in a run.

Symlinks are disabled where other users can replace their targets. Private wheels are not shared
through a store whose owner is not trusted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from pip_sharedcache import fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Policy
from pip_sharedcache.store import Store

logger = logging.getLogger(__name__)


def trust_in_nobody(settings: Settings) -> tuple[str, ...]:
    """Return messages on names in the setting ``trust`` that this machine does not know.

    Without them, a user who misspells a name would wait in vain for that publisher's wheels.
    """
    unknown = trust.unknown_names(name for names in settings.trust for name in names)
    if not unknown:
        return ()
    places = " or ".join(one.source for one in settings.chosen["trust"])
    return (f"Setting trust names {unknown} ({places}): nobody is believed for that",)


def owners_unknown(store: Store) -> str:
    """Return the message on the features disabled in ``store``, where file owners are unknown."""
    return (
        f"File owners cannot be known, since {store.trust.unknown}: wheels of the shared store are "
        "copied and checked, bytecode is compiled, and nothing is published"
    )


def no_symlinks_because(store: Store) -> str:
    """Return why this run places no symlinks into ``store``; "" where it may place some."""
    if store.replaceable_by:  # under sudo, also by the user who named the store
        return store.replaceable_by
    if store.policy is Policy.READ_ONLY:
        return "links are not noted in a store that is only read"
    if store.policy is Policy.PRIVATE:  # the links would break the environment for others
        return "others may not follow links into a private store"
    try:
        if unloadable := fs.unloadable_because(store.path):
            return unloadable
        with store.own_usage_marks() as own:
            if not os.access(own.path, os.W_OK | os.X_OK):  # for example on a read-only mount
                return f"links cannot be noted: {own.path} may not be written"
    except OSError as error:  # garbage collection would delete the targets of links in use
        return f"links cannot be noted: {reason(error)}"
    return ""


def shared_although_private(settings: Settings, stores: Iterable[Store]) -> tuple[str, ...]:
    """Return the setting ``share``; () with a warning where it could show private wheels.

    That is the case where the owner of one of ``stores`` is not trusted, and where root publishes
    to a store with a group and the setting is not in the configuration for all: through sudo,
    another user may have named the store or the setting.
    """
    for store in stores:
        if not settings.share or not store.policy.shares:
            continue
        if not store.trust.trusts(store.owner):
            why = f"{store.path} belongs to {trust.user_name(store.owner)}"
        elif trust.user_id() == 0 and store.group and not settings.chosen["share"][-1].administered:
            source = settings.chosen["share"][-1].source
            why = f"for root it counts in the configuration for all only, and this is {source}"
        else:
            continue
        logger.warning("Setting share is ignored: %s", why)
        return ()
    return settings.share
