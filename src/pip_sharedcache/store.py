"""The store on disk: where an entry lies, looking one up, publishing one.

Reading takes no lock and writes nothing. Publishing stages in the entry's own shard and ends with
one rename, after the bytes are durable; losing that race is not an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
import stat
import time
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pip_sharedcache import linker, trust, wheel
from pip_sharedcache.errors import (
    DamagedEntry,
    NotPublished,
    StoreUnusable,
    UnusualWheel,
    UsageError,
    reason,
)
from pip_sharedcache.linker import Directory
from pip_sharedcache.model import FORMAT, Digest, Entry, Manifest, StoredFile
from pip_sharedcache.trust import Trust

CONFIGURATION = "store.json"
MANIFEST = "entry.json"
WHEELS = "wheels"
SHARDS = tuple(f"{number:02x}" for number in range(256))

_TAG_NAME = "CACHEDIR.TAG"
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# https://bford.info/cachedir/\n"

_FILE, _PROGRAM, _DIRECTORY = 0o444, 0o555, 0o555
_PRIVATE_SHARD, _SHARED_SHARD = 0o755, 0o3775
_STALE = 6 * 3600  # seconds after which a staging directory of ours on another host is left over


@dataclass(frozen=True)
class Found:
    """What looking up a digest gave: a usable ``entry``, or one of an ``untrusted`` publisher
    (whose wheel may be copied and checked), and why others were passed over (``objections``)."""

    entry: Entry | None = None
    untrusted: Entry | None = None
    objections: tuple[str, ...] = ()


class Store:
    """One store, opened for reading; it may turn out not to be writable.

    Holds no descriptor between calls.
    """

    def __init__(self, path: Path, owner: int, group: str, trusted: tuple[str, ...]) -> None:
        self.path = path
        self.owner = owner
        self.group = group
        self.trusted = trusted
        self.trust = Trust.in_store(owner, trusted)

    # -- opening and making

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Store:
        """Open the store at ``path``; with ``create`` make a private one where nothing is.

        Raises StoreUnusable, in one line that names the path.
        """
        try:
            if create and not os.path.lexists(path):
                _refuse_foreign_home(path)
                path.mkdir(parents=True, exist_ok=True, mode=0o755)
            with Directory.open(path) as directory:
                return cls._read(path, directory)
        except FileNotFoundError as error:
            raise StoreUnusable(
                f"{path} does not exist", f"pip-sharedcache store init {path} makes it"
            ) from error
        except NotADirectoryError as error:
            raise StoreUnusable(f"{path} is not a directory") from error
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be used: {reason(error)}") from error

    @classmethod
    def _read(cls, path: Path, directory: Directory) -> Store:
        status = directory.status()
        directory.names()  # a store that may be entered but not read is told at once
        owner, group = status.st_uid, ""
        trusted: tuple[str, ...] = ()
        try:
            believed = directory.file_status(CONFIGURATION)
            text = directory.read(CONFIGURATION)
        except FileNotFoundError:
            return cls(path, owner, group, trusted)  # made by hand: nobody is named
        if believed.st_uid not in (0, owner) or trust.writable_by_others(believed):
            return cls(path, owner, group, trusted)
        try:
            data: Any = json.loads(text)
            version, group = data["format"], data.get("group") or ""
            trusted = tuple(str(name) for name in data.get("trusted", ()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreUnusable(f"{path / CONFIGURATION} is damaged: {error}") from error
        if version != FORMAT:
            raise StoreUnusable(
                f"{path} is a store of format {version}, this is for format {FORMAT}",
                "a newer pip-sharedcache reads it",
            )
        return cls(path, owner, str(group), trusted)

    @classmethod
    def make(cls, path: Path, group: str = "") -> Store:
        """Make a store at ``path``, shared by ``group`` if one is given; finish one half made.

        Raises UsageError where the path or the group will not do, OSError where the system
        refuses.
        """
        gid = None
        if group:
            gid = trust.group_id(group)
            if gid is None:
                raise UsageError(f"There is no group {group!r} on this machine")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a directory")
        if path.is_dir() and not _may_become_store(path):
            raise UsageError(f"{path} holds other files already", "name an empty or new directory")
        path.mkdir(parents=True, exist_ok=True)
        top, shard = (0o2755, _SHARED_SHARD) if group else (0o755, _PRIVATE_SHARD)
        linker.drop_access_lists(path)
        linker.set_directory(path, top, gid)
        _make_shards(path / WHEELS, top, shard, gid)
        trusted = [f"@{group}"] if group else []
        configuration = {"format": FORMAT, "group": group or None, "trusted": trusted}
        _write_new(path / _TAG_NAME, _TAG)
        _write_new(path / CONFIGURATION, json.dumps(configuration, indent=2) + "\n")
        return cls.open(path)

    # -- looking up

    def find(self, digest: Digest, filename: str) -> Found:
        """Look for the wheel ``filename`` with this ``digest``. Never raises for what lies there.

        A wheel of the same bytes under another file name is not taken: pip reads tags and build
        number off the name.
        """
        objections: list[str] = []
        untrusted: Entry | None = None
        with ExitStack() as stack:
            try:
                top = stack.enter_context(Directory.open(self.path))
                shards = stack.enter_context(top.subdirectory(WHEELS))
                shard = stack.enter_context(shards.subdirectory(digest[:2]))
                chain = (shard.status(), shards.status(), top.status())
            except OSError:
                return Found()
            for name in self._candidates(digest, shard):
                try:
                    with shard.subdirectory(name) as held:
                        status = held.status()
                        objection = self.trust.objection(status, chain)
                        if not objection and status.st_uid not in self.trust.uids:
                            objection = trust.access_list_objection(shard.descriptor)
                        entry = _read_entry(held, status, digest)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    objections.append(f"{shard.path / name} cannot be read: {reason(error)}")
                    continue
                except DamagedEntry as error:
                    objections.append(f"{error} (published by {_publisher(shard, name)})")
                    continue
                if entry.manifest.filename != filename:
                    continue
                if not objection:
                    return Found(entry, None, tuple(objections))
                objections.append(f"{entry.path} {objection}")
                untrusted = untrusted or entry
        return Found(None, untrusted, tuple(objections))

    def hold(self, entry: Entry) -> Directory:
        """Open an entry that ``find`` or ``publish`` gave; the caller closes it.

        Raises DamagedEntry if it is gone or another one has taken its place.
        """
        try:
            held = Directory.open(entry.path)
        except OSError as error:
            raise DamagedEntry(f"{entry.path} cannot be opened: {reason(error)}") from error
        status = held.status()
        if (status.st_dev, status.st_ino) != entry.identity:
            held.close()
            raise DamagedEntry(f"{entry.path} was replaced while it was in use")
        return held

    def _candidates(self, digest: Digest, shard: Directory) -> list[str]:
        """Names under which the entry may lie: the plain one, then those beside it.

        Others than those of known uids are looked for only where the plain one exists and the
        group is trusted: a shard is not listed for a miss.
        """
        known = [f"{digest}.{uid}" for uid in sorted({trust.user_id(), 0, self.owner})]
        if not self.trust.gids:
            return [digest, *known]
        try:
            shard.file_status(digest)
        except OSError:
            return [digest, *known]
        others = [name for name in shard.names() if name.startswith(f"{digest}.")]
        return [digest, *known, *sorted(set(others) - set(known))]

    # -- publishing

    def publish(self, path: Path, filename: str, digest: Digest) -> Entry:
        """Add the wheel at ``path``, whose sha256 is ``digest``, and return its entry.

        Somebody else's entry that appeared meanwhile is as good. Raises NotPublished (the store
        cannot take it) or UnusualWheel.
        """
        try:
            shard = self._shard(digest)
            _sweep(shard)
            staging = shard / f".new-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
            linker.make_directory(staging, 0o700)
        except OSError as error:
            raise NotPublished(f"{self.path} cannot be written: {reason(error)}") from error
        try:
            try:
                manifest = _unpack(path, filename, digest, staging)
                name = self._reveal(staging, manifest)
            except OSError as error:
                raise NotPublished(
                    f"{filename} could not be added to {self.path}: {reason(error)}"
                ) from error
        finally:
            if os.path.lexists(staging):
                linker.remove_tree(staging)
        if name is not None:
            return _entry_of(shard / name, manifest)
        found = self.find(digest, filename)
        if found.entry is None:
            raise NotPublished(f"{filename} could not be added to {self.path}: its place is taken")
        return found.entry

    def may_publish(self) -> bool:
        """Whether this process may write where entries go, as far as the system tells."""
        shard = self.path / WHEELS / SHARDS[0]
        above = next((d for d in (shard, shard.parent, self.path) if d.exists()), self.path)
        return os.access(above, os.W_OK | os.X_OK)

    def _shard(self, digest: Digest) -> Path:
        """The shard for ``digest``, made if missing with the modes that the store's own directory
        asks for (a store made by hand has no shards yet). Raises OSError."""
        shards = self.path / WHEELS
        shard = shards / digest[:2]
        for missing in (shards, shard):
            if not missing.is_dir():
                top = stat.S_IMODE(os.stat(self.path).st_mode)
                shared = stat.S_ISVTX if top & 0o022 else 0
                try:
                    linker.make_directory(missing, (top | shared) & 0o3777)
                except FileExistsError:
                    continue  # a neighbour was faster
        return shard

    def _reveal(self, staging: Path, manifest: Manifest) -> str | None:
        """Rename ``staging`` to the entry's name; None where a usable entry is there already."""
        mine = f"{manifest.digest}.{trust.user_id()}"
        for name in (manifest.digest, mine):
            target = staging.parent / name
            # rename(2) would replace an empty directory, so it must not be tried on any.
            if not os.path.lexists(target):
                try:
                    os.rename(staging, target)
                    return name
                except OSError:
                    # ENOTEMPTY or EEXIST; EPERM across owners; EACCES and ENOENT on some network
                    # file systems: somebody was faster, unless there is nothing at all.
                    if not os.path.lexists(target):
                        raise
            if self.find(manifest.digest, manifest.filename).entry is not None:
                return None
        return None


