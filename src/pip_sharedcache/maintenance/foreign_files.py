"""Files inside an entry that are not the entry's: somebody has put them there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs import Directory
from pip_sharedcache.store.entry_reading import MANIFEST, read_manifest
from pip_sharedcache.store.packs import PACK

_FILES = "files"


def foreign_files(entry: Directory) -> list[str]:
    """Return the paths, below the open ``entry``, of what publication does not put there.

    Those are other names than the manifest's and the wheel's, and files that the manifest does not
    list. Of an entry whose manifest cannot be read, the files in it are taken for its own.
    """
    try:
        manifest, _ = read_manifest(entry)
        listed = {file.path for file in manifest.files}
    except (DamagedEntry, OSError):
        listed = set()
    names = entry.names()
    found = [
        name for name in names if name not in (MANIFEST, PACK, _FILES) and not name.endswith(".whl")
    ]
    if listed and _FILES in names and entry.descriptor is not None:
        found += (path for path in _files(entry) if path[len(_FILES) + 1 :] not in listed)
    return sorted(found)


def _files(entry: Directory) -> Iterator[str]:
    """Yield the path of each file below the directory of the files of ``entry``."""
    walked = os.fwalk(_FILES, dir_fd=entry.descriptor, follow_symlinks=False)
    for where, directories, files, held in walked:
        for name in files:
            yield os.path.join(where, name)
        for name in directories:
            if stat.S_ISLNK(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
                yield os.path.join(where, name)
