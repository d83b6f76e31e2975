"""Keys of OpenSSH, files of allowed signers, and agents, as a site has them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMESPACES = 'namespaces="pip-sharedcache"'


def make_key(directory: Path, name: str, passphrase: str = "") -> Path:
    """A private key; its public half is beside it, with .pub."""
    key = directory / name
    _ssh_keygen("-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", key)
    return key


def public(key: Path) -> str:
    """The public half, as a line of a file of allowed signers has it."""
    return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])


def line(key: Path, principal: str = "ci@example.org", options: str = "") -> str:
    """The line of a file of allowed signers for a key."""
    given = ",".join(filter(None, [options, NAMESPACES]))
    return f"{principal} {given} {public(key)}\n"


def certify(authority: Path, key: Path, principal: str, *options: str) -> Path:
    """A certificate of the authority for the key; the path of the certificate."""
    public_key = key.with_suffix(".pub")
    _ssh_keygen("-q", "-s", authority, "-I", "of-a-test", "-n", principal, *options, public_key)
    return key.with_name(f"{key.name}-cert.pub")


def revoke(listed: Path, *keys: Path) -> Path:
    """A key revocation list with these public keys and certificates, in its binary form."""
    _ssh_keygen("-q", "-k", "-f", listed, *keys)
    return listed


def signature(key: Path, statement: bytes, namespace: str = "pip-sharedcache") -> bytes:
    """What ssh-keygen itself makes of the statement."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", os.fspath(key), "-n", namespace]
    return subprocess.run(command, input=statement, check=True, capture_output=True).stdout


@contextmanager
def agent(*keys: Path) -> Iterator[dict[str, str]]:
    """An agent that has these keys; the variables that lead to it."""
    started = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True).stdout.decode()
    variables = dict(re.findall(r"^(SSH_\w+)=([^;]+);", started, re.MULTILINE))
    try:
        environ = {**os.environ, **variables}
        for key in keys:
            subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True, env=environ)
        yield variables
    finally:
        os.kill(int(variables["SSH_AGENT_PID"]), signal.SIGTERM)


def _ssh_keygen(*arguments: str | Path) -> None:
    subprocess.run(
        ["ssh-keygen", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
