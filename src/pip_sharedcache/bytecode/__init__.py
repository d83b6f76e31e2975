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
import warnings
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pip_sharedcache import resources
from pip_sharedcache.bytecode import worker
from pip_sharedcache.bytecode.worker import DAMAGED, LEFT, UNTRIED
from pip_sharedcache.fs import (
    HANDS_ON_DESCRIPTORS,
    NO_SPACE_ERRORS,
    Directory,
    can_start_threads,
    cpus,
    read_at,
)
from pip_sharedcache.model import Compiled, Entry, Spooled, StoredFile
from pip_sharedcache.store import PACK, Source, Spools, compiled_path

logger = logging.getLogger(__name__)

#: The result for each source, by its path, and the descriptor of its spool.
_Results = dict[str, tuple[worker.Done, int]]

_WORKER = resources.path_of("bytecode", "worker.py")
_RESERVE = 1  # threads that pip can start at the same time: its progress bar
_SMALL = 100_000  # bytes of source that compile in the time in which an interpreter starts
_EACH = 3_000  # bytes of source that compile in the time of one open, write and rename
_LONGEST = 255  # bytes in the name of a file (NAME_MAX)
_NO_RESULT = worker.Done("", UNTRIED, "its process has ended"), -1


class _Handed(NamedTuple):
    """A file or directory that worker processes use: its path, and its descriptor here, if any."""

    path: Path
    descriptor: int | None

    @property
    def number(self) -> int | None:
        """Return the descriptor that a worker process inherits; None where none can."""
        return self.descriptor if HANDS_ON_DESCRIPTORS else None


class _Job(NamedTuple):
    """The sources to compile, all in one directory or pack, and the spools for the bytecode."""

    source: _Handed
    files: Sequence[worker.File]
    spools: Spools


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


