"""The savings that a store brings, computed from the run records of its users."""

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

#: The properties by which the numbers can be grouped.
GROUPS = ("package", "user", "environment", "month")
_UNTOLD = "(not recorded)"


@dataclass
class Totals:
    """The sums over some runs, or over one distribution in all runs.

    ``runs``: the number of runs.
    ``installed``: the number of distributions installed.
    ``found``: the distributions that were in the store.
    ``added``: the distributions that the runs added to the store.
    ``pulled``: the distributions whose wheels came from remote stores.
    ``by_pip``: the distributions that pip installed without the store.
    ``apparent``: bytes installed from the store, without the bytes that pip installed alone.
    ``not_downloaded``: bytes that were not downloaded.
    ``not_copied``: bytes that were not copied.
    ``seconds``: the duration of all runs together.
    ``compiled``: bytes of source that were compiled.
    ``compile_seconds``: the duration of compiling.
    ``reused``: bytes of source whose bytecode was in the store.
    ``resolutions_recorded``: the runs that recorded a resolution.
    ``resolutions_reused``: the runs that reused one.
    ``requests_saved``: the requests to indexes that these did not make.
    ``seconds_saved``: the time that they saved.
    """

    runs: int = 0
    installed: int = 0
    found: int = 0
    added: int = 0
    pulled: int = 0
    by_pip: int = 0
    apparent: int = 0
    not_downloaded: int = 0
    not_copied: int = 0
    seconds: float = 0.0
    compiled: int = 0
    compile_seconds: float = 0.0
    reused: int = 0
    resolutions_recorded: int = 0
    resolutions_reused: int = 0
    requests_saved: int = 0
    seconds_saved: float = 0.0

    def count(self, one: Installed) -> None:
        """Count one distribution."""
        self.installed += 1
        self.found += one.how == "found"
        self.added += one.how == "added"
        self.pulled += one.pulled
        self.by_pip += one.how == "pip"
        self.apparent += one.size if one.how != "pip" else 0

    def add(self, run: Run) -> None:
        """Count one run, and all distributions in the run."""
        self.runs += 1
        for one in run.distributions:
            self.count(one)
        self.not_downloaded += run.not_downloaded
        self.not_copied += run.not_copied
        self.seconds += run.seconds
        self.compiled += run.compiled
        self.compile_seconds += run.compile_seconds
        self.reused += run.reused
        self.resolutions_recorded += run.resolution == "recorded"
        self.resolutions_reused += run.resolution == "reused"
        self.requests_saved += run.requests_saved
        self.seconds_saved += run.seconds_saved

    @property
    def from_store(self) -> int:
        """Return the number of distributions installed from the store, also those just added."""
        return self.found + self.added

    def saved_seconds(self, whole: Totals) -> float | None:
        """Return the seconds that compiling the reused sources would have taken.

        The estimate uses the speed of compiling in ``whole``; None if ``whole`` compiled nothing.
        """
        if not whole.compiled:
            return None
        return self.reused / whole.compiled * whole.compile_seconds


@dataclass
class Savings:
    """All numbers from the run records of a store.

    ``whole``: the totals of all runs.
    ``groups``: the totals by each of the GROUPS that were asked for.
    ``modes``: the number of runs that used, or could not use, the link mode that they asked for.
    ``refusals``: the number of runs for each reason why a link mode could not be used.
    ``reasons``: the number of distributions for each reason why pip installed them alone.
    """

    whole: Totals = field(default_factory=Totals)
    groups: dict[str, dict[str, Totals]] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, store: Store, groups: Iterable[str]) -> Savings:
        """Return the numbers of ``store`` by each of ``groups``.

        The records are read one after another, because a store can have thousands of users.
        """
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


#: Cached, because a name service can be slow and each user has hundreds of runs.
_name = functools.cache(trust.user_name)

_KEYS: dict[str, Callable[[int, Run], str]] = {
    "user": lambda user, run: _name(user),
    "environment": lambda user, run: run.environment or _UNTOLD,
    "month": lambda user, run: _month(run.at),
}


def _month(at: int) -> str:
    try:
        return time.strftime("%Y-%m", time.gmtime(at))
    except (OSError, OverflowError, ValueError):  # some systems do not support such years
        return _UNTOLD


def project_of(title: str) -> str:
    """Return the name of the distribution in a wheel's file name; other titles as they are."""
    if not title.endswith(".whl"):
        return title  # for example a source tree that pip built
    return str(canonicalize_name(title.partition("-")[0]))  # any user can choose it
