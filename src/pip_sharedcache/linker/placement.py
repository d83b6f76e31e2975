"""All files of one wheel into one environment: directories, undo, and .dist-info last.

pip takes a distribution for installed as soon as a directory ``<name>-<version>.dist-info`` is
there, METADATA in it or not (importlib.metadata reads name and version off the directory's name;
tried on pip 23.0 to 26.3). So the directory is filled under another name, and renamed when all
else is in place: a kill at any moment leaves nothing that pip would list.
"""

from __future__ import annotations

import csv
import errno
import importlib.util
import io
import logging
import os
import re
import secrets
import stat
from pathlib import Path

from pip_sharedcache.errors import reason
from pip_sharedcache.linker.descriptors import (
    HOST,
    Directory,
    alive,
    create_file,
    remove_tree,
    share_directory,
    share_file,
    write_all,
)
from pip_sharedcache.linker.link import Linker, Parent
from pip_sharedcache.model import Entry, Report, StoredFile

logger = logging.getLogger(__name__)

_STAGED = re.compile(
    r"\.(?P<info>.+\.dist-info)\.(?P<host>[^.]+)\.(?P<pid>\d+)-[0-9a-f]+\.installing"
)

#: They make a distribution complete; where files go one by one they go last.
_LAST = ("METADATA", "RECORD")


