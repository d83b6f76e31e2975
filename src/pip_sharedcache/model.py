"""The values that the other modules exchange. Nothing here touches a disk."""

from __future__ import annotations

import enum
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NewType

#: sha256 of a whole wheel: 64 lower-case hexadecimal digits.
Digest = NewType("Digest", str)

#: Version of the layout on disk, in store.json and in every entry.json.
FORMAT = 1

#: Bytes of an entry.json, as it is written and read: those of more than 100,000 files. Four times
#: as many, of brackets only, took a minute and 1.7 GB to be read.
MOST_MANIFEST = 1 << 24
#: What a file takes in it beside its path, at most.
_ROW = 128

_INFORMATION = ".dist-info"

#: Device and inode of a directory, by which a later opening knows that it is still the same one.
Identity = tuple[int, int]

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Printable ASCII but for ":" and "\\", in components that are short enough.
_ORDINARY = re.compile(r"[ -.0-9;-\[\]-~]{1,255}(?:/[ -.0-9;-\[\]-~]{1,255})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # by unicodedata.category
_NAME_LIMIT = 255  # bytes in one path component on every common Linux file system
_PATH_LIMIT = 2048  # characters: with where it lies before it, less than Linux takes


def as_digest(text: str) -> Digest | None:
    """``text`` as a digest, or None where it is not a sha256 in hexadecimal."""
    lowered = text.lower()
    return Digest(lowered) if _DIGEST.fullmatch(lowered) else None


def path_problem(path: str) -> str:
    """Why the path of a file in a wheel ("/" separated) is not one that can be stored, placed and
    shown as it is, in words that follow it; "" if it is."""
    if len(path) <= _PATH_LIMIT and "/." not in f"/{path}" and _ORDINARY.fullmatch(path):
        return ""  # nearly all are; a manifest may have ten thousand
    # Control characters, half characters, and what reorders a line: all would reach terminals.
    categories = set() if path.isascii() else {unicodedata.category(one) for one in path}
    if {"\\", ":"} & set(path) or _CONTROL.search(path) or categories & _NEVER_SHOWN:
        return "has a character that no path in a wheel has"
    parts = path.split("/")
    if {"", ".", ".."} & set(parts):
        return "is not a plain relative path"
    if len(path) > _PATH_LIMIT or any(len(part.encode("utf-8")) > _NAME_LIMIT for part in parts):
        return "has a name that is too long"
    return ""


def information_directories(paths: Iterable[str]) -> set[str]:
    """The names at the top of a wheel with these ``paths`` that end in ``.dist-info``, as pip looks
    for them: a sound wheel has one. Those of distributions that it vendors lie deeper."""
    return {top for top in {path.partition("/")[0] for path in paths} if top.endswith(_INFORMATION)}


def manifest_fits(paths: Sequence[str]) -> bool:
    """Whether the entry.json of files of these ``paths``, or of their bytecode, can be read."""
    quotes = sum(path.count('"') for path in paths)  # each with a backslash before it
    lengths = sum(len(path.encode("utf-8", "replace")) + _ROW for path in paths)
    return quotes + lengths < MOST_MANIFEST


def _is_count(number: object) -> bool:
    """Whether ``number`` is a size or a time that a file can have."""
    return isinstance(number, int) and 0 <= number < 1 << 62


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and (not text or as_digest(text) is not None)


class LinkMode(str, enum.Enum):
    """How one file of the store appears in an environment."""

    REFLINK = "reflink"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"


class Policy(str, enum.Enum):
    """What a run does with one of several stores, besides looking there: publish, if it is the
    first that may be written; nothing; publish, and keep what was found farther away, too; keep
    what may not be shared."""

    PUBLISH = "publish"
    READ_ONLY = "read-only"
    BACKFILL = "backfill"
    PRIVATE = "private"

    @property
    def shares(self) -> bool:
        """Whether what may be shared is published there."""
        return self in (Policy.PUBLISH, Policy.BACKFILL)


@dataclass(frozen=True)
class StoredFile:
    """One file of an unpacked wheel.

    ``path`` is the name in the archive ("/" separated), ``size`` in bytes, ``sha256`` in
    hexadecimal, ``mtime`` in whole seconds since the epoch (what a .pyc header can hold).
    """

    path: str
    size: int
    sha256: str
    executable: bool
    mtime: int


@dataclass(frozen=True)
class Manifest:
    """What entry.json says of an entry and its files.

    Of a wheel: its file name, digest and size (bytes). Of bytecode: for which interpreter it is
    (``filename``), of which wheel, and which sources have none here: pip tries them (``failed``).
    """

    filename: str
    digest: Digest
    size: int
    files: tuple[StoredFile, ...]
    failed: tuple[str, ...] = ()

    @property
    def metadata(self) -> StoredFile | None:
        """METADATA of the distribution that the wheel is of; None where the manifest does not list
        exactly one."""
        name = f"{_INFORMATION}/METADATA"
        found = [f for f in self.files if f.path.endswith(name) and f.path.count("/") == 1]
        return found[0] if len(found) == 1 else None

    def to_json(self) -> str:
        """The text of entry.json."""
        rows = [[f.path, f.size, f.sha256, int(f.executable), f.mtime] for f in self.files]
        head = {"format": FORMAT, "filename": self.filename, "sha256": self.digest}
        failed = {"failed": self.failed} if self.failed else {}
        return json.dumps({**head, "size": self.size, "files": rows, **failed}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read entry.json. Raises ValueError where it is not one of this format."""
        try:
            data: Any = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r:.40}, not {FORMAT}")
            digest = as_digest(data["sha256"])
            filename, size = data["filename"], data["size"]
            failed = data.get("failed", [])
            if not isinstance(data["files"], list) or not isinstance(failed, list):
                raise TypeError("files or failed is no list")
            files = tuple(
                StoredFile(path, length, sha256, bool(executable), mtime)
                for path, length, sha256, executable, mtime in data["files"]
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__} {error!s:.100}"
            raise ValueError(f"not an entry.json: {why}") from error
        # Bytecode may be for an interpreter of no name.
        named = filename == "" or (
            isinstance(filename, str) and not path_problem(filename) and "/" not in filename
        )
        if digest is None or not named or not _is_count(size):
            raise ValueError("not an entry.json: sha256, filename or size is of the wrong kind")
        if not all(isinstance(path, str) and not path_problem(path) for path in failed):
            raise ValueError("not an entry.json: failed lists what is no path in a wheel")
        for file in files:
            plain = isinstance(file.path, str) and not path_problem(file.path)
            counted = _is_count(file.size) and _is_count(file.mtime)
            if not plain or not counted or not _is_hash(file.sha256):
                # What is no text may be nested too deeply to be shown.
                row = file.path if isinstance(file.path, str) else type(file.path)
                raise ValueError(f"not an entry.json: the row of {row!r:.300} is malformed")
        return cls(filename, digest, size, files, tuple(failed))


@dataclass(frozen=True)
class Entry:
    """One unpacked wheel, or its bytecode for one interpreter, visible in a store.

    ``publisher`` is the uid that owns it; ``identity`` that of its directory.
    """

    path: Path
    publisher: int
    identity: Identity
    manifest: Manifest

    @property
    def wheel(self) -> Path:
        """The wheel file inside the entry."""
        return self.path / self.manifest.filename

    def metadata_digest(self) -> str:
        """sha256 of the distribution's METADATA, in hexadecimal; "" where it has none."""
        metadata = self.manifest.metadata
        return "" if metadata is None else metadata.sha256


@dataclass(frozen=True)
class Compiled:
    """What compiling the sources of a wheel gave: the paths of the bytecode that was ``made``;
    those of sources that are ``left`` to pip, since they do not compile, or not in every pip; and
    of ``untried`` ones, which this process could not compile for a reason of its own, and why."""

    made: Sequence[str]
    left: Sequence[str] = ()
    untried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where pip took a wheel from: ``url`` without credentials, and why it is kept private ("" if
    it may be shared)."""

    url: str
    private_because: str = ""


@dataclass(frozen=True)
class Installed:
    """A distribution that a run installed: ``title``, the wheel's file name; ``size``, bytes of its
    files; ``how``: "found" in the store, "added" to it, or by "pip" alone, and then ``why``."""

    title: str
    size: int
    how: str
    why: str = ""


@dataclass
class RunReport:
    """What one run did, for the line after "Successfully installed", and for its record.

    ``compiled``: bytes of source that were compiled, in ``compile_seconds``; ``reused``: those
    whose bytecode was there.
    """

    installed: int = 0
    found: int = 0
    published: int = 0
    not_downloaded: int = 0  # bytes
    read_only: bool = False  # something was not added because the store may not be written
    placed: Counter[LinkMode] = field(default_factory=Counter)  # files
    placed_bytes: Counter[LinkMode] = field(default_factory=Counter)
    distributions: list[Installed] = field(default_factory=list)
    compiled: int = 0
    compile_seconds: float = 0.0
    reused: int = 0

    def count(self, mode: LinkMode, size: int) -> None:
        """Note one placed file of ``size`` bytes."""
        self.placed[mode] += 1
        self.placed_bytes[mode] += size

    def add(self, other: RunReport) -> None:
        """Count what ``other`` tells, too."""
        self.installed += other.installed
        self.found += other.found
        self.published += other.published
        self.not_downloaded += other.not_downloaded
        self.read_only |= other.read_only
        self.placed.update(other.placed)
        self.placed_bytes.update(other.placed_bytes)
        self.distributions += other.distributions
        self.compiled += other.compiled
        self.compile_seconds += other.compile_seconds
        self.reused += other.reused

    @property
    def not_copied(self) -> int:
        """Bytes that were placed without being copied."""
        return sum(self.placed_bytes.values()) - self.placed_bytes[LinkMode.COPY]

    def sentence(self, stores: Sequence[Path]) -> str:
        """One line: how many came from the ``stores``, how placed, what was saved."""
        named = ", ".join(map(str, stores))
        parts = [f"{self.found} of {self.installed} distributions from {named}"]
        there = "it" if len(stores) == 1 else "them"
        if self.published:
            parts.append(f"{self.published} added to {there}")
        if self.read_only and self.found + self.published < self.installed:
            parts.append(f"others not added, since you may not write {there}")
        if self.placed:
            ways = [
                f"{number} {_WAYS[mode]}" for mode, number in sorted(self.placed.items()) if number
            ]
            parts.append("files " + ", ".join(ways))
        parts.append(f"{megabytes(self.not_downloaded)} not downloaded")
        parts.append(f"{megabytes(self.not_copied)} not copied")
        return "Shared store: " + "; ".join(parts)


_WAYS: Mapping[LinkMode, str] = {
    LinkMode.REFLINK: "reflinked",
    LinkMode.HARDLINK: "hard-linked",
    LinkMode.SYMLINK: "symlinked",
    LinkMode.COPY: "copied",
}


def megabytes(size: int) -> str:
    """``size`` bytes for people, in the units pip uses (1 MB = 10**6 bytes)."""
    if size >= 10**6:
        return f"{size / 10**6:.1f} MB"
    return f"{size / 1000:.1f} kB" if size >= 1000 else f"{size} bytes"


def total_size(files: Iterable[StoredFile]) -> int:
    """Bytes of all ``files`` together."""
    return sum(file.size for file in files)
