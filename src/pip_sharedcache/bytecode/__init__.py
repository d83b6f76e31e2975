"""Bytecode that is compiled once for each interpreter from the store's sources, and shared.

No digest exists to check bytecode against, so only bytecode of trusted publishers is placed.
Bytecode is valid wherever its source is placed with the time and size that the header of the .pyc
names. The path in the bytecode does not matter: importing a module sets co_filename anew.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pip_sharedcache import resources
from pip_sharedcache.bytecode.worker import COMPILED, LEFT, UNTRIED, compile_source
from pip_sharedcache.fs import (
    NO_SPACE_ERRORS,
    Directory,
    can_start_threads,
    cpus,
    temporary_directory,
)
from pip_sharedcache.model import Compiled, Entry, StoredFile
from pip_sharedcache.store import Source, compiled_path

logger = logging.getLogger(__name__)

#: The result for each source, by its path: one of worker.OUTCOMES, and the reason if it is UNTRIED.
_Results = dict[str, tuple[str, str]]

_WORKER = resources.path_of("bytecode", "worker.py")
_RESERVE = 1  # threads that pip can start at the same time: its progress bar
_SMALL = 100_000  # bytes of source that compile in the time in which an interpreter starts
_EACH = 3_000  # bytes of source that compile in the time of one open, write and rename


def not_shared_because() -> str:
    """Return why this process shares no bytecode; "" if it shares some.

    Interpreters other than CPython share their bytecode, too, each under its own tag.
    """
    if not sys.implementation.cache_tag:
        return "this interpreter has no tag for its bytecode files"
    # pip compiles with compileall: shared bytecode would differ from pip's.
    if "SOURCE_DATE_EPOCH" in os.environ:
        return "SOURCE_DATE_EPOCH is set, so that bytecode files contain hashes of their sources"
    if sys.pycache_prefix:
        return "PYTHONPYCACHEPREFIX is set, so that bytecode files are in another directory"
    if not _WORKER.is_file():
        return "pip-sharedcache runs from an archive"
    return ""


def tag() -> str:
    """Return the name of this interpreter's bytecode; "" if bytecode cannot be shared.

    The name is the cache tag, with the optimisation level if there is one.
    """
    if not_shared_because():
        return ""
    name, level = str(sys.implementation.cache_tag), sys.flags.optimize
    return f"{name}.opt-{level}" if level else name


def fits(entry: Entry) -> str:
    """Return a key for everything on which the bytecode of ``entry`` depends.

    The key has the tag, the magic number (alpha releases share a tag), the time of the sources,
    which every .pyc names, and the publisher of the sources. The publisher prevents this failure: a
    user compiles sources that a trusted group member has edited. Later, with --require-hashes, this
    user finds the bytecode again as a trusted one for another publisher's entry of the same time.
    """
    mtime = max((file.mtime for file in entry.manifest.files), default=0)
    return f"{tag()}-{importlib.util.MAGIC_NUMBER.hex()}-{mtime}-{entry.publisher}"


def compile_all(entry: Entry, source: Path, target: Path) -> Compiled:
    """Compile all sources of ``entry`` from the directory ``source`` into ``target``.

    Raise OSError if the disk is full, and with EAGAIN if the options of this process change
    bytecode and no other process can be started.
    """
    sources = [file for file in entry.manifest.files if file.path.endswith(".py")]
    # Deal out large sources first, in turn, so that the processes end together.
    sources.sort(key=lambda file: file.size, reverse=True)
    paths = [file.path for file in sources]
    workers = min(cpus(), sum(file.size + _EACH for file in sources) // _SMALL)
    asked = _asked_of_this_process()
    workers = max(workers, 1 if asked and paths else 0)
    results: _Results = {}
    if workers >= (1 if asked else 2):
        results = _compile_beside(workers, paths, source, target)
    if asked and paths and not results:  # bytecode of this process would not suit other users
        raise OSError(errno.EAGAIN, "No process can be started to compile bytecode", str(target))
    if not asked:
        rest = [path for path in paths if path not in results]
        results.update(_compile_here(rest, source, target))
    outcomes = {path: results.get(path, (UNTRIED, "its process has ended")) for path in paths}
    return Compiled(
        [compiled_path(path) for path, (outcome, _) in outcomes.items() if outcome == COMPILED],
        [path for path, (outcome, _) in outcomes.items() if outcome == LEFT],
        {path: why for path, (outcome, why) in outcomes.items() if outcome == UNTRIED},
    )


def _asked_of_this_process() -> bool:
    """Return whether this process has options that change its bytecode, or prevent compiling.

    Such options concern warnings, debug ranges and long numbers: bytecode compiled with them does
    not suit other users.
    """
    longest = getattr(sys, "get_int_max_str_digits", lambda: 0)()
    usual = getattr(sys.int_info, "default_max_str_digits", 0)
    named = sys.warnoptions or sys._xoptions or "PYTHONNODEBUGRANGES" in os.environ
    return bool(named) or longest != usual


def compile_packed(entry: Entry, source: Source, target: Path) -> Compiled:
    """Compile as ``compile_all`` does, from the pack of ``source``.

    The worker processes read files: the sources are unpacked first. Raise DamagedEntry if the pack
    cannot be read, and OSError as ``compile_all`` does.
    """
    return _compile_copies(entry, source.copy, target)


def compile_checked(entry: Entry, source: Source, target: Path) -> Compiled:
    """Compile as ``compile_all`` does, but from checked copies of the files of ``source``.

    The copies have the bytes that the manifest lists: the publisher can edit the files meanwhile.
    Raise DamagedEntry if a file differs, and OSError as ``compile_all`` does.
    """
    return _compile_copies(entry, source.copy_checked, target)


def _compile_copies(
    entry: Entry, copy: Callable[[StoredFile, Path], None], target: Path
) -> Compiled:
    """Compile copies of the sources in a temporary directory; beside ``target`` if that is full."""
    files = [file for file in entry.manifest.files if file.path.endswith(".py")]

    def copies(directory: Path) -> Path:
        for file in files:
            copy(file, directory)
        return directory

    with contextlib.ExitStack() as stack:
        try:
            source = copies(stack.enter_context(temporary_directory()))
        except OSError as error:
            if error.errno not in NO_SPACE_ERRORS:
                raise
            stack.close()
            beside = tempfile.TemporaryDirectory(dir=target.parent)
            source = copies(Path(stack.enter_context(beside)))
        return compile_all(entry, source, target)


def _compile_here(paths: Sequence[str], source: Path, target: Path) -> _Results:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as pip and the worker processes do
        return {path: compile_source(str(source), str(target), path) for path in paths}


def _compile_beside(wanted: int, paths: Sequence[str], source: Path, target: Path) -> _Results:
    """Return the results of up to ``wanted`` worker processes.

    A path has no result if its process did not start, or was killed before. Raise OSError if the
    disk is full.
    """
    results: _Results = {}
    full = 0
    with contextlib.ExitStack() as ends:
        directories = [ends.enter_context(Directory.open(path)) for path in (source, target)]
        processes = _start(wanted, directories)
        for process in processes:
            ends.callback(_end, process)
        names = [(str(one.path), one.descriptor) for one in directories]
        for number, process in enumerate(processes):
            share = list(paths[number :: len(processes)])
            _order(process, {"source": names[0], "target": names[1], "paths": share})
        for process in processes:
            output, _ = process.communicate()
            for line in output.splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue  # the process was killed while it wrote this line
                path, outcome, why = json.loads(line)
                if path is None:
                    full = outcome
                else:
                    results[path] = outcome, why
    if full:
        raise OSError(full, os.strerror(full), str(target))
    return results


def _start(wanted: int, handed: Sequence[Directory]) -> list[subprocess.Popen[bytes]]:
    """Start up to ``wanted`` worker processes, which wait for their jobs.

    If a limit on processes holds, fewer start, so that pip can still start a thread. The worker
    processes inherit the descriptors of ``handed``: an interpreter that has capabilities may not
    use the descriptors of another process by name, and a path could lead elsewhere by now.
    """
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
    except OSError as error:  # EAGAIN, ENOMEM, EMFILE; or the interpreter was deleted
        logger.debug("Only %s compilers can be started: %s", len(processes), error)
    except BaseException:  # Ctrl-C
        for process in processes:
            _end(process)
        raise
    while processes and not can_start_threads(_RESERVE):
        _end(processes.pop())
    return processes


def _order(process: subprocess.Popen[bytes], job: Mapping[str, object]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process ended early: its sources are UNTRIED
        process.stdin.write(json.dumps(job).encode())
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.stdin = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill ``process`` if it still runs, close its pipes and wait for its end."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()
