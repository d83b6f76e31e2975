"""The errors of the package: one class for each kind, each with a text of one line.

The caller decides what an error causes (fall back to pip, skip, stop); the command line turns it
into text and an exit status. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class SharedCacheError(Exception):
    """The base of the errors that this package raises on purpose.

    ``message``: what failed, and at which path.
    ``hint``: what the user can do, or "".
    ``path``: the file or directory of the failure, or None.
    ``errno``: the system's number for the cause, or None.
    """

    code = "error"

    def __init__(
        self, message: str, hint: str = "", *, path: str | None = None, errno: int | None = None
    ) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.path = path
        self.errno = errno

    def __str__(self) -> str:
        return f"{self.message}; hint: {self.hint}" if self.hint else self.message


class SettingError(SharedCacheError):
    """A setting of pip-sharedcache with an unusable value. Exit status 2."""

    code = "setting"


class ConfigurationDamaged(SettingError):
    """A file that is no valid configuration. Pip stops at it, too, with its own message."""

    code = "configuration-damaged"


class UsageError(SharedCacheError):
    """Arguments that a command of pip-sharedcache does not accept. Exit status 2."""

    code = "usage"


class FileError(SharedCacheError):
    """A file or directory that the system refused to a pip-sharedcache command. Exit status 2."""

    code = "io-error"

    @classmethod
    def of(cls, path: object, done: str, error: OSError) -> FileError:
        """Return the error for ``path``, which cannot be ``done`` ("read", "written")."""
        message = f"{path} cannot be {done}: {reason(error)}"
        return cls(message, path=str(path), errno=error.errno)

    @classmethod
    @contextlib.contextmanager
    def where_not(cls, done: str, path: object = None) -> Iterator[None]:
        """Raise this error in place of an OSError of the block; ``path``: None for the error's."""
        try:
            yield
        except OSError as error:
            raise cls.of(error.filename if path is None else path, done, error) from error


class StoreUnusable(SharedCacheError):
    """A store that cannot be used at all: pip installs without this store."""

    code = "store-unusable"


class StoreNotMade(StoreUnusable):
    """A private store that does not exist yet: the first installation makes it."""

    code = "store-not-made"


class NotPublished(SharedCacheError):
    """A wheel that could not be added to the store: pip installs it without the store."""

    code = "not-published"


class NotWritable(NotPublished):
    """A store that is read-only for this user: no fault, but the run adds nothing to it."""

    code = "not-writable"


class DirectoryMissing(NotPublished):
    """A store without directories that this user needs to publish, and may not make."""

    code = "directory-missing"


class ResolutionNotPublished(NotPublished):
    """A resolution that this user may not add to the store: the run needs none there."""

    code = "resolution-not-published"


class Banned(NotPublished):
    """A wheel that the owner of a store banned: pip installs it without the store."""

    code = "banned"


class NoRoom(NotPublished):
    """A full disk of the store, or a used-up quota on that disk."""

    code = "no-room"


class PipMissing(SharedCacheError):
    """An interpreter without pip. Exit status 2."""

    code = "pip-missing"


class UnusualWheel(SharedCacheError):
    """A wheel that is left to pip's own installer, so that the user sees pip's own errors."""

    code = "unusual-wheel"


class DamagedEntry(SharedCacheError):
    """An entry without some of its files, or with files that differ from its manifest."""

    code = "damaged-entry"


class UnreachableEntry(DamagedEntry):
    """An entry that could not be read after a long wait: its file server does not answer."""

    code = "unreachable-entry"


class CopiedEntry(DamagedEntry):
    """An entry whose files lost their times, because its store was copied or restored."""

    code = "copied-entry"


class DamagedFile(DamagedEntry):
    """A file that differs from its entry's manifest: the code that places it finds this, too."""

    code = "damaged-file"


class SeamMissing(SharedCacheError):
    """A seam that this pip does not have in the expected form: plain pip runs."""

    code = "seam-missing"


class SigningError(SharedCacheError):
    """A key that does not sign: absent, locked, refused by its agent. Exit status 2."""

    code = "signing"


class NotSigned(SharedCacheError):
    """Data without a signature of an allowed signer; ``message``: the reason alone."""

    code = "not-signed"


class CannotCheck(NotSigned):
    """An ssh-keygen that is missing or does not answer: no signature counts."""

    code = "cannot-check"


#: What pip does in each of its commands that use the store.
_DOING = {
    "install": "Installing",
    "download": "Downloading",
    "wheel": "Collecting wheels",
    "lock": "Locking",
}


def without_store(which: str = "the shared store") -> str:
    """Return the beginning of a warning that the command of this process does not use a store.

    ``which``: the store, in words.
    """
    command = next((word for word in sys.argv[1:] if word in _DOING), "install")
    return f"{_DOING[command]} without {which}"


def reason(error: OSError) -> str:
    """Return the system's message for ``error``, without the path: callers name the path."""
    return error.strerror or type(error).__name__
