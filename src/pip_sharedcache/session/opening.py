"""The opening of the stores of one run, with warnings for those that it cannot use."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext

from pip_sharedcache import fs
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import StoreNotMade, without_store
from pip_sharedcache.store.layers import Layers
from pip_sharedcache.store.open import may_write, without_writes

logger = logging.getLogger(__name__)

#: The most files that a run has open at once, including those for pip and worker processes.
_DESCRIPTORS = 48


def dry_run(is_one: bool) -> AbstractContextManager[None]:
    """Let this process, and the pips that it starts, write nothing to the stores meanwhile.

    ``is_one``: whether the run is a dry one; if not, nothing changes.
    """
    return without_writes() if is_one else nullcontext()


def open_layers(settings: Settings, *, fills: bool) -> Layers:
    """Open the stores that ``settings`` name. An unusable store causes a warning, no error.

    ``fills``: whether missing stores of this user are made.
    """
    fills = fills and may_write()
    if not fills and settings.private and not os.path.lexists(settings.dir or ""):
        return Layers(())  # the private store is not made yet
    if not fs.can_open_pairs(_DESCRIPTORS // 2):
        why = f"this process may not open {_DESCRIPTORS} more files (see ulimit -n)"
        which, end = _without_any(settings)
        logger.warning("%s: %s%s", without_store(which), why, end)
        return Layers(())
    layers, unusable = Layers.of_settings(settings, make=fills)
    which, end = ("one of the shared stores", "") if layers else _without_any(settings)
    for error in (one for one in unusable if not isinstance(one, StoreNotMade)):
        logger.warning("%s: %s (%s)%s", without_store(which), error, settings.dir_source, end)
    return layers


def _without_any(settings: Settings) -> tuple[str, str]:
    """Return what a run without local stores lacks, and the end of its warning, in words."""
    if settings.remotes and not settings.offline:
        return "a local store", "; wheels of the remote stores are used all the same"
    return "the shared store", ""
