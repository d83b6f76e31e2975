"""The lines at the end of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from pip_sharedcache.session import notices
from pip_sharedcache.session.lookup import WheelLookup
from pip_sharedcache.session.state import RunState


def closing_lines(
    run: RunState, lookup: WheelLookup, unusual: Sequence[str]
) -> Iterator[tuple[int, str]]:
    """Yield the level (of logging) and the text of each line after a successful run.

    ``unusual``: why wheels were left to pip's own installer.
    """
    if unusual:
        why = "; ".join(unusual)
        yield logging.WARNING, f"Not shared, and installed by pip itself: {why}"
    for line in filter(None, (lookup.untrusted_summary(), summary(run))):
        yield logging.INFO, line
    for unserved in run.report.unserved:
        yield notices.VERBOSE, unserved.sentence


def summary(run: RunState) -> str:
    """Return the last line of a run that installed something; "" where there is none."""
    if not run.report.installed or not (run.layers or run.report.pulled):
        return ""
    return run.report.sentence([store.path for store in run.layers]) + run.links.summary()
