"""Whether the wheel that pip reads is the one that an entry was made from, and is whole."""

from __future__ import annotations

import zipfile
import zlib

from pip_sharedcache import wheel
from pip_sharedcache.errors import UnusualWheel
from pip_sharedcache.model import Manifest

_NO_WHEEL: tuple[type[Exception], ...] = (UnusualWheel, *wheel.BROKEN)
#: What reading a wheel raises that was found sound before.
_TORN = (zipfile.BadZipFile, zlib.error, EOFError)


def tells_of(manifest: Manifest, archive: zipfile.ZipFile, *, whole: bool) -> bool:
    """Whether ``manifest`` is about what is in ``archive``; ``whole``: the bytes of each file, too.
    Where the archive is broken pip says so."""
    if wheel.outline(archive) != {(f.path, f.size, f.executable) for f in manifest.files}:
        return False
    if not whole:
        return True
    try:
        return wheel.digests(archive) == {f.path: f.sha256 for f in manifest.files}
    except _NO_WHEEL:
        return False


def is_torn(error: BaseException | None) -> bool:
    """Whether it comes from a wheel that cannot be read; pip may have put it into its own words."""
    while error is not None and not isinstance(error, _TORN):
        error = error.__cause__ or error.__context__
    return error is not None
