"""What a run does without, since somebody else than its user could make use of it: symlinks where
their targets may be exchanged, sharing what is private in a store of somebody who is not believed.
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
    """What is to be said of names in the setting ``trust`` that this machine does not know: who
    misspelt one would wait in vain for what that publisher shares."""
    unknown = trust.unknown_names(name for names in settings.trust for name in names)
    if not unknown:
        return ()
    places = dict(settings.chosen)["trust"].source
    if len(settings.trust) > 1:
        places += " or a place before that"
    return (f"Setting trust names {unknown} ({places}): nobody is believed for that",)


def owners_unknown(store: Store) -> str:
    """What a run does without in ``store``, where it is not known who owns a file."""
    return (
        f"File owners cannot be known, since {store.trust.unknown}: wheels of the shared store are "
        "copied and checked, bytecode is compiled, and nothing is published"
    )


def no_symlinks_because(store: Store) -> str:
    """Why no file is placed as a symlink into ``store`` in this run; "" where some may be."""
    if store.replaceable_by:  # through sudo, by whoever named it
        return store.replaceable_by
    if store.policy is Policy.READ_ONLY:
        return "links are not noted in a store that is only read"
    if store.policy is Policy.PRIVATE:  # whoever else uses the environment
        return "others may not follow links into a private store"
    try:
        if unloadable := fs.unloadable_because(store.path):
            return unloadable
        with store.own_usage_marks() as own:
            if not os.access(own.path, os.W_OK | os.X_OK):  # a read-only mount, say
                return f"links cannot be noted: {own.path} may not be written"
    except OSError as error:  # nobody could know that what they lead to is still needed
        return f"links cannot be noted: {reason(error)}"
    return ""


def shared_although_private(settings: Settings, stores: Iterable[Store]) -> tuple[str, ...]:
    """The setting ``share``; nothing where root would show others what is private in one of
    ``stores``, and somebody else may have wanted that through sudo: named what is shared and the
    store is a group's, or named the store and its owner is not believed. Warns."""
    for store in stores:
        if not settings.share or not store.policy.shares:
            continue
        if not store.trust.trusts(store.owner):
            why = f"{store.path} belongs to {trust.user_name(store.owner)}"
        elif trust.user_id() == 0 and store.group and not settings.share_administered:
            source = dict(settings.chosen)["share"].source
            why = f"for root it counts in the configuration for all only, and this is {source}"
        else:
            continue
        logger.warning("Setting share is ignored: %s", why)
        return ()
    return settings.share
