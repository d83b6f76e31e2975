"""The form of signed data: a line, the statement, its signature; in an object, files follow.

The line is a JSON object with the version of the form, the kind and the key of the statement, and
the sizes of statement and signature in bytes. A file of the store's ``signatures/`` ends behind the
signature. In an object of a remote layer, the files of the statement follow, in its order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import BinaryIO

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.signing.armor import MOST_SIGNATURE
from pip_sharedcache.signing.openssh import Signature, Signers
from pip_sharedcache.signing.statements import MOST_STATEMENT, Statement, read_statement

#: The version of the form.
SIGNED_FORMAT = 1
_LONGEST = 400  # bytes of the line
#: The most bytes of all that precedes the files.
MOST_HEAD = _LONGEST + MOST_STATEMENT + MOST_SIGNATURE


class LaterForm(ValueError):
    """Signed data in a form that this version does not know."""


@dataclass(frozen=True)
class SignedData:
    """A statement and the signature that somebody put beside it; nothing is checked yet.

    ``kind``: one of statements.BYTECODE, BUILD, RESOLUTION.
    ``key``: the name of what the statement is about.
    ``statement``, ``signature``: the bytes of both; the latter is armored.
    """

    kind: str
    key: str
    statement: bytes
    signature: bytes

    @classmethod
    def of(cls, statement: Statement, signature: bytes) -> SignedData:
        """Return the signed data with ``signature``, which is over ``statement.to_bytes()``."""
        return cls(statement.kind, statement.key, statement.to_bytes(), signature)

    def to_bytes(self) -> bytes:
        """Return what precedes the files."""
        about = {"format": SIGNED_FORMAT, "kind": self.kind, "key": self.key}
        sizes = {"statement": len(self.statement), "signature": len(self.signature)}
        line = json.dumps({**about, **sizes}).encode("ascii")
        return b"".join([line, b"\n", self.statement, self.signature])

    def check(self, signers: Signers, kind: str, key: str) -> tuple[Statement, Signature]:
        """Return the statement about ``kind`` and ``key``, and who signed it.

        Raises NotSigned; also for a sound signature over a statement about something else, which
        somebody put in this place.
        """
        signature = signers.verify(self.statement, self.signature)
        try:
            statement = read_statement(self.statement)
        except ValueError as error:
            raise NotSigned(f"{signature.principal} signed {error}") from error
        if (statement.kind, statement.key) != (kind, key):
            told = f"{signature.principal} signed {statement.kind} {statement.key}"
            raise NotSigned(f"{told}, which is about something else")
        return statement, signature


def read_signed(file: BinaryIO) -> SignedData:
    """Return the signed data at the position of ``file``, which is then where the files begin.

    Raises ValueError if there is none, OSError.
    """
    kind, key, sizes = read_line(file)
    statement, signature = (file.read(size) for size in sizes)
    if (len(statement), len(signature)) != sizes:
        raise ValueError("no signed data: it ends too early")
    return SignedData(kind, key, statement, signature)


def read_line(file: BinaryIO) -> tuple[str, str, tuple[int, int]]:
    """Return kind, key, and the sizes of statement and signature, as signed data begins with them.

    Nobody has signed these. Raises ValueError (LaterForm), OSError.
    """
    line = file.readline(_LONGEST)
    try:
        head = json.loads(line) if line.endswith(b"\n") else None
        if not isinstance(head, dict):
            raise ValueError("no signed data")
        form = head["format"]
        if type(form) is int and form > SIGNED_FORMAT:
            raise LaterForm(f"signed data of format {form}, this version reads {SIGNED_FORMAT}")
        if form != SIGNED_FORMAT:
            raise ValueError(f"no signed data of format {SIGNED_FORMAT}")
        kind, key, sizes = head["kind"], head["key"], (head["statement"], head["signature"])
    except LaterForm:
        raise
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError("no signed data") from error
    limits = (MOST_STATEMENT, MOST_SIGNATURE)
    if not isinstance(kind, str) or not isinstance(key, str):
        raise ValueError("no signed data: its kind or its key is malformed")
    if not all(type(size) is int and 0 <= size <= most for size, most in zip(sizes, limits)):
        raise ValueError("no signed data: its sizes are malformed")
    return kind, key, sizes
