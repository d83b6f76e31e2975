"""Placing files: link modes, permissions, undo. The only code that links, clones, copies, or sets
a mode or a time, and the only code that branches on the operating system."""

from pip_sharedcache.linker.appearance import show
from pip_sharedcache.linker.descriptors import (
    HOST,
    NEW,
    OF_THIS_PROCESS,
    Directory,
    alive,
    can_fork,
    cpus,
    create_file,
    drop_access_lists,
    finish_file,
    make_directory,
    set_directory,
    write_all,
)
from pip_sharedcache.linker.durability import synchronise
from pip_sharedcache.linker.link import Linker
from pip_sharedcache.linker.placement import Placement
from pip_sharedcache.linker.trees import remove_tree, tree_size

__all__ = [
    "HOST",
    "NEW",
    "OF_THIS_PROCESS",
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
    "tree_size",
    "write_all",
]
