"""Commit of complete distributions: all made durable together, then made visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import methodcaller

from pip_sharedcache.fs.sync import flush_placed
from pip_sharedcache.placement.placement import Placement


def make_visible(placements: Sequence[Placement]) -> None:
    """Make complete ``placements`` durable, then visible to pip.

    A placement that fails is undone. Raises OSError, the first one, after all others are done.
    """
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
    except BaseException:  # Ctrl-C: no distribution stays incomplete; undo keeps visible ones
        for placement in ready:
            placement.undo()
        raise
    if first is not None:
        raise first
