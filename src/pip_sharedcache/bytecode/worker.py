"""Compilation of sources one after another, in this process or in the process of a script.

As a script, this module reads one JSON object from standard input:

- "source": the directory of the sources, or the pack that has them;
- "spool": the file to which the bytecode is appended;
- "files": the sources, each as the list of the fields of ``File``.

"source" and "spool" are each a path, and the descriptor that this process has inherited for it
(null for none). The script writes one line of JSON for each source: the fields of ``Done``. If the
disk is full, the last line has null as the path, and the errno. This module imports nothing of the
project.
"""

import errno
import hashlib
import importlib.machinery
import importlib.util
import json
import marshal
import os
import re
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional, Union

#: COMPILED: the source was compiled. LEFT: the source does not compile for any user, or pip should
#: compile it. UNTRIED: this process failed because of its own limits, memory or rights. DAMAGED:
#: the source is not as the manifest has it.
COMPILED, LEFT, UNTRIED, DAMAGED = OUTCOMES = "compiled", "left", "untried", "damaged"

_STANDARD_OUTPUT = 1
_LOADER = importlib.machinery.SourceFileLoader("", "")  # compiles as the import system does
_FACTS = struct.Struct("<III")  # of a .pyc (PEP 552): flags, time and size of its source
_LARGEST = 0xFFFFFFFF
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_PLAIN = {b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"iso-8859-1"}
_BINARY = getattr(os, "O_BINARY", 0)
_STEP = 1 << 24  # bytes: a manifest can give a size for which there is no memory
#: A symlink or FIFO that somebody put in the place of a source is neither followed nor waited for.
_READ = os.O_RDONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class File(NamedTuple):
    """A source as its manifest has it.

    ``mtime``: seconds. ``offset``: that in the pack; below 0 for a file of the directory.
    ``sha256``: in hexadecimal; "" if the bytes are not to be compared.
    """

    path: str
    size: int
    mtime: int
    offset: int
    sha256: str


class Done(NamedTuple):
    """The result for one source: one of OUTCOMES, the reason for UNTRIED or DAMAGED.

    For COMPILED: the place of the .pyc in the spool, its CRC-32, and its sha256 in hexadecimal.
    """

    path: str
    outcome: str
    why: str = ""
    start: int = 0
    size: int = 0
    crc: int = 0
    sha256: str = ""


def _needs_a_codec(data: bytes) -> bool:
    """Return whether a source declares (PEP 263) an encoding for which Python must import a codec.

    pip 26.3 does not compile such files; older pips compile them.
    """
    for line in data.split(b"\n", 2)[:2]:
        match = _CODING.match(line)
        if match:
            return match.group(1).lower().replace(b"_", b"-") not in _PLAIN
    return False


def compile_all(source: Union[str, int], spool: int, files: Iterable[File]) -> Iterator[Done]:
    """Compile ``files``, and append the bytecode to ``spool``, which is empty; yield each result.

    ``source``: the path of the directory, or the descriptor of the pack. Raise OSError if the disk
    is full.
    """
    end = 0
    for file in files:
        done, bytecode = compile_source(source, file)
        if done.outcome == COMPILED:
            try:
                _append(spool, bytecode)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise
                yield Done(file.path, UNTRIED, _words(error))
                end = os.lseek(spool, 0, os.SEEK_CUR)
                continue
            sums = zlib.crc32(bytecode), hashlib.sha256(bytecode).hexdigest()
            done = Done(file.path, COMPILED, "", end, len(bytecode), *sums)
            end += len(bytecode)
        yield done


def compile_source(source: Union[str, int], file: File) -> tuple[Done, bytes]:
    """Compile ``file`` of ``source``; return the result, without a place, and the .pyc.

    The .pyc names the time and size of its source, as that of py_compile does.
    """
    path = file.path
    try:
        data = _read(source, file)
        if file.sha256 and hashlib.sha256(data).hexdigest() != file.sha256:
            return Done(path, DAMAGED, "has other bytes than were published"), b""
        if file.offset >= 0 and len(data) != file.size:
            return Done(path, DAMAGED, "the pack ends within it"), b""
        if _needs_a_codec(data):
            return Done(path, LEFT), b""
        try:
            code = _LOADER.source_to_code(data, path)
        except Exception as error:
            if _is_of_source(error, data):
                return Done(path, LEFT), b""
            raise
        facts = (0, file.mtime & _LARGEST, len(data) & _LARGEST)
        bytecode = importlib.util.MAGIC_NUMBER + _FACTS.pack(*facts) + marshal.dumps(code)
    except Exception as error:  # for example MemoryError: pip compiles the source, or fails too
        return Done(path, UNTRIED, _words(error)), b""
    return Done(path, COMPILED), bytecode


def _read(source: Union[str, int], file: File) -> bytes:
    """Return the bytes of ``file``, or fewer at the end of a pack. Raise OSError."""
    if isinstance(source, int):
        return _read_at(source, file.size, file.offset)
    descriptor = os.open(os.path.join(source, file.path), _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        return _read_at(descriptor, status.st_size, 0)
    finally:
        os.close(descriptor)


def _read_at(descriptor: int, size: int, offset: int) -> bytes:
    pieces = []
    while size > 0:
        # Processes that share the descriptor share its position, too, which only Windows needs.
        if hasattr(os, "pread"):
            piece = os.pread(descriptor, min(size, _STEP), offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            piece = os.read(descriptor, min(size, _STEP))
        if not piece:
            break
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _append(spool: int, data: bytes) -> None:
    """Append ``data``. Raise OSError, with ENOSPC if only a part was written."""
    if os.write(spool, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_of_source(error: BaseException, data: bytes) -> bool:
    """Return whether every user who compiles the source ``data`` gets ``error``.

    Errors that depend on memory, the recursion limit or a codec are not of this kind.
    """
    if isinstance(error, SyntaxError):
        return True
    # Pythons before 3.12 raise ValueError for NUL bytes.
    return type(error) is ValueError and b"\0" in data


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200].rstrip(": ")


def _inherited(path: str, descriptor: Optional[int]) -> str:
    """Return a path to the directory that is open as ``descriptor``.

    The path is that of the descriptor in /proc/self/fd where the system has it; if this interpreter
    has capabilities, no other process can follow that path. Else the result is ``path``, or "" if
    ``path`` leads to another directory.
    """
    if descriptor is None:
        return path
    held = os.fstat(descriptor)
    for one in (f"/proc/self/fd/{descriptor}", path):
        try:
            if os.path.samestat(os.stat(one), held):
                return one
        except OSError:
            continue
    return ""


def _opened(flags: int, path: str, descriptor: Optional[int]) -> int:
    return os.open(path, flags | _BINARY) if descriptor is None else descriptor


def work() -> None:
    """Compile the sources that the job on standard input names."""
    job = json.load(sys.stdin)
    files = [File(*row) for row in job["files"]]
    if not files:
        return
    packed = files[0].offset >= 0
    named = job["source"]
    source = _opened(os.O_RDONLY, *named) if packed else _inherited(*named)
    if source == "":
        for file in files:
            _tell(Done(file.path, UNTRIED, "the directory of the source cannot be opened"))
        return
    try:
        for done in compile_all(source, _opened(os.O_WRONLY, *job["spool"]), files):
            _tell(done)
    except OSError as error:
        _tell([None, error.errno])


def _tell(what: object) -> None:
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(_STANDARD_OUTPUT, data) :]


if __name__ == "__main__":
    work()
