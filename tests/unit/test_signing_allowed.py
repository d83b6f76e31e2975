"""Files of allowed signers, as people read them: who, for what, until when."""

from __future__ import annotations

import calendar
import os
import subprocess
import time
from pathlib import Path

import pytest

from pip_sharedcache.config import Settings
from pip_sharedcache.config.sources import Setting
from pip_sharedcache.maintenance.doctor.report import DoctorReport
from pip_sharedcache.maintenance.doctor.signers import look_at_signers
from pip_sharedcache.signing.allowed import AllowedSigner, read_allowed
from pip_sharedcache.store import Store
from support import probes
from support.keys import make_key, public

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000"
FINGERPRINT = next(read_allowed(f"x {KEY}".encode())).key


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"alice@example.org {KEY} a comment", AllowedSigner("alice@example.org", FINGERPRINT)),
        (f'"a b",c namespaces="git" {KEY}', None),
        (f"alice,bob {KEY}", AllowedSigner("alice,bob", FINGERPRINT)),
        (
            f'*@example.org cert-authority,namespaces="git,pip-*" {KEY}',
            AllowedSigner("*@example.org", FINGERPRINT, is_authority=True),
        ),
        (
            f'old namespaces="git",valid-after="20200101Z",valid-before="20210102030405Z" {KEY}',
            AllowedSigner(
                "old",
                FINGERPRINT,
                counts_here=False,
                begins=calendar.timegm((2020, 1, 1, 0, 0, 0)),
                ends=calendar.timegm((2021, 1, 2, 3, 4, 5)),
            ),
        ),
        (
            f'local valid-before="202101020304" {KEY}',
            AllowedSigner("local", FINGERPRINT, ends=time.mktime((2021, 1, 2, 3, 4, 0, 0, 0, -1))),
        ),
        (f'odd valid-before="tomorrow" {KEY}', AllowedSigner("odd", FINGERPRINT)),
        (f"# alice {KEY}", None),
        ("alice", None),
        ("alice rsa AAAA", None),
        (f"\u202ealice\x1b[31m {KEY}", AllowedSigner("alice[31m", FINGERPRINT)),
    ],
)
def test_line_of_a_signer_is_read_as_ssh_keygen_means_it(
    line: str, expected: AllowedSigner | None
) -> None:
    found = list(read_allowed(f"\n{line}\n".encode()))
    assert found == ([] if expected is None else [expected])


@probes.needs(probes.openssh)
def test_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    key = make_key(tmp_path, "key")
    (found,) = read_allowed(f"alice {public(key)}".encode())
    command = ["ssh-keygen", "-l", "-f", f"{key}.pub"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert found.key == said.split()[1]


def _report(path: Path, store: Store, revoked: Path | None = None) -> DoctorReport:
    chosen = {name: [Setting("", "/etc/pip.conf", True)] for name in ("signers", "revoked-signers")}
    report = DoctorReport()
    settings = Settings(None, "", signers=path, revoked_signers=revoked, chosen=chosen)
    look_at_signers(report, settings, store)
    return report


def _day(seconds: float) -> str:
    return time.strftime("%Y%m%d", time.localtime(seconds))


def test_doctor_says_who_may_sign_and_when_keys_expire(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = Store.make(shared_tmp / "store"), shared_tmp / "allowed"
    now = time.time()
    path.write_text(
        f"alice {KEY}\n"
        f'bob valid-before="{_day(now + 10 * 86400)}" {KEY}\n'
        f'carol valid-before="20200101" {KEY}\n'
        f"*@ci cert-authority {KEY}\n"
        f'git namespaces="git" {KEY}\n'
    )
    report = _report(path, store)
    (fact,) = [one for one in report.facts if one.name == "signers"]
    until = time.strftime("%Y-%m-%d", time.localtime(now + 10 * 86400))
    said = f"alice, bob until {until}, carol expired 2020-01-01, *@ci (certificates) ({path})"
    assert fact.text == said
    (finding,) = report.findings
    assert (finding.name, f"bob until {until}" in finding.sentence) == ("signer-expires", True)

    path.write_text(f'carol valid-before="20200101" {KEY}\ngit namespaces="git" {KEY}\n')
    assert [one.name for one in _report(path, store).findings] == ["no-signer"]
    (missing,) = _report(path, store, path.with_name("none")).findings
    assert "No signature counts: sharedcache.revoked-signers: " in missing.sentence
    assert missing.command == "sed -i '/^revoked[-_]signers *[=:]/d' /etc/pip.conf"
    path.write_text(f"alice {KEY}\n")
    with monkeypatch.context() as alone:
        alone.setenv("PATH", os.fspath(shared_tmp))
        assert [one.name for one in _report(path, store).findings] == ["no-ssh-keygen"]
