"""The interpreter of an environment, with its version and its directories."""

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

#: Paths of the interpreter in an environment: POSIX (two), Windows, conda on Windows.
_PLACES = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")

#: Marks the answer: other code can print, too, when the interpreter starts or ends. The answer has
#: no line break.
_MARK = "\npip-sharedcache: "
_TELL = f"import json; print({_MARK!r} + json.dumps(answer))"

#: Paths are sent as bytes: the two interpreters can have different file system encodings.
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
        pass  # an older version has no such function
    else:
        _, unfit = examine_pip()
ours = getattr(ours, "__version__", "")
answer = {"pip": version, "ours": ours, "unfit": str(unfit) if unfit else ""}
"""

#: Compiles into a temporary directory: beside the sources, the umask and the rights of the process
#: would decide about the bytecode.
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
    """The interpreter of an environment.

    ``executable``: the path of the program.
    ``version``: major and minor.
    ``prefix``: the directory of the environment.
    ``library``: the directory for pure Python packages (site-packages).
    ``standard``: the directory of the standard library, which all of its environments share.
    """

    executable: Path
    version: tuple[int, int]
    prefix: Path
    library: Path
    standard: Path


def interpreter_of(prefix: Path | None) -> Interpreter:
    """Return the interpreter of the environment at ``prefix``; None means this process's.

    ``prefix``: the directory of the environment, or the path of its interpreter. Raises FileError;
    UsageError, also where the interpreter in the directory reports another prefix.
    """
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
    if prefix != executable and not _is_same(prefix, interpreter.prefix):
        raise UsageError(
            f"{executable} is the Python of {interpreter.prefix}, not of {prefix}: nothing was "
            "changed",
            f"name it with --python {shlex.quote(str(interpreter.prefix))}",
        )
    return interpreter


def _is_same(prefix: Path, other: Path) -> bool:
    try:
        return os.path.samefile(prefix, other)
    except OSError:
        return False


def executable_of(prefix: Path) -> Path:
    """Return the path of the interpreter in the environment at ``prefix``, which can be that path.

    Raises UsageError where no file is there, FileError where the system refuses to look.
    """
    with FileError.where_not("read"):
        if _is_file(prefix):
            return prefix
        found = [prefix / place for place in _PLACES if _is_file(prefix / place)]
    if not found:
        raise UsageError(f"{prefix} is not a Python environment: {_PLACES[0]} is missing")
    return found[0]


def libraries_of(prefix: Path) -> list[Interpreter]:
    """Return the possible interpreters of an environment whose interpreter does not answer.

    One for each site-packages directory below ``prefix``; ``executable`` is ``prefix``.
    """
    found = []
    for library in [*prefix.glob("lib/python3.*/site-packages"), *prefix.glob("Lib/site-packages")]:
        minor = re.fullmatch(r"python3\.(\d+)t?", library.parent.name)
        version = (3, int(minor[1]) if minor else _OLDEST[1])
        found.append(Interpreter(prefix, version, prefix, library, library.parent))
    return found


def what_joins(interpreter: Interpreter) -> tuple[str, str, str, str]:
    """Return facts about the pip of ``interpreter`` and the hook that joins it. Raises UsageError.

    Four texts: pip's version ("" without pip); the version of the pip_sharedcache that joins that
    pip ("" for none); the reason why that pip does not fit ("" where it fits, or no pip_sharedcache
    examined it); the standard error of the interpreter.
    """
    # The hook warns only where the arguments contain "install".
    told = _ask(interpreter.executable, _WITH_PIP, "install")
    return told["pip"], told["ours"], told["unfit"], told["said"]


def bytecode_of(interpreter: Interpreter, sources: Sequence[Path]) -> dict[Path, bytes]:
    """Return the bytecode of ``sources``, by the path where ``interpreter`` looks for it.

    Empty where it cannot compile them: it then compiles them at each start.
    """
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
    """Return whether ``path`` is a regular file. Raises OSError where that is unknown.

    Path.is_file returns False for such errors from Python 3.14 on.
    """
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
        why = lines[-1] if lines else "it prints nothing"  # a traceback ends with the error
        raise UsageError(f"{executable} does not answer: {why}") from error
    answer["said"] = done.stderr.strip()
    return answer
