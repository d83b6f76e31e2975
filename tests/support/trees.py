"""What is in an environment, in a form in which two of them can be compared."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import marshal
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

_MARK = b"<prefix>"

#: Digests of bytecode that marshal has read without an error.
_loaded: set[bytes] = set()

Row = tuple[str, ...]
Content = Union[str, frozenset[Row]]


@dataclass(frozen=True)
class Node:
    """One path: kind (directory, symlink, file, bytecode, record), mode bits, content."""

    kind: str
    mode: int | None
    content: Content


def snapshot(prefix: Path, *, modes: bool = True) -> dict[str, Node]:
    """All that lies below prefix: relative path to what is there.

    Where a file names the prefix itself (scripts, activation), "<prefix>" stands for it, and the
    row of that file in a RECORD follows. Bytecode is checked, not compared: its content is
    "valid" with the magic number, or what is wrong with it.
    """
    # Strings, not Path: an environment has 1,500 files, and the tests look at thousands of them.
    names = _prefix_names(prefix)
    top = str(prefix)
    found: dict[str, Node] = {}
    records: list[tuple[str, str]] = []
    without_prefix: set[str] = set()
    for directory, below, files in os.walk(top):
        for name in [*below, *files]:
            path = os.path.join(directory, name)
            relative = path[len(top) :].strip("/")
            if name == "RECORD" and directory.endswith(".dist-info"):
                records.append((relative, path))
            found[relative] = _node(path, names, modes, without_prefix)
    for relative, path in records:
        node = found[relative]
        if node.kind == "file":
            rows = _record_rows(Path(path), names, without_prefix)
            found[relative] = Node("record", node.mode, rows)
    return found


def differences(expected: Mapping[str, Node], actual: Mapping[str, Node]) -> list[str]:
    """What two snapshots differ in, a line for each thing; empty when in nothing."""
    lines: list[str] = []
    for path in sorted({*expected, *actual}):
        one, other = expected.get(path), actual.get(path)
        if one is None and other is not None:
            lines.append(f"{path}: unexpected {other.kind}")
        elif one is not None and other is None:
            lines.append(f"{path}: missing {one.kind}")
        elif one is not None and other is not None and one != other:
            lines.extend(f"{path}: {what}" for what in _node_differences(one, other))
    return lines


def _node_differences(one: Node, other: Node) -> list[str]:
    if one.kind != other.kind:
        return [f"is a {other.kind}, expected a {one.kind}"]
    lines = []
    if one.mode != other.mode:
        lines.append(f"mode {_octal(other.mode)}, expected {_octal(one.mode)}")
    if one.content != other.content:
        if isinstance(one.content, frozenset) and isinstance(other.content, frozenset):
            missing, unexpected = one.content - other.content, other.content - one.content
            lines += [f"missing row {','.join(row)}" for row in sorted(missing)]
            lines += [f"unexpected row {','.join(row)}" for row in sorted(unexpected)]
        else:
            lines.append(f"content {other.content}, expected {one.content}")
    return lines


def _octal(mode: int | None) -> str:
    return "not looked at" if mode is None else f"{mode:04o}"


def _prefix_names(prefix: Path) -> list[bytes]:
    names = {os.fsencode(str(prefix)), os.fsencode(os.path.realpath(prefix))}
    return sorted(names, key=len, reverse=True)


def _without_prefix(data: bytes, names: list[bytes]) -> bytes:
    for name in names:
        data = data.replace(name, _MARK)
    return data


def _node(path: str, names: list[bytes], modes: bool, without_prefix: set[str]) -> Node:
    """What is at path; files that do not name the prefix are added to ``without_prefix``."""
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode) if modes else None
    if stat.S_ISLNK(status.st_mode):
        target = _without_prefix(os.fsencode(os.readlink(path)), names)
        return Node("symlink", None, os.fsdecode(target))
    if stat.S_ISDIR(status.st_mode):
        return Node("directory", mode, "")
    if not stat.S_ISREG(status.st_mode):
        return Node("special", mode, oct(stat.S_IFMT(status.st_mode)))
    directory, name = os.path.split(path)
    if name.endswith(".pyc") and os.path.basename(directory) == "__pycache__":
        return Node("bytecode", mode, _bytecode_verdict(directory, name))
    with open(path, "rb") as stream:
        data = stream.read()
    if name != "direct_url.json":
        normalised = _without_prefix(data, names)
        if normalised == data:
            without_prefix.add(path)
        data = normalised
    return Node("file", mode, hashlib.sha256(data).hexdigest())


def _bytecode_verdict(directory: str, name: str) -> str:
    with open(os.path.join(directory, name), "rb") as stream:
        data = stream.read()
    if len(data) <= 16:
        return f"only {len(data)} bytes"
    magic, flags = data[:4], int.from_bytes(data[4:8], "little")
    if flags:
        return f"flags {flags}"
    try:
        status = os.stat(os.path.join(os.path.dirname(directory), f"{name.split('.')[0]}.py"))
    except FileNotFoundError:
        return "no source"
    mtime, size = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
    if mtime != int(status.st_mtime) & 0xFFFFFFFF:
        return f"made for mtime {mtime}, the source has {int(status.st_mtime)}"
    if size != status.st_size & 0xFFFFFFFF:
        return f"made for size {size}, the source has {status.st_size}"
    # The same code lies in every environment: it is loaded once.
    content = hashlib.sha256(data).digest()
    if magic == importlib.util.MAGIC_NUMBER and content not in _loaded:
        try:
            marshal.loads(data[16:])
        except (ValueError, EOFError, TypeError) as error:
            return f"damaged: {error}"
        _loaded.add(content)
    return f"valid {magic.hex()}"


def _record_rows(record: Path, names: list[bytes], without_prefix: set[str]) -> frozenset[Row]:
    """The rows of a RECORD; a row that is there n times has "n times" as one more field."""
    text = record.read_text(encoding="utf-8")
    library = str(record.parent.parent)
    rows = Counter(
        _row(tuple(row), library, names, without_prefix) for row in csv.reader(io.StringIO(text))
    )
    return frozenset(
        row if number == 1 else (*row, f"{number} times") for row, number in rows.items()
    )


def _row(row: Row, site_packages: str, names: list[bytes], without_prefix: set[str]) -> Row:
    """A row in the form that another prefix's has as well, if it tells the truth here."""
    if not row:
        return row
    path = os.path.join(site_packages, row[0])
    shown = os.fsdecode(_without_prefix(os.fsencode(row[0]), names))
    row = (shown, *row[1:])
    if path in without_prefix or len(row) != 3 or not row[1] or not os.path.isfile(path):
        return row
    if os.path.basename(path) == "direct_url.json":
        return row
    data = Path(path).read_bytes()
    normalised = _without_prefix(data, names)
    if normalised == data or row[1:] != _hash_and_size(data):
        return row
    return (shown, *_hash_and_size(normalised))


def _hash_and_size(data: bytes) -> Row:
    sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={sha256}", str(len(data))
