"""Placing files: link modes, permissions, undo. The only code that links, clones, copies, or sets
a mode or a time, and the only code that branches on the operating system."""

from pip_sharedcache.linker.appearance import show
from pip_sharedcache.linker.checking import copy_checked
from pip_sharedcache.linker.compiled import compiled_path, without_bytecode
from pip_sharedcache.linker.descriptors import (
    DISK_FAILS,
    NEW,
    NO_ROOM,
    OF_THIS_PROCESS,
    Directory,
    create_file,
    ensure_directory,
    finish_file,
    has_time,
    make_directory,
    make_way,
    replace_file,
    set_directory,
    write_all,
)
from pip_sharedcache.linker.durability import begin_to_flush, synchronise
from pip_sharedcache.linker.exchanging import exchange
from pip_sharedcache.linker.link import Linker
from pip_sharedcache.linker.machine import (
    HOST,
    alive,
    can_fork,
    cpus,
    device_of,
    has_descriptors,
    has_room_for,
    time_there,
    unloadable_because,
    wait_for,
)
from pip_sharedcache.linker.native import c_function
from pip_sharedcache.linker.placement import Placement
from pip_sharedcache.linker.places import HOST_NAME, Place, way_to, whereabouts
from pip_sharedcache.linker.quotas import Quota, quota
from pip_sharedcache.linker.temporary import (
    sweep_temporary,
    temporary_directory,
    temporary_name,
)
from pip_sharedcache.linker.trees import remove_tree, tree_size
from pip_sharedcache.linker.trial import try_link_modes, try_making_as, try_writing

__all__ = [
    "DISK_FAILS",
    "HOST",
    "HOST_NAME",
    "NEW",
    "NO_ROOM",
    "OF_THIS_PROCESS",
    "Directory",
    "Linker",
    "Place",
    "Placement",
    "Quota",
    "alive",
    "begin_to_flush",
    "c_function",
    "can_fork",
    "compiled_path",
    "copy_checked",
    "cpus",
    "create_file",
    "device_of",
    "ensure_directory",
    "exchange",
    "finish_file",
    "has_descriptors",
    "has_room_for",
    "has_time",
    "make_directory",
    "make_way",
    "quota",
    "remove_tree",
    "replace_file",
    "set_directory",
    "show",
    "sweep_temporary",
    "synchronise",
    "temporary_directory",
    "temporary_name",
    "time_there",
    "tree_size",
    "try_link_modes",
    "try_making_as",
    "try_writing",
    "unloadable_because",
    "wait_for",
    "way_to",
    "whereabouts",
    "without_bytecode",
    "write_all",
]
