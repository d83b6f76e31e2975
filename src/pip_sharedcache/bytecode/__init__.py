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
from collections.abc import Mapping, Sequence
from pathlib import Path

from pip_sharedcache import resources
from pip_sharedcache.bytecode.worker import COMPILED, LEFT, UNTRIED, compile_source
from pip_sharedcache.fs import Directory, can_start_threads, cpus
from pip_sharedcache.model import Compiled, Entry
from pip_sharedcache.store import compiled_path
from pip_sharedcache.store.entry_checks import copy_checked

logger = logging.getLogger(__name__)

#: What became of sources, by their paths: one of worker.OUTCOMES, and why it is UNTRIED.
_Results = dict[str, tuple[str, str]]

_WORKER = resources.path_of("bytecode", "worker.py")
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


def compile_all(entry: Entry, source: Path, target: Path) -> Compiled:
    """Compile every source of ``entry``, whose files are in the directory ``source``, into
    ``target``. Raises OSError where the disk is full."""
    sources = [file for file in entry.manifest.files if file.path.endswith(".py")]
    # Large ones first, dealt out in turn: the processes end together.
    sources.sort(key=lambda file: file.size, reverse=True)
    paths = [file.path for file in sources]
    workers = min(cpus(), sum(file.size + _EACH for file in sources) // _SMALL)
    asked = _asked_of_this_process()
    workers = max(workers, 1 if asked and paths else 0)
    results: _Results = {}
    if workers >= (1 if asked else 2):
        results = _compile_beside(workers, paths, source, target)
    if asked and paths and not results:  # what is compiled here would not be for everybody
        raise OSError(errno.EAGAIN, "No process can be started to compile in", str(target))
    if not asked:
        rest = [path for path in paths if path not in results]
        results.update(_compile_here(rest, source, target))
    outcomes = {path: results.get(path, (UNTRIED, "its process ended early")) for path in paths}
    return Compiled(
        [compiled_path(path) for path, (outcome, _) in outcomes.items() if outcome == COMPILED],
        [path for path, (outcome, _) in outcomes.items() if outcome == LEFT],
        {path: why for path, (outcome, why) in outcomes.items() if outcome == UNTRIED},
    )


def _asked_of_this_process() -> bool:
    """Whether this process was asked for something that changes what it compiles, or whether: what
    it does with warnings, debug ranges and long numbers is not for everybody."""
    longest = getattr(sys, "get_int_max_str_digits", lambda: 0)()
    usual = getattr(sys.int_info, "default_max_str_digits", 0)
    named = sys.warnoptions or sys._xoptions or "PYTHONNODEBUGRANGES" in os.environ
    return bool(named) or longest != usual


def compile_checked(entry: Entry, held: Directory, target: Path) -> Compiled:
    """As ``compile_all``, of what lies in ``held``, from copies with the bytes that the manifest
    promises: the publisher may edit it meanwhile. Raises DamagedEntry, too."""
    with tempfile.TemporaryDirectory() as directory:
        for file in entry.manifest.files:
            if file.path.endswith(".py"):
                copy_checked(held, file, Path(directory))
        return compile_all(entry, Path(directory), target)


def _compile_here(paths: Sequence[str], source: Path, target: Path) -> _Results:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as pip compiles, and our workers
        return {path: compile_source(str(source), str(target), path) for path in paths}


def _compile_beside(wanted: int, paths: Sequence[str], source: Path, target: Path) -> _Results:
    """Return what up to ``wanted`` processes did: nothing of paths whose process could not be
    started, or was killed before. Raises OSError where the disk is full."""
    with Directory.open(source) as held_source, Directory.open(target) as held_target:
        return _compile_in(
            _start(wanted, (held_source, held_target)), paths, held_source, held_target
        )


def _compile_in(
    processes: Sequence[subprocess.Popen[bytes]],
    paths: Sequence[str],
    source: Directory,
    target: Directory,
) -> _Results:
    results: _Results = {}
    full = 0
    try:
        for number, process in enumerate(processes):
            job = {
                "source": (str(source.path), source.descriptor),
                "target": (str(target.path), target.descriptor),
                "paths": list(paths[number :: len(processes)]),
            }
            _order(process, job)
        for process in processes:
            output, _ = process.communicate()
            for line in output.splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue  # it was killed while it wrote that
                path, outcome, why = json.loads(line)
                if path is None:
                    full = outcome
                else:
                    results[path] = outcome, why
    finally:
        for process in processes:
            _end(process)
    if full:
        raise OSError(full, os.strerror(full), str(target))
    return results


def _start(wanted: int, handed: Sequence[Directory]) -> list[subprocess.Popen[bytes]]:
    """Start up to ``wanted`` worker processes, which wait for their orders: no more than leave room
    for a thread of pip's, where a limit holds. They get the descriptors of ``handed``: an
    interpreter that has capabilities may not look at those of another process by name, and a path
    may lead elsewhere by now."""
    level = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", *level, str(_WORKER)]
    processes: list[subprocess.Popen[bytes]] = []
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    numbers = [one.descriptor for one in handed if one.descriptor is not None]
    try:
        while sys.executable and len(processes) < wanted:
            processes.append(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, pass_fds=numbers)
            )
    except OSError as error:  # EAGAIN, ENOMEM, EMFILE; or the interpreter is gone
        logger.debug("Only %s processes to compile in: %s", len(processes), error)
    except BaseException:  # Ctrl-C
        for process in processes:
            _end(process)
        raise
    while processes and not can_start_threads(_RESERVE):
        _end(processes.pop())
    return processes


def _order(process: subprocess.Popen[bytes], job: Mapping[str, object]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once: its sources are untried
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
