"""The files of bytecode that anybody may have published, read so that every byte can be checked.

What lies there may be a symlink, a FIFO, or change while it is read: each directory is opened
without following links, each file must be a regular one on the same file system, and its bytes are
read once, into memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from pip_sharedcache import fs
from pip_sharedcache.errors import DamagedEntry, NotSigned, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.model import Manifest
from pip_sharedcache.signing import BytecodeStatement, SignedFile
from pip_sharedcache.store.layout import BYTECODE, Store
from pip_sharedcache.store.packs import PACK, read_manifest_text

_MOST = 8  # entries that are read for one statement: anybody may add any number
_ROW = 64  # bytes of a row in a manifest that a statement has not: modes, time, offset


class UncheckedFiles:
    """The files of one entry of bytecode, of any owner; owns its descriptors until ``close``."""

    def __init__(self, held: Directory, statement: BytecodeStatement) -> None:
        """Read the entry that is open as ``held``, which this object closes.

        Raises NotSigned, OSError.
        """
        self.path = held.path
        self._held = held
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(held)
        self._open: list[Directory] = []
        self._names: tuple[str, ...] = ()
        self._pack, self._offsets = -1, dict[str, int]()
        try:
            with suppress(FileNotFoundError):
                self._read_pack(statement)
        except BaseException:
            self.close()
            raise

    def read(self, file: SignedFile) -> bytes:
        """Return the bytes at the place of ``file``: at most one more than its size.

        Raises NotSigned if there is none of the kind, OSError.
        """
        if self._pack >= 0:
            if file.path not in self._offsets:
                raise NotSigned(f"{self.path / PACK} lacks {file.path}")
            size = min(file.size, os.fstat(self._pack).st_size)
            return fs.read_at(self._pack, size, self._offsets[file.path])
        *above, name = ("files", *file.path.split("/"))
        try:
            descriptor = self._directory(tuple(above)).open_file(name)
        except OSError as error:
            if error.errno in fs.PROCESS_ERRORS:
                raise
            raise NotSigned(f"{self.path}: {file.path} cannot be read: {reason(error)}") from error
        try:
            size = min(file.size, self._require_regular(descriptor, file.path))
            return fs.read_at(descriptor, size + 1, 0)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the descriptors; further calls do nothing."""
        while self._open:
            self._open.pop().close()
        self._stack.close()

    def __enter__(self) -> UncheckedFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _directory(self, names: tuple[str, ...]) -> Directory:
        """Return the directory at ``names``, one below the other; keep those above it open."""
        same = 0
        while same < min(len(names), len(self._names)) and names[same] == self._names[same]:
            same += 1
        while len(self._open) > same:
            self._open.pop().close()
        self._names = names[:same]
        for name in names[same:]:
            above = self._open[-1] if self._open else self._held
            self._open.append(above.subdirectory(name))
            self._names = (*self._names, name)
        return self._open[-1]

    def _read_pack(self, statement: BytecodeStatement) -> None:
        self._pack = self._held.open_file(PACK)
        self._stack.callback(os.close, self._pack)
        size = self._require_regular(self._pack, PACK)
        try:
            text = read_manifest_text(self._pack, size)
            # A long one would take the time of every user; a sound one is about as long as this.
            if len(text) > len(statement.to_bytes()) + _ROW * len(statement.files) + 4096:
                raise ValueError("its manifest is longer than one of these files")
            manifest = Manifest.from_json(text)
        except (ValueError, MemoryError) as error:
            raise NotSigned(f"{self.path / PACK} is damaged: {error}") from error
        self._offsets = {file.path: file.offset for file in manifest.files}

    def _require_regular(self, descriptor: int, name: str) -> int:
        """Return the size of the open regular file in bytes. Raises NotSigned."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotSigned(f"{self.path / name} is not a regular file")
        if status.st_dev != self._held.device:
            raise NotSigned(f"{self.path / name} is on another file system")
        return status.st_size


def find_unchecked(store: Store, statement: BytecodeStatement) -> Iterator[UncheckedFiles]:
    """Yield the entries of ``store``, of any owner, that may have the files of ``statement``.

    The caller closes them. The contents of the store never cause an error.
    """
    plain = f"{statement.wheel}.{statement.tag}"
    beside = re.compile(re.escape(plain) + r"(\.\d+)?")
    with suppress(OSError), store.opened(BYTECODE, statement.wheel[:2]) as chain:
        # Names of other users last: anybody may add any number.
        known = [plain, *(f"{plain}.{uid}" for uid in (0, store.owner, *sorted(store.trust.uids)))]
        there = set(filter(beside.fullmatch, chain[0].names()))
        names = [*(name for name in dict.fromkeys(known) if name in there)]
        for name in [*names, *sorted(there.difference(names))][:_MOST]:
            with suppress(OSError, NotSigned, DamagedEntry):
                held = chain[0].subdirectory(name)
                yield UncheckedFiles(held, statement)
