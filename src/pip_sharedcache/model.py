"""The values that the other modules exchange. Nothing here reads or writes files."""

from __future__ import annotations

import enum
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NewType

#: The sha256 of a whole wheel: 64 lower-case hexadecimal digits.
Digest = NewType("Digest", str)

#: The versions of the layout on disk: of store.json, and of every manifest. An entry of format 1
#: has a tree of files; one of format 2 is packed, and so may be the entries of a store of format 2.
FORMAT, PACKED_FORMAT = 1, 2

#: The limit in bytes of an entry.json, written or read: enough for more than 100,000 files. Reading
#: four times as many bytes, brackets only, took a minute and 1.7 GB of memory.
MOST_MANIFEST = 1 << 24
#: The most bytes that a file takes in an entry.json, without its path.
_ROW = 128

_INFORMATION = ".dist-info"

#: Device and inode of a directory: they show whether a directory opened later is the same one.
Identity = tuple[int, int]

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Printable ASCII without ":" and "\\", in components of at most 255 characters.
_ORDINARY = re.compile(r"[ -.0-9;-\[\]-~]{1,255}(?:/[ -.0-9;-\[\]-~]{1,255})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # by unicodedata.category
_NAME_LIMIT = 255  # bytes in one path component on every common Linux file system
_PATH_LIMIT = 2048  # characters: with the directories above, less than the limit of Linux


def as_digest(text: str) -> Digest | None:
    """Return ``text`` as a digest; None where it is not a sha256 in hexadecimal."""
    lowered = text.lower()
    return Digest(lowered) if _DIGEST.fullmatch(lowered) else None


def identity_of(status: os.stat_result) -> Identity:
    """Return the device and inode of ``status``."""
    return status.st_dev, status.st_ino


def path_problem(path: str) -> str:
    """Return why ``path`` in a wheel cannot be stored, placed and shown unchanged; "" if it can.

    ``path``: "/" separated. The reason is a text that follows the path in a message.
    """
    if len(path) <= _PATH_LIMIT and "/." not in f"/{path}" and _ORDINARY.fullmatch(path):
        return ""  # fast, for nearly all paths: a manifest can have ten thousand
    # Control characters, surrogates and characters that reorder a line would reach terminals.
    categories = set() if path.isascii() else {unicodedata.category(one) for one in path}
    if {"\\", ":"} & set(path) or _CONTROL.search(path) or categories & _NEVER_SHOWN:
        return "has a character that no path in a wheel has"
    parts = path.split("/")
    if {"", ".", ".."} & set(parts):
        return "is not a plain relative path"
    if len(path) > _PATH_LIMIT or any(len(part.encode("utf-8")) > _NAME_LIMIT for part in parts):
        return "has a name that is too long"
    return ""


def is_nameable(text: str) -> bool:
    """Return whether a system call takes ``text`` in a path: it has no NUL, and can be encoded.

    JSON holds any text. With another one, system calls raise ValueError, not OSError.
    """
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def information_directories(paths: Iterable[str]) -> set[str]:
    """Return the top names in ``paths`` of a wheel that end in ``.dist-info``, as pip finds them.

    A sound wheel has one. Those of vendored distributions are in directories below.
    """
    return {top for top in {path.partition("/")[0] for path in paths} if top.endswith(_INFORMATION)}


def manifest_fits(paths: Sequence[str]) -> bool:
    """Return whether an entry.json with ``paths``, or with their bytecode, is within its limit."""
    quotes = sum(path.count('"') for path in paths)  # JSON writes a backslash before each
    lengths = sum(len(path.encode("utf-8", "replace")) + _ROW for path in paths)
    return quotes + lengths < MOST_MANIFEST


def _is_count(number: object) -> bool:
    """Return whether ``number`` is a size or a time that a file can have."""
    return isinstance(number, int) and 0 <= number < 1 << 62


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and (not text or as_digest(text) is not None)


class LinkMode(str, enum.Enum):
    """The method that places one file of the store in an environment."""

    REFLINK = "reflink"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"


class Policy(str, enum.Enum):
    """The use that a run makes of one of several stores, besides the search in it.

    ``PUBLISH``: publish wheels, if it is the first store that may be written.
    ``READ_ONLY``: none.
    ``BACKFILL``: publish, and keep copies of entries from farther stores, too.
    ``PRIVATE``: keep wheels that must not be shared.
    """

    PUBLISH = "publish"
    READ_ONLY = "read-only"
    BACKFILL = "backfill"
    PRIVATE = "private"

    @property
    def shares(self) -> bool:
        """Return whether a run publishes wheels there that it may share."""
        return self in (Policy.PUBLISH, Policy.BACKFILL)


@dataclass(frozen=True)
class StoredFile:
    """One file of an unpacked wheel.

    ``path``: the name in the archive, "/" separated.
    ``size``: in bytes.
    ``sha256``: in hexadecimal.
    ``executable``: whether pip makes the file executable.
    ``mtime``: in whole seconds since the epoch, as a .pyc header holds them.
    ``offset``: where the file begins in the pack, in bytes; -1 in a tree.
    """

    path: str
    size: int
    sha256: str
    executable: bool
    mtime: int
    offset: int = -1


@dataclass(frozen=True)
class Manifest:
    """The content of an entry's manifest: the entry and its files.

    ``filename``: the file name of the wheel; for bytecode, the interpreter.
    ``digest``: the digest of the wheel, also for bytecode; for a build record, its key.
    ``size``: bytes of the wheel file; 0 for bytecode and for a build record.
    ``files``: the files of the entry.
    ``failed``: for bytecode, the sources without bytecode here, which pip tries to compile.
    ``packed``: whether one file has all files of the entry, the pack; else they are a tree.
    ``public``: whether its publisher saw that it may be pushed to remote stores (Origin.is_public).
    """

    filename: str
    digest: Digest
    size: int
    files: tuple[StoredFile, ...]
    failed: tuple[str, ...] = ()
    packed: bool = False
    public: bool = False

    @property
    def metadata(self) -> StoredFile | None:
        """Return the METADATA of the distribution; None unless ``files`` list exactly one."""
        name = f"{_INFORMATION}/METADATA"
        found = [f for f in self.files if f.path.endswith(name) and f.path.count("/") == 1]
        return found[0] if len(found) == 1 else None

    def to_json(self) -> str:
        """Return the text of the manifest."""
        rows = [[f.path, f.size, f.sha256, int(f.executable), f.mtime] for f in self.files]
        if self.packed:
            rows = [[*row, file.offset] for row, file in zip(rows, self.files)]
        version = PACKED_FORMAT if self.packed else FORMAT
        head = {"format": version, "filename": self.filename, "sha256": self.digest}
        more: dict[str, Any] = {"failed": self.failed} if self.failed else {}
        more |= {"public": True} if self.public else {}
        return json.dumps({**head, "size": self.size, "files": rows, **more}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Return the manifest in ``text``. Raises ValueError where it is none of this format."""
        try:
            data: Any = json.loads(text)
            if data["format"] not in (FORMAT, PACKED_FORMAT):
                raise ValueError(f"format {data['format']!r:.40}, not {FORMAT}")
            packed = data["format"] == PACKED_FORMAT
            digest = as_digest(data["sha256"])
            filename, size = data["filename"], data["size"]
            failed, public = data.get("failed", []), data.get("public") is True
            if not isinstance(data["files"], list) or not isinstance(failed, list):
                raise TypeError("files or failed is no list")
            files = tuple(
                StoredFile(path, length, sha256, bool(executable), mtime, *offset)
                for path, length, sha256, executable, mtime, *offset in data["files"]
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__} {error!s:.100}"
            raise ValueError(f"not an entry.json: {why}") from error
        # The filename of bytecode is "" for an interpreter without a name.
        named = filename == "" or (
            isinstance(filename, str) and not path_problem(filename) and "/" not in filename
        )
        if digest is None or not named or not _is_count(size):
            raise ValueError("not an entry.json: sha256, filename or size is of the wrong kind")
        if not all(isinstance(path, str) and not path_problem(path) for path in failed):
            raise ValueError("not an entry.json: failed lists a text that is no path in a wheel")
        for file in files:
            plain = isinstance(file.path, str) and not path_problem(file.path)
            counted = _is_count(file.size) and _is_count(file.mtime)
            placed = _is_count(file.offset) if packed else file.offset == -1
            if not (plain and counted and placed and _is_hash(file.sha256)):
                # A path that is no text can be nested too deeply for repr().
                row = file.path if isinstance(file.path, str) else type(file.path)
                raise ValueError(f"not an entry.json: the row of {row!r:.300} is malformed")
        return cls(filename, digest, size, files, tuple(failed), packed, public)


@dataclass(frozen=True)
class Entry:
    """One unpacked wheel, or its bytecode for one interpreter, visible in a store.

    ``path``: the directory of the entry.
    ``publisher``: the uid that owns the directory.
    ``identity``: device and inode of the directory.
    ``manifest``: the content of its entry.json.
    """

    path: Path
    publisher: int
    identity: Identity
    manifest: Manifest

    @classmethod
    def without_files(
        cls, path: Path, publisher: int, identity: Identity, filename: str, size: int = 0
    ) -> Entry:
        """Return the entry at ``path`` as far as it is known without its manifest.

        ``filename``: the name of its wheel. ``size``: bytes of that, if known.
        """
        return cls(path, publisher, identity, Manifest(filename, Digest(path.name[:64]), size, ()))

    @property
    def wheel(self) -> Path:
        """Return the path of the wheel file in the entry."""
        return self.path / self.manifest.filename

    def metadata_digest(self) -> str:
        """Return the sha256 of the distribution's METADATA in hexadecimal; "" without one."""
        metadata = self.manifest.metadata
        return "" if metadata is None else metadata.sha256


class Spooled(NamedTuple):
    """A file whose bytes lie in a spool, until an entry gets it.

    ``spool``: the descriptor of the spool, which its maker owns. ``start``: the offset there.
    ``crc``, ``sha256``: of the bytes, the latter in hexadecimal.
    """

    path: str
    spool: int
    start: int
    size: int
    crc: int
    sha256: str


@dataclass(frozen=True)
class Compiled:
    """The result of compiling the sources of a wheel.

    ``made``: the new bytecode.
    ``left``: paths of sources that pip must try: they do not compile, or not in every pip.
    ``untried``: by path, why this process could not compile a source that may be sound.
    """

    made: Sequence[Spooled]
    left: Sequence[str] = ()
    untried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """The place from which pip took a wheel.

    ``url``: without credentials.
    ``private_because``: why the wheel is kept private; "" if it may be shared.
    ``is_public``: whether everybody can get the wheel there, or the setting share names it: only
    then may it be pushed to remote stores.
    """

    url: str
    private_because: str = ""
    is_public: bool = False


@dataclass(frozen=True)
class Installed:
    """A distribution that a run installed.

    ``title``: the file name of the wheel.
    ``size``: bytes of its files.
    ``how``: "found" in the store, "added" to the store, "pip" where pip installed it alone, or
        "pulled" from a remote store where the run could write to no local one.
    ``why``: why pip installed it alone; else "".
    ``pulled``: whether its wheel came from a remote store.
    """

    title: str
    size: int
    how: str
    why: str = ""
    pulled: bool = False


def megabytes(size: int) -> str:
    """Return ``size`` bytes as text, in units that a person reads (1 MB = 10**6 bytes, as in pip).

    Every message and page shows sizes so.
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def total_size(files: Iterable[StoredFile]) -> int:
    """Return the size in bytes of all ``files`` together."""
    return sum(file.size for file in files)
