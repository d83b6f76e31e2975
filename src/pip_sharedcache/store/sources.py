"""Entries whose files are read: to be placed, compiled or copied."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs.dirfd import PROCESS_ERRORS, Directory
from pip_sharedcache.fs.file_data import read_ahead_more
from pip_sharedcache.model import Compiled, Entry, Manifest, StoredFile
from pip_sharedcache.store.entry_checks import CheckedDirectories, check_pack, damaged, opened
from pip_sharedcache.store.packs import PACK, Pack
from pip_sharedcache.store.spools import Spools
from pip_sharedcache.trust import mounts


class Source:
    """An entry held open whose files are read; owns the descriptor ``held``, and that of its pack.

    ``publisher``: the uid that must own the files.
    ``files``: those of the manifest, by path.
    ``packed``: whether the files are in a pack.
    ``copied``: whether no links are made to them: they are in a pack, or belong to one.
    ``directories``: those above the files of a tree.
    ``given_up``: why no further file is read: a file server does not answer; else None.
    """

    def __init__(
        self,
        held: Directory,
        publisher: int,
        files: Iterable[StoredFile] = (),
        *,
        packed: bool = False,
    ) -> None:
        self.held = held
        self.publisher = publisher
        self.files = {file.path: file for file in files}
        self.packed = self.copied = packed
        self.given_up: DamagedEntry | None = None
        self.directories = CheckedDirectories(held, publisher)
        self._pack: Pack | None = None

    @classmethod
    def of(cls, entry: Entry, held: Directory) -> Source:
        """Return the source for ``entry``, which is open as ``held``."""
        manifest = entry.manifest
        return cls(held, entry.publisher, manifest.files, packed=manifest.packed)

    @property
    def costs_requests(self) -> bool:
        """Return whether a file server is asked for each file that is opened."""
        return not self.packed and not mounts.is_local(self.held.where)

    def damage_above(self, file: StoredFile) -> DamagedEntry | None:
        """Return why ``file`` may not be placed, whatever it is itself; or None."""
        if self.given_up is not None or self.packed:
            return self.given_up
        return self.directories.damage_above(f"files/{file.path}")

    def pack(self) -> Pack:
        """Return the pack, opened and checked by the first call. Raises DamagedEntry, OSError."""
        if self._pack is None:
            try:
                pack = Pack(self.held.open_file(PACK))
            except OSError as error:
                if error.errno in PROCESS_ERRORS:
                    raise
                raise DamagedEntry(f"{self.held.path / PACK}: {reason(error)}") from error
            try:
                one = next(iter(self.files.values()), None)  # all files of an entry have one time
                check_pack(self.held, self.publisher, pack.descriptor, one)
            except BaseException:
                pack.close()
                raise
            if mounts.kind_of_device(self.held.device) == "nfs":  # version 4.2 copies by itself
                read_ahead_more(pack.descriptor)
            self._pack = pack
        return self._pack

    def read(self, file: StoredFile) -> bytes:
        """Return the bytes of ``file``, fewer at the end of a damaged pack.

        Raises DamagedEntry; OSError if this process lacks descriptors or memory.
        """
        if (damage := self.damage_above(file)) is not None:
            raise damage
        try:
            if self.packed:
                return self.pack().read(file.offset, file.size)
            with opened(self.held, file) as source, os.fdopen(source, "rb", closefd=False) as data:
                # A manifest can give a size for which there is no memory.
                size = min(file.size, os.fstat(source).st_size)
                return data.read(size + 1)
        except OSError as error:
            if error.errno in PROCESS_ERRORS:
                raise
            raise damaged(self.held, file, reason(error)) from error

    def read_checked(self, file: StoredFile) -> bytes:
        """Return the bytes of ``file``, with the sha256 of the manifest. Raises as ``read`` does.

        Raises DamagedEntry if the bytes differ.
        """
        data = self.read(file)
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise self.damaged(file, "has other bytes than were published")
        return data

    def damaged(self, file: StoredFile, what: str) -> DamagedEntry:
        """Return the error for ``file``; ``what`` follows its path."""
        return damaged(self.held, file, what)

    def spool(self, manifest: Manifest, spools: Spools) -> Compiled:
        """Append the files of ``manifest``, checked, to ``spools``, as if they were compiled.

        Raises DamagedEntry, OSError.
        """
        made = [spools.add(file.path, self.read_checked(file)) for file in manifest.files]
        return Compiled(made, manifest.failed)

    def close_pack(self) -> None:
        """Close the pack if it is open; a later call of ``pack`` opens it again."""
        pack, self._pack = self._pack, None
        if pack is not None:
            pack.close()

    def close(self) -> None:
        """Close the descriptors; further calls do nothing."""
        self.close_pack()
        self.held.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
