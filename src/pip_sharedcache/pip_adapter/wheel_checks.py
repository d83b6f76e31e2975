"""Checks of the wheel that pip reads, against its entry, and of the errors of its installation."""

from __future__ import annotations

import zipfile
import zlib

from pip_sharedcache import fs, wheel
from pip_sharedcache.errors import UnusualWheel
from pip_sharedcache.model import Manifest

_NO_WHEEL: tuple[type[Exception], ...] = (UnusualWheel, *wheel.BROKEN)
#: Errors on reading a wheel that was sound at an earlier check.
_TORN = (zipfile.BadZipFile, zlib.error, EOFError)


def tells_of(manifest: Manifest, archive: zipfile.ZipFile, *, whole: bool) -> bool:
    """Return whether ``manifest`` describes the files in ``archive``.

    ``whole``: compare the sha256 of each file, too, besides path, size and executable bit. False
    for a broken archive, which pip then reports.
    """
    if wheel.outline(archive) != {(f.path, f.size, f.executable) for f in manifest.files}:
        return False
    if not whole:
        return True
    try:
        return wheel.digests(archive) == {f.path: f.sha256 for f in manifest.files}
    except _NO_WHEEL:
        return False


def is_full(error: BaseException) -> bool:
    """Return whether ``error`` is from a full file system, or from a quota."""
    return isinstance(error, OSError) and error.errno in fs.NO_SPACE_ERRORS


def is_torn(error: BaseException | None) -> bool:
    """Return whether ``error``, or an error that caused it, is from an unreadable wheel."""
    while error is not None and not isinstance(error, _TORN):
        error = error.__cause__ or error.__context__
    return error is not None
