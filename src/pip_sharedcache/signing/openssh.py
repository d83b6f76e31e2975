"""Signing, and the check of signatures, with OpenSSH's keys: ``ssh-keygen -Y``.

ssh-keygen alone decides whether a signature counts: by the file of allowed signers
(ssh-keygen(1), ALLOWED SIGNERS) with its principals, namespaces, times and certificate authorities,
and by the list of revoked keys. The present time counts, not the time of the signature, which
nothing proves: when a key expires, its signatures do.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pip_sharedcache import trust
from pip_sharedcache.errors import CannotCheck, NotSigned, SettingError, SigningError, reason
from pip_sharedcache.signing import ssh_keygen
from pip_sharedcache.signing.armor import MOST_SIGNATURE, Envelope, read_envelope
from pip_sharedcache.signing.ssh_keygen import Answer, NoAnswer
from pip_sharedcache.trust.paths import replaceable_by

logger = logging.getLogger(__name__)

#: What the signatures are for: a signature that a key made for git, say, is none for a store.
NAMESPACE = "pip-sharedcache"

_SIGNING = 60.0  # seconds: a person may have to touch a hardware key
_VERIFYING = 15.0  # seconds
_MOST_SIGNERS = 1 << 20  # bytes of a file of allowed signers that are searched for principals
_MOST_PRINCIPALS = 16  # that are tried for one key
_GOOD = re.compile(r"Good .* signature for (.*) with \S+ key (SHA256:\S+)")
_NO_REASON = "Could not verify signature."


@dataclass(frozen=True)
class Signature:
    """A signature that an allowed signer made.

    ``principal``: the signer's name in the file of allowed signers.
    ``key``: the fingerprint of the key.
    """

    principal: str
    key: str


def sign(statement: bytes, key: Path, within: float = _SIGNING) -> bytes:
    """Return the armored signature of ``statement`` by ``key``.

    ``key``: a private key without a passphrase; or a private or public key of which the user's
    agent, or a hardware key, has the private half; or a certificate of such a key. ``within``: the
    most seconds to wait. Nobody is asked for a passphrase. Raises SigningError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pip-sharedcache-") as directory:
            file = Path(directory, "statement")
            _write(file, statement)
            where = os.path.abspath(key)
            arguments = ["-P", "", "-Y", "sign", "-f", where, "-n", NAMESPACE, str(file)]
            answer = ssh_keygen.ask(arguments, within, agent=True)
            if answer.ok:
                with open(f"{file}.sig", "rb") as made:
                    return made.read(MOST_SIGNATURE)
    except NoAnswer as error:
        raise SigningError(f"{key} cannot sign: {error}") from error
    except OSError as error:
        raise SigningError(f"{key} cannot sign: {reason(error)}", errno=error.errno) from error
    why = next((one for one in answer.reasons if "too open" in one), "") or _last(answer)
    hint = f"ssh-add {shlex.quote(str(key))}" if "passphrase" in why else ""
    raise SigningError(f"{key} cannot sign: {why}", hint, path=str(key))


