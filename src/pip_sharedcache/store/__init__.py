"""The store on disk: where an entry lies, looking one up, publishing one, taking one away."""

from pip_sharedcache.store import (
    run_log,
    symlink_registry,
    usage_marks,
)
from pip_sharedcache.store.built_wheels import (
    NONE_YET,
    Build,
    find_build,
    key_of,
    stage_build,
)
from pip_sharedcache.store.bytecode_paths import (
    compiled_path,
    without_bytecode,
)
from pip_sharedcache.store.entries import (
    Item,
    inventory,
    names,
    survey,
)
from pip_sharedcache.store.entry_checks import (
    copy_checked,
)
from pip_sharedcache.store.homes import (
    TAG_NAME,
    refuse_foreign_home,
)
from pip_sharedcache.store.layout import (
    BUILDS,
    BYTECODE,
    CONFIGURATION,
    SHARDS,
    USE,
    WHEELS,
    MissingDirectory,
    Store,
    directories,
)
from pip_sharedcache.store.lookup import (
    Found,
    copy_wheel,
    exposure,
    find,
    find_bytecode,
    find_retired,
    hold,
    objection_to,
    read_manifest,
)
from pip_sharedcache.store.open import (
    ONLY,
    PATIENCE,
    exchanged_by,
    open_layers,
    open_store,
)
from pip_sharedcache.store.publish import (
    discard,
    make_durable,
    publish,
    reveal,
)
from pip_sharedcache.store.staging import (
    Compile,
    Staged,
    stage,
    stage_bytecode,
)

__all__ = [
    "BUILDS",
    "BYTECODE",
    "CONFIGURATION",
    "NONE_YET",
    "ONLY",
    "PATIENCE",
    "SHARDS",
    "TAG_NAME",
    "USE",
    "WHEELS",
    "Build",
    "Compile",
    "Found",
    "Item",
    "MissingDirectory",
    "Staged",
    "Store",
    "compiled_path",
    "copy_checked",
    "copy_wheel",
    "directories",
    "discard",
    "exchanged_by",
    "exposure",
    "find",
    "find_build",
    "find_bytecode",
    "find_retired",
    "hold",
    "inventory",
    "key_of",
    "make_durable",
    "names",
    "objection_to",
    "open_layers",
    "open_store",
    "publish",
    "read_manifest",
    "refuse_foreign_home",
    "reveal",
    "run_log",
    "stage",
    "stage_build",
    "stage_bytecode",
    "survey",
    "symlink_registry",
    "usage_marks",
    "without_bytecode",
]
