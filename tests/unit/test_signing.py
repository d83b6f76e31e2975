"""Signatures: what counts as one of an allowed signer, and what nobody is asked for."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pip_sharedcache.errors import CannotCheck, NotSigned, SettingError, SigningError
from pip_sharedcache.signing import Signers, sign
from support import probes
from support.filesystems import remove_tree
from support.keys import (
    NAMESPACES,
    agent,
    certify,
    make_key,
    public,
    revoke,
    signature,
)
from support.process import as_user

pytestmark = probes.needs(probes.openssh)

STATEMENT = b'{"kind": "bytecode", "wheel": "00"}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys good, other and locked (with a passphrase), and a certificate authority's."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("good", "other", "authority"):
        make_key(directory, name)
    make_key(directory, "locked", "a passphrase")
    yield directory
    remove_tree(directory)


def signers(directory: Path, *lines: str, revoked: Path | None = None) -> Signers:
    file = directory / "allowed"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Signers(file, revoked)


def refusal(signers: Signers, signed: bytes, statement: bytes = STATEMENT) -> str:
    with pytest.raises(NotSigned) as caught:
        signers.verify(statement, signed)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_signature_of_an_allowed_signer_counts(keys: Path, tmp_path: Path) -> None:
    known = signers(tmp_path, f"alice@example.org {NAMESPACES} {public(keys / 'good')}")
    for key in ("good", "good.pub"):
        found = known.verify(STATEMENT, sign(STATEMENT, keys / key))
        assert found.principal == "alice@example.org"
        assert found.key.startswith("SHA256:")


def test_what_is_no_signature_of_an_allowed_signer_is_refused(keys: Path, tmp_path: Path) -> None:
    """All cases against one file of signers; each reason names its own cause."""
    good, other = keys / "good", keys / "other"
    known = signers(
        tmp_path,
        f"alice@example.org {NAMESPACES} {public(good)}",
        f'old@example.org {NAMESPACES},valid-before="20200101" {public(keys / "authority")}',
    )
    signed = sign(STATEMENT, good)
    body = signed.split(b"\n", 1)[1]
    flipped = signed.replace(body[60:64], base64.b64encode(bytes(3)))
    cases = {
        "of a key that is not listed": (sign(STATEMENT, other), "belongs to no signer of"),
        "of a key that has expired": (sign(STATEMENT, keys / "authority"), "expired"),
        "over another statement": (sign(b"another", good), "incorrect signature"),
        "for another use": (signature(good, STATEMENT, "git"), "is for 'git'"),
        "with changed bytes": (flipped, "signature"),
        "cut off": (signed[:120], "no signature of OpenSSH"),
        "of nothing": (b"", "no signature of OpenSSH"),
        "of zeros": (bytes(1000), "no signature of OpenSSH"),
        "of megabytes": (signed + b"\n" * (4 << 20), "has 4194"),
        "of another form": (b"-----BEGIN PGP SIGNATURE-----\n", "no signature of OpenSSH"),
    }
    wrong = []
    for what, (bytes_of_it, reason) in cases.items():
        told = refusal(known, bytes_of_it)
        if reason not in told:
            wrong.append(f"{what}: {told}")
    assert not wrong, "\n".join(wrong)
    assert known.verify(STATEMENT, signed).principal == "alice@example.org"


def test_line_of_the_signer_decides_about_namespace_and_time(keys: Path, tmp_path: Path) -> None:
    key = public(keys / "good")
    signed = sign(STATEMENT, keys / "good")
    told = {
        f'git@example.org namespaces="git" {key}': "signer",
        f'new@example.org valid-after="20900101" {key}': "not yet valid",
        f'old@example.org valid-before="20200101" {key}': "expired",
    }
    for line, reason in told.items():
        assert reason in refusal(signers(tmp_path, line), signed)
    # A key may have several lines, and the first that names it may be for another use.
    both = signers(tmp_path, *told, f"alice@example.org {key}")
    assert both.verify(STATEMENT, signed).principal == "alice@example.org"
    assert "no signer" in refusal(signers(tmp_path, "# nobody"), signed)
    assert "no signer" in refusal(signers(tmp_path, f"# alice@example.org {key}"), signed)


def test_revoked_key_counts_no_longer(keys: Path, tmp_path: Path) -> None:
    line = f"alice@example.org {public(keys / 'good')}"
    signed = sign(STATEMENT, keys / "good")
    plain = tmp_path / "plain"
    plain.write_text(f"{public(keys / 'good')}\n", encoding="ascii")
    binary = revoke(tmp_path / "binary", keys / "good.pub")
    garbage = tmp_path / "garbage"
    garbage.write_text("no key\n", encoding="ascii")
    for listed in (plain, binary, garbage):
        assert "revoked by" in refusal(signers(tmp_path, line, revoked=listed), signed)
    for nobody in (revoke(tmp_path / "none"), revoke(tmp_path / "another", keys / "other.pub")):
        assert signers(tmp_path, line, revoked=nobody).verify(STATEMENT, signed)


def test_certificate_of_a_listed_authority_counts(keys: Path, tmp_path: Path) -> None:
    line = f"*@example.org cert-authority,{NAMESPACES} {public(keys / 'authority')}"
    made = {}
    for name, principal, options in (
        ("sound", "carol@example.org", ("-V", "+1d", "-z", "7")),
        ("past", "carol@example.org", ("-V", "20200101:20200102")),
        ("foreign", "carol@elsewhere.org", ()),
    ):
        key = make_key(tmp_path, name)
        made[name] = sign(STATEMENT, certify(keys / "authority", key, principal, *options))
    known = signers(tmp_path, line)
    assert known.verify(STATEMENT, made["sound"]).principal == "carol@example.org"
    for name in ("past", "foreign"):
        assert refusal(known, made[name])
    gone = revoke(tmp_path / "gone", tmp_path / "sound-cert.pub")
    assert "revoked by" in refusal(signers(tmp_path, line, revoked=gone), made["sound"])
    # The authority's key is no signer itself.
    assert refusal(known, sign(STATEMENT, keys / "authority"))


def test_key_of_an_agent_signs(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path, "in-agent")
    with agent(key) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        key.unlink()
        known = signers(tmp_path, f"alice@example.org {public(key)}")
        assert known.verify(STATEMENT, sign(STATEMENT, key.with_suffix(".pub")))
    with pytest.raises(SigningError, match=r"in-agent\.pub cannot sign"):
        sign(STATEMENT, key.with_suffix(".pub"))


def test_locked_key_is_an_error_of_one_line(keys: Path) -> None:
    """Even where there is a terminal, and a program that asks: nobody is asked."""
    program = (
        "import sys; from pathlib import Path\n"
        "from pip_sharedcache.signing import sign\n"
        "from pip_sharedcache.errors import SigningError\n"
        "try: sign(b'x', Path(sys.argv[1]))\n"
        "except SigningError as error: print(error)\n"
    )
    asking = keys / "askpass"
    asking.write_text(f"#!/bin/sh\ntouch {keys}/asked\necho a passphrase\n", encoding="ascii")
    asking.chmod(0o755)
    ours, theirs = pty.openpty()
    environ = {**os.environ, "SSH_ASKPASS": str(asking), "DISPLAY": ":0"}
    environ["SSH_ASKPASS_REQUIRE"] = "force"
    try:
        done = subprocess.run(
            ["setsid", "-c", sys.executable, "-c", program, str(keys / "locked")],
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            env=environ,
            timeout=60,
        )
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)
    (line,) = done.stdout.decode().splitlines()
    assert "incorrect passphrase" in line
    assert f"hint: ssh-add {keys / 'locked'}" in line
    assert not (keys / "asked").exists()


def test_keys_that_cannot_sign_are_errors_of_one_line(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key\n", encoding="ascii")
    bare = make_key(tmp_path, "bare")
    bare.chmod(0o644)
    for path, why in (
        (tmp_path / "missing", "No such file"),
        (tmp_path / "text", "cannot sign"),
        (tmp_path, "cannot sign"),
        (bare, "Permissions 0644"),
        (Path("-dashes"), "No such file"),
    ):
        with pytest.raises(SigningError) as caught:
            sign(STATEMENT, path)
        assert why in str(caught.value), path
        assert "\n" not in str(caught.value)


def test_ssh_keygen_that_is_missing_or_hangs_costs_its_limit_once(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hanging: None
) -> None:
    signed = sign(STATEMENT, keys / "good")
    line = f"alice@example.org {public(keys / 'good')}"
    empty, slow = tmp_path / "empty", tmp_path / "slow"
    for directory in (empty, slow):
        directory.mkdir()
    called = tmp_path / "called"
    hanging = slow / "ssh-keygen"
    hanging.write_text(f"#!/bin/sh\necho >> {called}\nsleep 600 &\nwait\n", encoding="ascii")
    hanging.chmod(0o755)
    for path, why in ((f"{empty}", "cannot be started"), (f"{slow}:/usr/bin:/bin", "0.5 s")):
        monkeypatch.setenv("PATH", path)
        known = Signers(signers(tmp_path, line).path, within=0.5)
        assert why in refusal(known, signed)
        assert why in refusal(known, signed)
        with pytest.raises(SigningError, match=why):
            sign(STATEMENT, keys / "good", within=0.5)
    assert called.read_text(encoding="ascii") == "\n\n", "one for all checks, one to sign"


def test_unusable_files_of_signers_are_refused(keys: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    good = signers(tmp_path, f"alice@example.org {public(keys / 'good')}").path
    for path, why in (
        (tmp_path / "missing", "No such file"),
        (tmp_path / "fifo", "is no file"),
        (tmp_path, "is no file"),
    ):
        with pytest.raises(SettingError, match=rf"sharedcache\.signers: {path}.*{why}"):
            Signers(path)
        with pytest.raises(SettingError, match=rf"sharedcache\.revoked-signers: {path}.*{why}"):
            Signers(good, path)


@probes.needs(probes.root)
def test_signers_that_others_can_replace_are_refused(keys: Path, shared_tmp: Path) -> None:
    """The line names who: the owner, the group, all."""
    alice, bob, group = 54321, 54322, 54399
    line = f"alice@example.org {public(keys / 'good')}"
    file = signers(shared_tmp, line).path

    def told(path: Path, owners: frozenset[int] = frozenset()) -> str:
        with pytest.raises(SettingError) as caught:
            Signers(path, owners=owners)
        return str(caught.value)

    Signers(file)
    with as_user(alice):
        Signers(file)
    os.chown(file, alice, group)
    assert f"uid {alice} owns {file}" in told(file)
    Signers(file, owners=frozenset({alice}))
    with as_user(alice):
        Signers(file)
    with as_user(bob):
        assert f"uid {alice} owns {file}" in told(file)
    os.chown(file, 0, group)
    file.chmod(0o664)
    assert f"gid {group} can change {file}" in told(file)
    file.chmod(0o666)
    assert f"others can change {file}" in told(file)
    file.chmod(0o644)
    below = shared_tmp / "below"
    below.mkdir()
    os.chown(below, 0, group)
    below.chmod(0o775)
    kept = file.rename(below / "allowed")
    assert f"gid {group} can change {below}" in told(kept)
    (shared_tmp / "link").symlink_to(kept)
    assert f"gid {group} can change {below}" in told(shared_tmp / "link")


@probes.needs(probes.setpriv)
def test_user_without_a_name_is_told_once_why_nothing_counts(keys: Path, tmp_path: Path) -> None:
    signed = signature(keys / "good", STATEMENT)
    tmp_path.chmod(0o755)
    known = signers(tmp_path, f"alice@example.org {NAMESPACES} {public(keys / 'good')}")
    with as_user(54321), pytest.raises(CannotCheck, match="uid 54321 is not in /etc/passwd"):
        known.verify(STATEMENT, signed)
