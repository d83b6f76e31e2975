"""Build records in remote stores: which wheel was built for a question, signed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Digest
from pip_sharedcache.signing import (
    BUILD,
    MOST_HEAD,
    BuildStatement,
    SignedData,
    Signers,
    read_signed,
    sign,
)
from pip_sharedcache.store import Build

#: Bytes of the largest object that is got.
MOST_BUILD = MOST_HEAD


def build_object(key: Digest) -> str:
    """Return the name of the object with the build record ``key``."""
    return f"builds/{key}"


def write_build(path: Path, key: Digest, build: Build, signing_key: Path) -> str:
    """Write the record ``build`` of ``key``, signed with ``signing_key``, to the new file ``path``.

    Returns the sha256 of the file. Raises SigningError, OSError.
    """
    statement = BuildStatement(key, build.digest, build.filename, build.details)
    signature = sign(statement.to_bytes(), signing_key)
    data = SignedData.of(statement, signature).to_bytes()
    with path.open("xb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def read_build_object(path: Path, signers: Signers, key: Digest) -> Build:
    """Return the build in the object ``path``, if one of ``signers`` signed it for ``key``.

    Raises NotSigned, OSError.
    """
    with path.open("rb") as file:
        try:
            signed = read_signed(file)
        except ValueError as error:
            raise NotSigned(str(error)) from error
    statement, signature = signed.check(signers, BUILD, key)
    if not isinstance(statement, BuildStatement):
        raise NotSigned("the statement is not about a build")
    by = signature.principal
    return Build(statement.wheel, statement.filename, statement.details, signed_by=by)
