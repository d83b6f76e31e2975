"""The .dist-info directory of one distribution: filled under another name, shown by one rename.

pip takes a distribution for installed as soon as a directory ``<name>-<version>.dist-info`` is
there, METADATA in it or not (importlib.metadata reads name and version off the directory's name;
tried on pip 23.0 to 26.3). So the directory gets its name when all else is in place: a kill at any
moment leaves nothing that pip would list.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.fs.dirfd import create_file, write_all
from pip_sharedcache.fs.host import HOST, alive
from pip_sharedcache.fs.sync import flush
from pip_sharedcache.fs.trees import remove_tree

logger = logging.getLogger(__name__)

_STAGED = re.compile(
    r"\.(?P<info>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)-[0-9a-f]+\.installing", re.DOTALL
)
_LONGEST = 40  # characters of a distribution's own name in that under which it is filled
_REPLACEMENT = ".new"

#: They make a distribution complete; where files go one by one they go last.
_LAST = ("METADATA", "RECORD")

#: What pip makes durable before it goes on, on every system.
_DURABLE = ("INSTALLER", "direct_url.json", "RECORD")


class DistInfo:
    """One .dist-info directory on its way into a library directory.

    ``name`` is its own name, ``staged`` the one under which it is filled; ``library`` the
    directory that holds it, known when pip saves the first file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.staged = f".{_short(name)}.{HOST}.{os.getpid()}-{secrets.token_hex(4)}.installing"
        self.library: str | None = None
        self.made_visible = False
        self._identity: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """Where it is filled. The library must be known."""
        return os.path.join(self.library or "", self.staged)

    def above(self, record_path: str, path: str) -> str:
        """Return the library directory where pip would save the file ``record_path`` of this
        .dist-info at ``path``; "" where the file is not of this .dist-info."""
        if not self.name or not record_path.startswith(f"{self.name}/"):
            return ""
        inside = os.path.normpath(record_path[len(self.name) + 1 :])
        return path[: -len(os.path.join(self.name, inside))].rstrip(os.sep)

    def destination(self, record_path: str, path: str) -> str:
        """Return where the file ``record_path`` of the wheel goes that pip would save at ``path``:
        below ``path`` of this .dist-info if pip would save it in there."""
        prefix = f"{self.name}/"
        if not self.name:
            return path
        if record_path.startswith(prefix):
            return os.path.join(self.path, os.path.normpath(record_path[len(prefix) :]))
        # .data/purelib of a wheel may have files for .dist-info, too.
        final = os.path.join(self.library or os.curdir, prefix)
        return os.path.join(self.path, path[len(final) :]) if path.startswith(final) else path

    def make(self) -> None:
        """Make the directory in which it is filled: new, so that nobody who may write the library
        directory can have put a link of that name there. Raises OSError."""
        os.mkdir(self.path)

    def complete(self, files: Iterable[str], compiled: Iterable[str]) -> list[str]:
        """pip wrote RECORD with the name under which it filled this directory; give it the real
        one, and add those of ``files`` (paths relative to the library) that it lacks, and the
        bytecode ``compiled``, in pip's own format and order. Bytecode that the wheel ships, and
        pip compiles again, has two rows there, too.

        Returns the paths that pip wrote, relative to the library directory. Raises OSError.
        """
        prefix = self.staged + "/"
        rows = self._rows()
        if rows is None:
            return []
        renamed = [
            (f"{self.name}/{row[0][len(prefix) :]}", *row[1:])
            if row and row[0].startswith(prefix)
            else row
            for row in rows
        ]
        listed = {row[0] for row in renamed if row}
        renamed += [(file, "", "") for file in files if file not in listed]
        renamed += [(file, "", "") for file in compiled]
        self._write(renamed)
        return [row[0] for row in rows if row]

    def _rows(self) -> list[tuple[str, ...]] | None:
        try:
            with open(os.path.join(self.path, "RECORD"), encoding="utf-8", newline="") as file:
                return [tuple(row) for row in csv.reader(file)]
        except FileNotFoundError:
            return None

    def _write(self, rows: list[tuple[str, ...]]) -> None:
        path = os.path.join(self.path, "RECORD")
        text = io.StringIO(newline="")
        csv.writer(text).writerows(sorted(rows))
        replacement = Path(path + _REPLACEMENT)
        with create_file(replacement, stat.S_IMODE(os.stat(path).st_mode)) as descriptor:
            write_all(descriptor, text.getvalue().encode("utf-8"))
        os.replace(replacement, path)

    def flush(self) -> None:
        """Make durable what describes the distribution, as pip does. Raises OSError."""
        if self.made_visible or self.library is None:
            return
        for name in _DURABLE:
            try:
                flush(os.path.join(self.path, name))
            except FileNotFoundError:
                continue

    def make_visible(self) -> None:
        """Give the directory its name. Raises OSError."""
        if self.made_visible or self.library is None:
            return
        final = os.path.join(self.library, self.name)
        if os.path.isdir(self.path):
            self._identity = _identity(self.path)
            try:
                os.rename(self.path, final)
            except OSError:
                # It is there already (--ignore-installed writes over it): file by file, as pip;
                # but not through a link, which may lead to what is not this environment's.
                if os.path.islink(final):
                    raise FileExistsError(errno.EEXIST, "A symlink is in the way", final) from None
                if not os.path.isdir(final):
                    raise
                self._identity = _identity(final)
                _merge(self.path, final)
        self.made_visible = True

    def name_finally(self, error: OSError) -> None:
        """Have ``error`` name the path that pip would have named."""
        if not self.name or not isinstance(error.filename, str):
            return
        if self.staged in error.filename:
            path = error.filename.replace(self.staged, self.name)
            error.filename = path[: -len(_REPLACEMENT)] if path.endswith(_REPLACEMENT) else path
            del error.filename2  # it would be shown, even as None

    def is_visible(self) -> bool:
        """Whether what lies under the real name is this very directory."""
        if self.library is None or self._identity is None:
            return False
        return _identity(os.path.join(self.library, self.name)) == self._identity

    def remove(self) -> None:
        """Delete what is not shown yet. Never raises: it warns."""
        if self.library is None:
            return
        try:
            remove_tree(Path(self.path))
        except FileNotFoundError:
            return  # nothing of it was placed yet
        except OSError as error:
            logger.warning("%s is left over: %s", self.path, reason(error))

    def sweep(self, unfinished: Iterable[str]) -> None:
        """Remove what killed installations of the same distribution left here under our name.
        ``unfinished``: what the library directory had of the kind."""
        if self.library is None:
            return
        for name in unfinished:
            match = _STAGED.fullmatch(name)
            if not match or match["info"] != _short(self.name) or match["host"] != HOST:
                continue
            left = Path(self.library, name)
            try:
                if not alive(int(match["pid"])) and left.lstat().st_uid == os.geteuid():
                    remove_tree(left)
            except OSError as error:
                logger.debug("%s is left over: %s", left, reason(error))


