"""Compilation of sources one after another, in this process or in the process of a script.

As a script, this module reads one JSON object from standard input: the directories "source" and
"target", and "paths" below "source". Each directory is a path, and the descriptor that this process
has inherited for it (null for none). The script writes one line of JSON for each path: the path,
the outcome (one of OUTCOMES), and the reason if the outcome is UNTRIED. If the disk is full, the
last line has null as the path, and the errno. This module imports nothing of the project.
"""

import errno
import importlib.machinery
import importlib.util
import json
import marshal
import os
import re
import stat
import struct
import sys
from typing import Optional

#: COMPILED: the source was compiled. LEFT: the source does not compile for any user, or pip should
#: compile it. UNTRIED: this process failed because of its own limits, memory or rights.
COMPILED, LEFT, UNTRIED = OUTCOMES = "compiled", "left", "untried"

_STANDARD_OUTPUT = 1
_LOADER = importlib.machinery.SourceFileLoader("", "")  # compiles as the import system does
_FACTS = struct.Struct("<III")  # of a .pyc (PEP 552): flags, time and size of its source
_LARGEST = 0xFFFFFFFF
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_PLAIN = {b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"iso-8859-1"}


def _needs_a_codec(data: bytes) -> bool:
    """Return whether a source declares (PEP 263) an encoding for which Python must import a codec.

    pip 26.3 does not compile such files; older pips compile them.
    """
    for line in data.split(b"\n", 2)[:2]:
        match = _CODING.match(line)
        if match:
            return match.group(1).lower().replace(b"_", b"-") not in _PLAIN
    return False


def compile_source(source: str, target: str, path: str) -> tuple[str, str]:
    """Compile ``path`` below ``source`` into ``target``; return the outcome and the reason.

    The outcome is one of OUTCOMES; the reason is "" unless the outcome is UNTRIED. The .pyc names
    the time and size of its source, as that of py_compile does. Raise OSError if the disk is full.
    """
    compiled = os.path.join(target, importlib.util.cache_from_source(path))
    try:
        with open(os.path.join(source, path), "rb") as file:
            status, data = os.fstat(file.fileno()), file.read()
        if _needs_a_codec(data):
            return LEFT, ""
        try:
            code = _LOADER.source_to_code(data, path)
        except Exception as error:
            if _is_of_source(error, data):
                return LEFT, ""
            raise
        facts = (0, int(status.st_mtime) & _LARGEST, status.st_size & _LARGEST)
        bytecode = importlib.util.MAGIC_NUMBER + _FACTS.pack(*facts) + marshal.dumps(code)
        _write(compiled, bytecode, stat.S_IMODE(status.st_mode) | stat.S_IWUSR)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if error.errno == errno.ENAMETOOLONG:  # the name is too long with the suffix of a .pyc
            return LEFT, ""
        return UNTRIED, _words(error)
    except Exception as error:  # for example MemoryError: pip compiles the source, or fails too
        return UNTRIED, _words(error)
    return COMPILED, ""


def _write(compiled: str, data: bytes, mode: int) -> None:
    """Write the .pyc file ``compiled``. Raise OSError, with ENOSPC if only a part was written.

    Older Pythons' py_compile does not notice the latter, and to read each file again, and load its
    code, takes as long as to write it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(compiled, flags, mode & 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(compiled), exist_ok=True)
        descriptor = os.open(compiled, flags, mode & 0o666)
    except FileExistsError:  # what a killed process left
        os.unlink(compiled)
        descriptor = os.open(compiled, flags, mode & 0o666)
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), compiled)
    finally:
        os.close(descriptor)


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


def work() -> None:
    """Compile the sources that the job on standard input names."""
    job = json.load(sys.stdin)
    source, target = (_inherited(*job[name]) for name in ("source", "target"))
    for path in job["paths"]:
        if not (source and target):
            _tell([path, UNTRIED, "the directory of the source cannot be opened"])
            continue
        try:
            outcome, why = compile_source(source, target, path)
        except OSError as error:
            _tell([None, error.errno, ""])
            break
        _tell([path, outcome, why])


def _tell(what: object) -> None:
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(_STANDARD_OUTPUT, data) :]


if __name__ == "__main__":
    work()
