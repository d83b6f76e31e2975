"""Compiling one source after another: in this process, or run as a script in one of its own.

As a script it reads one JSON object from standard input: the directories "source" and "target",
and "paths" below the first. It writes a line of JSON for each: the path, and whether it compiled.
A source that could not be tried gets no line. On a full disk the last line has null for the path,
and the errno. Imports nothing of the project.
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


def compile_source(source: str, target: str, path: str) -> Optional[bool]:
    """Compile ``path`` below ``source`` into ``target``; return whether it compiles, None if it
    is better left to pip. The .pyc names the time and size of its source. Raises OSError where the
    disk is full."""
    compiled = os.path.join(target, importlib.util.cache_from_source(path))
    try:
        if _needs_a_codec(os.path.join(source, path)):
            return None
        py_compile.compile(
            os.path.join(source, path),
            cfile=compiled,
            dfile=path,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
        )
    except (py_compile.PyCompileError, SyntaxError, UnicodeError, ValueError):
        return False
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        if type(error) is not OSError or error.errno is not None:
            return None
        whole = False  # newer Pythons say in words that only a part was written
    else:
        whole = _is_whole(compiled)
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), compiled)
    return True


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


def work() -> None:
    """Compile what standard input names."""
    job = json.load(sys.stdin)
    for path in job["paths"]:
        try:
            good = compile_source(job["source"], job["target"], path)
        except OSError as error:
            _tell([None, error.errno])
            break
        if good is not None:
            _tell([path, good])


def _tell(what: object) -> None:
    os.write(_STANDARD_OUTPUT, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    work()
