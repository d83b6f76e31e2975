"""The signers whose derived data counts: whether their file can be used, and when keys expire."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from pip_sharedcache.config import Settings
from pip_sharedcache.errors import SettingError, reason
from pip_sharedcache.maintenance.doctor.report import DoctorReport, forget, quoted, writers_of
from pip_sharedcache.signing.allowed import AllowedSigner, read_allowed
from pip_sharedcache.store import Store, signers_of

_SOON = 30 * 24 * 3600  # seconds
_MOST = 1 << 20  # bytes of the file
_CHOICE = "it is your choice who may sign"


def look_at_signers(report: DoctorReport, settings: Settings, store: Store) -> None:
    """Report who may sign derived data for this user, and the key with which this user signs."""
    if settings.signing_key is not None:
        report.add_fact("signing-key", str(settings.signing_key))
    if settings.signers is None:
        return
    path = settings.signers
    if shutil.which("ssh-keygen") is None:
        report.add_finding(
            "no-ssh-keygen",
            f"ssh-keygen is missing: no signature of {path} counts",
            "apt-get install openssh-client",
            "how programs are installed depends on the system",
            (0,),
        )
    try:
        signers_of(settings, [store])
        with open(path, "rb") as file:
            found = list(read_allowed(file.read(_MOST)))
    except (SettingError, OSError) as error:
        name = "revoked-signers" if "revoked-signers" in str(error) else "signers"
        source = settings.chosen[name][-1].source if name in settings.chosen else ""
        what = error.message if isinstance(error, SettingError) else f"{path}: {reason(error)}"
        command = forget(name, source) if source else f"ls -l {quoted(path)}"
        by = writers_of(source)
        report.add_finding("signers", f"No signature counts: {what}", command, _CHOICE, by)
        return
    _report(report, path, [one for one in found if one.counts_here], settings.revoked_signers)


def _report(
    report: DoctorReport, path: Path, found: list[AllowedSigner], revoked: Path | None
) -> None:
    now = time.time()
    facts = [
        {
            "principals": one.principals,
            "key": one.key,
            "authority": one.is_authority,
            "ends": None if one.ends is None else int(one.ends),
        }
        for one in found
    ]
    named = ", ".join(_shown(one, now) for one in found) or "none"
    report.add_fact("signers", f"{named} ({path})", facts)
    report.add_fact("revoked-signers", "none" if revoked is None else str(revoked))
    edit = f"${{EDITOR:-vi}} {quoted(path)}"
    if not any(one.ends is None or one.ends > now for one in found):
        what = "lists no signer whose key is valid for pip-sharedcache: no signature counts"
        report.add_finding("no-signer", f"{path} {what}", edit, _CHOICE, writers_of(path))
    for one in found:
        if one.ends is not None and now < one.ends < now + _SOON:
            what = f"{_shown(one, now)}: after that day, what it has signed does not count"
            by = writers_of(path)
            report.add_finding("signer-expires", f"{path}: {what}", edit, _CHOICE, by)


def _shown(one: AllowedSigner, now: float) -> str:
    who = f"{one.principals} (certificates)" if one.is_authority else one.principals
    if one.ends is not None:
        word = "expired" if one.ends <= now else "until"
        who += f" {word} {time.strftime('%Y-%m-%d', time.localtime(one.ends))}"
    if one.begins is not None and one.begins > now:
        who += f" from {time.strftime('%Y-%m-%d', time.localtime(one.begins))}"
    return who
