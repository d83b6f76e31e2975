"""Build records in remote stores: which wheel was built for a question, signed."""

from __future__ import annotations

import json
from pathlib import Path

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.statement_objects import read_statement_object, write_statement
from pip_sharedcache.signing import BUILD, BuildStatement, Signers
from pip_sharedcache.store import Build

#: The details of a build record that say who built the wheel, and where.
_OF_MACHINE = ("by", "on")


def build_object(key: Digest) -> str:
    """Return the name of the object with the build record ``key``."""
    return f"builds/{key}"


def names_local_path(build: Build) -> bool:
    """Return whether the record ``build`` names a source of one machine, which stays there."""
    return "file:" in json.dumps(build.details, default=str)


def write_build(path: Path, key: Digest, build: Build, signing_key: Path) -> str:
    """Write the record ``build`` of ``key``, signed with ``signing_key``, to the new file ``path``.

    Who built the wheel, and on which host, is left out. Returns the sha256 of the file. Raises
    SigningError, OSError; ValueError for a record that names a local path.
    """
    if names_local_path(build):
        raise ValueError(f"{build.filename} was built from a local path")
    details = {name: value for name, value in build.details.items() if name not in _OF_MACHINE}
    statement = BuildStatement(key, build.digest, build.filename, details)
    return write_statement(path, statement, signing_key)


def read_build_object(path: Path, signers: Signers, key: Digest) -> Build:
    """Return the build in the object ``path``, if one of ``signers`` signed it for ``key``.

    Raises NotSigned, OSError.
    """
    statement, by, _ = read_statement_object(path, signers, BUILD, key)
    if not isinstance(statement, BuildStatement):
        raise NotSigned("the statement is not about a build")
    return Build(statement.wheel, statement.filename, statement.details, signed_by=by)
