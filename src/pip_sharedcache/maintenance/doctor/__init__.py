"""The examination of a store, its surroundings and its use, with the repair of faults.

Every finding comes from a trial or an inspection. An examination changes nothing; it only writes
probe files, which it removes again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import reason
from pip_sharedcache.maintenance.doctor.configuration import check_store_json, look_at_bans
from pip_sharedcache.maintenance.doctor.directories import (
    Made,
    look_above,
    look_at_handmade,
    look_at_made,
)
from pip_sharedcache.maintenance.doctor.opening import look_at_layers, look_at_settings, reach
from pip_sharedcache.maintenance.doctor.publishers import look_at_publishers, look_at_use
from pip_sharedcache.maintenance.doctor.remotes import OpenWeb, look_at_remotes
from pip_sharedcache.maintenance.doctor.report import DoctorReport, Fact, Finding, quoted
from pip_sharedcache.maintenance.doctor.signers import look_at_signers
from pip_sharedcache.maintenance.doctor.surroundings import (
    look_at_filesystem,
    look_at_users,
    mount_of,
)
from pip_sharedcache.maintenance.doctor.trials import Trials
from pip_sharedcache.maintenance.stores import trusted_names
from pip_sharedcache.model import Policy
from pip_sharedcache.store import SHARDS, WHEELS, Store

__all__ = ["DoctorReport", "Fact", "Finding", "Outcome", "examine", "fix_all", "mount_of"]

_ROUNDS = 4  # the most rounds: a fix can uncover another fault


def examine(settings: Settings, environment: Path, web: OpenWeb | None = None) -> DoctorReport:
    """Examine the store that ``settings`` name, and its use from the directory ``environment``.

    ``web``: makes the access to a remote store on a web server; None: those are not tried. Faults
    are added to the report and raise nothing.
    """
    report = DoctorReport()
    look_at_users(report)
    look_at_settings(report, settings)
    settings = look_at_layers(report, settings)
    store = reach(report, settings)
    if store is not None:
        before = len(report.findings)
        try:
            _look_into(report, settings, store, environment)
        except OSError as error:
            where = error.filename or store.path
            report.add_finding(
                "unusable",
                f"{where} cannot be read: {reason(error)}",
                "pip-sharedcache store doctor",
                "another process may have changed it meanwhile",
            )
        if store.policy is Policy.READ_ONLY:
            # With this path alone in --sharedcache-dir, the store is not read-only.
            alone = f"--sharedcache-dir {quoted(store.path)}"
            left = f"the settings call the store read-only; {alone} store doctor --fix fixes it"
            report.findings[before:] = [
                replace(one, fix=None, unfixed=one.unfixed or left)
                for one in report.findings[before:]
            ]
    look_at_remotes(report, settings, web)
    mount = mount_of(environment.resolve())
    report.add_fact(
        "environment", f"{environment} ({mount.kind if mount else 'unknown file system'})"
    )
    return report


def _look_into(report: DoctorReport, settings: Settings, store: Store, environment: Path) -> None:
    top = Path(os.path.realpath(store.path))
    report.add_fact("owner", trust.user_name(store.owner), store.owner)
    names = trusted_names(store)
    report.add_fact("trusted", ", ".join(names), names)
    group = check_store_json(report, top)
    look_at_bans(report, top)
    gid = trust.group_id(group) if group else None
    made = None
    if group is not None and (gid is not None or not group):
        made = Made(top, store.owner, group, gid)
    look_above(report, top, made)
    if made is not None:
        look_at_made(report, made)
    else:
        look_at_handmade(report, top)
    mount = look_at_filesystem(report, top, (0, store.owner))
    if mount is not None and mount.read_only and _could_write(top):
        how = "remount,bind,rw" if mount.view_is_read_only else "remount,rw"
        report.add_finding(
            "read-only",
            f"{store.path} is mounted read-only at {mount.point}: nothing can be published",
            f"mount -o {how} {quoted(mount.point)}",
            "the administrator decides how file systems are mounted",
            (0,),
        )
    sample = look_at_publishers(report, store)
    look_at_use(report, store)
    look_at_signers(report, settings, store)
    Trials(report, store, settings, environment).run(sample)


def _could_write(top: Path) -> bool:
    """Return whether this process could publish by the modes, apart from a read-only mount."""
    shard = top / WHEELS / SHARDS[0]
    status = (shard if shard.is_dir() else top).stat()
    if trust.user_id() in (0, status.st_uid):
        return True
    grouped = status.st_gid in {os.getegid(), *os.getgroups()}
    return bool(status.st_mode & (0o020 if grouped else 0o002))


@dataclass(frozen=True)
class Outcome:
    """The result of fixing faults.

    ``report``: the last report.
    ``fixed``: the findings that were fixed.
    ``left``: for each sentence of the last round, why the fault is left; "" if it was fixed.
    """

    report: DoctorReport
    fixed: tuple[Finding, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)


def fix_all(look: Callable[[], DoctorReport]) -> Outcome:
    """Fix the faults that this process may fix without a loss for other users.

    ``look`` returns a report of the present faults; it is called again after each round, because a
    fix can uncover another fault.
    """
    outcome = Outcome(look())
    for _ in range(_ROUNDS):
        findings = outcome.report.findings
        left = {finding.sentence: _fix(finding) for finding in findings}
        done = [finding for finding in findings if not left[finding.sentence]]
        if not done:
            return replace(outcome, left=left)
        outcome = Outcome(look(), (*outcome.fixed, *done), left)
    return outcome


def _fix(finding: Finding) -> str:
    """Fix one fault; return "", or the reason why it is left."""
    if finding.fix is None:
        return finding.unfixed
    try:
        finding.fix()
    except OSError as error:
        return reason(error)
    return ""
