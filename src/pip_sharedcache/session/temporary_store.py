"""A store of one run alone, for pulled wheels where it may write to no other store.

A pulled wheel is unpacked there, and gets its signed bytecode, as in a local store. None of the
entries becomes visible, and the store is deleted at the end of the run.
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from pip_sharedcache import fs
from pip_sharedcache.errors import StoreUnusable
from pip_sharedcache.model import Policy
from pip_sharedcache.store import Store
from pip_sharedcache.store.bans import Bans
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.store.stale_staging import clear

logger = logging.getLogger(__name__)


class TemporaryStore:
    """The temporary store of a run with ``layers``. ``end`` must be called."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._path: Path | None = None
        self._process = os.getpid()

    def get_ready(self) -> None:
        """Make the store, if no layer takes what may be shared. Never raises.

        To be called before worker processes start, which use it, too.
        """
        if self._path is not None or self._layers.takes_shared:
            return
        above = Path(tempfile.gettempdir())
        fs.sweep_temporary(above)
        self._path = above / fs.temporary_name()
        try:
            fs.make_directory(self._path, 0o700)
            store = Store.open(self._path)
        except (OSError, StoreUnusable) as error:
            logger.debug("No temporary store: %s", error)
            return
        bans = Bans.of_all(one.bans for one in self._layers)
        self._layers.temporary = replace(store, policy=Policy.READ_ONLY, bans=bans)

    def end(self) -> None:
        """Delete the store, in the process that made it; further calls do nothing."""
        self._layers.temporary = None
        path, self._path = self._path, None
        if path is not None and os.getpid() == self._process:
            clear(path)
