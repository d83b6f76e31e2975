"""Trials of the remote stores: whether they can be reached, read and written, and how fast."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache import fs
from pip_sharedcache.config import RemoteSetting, Settings
from pip_sharedcache.maintenance.doctor.report import REMOTE, DoctorReport
from pip_sharedcache.maintenance.remotes import clock, is_web, open_bucket
from pip_sharedcache.model import Policy
from pip_sharedcache.remote.access import (
    Access,
    Answer,
    Fetch,
    Has,
    List,
    Put,
    RemoteFailed,
    Request,
)
from pip_sharedcache.remote.stores import RemoteStore

#: The object of a million bytes that shows the rate, always the same.
RATE_PROBE = "probe-1mb"

_MEGABYTE = 1_000_000
_MOST = 1 << 16  # bytes of an answer for an object that is not there
_APART = 60  # seconds between two clocks that are worth a line

#: Makes the access to a store on a web server: its URL, and the most seconds without an answer.
OpenWeb = Callable[[str, float], Access]


@dataclass
class _Trial:
    """What one remote store can do.

    ``milliseconds``: of one request. ``rate``: bytes a second of a put; None where nothing is put.
    ``ahead``: seconds by which its clock is ahead of this machine's; None if it does not show it.
    ``reads``, ``writes``: whether objects can be got and put. ``problems``: of files here.
    ``lists``: whether objects can be listed; None where that was not tried, as on web servers.
    ``why_not_listed``: why not.
    """

    milliseconds: float = 0.0
    rate: float | None = None
    ahead: float | None = None
    reads: bool = False
    writes: bool = False
    lists: bool | None = None
    why_not_listed: RemoteFailed | None = None
    problems: list[str] = field(default_factory=list)


def look_at_remotes(report: DoctorReport, settings: Settings, web: OpenWeb | None) -> None:
    """Try each remote store of ``settings``: ask for an object, and put one where runs push.

    ``web``: None: stores on web servers are not tried.
    """
    for number, setting in enumerate(settings.remotes, 1):
        name, shown = f"{REMOTE}{number}", f"{setting.url} ({setting.policy.value})"
        if settings.offline:
            report.add_fact(name, f"{shown}: not used, by the setting offline", _value(setting))
        elif is_web(setting) and web is None:
            report.add_fact(name, f"{shown}: not tried", _value(setting))
        else:
            _try(report, settings, setting, web, name)


def _try(
    report: DoctorReport,
    settings: Settings,
    setting: RemoteSetting,
    web: OpenWeb | None,
    name: str,
) -> None:
    opened: list[Access] = []

    def access() -> Access:
        if is_web(setting) and web is not None:
            opened.append(web(setting.url, float(settings.remote_timeout)))
        else:
            opened.append(open_bucket(settings, setting))
        return opened[-1]

    store = RemoteStore(setting, access)
    trial = _Trial()
    try:
        with fs.temporary_directory() as directory:
            _read(store, trial, directory)
            trial.reads = store.failure is None
            if setting.policy is Policy.PUBLISH and trial.reads:
                _write(store, trial, directory)
            if not is_web(setting) and store.failure is None:
                _list(store, trial)
        if is_web(setting) and opened:
            trial.ahead = getattr(opened[-1], "ahead", None)
    finally:
        store.end()
    _tell(report, settings, store, trial, name)


def _read(store: RemoteStore, trial: _Trial, directory: Path) -> None:
    def answered(request: Request, answer: Answer) -> None:
        if answer.problem:
            trial.problems.append(answer.problem)

    def ask(key: str) -> None:
        one: Request = Has(key)
        if is_web(store.setting):  # which pip's session only reads
            one = Fetch(key, directory / key.replace("/", "-"), _MOST)
        store.ask([one], answered)

    ask("wheels/probe")  # a process starts, and connects
    began = time.monotonic()
    ask("bytecode/probe")
    trial.milliseconds = (time.monotonic() - began) * 1000


def _write(store: RemoteStore, trial: _Trial, directory: Path) -> None:
    def answered(request: Request, answer: Answer) -> None:
        if answer.problem:
            trial.problems.append(answer.problem)
        else:
            trial.writes = True

    before = time.time()
    there = clock(store)
    after = time.time()
    if there is None:
        return
    # Its times are whole seconds; it was put between the two times here.
    trial.ahead = min(0.0, there + 1 - before) or max(0.0, there - after)
    file = directory / RATE_PROBE
    with file.open("xb") as target:
        target.write(bytes(_MEGABYTE))
    digest = hashlib.sha256(bytes(_MEGABYTE)).hexdigest()
    began = time.monotonic()
    store.ask([Put(RATE_PROBE, file, digest)], answered)
    trial.rate = _MEGABYTE / max(time.monotonic() - began, 0.001)


def _list(store: RemoteStore, trial: _Trial) -> None:
    """List what is below a name that no object has. A refusal is no failure of the store."""
    trial.lists = store.ask([List("wheels/probe")], lambda *_: None)
    trial.why_not_listed, store.failure = store.failure, None


def _tell(
    report: DoctorReport, settings: Settings, store: RemoteStore, trial: _Trial, name: str
) -> None:
    setting = store.setting
    shown = f"{setting.url} ({setting.policy.value})"
    failure = store.failure
    if failure is None and not trial.problems:
        what = "can be read and written" if trial.writes else "can be read"
        text = f"{shown}: {what}; {trial.milliseconds:.0f} ms for a request"
        if trial.rate is not None:
            text += f", {trial.rate / 1_000_000:.1f} MB a second"
        text += "; cannot be listed" if trial.lists is False else ""
        report.add_fact(name, text, _value(setting, True, trial))
        _tell_clock(report, setting, trial)
        if trial.why_not_listed is not None:
            report.add_finding(
                "remote-listing",
                f"Remote store cannot be listed: {setting.url}: {trial.why_not_listed.message}; "
                "list, stats, verify and gc with --remote, and pull without whole digests, need "
                "that; installations do not",
                f"# give the right to list objects in {setting.url}, such as s3:ListBucket",
                "its operator gives the rights",
                minor=True,
            )
        return
    report.add_fact(name, f"{shown}: cannot be used as named", _value(setting, False))
    why = str(failure) if failure is not None else trial.problems[0]
    source = settings.chosen["dir"][-1].source if "dir" in settings.chosen else "the setting dir"
    if trial.reads:
        hint = f"write {setting.url} read-only in {source}, or give rights to put objects"
    else:
        hint = f"remove {setting.url} from {source}, or give access to it"
    consequence = "cannot be written" if trial.reads else "is not used"
    sentence = f"Remote store {consequence}: {setting.url}: {why}"
    report.add_finding("remote", sentence, f"# {hint}", "its operator gives the rights")


def _tell_clock(report: DoctorReport, setting: RemoteSetting, trial: _Trial) -> None:
    if trial.ahead is None or abs(trial.ahead) < _APART:
        return
    how = "ahead of" if trial.ahead > 0 else "behind"
    report.add_finding(
        "remote-clock",
        f"The clock of {setting.url} is {abs(trial.ahead):.0f} seconds {how} that of this machine: "
        "keys and certificates that are valid for a time can count too early or too late",
        "timedatectl set-ntp true",
        "only root sets the clock of this machine",
    )


def _value(
    setting: RemoteSetting, works: bool | None = None, trial: _Trial | None = None
) -> dict[str, Any]:
    """Return the fact for programs; ``works``: None where nothing was tried."""
    facts: dict[str, Any] = {"url": setting.url, "policy": setting.policy.value, "works": works}
    milliseconds = rate = ahead = lists = None
    if trial is not None:
        lists = trial.lists
        milliseconds = round(trial.milliseconds, 1)
        rate = None if trial.rate is None else round(trial.rate)
        ahead = None if trial.ahead is None else round(trial.ahead)
    measured = {"milliseconds": milliseconds, "rate": rate, "clock_ahead": ahead}
    return {**facts, "lists": lists, **measured}
