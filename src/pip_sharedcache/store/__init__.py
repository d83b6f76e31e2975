"""The store on disk: where an entry lies, looking one up, publishing one."""

from pip_sharedcache.store.layout import Store, survey
from pip_sharedcache.store.lookup import Found, find, find_bytecode, hold
from pip_sharedcache.store.publish import Staged, publish, reveal, stage, stage_bytecode

__all__ = [
    "Found",
    "Staged",
    "Store",
    "find",
    "find_bytecode",
    "hold",
    "publish",
    "reveal",
    "stage",
    "stage_bytecode",
    "survey",
]
