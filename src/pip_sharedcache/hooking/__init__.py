"""Switching the store on where pip is run as ever: for one environment, or for all of one
interpreter."""

from pip_sharedcache.hooking.hook import Hook
from pip_sharedcache.hooking.interpreters import Interpreter, interpreter_of, what_joins
from pip_sharedcache.hooking.shells import SHELLS, function

__all__ = ["SHELLS", "Hook", "Interpreter", "function", "interpreter_of", "what_joins"]
