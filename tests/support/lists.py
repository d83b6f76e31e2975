"""NFSv4 access lists where no NFSv4 server is: the answers of getxattr(2) that one would give."""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

#: As an NFSv4.2 server gave it for a directory of mode 3775 with user:2009:rwx.
RECORDED = base64.b64decode(
    "AAAABAAAAAAAAAAAABYB5wAAAAZPV05FUkAAAAAAAAAAAAAAABIA5wAAAAQyMDA5AAAAAAAAAAAAEgDnAAAABkdST1VQ"
    "QAAAAAAAAAAAAAAAEgChAAAACUVWRVJZT05FQAAAAA=="
)


def serve(monkeypatch: pytest.MonkeyPatch, lists: Mapping[Path, bytes]) -> None:
    """From now on these files and directories have ``system.nfs4_acl``, and the rest of the machine
    has no access list."""
    values = {_identity(path): value for path, value in lists.items()}

    def getxattr(
        path: int | str | os.PathLike[str], name: str, *, follow_symlinks: bool = True
    ) -> bytes:
        value = values.get(_identity(path))
        if value is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        if name != "system.nfs4_acl":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return value

    monkeypatch.setattr(os, "getxattr", getxattr)


def _identity(path: int | str | os.PathLike[str]) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
