"""The base of the switches that enable and disable the store, and the files that they write.

They replace no file of another program or user, and remove only files and lines that they wrote.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pip_sharedcache import fs, trust
from pip_sharedcache.errors import FileError, SharedCacheError, UsageError

logger = logging.getLogger(__name__)

#: A part of the text of each Python file and shell script that a switch writes as a whole.
OURS = b"Written by `pip-sharedcache store enable"

_FILE = 0o644
_LEFTOVER = re.compile(re.escape(fs.NEW) + "[0-9a-f]{16}")


class Switch(ABC):
    """A switch that enables the store for plain pip.

    ``directory``: the directory to which it writes.
    ``prefix``: the installation of that directory; the switch changes nothing outside of it.
    """

    directory: Path
    prefix: Path

    @abstractmethod
    def switch_on(self, told: Mapping[str, Any]) -> list[Path]:
        """Write the files, and return their paths.

        ``told``: the data of pip_adapter.bootstrap.carried, and ``runner``, the path of the runner.
        Raises SharedCacheError, and writes nothing then.
        """

    def switch_off(self) -> list[Path]:
        """Remove the files that ``switch_on`` wrote, and return their paths.

        Raises SharedCacheError.
        """
        with FileError.where_not("removed"):
            gone = list(self._written())
            for path in gone:
                refuse_way_out(path, self.prefix)
            self._remove(gone)
        return gone

    def files(self) -> list[Path]:
        """Return the files of this switch that exist. Raises FileError where that is unknown."""
        with FileError.where_not("read"):
            return list(self._written())

    @abstractmethod
    def _written(self) -> Iterator[Path]:
        """Yield each file of this switch that exists, in the order of removal. Raises OSError."""

    @abstractmethod
    def _remove(self, files: list[Path]) -> None:
        """Remove ``files``, and the directories that were made for them. Raises OSError."""


def write(
    files: Mapping[Path, bytes], replaces: Callable[[Path, bytes], bool], prefix: Path
) -> None:
    """Write all of ``files``, in their order, or none.

    ``replaces``: whether a text may replace the file at a path; ``prefix``: the directory that no
    link may lead out of. Raises SharedCacheError: before the first write, where one file must not
    be written; after this function restored the other files, where a write fails.
    """
    for path, text in files.items():
        refuse_way_out(path, prefix)
        _refuse_foreign(path, text, replaces)
    before: list[tuple[Path, bytes | None]] = []
    made: list[Path] = []
    try:
        for path, text in files.items():
            made += _missing_above(path)
            before.append((path, read(path)))
            replace(path, text)
    except BaseException:
        _take_back(before, made)
        raise


def _missing_above(path: Path) -> list[Path]:
    return [above for above in reversed(path.parents) if not above.exists()]


def _take_back(before: list[tuple[Path, bytes | None]], made: list[Path]) -> None:
    """Restore the texts of ``before`` (None: no file), and remove the directories of ``made``.

    Logs a warning for a file that cannot be restored, and does not raise its error.
    """
    for path, text in reversed(before):
        try:
            if text is None:
                path.unlink(missing_ok=True)
            elif read(path) != text:
                replace(path, text)
        except (OSError, SharedCacheError) as error:
            logger.warning("%s cannot be restored: %s", path, error)
    for directory in reversed(made):
        with contextlib.suppress(OSError):  # never made, or not empty any more
            directory.rmdir()


def replace(path: Path, text: bytes) -> None:
    """Replace one file, and make the directories above it. Raises FileError."""
    with FileError.where_not("written", path):
        fs.make_parents(path.parent, _make)
        fs.replace_file(path, text, *_looks(path, text))


def _looks(path: Path, text: bytes) -> tuple[int, int]:
    """Return the mode and the gid for ``path``; a gid of -1 leaves the choice to the system.

    A user's own module, which gets or loses pip-sharedcache's lines, keeps its mode and group.
    Other files have mode 0o644.
    """
    if path.suffix != ".py" or OURS in text or not path.exists():
        return _FILE, -1
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_gid


def _make(directory: Path) -> None:
    """Make ``directory`` with mode 0o755, whatever the umask: all users must read the files."""
    fs.make_directory(directory, 0o755, keep_access_lists=True)


def leftovers(directory: Path) -> list[Path]:
    """Return files that a killed switch_on may have left in ``directory``. Raises OSError.

    Their names are the temporary names of fs.replace_file.
    """
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _LEFTOVER.fullmatch(path.name))


def make_as_above(directory: Path) -> None:
    """Make ``directory`` if it is missing, with the mode of the directory above (& 0o2777).

    Users who may install there must be able to compile there, too. Raises UsageError where another
    user owns the directory above, FileError where the system refuses.
    """
    with FileError.where_not("made", directory):
        above = directory.parent.stat()
        if directory.is_dir():
            return
        if trust.OWNERS_MEAN_SOMETHING and above.st_uid != trust.user_id():
            who = trust.user_name(above.st_uid)
            raise UsageError(f"{directory} is missing: only {who} may make it")
        mode = stat.S_IMODE(above.st_mode) & 0o2777
        fs.make_directory(directory, mode, keep_access_lists=True)


def refuse_way_out(path: Path, prefix: Path) -> None:
    """Raise UsageError where a directory above ``path`` is a link out of ``prefix``.

    The files behind such a link may belong to another Python.
    """
    if not path.is_relative_to(prefix):
        return  # the interpreter itself names this directory: no link leads to it
    real = os.path.realpath(prefix)
    for above in reversed(list(path.relative_to(prefix).parents)[:-1]):  # no slices in Python 3.9
        link = prefix / above
        target = os.path.realpath(link)
        if not Path(target).is_relative_to(real):
            raise UsageError(
                f"{link} leads to {target}{owned(target)}, outside {prefix}: nothing was changed"
            )


def owned(path: str | Path) -> str:
    """Return " of USER" for messages, with the owner of ``path``; "" where that is unknown."""
    try:
        return f" of {trust.user_name(os.lstat(path).st_uid)}"
    except OSError:
        return ""


def read_own(path: Path) -> bytes | None:
    """Return the content of the file; None for a missing file or a link. Raises OSError."""
    return None if path.is_symlink() else read(path)


def read(path: Path) -> bytes | None:
    """Return the content of the file; None for a missing file. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def remove_if_empty(directory: Path) -> None:
    """Remove ``directory`` if it is an empty directory, and no link. Raises OSError."""
    if directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir()):
        directory.rmdir()


def _refuse_foreign(path: Path, text: bytes, replaces: Callable[[Path, bytes], bool]) -> None:
    """Raise UsageError where ``path`` is a file that ``text`` must not replace.

    That is: no regular file, a file that ``replaces`` refuses, or another user's file. Raises
    FileError where the system refuses to look.
    """
    with FileError.where_not("read", path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
    whose = trust.user_name(status.st_uid)
    if not stat.S_ISREG(status.st_mode) or not replaces(path, text):
        raise UsageError(f"{path} of {whose} was not written by pip-sharedcache", "move the file")
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, status.st_uid):
        raise UsageError(f"{path} belongs to {whose}: only root and this user may replace it")
