"""System calls on files, directories and processes. Knows nothing of wheels or stores."""

from pip_sharedcache.fs.dir_identity import HOST_NAME, Place, way_to, whereabouts
from pip_sharedcache.fs.dirfd import (
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
from pip_sharedcache.fs.host import (
    HOST,
    alive,
    can_fork,
    cpus,
    device_of,
    has_descriptors,
    has_room_for,
    time_there,
    unloadable_because,
)
from pip_sharedcache.fs.quota import Quota, quota
from pip_sharedcache.fs.rename import exchange
from pip_sharedcache.fs.sync import begin_to_flush, synchronise
from pip_sharedcache.fs.temporary import sweep_temporary, temporary_directory, temporary_name
from pip_sharedcache.fs.trees import remove_tree, tree_size

__all__ = [
    "DISK_FAILS",
    "HOST",
    "HOST_NAME",
    "NEW",
    "NO_ROOM",
    "OF_THIS_PROCESS",
    "Directory",
    "Place",
    "Quota",
    "alive",
    "begin_to_flush",
    "can_fork",
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
    "sweep_temporary",
    "synchronise",
    "temporary_directory",
    "temporary_name",
    "time_there",
    "tree_size",
    "unloadable_because",
    "way_to",
    "whereabouts",
    "write_all",
]
