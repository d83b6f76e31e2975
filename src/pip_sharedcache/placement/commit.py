"""Letting complete distributions appear: all made durable together, then shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import methodcaller

from pip_sharedcache.fs.sync import flush_placed
from pip_sharedcache.placement.placement import Placement


def make_visible(placements: Sequence[Placement]) -> None:
    """Make complete ``placements`` durable, then let pip see them. Raises OSError, the first one,
    when all others are done; those that cannot appear are undone."""
    first: OSError | None = None
    ready = list(placements)

    def each(step: Callable[[Placement], None]) -> None:
        nonlocal first
        for placement in list(ready):
            try:
                step(placement)
            except OSError as error:
                ready.remove(placement)
                placement.undo()
                placement.dist_info.name_finally(error)
                first = first or error

    try:
        each(methodcaller("record"))
        kept = flush_placed([path for placement in ready for path in placement.written()])
        each(methodcaller("flush", kept))
        each(methodcaller("make_visible"))
    except BaseException:  # Ctrl-C: each is whole or absent; undo spares what is visible
        for placement in ready:
            placement.undo()
        raise
    if first is not None:
        raise first