class Signers:
    """The allowed signers of one file, with the keys that are revoked."""

    def __init__(
        self,
        path: Path,
        revoked: Path | None = None,
        *,
        owners: frozenset[int] = frozenset(),
        within: float = _VERIFYING,
    ) -> None:
        """Use the files ``path`` (ssh-keygen(1), ALLOWED SIGNERS) and ``revoked``.

        ``revoked``: a key revocation list, or public keys, one on a line. ``owners``: the uids,
        besides root and this user, that may choose what the files say. ``within``: the most seconds
        that one call of ssh-keygen takes. Raises SettingError if a file cannot be read, or if other
        users can replace it.
        """
        self.path, self.revoked = path, revoked
        self._within = within
        self._principals: dict[bytes, tuple[str, ...]] = {}
        self._no_answer = ""
        for name, file in (("signers", path), ("revoked-signers", revoked)):
            if file is not None:
                _refuse_unsafe(name, file, owners)

    def verify(self, statement: bytes, signature: bytes) -> Signature:
        """Return who signed ``statement``, if it is an allowed signer.

        ``signature``: any bytes. Raises NotSigned, whose message is the reason: CannotCheck if
        ssh-keygen does not answer, and from then on at once.
        """
        if self._no_answer:
            raise CannotCheck(self._no_answer)
        try:
            envelope = read_envelope(signature)
        except ValueError as error:
            raise NotSigned(f"the signature {error}") from error
        if envelope.namespace != NAMESPACE:
            raise NotSigned(f"the signature is for {ascii(envelope.namespace)[:80]}")
        try:
            with tempfile.TemporaryDirectory(prefix="pip-sharedcache-") as directory:
                file = Path(directory, "signature")
                _write(file, signature)
                return self._verify(statement, envelope, str(file))
        except NoAnswer as error:
            self._no_answer = str(error)
            raise CannotCheck(self._no_answer) from error
        except OSError as error:
            raise NotSigned(f"the signature cannot be checked: {reason(error)}") from error

    def _verify(self, statement: bytes, envelope: Envelope, file: str) -> Signature:
        why, revoked = "", [] if self.revoked is None else ["-r", str(self.revoked)]
        for principal in self._candidates(envelope, file):
            answer = self._ask(statement, file, principal, revoked)
            good = next(filter(None, map(_GOOD.fullmatch, answer.lines)), None)
            if answer.ok and good is not None:
                return Signature(good[1], good[2])
            if revoked and self._ask(statement, file, principal, []).ok:
                why = f"its key is revoked by {self.revoked}, or that list cannot be read"
                break
            why = _last(answer)
        key = "certificate" if envelope.is_certificate else f"key {envelope.fingerprint}"
        raise NotSigned(why or f"its {key} belongs to no signer of {self.path}")

    def _ask(self, statement: bytes, file: str, principal: str, more: Sequence[str]) -> Answer:
        given = ["-Y", "verify", "-f", str(self.path), "-I", principal, "-n", NAMESPACE]
        return ssh_keygen.ask([*given, "-s", file, *more], self._within, statement, agent=False)

    def _candidates(self, envelope: Envelope, file: str) -> Iterator[str]:
        """Yield the principals to try: those of earlier signatures of this key, or all of it."""
        known = self._principals.get(envelope.key)
        if known is None:
            arguments = ["-Y", "find-principals", "-s", file, "-f", str(self.path)]
            answer = ssh_keygen.ask(arguments, self._within, agent=False)
            # It finds the first line of a key alone; that can be a line for another namespace.
            found = answer.lines if answer.ok else ()
            named = (*found, *self._named_beside(envelope))
            known = tuple(dict.fromkeys(named))[:_MOST_PRINCIPALS]
            self._principals[envelope.key] = known
        yield from known

    def _named_beside(self, envelope: Envelope) -> Iterator[str]:
        """Yield the principals on the lines of the key of ``envelope``."""
        key = base64.b64encode(envelope.key)
        with open(self.path, "rb") as file:
            lines = file.read(_MOST_SIGNERS).splitlines()
        for line in lines:
            fields = line.split()
            if key in fields[1:] and not line.startswith(b"#"):
                names = fields[0].decode("utf-8", "replace").strip('"').split(",")
                yield from (name for name in names if not name.startswith(("!", "-")))


def _last(answer: Answer) -> str:
    """Return the reason of an ``answer`` that is no success."""
    told = [one for one in (*answer.reasons, *answer.lines) if one != _NO_REASON]
    return told[-1] if told else "ssh-keygen refuses it and gives no reason"


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _refuse_unsafe(name: str, path: Path, owners: frozenset[int]) -> None:
    """Raise SettingError unless the file ``path`` can be read, and only ``owners`` choose it."""
    try:
        # O_NONBLOCK: the open of a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise SettingError(f"sharedcache.{name}: {path} cannot be read: {why}") from error
    if not stat.S_ISREG(status.st_mode):
        raise SettingError(f"sharedcache.{name}: {path} is no file")
    if who := replaceable_by(path, owners=owners | {trust.user_id()}):
        raise SettingError(
            f"sharedcache.{name}: {path} is not used: {who}",
            "use a file that only root or you can change, in directories of which the same is true",
        )
