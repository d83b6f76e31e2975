"""Compiling one source after another: in this process, or run as a script in one of its own.

As a script it reads one JSON object from standard input: the directories "source" and "target",
and "paths" below the first. It writes a line of JSON for each: the path, and whether it compiled.
A source that could not be tried gets no line. Imports nothing of the project.
"""

import importlib.util
import json
import os
import py_compile
import sys
from typing import Optional


def compile_source(source: str, target: str, path: str) -> Optional[bool]:
    """Compile ``path`` below ``source`` into ``target``; return whether it compiles, None if it
    could not be tried (OSError). The .pyc names the time and size of its source."""
    try:
        py_compile.compile(
            os.path.join(source, path),
            cfile=os.path.join(target, importlib.util.cache_from_source(path)),
            dfile=path,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
        )
    except (py_compile.PyCompileError, SyntaxError, UnicodeError, ValueError):
        return False
    except OSError:
        return None
    return True


def work() -> None:
    """Compile what standard input names."""
    job = json.load(sys.stdin)
    for path in job["paths"]:
        good = compile_source(job["source"], job["target"], path)
        if good is not None:
            print(json.dumps([path, good]), flush=True)


if __name__ == "__main__":
    work()
