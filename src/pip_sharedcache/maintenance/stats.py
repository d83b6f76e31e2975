"""What a store does for those who pay for it, added up from the records of its users."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from pip_sharedcache import trust
from pip_sharedcache.model import Installed
from pip_sharedcache.store import Store, run_log
from pip_sharedcache.store.run_log import Run

#: By what the numbers can be told.
GROUPS = ("package", "user", "environment", "month")
_UNTOLD = "(not told)"


@dataclass
class Totals:
    """Of some runs, or of one distribution in all of them. ``installed``: distributions, of which
    some were ``found`` in the store, some ``added`` to it, and others left to pip (``by_pip``);
    ``apparent``: bytes of what was installed from the store, without what pip installed alone;
    ``not_copied``, ``not_downloaded``: bytes; ``seconds``: of all runs together."""

    runs: int = 0
    installed: int = 0
    found: int = 0
    added: int = 0
    by_pip: int = 0
    apparent: int = 0
    not_downloaded: int = 0
    not_copied: int = 0
    seconds: float = 0.0
    compiled: int = 0
    compile_seconds: float = 0.0
    reused: int = 0

    def count(self, one: Installed) -> None:
        """Count one distribution."""
        self.installed += 1
        self.found += one.how == "found"
        self.added += one.how == "added"
        self.by_pip += one.how == "pip"
        self.apparent += one.size if one.how != "pip" else 0

    def add(self, run: Run) -> None:
        """Count one run, and all distributions in it."""
        self.runs += 1
        for one in run.distributions:
            self.count(one)
        self.not_downloaded += run.not_downloaded
        self.not_copied += run.not_copied
        self.seconds += run.seconds
        self.compiled += run.compiled
        self.compile_seconds += run.compile_seconds
        self.reused += run.reused

    @property
    def from_store(self) -> int:
        """How many distributions were installed from the store, those just added included."""
        return self.found + self.added

    def saved_seconds(self, whole: Totals) -> float | None:
        """Seconds that compiling what was reused would have taken, at the pace of what ``whole``
        tells of; None where nothing was compiled."""
        if not whole.compiled:
            return None
        return self.reused / whole.compiled * whole.compile_seconds


@dataclass
class Savings:
    """All that the records of a store tell: of the ``whole``; by each of the GROUPS that were
    asked for; ``modes``, how many runs had the link mode that they asked for, or not, and why;
    ``reasons``, how many distributions pip installed alone, and why."""

    whole: Totals = field(default_factory=Totals)
    groups: dict[str, dict[str, Totals]] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: Store, groups: Iterable[str]) -> Savings:
        """Read the records one after another: there may be thousands of users."""
        told = cls(groups={group: {} for group in groups})
        for user, run in run_log.runs(store):
            told.add(user, run)
        return told

    def add(self, user: int, run: Run) -> None:
        """Count ``run`` of the user with the uid ``user``."""
        self.whole.add(run)
        self.modes[run.mode if not run.refused else f"no {run.mode}"] += 1
        if run.refused:
            self.refusals[f"no {run.mode}: {run.refused}"] += 1
        for one in run.distributions:
            if one.how == "pip" and one.why:
                self.reasons[one.why] += 1
        for name, sums in self.groups.items():
            if name == "package":
                for one in run.distributions:
                    sums.setdefault(project_of(one.title), Totals()).count(one)
            else:
                sums.setdefault(_KEYS[name](user, run), Totals()).add(run)


#: A name service may take its time, and each user has hundreds of runs.
_name = functools.cache(trust.user_name)

_KEYS: dict[str, Callable[[int, Run], str]] = {
    "user": lambda user, run: _name(user),
    "environment": lambda user, run: run.environment or _UNTOLD,
    "month": lambda user, run: _month(run.at),
}


def _month(at: int) -> str:
    try:
        return time.strftime("%Y-%m", time.gmtime(at))
    except (OSError, OverflowError, ValueError):  # not every system knows such years
        return _UNTOLD


def project_of(title: str) -> str:
    """The distribution of the wheel called ``title``."""
    if not title.endswith(".whl"):
        return title  # a source tree, say: pip built it
    return str(canonicalize_name(title.partition("-")[0]))  # it is anybody's word, and may be long
