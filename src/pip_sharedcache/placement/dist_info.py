"""The .dist-info directory of one distribution: filled under a temporary name, then renamed.

pip regards a distribution as installed as soon as a directory ``<name>-<version>.dist-info``
exists, with or without METADATA (importlib.metadata takes name and version from the directory's
name; tested with pip 23.0 to 26.3). So the directory gets its final name after all other files are
in place: a kill at any moment leaves no distribution that pip would list.
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
from collections.abc import Callable, Iterable
from pathlib import Path

from pip_sharedcache import trust, wheel
from pip_sharedcache.errors import reason
from pip_sharedcache.fs.dirfd import BINARY, NOT_A_LINK, create_file, write_all
from pip_sharedcache.fs.file_data import read_at, write_at
from pip_sharedcache.fs.host import HOST, alive, is_stale
from pip_sharedcache.fs.sync import flush
from pip_sharedcache.fs.trees import remove_tree
from pip_sharedcache.model import StoredFile

logger = logging.getLogger(__name__)

_STAGED = re.compile(
    r"\.(?P<info>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)-[0-9a-f]+\.installing", re.DOTALL
)
_LONGEST = 40  # characters of the final name inside the temporary name
_REPLACEMENT = ".new"
_SMALL = 1 << 18  # bytes
_UNREADABLE: tuple[type[Exception], ...] = (OSError, KeyError, *wheel.BROKEN)

#: Files that make a distribution complete: where files are moved one by one, these are the last.
_LAST = ("METADATA", "RECORD")

#: Files that pip makes durable on every system before it continues.
_DURABLE = ("INSTALLER", "direct_url.json", "RECORD")


class DistInfo:
    """One .dist-info directory on its way into a library directory.

    ``name``: its final name.
    ``staged``: the temporary name under which pip fills it.
    ``library``: the directory that contains it; None until pip saves the first file.
    ``made_visible``: whether it has its final name.
    ``contents``: the content of some of its files, by their path in the wheel.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.staged = f".{_short(name)}.{HOST}.{os.getpid()}-{secrets.token_hex(4)}.installing"
        self.library: str | None = None
        self.made_visible = False
        self.contents: dict[str, bytes] = {}
        self._identity: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """Return the path where pip fills the directory; ``library`` must be known."""
        return os.path.join(self.library or "", self.staged)

    @property
    def record(self) -> str:
        """Return the path of RECORD in the wheel."""
        return f"{self.name}/RECORD"

    def above(self, record_path: str, path: str) -> str:
        """Return the library directory if pip would save the file ``record_path`` at ``path``.

        Return "" where the file does not belong to this .dist-info.
        """
        if not self.has(record_path):
            return ""
        inside = os.path.normpath(record_path[len(self.name) + 1 :])
        return path[: -len(os.path.join(self.name, inside))].rstrip(os.sep)

    def destination(self, record_path: str, path: str) -> str:
        """Return the destination of the wheel's file ``record_path``, for pip's own ``path``.

        The destination is below ``self.path`` if pip's is in the final .dist-info, else ``path``.
        """
        prefix = f"{self.name}/"
        if not self.name:
            return path
        if record_path.startswith(prefix):
            return os.path.join(self.path, os.path.normpath(record_path[len(prefix) :]))
        # .data/purelib of a wheel can contain files for .dist-info, too.
        final = os.path.join(self.library or os.curdir, prefix)
        return os.path.join(self.path, path[len(final) :]) if path.startswith(final) else path

    def has(self, record_path: str) -> bool:
        """Return whether the wheel's file ``record_path`` belongs to this .dist-info."""
        return bool(self.name) and record_path.startswith(f"{self.name}/")

    def read_ahead(self, files: Iterable[StoredFile], read: Callable[[str], bytes]) -> None:
        """Keep in ``contents`` those of ``files`` that ``read`` returns as the manifest has them.

        They are small, and pip has just read the end of the wheel, where they are: on a file
        server, opening and closing each in the store would cost more requests than writing it.
        """
        for file in files:
            if not self.has(file.path) or file.size > _SMALL:
                continue
            try:
                content = read(file.path)
            except _UNREADABLE as error:
                logger.debug("%s is not read from the wheel: %s", file.path, error)
                continue
            if hashlib.sha256(content).hexdigest() == file.sha256:
                self.contents[file.path] = content

    def make(self) -> None:
        """Make the directory under its temporary name. Raises OSError.

        The directory must be new: another user who can write to the library directory could have
        put a symlink of this name there.
        """
        os.mkdir(self.path)

    def complete(self, files: Iterable[str], compiled: Iterable[str]) -> list[str]:
        """Complete RECORD; return the paths that pip wrote there, relative to the library.

        pip wrote RECORD with the temporary name. Write the final name, and add the ``files`` that
        RECORD lacks and the bytecode ``compiled`` (paths relative to the library), in pip's format
        and order. As with pip, bytecode that the wheel contains and pip compiles again has two
        rows. Return [] without RECORD. Raises OSError.
        """
        path = os.path.join(self.path, "RECORD")
        try:
            descriptor, writable = _opened(path)
        except FileNotFoundError:
            return []
        try:
            status = os.fstat(descriptor)
            old = read_at(descriptor, status.st_size, 0)
            rows = [tuple(row) for row in csv.reader(io.StringIO(old.decode("utf-8"), newline=""))]
            new = self._finally(rows, files, compiled)
            if writable:
                # Not replaced: on a file server that costs more requests than all else of RECORD.
                write_at(descriptor, new, 0)
                if len(new) < len(old):
                    os.ftruncate(descriptor, len(new))
            else:
                self._replace(path, new, stat.S_IMODE(status.st_mode))
        finally:
            os.close(descriptor)
        return [row[0] for row in rows if row]

    def _finally(
        self, rows: list[tuple[str, ...]], files: Iterable[str], compiled: Iterable[str]
    ) -> bytes:
        prefix = self.staged + "/"
        renamed = [
            (f"{self.name}/{row[0][len(prefix) :]}", *row[1:])
            if row and row[0].startswith(prefix)
            else row
            for row in rows
        ]
        listed = {row[0] for row in renamed if row}
        renamed += [(file, "", "") for file in files if file not in listed]
        renamed += [(file, "", "") for file in compiled]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(sorted(renamed))
        return text.getvalue().encode("utf-8")

    @staticmethod
    def _replace(path: str, content: bytes, mode: int) -> None:
        replacement = Path(path + _REPLACEMENT)
        with create_file(replacement, mode) as descriptor:
            write_all(descriptor, content)
        os.replace(replacement, path)

    def flush(self) -> None:
        """Make durable the files that pip makes durable (_DURABLE). Raises OSError."""
        if self.made_visible or self.library is None:
            return
        for name in _DURABLE:
            try:
                flush(os.path.join(self.path, name))
            except FileNotFoundError:
                continue

    def make_visible(self) -> None:
        """Give the directory its final name. Raises OSError."""
        if self.made_visible or self.library is None:
            return
        final = os.path.join(self.library, self.name)
        if os.path.isdir(self.path):
            self._identity = _identity(self.path)
            try:
                os.rename(self.path, final)
            except OSError:
                # The final name exists (--ignore-installed writes over it): move each file, as pip
                # does; but not through a symlink, which can lead out of this environment.
                if os.path.islink(final):
                    raise FileExistsError(errno.EEXIST, "A symlink has this name", final) from None
                if not os.path.isdir(final):
                    raise
                self._identity = _identity(final)
                _merge(self.path, final)
        self.made_visible = True

    def name_finally(self, error: OSError) -> None:
        """Change the path in ``error`` to the path that pip would have used."""
        if not self.name or not isinstance(error.filename, str):
            return
        if self.staged in error.filename:
            path = error.filename.replace(self.staged, self.name)
            error.filename = path[: -len(_REPLACEMENT)] if path.endswith(_REPLACEMENT) else path
            del error.filename2  # str(error) would contain it, even as None

    def is_visible(self) -> bool:
        """Return whether the directory with the final name is this one."""
        if self.library is None or self._identity is None:
            return False
        return _identity(os.path.join(self.library, self.name)) == self._identity

    def remove(self) -> None:
        """Delete the directory with the temporary name. Never raises: logs a warning."""
        if self.library is None:
            return
        try:
            remove_tree(Path(self.path))
        except FileNotFoundError:
            return  # the directory was not made yet
        except OSError as error:
            logger.warning("%s cannot be deleted: %s", self.path, reason(error))

    def sweep(self, unfinished: Iterable[str]) -> None:
        """Delete the directories that this user's killed installations left in the library.

        ``unfinished``: the names that ``unfinished_in`` found there. Those of this distribution go
        if their process has ended. Those of other distributions, of other machines, and of this
        machine before it was started again go after some hours: their process cannot be asked, or
        was a worker whose parent process is about to rename them.
        """
        if self.library is None:
            return
        for name in unfinished:
            match = _STAGED.fullmatch(name)
            if not match or (match["host"] == HOST and alive(int(match["pid"]))):
                continue
            left = Path(self.library, name)
            try:
                status = left.lstat()
                if status.st_uid != os.geteuid():
                    continue
                ended = match["info"] == _short(self.name) and match["host"] == HOST
                if ended or is_stale(left.parent, status.st_mtime):
                    remove_tree(left)
            except FileNotFoundError:
                continue  # the sweep for another distribution deleted it
            except OSError as error:
                logger.debug("%s cannot be deleted: %s", left, reason(error))


