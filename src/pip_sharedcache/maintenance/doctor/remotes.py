"""Trials of the remote stores: whether they can be reached, read and written, and how fast."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from pip_sharedcache import fs
from pip_sharedcache.config import WEB_SCHEME, RemoteSetting, Settings
from pip_sharedcache.maintenance.doctor.report import REMOTE, DoctorReport
from pip_sharedcache.model import Policy
from pip_sharedcache.remote.access import Answer, Has, Put, Request
from pip_sharedcache.remote.client import Client, interpreter
from pip_sharedcache.remote.stores import RemoteStore

#: The object that the trial of a remote store puts there, always the same.
PROBE = "probe"
_TEXT = b"pip-sharedcache store doctor\n"


def look_at_remotes(report: DoctorReport, settings: Settings) -> None:
    """Try each remote store of ``settings``: ask for an object, and put one where runs push."""
    for number, setting in enumerate(settings.remotes, 1):
        name, shown = f"{REMOTE}{number}", f"{setting.url} ({setting.policy.value})"
        if settings.offline:
            report.add_fact(name, f"{shown}: not used, by the setting offline", _value(setting))
        elif setting.url.startswith(f"{WEB_SCHEME}:"):
            text = f"{shown}: pip's own session reads it; not tried"
            report.add_fact(name, text, _value(setting))
        else:
            _try(report, settings, setting, name, shown)


def _try(
    report: DoctorReport, settings: Settings, setting: RemoteSetting, name: str, shown: str
) -> None:
    timeout = settings.remote_timeout
    python = interpreter(settings.remote_python)
    store = RemoteStore(setting, lambda: Client(setting.url, python, timeout))
    problems: list[str] = []

    def answered(request: Request, answer: Answer) -> None:
        if answer.problem:
            problems.append(answer.problem)

    try:
        store.ask([Has("wheels/probe")], answered)  # the process starts, and connects
        began = time.monotonic()
        store.ask([Has("bytecode/probe")], answered)
        milliseconds = (time.monotonic() - began) * 1000
        what = "can be read"
        if setting.policy is Policy.PUBLISH and store.failure is None:
            with fs.temporary_directory() as directory:
                file = directory / PROBE
                with file.open("wb") as target:
                    target.write(_TEXT)
                digest = hashlib.sha256(_TEXT).hexdigest()
                store.ask([Put(PROBE, file, digest)], answered)
            what = "can be read and written" if store.failure is None else "can be read only"
    finally:
        store.end()
    failure = store.failure
    if failure is None and not problems:
        text = f"{shown}: {what}; {milliseconds:.0f} ms for a request"
        report.add_fact(name, text, _value(setting, True, milliseconds))
        return
    report.add_fact(name, f"{shown}: cannot be used as named", _value(setting, False))
    why = str(failure) if failure is not None else problems[0]
    read_only = what == "can be read only"
    source = settings.chosen["dir"][-1].source if "dir" in settings.chosen else "the setting dir"
    if read_only:
        hint = f"write {setting.url} read-only in {source}, or give rights to put objects"
    else:
        hint = f"remove {setting.url} from {source}, or give access to it"
    consequence = "cannot be written" if read_only else "is not used"
    sentence = f"Remote store {consequence}: {setting.url}: {why}"
    report.add_finding("remote", sentence, f"# {hint}", "its operator gives the rights")


def _value(
    setting: RemoteSetting, works: bool | None = None, milliseconds: float | None = None
) -> dict[str, Any]:
    """Return the fact for programs; ``works``: None where nothing was tried."""
    rounded = None if milliseconds is None else round(milliseconds, 1)
    policy = setting.policy.value
    return {"url": setting.url, "policy": policy, "works": works, "milliseconds": rounded}
