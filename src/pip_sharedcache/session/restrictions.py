"""Features disabled for safety in a run.

Symlinks are disabled where other users can replace their targets. Private wheels are not shared
through a store whose owner is not trusted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.model import Entry, LinkMode, Origin, Policy
from pip_sharedcache.placement import LinkChoice
from pip_sharedcache.session.usage import UsageRecorder
from pip_sharedcache.session.wheels import is_below
from pip_sharedcache.store import Store
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)


def unknown_names_in_trust(settings: Settings) -> tuple[str, ...]:
    """Return messages on names in the setting ``trust`` that this machine does not know.

    Without them, a user who misspells a name would wait in vain for that publisher's wheels.
    """
    unknown = trust.unknown_names(name for names in settings.trust for name in names)
    if not unknown:
        return ()
    places = " or ".join(one.source for one in settings.chosen["trust"])
    return (f"Setting trust names {unknown} ({places}): such a name has no effect",)


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
        return "links are not registered in a read-only store"
    if store.policy is Policy.PRIVATE:  # the links would break the environment for others
        return "others may not follow links into a private store"
    try:
        if store.policy is Policy.BACKFILL and not os.stat(store.path).st_mode & 0o077:
            return "others may not follow links into a private store"
        if unloadable := fs.unloadable_because(store.path):
            return unloadable
        with store.own_usage_marks() as own:
            if not os.access(own.path, os.W_OK | os.X_OK):  # for example on a read-only mount
                return f"links cannot be registered: {own.path} may not be written"
    except OSError as error:  # garbage collection would delete the targets of links in use
        return f"links cannot be registered: {reason(error)}"
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


class SymlinkCheck:
    """The check that symlinks into entries are safe, or else the change of ``links``.

    ``uses`` announces them.
    """

    def __init__(self, links: LinkChoice, layers: Layers, uses: UsageRecorder) -> None:
        self._links = links
        self._layers = layers
        self._uses = uses
        self._reasons: dict[Path, str] = {}
        if links.asked is LinkMode.SYMLINK:
            self._reasons = {store.path: no_symlinks_because(store) for store in layers}
            if all(self._reasons.values()):
                links.give_up_symlinks(next(iter(self._reasons.values()), ""))

    def check(self, entry: Entry) -> None:
        """Give up symlinks for the rest of the run if they are not safe into ``entry``.

        Else announce them. To be called before ``entry`` is opened.
        """
        if self._links.places_symlinks:
            store = self._layers.of(entry)
            why = self._reasons.get(store.path, "") if store else ""
            if store is not None and store is self._layers.temporary:
                why = "a pulled wheel is kept for this run alone"
            self._links.give_up_symlinks(why or self._layers.replaceable_by(entry))
        if self._links.places_symlinks:
            self._uses.announce_links(entry)


class Sharing:
    """The wheels that a run with ``settings`` may share through ``layers``.

    ``pushes``: whether the settings name a remote store that takes wheels. Its readers can be
    others than the users of this machine.
    """

    def __init__(self, settings: Settings, layers: Layers) -> None:
        self._layers = layers
        self._prefixes = shared_although_private(settings, layers)
        self.pushes = not settings.offline and any(
            remote.policy is Policy.PUBLISH for remote in settings.remotes
        )

    def is_private(self, origin: Origin) -> bool:
        """Return whether a wheel from ``origin`` must not be shared."""
        return bool(origin.private_because) and not self.is_shared_anyway(origin.url)

    def is_shared_anyway(self, url: str) -> bool:
        """Return whether ``url`` (or an absolute path) is below a prefix in the setting share."""
        return any(is_below(url, prefix) for prefix in self._prefixes)

    def shows_others(self) -> bool:
        """Return whether a store that takes shared wheels has a group or another user as owner."""
        return any(
            bool(store.group) or store.owner != trust.user_id()
            for store in self._layers
            if store.policy.shares
        )

    def shows_new(self) -> bool:
        """Return whether other users can see what this run adds to a store that is not private."""
        store = self._layers.to_publish()
        return store is not None and self.shows_others() and store.may_publish()
