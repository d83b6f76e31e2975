"""The store on disk: where an entry lies, looking one up, publishing one, taking one away."""

from pip_sharedcache.store import history, links, marks
from pip_sharedcache.store.builds import NONE_YET, Build, find_build, key_of, stage_build
from pip_sharedcache.store.collect import (
    GRACE,
    Spared,
    choose,
    delete_retired,
    retire,
    retire_notes,
    spared,
)
from pip_sharedcache.store.heal import heal
from pip_sharedcache.store.homes import TAG_NAME, refuse_foreign_home
from pip_sharedcache.store.inventory import Item, inventory, names, survey
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
from pip_sharedcache.store.opening import ONLY, PATIENCE, exchanged_by, open_layers, open_store
from pip_sharedcache.store.publish import discard, make_durable, publish, reveal
from pip_sharedcache.store.staging import Compile, Staged, stage, stage_bytecode
from pip_sharedcache.store.verify import Damage, Verdict, verify

__all__ = [
    "BUILDS",
    "BYTECODE",
    "CONFIGURATION",
    "GRACE",
    "NONE_YET",
    "ONLY",
    "PATIENCE",
    "SHARDS",
    "TAG_NAME",
    "USE",
    "WHEELS",
    "Build",
    "Compile",
    "Damage",
    "Found",
    "Item",
    "MissingDirectory",
    "Spared",
    "Staged",
    "Store",
    "Verdict",
    "choose",
    "copy_wheel",
    "delete_retired",
    "directories",
    "discard",
    "exchanged_by",
    "exposure",
    "find",
    "find_build",
    "find_bytecode",
    "find_retired",
    "heal",
    "history",
    "hold",
    "inventory",
    "key_of",
    "links",
    "make_durable",
    "marks",
    "names",
    "objection_to",
    "open_layers",
    "open_store",
    "publish",
    "read_manifest",
    "refuse_foreign_home",
    "retire",
    "retire_notes",
    "reveal",
    "spared",
    "stage",
    "stage_build",
    "stage_bytecode",
    "survey",
    "verify",
]
