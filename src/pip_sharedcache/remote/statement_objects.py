"""Objects of remote stores that are one signed statement, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.signing import MOST_HEAD, SignedData, Signers, Statement, read_signed, sign

#: Bytes of the largest such object that is got.
MOST_STATEMENT_OBJECT = MOST_HEAD


def write_statement(path: Path, statement: Statement, signing_key: Path) -> str:
    """Write ``statement``, signed with ``signing_key``, to the new file ``path``.

    Returns the sha256 of the file. Raises SigningError, OSError.
    """
    signature = sign(statement.to_bytes(), signing_key)
    data = SignedData.of(statement, signature).to_bytes()
    with path.open("xb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def read_statement_object(
    path: Path, signers: Signers, kind: str, key: str
) -> tuple[Statement, str, SignedData]:
    """Return the statement in the object ``path``, who signed it, and the signed data.

    Raises NotSigned if nobody did for the ``key`` of a ``kind``; OSError.
    """
    with path.open("rb") as file:
        try:
            signed = read_signed(file)
        except ValueError as error:
            raise NotSigned(str(error)) from error
    statement, signature = signed.check(signers, kind, key)
    return statement, signature.principal, signed
