"""The check of the objects of a remote store: their bytes, and who signed them."""

from __future__ import annotations

import os
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
from pip_sharedcache.signing import BytecodeStatement, LaterForm, SignedData, Signers, read_signed
from pip_sharedcache.signing.statements import read_statement
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
    ``damage``: other bytes than its name, or its own statement, says; "" for none.
    ``refusal``: why the signature of an object without damage does not count; "" if it does.
    ``unread``: why it was not checked; "" if it was.
    ``by``: the allowed signer; "" for a wheel, and where no signers are named.
    """

    object: RemoteObject
    damage: str = ""
    refusal: str = ""
    unread: str = ""
    by: str = ""

    @property
    def is_useless(self) -> bool:
        """Return whether no run uses the object: it is damaged, or its signature does not count."""
        return bool(self.damage or self.refusal)


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
    by = refusal = ""
    try:
        with path.open("rb") as file:
            signed = read_signed(file)
            try:
                by = signers.verify(signed.statement, signed.signature).principal if signers else ""
            except CannotCheck:
                raise
            except NotSigned as error:
                refusal = error.message  # its bytes can be sound, such as when the key has expired
            _check_bytes(one, signed, file, by)
    except CannotCheck:
        raise
    except LaterForm as error:  # of a later version of pip-sharedcache, which may be sound
        return CheckedObject(one, unread=str(error))
    except (NotSigned, ValueError) as error:
        return CheckedObject(one, damage=str(error), by=by)
    except OSError as error:
        return CheckedObject(one, unread=reason(error))
    return CheckedObject(one, refusal=refusal, by=by)


def _check_bytes(one: RemoteObject, signed: SignedData, file: BinaryIO, by: str) -> None:
    """Compare the statement with the name of ``one``, and with the bytes that follow in ``file``.

    ``by``: the allowed signer, or "". Raises NotSigned, ValueError, OSError.
    """
    statement = read_statement(signed.statement)
    if (statement.kind, statement.key) != (_STATEMENTS[one.kind], one.name):
        about = f"{statement.kind} {statement.key}, which is something else"
        raise NotSigned(f"{by} signed {about}" if by else f"it is about {about}")
    if isinstance(statement, BytecodeStatement):
        left = os.fstat(file.fileno()).st_size - file.tell()
        if sum(row.size for row in statement.files) > left:
            raise NotSigned("it has fewer bytes than were signed")  # read would allocate them all
        check_signed(statement, lambda row: file.read(row.size))
    if file.read(1):
        raise NotSigned("it has more bytes than were signed")


def delete_objects(store: RemoteStore, objects: Iterable[RemoteObject]) -> list[RemoteObject]:
    """Delete ``objects`` of ``store``; return those that were deleted before the store failed."""
    by_key = {one.key: one for one in objects}
    deleted = []

    def answered(request: Request, answer: Answer) -> None:
        if not answer.problem:
            deleted.append(by_key[request.key])

    store.ask([Delete(key) for key in by_key], answered)
    return deleted
