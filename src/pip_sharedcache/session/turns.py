"""The turn of one run among those that miss the same wheels: one downloads, the others wait."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection

from pip_sharedcache import trust
from pip_sharedcache.model import Digest
from pip_sharedcache.store import claims
from pip_sharedcache.store.claims import Claim
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.store.layout import Store

logger = logging.getLogger(__name__)

#: Seconds that a run waits at most, for all other runs together. A killed, slow or hostile
#: neighbour costs no more.
PATIENCE = 60.0

_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two looks
#: A run with many more wheels takes longer than the download of these few.
_SHARE = 0.5


class Turns:
    """The claims of one run. ``end`` must be called."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._claims: list[tuple[Store, Claim]] = []
        self._left = PATIENCE
        self._process = os.getpid()

    def wait(self, digests: Collection[Digest]) -> bool:
        """Claim ``digests``, which this run misses, and wait for older claims of them.

        Returns whether there were any, after PATIENCE at the latest. Returns False at once if this
        run cannot publish, and if it has claims already: others may wait for it.
        """
        store, claimed = self._layers.to_publish(), [own.digests for _, own in self._claims]
        new = set(digests).difference(*claimed)
        if not new or store is None or not store.may_publish():
            return False
        try:
            own = claims.make(store, new)
        except OSError as error:
            logger.debug("Nothing is claimed in %s: %s", store.path, error)
            return False
        self._claims.append((store, own))
        if claimed:
            return False
        waiting = [
            one
            for one in claims.older(store, own)
            if len(one.digests & own.digests) >= _SHARE * len(one.digests)
        ]
        waits = bool(waiting)
        if waits and self._left > 0:
            whom = ", ".join(dict.fromkeys(trust.user_name(one.user) for one in waiting))
            logger.info(
                "Waiting for %s to publish some of these wheels (at most %d seconds)",
                *(whom, round(self._left)),
            )
        pause, began = _SHORTEST, time.monotonic()
        while waiting and time.monotonic() - began < self._left:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
            waiting = [one for one in waiting if claims.is_kept(store, one, own)]
        self._left -= time.monotonic() - began
        return waits

    def end(self) -> None:
        """Delete the claims of this run: its wheels are visible, or it has failed.

        A worker process leaves them to its parent process.
        """
        while os.getpid() == self._process and self._claims:
            store, own = self._claims.pop()
            if store.path not in self._layers.lost:
                claims.release(store, own)
