"""Bytecode: compiled once for each interpreter from the store's own sources, and shared.

Bytecode cannot be checked against a digest, so only a trusted publisher's is placed. It is valid
wherever its source is placed with the time and size that its header names. The path inside it does
not matter: importing a module sets co_filename anew.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from pip_sharedcache import scripts
from pip_sharedcache.bytecode.worker import compile_source
from pip_sharedcache.linker import Directory, copy_checked, cpus, has_room_for
from pip_sharedcache.model import Entry

logger = logging.getLogger(__name__)

_WORKER = scripts.path_of("bytecode", "worker.py")
_RESERVE = 1  # threads that pip may start meanwhile: its progress bar
_SMALL = 100_000  # bytes of source that take about as long as starting an interpreter
_EACH = 3_000  # bytes of source that take as long as opening, writing and renaming one file


def tag() -> str:
    """What this interpreter's bytecode is called: the cache tag, and the optimisation level if
    there is one; "" where bytecode cannot be shared."""
    name = sys.implementation.cache_tag
    # With SOURCE_DATE_EPOCH compileall writes hash-based files, and with PYTHONPYCACHEPREFIX it
    # writes elsewhere: pip does both.
    elsewhere = sys.pycache_prefix or "SOURCE_DATE_EPOCH" in os.environ
    if not name or elsewhere or not _WORKER.is_file():
        return ""
    level = sys.flags.optimize
    return f"{name}.opt-{level}" if level else name


def fits(entry: Entry) -> str:
    """All that the bytecode of ``entry`` depends on: the tag, the magic number (alphas share a
    tag), the time of its sources, which every .pyc names, and whose sources they are: who compiles
    what a member of the group has edited, believing him, must not find it again with
    --require-hashes, as bytecode of their own for somebody else's entry of that time."""
    mtime = max((file.mtime for file in entry.manifest.files), default=0)
    return f"{tag()}-{importlib.util.MAGIC_NUMBER.hex()}-{mtime}-{entry.publisher}"


def compiled_path(source: str) -> str:
    """Where the bytecode of ``source`` goes (PEP 3147), for a path in a wheel or on disk."""
    return importlib.util.cache_from_source(source)


def compile_all(entry: Entry, source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Compile every source of ``entry``, whose files are in the directory ``source``, into
    ``target``.

    Returns the paths of the bytecode below ``target``, and those of the sources that do not
    compile. Sources that could not be tried are in neither. Raises OSError where the disk is full.
    """
    sources = [file for file in entry.manifest.files if file.path.endswith(".py")]
    # Large ones first, dealt out in turn: the processes end together.
    sources.sort(key=lambda file: file.size, reverse=True)
    paths = [file.path for file in sources]
    workers = min(cpus(), sum(file.size + _EACH for file in sources) // _SMALL)
    # What this process was asked to do with warnings and debug ranges is not for everybody.
    asked = sys.warnoptions or sys._xoptions or "PYTHONNODEBUGRANGES" in os.environ
    workers = max(workers, 1 if asked and paths else 0)
    processes = _start(workers) if workers >= (1 if asked else 2) else []
    if processes:
        results = _compile_beside(processes, paths, source, target)
    elif asked and paths:
        raise OSError(errno.EAGAIN, "No process can be started to compile in", str(target))
    else:
        results = _compile_here(paths, source, target)
    made = [compiled_path(path) for path, good in results if good]
    return made, [path for path, good in results if not good]


def compile_checked(entry: Entry, held: Directory, target: Path) -> tuple[list[str], list[str]]:
    """As ``compile_all``, of what lies in ``held``, from copies with the bytes that the manifest
    promises: the publisher may edit it meanwhile. Raises DamagedEntry, too."""
    with tempfile.TemporaryDirectory() as directory:
        for file in entry.manifest.files:
            if file.path.endswith(".py"):
                copy_checked(held, file, Path(directory))
        return compile_all(entry, Path(directory), target)


def _compile_here(paths: Sequence[str], source: Path, target: Path) -> list[tuple[str, bool]]:
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as pip compiles, and our workers
        for path in paths:
            good = compile_source(str(source), str(target), path)
            if good is not None:
                results.append((path, good))
    return results


def _compile_beside(
    processes: Sequence[subprocess.Popen[bytes]], paths: Sequence[str], source: Path, target: Path
) -> list[tuple[str, bool]]:
    """Compile in ``processes``, which end. Raises OSError where the disk is full."""
    results = []
    full = 0
    try:
        for number, process in enumerate(processes):
            job = {"source": str(source), "target": str(target)}
            _order(process, {**job, "paths": paths[number :: len(processes)]})
        for process in processes:
            output, _ = process.communicate()
            for path, good in map(json.loads, output.splitlines()):
                if path is None:
                    full = good
                else:
                    results.append((path, good))
    finally:
        for process in processes:
            _end(process)
    if full:
        raise OSError(full, os.strerror(full), str(target))
    return results


def _start(wanted: int) -> list[subprocess.Popen[bytes]]:
    """Start up to ``wanted`` worker processes, which wait for their orders: no more than leave room
    for a thread of pip's, where a limit holds."""
    level = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", *level, str(_WORKER)]
    processes: list[subprocess.Popen[bytes]] = []
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    try:
        while sys.executable and len(processes) < wanted:
            processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere))
    except OSError as error:  # EAGAIN, ENOMEM, EMFILE; or the interpreter is gone
        logger.debug("Only %s processes to compile in: %s", len(processes), error)
    except BaseException:  # Ctrl-C
        for process in processes:
            _end(process)
        raise
    while processes and not has_room_for(_RESERVE):
        _end(processes.pop())
    return processes


def _order(process: subprocess.Popen[bytes], job: dict[str, object]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended: its sources are left to pip
        process.stdin.write(json.dumps(job).encode())
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.stdin = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have ``process`` end, where it has not, and wait for that."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()
