"""Switching the store on where pip is run as ever: for one environment, for all of one interpreter,
or in people's shells."""

from pip_sharedcache.hooking.conda import Activation
from pip_sharedcache.hooking.hook import Hook
from pip_sharedcache.hooking.interpreters import (
    Interpreter,
    executable_of,
    interpreter_of,
    libraries_of,
    what_joins,
)
from pip_sharedcache.hooking.shells import SHELLS, function
from pip_sharedcache.hooking.written import Switch

__all__ = [
    "SHELLS",
    "Activation",
    "Hook",
    "Interpreter",
    "Switch",
    "executable_of",
    "function",
    "interpreter_of",
    "libraries_of",
    "what_joins",
]
