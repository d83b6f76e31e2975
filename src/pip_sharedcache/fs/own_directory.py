"""Creation of files without O_EXCL, in directories where no other user can have put anything.

On NFSv4, O_EXCL costs a request for each file: the server keeps a verifier in the times of the new
file, and the client has to set the times afterwards (RFC 8881, section 18.16.3). Without O_EXCL,
the call would also open what is there already, so the new file is checked before its first byte.
Another process of this user that fills the same directory is not seen: both can write one file, as
two runs of pip can.
On NFSv3 and on local file systems, nothing would be saved.
"""

from __future__ import annotations

import errno
import os
import stat

from pip_sharedcache import trust
from pip_sharedcache.fs.dirfd import BINARY, NOT_A_LINK, PLACE, Directory
from pip_sharedcache.trust import access_lists

#: Errors of open(2) for writing, where a name leads to no file of this user.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM})


class OwnDirectory:
    """Open directory of this user, in which nobody else may make, rename or delete files.

    The caller owns ``descriptor``, through which all files are made: a path could lead elsewhere
    where others may rename a directory above.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str, *, list_known: bool = False) -> OwnDirectory | None:
        """Open the directory ``path``, which this process made; None where O_EXCL is needed.

        That is the case where the directory has another owner, or others may write there.
        ``list_known``: whether it inherits its access list from a directory that this method
        returned, so that the list lets nobody else write. Never raises OSError.
        """
        try:
            descriptor = os.open(path, PLACE)
        except OSError:
            return None
        own = False
        try:
            own = _is_own(descriptor, list_known)
        except OSError:
            return None
        finally:
            if not own:
                os.close(descriptor)
        return cls(descriptor) if own else None

    def create(self, name: str, flags: int, mode: int) -> int | None:
        """Create the file ``name`` with ``flags``, but without O_EXCL; return its descriptor.

        Return None where that fails, or where something has this name: the caller then creates the
        file with O_EXCL, and gets the error of that. New is a regular file of this user that has
        one link and no bytes. A FIFO does not block, and a symlink is not followed.
        """
        try:
            flags = (flags & ~os.O_EXCL) | NOT_A_LINK
            descriptor = os.open(name, flags, mode, dir_fd=self.descriptor)
        except OSError:
            return None
        new = False
        try:
            status = os.fstat(descriptor)
            own = stat.S_ISREG(status.st_mode) and status.st_uid == trust.user_id()
            new = own and status.st_nlink == 1 and status.st_size == 0
        finally:
            if not new:
                os.close(descriptor)
        return descriptor if new else None

    def close(self) -> None:
        """Close the descriptor; further calls do nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def make_if_missing(held: Directory, name: str, mode: int) -> os.stat_result | None:
    """Make the empty file ``name`` (``mode`` minus umask) if it is missing; return its status.

    ``held``: a directory in which nobody else may make files: nothing is asked before, and O_EXCL
    is not needed. A file that is there stays as it is. Return None for something else, and for a
    file that this user may not write. Raises OSError.
    """
    path, above = held.at(name)
    flags = os.O_WRONLY | os.O_CREAT | NOT_A_LINK | BINARY
    try:
        descriptor = os.open(path, flags, mode, dir_fd=above)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    try:
        status = os.fstat(descriptor)
        return status if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(descriptor)


def _is_own(descriptor: int, list_known: bool) -> bool:
    if not trust.OWNERS_MEAN_SOMETHING:
        return False
    status = os.fstat(descriptor)
    user = trust.user_id()
    if status.st_uid != user or user in trust.NOBODY or trust.writable_by_others(status):
        return False
    # The descriptor itself cannot be asked for its list; the path leads to the same directory.
    where = f"/proc/self/fd/{descriptor}/."
    return list_known or not access_lists.foreign_writers(where, status.st_mode, inherited=True)
