"""The turn of one run among those that miss the same wheels: one downloads, the others wait."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator

from pip_sharedcache import trust
from pip_sharedcache.model import Digest
from pip_sharedcache.store import claims
from pip_sharedcache.store.claims import Claim
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.store.layout import Store

logger = logging.getLogger(__name__)

#: Seconds that a run waits at most, for all other runs together. A slow or hostile neighbour costs
#: no more; a killed one nothing, or on another host claims.LIFETIME.
PATIENCE = 180.0
#: Seconds after which a run renews its claims.
RENEWAL = claims.LIFETIME / 3

_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two looks
#: A run with many more wheels takes longer than the download of these few.
_SHARE = 0.5


def pauses() -> Iterator[float]:
    """Yield the seconds between the looks of a run that waits."""
    pause = _SHORTEST
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST)


class Turns:
    """The claims of one run. ``end`` must be called."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._claims: list[tuple[Store, Claim]] = []
        self._left = PATIENCE
        self._renewed = time.monotonic()
        self._process = os.getpid()

    def wait(self, digests: Collection[Digest], are_there: Callable[[], bool]) -> bool:
        """Claim ``digests``, which this run misses, and wait for older claims of them.

        ``are_there``: returns whether the stores have them all. Then the wait ends, and the claim:
        of many runs that wait, each would otherwise wait for the ends of all before it.

        Returns whether there were older claims, after PATIENCE at the latest. Returns False at once
        if this run cannot publish, and if it has claims already: others may wait for it.
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
        began, rest = time.monotonic(), pauses()
        while waiting and time.monotonic() - began < self._left:
            time.sleep(next(rest))
            self.renew()  # else all claims here would end with the one that is waited for
            left = [one for one in waiting if claims.is_kept(store, one, own)]
            if len(left) < len(waiting) and are_there():
                self.end()
                break
            waiting = left
        self._left -= time.monotonic() - began
        return waits

    def renew(self) -> None:
        """Let the claims of this run count on: it works. Costs nothing if that was said lately."""
        if time.monotonic() - self._renewed > RENEWAL and os.getpid() == self._process:
            self._renewed = time.monotonic()
            for store, own in self._claims:
                claims.renew(store, own)

    def end(self) -> None:
        """Delete the claims of this run: its wheels are visible, or it has failed.

        A worker process leaves them to its parent process.
        """
        while os.getpid() == self._process and self._claims:
            store, own = self._claims.pop()
            if store.path not in self._layers.lost:
                claims.release(store, own)
