"""Creation of the files of an environment: none of them was there before."""

from __future__ import annotations

import os

from pip_sharedcache.fs.own_directory import OwnDirectory
from pip_sharedcache.placement.jobs import Job
from pip_sharedcache.trust import mounts

#: The file systems on which O_EXCL costs a request for each file.
_EXCLUSIVE_COSTS = frozenset({"nfs4"})


class NewFiles:
    """Creates destinations for a whole run, opened with ``flags``, which include O_EXCL.

    Holds the directory of the last file open until ``close``.
    """

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._path = ""
        self._own: OwnDirectory | None = None
        self._known: set[str] = set()  # directories whose access lists let nobody else write

    def create(self, job: Job, mode: int) -> int:
        """Create the destination of ``job`` by ``mode`` and the umask; return its descriptor.

        Raises OSError: FileExistsError where something has its name.
        """
        target_dir = job.target_dir
        if target_dir.made and mounts.kind_of_device(target_dir.device) in _EXCLUSIVE_COSTS:
            path, name = os.path.split(job.destination)
            if (own := self._open(path)) is not None:
                descriptor = own.create(name, self._flags, mode)
                if descriptor is not None:
                    return descriptor
        return os.open(job.destination, self._flags, mode)

    def _open(self, path: str) -> OwnDirectory | None:
        if path != self._path:
            self.close()
            known = os.path.dirname(path) in self._known
            self._own, self._path = OwnDirectory.open(path, list_known=known), path
            if self._own is not None:
                self._known.add(path)
        return self._own

    def close(self) -> None:
        """Close the directory that is open; further calls do nothing."""
        own, self._own, self._path = self._own, None, ""
        if own is not None:
            own.close()
