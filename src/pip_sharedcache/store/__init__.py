"""The store on disk: its layout, and the lookup, publication and retirement of its entries."""

from pip_sharedcache.store import run_log, symlink_registry, usage_marks
from pip_sharedcache.store.built_wheels import NONE_YET, Build, find_build, key_of, stage_build
from pip_sharedcache.store.bytecode_paths import compiled_path
from pip_sharedcache.store.entries import (
    StoredEntry,
    list_entries,
    names,
    releases,
    survey,
)
from pip_sharedcache.store.entry_reading import open_entry, read_manifest
from pip_sharedcache.store.entry_trust import distrust_reason, replaceable_by
from pip_sharedcache.store.filling import Compile, WheelSource
from pip_sharedcache.store.homes import TAG_NAME, missing_store, refuse_foreign_home
from pip_sharedcache.store.layout import (
    AREAS,
    BUILDS,
    BYTECODE,
    RESOLUTIONS,
    SHARDS,
    USE,
    WHEELS,
    Store,
    expected_directories,
)
from pip_sharedcache.store.lookup import find, find_bytecode, find_retired
from pip_sharedcache.store.open import (
    ONLY,
    PATIENCE,
    is_made_later,
    open_layers,
    open_store,
    path_replaceable_by,
)
from pip_sharedcache.store.packs import PACK
from pip_sharedcache.store.publish import discard, make_durable, make_visible, publish
from pip_sharedcache.store.resolutions import (
    JUDGED_PAGE,
    RESOLUTION,
    StoredResolution,
    find_resolutions,
    stage_resolution,
)
from pip_sharedcache.store.signatures import (
    StoredSignature,
    check_stored,
    count_signatures,
    find_signed,
    list_signatures,
    may_relay_signed,
    own_signed,
    signers_of,
    write_signed,
)
from pip_sharedcache.store.signed_bytecode import (
    check_signed,
    interpreter_of,
    make_statement,
    signed_bytes,
    spool_signed,
)
from pip_sharedcache.store.signed_files import UncheckedFiles, find_unchecked
from pip_sharedcache.store.sources import Source
from pip_sharedcache.store.spools import Spools
from pip_sharedcache.store.staging import Staged, stage_bytecode, stage_wheel
from pip_sharedcache.store.stale_staging import clear_own
from pip_sharedcache.store.store_json import PACKED, STORE_JSON, TREE, layout_name
from pip_sharedcache.store.wheel_copies import copy_wheel

__all__ = [
    "AREAS",
    "BUILDS",
    "BYTECODE",
    "JUDGED_PAGE",
    "NONE_YET",
    "ONLY",
    "PACK",
    "PACKED",
    "PATIENCE",
    "RESOLUTION",
    "RESOLUTIONS",
    "SHARDS",
    "STORE_JSON",
    "TAG_NAME",
    "TREE",
    "USE",
    "WHEELS",
    "Build",
    "Compile",
    "Source",
    "Spools",
    "Staged",
    "Store",
    "StoredEntry",
    "StoredResolution",
    "StoredSignature",
    "UncheckedFiles",
    "WheelSource",
    "check_signed",
    "check_stored",
    "clear_own",
    "compiled_path",
    "copy_wheel",
    "count_signatures",
    "discard",
    "distrust_reason",
    "expected_directories",
    "find",
    "find_build",
    "find_bytecode",
    "find_resolutions",
    "find_retired",
    "find_signed",
    "find_unchecked",
    "interpreter_of",
    "is_made_later",
    "key_of",
    "layout_name",
    "list_entries",
    "list_signatures",
    "make_durable",
    "make_statement",
    "make_visible",
    "may_relay_signed",
    "missing_store",
    "names",
    "open_entry",
    "open_layers",
    "open_store",
    "own_signed",
    "path_replaceable_by",
    "publish",
    "read_manifest",
    "refuse_foreign_home",
    "releases",
    "replaceable_by",
    "run_log",
    "signed_bytes",
    "signers_of",
    "spool_signed",
    "stage_build",
    "stage_bytecode",
    "stage_resolution",
    "stage_wheel",
    "survey",
    "symlink_registry",
    "usage_marks",
    "write_signed",
]
