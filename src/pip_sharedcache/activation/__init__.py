"""The activation of the store for plain pip.

In one environment, in all environments of one interpreter, or in users' shells.
"""

from pip_sharedcache.activation.conda import Activation
from pip_sharedcache.activation.environments import changeable_by, environments
from pip_sharedcache.activation.interpreters import (
    Interpreter,
    executable_of,
    interpreter_of,
    libraries_of,
    what_joins,
)
from pip_sharedcache.activation.managed_files import Switch
from pip_sharedcache.activation.pip_hook import Hook
from pip_sharedcache.activation.shells import SHELLS, function

__all__ = [
    "SHELLS",
    "Activation",
    "Hook",
    "Interpreter",
    "Switch",
    "changeable_by",
    "environments",
    "executable_of",
    "function",
    "interpreter_of",
    "libraries_of",
    "what_joins",
]
