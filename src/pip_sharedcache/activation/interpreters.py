"""The interpreter of an environment, asked for its version and its directories."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shlex
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pip_sharedcache.errors import FileError, UsageError

logger = logging.getLogger(__name__)

_OLDEST = (3, 9)
_WAIT = 60  # seconds

#: Where an environment has its interpreter: POSIX, Windows, conda on Windows.
_PLACES = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")

#: Others may print, too, when the interpreter starts or ends. The answer has no line break.
_MARK = "\npip-sharedcache: "
_TELL = f"import json; print({_MARK!r} + json.dumps(answer))"

#: Paths go as bytes: the two may have different encodings for them.
_QUESTION = """
import os, sys, sysconfig
paths = sys.prefix, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")
paths = [os.fsencode(path).decode("latin-1") for path in paths]
answer = {"version": sys.version_info[:2], "paths": paths}
"""

_WITH_PIP = """
import sys
try:
    import pip._internal
except ImportError:
    version = ""
else:
    version = pip.__version__
ours = sys.modules.get("pip_sharedcache")
unfit = None
if version and ours is not None:
    try:
        from pip_sharedcache.pip_adapter import examine_pip
    except ImportError:
        pass  # an older version of ours, which cannot be asked
    else:
        _, unfit = examine_pip()
ours = getattr(ours, "__version__", "")
answer = {"pip": version, "ours": ours, "unfit": str(unfit) if unfit else ""}
"""

#: py_compile itself would write where its umask and its rights allow.
_COMPILED = """
import base64, importlib.util, os, py_compile, sys, tempfile
answer = {}
with tempfile.TemporaryDirectory() as directory:
    for path in sys.argv[1:]:
        compiled = os.path.join(directory, "compiled")
        mode = py_compile.PycInvalidationMode.TIMESTAMP
        py_compile.compile(path, compiled, path, doraise=True, invalidation_mode=mode)
        with open(compiled, "rb") as file:
            text = base64.b64encode(file.read()).decode()
        place = os.fsencode(importlib.util.cache_from_source(path))
        answer[place.decode("latin-1")] = text
"""


@dataclass(frozen=True)
class Interpreter:
    """``library``: its directory for pure Python packages (site-packages); ``standard``: the one
    of its standard library, which all environments made from it share."""

    executable: Path
    version: tuple[int, int]
    prefix: Path
    library: Path
    standard: Path


def interpreter_of(prefix: Path | None) -> Interpreter:
    """The interpreter of the environment at ``prefix``; without one, the running one. Raises
    UsageError."""
    if prefix is None:
        paths = (sys.prefix, sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))
        return Interpreter(Path(sys.executable), sys.version_info[:2], *map(Path, paths))
    executable = executable_of(prefix)
    told = _ask(executable, _QUESTION)
    version = (told["version"][0], told["version"][1])
    if version < _OLDEST:
        is_one, needed = ".".join(map(str, version)), ".".join(map(str, _OLDEST))
        raise UsageError(f"{executable} is Python {is_one}: {needed} or later is needed")
    interpreter = Interpreter(executable, version, *map(_path, told["paths"]))
    if not _is_same(prefix, interpreter.prefix):
        raise UsageError(
            f"{executable} is the Python of {interpreter.prefix}, and {prefix} is left alone",
            f"--prefix {shlex.quote(str(interpreter.prefix))} names that one",
        )
    return interpreter


def _is_same(prefix: Path, other: Path) -> bool:
    try:
        return os.path.samefile(prefix, other)
    except OSError:
        return False


def executable_of(prefix: Path) -> Path:
    """The program that is the interpreter of the environment at ``prefix``. Raises UsageError or
    FileError."""
    try:
        found = [prefix / place for place in _PLACES if _is_file(prefix / place)]
    except OSError as error:
        raise FileError.of(error.filename, "looked at", error) from error
    if not found:
        raise UsageError(f"{prefix} is no environment of Python's: it lacks {_PLACES[0]}")
    return found[0]


def libraries_of(prefix: Path) -> list[Interpreter]:
    """What was the interpreter of the environment at ``prefix``, which answers no more, as far as
    the layout of its directories tells: one for each that there may have been."""
    found = []
    for library in [*prefix.glob("lib/python3.*/site-packages"), *prefix.glob("Lib/site-packages")]:
        minor = re.fullmatch(r"python3\.(\d+)t?", library.parent.name)
        version = (3, int(minor[1]) if minor else _OLDEST[1])
        found.append(Interpreter(prefix, version, prefix, library, library.parent))
    return found


def what_joins(interpreter: Interpreter) -> tuple[str, str, str, str]:
    """The version of its pip ("" where it has none), that of ours which joins it as it is imported
    there ("" where none does), why that pip does not fit ("" where it does, or where nothing of
    ours is there to examine it), and what was said meanwhile. Raises UsageError."""
    # It is said only where pip is to install.
    told = _ask(interpreter.executable, _WITH_PIP, "install")
    return told["pip"], told["ours"], told["unfit"], told["said"]


def bytecode_of(interpreter: Interpreter, sources: Sequence[Path]) -> dict[Path, bytes]:
    """What ``interpreter`` compiles ``sources`` to, each under the path where it looks for that;
    nothing where it cannot: it then compiles them whenever it starts."""
    try:
        told = _ask(interpreter.executable, _COMPILED, *map(str, sources))
    except UsageError as error:
        logger.debug("Not compiled: %s", error)
        return {}
    del told["said"]
    return {_path(path): base64.b64decode(text) for path, text in told.items()}


def _path(told: str) -> Path:
    return Path(os.fsdecode(told.encode("latin-1")))


def _is_file(path: Path) -> bool:
    """As Path.is_file, which from Python 3.14 on takes no for an answer. Raises OSError."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _ask(executable: Path, question: str, *arguments: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [str(executable), "-I", "-B", "-c", question + _TELL, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=_WAIT,
        )
        _, _, text = f"\n{done.stdout}".rpartition(_MARK)
        answer: dict[str, Any] = json.loads(text.partition("\n")[0])
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        lines = done.stderr.splitlines() if isinstance(error, ValueError) else [str(error)]
        why = lines[-1] if lines else "it says nothing"  # of a traceback, the error
        raise UsageError(f"{executable} does not answer: {why}") from error
    answer["said"] = done.stderr.strip()
    return answer
