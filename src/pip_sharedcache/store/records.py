"""Records: entries with one JSON file, found by the digest of a question (their key).

No digest exists to check such a file against. Only the records of trusted publishers are read, and
what they contain must neither fail a run nor hold it up.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import Any

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.entry_checks import damaged
from pip_sharedcache.store.entry_reading import manifest_name, read_manifest
from pip_sharedcache.store.sources import Source
from pip_sharedcache.untrusted_json import load_json


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
        return load_json(text)
    except (ValueError, RecursionError, MemoryError) as error:
        why = f"{type(error).__name__} {error!s:.100}"
        raise damaged(held, file, f"is no JSON: {why}") from error
