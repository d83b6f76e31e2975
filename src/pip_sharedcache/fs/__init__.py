"""System calls on files, directories and processes, without knowledge of wheels or stores."""

from pip_sharedcache.fs.dir_identity import (
    HOST_NAME,
    DirIdentity,
    directory_chain,
    find_moved_directory,
)
from pip_sharedcache.fs.dirfd import (
    DISK_ERRORS,
    NEW,
    NO_SPACE_ERRORS,
    PROCESS_ERRORS,
    Directory,
    create_file,
    ensure_directory,
    has_time,
    make_directory,
    replace_file,
    set_directory,
    write_all,
)
from pip_sharedcache.fs.file_data import (
    WORTH_FLUSHING,
    copy_all,
    read_at,
    write_at,
    write_file,
)
from pip_sharedcache.fs.host import (
    HANDS_ON_DESCRIPTORS,
    HOST,
    alive,
    can_fork,
    can_open_pairs,
    can_start_threads,
    cpus,
    device_of,
    file_system_time,
    is_stale,
    unloadable_because,
)
from pip_sharedcache.fs.lower_layer import is_in_lower_layer
from pip_sharedcache.fs.mapped_owner import mapped_owner, mapping_reason
from pip_sharedcache.fs.memory import give_back, use_one_arena
from pip_sharedcache.fs.quota import Quota, quota
from pip_sharedcache.fs.rename import put_in_place, rename_in
from pip_sharedcache.fs.stale import is_gone, is_silence, retry_stale, silence_of
from pip_sharedcache.fs.sync import begin_to_flush, synchronise
from pip_sharedcache.fs.temporary import sweep_temporary, temporary_directory, temporary_name
from pip_sharedcache.fs.trees import (
    give_tree,
    make_parents,
    remove_empty,
    remove_tree,
    restore_file,
    tree_size,
)

__all__ = [
    "DISK_ERRORS",
    "HANDS_ON_DESCRIPTORS",
    "HOST",
    "HOST_NAME",
    "NEW",
    "NO_SPACE_ERRORS",
    "PROCESS_ERRORS",
    "WORTH_FLUSHING",
    "DirIdentity",
    "Directory",
    "Quota",
    "alive",
    "begin_to_flush",
    "can_fork",
    "can_open_pairs",
    "can_start_threads",
    "copy_all",
    "cpus",
    "create_file",
    "device_of",
    "directory_chain",
    "ensure_directory",
    "file_system_time",
    "find_moved_directory",
    "give_back",
    "give_tree",
    "has_time",
    "is_gone",
    "is_in_lower_layer",
    "is_silence",
    "is_stale",
    "make_directory",
    "make_parents",
    "mapped_owner",
    "mapping_reason",
    "put_in_place",
    "quota",
    "read_at",
    "remove_empty",
    "remove_tree",
    "rename_in",
    "replace_file",
    "restore_file",
    "retry_stale",
    "set_directory",
    "silence_of",
    "sweep_temporary",
    "synchronise",
    "temporary_directory",
    "temporary_name",
    "tree_size",
    "unloadable_because",
    "use_one_arena",
    "write_all",
    "write_at",
    "write_file",
]
