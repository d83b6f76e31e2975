"""The boundary to pip: the only code that imports ``pip._internal`` and wrapt."""

from pip_sharedcache.interception.configuration import configuration_files
from pip_sharedcache.interception.run import look_at_pip, run_pip

__all__ = ["configuration_files", "look_at_pip", "run_pip"]
