"""Placement of one entry's files in one environment: link modes, permissions, undo, commit."""

from pip_sharedcache.placement.commit import make_visible
from pip_sharedcache.placement.link_choice import LinkChoice
from pip_sharedcache.placement.linker import Linker
from pip_sharedcache.placement.placement import Placement
from pip_sharedcache.placement.probe import (
    reflink_refusal,
    reflinks_within,
    try_link_modes,
    try_making_as,
    try_writing,
)
from pip_sharedcache.placement.run_report import PLACED, RunReport, Unserved
from pip_sharedcache.placement.ways import ARE_PACKED

__all__ = [
    "ARE_PACKED",
    "PLACED",
    "LinkChoice",
    "Linker",
    "Placement",
    "RunReport",
    "Unserved",
    "make_visible",
    "reflink_refusal",
    "reflinks_within",
    "try_link_modes",
    "try_making_as",
    "try_writing",
]