class Placement:
    """One wheel on its way into one environment.

    Owns the descriptors of the entry and of its bytecode; exactly one of ``commit`` and ``undo``
    ends it, and closes them. Paths are the strings that pip uses.
    """

    def __init__(self, entry: Entry, held: Directory, linker: Linker, report: Report) -> None:
        self.entry = entry
        self.info_directory = ""
        self.revealed = False
        self._held = held
        self._linker = linker
        self._report = report
        self._files = {file.path: file for file in entry.manifest.files}
        self._parents: dict[str, Parent] = {}
        self._made: list[str] = []
        self._placed: list[str] = []
        self._library: str | None = None
        self._sources: dict[str, str] = {}
        self._token = secrets.token_hex(4)
        self._since: int | None = None
        self._identity: tuple[int, int] | None = None
        self._bytecode: tuple[Entry, Directory, dict[str, StoredFile]] | None = None

    # -- .dist-info under another name until the end

    def stage(self, info_directory: str) -> str:
        """The name under which pip fills ``info_directory`` until ``commit``."""
        self.info_directory = info_directory
        return f".{info_directory}.{HOST}.{os.getpid()}-{self._token}.installing"

    @property
    def staged(self) -> str:
        """The name that ``stage`` gave."""
        return self.stage(self.info_directory)

    def destination(self, record_path: str, path: str) -> str:
        """Where the file ``record_path`` of the wheel goes that pip would save at ``path``."""
        prefix = self.info_directory + "/"
        if not self.info_directory or not record_path.startswith(prefix):
            return path
        inside = os.path.normpath(record_path[len(prefix) :])
        library = path[: -len(os.path.join(self.info_directory, inside))]
        if self._library is None:
            self._library = library.rstrip(os.sep)
            self._sweep()
            self._make_staging(os.path.join(self._library, self.staged))
        return os.path.join(self._library, self.staged, inside)

    def _make_staging(self, path: str) -> None:
        """Make the directory in which .dist-info is filled: new, so that nobody who may write the
        library directory can have put a link of that name there. Raises OSError."""
        above = self.make_parents(os.path.dirname(path))
        os.mkdir(path)
        if above.grant:
            share_directory(path, above.grant)

    # -- files

    def save(self, record_path: str, destination: str) -> bool:
        """Place one file. False where the entry does not list it: pip saves it from the wheel.

        Raises DamagedEntry before anything is touched, OSError if the environment refuses.
        """
        file = self._files.get(record_path)
        if file is None:
            return False
        private = self._is_private(file)
        self._sources.pop(destination, None)
        self._place(self.entry, self._held, file, destination, private=private)
        if not private and file.path.endswith(".py"):
            self._sources[destination] = record_path
        return True

    def _place(
        self, entry: Entry, held: Directory, file: StoredFile, destination: str, *, private: bool
    ) -> None:
        parent = self.make_parents(os.path.dirname(destination))
        existed = os.path.lexists(destination)
        mode = self._linker.place(held, entry.publisher, file, destination, parent, private=private)
        if not existed:
            self._placed.append(destination)
        if self._since is None and parent.grant:
            self._since = os.lstat(destination).st_ctime_ns  # by the file system's own clock
        self._report.count(mode, file.size)

    def _is_private(self, file: StoredFile) -> bool:
        top, _, rest = file.path.partition("/")
        # pip opens scripts for writing in place (fix_script), and rewrites RECORD.
        return top == self.info_directory or (top.endswith(".data") and rest.startswith("scripts/"))

    def make_parents(self, path: str) -> Parent:
        """Make the directory ``path`` and what is missing above it, and remember which.

        In an environment that a group shares, new directories get what their parent grants the
        group: without the write bit a colleague could not uninstall what lies in them.
        """
        path = path or os.curdir
        known = self._parents.get(path)
        if known is not None:
            return known
        try:
            status = os.stat(path)
        except FileNotFoundError:
            above = self.make_parents(os.path.dirname(path))
            try:
                os.mkdir(path)
                self._made.append(path)
            except FileExistsError:
                pass  # a neighbour made it meanwhile, or it is a dangling link: stat tells
            status = os.stat(path)
            if above.grant and self._made and self._made[-1] == path:
                share_directory(path, above.grant)
                status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        parent = Parent.of(status, self._linker.group_environment)
        self._parents[path] = parent
        return parent

    def use_bytecode(self, entry: Entry, held: Directory) -> None:
        """Place bytecode from this ``entry``, whose descriptor ``held`` is ours to close now."""
        self._bytecode = (entry, held, {file.path: file for file in entry.manifest.files})

    def save_bytecode(self, source: str) -> bool | None:
        """Place the bytecode of the placed ``source``: True; False where the source is known not
        to compile; None where it is to be compiled. Raises DamagedEntry, OSError."""
        directory, name = os.path.split(importlib.util.cache_from_source(source))
        record_path = self._sources.get(source)
        if self._bytecode is not None and record_path is not None:
            entry, held, files = self._bytecode
            if record_path in entry.manifest.failed:
                return False
            file = files.get(importlib.util.cache_from_source(record_path))
            if file is not None:
                self._place(entry, held, file, os.path.join(directory, name), private=False)
                return True
        if self.make_parents(os.path.dirname(source)).grant:
            # py_compile would make it by the umask, and no colleague could remove it.
            self.make_parents(directory)
        return None

    # -- the end, either way

    def commit(self) -> None:
        """Let the finished distribution appear. Raises OSError."""
        self.reveal()
        self._close()

    def reveal(self) -> None:
        """Rename .dist-info to its own name, its RECORD speaking of that name."""
        if self.revealed or self._library is None:
            return
        staged = os.path.join(self._library, self.staged)
        final = os.path.join(self._library, self.info_directory)
        if os.path.isdir(staged):
            rows = self._rename_in_record(os.path.join(staged, "RECORD"))
            self._share_generated(self._library, rows)
            self._identity = _identity(staged)
            try:
                os.rename(staged, final)
            except OSError:
                # It is there already (--ignore-installed writes over it): file by file, as pip;
                # but not through a link, which may lead to what is not this environment's.
                if os.path.islink(final):
                    raise FileExistsError(errno.EEXIST, "A symlink is in the way", final) from None
                if not os.path.isdir(final):
                    raise
                self._identity = _identity(final)
                _merge(staged, final)
        self.revealed = True

    def undo(self) -> None:
        """Take back what was placed: files, their bytecode, and directories made for them.

        Never raises: it runs while another error is on its way to the user. Does nothing where
        .dist-info is visible: Ctrl-C may come right after that, and the distribution is complete.
        """
        self._close()
        if self._is_visible():
            return
        for path in self._placed:
            _unlink_if_there(path)
            if path.endswith(".py"):
                bytecode = importlib.util.cache_from_source(path)
                _unlink_if_there(bytecode)
                _remove_if_empty(os.path.dirname(bytecode))
        if self._library is not None:
            staged = Path(self._library, self.staged)
            try:
                remove_tree(staged)
            except FileNotFoundError:
                pass  # nothing of .dist-info was placed yet
            except OSError as error:
                logger.warning("%s is left over: %s", staged, reason(error))
        for path in reversed(self._made):
            _remove_if_empty(path)

    def _is_visible(self) -> bool:
        if self._library is None or self._identity is None:
            return False
        return _identity(os.path.join(self._library, self.info_directory)) == self._identity

    def _close(self) -> None:
        self._held.close()
        if self._bytecode is not None:
            self._bytecode[1].close()

    def _share_generated(self, library: str, paths: list[str]) -> None:
        """In an environment that a group shares, give the group its bits on what pip wrote itself:
        without reading RECORD a colleague could not uninstall."""
        if not self.make_parents(library).grant or self._since is None:
            return
        for path in paths:
            # A wheel's RECORD may list anything; pip keeps such rows.
            full = os.path.normpath(os.path.join(library, path))
            if os.path.lexists(full):
                grant = self.make_parents(os.path.dirname(full)).grant
                share_file(full, grant, self._since)

    def _rename_in_record(self, path: str) -> list[str]:
        """pip wrote RECORD with the name under which it filled .dist-info; give it the real one,
        in pip's own format and order. Returns the paths that pip wrote, relative to the library
        directory."""
        try:
            status = os.stat(path)
            with open(path, encoding="utf-8", newline="") as file:
                rows = [tuple(row) for row in csv.reader(file)]
        except FileNotFoundError:
            return []
        prefix = self.staged + "/"
        renamed = [
            (f"{self.info_directory}/{row[0][len(prefix) :]}", *row[1:])
            if row and row[0].startswith(prefix)
            else row
            for row in rows
        ]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(sorted(renamed))
        replacement = Path(path + ".new")
        with create_file(replacement, stat.S_IMODE(status.st_mode)) as descriptor:
            write_all(descriptor, text.getvalue().encode("utf-8"))
        os.replace(replacement, path)
        return [row[0] for row in rows if row]

    def _sweep(self) -> None:
        """Remove what killed installations of the same distribution left here under our name."""
        if self._library is None or not hasattr(os, "geteuid"):
            return  # Windows: os.kill(pid, 0) does not ask there, it kills
        try:
            names = os.listdir(self._library)
        except OSError:
            return  # there is none yet, or we may not look: pip's own words follow if it matters
        for name in names:
            match = _STAGED.fullmatch(name)
            if not match or match["info"] != self.info_directory or match["host"] != HOST:
                continue
            left = Path(self._library, name)
            try:
                if not alive(int(match["pid"])) and left.lstat().st_uid == os.geteuid():
                    remove_tree(left)
            except OSError as error:
                logger.debug("%s is left over: %s", left, reason(error))


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


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s is left over: %s", path, reason(error))


def _remove_if_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            logger.warning("%s is left over: %s", path, reason(error))
