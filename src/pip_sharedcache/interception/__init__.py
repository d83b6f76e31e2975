"""The boundary to pip: the only code that imports ``pip._internal`` and wrapt."""

from pip_sharedcache.interception.carrying import RUNNER, carried, prefer_neighbours
from pip_sharedcache.interception.configuration import configuration_files, configured
from pip_sharedcache.interception.run import join_pip, look_at_pip, run_pip

__all__ = [
    "RUNNER",
    "carried",
    "configuration_files",
    "configured",
    "join_pip",
    "look_at_pip",
    "prefer_neighbours",
    "run_pip",
]
