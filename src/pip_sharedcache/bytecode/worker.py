"""Compiling one source after another: in this process, or run as a script in one of its own.

As a script it reads one JSON object from standard input: the directories "source" and "target",
and "paths" below the first. Each directory is a path, and the descriptor under which this process
has inherited it (null where there is none). The script writes a line of JSON for each path: the
path, the outcome (one of OUTCOMES), and the reason where it is UNTRIED. On a full disk the last
line has null for the path, and the errno. Imports nothing of the project.
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

#: The source was compiled; it does not compile, or is better left to pip, for whoever tries; or
#: this process could not tell, for a reason of its own: its limits, its memory, its rights.
COMPILED, LEFT, UNTRIED = OUTCOMES = "compiled", "left", "untried"

_STANDARD_OUTPUT = 1
_HEADER = 16  # bytes of a .pyc before its code (PEP 552)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # PEP 263
_PLAIN = {b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"iso-8859-1"}


def _needs_a_codec(source: str) -> bool:
    """Whether the file says (PEP 263) that it is in an encoding that Python must import a codec
    for: pip 26.3 leaves those uncompiled, older pips compile them."""
    with open(source, "rb") as file:
        for line in (file.readline(), file.readline()):
            match = _CODING.match(line)
            if match:
                return match.group(1).lower().replace(b"_", b"-") not in _PLAIN
    return False


def compile_source(source: str, target: str, path: str) -> tuple[str, str]:
    """Compile ``path`` below ``source`` into ``target``; return one of OUTCOMES, and the reason
    where it is UNTRIED. The .pyc names the time and size of its source. Raises OSError where the
    disk is full."""
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
        if error.errno == errno.ENAMETOOLONG:  # a name that only fits without what is added to it
            return LEFT, ""
        if type(error) is not OSError or error.errno is not None:
            return UNTRIED, _words(error)
        whole = False  # newer Pythons say in words that only a part was written
    except Exception as error:  # MemoryError, say: pip compiles this source, or meets the same
        return UNTRIED, _words(error)
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), compiled)
    return COMPILED, ""


def _is_of_source(error: BaseException, path: str) -> bool:
    """Whether ``error``, met when the file ``path`` was compiled, is met by everybody who compiles
    it: not what memory, the recursion limit or a codec decides."""
    if isinstance(error, SyntaxError):
        return True
    if type(error) is not ValueError:
        return False
    try:
        with open(path, "rb") as file:
            return b"\0" in file.read()  # Pythons before 3.12 find that worth a ValueError
    except (OSError, MemoryError):
        return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200].rstrip(": ")


def _is_whole(compiled: str) -> bool:
    """Whether the .pyc ends where its code does: older Pythons take no notice when a disk that
    becomes full takes only a part of it (importlib's _write_atomic, one write(2))."""
    with open(compiled, "rb") as file:
        data = file.read()
    try:
        marshal.loads(data[_HEADER:])
    except (EOFError, ValueError, TypeError):
        return False
    return True


def _inherited(path: str, descriptor: Optional[int]) -> str:
    """A path to the directory that is open as ``descriptor``: its number where the system shows
    it, which no other process can follow if this one's interpreter has capabilities; else ``path``.
    "" where that leads to another directory."""
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
    """Compile what standard input names."""
    job = json.load(sys.stdin)
    source, target = (_inherited(*job[name]) for name in ("source", "target"))
    for path in job["paths"]:
        if not (source and target):
            _tell([path, UNTRIED, "its directory cannot be reached"])
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
