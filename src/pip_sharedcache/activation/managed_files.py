"""What switches the store on somewhere, and off again, and the files that it writes: nothing of
anybody else is replaced, and nothing else is removed."""

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

#: In the text of every file that is written.
OURS = b"Written by `pip-sharedcache store enable"

_FILE = 0o644
_LEFTOVER = re.compile(re.escape(fs.NEW) + "[0-9a-f]{16}")


class Switch(ABC):
    """``directory``: where it writes; ``prefix``: the installation that it belongs to, outside of
    which nothing is changed."""

    directory: Path
    prefix: Path

    @abstractmethod
    def switch_on(self, told: Mapping[str, Any]) -> list[Path]:
        """Write the files, and return which. ``told``: what they are to find, as
        pip_adapter.bootstrap.carried has it, and ``runner``, the path of the runner. Raises
        SharedCacheError, and nothing is written then."""

    def switch_off(self) -> list[Path]:
        """Take away what ``switch_on`` has written, and return what that was. Raises
        SharedCacheError."""
        try:
            gone = list(self._written())
            for path in gone:
                refuse_way_out(path, self.prefix)
            self._remove(gone)
        except OSError as error:
            raise FileError.of(error.filename, "removed", error) from error
        return gone

    def files(self) -> list[Path]:
        """What of it is there. Raises FileError where that cannot be found out."""
        try:
            return list(self._written())
        except OSError as error:
            raise FileError.of(error.filename, "read", error) from error

    @abstractmethod
    def _written(self) -> Iterator[Path]:
        """Each file that is there, in the order in which they are taken away. Raises OSError."""

    @abstractmethod
    def _remove(self, files: list[Path]) -> None:
        """Take away ``files``, and what was made for them. Raises OSError."""


def write(
    files: Mapping[Path, bytes], replaces: Callable[[Path, bytes], bool], prefix: Path
) -> None:
    """Write ``files``, in that order. ``replaces``: whether such a text may take the place of what
    lies at that path; ``prefix``: what no link may lead out of. Raises SharedCacheError; nothing is
    written where one of them may not, and what was written is taken back where one of them
    cannot."""
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
    """Give each file the text that it had ``before``, and remove the directories that were
    ``made``. Never raises: what cannot be is named in a warning."""
    for path, text in reversed(before):
        try:
            if text is None:
                path.unlink(missing_ok=True)
            elif read(path) != text:
                replace(path, text)
        except (OSError, SharedCacheError) as error:
            logger.warning("%s was written and is left over: %s", path, error)
    for directory in reversed(made):
        with contextlib.suppress(OSError):  # never made, or with something else in it by now
            directory.rmdir()


def replace(path: Path, text: bytes) -> None:
    """Write one file. Raises FileError."""
    try:
        fs.make_parents(path.parent, _make)
        fs.replace_file(path, text, *_looks(path, text))
    except OSError as error:
        raise FileError.of(path, "written", error) from error


def _looks(path: Path, text: bytes) -> tuple[int, int]:
    """Mode and group for ``path``: where it is somebody's, and gets lines of ours or loses them
    again, those that it has. A group of -1: as the system gives it."""
    if path.suffix != ".py" or OURS in text or not path.exists():
        return _FILE, -1
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_gid


def _make(directory: Path) -> None:
    """Open to all, whatever the umask says: so are the files."""
    fs.make_directory(directory, 0o755, keep_access_lists=True)


def leftovers(directory: Path) -> list[Path]:
    """What a killed switch_on may have left in ``directory``: files with the names that
    linker.replace_file gives. Raises OSError."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _LEFTOVER.fullmatch(path.name))


def make_as_above(directory: Path) -> None:
    """Make ``directory`` where it is missing, in one of our own, and as open as that is: whoever
    may install there is to compile there, too. Raises SharedCacheError."""
    try:
        above = directory.parent.stat()
        if directory.is_dir():
            return
        if trust.OWNERS_MEAN_SOMETHING and above.st_uid != trust.user_id():
            raise UsageError(f"{directory} is for {trust.user_name(above.st_uid)} to make")
        mode = stat.S_IMODE(above.st_mode) & 0o2777
        fs.make_directory(directory, mode, keep_access_lists=True)
    except OSError as error:
        raise FileError.of(directory, "made", error) from error


def refuse_way_out(path: Path, prefix: Path) -> None:
    """Raise UsageError where a directory above ``path`` is a link that leads out of ``prefix``:
    what lies there may be another Python's."""
    if not path.is_relative_to(prefix):
        return  # the interpreter itself names such a directory; no link led there
    real = os.path.realpath(prefix)
    for above in reversed(path.relative_to(prefix).parents[:-1]):
        link = prefix / above
        target = os.path.realpath(link)
        if not Path(target).is_relative_to(real):
            raise UsageError(
                f"{link} leads to {target}{owned(target)}, outside {prefix}: nothing was changed"
            )


def owned(path: str | Path) -> str:
    """Whose file that is, for messages; "" where that cannot be found out."""
    try:
        return f" of {trust.user_name(os.lstat(path).st_uid)}"
    except OSError:
        return ""


def read_own(path: Path) -> bytes | None:
    """The text of the file; None where there is none, or a link to one. Raises OSError."""
    return None if path.is_symlink() else read(path)


def read(path: Path) -> bytes | None:
    """The text of the file; None where there is none. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def remove_if_empty(directory: Path) -> None:
    """Raises OSError."""
    if directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir()):
        directory.rmdir()


def _refuse_foreign(path: Path, text: bytes, replaces: Callable[[Path, bytes], bool]) -> None:
    """Raise UsageError where something else lies at ``path``: it is not ours to replace; FileError
    where that cannot be found out."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError.of(path, "looked at", error) from error
    whose = trust.user_name(status.st_uid)
    if not stat.S_ISREG(status.st_mode) or not replaces(path, text):
        raise UsageError(f"{path} is {whose}'s, and not of pip-sharedcache", "move it away")
    if trust.OWNERS_MEAN_SOMETHING and trust.user_id() not in (0, status.st_uid):
        raise UsageError(f"{path} belongs to {whose}, who can do this")
