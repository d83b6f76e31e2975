"""The wrappers around pip's installation step while ``pip install`` runs.

Every wrapper calls pip's own function unchanged unless an installation through the store is in
progress. pip runs one installation at a time in one thread, so its state is in plain attributes.
"""

from __future__ import annotations

import enum
import errno
import importlib.util
import logging
import sys
import zipfile
from collections.abc import Callable
from optparse import Values
from pathlib import Path
from typing import Any

from pip_sharedcache import bytecode, fs, interrupts
from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import Entry
from pip_sharedcache.pip_adapter import local_wheels, offline, safety_wrappers, seams
from pip_sharedcache.pip_adapter.bootstrap import CARRIED
from pip_sharedcache.pip_adapter.builds import Builds
from pip_sharedcache.pip_adapter.downloads import Downloads
from pip_sharedcache.pip_adapter.fetching import Fetching, store_unusable
from pip_sharedcache.pip_adapter.import_hooks import resolve_lazy_imports
from pip_sharedcache.pip_adapter.parallel import LeftToOthers, ParallelInstall
from pip_sharedcache.pip_adapter.progress import bars
from pip_sharedcache.pip_adapter.protocols import Requirement, WheelFile
from pip_sharedcache.pip_adapter.resolution import Resolutions
from pip_sharedcache.pip_adapter.seams import Arguments, Call, Keywords, Original
from pip_sharedcache.pip_adapter.targets import environment_of
from pip_sharedcache.pip_adapter.wheel_checks import is_full, is_torn, tells_of
from pip_sharedcache.placement import Placement
from pip_sharedcache.session import notices, opening
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import RunWheel

logger = logging.getLogger(__name__)


class _Outcome(enum.Enum):
    """The outcome of the installation of one wheel."""

    DONE = "installed through the store"
    AGAIN = "repeated with the wheel of a sound entry"
    REDOWNLOAD = "deleted, or damaged with its wheel: pip downloads the wheel and installs it"
    WITHOUT_STORE = "left to pip's own installer"
    LEAVE_TO_PARENT = "left to the parent process of this worker process"


class _Stopped(Exception):
    """The early end of pip's installation of a wheel, with an ``outcome``.

    ``wheel_path``: the path of pip's next wheel; "" for the same wheel.
    """

    def __init__(self, outcome: _Outcome, why: str, wheel_path: str = "") -> None:
        super().__init__(why)
        self.outcome = outcome
        self.wheel_path = wheel_path


