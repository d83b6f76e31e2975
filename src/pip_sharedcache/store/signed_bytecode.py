"""Bytecode as it is signed, and the entries that signed bytes become.

The same statement is for bytecode in a store and in an object of a remote layer: each file counts
without the time of its source, which is another one in each entry of a wheel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from pip_sharedcache.errors import DamagedEntry, NotSigned
from pip_sharedcache.model import Compiled, Entry, Manifest, StoredFile
from pip_sharedcache.signing import (
    BytecodeStatement,
    SignedFile,
    with_source_time,
    without_source_time,
)
from pip_sharedcache.store.bytecode_paths import compiled_path
from pip_sharedcache.store.sources import Source
from pip_sharedcache.store.spools import Spools


def interpreter_of(bytecode: Manifest) -> tuple[str, str]:
    """Return the tag and the magic number that ``bytecode.fits`` wrote in the manifest.

    Raises DamagedEntry.
    """
    parts = bytecode.filename.rsplit("-", 3)  # a tag has a "-" itself
    if len(parts) != 4:
        raise DamagedEntry(f"the bytecode of {bytecode.digest} names no interpreter")
    return parts[0], parts[1]


def make_statement(bytecode: Entry, source: Source) -> BytecodeStatement:
    """Return the statement about the entry ``bytecode``, which is open as ``source``.

    Every file is read, and has the bytes of the manifest. Raises DamagedEntry, OSError.
    """
    manifest = bytecode.manifest
    tag, magic = interpreter_of(manifest)
    files = []
    for file in _sorted(manifest):
        data = _signed_bytes(source, file)
        if data[:4].hex() != magic:
            raise source.damaged(file, f"does not have the magic number {magic}")
        files.append(SignedFile(file.path, len(data), hashlib.sha256(data).hexdigest()))
    failed = tuple(sorted(manifest.failed))
    return BytecodeStatement(manifest.digest, tag, magic, tuple(files), failed)


def signed_bytes(bytecode: Entry, source: Source) -> Iterator[bytes]:
    """Yield the bytes of each file of ``make_statement``, in its order. Raises as that does."""
    for file in _sorted(bytecode.manifest):
        yield _signed_bytes(source, file)


def spool_signed(
    statement: BytecodeStatement,
    wheel: Manifest,
    read: Callable[[SignedFile], bytes],
    spools: Spools,
) -> Compiled:
    """Append the files of the checked ``statement`` to ``spools``, as if they were compiled.

    ``wheel``: the manifest of the entry that the bytecode is for; the files get the time of its
    sources. ``read``: returns the bytes of one file, from anybody, with any time of its source; it
    is called once for each file, in the order of the statement. Raises NotSigned if a file has not
    the signed bytes or is for no source of the wheel, or if a source has no file; and what ``read``
    raises; OSError.
    """
    sources = {compiled_path(one.path): one for one in wheel.files if one.path.endswith(".py")}
    named = {file.path for file in statement.files}
    for path, source in sources.items():
        if path not in named and source.path not in statement.failed:
            raise NotSigned(f"what is signed lacks the bytecode of {source.path}")
    made = []
    for file in statement.files:
        if file.path not in sources:
            raise NotSigned(f"what is signed has {file.path}, for which the wheel has no source")
        data = _checked(statement, file, read)
        made.append(spools.add(file.path, with_source_time(data, sources[file.path].mtime)))
    return Compiled(made, statement.failed)


def check_signed(statement: BytecodeStatement, read: Callable[[SignedFile], bytes]) -> None:
    """Raise NotSigned unless each file of ``statement`` has the signed bytes.

    ``read``: as for ``spool_signed``.
    """
    for file in statement.files:
        _checked(statement, file, read)


def _checked(
    statement: BytecodeStatement, file: SignedFile, read: Callable[[SignedFile], bytes]
) -> bytes:
    """Return the signed bytes of ``file``, without the time of its source. Raises NotSigned."""
    try:
        data = without_source_time(read(file))
    except ValueError as error:
        raise NotSigned(f"{file.path} is {error}") from error
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise NotSigned(f"{file.path} has other bytes than were signed")
    if data[:4].hex() != statement.magic:
        raise NotSigned(f"{file.path} is signed, but is for another interpreter")
    return data


def _sorted(bytecode: Manifest) -> list[StoredFile]:
    """Return the files of ``bytecode`` in the order of its statement."""
    return sorted(bytecode.files, key=lambda file: file.path)


def _signed_bytes(source: Source, file: StoredFile) -> bytes:
    try:
        return without_source_time(source.read_checked(file))
    except ValueError as error:
        raise source.damaged(file, f"is {error}") from error
