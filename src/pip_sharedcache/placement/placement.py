"""Placement of all files of one wheel in one environment, with undo, and .dist-info last.

Most files are placed together from the manifest as soon as the library directory is known. The
others (.dist-info, scripts, files of other schemes) are placed one by one, when pip saves them.
"""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.fs.dirfd import Directory
from pip_sharedcache.fs.sync import flush_placed
from pip_sharedcache.model import Entry, StoredFile
from pip_sharedcache.placement.dist_info import DistInfo
from pip_sharedcache.placement.group_modes import share_directory
from pip_sharedcache.placement.jobs import Job, PlacementResult, TargetDir, path_in
from pip_sharedcache.placement.linker import Linker
from pip_sharedcache.placement.overlaps import meeting
from pip_sharedcache.placement.run_report import RunReport
from pip_sharedcache.placement.target_dirs import (
    TargetDirs,
    is_file,
    remove_if_empty,
    remove_placed,
)
from pip_sharedcache.store.bytecode_paths import compiled_path
from pip_sharedcache.store.sources import Source


class Placement:
    """Placement of one wheel in one environment.

    Owns the descriptors of the entry and of its bytecode; exactly one of ``commit`` and ``undo``
    ends the placement and closes them. Paths are the strings that pip uses. ``undone``: files that
    were taken over and could not be placed, with the reason: the store's file is damaged, or
    (bytecode only) the environment cannot take the file.
    """

    def __init__(self, entry: Entry, held: Directory, linker: Linker, report: RunReport) -> None:
        self.entry = entry
        self.undone: list[tuple[Job, DamagedEntry | OSError]] = []
        self._wheel = Source.of(entry, held)
        self._bytecode: Source | None = None
        self._bytecode_entry: Entry | None = None
        self.target_dirs = TargetDirs(linker.group_environment)
        self._linker = linker
        self.report = report
        self.dist_info = DistInfo("")
        self._placed: list[str] = []
        self._written: list[str] = []
        self._sources: dict[str, str] = {}
        self._since = 0
        self._taken: dict[str, StoredFile] = {}
        self._taken_bytecode: list[StoredFile] = []
        self._restored: set[str] = set()
        self._compiled: list[str] = []
        self._recorded = False
        self._meeting: frozenset[str] = frozenset()
        self._for_bytecode: set[str] = set()
        self._times: dict[str, int] = {}  # of sources, by the path of their bytecode

    @property
    def is_unreachable(self) -> bool:
        """Return whether the file server of the entry stopped answering."""
        return self._wheel.given_up is not None

    # -- .dist-info, under a temporary name until the commit

    def stage_dist_info(self, info_directory: str) -> str:
        """Return the temporary name under which pip fills ``info_directory`` until ``commit``."""
        if self.dist_info.name != info_directory:
            self.dist_info = DistInfo(info_directory)
        return self.dist_info.staged

    @property
    def wheel(self) -> Path:
        """Return the path of the entry's wheel in the open directory, valid until the end."""
        return self._wheel.held.proc_path / self.entry.manifest.filename

    @property
    def bytecode(self) -> Entry | None:
        """Return the entry whose bytecode is placed; None without one."""
        return self._bytecode_entry

    def destination(self, record_path: str, path: str) -> str:
        """Return the destination of the wheel's file ``record_path``, for pip's own ``path``."""
        information = self.dist_info
        if information.library is None and (library := information.above(record_path, path)):
            self._begin(library)
        return information.destination(record_path, path)

    def _begin(self, library: str) -> None:
        """Place the taken files in ``library``, known since pip's first file. Raises OSError."""
        information = self.dist_info
        information.library = library
        information.sweep(self._linker.unfinished(library))
        above = self.target_dirs.make(library)
        information.make()
        if above.grant:
            share_directory(information.path, above.grant)
            # By the file system's clock: pip's own files will have this ctime or a later one.
            self._since = os.lstat(information.path).st_ctime_ns
        else:
            self.target_dirs.add_made(information.path)
        self._place(self._wheel, self.target_dirs.jobs(library, self._taken.values(), information))
        if self._bytecode is not None:
            self._bytecode.given_up = self._wheel.given_up
            self._place_bytecode(library, self._bytecode)

    # -- many files at once

    def take_over(
        self, names: Sequence[str], *, compiles: bool, read: Callable[[str], bytes] | None = None
    ) -> list[str]:
        """Take over files of the archive from pip; return the others, which pip must save.

        ``names`` are all names in the archive, of which ``read`` returns one file. This placement
        takes the files of the library directory itself, with their bytecode, and those of
        .dist-info. If pip ``compiles``, pip saves sources without bytecode.
        """
        files = [name for name in names if not name.endswith("/")]
        if len(files) != len(set(files)) or set(files) != self._wheel.files.keys():
            return list(names)  # not the files of the manifest
        self._meeting, record = meeting(files), self.dist_info.record
        left = []
        for name in names:
            file, top = self._wheel.files.get(name), name.partition("/")[0]
            special = top.endswith(".data") or name in self._meeting
            if top == self.dist_info.name:
                # RECORD tells where the library is. pip may compile sources, also there.
                special |= name == record or name.endswith(".py") or record not in self._wheel.files
            if file is None or special or (compiles and not self._take_bytecode(name)):
                left.append(name)
            else:
                self._taken[name] = file
        if read is not None and self._wheel.costs_requests:
            self.dist_info.read_ahead(self._taken.values(), read)
        return left

    def take_nothing(self) -> None:
        """Leave every file to pip, because the manifest is not trusted."""
        self._wheel.files.clear()

    def _take_bytecode(self, name: str) -> bool:
        """Take over the bytecode of ``name``; return False where pip must compile ``name``."""
        if not name.endswith(".py"):
            return True
        if self._bytecode is None:
            return False
        file = self._bytecode.files.get(compiled_path(name))
        if file is not None:
            self._taken_bytecode.append(file)
        return file is not None  # pip also tries a source that did not compile before

    def _place_bytecode(self, library: str, source: Source) -> None:
        """Place the taken bytecode; add errors to ``undone``, since pip needs no bytecode."""
        taken = self._taken_bytecode
        try:
            self._place(source, self._timed(self.target_dirs.jobs(library, taken)))
        except OSError:
            met = {*self._placed, *(job.destination for job, _ in self.undone)}
            for file in taken:
                destination = path_in(library, file)
                if destination in met:
                    continue  # a second try would count it twice
                try:
                    self._place(source, self._timed(self.target_dirs.jobs(library, [file])))
                except OSError as error:
                    self.undone.append((Job(file, destination, TargetDir(0, 0)), error))

    def _timed(self, jobs: Sequence[Job]) -> list[Job]:
        """Return ``jobs``, those for bytecode with the time that its source has here."""
        times = self._times
        return [
            job._replace(private=True, source_time=times[job.destination])
            if job.destination in times
            else job
            for job in jobs
        ]

    def _place(self, source: Source, jobs: Sequence[Job]) -> None:
        outcome = PlacementResult()
        try:
            self._linker.look_ahead(source, jobs)
            new, old = self.target_dirs.divided(jobs)
            for place, some in ((self._linker.place_all, old), (self._linker.place_new, new)):
                place(source, some, outcome)
        finally:
            self._record(outcome)

    def _record(self, outcome: PlacementResult) -> None:
        self._placed += outcome.created
        self._written += outcome.written
        if outcome.under_way:
            self._placed.append(outcome.under_way)
        self.undone += outcome.damaged
        for path, seconds in outcome.times.items():
            self._times[importlib.util.cache_from_source(path)] = seconds
        self.report.placed.update(outcome.files)
        self.report.placed_bytes.update(outcome.size)

    @property
    def taken(self) -> list[str]:
        """Return the paths of files placed without pip, relative to the library directory."""
        return [*self._taken, *(file.path for file in self._taken_bytecode)]

    @property
    def library(self) -> str:
        """Return the absolute path of the library directory; "" before the first file."""
        return os.path.abspath(self.dist_info.library) if self.dist_info.library else ""

    def first_link(self) -> str:
        """Return the absolute path of one placed symlink into the entry; "" without one."""
        if self._wheel.copied:
            return ""
        library = self.dist_info.library or ""
        paths = (*self._placed, *(os.path.join(library, path) for path in self._taken))
        return next((os.path.abspath(path) for path in paths if os.path.islink(path)), "")

    def is_of_wheel(self, job: Job) -> bool:
        """Return whether ``job`` has a file of the wheel itself, and not of its bytecode."""
        return self._wheel.files.get(job.file.path) is job.file

    def bytecode_damage(self) -> str:
        """Return the first damage that kept bytecode from being placed; "" without damage."""
        errors = (error for job, error in self.undone if not self.is_of_wheel(job))
        return next((str(error) for error in errors if isinstance(error, DamagedEntry)), "")

    def place_bytecode_again(self) -> None:
        """Place damaged bytecode again, from the entry that ``use_bytecode`` set since."""
        undone, self.undone = self.undone, []
        assert self._bytecode is not None
        for job, error in undone:
            if self.is_of_wheel(job) or not isinstance(error, DamagedEntry):
                self.undone.append((job, error))
                continue
            file, path = self._bytecode.files.get(job.file.path), job.destination
            try:
                if file is None:
                    raise FileNotFoundError(errno.ENOENT, "No bytecode in the store", path)
                parent = self.target_dirs.make(os.path.dirname(path))
                self._place(self._bytecode, self._timed([Job(file, path, parent)]))
            except OSError as problem:  # pip compiles it
                self.undone.append((job, problem))

    def generated(self, path: str) -> None:
        """Record that pip made a script at ``path``, where no file was before."""
        self._placed.append(path)

    def restored(self, job: Job) -> None:
        """Record that pip placed the file of the undone ``job`` of the wheel."""
        self._placed.append(job.destination)
        self._restored.add(job.file.path)

    def compiled(self, source: str) -> None:
        """Record that pip compiled the placed ``source``, whose bytecode was undone."""
        self._compiled.append(importlib.util.cache_from_source(source))
        self._placed.append(self._compiled[-1])

    def not_compiled(self, source: str) -> None:
        """Record that the placed ``source`` gets no bytecode."""
        compiled = importlib.util.cache_from_source(source)
        library = self.dist_info.library or ""
        self._taken_bytecode = [
            file for file in self._taken_bytecode if os.path.join(library, file.path) != compiled
        ]

    # -- one file

    def save(self, record_path: str, destination: str) -> bool:
        """Place one file; return False where the entry does not list it, and pip must save it.

        Raises DamagedEntry, and OSError where the environment cannot take the file.
        """
        file = self._wheel.files.get(record_path)
        if file is None:
            return False
        if record_path in self._taken or record_path == self.dist_info.record:
            return True  # pip reads RECORD in the archive, and writes its own at the end
        top, _, rest = record_path.partition("/")
        # pip opens scripts for writing in place (fix_script), and rewrites RECORD.
        scripts = top.endswith(".data") and rest.startswith("scripts/")
        described = destination.startswith(f"{self.dist_info.path}{os.sep}")
        private = scripts or described or top == self.dist_info.name
        self._sources.pop(destination, None)
        self._place_one(self._wheel, file, destination, private=private)
        if not private and file.path.endswith(".py") and record_path not in self._meeting:
            self._sources[destination] = record_path
        return True

    def _place_one(
        self, source: Source, file: StoredFile, destination: str, *, private: bool
    ) -> None:
        job = Job(file, destination, self.target_dirs.make(os.path.dirname(destination)), private)
        before = len(self.undone)
        self._place(source, self._timed([job]))
        if len(self.undone) > before:
            raise self.undone.pop()[1]

    def use_bytecode(self, entry: Entry, held: Directory) -> None:
        """Place bytecode from ``entry``; this placement will close the open directory ``held``."""
        if self._bytecode is not None:  # it was damaged
            self._bytecode.close()
        self._bytecode, self._bytecode_entry = Source.of(entry, held), entry
        # Symlinks are registered for the wheel: garbage collection finds none into its bytecode.
        self._bytecode.copied |= self._wheel.copied

    def save_bytecode(self, source: str) -> bool:
        """Place the bytecode of the placed ``source``; return False where pip must compile it.

        Raises DamagedEntry, OSError.
        """
        compiled = importlib.util.cache_from_source(source)
        record_path = self._sources.get(source)
        if self._bytecode is not None and record_path is not None:
            file = self._bytecode.files.get(compiled_path(record_path))
            if file is not None:
                self._place_one(self._bytecode, file, compiled, private=False)
                return True
        if self.target_dirs.make(os.path.dirname(source)).grant:
            # py_compile would make the directory by the umask: no other member could delete it.
            self.target_dirs.make(os.path.dirname(compiled))
            self._for_bytecode.add(os.path.dirname(compiled))
        return False

    # -- the end: commit or undo

    def record(self) -> None:
        """Complete pip's RECORD. Raises OSError."""
        library = self.dist_info.library
        if not self._recorded and library is not None:
            compiled = [file.path for file in self._taken_bytecode]
            written = self.dist_info.complete(self._taken, compiled)
            generated = self._generated(library, [*written, *self._compiled])
            if self.target_dirs.make(library).grant:  # a member must read RECORD to uninstall
                self.target_dirs.share(generated, self._since)
            self._written += filter(is_file, generated)
            for directory in self._for_bytecode:
                remove_if_empty(directory)  # no source there compiled
        self._recorded = True

    def close(self) -> None:
        """Close the descriptors."""
        for source in filter(None, (self._wheel, self._bytecode)):
            source.close()

    def commit(self) -> None:
        """Make the finished distribution durable, then visible. Raises OSError."""
        self.record()
        self.flush(flush_placed(self.written()))
        self.make_visible()

    def written(self) -> list[str]:
        """Return the files placed or written for this wheel, RECORD last; [] once visible."""
        if self.dist_info.made_visible or not self.library:
            return []
        return [*self._written, os.path.join(self.dist_info.path, "RECORD")]

    def flush(self, kept: bool) -> None:
        """Make pip's durable files durable, unless ``written`` is already. Raises OSError."""
        self.record()
        if not kept:
            self.dist_info.flush()

    def make_visible(self) -> None:
        """Give .dist-info its final name, with a RECORD for that name. Raises OSError."""
        self.record()
        self.dist_info.make_visible()
        self.close()

    def undo(self) -> None:
        """Delete the placed files, their bytecode, and the directories made for them.

        Never raises, because another error is on its way to the user. Deletes no file if .dist-info
        is visible: Ctrl-C can come right after the commit, and the distribution is complete.
        """
        self.close()
        if self.dist_info.is_visible():
            return
        remove_placed(self._placed)
        self.dist_info.remove()
        self.target_dirs.remove_made()

    def _generated(self, library: str, paths: list[str]) -> list[str]:
        """Return the full paths of those ``paths`` in ``library`` that pip wrote itself.

        Some may not exist: the RECORD of a wheel can list any path, and pip keeps such rows.
        """
        own = (path for path in paths if path not in self._taken or path in self._restored)
        info = self.dist_info
        return [os.path.normpath(info.destination("", os.path.join(library, p))) for p in own]
