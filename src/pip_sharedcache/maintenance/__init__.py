"""Tasks of an administrator: garbage collection, checks, archives, statistics, doctor.

Scripts can use the names below, too. The functions take and return plain values and print nothing;
they raise SharedCacheError (pip_sharedcache.errors) or OSError. ``API_VERSION`` grows with each
change to which scripts must adapt.
"""

from pip_sharedcache.maintenance.add import Addition, Distribution, add_distributions, freeze
from pip_sharedcache.maintenance.archive import Arrival, pack, select, unpack
from pip_sharedcache.maintenance.entries import Contents, read_entries
from pip_sharedcache.maintenance.gc import Collection, Refusal, collect
from pip_sharedcache.maintenance.heal import Check, Healing, check
from pip_sharedcache.maintenance.report import Page, make_page
from pip_sharedcache.maintenance.stats import Savings
from pip_sharedcache.maintenance.stores import Made, make_store, open_at
from pip_sharedcache.maintenance.verdict import Damage, Verdict

API_VERSION = 1

__all__ = [
    "API_VERSION",
    "Addition",
    "Arrival",
    "Check",
    "Collection",
    "Contents",
    "Damage",
    "Distribution",
    "Healing",
    "Made",
    "Page",
    "Refusal",
    "Savings",
    "Verdict",
    "add_distributions",
    "check",
    "collect",
    "freeze",
    "make_page",
    "make_store",
    "open_at",
    "pack",
    "read_entries",
    "select",
    "unpack",
]