def survey(store: Store) -> tuple[int, int]:
    """How many entries are visible in ``store``, and the bytes of their wheels together."""
    entries = size = 0
    for shard in SHARDS:
        try:
            names = os.listdir(store.path / WHEELS / shard)
        except OSError:
            continue
        for name in names:
            if name.startswith("."):
                continue
            entries += 1
            for file in (store.path / WHEELS / shard / name).glob("*.whl"):
                size += file.stat().st_size
    return entries, size


_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]


def _read_entry(held: Directory, status: os.stat_result, digest: Digest) -> Entry:
    """Read and check an entry's manifest and its wheel's size. Raises DamagedEntry, OSError."""
    try:
        record = held.file_status(MANIFEST)
        manifest = Manifest.from_json(held.read(MANIFEST))
        status_of_wheel = held.file_status(manifest.filename)
    except FileNotFoundError as error:
        raise DamagedEntry(f"{held.path} lacks its manifest or its wheel") from error
    except ValueError as error:
        raise DamagedEntry(f"{held.path / MANIFEST} is damaged: {error}") from error
    if manifest.digest != digest or "/" in manifest.filename:
        raise DamagedEntry(f"{held.path / MANIFEST} speaks of another wheel")
    for name, one in ((MANIFEST, record), (manifest.filename, status_of_wheel)):
        if trust.OWNERS_MEAN_SOMETHING and one.st_uid != status.st_uid:
            raise DamagedEntry(f"{held.path / name} belongs to {trust.user_name(one.st_uid)}")
        if trust.writable_by_others(one):
            raise DamagedEntry(f"{held.path / name} may be written by others than its owner")
    if not stat.S_ISREG(status_of_wheel.st_mode) or status_of_wheel.st_size != manifest.size:
        raise DamagedEntry(f"{held.path / manifest.filename} is not the wheel that was published")
    return Entry(held.path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _entry_of(path: Path, manifest: Manifest) -> Entry:
    status = os.stat(path)
    return Entry(path, status.st_uid, (status.st_dev, status.st_ino), manifest)


def _publisher(shard: Directory, name: str) -> str:
    try:
        return trust.user_name(shard.file_status(name).st_uid)
    except OSError:
        return "somebody"


def _unpack(path: Path, filename: str, digest: Digest, staging: Path) -> Manifest:
    """Fill ``staging`` with the wheel and its files, final modes and all, and make it durable.

    Raises UnusualWheel, NotPublished if the wheel's bytes are not those of ``digest``, OSError.
    """
    now = int(time.time())
    copy = staging / filename
    hasher, size = hashlib.sha256(), 0
    with path.open("rb") as source, linker.create_file(copy, _FILE, now) as target:
        for block in wheel.blocks(source):
            hasher.update(block)
            size += len(block)
            linker.write_all(target, block)
    if hasher.hexdigest() != digest:
        raise NotPublished(f"{path} changed while it was read")
    files: list[StoredFile] = []
    directories = {staging, staging / "files"}
    linker.make_directory(staging / "files", 0o700)
    try:
        with zipfile.ZipFile(copy) as archive:
            for member in wheel.members(archive, filename):
                target_path = staging / "files" / member.path
                _make_directories(target_path.parent, directories)
                files.append(_extract(archive, member, target_path, now))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise UnusualWheel(f"{filename}: {error}") from error
    manifest = Manifest(filename, digest, size, tuple(files))
    with linker.create_file(staging / MANIFEST, _FILE, now) as target:
        linker.write_all(target, manifest.to_json().encode("utf-8"))
    unpacked = [staging / "files" / file.path for file in files]
    linker.synchronise(staging, [copy, staging / MANIFEST, *unpacked])
    for directory in sorted(directories, key=lambda item: len(item.parts), reverse=True):
        linker.set_directory(directory, _DIRECTORY)
    return manifest


def _make_directories(path: Path, known: set[Path]) -> None:
    if path not in known:
        _make_directories(path.parent, known)
        linker.make_directory(path, 0o700)
        known.add(path)


def _extract(
    archive: zipfile.ZipFile, member: wheel.Member, target_path: Path, mtime: int
) -> StoredFile:
    hasher, size = hashlib.sha256(), 0
    mode = _PROGRAM if member.executable else _FILE
    with (
        archive.open(member.info) as source,
        linker.create_file(target_path, mode, mtime) as target,
    ):
        for block in wheel.blocks(source):
            hasher.update(block)
            size += len(block)
            linker.write_all(target, block)
    return StoredFile(member.path, size, hasher.hexdigest(), member.executable, mtime)


def _sweep(shard: Path) -> None:
    """Remove staging directories that killed publishers of ours left in ``shard``."""
    for left in shard.glob(".new-*"):
        try:
            status = left.lstat()
            if status.st_uid != trust.user_id() or not stat.S_ISDIR(status.st_mode):
                continue
            _, host, pid, _ = left.name.split("-", 3)
            old = time.time() - status.st_mtime > _STALE
            if old if host != _HOST else not linker.alive(int(pid)):
                linker.remove_tree(left)
        except (OSError, ValueError):
            continue  # a neighbour removed it, or it is not one of ours


def _refuse_foreign_home(path: Path) -> None:
    """Do not make a private store in somebody else's home (root under sudo with the caller's
    HOME would leave directories there that the caller cannot write). Raises StoreUnusable."""
    above = path
    while not above.exists() and above != above.parent:
        above = above.parent
    owner = above.stat().st_uid
    if trust.OWNERS_MEAN_SOMETHING and owner != trust.user_id():
        raise StoreUnusable(
            f"{path} is not made, since {above} belongs to {trust.user_name(owner)}",
            "name a store with PIP_SHAREDCACHE_DIR",
        )


def _may_become_store(path: Path) -> bool:
    ours = {_TAG_NAME, CONFIGURATION, WHEELS, "lost+found"}
    return set(os.listdir(path)) <= ours


def _make_shards(shards: Path, top: int, mode: int, gid: int | None) -> None:
    for directory, wanted in [(shards, top), *((shards / name, mode) for name in SHARDS)]:
        try:
            linker.make_directory(directory, wanted, gid)
        except FileExistsError:
            linker.set_directory(directory, wanted, gid)
        linker.drop_access_lists(directory)
        linker.set_directory(directory, wanted, gid)


def _write_new(path: Path, text: str) -> None:
    try:
        with linker.create_file(path, 0o644) as descriptor:
            linker.write_all(descriptor, text.encode("utf-8"))
    except FileExistsError:
        return
