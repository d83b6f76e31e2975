"""Build records in remote stores: which wheel was built for a question, signed."""

from __future__ import annotations

from pathlib import Path

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.statement_objects import read_statement_object, write_statement
from pip_sharedcache.signing import BUILD, BuildStatement, Signers
from pip_sharedcache.store import Build


def build_object(key: Digest) -> str:
    """Return the name of the object with the build record ``key``."""
    return f"builds/{key}"


def write_build(path: Path, key: Digest, build: Build, signing_key: Path) -> str:
    """Write the record ``build`` of ``key``, signed with ``signing_key``, to the new file ``path``.

    Returns the sha256 of the file. Raises SigningError, OSError.
    """
    statement = BuildStatement(key, build.digest, build.filename, build.details)
    return write_statement(path, statement, signing_key)


def read_build_object(path: Path, signers: Signers, key: Digest) -> Build:
    """Return the build in the object ``path``, if one of ``signers`` signed it for ``key``.

    Raises NotSigned, OSError.
    """
    statement, by, _ = read_statement_object(path, signers, BUILD, key)
    if not isinstance(statement, BuildStatement):
        raise NotSigned("the statement is not about a build")
    return Build(statement.wheel, statement.filename, statement.details, signed_by=by)
