"""Files that a command writes at a path from its user."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pip_sharedcache import fs
from pip_sharedcache.errors import FileError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def path_argument(text: str) -> Path:
    """Return the path ``text``. Raises argparse.ArgumentTypeError for an empty one, and for a URL.

    An unset variable in a script would otherwise name the current directory, and a URL a directory
    "s3:" in it.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty path names nothing")
    if _URL.match(text):
        raise argparse.ArgumentTypeError(
            f"{text} is a URL, not a path; a remote store is not made, the setting dir names it"
        )
    return Path(text)


@contextlib.contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which replaces ``path`` when it is complete and not before.

    Its mode: that of ``path`` & 0o666, else 0o666, less the umask. Where ``path`` is no regular
    file (a link, /dev/stdout), yields ``path`` itself, opened. Closes the file. Raises FileError.
    """
    try:
        mode = 0o666
        try:
            mode = path.lstat().st_mode
            plain = stat.S_ISREG(mode)
        except FileNotFoundError:
            plain = True
        if not plain:
            # Open by path: the kernel refuses links that others put into /tmp (protected_symlinks).
            with path.open("wb") as file:
                yield file
            return
        # Create a file with a name that others cannot guess: the directory may be /tmp.
        fs.sweep_temporary(path.parent)
        part = path.with_name(f".{fs.temporary_name()}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(part, flags, mode & 0o666)
        try:
            with open(descriptor, "wb") as file:
                yield file
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FileError.of(path, "written", error) from error