def unfinished_in(library: str) -> list[str]:
    """Return the temporary names in the ``library`` directory, of running and killed runs."""
    if not hasattr(os, "geteuid"):
        return []  # Windows: os.kill(pid, 0) in alive() would kill the process
    try:
        return [name for name in os.listdir(library) if name.endswith(".installing")]
    except OSError:
        return []  # no such directory, or no permission: pip reports this if it matters


def _opened(path: str) -> tuple[int, bool]:
    """Open RECORD, which pip made; return the descriptor, and whether it can be written.

    In an environment that a group shares, a member can put another file in its place: what is
    written is a regular file of this user with one name. Raises OSError.
    """
    flags = NOT_A_LINK | BINARY
    try:
        descriptor = os.open(path, os.O_RDWR | flags)
    except PermissionError:  # the umask left its owner no right to write
        return os.open(path, os.O_RDONLY | flags), False
    status = os.fstat(descriptor)
    own = not trust.OWNERS_MEAN_SOMETHING or status.st_uid == trust.user_id()
    return descriptor, own and stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _short(name: str) -> str:
    """Return ``name``, or a short form of it where it is long or not ASCII.

    The temporary name must fit into a file system whose longest name is just enough for pip.
    """
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
    """Move each file of ``staged`` into the existing ``final``, METADATA and RECORD last."""
    moves = []
    for current, _, files in os.walk(staged):
        for name in files:
            inside = os.path.relpath(os.path.join(current, name), staged)
            moves.append(inside)
    for inside in sorted(moves, key=lambda name: (name in _LAST, name)):
        os.makedirs(os.path.dirname(os.path.join(final, inside)), exist_ok=True)
        os.replace(os.path.join(staged, inside), os.path.join(final, inside))
    remove_tree(Path(staged))
