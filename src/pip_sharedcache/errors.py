"""What can go wrong, as values: one class a kind, each a single line when shown.

The flow decides what an error means (fall back to pip, skip, stop); the command line turns it
into text and an exit status. Imports nothing of the project.
"""

from __future__ import annotations


class SharedCacheError(Exception):
    """Base of every error raised on purpose here.

    ``message`` says what happened and to which path; ``hint`` what the user can do, or "";
    ``path``: the file or directory that is concerned, ``errno``: the system's number for the cause,
    each None where there is none.
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
        return f"{self.message}; {self.hint}" if self.hint else self.message


class SettingError(SharedCacheError):
    """A setting of ours has a value that cannot be used. Exit status 2."""

    code = "setting"


class ConfigurationDamaged(SettingError):
    """A configuration file is no configuration. pip stops at it too, with words of its own."""

    code = "configuration-damaged"


class UsageError(SharedCacheError):
    """Our own command was given arguments it does not take. Exit status 2."""

    code = "usage"


class FileError(SharedCacheError):
    """The system refused what a command of ours does with a file or directory. Exit status 2."""

    code = "io-error"

    @classmethod
    def of(cls, path: object, done: str, error: OSError) -> FileError:
        """Return the error for ``path``, which cannot be ``done`` ("read", "written")."""
        message = f"{path} cannot be {done}: {reason(error)}"
        return cls(message, path=str(path), errno=error.errno)


class StoreUnusable(SharedCacheError):
    """The store cannot be used at all: pip installs without it."""

    code = "store-unusable"


class StoreNotMade(StoreUnusable):
    """The private store is not there yet: the first installation makes it."""

    code = "store-not-made"


class NotPublished(SharedCacheError):
    """A wheel could not be added to the store: pip installs it without."""

    code = "not-published"


class NotWritable(NotPublished):
    """The store is read-only for this user: nothing is wrong, it is just not added to."""

    code = "not-writable"


class DirectoryMissing(NotPublished):
    """The store lacks directories that this user may not make, and would publish in."""

    code = "directory-missing"


class NoRoom(NotPublished):
    """The store's disk is full, or a quota on it used up."""

    code = "no-room"


class PipMissing(SharedCacheError):
    """The interpreter has no pip to run. Exit status 2."""

    code = "pip-missing"


class UnusualWheel(SharedCacheError):
    """A wheel that is left to pip's own installer, so that pip's own errors appear."""

    code = "unusual-wheel"


class DamagedEntry(SharedCacheError):
    """An entry holds less, or something else, than its manifest says."""

    code = "damaged-entry"


class DamagedFile(DamagedEntry):
    """A file of an entry is not what the manifest says: whatever places it finds that, too."""

    code = "damaged-file"


class SeamMissing(SharedCacheError):
    """This pip is not built as expected at some point: plain pip runs."""

    code = "seam-missing"


def reason(error: OSError) -> str:
    """The system's own words for ``error``, without the path: callers name it themselves."""
    return error.strerror or type(error).__name__
