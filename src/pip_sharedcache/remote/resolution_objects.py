"""Resolutions in remote stores: what pip's resolver answered a question, signed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Digest
from pip_sharedcache.remote.statement_objects import read_statement_object, write_statement
from pip_sharedcache.signing import RESOLUTION, ResolutionStatement, SignedData, Signers


class SignedResolution(NamedTuple):
    """The JSON values of a resolution, the signer's name, and the signed data."""

    record: Mapping[str, Any]
    signed_by: str
    data: SignedData


def resolution_object(key: Digest) -> str:
    """Return the name of the object with the resolution ``key``."""
    return f"resolutions/{key}"


def write_resolution(path: Path, key: Digest, record: Mapping[str, Any], signing_key: Path) -> str:
    """Write the ``record`` of ``key``, signed with ``signing_key``, to the new file ``path``.

    Returns the sha256 of the file. Raises SigningError, OSError.
    """
    return write_statement(path, ResolutionStatement(key, record), signing_key)


def read_resolution_object(path: Path, signers: Signers, key: Digest) -> SignedResolution:
    """Return the resolution in the object ``path``, if one of ``signers`` signed it for ``key``.

    Raises NotSigned, OSError.
    """
    statement, by, signed = read_statement_object(path, signers, RESOLUTION, key)
    if not isinstance(statement, ResolutionStatement):
        raise NotSigned("the statement is not about a resolution")
    return SignedResolution(statement.record, by, signed)
