"""The check of the objects of a remote store: their bytes, and who signed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pip_sharedcache import fs
from pip_sharedcache.errors import CannotCheck, NotSigned, reason
from pip_sharedcache.remote.access import Answer, Delete, Fetch, Request
from pip_sharedcache.remote.bytecode_objects import MOST_BYTECODE
from pip_sharedcache.remote.inventory import RemoteObject, in_batches
from pip_sharedcache.remote.statement_objects import MOST_STATEMENT_OBJECT
from pip_sharedcache.remote.stores import MOST_WHEEL, RemoteStore
from pip_sharedcache.signing import BUILD as SIGNED_BUILD
from pip_sharedcache.signing import BYTECODE as SIGNED_BYTECODE
from pip_sharedcache.signing import RESOLUTION as SIGNED_RESOLUTION
from pip_sharedcache.signing import BytecodeStatement, Signers, read_signed
from pip_sharedcache.signing.statements import Statement, read_statement
from pip_sharedcache.store import BUILDS, BYTECODE, RESOLUTIONS, WHEELS, check_signed

_MOST_TEMPORARY = 1 << 28  # bytes of objects that lie in temporary files at one time
_AT_ONCE = 64  # objects

#: The most bytes of an object, and the kind of its statement.
_LIMITS = {
    WHEELS: MOST_WHEEL,
    BYTECODE: MOST_BYTECODE,
    BUILDS: MOST_STATEMENT_OBJECT,
    RESOLUTIONS: MOST_STATEMENT_OBJECT,
}
_STATEMENTS = {BYTECODE: SIGNED_BYTECODE, BUILDS: SIGNED_BUILD, RESOLUTIONS: SIGNED_RESOLUTION}


@dataclass(frozen=True)
class CheckedObject:
    """The result for one object.

    ``object``: the object.
    ``damage``: why it does not count: other bytes than its name says, or no signature that counts;
    "" if it does.
    ``unread``: why it was not checked; "" if it was.
    ``by``: the allowed signer; "" for a wheel, and where no signers are named.
    """

    object: RemoteObject
    damage: str = ""
    unread: str = ""
    by: str = ""


def check_objects(
    store: RemoteStore, objects: Iterable[RemoteObject], signers: Signers | None
) -> Iterator[CheckedObject | None]:
    """Get ``objects`` of ``store``, check each, and yield the results; None for a vanished one.

    Several are got at one time, but no more than lie in 256 MB of temporary files; a larger one is
    got alone. ``signers``: None: no signature is checked, but the signed bytes are. Ends early if
    the store fails: ``store.failure``. Raises CannotCheck, OSError.
    """
    for batch in in_batches(objects, _MOST_TEMPORARY, _AT_ONCE):
        with fs.temporary_directory() as directory:
            yield from _check_batch(store, batch, signers, directory)
        if store.failure is not None:
            return


def _check_batch(
    store: RemoteStore, batch: Iterable[RemoteObject], signers: Signers | None, directory: Path
) -> list[CheckedObject | None]:
    by_key = {one.key: one for one in batch}
    results: list[CheckedObject | None] = []

    def answered(request: Request, answer: Answer) -> None:
        assert isinstance(request, Fetch)
        one = by_key[request.key]
        if answer.problem:
            results.append(CheckedObject(one, unread=answer.problem))
        elif answer.size < 0:
            results.append(None)
        else:
            results.append(_check(one, request.path, answer, signers))
            request.path.unlink()

    # The size is that of the listing: what is larger now was replaced, or is there to fill disks.
    fetches = [
        Fetch(one.key, directory / str(number), min(one.size, _LIMITS[one.kind]))
        for number, one in enumerate(by_key.values())
    ]
    store.ask(fetches, answered)
    return results


def _check(one: RemoteObject, path: Path, answer: Answer, signers: Signers | None) -> CheckedObject:
    if one.kind == WHEELS:
        wrong = answer.sha256 != one.digest
        return CheckedObject(one, damage="its bytes do not match its name" if wrong else "")
    by = ""
    try:
        with path.open("rb") as file:
            statement, by = _statement(one, file, signers)
            if isinstance(statement, BytecodeStatement):
                check_signed(statement, lambda row: file.read(row.size))
            if file.read(1):
                raise NotSigned("it has more bytes than were signed")
    except CannotCheck:
        raise
    except NotSigned as error:
        return CheckedObject(one, damage=error.message, by=by)
    except OSError as error:
        return CheckedObject(one, unread=reason(error))
    return CheckedObject(one, by=by)


def _statement(one: RemoteObject, file: BinaryIO, signers: Signers | None) -> tuple[Statement, str]:
    """Return the statement in ``file`` about ``one``, and who signed it. Raises NotSigned."""
    try:
        signed = read_signed(file)
        if signers is not None:
            statement, signature = signed.check(signers, _STATEMENTS[one.kind], one.name)
            return statement, signature.principal
        statement = read_statement(signed.statement)
    except ValueError as error:
        raise NotSigned(str(error)) from error
    if (statement.kind, statement.key) != (_STATEMENTS[one.kind], one.name):
        raise NotSigned(f"it is about {statement.kind} {statement.key}")
    return statement, ""


def delete_objects(store: RemoteStore, objects: Iterable[RemoteObject]) -> list[RemoteObject]:
    """Delete ``objects`` of ``store``; return those that were deleted before the store failed."""
    by_key = {one.key: one for one in objects}
    deleted = []

    def answered(request: Request, answer: Answer) -> None:
        if not answer.problem:
            deleted.append(by_key[request.key])

    store.ask([Delete(key) for key in by_key], answered)
    return deleted
