"""Compilation of sources one after another, in this process or in the process of a script.

As a script, this module reads one JSON object from standard input: the directories "source" and
"target", and "paths" below "source". Each directory is a path, and the descriptor that this process
has inherited for it (null for none). The script writes one line of JSON for each path: the path,
the outcome (one of OUTCOMES), and the reason if the outcome is UNTRIED. If the disk is full, the
last line has null as the path, and the errno. This module imports nothing of the project.
"""

import errno
import importlib.util
import json
import marshal
import os
import py_compile
import re
import sys
from typing import Optional

#: COMPILED: the source was compiled. LEFT: the source does not compile for any user, or pip should
#: compile it. UNTRIED: this process failed because of its own limits, memory or rights.
COMPILED, LEFT, UNTRIED = OUTCOMES = "compiled", "left", "untried"

_STANDARD_OUTPUT = 1
_HEADER = 16  # bytes of a .pyc before its code (PEP 552)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_PLAIN = {b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"iso-8859-1"}


def _needs_a_codec(source: str) -> bool:
    """Return whether the file declares (PEP 263) an encoding for which Python must import a codec.

    pip 26.3 does not compile such files; older pips compile them.
    """
    with open(source, "rb") as file:
        for line in (file.readline(), file.readline()):
            match = _CODING.match(line)
            if match:
                return match.group(1).lower().replace(b"_", b"-") not in _PLAIN
    return False


def compile_source(source: str, target: str, path: str) -> tuple[str, str]:
    """Compile ``path`` below ``source`` into ``target``; return the outcome and the reason.

    The outcome is one of OUTCOMES; the reason is "" unless the outcome is UNTRIED. The .pyc names
    the time and size of its source. Raise OSError if the disk is full.
    """
    compiled = os.path.join(target, importlib.util.cache_from_source(path))
    full_path = os.path.join(source, path)
    try:
        if _needs_a_codec(full_path):
            return LEFT, ""
        py_compile.compile(
            full_path,
            cfile=compiled,
            dfile=path,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
        )
        whole = _is_whole(compiled)
    except py_compile.PyCompileError as error:
        if _is_of_source(error.exc_value, full_path):
            return LEFT, ""
        return UNTRIED, _words(error.exc_value)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if error.errno == errno.ENAMETOOLONG:  # the name is too long with the suffix of a .pyc
            return LEFT, ""
        if type(error) is not OSError or error.errno is not None:
            return UNTRIED, _words(error)
        whole = False  # newer Pythons report a partial write without an errno
    except Exception as error:  # for example MemoryError: pip compiles the source, or fails too
        return UNTRIED, _words(error)
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), compiled)
    return COMPILED, ""


def _is_of_source(error: BaseException, path: str) -> bool:
    """Return whether every user who compiles the file ``path`` gets ``error``.

    Errors that depend on memory, the recursion limit or a codec are not of this kind.
    """
    if isinstance(error, SyntaxError):
        return True
    if type(error) is not ValueError:
        return False
    try:
        with open(path, "rb") as file:
            return b"\0" in file.read()  # Pythons before 3.12 raise ValueError for NUL bytes
    except (OSError, MemoryError):
        return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200].rstrip(": ")


def _is_whole(compiled: str) -> bool:
    """Return whether the .pyc file ``compiled`` is complete.

    Older Pythons do not notice that a full disk took only a part of the file (importlib's
    _write_atomic makes one write(2)).
    """
    with open(compiled, "rb") as file:
        data = file.read()
    try:
        marshal.loads(data[_HEADER:])
    except (EOFError, ValueError, TypeError):
        return False
    return True


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
