"""The boundary to pip: the only code that imports ``pip._internal`` and wrapt."""

from pip_sharedcache.pip_adapter.bootstrap import RUNNER, carried, prefer_neighbours
from pip_sharedcache.pip_adapter.cancelling import (
    exit_quietly_until_command,
    is_started_as_pip,
)
from pip_sharedcache.pip_adapter.config_files import configuration_files, configured
from pip_sharedcache.pip_adapter.pip_versions import is_too_old, unfit
from pip_sharedcache.pip_adapter.remote_sessions import open_web
from pip_sharedcache.pip_adapter.run import (
    examine_pip,
    join_pip,
    join_plain_pip,
    resolver_problem,
    run_pip,
    run_plain_pip,
)

__all__ = [
    "RUNNER",
    "carried",
    "configuration_files",
    "configured",
    "examine_pip",
    "exit_quietly_until_command",
    "is_started_as_pip",
    "is_too_old",
    "join_pip",
    "join_plain_pip",
    "open_web",
    "prefer_neighbours",
    "resolver_problem",
    "run_pip",
    "run_plain_pip",
    "unfit",
]
