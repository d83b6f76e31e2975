"""Bytecode in remote stores: one signed object for each wheel and interpreter."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

from pip_sharedcache import store as stores
from pip_sharedcache.errors import NotSigned
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.signing import (
    BYTECODE,
    BytecodeStatement,
    SignedData,
    Signers,
    bytecode_key,
    read_signed,
    sign,
)

#: Bytes of the largest object that is got.
MOST_BYTECODE = 1 << 30


def object_key(digest: Digest, tag: str, magic: str) -> str:
    """Return the name of the object with the bytecode of the wheel ``digest``.

    ``tag``, ``magic``: those of the interpreter, as in a BytecodeStatement.
    """
    return f"{BYTECODE}/{bytecode_key(digest, tag, magic)}"


def write_object(path: Path, compiled: Entry, signing_key: Path) -> str:
    """Write the bytecode ``compiled``, signed with ``signing_key``, to the new file ``path``.

    Returns the sha256 of the file. Raises SigningError, DamagedEntry, OSError.
    """
    hasher = hashlib.sha256()
    with stores.Source.of(compiled, stores.open_entry(compiled)) as source:
        statement = stores.make_statement(compiled, source)
        signature = sign(statement.to_bytes(), signing_key)
        with path.open("xb") as file:
            head = SignedData.of(statement, signature).to_bytes()
            for data in itertools.chain([head], stores.signed_bytes(compiled, source)):
                hasher.update(data)
                file.write(data)
    return hasher.hexdigest()


def spool_object(
    path: Path, signers: Signers, entry: Entry, tag: str, magic: str, spools: stores.Spools
) -> Compiled:
    """Append the bytecode in the object ``path`` to ``spools``, for the wheel ``entry``.

    Only bytes that one of ``signers`` signed for that wheel and interpreter are taken. Raises
    NotSigned, OSError.
    """
    with path.open("rb") as file:
        try:
            signed = read_signed(file)
        except ValueError as error:
            raise NotSigned(str(error)) from error
        key = bytecode_key(entry.manifest.digest, tag, magic)
        statement, _ = signed.check(signers, BYTECODE, key)
        if not isinstance(statement, BytecodeStatement):
            raise NotSigned("the statement is not about bytecode")
        return stores.spool_signed(
            statement, entry.manifest, lambda one: file.read(one.size), spools
        )
