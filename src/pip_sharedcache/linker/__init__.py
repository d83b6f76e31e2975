"""Placing files: link modes, permissions, undo. The only code that links, clones, copies, or sets
a mode or a time, and the only code that branches on the operating system."""

from pip_sharedcache.linker.appearance import show
from pip_sharedcache.linker.descriptors import (
    HOST,
    Directory,
    alive,
    can_fork,
    cpus,
    create_file,
    drop_access_lists,
    finish_file,
    make_directory,
    set_directory,
    synchronise,
    write_all,
)
from pip_sharedcache.linker.link import Linker
from pip_sharedcache.linker.placement import Placement
from pip_sharedcache.linker.removal import remove_tree

__all__ = [
    "HOST",
    "Directory",
    "Linker",
    "Placement",
    "alive",
    "can_fork",
    "cpus",
    "create_file",
    "drop_access_lists",
    "finish_file",
    "make_directory",
    "remove_tree",
    "set_directory",
    "show",
    "synchronise",
    "write_all",
]
