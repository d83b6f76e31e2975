"""Statements: what a signature is made over.

A statement names everything that the data which it is about depends on: the question that the data
answers (its subject), and the digest of each file. It is JSON in one form only, so that two signers
of the same data sign the same bytes. The source time in a .pyc is that of one entry, a random one;
it counts as zero here (bytes 8 to 12, PEP 552), so that one statement is for all entries of a
wheel.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

from pip_sharedcache.model import Digest, as_digest, path_problem
from pip_sharedcache.untrusted_json import load_json

BYTECODE, BUILD, RESOLUTION = "bytecode", "build", "resolution"
#: The version of the form of statements.
STATEMENT_FORMAT = 1
#: The most bytes of a statement: enough for 60,000 files.
MOST_STATEMENT = 1 << 24

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MAGIC = re.compile(r"[0-9a-f]{8}")
_LARGEST = 1 << 32  # bytes of one .pyc: its header has 32 bits for the size of its source
_SOURCE_TIME = slice(8, 12)
_HEADER = 16  # bytes of a .pyc


class SignedFile(NamedTuple):
    """One file of a statement: its path as in the entry, its size in bytes, its sha256 in hex.

    The sha256 is that of ``without_source_time``.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BytecodeStatement:
    """The bytecode of one wheel for one interpreter.

    ``wheel``: the digest of the wheel.
    ``tag``: the name of the bytecode, such as "cpython-311" or "cpython-311.opt-1".
    ``magic``: the magic number of its files, 8 hexadecimal digits.
    ``files``: the files, sorted by path.
    ``failed``: the paths of the sources without a file, which pip tries to compile; sorted.
    """

    wheel: Digest
    tag: str
    magic: str
    files: tuple[SignedFile, ...]
    failed: tuple[str, ...] = ()

    kind = BYTECODE

    @property
    def key(self) -> str:
        """Return the name that leads to the data."""
        return bytecode_key(self.wheel, self.tag, self.magic)

    def to_bytes(self) -> bytes:
        """Return the statement as it is signed."""
        head = {"wheel": self.wheel, "tag": self.tag, "magic": self.magic}
        return _to_bytes(self.kind, {**head, "files": self.files, "failed": self.failed})


@dataclass(frozen=True)
class BuildStatement:
    """The wheel that was built for one question.

    ``key``: the key of the build record.
    ``wheel``, ``filename``: the digest and the file name of the wheel.
    ``details``: the JSON values of the build record.
    """

    key: str
    wheel: Digest
    filename: str
    details: Mapping[str, Any]

    kind = BUILD

    def to_bytes(self) -> bytes:
        """Return the statement as it is signed. Raises ValueError for a number that is no JSON."""
        head = {"key": self.key, "wheel": self.wheel, "filename": self.filename}
        return _to_bytes(self.kind, {**head, "details": self.details})


@dataclass(frozen=True)
class ResolutionStatement:
    """What pip's resolver answered one question.

    ``key``: the key of the resolution.
    ``record``: the JSON values of its record.
    """

    key: str
    record: Mapping[str, Any]

    kind = RESOLUTION

    def to_bytes(self) -> bytes:
        """Return the statement as it is signed. Raises ValueError for a number that is no JSON."""
        return _to_bytes(self.kind, {"key": self.key, "record": self.record})


Statement = Union[BytecodeStatement, BuildStatement, ResolutionStatement]


def bytecode_key(wheel: Digest, tag: str, magic: str) -> str:
    """Return the key of the bytecode of ``wheel`` for one interpreter; see BytecodeStatement."""
    return f"{wheel}.{tag}-{magic}"


def subject_digest(kind: str, key: str) -> Digest:
    """Return the sha256 of the subject of a statement: its ``kind`` and its ``key``."""
    return Digest(hashlib.sha256(f"{kind} {key}".encode()).hexdigest())


def read_statement(data: bytes) -> Statement:
    """Return the statement ``data``. Raises ValueError if it is none, or has another form."""
    if len(data) > MOST_STATEMENT:
        raise ValueError(f"a statement has at most {MOST_STATEMENT} bytes")
    try:
        found = load_json(data)
        if not isinstance(found, dict) or found.get("format") != STATEMENT_FORMAT:
            raise ValueError(f"no statement of format {STATEMENT_FORMAT}")
        statement: Statement
        if found["kind"] == BYTECODE:
            statement = _bytecode(found)
        elif found["kind"] == BUILD:
            statement = _build(found)
        elif found["kind"] == RESOLUTION:
            statement = _resolution(found)
        else:
            raise ValueError("a statement of an unknown kind")
        # One form only: no other program may read other values out of the same bytes.
        if statement.to_bytes() != data:
            raise ValueError("a statement in another form than that which is signed")
    except (KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError("no statement: a part of it is missing or malformed") from error
    return statement


def without_source_time(data: bytes) -> bytes:
    """Return the .pyc ``data`` with zeros for the time of its source. Raises ValueError.

    ``data`` must name the time and size of its source, as pip's bytecode does.
    """
    return with_source_time(data, 0)


def with_source_time(data: bytes, mtime: int) -> bytes:
    """Return the .pyc ``data`` with ``mtime`` (seconds) for its source. Raises ValueError."""
    if len(data) < _HEADER or any(data[4:8]):
        raise ValueError("no bytecode with the time of its source")
    time = (mtime & 0xFFFFFFFF).to_bytes(4, "little")
    return b"".join([data[: _SOURCE_TIME.start], time, data[_SOURCE_TIME.stop :]])


def _to_bytes(kind: str, values: Mapping[str, Any]) -> bytes:
    whole = {"format": STATEMENT_FORMAT, "kind": kind, **values}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _bytecode(found: Mapping[str, Any]) -> BytecodeStatement:
    files = tuple(SignedFile(*row) for row in found["files"])
    failed = tuple(found["failed"])
    digest = _digest(found["wheel"])
    tag, magic = found["tag"], found["magic"]
    if not _TAG.fullmatch(tag) or not _MAGIC.fullmatch(magic):
        raise ValueError("the tag or the magic number of an interpreter is malformed")
    paths = [one.path for one in files]
    if any(path_problem(path) for path in (*paths, *failed)):
        raise ValueError("a path is no path in a wheel")
    if not all(path.endswith(".pyc") for path in paths):
        raise ValueError("a file is no bytecode")
    if paths != sorted(set(paths)) or list(failed) != sorted(set(failed)):
        raise ValueError("the paths are not sorted")
    for one in files:
        if type(one.size) is not int or not 0 <= one.size < _LARGEST:
            raise ValueError("a size is malformed")
        _digest(one.sha256)
    return BytecodeStatement(digest, tag, magic, files, failed)


def _build(found: Mapping[str, Any]) -> BuildStatement:
    filename, details = found["filename"], found["details"]
    if "/" in filename or path_problem(filename) or not filename.endswith(".whl"):
        raise ValueError("a file name is none of a wheel")
    if not isinstance(details, dict):
        raise ValueError("the details are malformed")
    return BuildStatement(_digest(found["key"]), _digest(found["wheel"]), filename, details)


def _resolution(found: Mapping[str, Any]) -> ResolutionStatement:
    if not isinstance(found["record"], dict):
        raise ValueError("the record is malformed")
    return ResolutionStatement(_digest(found["key"]), found["record"])


def _digest(text: str) -> Digest:
    digest = as_digest(text)
    if digest is None or digest != text:
        raise ValueError("a digest is malformed")
    return digest
