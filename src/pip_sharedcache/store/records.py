"""Records: entries with one JSON file, found by the digest of a question (their key).

No digest exists to check such a file against. Only the records of trusted publishers are read, and
what they contain must neither fail a run nor hold it up.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, NoReturn

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.entry_checks import damaged
from pip_sharedcache.store.entry_reading import manifest_name, read_manifest
from pip_sharedcache.store.sources import Source

_LONGEST_NUMBER = 40  # digits: before Python 3.11, int() takes hours for a million digits


def read_record(held: Directory, name: str, limit: int) -> Any:
    """Return the JSON value in the file ``name`` of the open record ``held``.

    ``limit``: the most bytes that are read. Raises DamagedEntry if the file differs from the
    manifest, or is no JSON that can be read within the memory; OSError.
    """
    manifest, status = read_manifest(held)
    file = next((file for file in manifest.files if file.path == name), None)
    if file is None:
        raise DamagedEntry(f"{held.path / manifest_name(manifest)} does not list {name}")
    if file.size > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(held.path / name))
    if manifest.packed:
        with Source(Directory.open(held.proc_path), status.st_uid, [file], packed=True) as source:
            text = source.read(file)
    else:
        text = held.read(f"files/{name}", limit)[0]
    if file.sha256 != hashlib.sha256(text).hexdigest():
        raise damaged(held, file, "has other bytes than were published")
    try:
        return json.loads(
            text,
            parse_int=_number(int),
            parse_float=_number(float),
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError, MemoryError) as error:
        why = f"{type(error).__name__} {error!s:.100}"
        raise damaged(held, file, f"is no JSON: {why}") from error


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if len(text) > _LONGEST_NUMBER:
            raise ValueError(f"a number of {len(text)} digits")
        return kind(text)

    return parse


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
