"""The form of a signature of OpenSSH (PROTOCOL.sshsig of its sources).

Users who can write where signatures lie choose these bytes: this module checks them before
ssh-keygen sees them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

#: The most bytes of a signature: a certificate with hundreds of principals and an RSA key of
#: 16,384 bits need less.
MOST_SIGNATURE = 1 << 16

_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_VERSION = 1


@dataclass(frozen=True)
class Envelope:
    """The parts of a signature that can be read without a check of the signature.

    ``key``: the public key or certificate, as in the second field of a .pub file before base64.
    ``namespace``: the use for which the signature was made.
    """

    key: bytes
    namespace: str

    @property
    def kind(self) -> str:
        """Return the type of the key, "ssh-ed25519" for example; "" if ``key`` names none."""
        try:
            return _string(self.key, 0)[0].decode("ascii")
        except ValueError:
            return ""

    @property
    def is_certificate(self) -> bool:
        """Return whether the signer showed a certificate."""
        return "-cert-v" in self.kind

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint of the key, as ``ssh-keygen -l`` shows it for a plain key."""
        digest = base64.b64encode(hashlib.sha256(self.key).digest()).decode("ascii")
        return f"SHA256:{digest.rstrip('=')}"


def read_envelope(signature: bytes) -> Envelope:
    """Return the parts of the armored ``signature``. Raises ValueError, with the reason."""
    if len(signature) > MOST_SIGNATURE:
        raise ValueError(f"has {len(signature)} bytes, and none has more than {MOST_SIGNATURE}")
    text = signature.replace(b"\r\n", b"\n")
    if not text.startswith(_BEGIN) or not text.rstrip(b"\n").endswith(_END):
        raise ValueError("is no signature of OpenSSH")
    body = text.rstrip(b"\n")[len(_BEGIN) : -len(_END)]
    try:
        data = base64.b64decode(body.replace(b"\n", b""), validate=True)
        if data[:6] != _MAGIC or struct.unpack_from(">I", data, 6)[0] != _VERSION:
            raise ValueError("of another version")
        key, at = _string(data, 10)
        namespace, at = _string(data, at)
        return Envelope(key, namespace.decode("ascii"))
    except (ValueError, struct.error, binascii.Error) as error:
        raise ValueError("is no signature of OpenSSH that can be read") from error


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string of RFC 4251 at offset ``at`` of ``data``, and where it ends.

    Raises ValueError.
    """
    if len(data) < at + 4:
        raise ValueError("ends too early")
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if len(data) < end:
        raise ValueError("ends too early")
    return data[at + 4 : end], end