def unfinished_in(library: str) -> list[str]:
    """Names in a ``library`` directory of what is being installed there, or was when it was
    killed."""
    if not hasattr(os, "geteuid"):
        return []  # Windows: os.kill(pid, 0) does not ask there, it kills
    try:
        return [name for name in os.listdir(library) if name.endswith(".installing")]
    except OSError:
        return []  # there is none yet, or we may not look: pip's own words follow if it matters


def _short(name: str) -> str:
    """``name``, or what stands for it where it is long: together with what is put around it, it has
    to fit a file system that allows for a name no more than pip needs."""
    if len(name) <= _LONGEST and name.isascii():
        return name
    beginning = name.encode("ascii", "replace").decode("ascii").replace("?", "_")[: _LONGEST // 2]
    return f"{beginning}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _merge(staged: str, final: str) -> None:
    """Move every file of ``staged`` into the existing ``final``, METADATA and RECORD last."""
    moves = []
    for current, _, files in os.walk(staged):
        for name in files:
            inside = os.path.relpath(os.path.join(current, name), staged)
            moves.append(inside)
    for inside in sorted(moves, key=lambda name: (name in _LAST, name)):
        os.makedirs(os.path.dirname(os.path.join(final, inside)), exist_ok=True)
        os.replace(os.path.join(staged, inside), os.path.join(final, inside))
    remove_tree(Path(staged))
