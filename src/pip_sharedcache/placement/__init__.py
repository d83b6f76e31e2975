"""Place the files of one entry into one environment: link modes, modes, undo, commit."""

from pip_sharedcache.placement.commit import (
    make_visible,
)
from pip_sharedcache.placement.linker import (
    Linker,
)
from pip_sharedcache.placement.placement import (
    Placement,
)
from pip_sharedcache.placement.probe import (
    try_link_modes,
    try_making_as,
    try_writing,
)

__all__ = [
    "Linker",
    "Placement",
    "make_visible",
    "try_link_modes",
    "try_making_as",
    "try_writing",
]
