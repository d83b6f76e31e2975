"""Switching the store on where pip is run as ever: for one environment, or for all of one
interpreter."""

from pip_sharedcache.hooking.hook import Hook
from pip_sharedcache.hooking.interpreters import Interpreter, interpreter_of, what_joins

__all__ = ["Hook", "Interpreter", "interpreter_of", "what_joins"]
