"""The file of allowed signers, as far as people want to read it: who may sign, and until when.

ssh-keygen alone decides whether a signature counts (ssh-keygen(1), ALLOWED SIGNERS). This module
skips every line that it does not understand.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import fnmatch
import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pip_sharedcache.signing.openssh import NAMESPACE

_LINE = re.compile(
    r'("[^"]+"|[^\s"]+)\s+(?:((?:[^\s"]|"[^"]*")+)\s+)?([a-z][\w.@-]+)\s+([A-Za-z0-9+/]+=*)(?:\s|$)'
)
_OPTION = re.compile(r'([\w-]+)(?:="([^"]*)")?(?:,|$)')
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-")
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_LONGEST = 200  # characters of principals that are shown


@dataclass(frozen=True)
class AllowedSigner:
    """One line of a file of allowed signers.

    ``principals``: the names, or patterns of names, as the line has them.
    ``key``: the fingerprint of the key.
    ``is_authority``: whether the key signs certificates of keys.
    ``counts_here``: whether the line is for signatures in a store.
    ``begins``, ``ends``: when its signatures begin and cease to count, in seconds; None for never.
    """

    principals: str
    key: str
    is_authority: bool = False
    counts_here: bool = True
    begins: float | None = None
    ends: float | None = None


def read_allowed(text: bytes) -> Iterator[AllowedSigner]:
    """Yield the signers in ``text``, the content of the file."""
    for raw in text.decode("utf-8", "replace").splitlines():
        line = raw.strip()
        found = _LINE.match(line)
        if line.startswith("#") or found is None or not _KEY.match(found[3]):
            continue
        options = {name.lower(): value for name, value in _OPTION.findall(found[2] or "")}
        principals = "".join(one for one in found[1].strip('"') if one.isprintable())
        namespaces = options.get("namespaces", "*").split(",")
        yield AllowedSigner(
            principals[:_LONGEST],
            _fingerprint(found[4]),
            "cert-authority" in options,
            any(fnmatch.fnmatchcase(NAMESPACE, one) for one in namespaces),
            _seconds(options.get("valid-after", "")),
            _seconds(options.get("valid-before", "")),
        )


def _fingerprint(key: str) -> str:
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        return "a key that cannot be read"
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"


def _seconds(text: str) -> float | None:
    """Return the time ``text`` (ssh-keygen(1), valid-before) in seconds since the epoch, or None.

    It is local without a "Z" at its end.
    """
    digits = text.removesuffix("Z")
    try:
        parsed = time.strptime(digits, _TIMES[len(digits)])
        return calendar.timegm(parsed) if text.endswith("Z") else time.mktime(parsed)
    except (KeyError, ValueError, OverflowError):
        return None