class InstallWrappers:
    """The wrappers and the state of the one installation in progress.

    ``start``: opens the session of a run, with the callback for its progress bars.
    ``declines``: returns whether plain pip makes the run with these options of pip."""

    def __init__(
        self,
        start: Callable[..., Session],
        declines: Callable[[Values], bool] = lambda options: False,
    ) -> None:
        self._start = start
        self._declines = declines
        self.session: Session | None = None
        self.placement: Placement | None = None
        self._downloads = Downloads()
        self._builds = Builds(self._downloads)
        self._resolutions = Resolutions(self._downloads)
        self._fetching = Fetching(start, declines, self._downloads)
        self._parallel: ParallelInstall | None = None
        self._compiles = True
        self._device = 0
        self._own_wheel: Path | None = None  # None where pip was handed the entry's wheel
        self._entry: Entry | None = None

    def put_in(self) -> None:
        """Wrap every seam, in the module that looks it up when pip installs."""
        for part in (self._downloads, self._builds, self._resolutions, self._fetching):
            part.put_in()
        for seam, wrapper in (
            (seams.RUN_INSTALL, seams.during(lambda: self._start, self._run_install)),
            (seams.INSTALL_ALL, seams.during(lambda: self.session, self._install_all)),
            (seams.INSTALL_WHEEL, seams.during(lambda: self.session, self._install_wheel)),
            (seams.PARSE_WHEEL, seams.during(lambda: self.placement, self._parse_wheel)),
            (seams.NEW_FILE, self._new_file),
            (seams.SAVE_FILE, self._save_file),
            (
                seams.ENSURE_DIRECTORY,
                seams.during(lambda: self.placement, safety_wrappers.directory),
            ),
            (seams.COMPACT, safety_wrappers.information_first(lambda: self.session is not None)),
            (seams.WRITE_SCRIPT, seams.during(lambda: self.placement, safety_wrappers.script)),
            (seams.WRITE_RECOVERY, seams.during(lambda: self.placement, safety_wrappers.recovery)),
        ):
            seams.wrap(seam, wrapper)
        for seam in (seams.WHEEL_DISTRIBUTION, seams.INSTALL_ALL, seams.INSTALL_WHEEL):
            for importer in seam.importers:
                seams.hand_on(seam, importer)
        seams.stand_in(seams.COMPILE, compile_file=self._compile_file)
        seams.stand_in(seams.FLUSH, fsync=self._flush)

    # -- the whole run

    def _run_install(self, start: Callable[..., Session], call: Call) -> Any:
        options: Values = call.named["options"]
        if self._declines(options):
            return call.proceed()
        with opening.dry_run(bool(getattr(options, "dry_run", False))):
            return self._run_with(start, call, options)

    def _run_with(self, start: Callable[..., Session], call: Call, options: Values) -> Any:
        try:
            session = start(bars(options))
        except Exception as error:  # for example a process limit, which pip may not reach
            logger.warning("%s", store_unusable(error))
            return call.proceed()
        if why := bytecode.not_shared_because():
            logger.debug("Bytecode is not shared, pip compiles it: %s", why)
        resolve_lazy_imports(CARRIED)
        if getattr(options, "target_dir", None):
            # The links would be registered in pip's temporary directory, where they are not later.
            session.links.give_up_symlinks("pip moves what it installs with --target")
        self.session = session
        self._downloads.begin(session, options)
        self._builds.begin(options)
        self._resolutions.begin(options)
        if options.verbose <= options.quiet:
            notices.hold()
        try:
            with offline.only_the_store(session, options):
                status = call.proceed()
        except BaseException:
            session.end_head_start()
            raise
        finally:
            self.session = None
            self._downloads.end()
            session.finish()
        # A failed run installed nothing. pip sets its target options during the run.
        if status == 0 and not session.conclude(environment_of(options)):
            return interrupts.INTERRUPTED
        return status

    def _install_all(self, session: Session, call: Call) -> Any:
        requirements: list[Requirement] = list(call.named["requirements"])
        session.use_head_start()
        if any(getattr(requirement, "should_reinstall", True) for requirement in requirements):
            # A file that pip removes for one may be a new file of another: keep pip's order.
            return call.proceed()
        how = seams.handed_on(call.named, seams.INSTALL_ONE)
        if how is None:
            logger.debug("Not in parallel: %s has unknown parameters", seams.INSTALL_ONE.name)
            return call.proceed()
        before, self._parallel = self._parallel, ParallelInstall(session, requirements, how)
        failed = True
        try:
            self._parallel.start(session.settings.processes, self._downloads.scripts_of)
            result = call.proceed()
            failed = False
            return result
        finally:
            together, self._parallel = self._parallel, before
            together.end(failed=failed)

    # -- one wheel

    def _install_wheel(self, session: Session, call: Call) -> Any:
        install, bound = call.original, call.named
        if self._parallel is not None and self._parallel.take(bound["name"]):
            return None
        outcome = _Outcome.AGAIN
        while outcome is _Outcome.AGAIN:
            outcome = self._through_store(session, install, bound)
        if outcome is _Outcome.DONE:
            return None  # as pip's own function does
        if outcome is _Outcome.LEAVE_TO_PARENT:
            raise LeftToOthers
        if outcome is _Outcome.REDOWNLOAD and self._entry is not None:
            # Only after the undo: else files of the entry would stay beside those of pip.
            bound["wheel_path"] = self._downloads.replace(session, self._entry)
        return self._install_by_pip(session, install, bound)

    def _through_store(self, session: Session, install: Original, bound: Keywords) -> _Outcome:
        """Install the wheel ``bound["wheel_path"]``, and replace that path by the next one to use.

        Raises the errors that pip is to handle. Undoes the installation unless it returns DONE."""
        is_worker = self._parallel is not None and self._parallel.is_worker
        wheel = session.lookup.relocate(bound["wheel_path"])
        if wheel.entry is not None and session.lookup.is_gone(wheel):
            if is_worker:
                return _Outcome.LEAVE_TO_PARENT
            session.lookup.mark_vanished(wheel.entry)
            wheel = session.wheels.at(self._downloads.replace(session, wheel.entry))
        bound["wheel_path"] = wheel.path
        self._entry = wheel.entry
        self._own_wheel = None if wheel.entry is not None else Path(wheel.path)
        self.placement = placement = session.begin(wheel.path)
        if placement is None:
            if is_worker:
                return _Outcome.LEAVE_TO_PARENT
            # At the path of an entry's wheel there may be another, unchecked wheel by now.
            return _Outcome.WITHOUT_STORE if wheel.entry is None else _Outcome.REDOWNLOAD
        self._entry = placement.entry
        self._compiles = bool(bound.get("pycompile", True))
        self._device = fs.device_of(bound["scheme"].purelib)
        try:
            install(**bound)
            if placement.undone:
                self._restore(session, placement)
            session.settle(placement, later=self._parallel is not None)
            return _Outcome.DONE
        except BaseException as error:
            placement.undo()
            outcome = self._outcome_of(error, session, wheel)
            if outcome is None:
                if isinstance(error, OSError):
                    placement.dist_info.name_finally(error)
                raise
            if isinstance(error, _Stopped) and error.wheel_path:
                bound["wheel_path"] = error.wheel_path
        finally:
            self.placement = None
        if outcome is _Outcome.AGAIN:
            return outcome
        if is_worker:
            return _Outcome.LEAVE_TO_PARENT
        session.fall_back(placement.entry)
        return outcome

    def _outcome_of(
        self, error: BaseException, session: Session, wheel: RunWheel
    ) -> _Outcome | None:
        """Return the outcome of ``error`` for ``wheel``; None for an error of plain pip itself."""
        served, entry = wheel.entry, self._entry
        if isinstance(error, _Stopped):
            if error.outcome is _Outcome.WITHOUT_STORE:
                self._make_room(session, self._device)
            return error.outcome
        if isinstance(error, FileNotFoundError) and error.filename == wheel.path:
            if served is None or entry is None:
                return _Outcome.WITHOUT_STORE
            # Garbage collection retired the entry after our check, before pip opened it.
            session.lookup.mark_vanished(entry)
            return _Outcome.REDOWNLOAD
        if served is not None and is_torn(error):  # its publisher changes it while pip reads it
            session.lookup.mark_damaged(served, f"{served.wheel}: the archive is damaged")
            return _Outcome.REDOWNLOAD
        too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        if too_long or (is_full(error) and self._make_room(session, self._device)):
            return _Outcome.WITHOUT_STORE
        return None

    def _install_by_pip(self, session: Session, install: Original, bound: Keywords) -> Any:
        """Let pip alone install the wheel, without staged entries if these fill the disk."""
        device = fs.device_of(bound["scheme"].purelib)
        if session.takes_last_space(device):
            self._make_room(session, device)
        try:
            return install(**bound)
        except OSError as error:
            if not (is_full(error) and self._make_room(session, device)):
                raise
        return install(**bound)

    def _make_room(self, session: Session, device: int) -> bool:
        """Stop publishing on the full ``device`` (st_dev); return whether that freed space."""
        freed = session.give_up_publishing(device)
        if self._parallel is not None:
            freed |= self._parallel.give_up_publishing(device)
        return session.free_head_start(device) or freed

    def _parse_wheel(self, placement: Placement, call: Call) -> Any:
        info_directory, metadata = call.proceed()
        if self.session is None:
            return info_directory, metadata
        staged = placement.stage_dist_info(info_directory)
        archive = call.named["wheel_zip"]
        manifest = placement.entry.manifest
        if not tells_of(manifest, archive, whole=self.session.settings.verify):
            where = placement.entry.path
            self._doubt(self.session, placement, f"{where}: entry.json differs from the wheel")
            placement.take_nothing()
            return staged, metadata
        if self._compiles:
            self.session.bytecode.provide(placement)
            if self.session.takes_last_space(self._device):
                raise _Stopped(_Outcome.WITHOUT_STORE, "no free space")
        self.session.before_placing()
        left = placement.take_over(archive.namelist(), compiles=self._compiles, read=archive.read)
        archive.namelist = lambda: left  # the names in pip's loop
        return staged, metadata

    def _restore(self, session: Session, placement: Placement) -> None:
        """Install with pip's own code the files that could not be placed."""
        if any(is_full(error) for _, error in placement.undone):
            raise _Stopped(_Outcome.WITHOUT_STORE, "no free space")
        module = sys.modules[seams.SAVE_FILE.module]
        self.placement = None  # else pip's own code would call the wrappers again
        damaged = [(job, error) for job, error in placement.undone if placement.is_of_wheel(job)]
        for job, error in damaged:
            self._doubt(session, placement, str(error))
            with zipfile.ZipFile(self._own_wheel or placement.wheel) as archive:
                module.ZipBackedFile(job.file.path, job.destination, archive).save()
            placement.restored(job)
        while (what := placement.bytecode_damage()) and session.bytecode.replace(placement, what):
            placement.place_bytecode_again()
        for job, _ in placement.undone:
            source = job.destination
            if not placement.is_of_wheel(job):
                source = importlib.util.source_from_cache(source)
            if not self._compiles or not source.endswith(".py"):
                continue
            if module.compileall.compile_file(source, force=True, quiet=2):
                placement.compiled(source)
            else:
                placement.not_compiled(source)

    def _doubt(self, session: Session, placement: Placement, what: str) -> None:
        """Mark the entry as damaged, vanished or lost; return if pip has a wheel with the file.

        Raises _Stopped if another entry is sound, or if pip has the entry's own damaged wheel."""
        entry = placement.entry
        if placement.is_unreachable:
            session.lookup.mark_lost(entry, what)
        if placement.is_unreachable or fs.is_gone(entry.path):
            if self._own_wheel is None:
                session.lookup.mark_vanished(entry)
                raise _Stopped(_Outcome.REDOWNLOAD, what)
            session.lookup.mark_vanished(entry, "files are taken from pip's own wheel")
            return
        if self._parallel is not None and self._parallel.is_worker:
            # Nobody would delete the directories that pip makes in a worker process for a wheel.
            raise _Stopped(_Outcome.LEAVE_TO_PARENT, what)
        session.lookup.mark_damaged(entry, what)
        if (path := self._sound_elsewhere(session, placement)) is not None:
            session.begins_again(entry)
            raise _Stopped(_Outcome.AGAIN, what, path)
        if self._own_wheel is not None:
            session.heal(entry, self._own_wheel)
        elif local_wheels.is_sound(session, entry, placement.wheel):
            session.heal(entry, entry.wheel)
        else:
            raise _Stopped(_Outcome.REDOWNLOAD, f"{entry.wheel}: the wheel is damaged, too")

    def _sound_elsewhere(self, session: Session, placement: Placement) -> str | None:
        """Return pip's wheel, or that of a sound entry, if a sound entry exists; else None."""
        entry = placement.entry
        if self._own_wheel is None:
            other = self._downloads.another(session, str(entry.wheel), entry)
            return None if other is None else other.path
        beside = session.lookup.find([entry.manifest.digest], entry.manifest.filename)
        return str(self._own_wheel) if beside is not None else None

    def _new_file(self, init: Original, file: WheelFile, args: Arguments, kw: Keywords) -> None:
        init(*args, **kw)
        if self.placement is not None:
            file.dest_path = self.placement.destination(file.src_record_path, file.dest_path)

    def _save_file(self, save: Original, file: WheelFile, args: Arguments, kw: Keywords) -> Any:
        placement = self.placement
        if placement is None or self.session is None:
            return save(*args, **kw)
        try:
            saved = placement.save(file.src_record_path, file.dest_path)
        except DamagedEntry as error:
            self._doubt(self.session, placement, str(error))
            saved = False
        if not saved:
            return save(*args, **kw)
        file.written = True  # pip 26.3 reads this attribute; older pips ignore it
        return None

    def _compile_file(self, compile_file: Original, fullname: Any, *args: Any, **kw: Any) -> Any:
        """Place the store's bytecode, or else call compileall.compile_file."""
        placement, session = self.placement, self.session
        if placement is not None and session is not None:
            done = session.bytecode.save(placement, str(fullname))
            if done:
                return True
        return compile_file(fullname, *args, **kw)

    def _flush(self, fsync: Original, descriptor: int) -> None:
        """Skip pip's os.fsync in .dist-info, which the placement makes durable as a whole."""
        if self.placement is None:
            fsync(descriptor)