def compile_all(entry: Entry, source: Source, spools: Spools, *, hashes: bool = False) -> Compiled:
    """Compile all sources of ``entry``, which is open as ``source``, into ``spools``.

    ``hashes``: whether each source must have the bytes that the manifest lists: its publisher can
    edit it meanwhile. Raise DamagedEntry if one has not, or if its pack cannot be read; OSError if
    the disk is full, and with EAGAIN if the options of this process change bytecode and no other
    process can be started.
    """
    files = [file for file in entry.manifest.files if file.path.endswith(".py")]
    # Deal out large sources first, in turn, so that the processes end together.
    files.sort(key=lambda file: file.size, reverse=True)
    workers = min(cpus(), sum(file.size + _EACH for file in files) // _SMALL)
    asked = _asked_of_this_process()
    workers = max(workers, 1 if asked and files else 0)
    with _opened(source) as directory:
        job = _Job(directory, [_row(file, hashes) for file in files], spools)
        results: _Results = {}
        if workers >= (1 if asked else 2):
            results = _compile_beside(workers, job)
        if asked and files and not results:  # bytecode of this process would not suit other users
            raise OSError(errno.EAGAIN, "No process can be started to compile bytecode")
        if not asked:
            results.update(_compile_here(job, results))
    made, left, untried = [], [], {}
    for file in files:
        done, spool = results.get(file.path, _NO_RESULT)
        if done.outcome == DAMAGED:
            raise source.damaged(file, done.why)
        compiled = compiled_path(file.path)
        if done.outcome == LEFT or len(os.fsencode(compiled.rpartition("/")[2])) > _LONGEST:
            left.append(file.path)
        elif done.outcome == UNTRIED:
            untried[file.path] = done.why
        else:
            made.append(Spooled(compiled, spool, done.start, done.size, done.crc, done.sha256))
    return Compiled(made, left, untried)


def _asked_of_this_process() -> bool:
    """Return whether this process has options that change its bytecode, or prevent compiling.

    Such options concern warnings, debug ranges and long numbers: bytecode compiled with them does
    not suit other users.
    """
    longest = getattr(sys, "get_int_max_str_digits", lambda: 0)()
    usual = getattr(sys.int_info, "default_max_str_digits", 0)
    named = sys.warnoptions or sys._xoptions or "PYTHONNODEBUGRANGES" in os.environ
    return bool(named) or longest != usual


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[_Handed]:
    """Yield the pack of ``source``, or the directory of its files. Raise DamagedEntry, OSError."""
    if source.packed:
        yield _Handed(source.held.path / PACK, source.pack().descriptor)
        return
    with Directory.open(source.held.proc_path / "files") as files:
        yield _Handed(files.path, files.descriptor)


def _row(file: StoredFile, hashes: bool) -> worker.File:
    return worker.File(file.path, file.size, file.mtime, file.offset, file.sha256 if hashes else "")


def _compile_here(job: _Job, others: Container[str]) -> _Results:
    """Return the results of the sources that are not in ``others``."""
    files = [file for file in job.files if file.path not in others]
    if not files:
        return {}
    source = job.source.descriptor if files[0].offset >= 0 else str(job.source.path)
    assert source is not None  # a pack is a file, which has a descriptor everywhere
    spool = job.spools.new().descriptor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as pip and the worker processes do
        return {done.path: (done, spool) for done in worker.compile_all(source, spool, files)}


class _Started(NamedTuple):
    """A worker process, its spool, and the descriptor of the file to which it writes results.

    The file is no pipe: a process whose pipe is full would wait until the one before it has ended.
    """

    process: subprocess.Popen[bytes]
    spool: _Handed
    results: int


def _compile_beside(wanted: int, job: _Job) -> _Results:
    """Return the results of up to ``wanted`` worker processes.

    A path has no result if its process did not start, or was killed before. Raise OSError if the
    disk is full.
    """
    results: _Results = {}
    full = 0
    with contextlib.ExitStack() as ends:
        workers = _start(wanted, job)
        for one in workers:
            ends.callback(_end, one.process)
        for number, one in enumerate(workers):
            _order(one, job.source, job.files[number :: len(workers)])
        for process, spool, lines in workers:
            process.wait()
            for line in read_at(lines, os.fstat(lines).st_size, 0).splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    continue  # the process was killed while it wrote this line
                path, *rest = json.loads(line)
                if path is None:
                    (full,) = rest
                else:
                    assert spool.descriptor is not None
                    results[path] = worker.Done(path, *rest), spool.descriptor
    if full:
        raise OSError(full, os.strerror(full))
    return results


def _start(wanted: int, job: _Job) -> list[_Started]:
    """Start up to ``wanted`` worker processes, which wait for their jobs.

    If a limit on processes holds, fewer start, so that pip can still start a thread. The worker
    processes inherit descriptors: an interpreter that has capabilities may not use those of another
    process by name, and a path could lead elsewhere by now. Raise OSError if the disk is full.
    """
    level = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", *level, str(_WORKER)]
    workers: list[_Started] = []
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    try:
        while sys.executable and len(workers) < wanted:
            spool, results = _Handed(*job.spools.new()), job.spools.new().descriptor
            numbers = [one.number for one in (job.source, spool) if one.number is not None]
            process = subprocess.Popen(
                command, stdin=pipe, stdout=results, stderr=nowhere, pass_fds=numbers
            )
            workers.append(_Started(process, spool, results))
    except BaseException as error:
        # EAGAIN, ENOMEM, EMFILE; or the interpreter was deleted
        if not isinstance(error, OSError) or error.errno in NO_SPACE_ERRORS:
            for one in workers:
                _end(one.process)
            raise
        logger.debug("Only %s compilers can be started: %s", len(workers), error)
    while workers and not can_start_threads(_RESERVE):
        _end(workers.pop().process)
    return workers


def _order(one: _Started, source: _Handed, files: Sequence[worker.File]) -> None:
    handed = {"source": source, "spool": one.spool}
    names = {name: (str(which.path), which.number) for name, which in handed.items()}
    process = one.process
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process ended early: its sources are UNTRIED
        process.stdin.write(json.dumps({**names, "files": files}).encode())
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.stdin = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill ``process`` if it still runs, close its pipe and wait for its end."""
    if process.poll() is None:
        process.kill()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    process.wait()
