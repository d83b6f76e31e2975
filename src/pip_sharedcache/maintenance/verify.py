"""The verification of every byte of an entry against the wheel from which the entry was made.

The name of an entry is the digest of its wheel, so the wheel determines all other files. Bytecode
has no such source: it is checked against the manifest that was written when it was compiled. The
walk through an entry uses descriptors and follows no symlink, because any user can publish entries.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zipfile
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO

from pip_sharedcache import fs, trust, wheel
from pip_sharedcache.errors import DamagedEntry, UnusualWheel, reason
from pip_sharedcache.fs import PROCESS_ERRORS, Directory
from pip_sharedcache.maintenance.pack_checks import pack_fault
from pip_sharedcache.maintenance.verdict import Damage, Verdict
from pip_sharedcache.model import Digest, Manifest, StoredFile
from pip_sharedcache.store.entries import StoredEntry
from pip_sharedcache.store.entry_reading import (
    MANIFEST,
    manifest_name,
    read_manifest,
    wheel_name,
)
from pip_sharedcache.store.forms import DIRECTORY, FILE, PROGRAM
from pip_sharedcache.store.layout import RESOLUTIONS, WHEELS
from pip_sharedcache.store.packs import PACK, Pack
from pip_sharedcache.store.resolutions import read_resolution
from pip_sharedcache.store.unread import is_damage, is_damage_inside
from pip_sharedcache.store.wheel_copies import is_sparse

_FILES = "files"
_UNKNOWN = -1  # a size or a time that is unknown
_MOST_WORKERS = 16  # each holds a descriptor for each directory level of its entry
_MOST = 1000  # damages that are noted of one entry: thousands of files may be missing
_DEEPEST = 50  # levels of directories that are examined
#: The first letter of stat.filemode, in words.
_KINDS = {"l": "a symlink", "d": "a directory", "-": "a file", "p": "a FIFO", "s": "a socket"}
_NO_WHEEL: tuple[type[Exception], ...] = (UnusualWheel, *wheel.BROKEN)


def verify(items: Sequence[StoredEntry]) -> Iterator[Verdict | None]:
    """Check ``items``, several at a time; yield a verdict for each, in order.

    The verdict is None for an entry that vanished or was replaced meanwhile. Raise OSError if this
    process lacks resources (descriptors, memory).
    """
    workers = min(_MOST_WORKERS, fs.cpus())
    waiting: deque[Future[Verdict | None]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(_submitted(pool, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _submitted(pool: ThreadPoolExecutor, item: StoredEntry) -> Future[Verdict | None]:
    """Have ``pool`` check ``item``; check it at once if no thread can be started."""
    try:
        return pool.submit(_verify_one, item)
    except RuntimeError:
        done: Future[Verdict | None] = Future()
        done.set_result(_verify_one(item))
        return done


def _verify_one(item: StoredEntry) -> Verdict | None:
    try:
        return fs.retry_stale(
            lambda: _examined(item, PROCESS_ERRORS | {errno.ESTALE}),
            lambda: _examined(item, PROCESS_ERRORS),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in PROCESS_ERRORS:
            raise
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return Verdict(item, (Damage("", "type", "is not a directory"),))
        if is_damage(error, _status(item)):
            return Verdict(item, (Damage("", "unreadable", f"cannot be read: {reason(error)}"),))
        return Verdict(item, (), unread=(("", reason(error)),))


def _status(item: StoredEntry) -> os.stat_result | None:
    try:
        return item.path.lstat()
    except OSError:
        return None


def _examined(item: StoredEntry, raised: Container[int]) -> Verdict | None:
    """Return the verdict on ``item``; None for an entry that was replaced meanwhile.

    Raise OSError if the entry cannot be opened, and for the errors ``raised`` of its files.
    """
    with (
        Directory.open(item.path.parent) as shard,
        shard.subdirectory(item.path.name) as held,
    ):
        status = held.status()
        examination = _Examination(held, status.st_uid, Digest(item.digest), raised)
        (examination.wheel if item.area == WHEELS else examination.bytecode)()
        if item.area == RESOLUTIONS and not (examination.damage or examination.unread):
            examination.record(item.title)
        if examination.damage:  # an entry that is being deleted must not look damaged
            now = shard.file_status(item.path.name)
            if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                return None
    return Verdict(
        item,
        tuple(examination.damage),
        (status.st_dev, status.st_ino),
        examination.sound_wheel,
        tuple(examination.unread.items()),
    )


@dataclass
class _Examination:
    """The examination of one entry.

    ``held``: the open directory of the entry.
    ``owner``: the uid that must own all files.
    ``digest``: the digest of the wheel.
    ``raised``: the errors that end the examination.
    ``damage``: the faults that were found so far.
    ``unread``: the paths that could not be read, with the reason.
    ``sound_wheel``: the name of the entry's own wheel if it is sound; else "".
    ``expected``, ``directories``: the files and directories that the entry must have, by path.
    ``seen``: the paths that the entry has.
    ``packed``: whether the files are in a pack, readable or not.
    ``pack``: the manifest of a packed entry; None of another one, or if it cannot be read.
    """

    held: Directory
    owner: int
    digest: Digest
    raised: Container[int]
    damage: list[Damage] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    sound_wheel: str = ""
    expected: dict[str, StoredFile] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    packed: bool = False
    pack: Manifest | None = None

    def wheel(self) -> None:
        """Check the entry as an unpacked wheel."""
        manifest = self._manifest()
        name = manifest.filename if manifest else wheel_name(self.held)
        time = _time_of(manifest) if manifest else _UNKNOWN
        told = self._told_by_wheel(name, time) if name else None
        if not name:
            self._note("", "missing", "lacks its wheel, and a manifest that names it")
        if manifest is not None:
            self._compare(manifest, told)
        elif told is None:
            return  # neither the manifest nor the wheel lists the files
        files = manifest.files if told is None and manifest is not None else told
        size = manifest.size if manifest else _UNKNOWN
        self._walk_all(files or (), time, StoredFile(name, size, "", False, time))

    def bytecode(self) -> None:
        """Check the entry as bytecode."""
        if manifest := self._manifest():
            self._walk_all(manifest.files, _time_of(manifest))

    def record(self, kind: str) -> None:
        """Check the content of the entry as a resolution, or as a judged page."""
        try:
            read_resolution(self.held, self.digest, kind)
        except DamagedEntry as error:
            path = PACK if self.pack is not None else f"{_FILES}/{kind}.json"
            self._note(path, "content", f"is no {kind}: {error}")

    # -- the expected files

    def _manifest(self) -> Manifest | None:
        names = self.held.names()
        self.packed = PACK in names and MANIFEST not in names
        name = PACK if self.packed else MANIFEST
        if not self._is_file(name):
            return None
        try:
            manifest, _ = read_manifest(self.held)
        except DamagedEntry as error:
            self._note(name, "content", f"is not a manifest: {error.__cause__}")
        except OSError as error:
            self._unreadable(name, error, self.held.file_status(name))
        else:
            if manifest.digest != self.digest:
                self._note(name, "content", "has the digest of another wheel")
            elif "/" in manifest.filename or manifest.filename in ("", ".", ".."):
                self._note(name, "content", "names no file as its wheel")
            else:
                self.pack = manifest if manifest.packed else None
                return manifest
        return None

    def _told_by_wheel(self, name: str, time: int) -> list[StoredFile] | None:
        """Return the files that the entry's own wheel lists, each with this ``time`` (seconds).

        If the wheel is missing, cannot be read or has another digest, note the damage and return
        None.
        """
        if not self._is_file(name):
            return None
        try:
            with _opened(self.held, name) as file:
                hollow = is_sparse(os.fstat(file.fileno()))
                if hollow or _digest(file) != self.digest:
                    self._note(name, "content", "does not match its digest")
                    return None
                with zipfile.ZipFile(file) as archive:
                    members = wheel.members(archive, name)
                    told = [_told_by(archive, member, time) for member in members]
        except _NO_WHEEL as error:
            self._note(name, "content", f"is not a wheel that can be shared: {error}")
            return None
        except OSError as error:
            self._unreadable(name, error, self.held.file_status(name))
            return None
        self.sound_wheel = name
        return told

    def _compare(self, manifest: Manifest, told: list[StoredFile] | None) -> None:
        """Note the files for which the manifest differs from the wheel."""
        if told is None:
            time = _time_of(manifest)
            wrong = {file.path for file in manifest.files if file.mtime != time}
        else:
            listed = {replace(file, offset=-1) for file in manifest.files}
            wrong = {file.path for file in listed.symmetric_difference(told)}
        if wrong:
            others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            what = f"is wrong about the file {min(wrong)}{others}"
            self._note(manifest_name(manifest), "content", what)
        elif len({file.path for file in manifest.files}) != len(manifest.files):
            self._note(manifest_name(manifest), "content", "names a file twice")

    def _is_file(self, name: str) -> bool:
        """Return whether ``name`` is a file of the entry; note the damage if not."""
        try:
            status = self.held.file_status(name)
        except FileNotFoundError:
            self._note(name, "missing", "is missing")
            return False
        if not stat.S_ISREG(status.st_mode):
            self._note(name, "type", f"is {_kind(status)}, not a file")
            return False
        return True

    # -- the files in the entry

    def _walk_all(self, files: Iterable[StoredFile], time: int, *beside: StoredFile) -> None:
        """Compare all files in the entry with ``files``, the manifest and ``beside``.

        ``files``: the expected files. ``time``: the expected time of the manifest, in seconds.
        ``beside``: expected files outside the directory of ``files``.
        """
        self.expected = {file.path: file for file in beside}
        if not self.packed:
            self.expected.update((f"{_FILES}/{file.path}", file) for file in files)
        name = PACK if self.packed else MANIFEST
        self.expected[name] = StoredFile(name, _UNKNOWN, "", False, time)
        self.directories = {
            path[: slash.start()]
            for path in ("" if self.packed else f"{_FILES}/", *self.expected)
            for slash in re.finditer("/", path)
        }
        self._walk(self.held, "")
        said = {damage.path for damage in self.damage}
        for path in sorted(self.expected.keys() - self.seen - said):
            if self.unread.keys().isdisjoint(_with_parents(path)):
                self._note(path, "missing", "is missing")

    def _walk(self, directory: Directory, above: str) -> None:
        self._check_rights(above.rstrip("/"), directory.status(), DIRECTORY)
        for name in sorted(directory.names()):
            path = above + name
            self.seen.add(path)
            status = directory.file_status(name)
            if path in self.directories:
                if not stat.S_ISDIR(status.st_mode):
                    self._note(path, "type", f"is {_kind(status)}, not a directory")
                elif path.count("/") >= _DEEPEST:
                    self._note(path, "unreadable", "is too deep to be examined")
                else:
                    try:
                        with directory.subdirectory(name) as below:
                            self._walk(below, f"{path}/")
                    except OSError as error:
                        self._unreadable(path, error, status)
            elif path not in self.expected:
                self._note(path, "extra", "is not in the wheel")
            elif not stat.S_ISREG(status.st_mode):
                self._note(path, "type", f"is {_kind(status)}, not a file")
            else:
                self._check_file(directory, name, path, status)

    def _check_file(
        self, directory: Directory, name: str, path: str, before: os.stat_result
    ) -> None:
        wanted = self.expected[path]
        try:
            with _opened(directory, name) as file:
                status = os.fstat(file.fileno())
                self._check_rights(path, status, PROGRAM if wanted.executable else FILE)
                if wanted.mtime != _UNKNOWN and not fs.has_time(status, wanted.mtime):
                    self._note(path, "time", "was changed after it was published")
                if wanted.size not in (_UNKNOWN, status.st_size):
                    self._note(path, "size", f"has {status.st_size} bytes, not {wanted.size}")
                elif wanted.sha256 and _digest(file) != wanted.sha256:
                    self._note(path, "content", "has other bytes than were published")
                elif path == PACK and self.pack is not None:
                    what = pack_fault(Pack(file.fileno()), self.pack, status.st_size)
                    if what:
                        self._note(path, "content", what)
        except OSError as error:
            self._unreadable(path, error, before)

    def _check_rights(self, path: str, status: os.stat_result, mode: int) -> None:
        if not trust.OWNERS_MEAN_SOMETHING:
            return
        if status.st_uid != self.owner:
            self._note(path, "owner", f"belongs to {trust.user_name(status.st_uid)}")
        if stat.S_IMODE(status.st_mode) != mode:
            self._note(path, "mode", f"has mode {stat.S_IMODE(status.st_mode):04o}, not {mode:04o}")

    def _unreadable(self, path: str, error: OSError, status: os.stat_result | None) -> None:
        if error.errno in self.raised:
            raise error
        if is_damage_inside(error, status):
            self._note(path, "unreadable", f"cannot be read: {reason(error)}")
        else:
            self.unread.setdefault(path, reason(error))

    def _note(self, path: str, kind: str, what: str) -> None:
        damage = Damage(path, kind, what)
        if len(self.damage) < _MOST and damage not in self.damage:
            self.damage.append(damage)


@contextmanager
def _opened(directory: Directory, name: str) -> Iterator[IO[bytes]]:
    descriptor = directory.open_file(name)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # replaced meanwhile
            raise OSError(errno.EINVAL, "Not a regular file", name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _digest(file: IO[bytes]) -> Digest:
    return wheel.digest_of_blocks(wheel.blocks(file))[0]


def _told_by(archive: zipfile.ZipFile, member: wheel.Member, time: int) -> StoredFile:
    digest, size = wheel.digest_of_blocks(wheel.content(archive, member))
    return StoredFile(member.path, size, digest, member.executable, time)


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _time_of(manifest: Manifest) -> int:
    """Return the time (seconds) of all files of an entry; _UNKNOWN if no file is listed."""
    return manifest.files[0].mtime if manifest.files else _UNKNOWN


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.filemode(status.st_mode)[0], "a device")
