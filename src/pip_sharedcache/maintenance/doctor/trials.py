"""Trials: whether publishing works, and which link mode would place files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.doctor.report import (
    DoctorReport,
    forget,
    quoted,
    writers_of,
)
from pip_sharedcache.maintenance.doctor.surroundings import (
    add_little_space,
    mount_of,
    protected_hardlinks,
)
from pip_sharedcache.model import LinkMode, Policy, StoredFile
from pip_sharedcache.placement import (
    ARE_PACKED,
    PLACED,
    reflink_refusal,
    try_link_modes,
    try_writing,
)
from pip_sharedcache.store import SHARDS, WHEELS, Source, Store, layout_name, read_manifest
from pip_sharedcache.store.packs import PACK

_PROBE_TIME = 10**9  # seconds since the epoch: any whole second is suitable


class Trials:
    """The trials with one store and one environment; each adds facts and findings to a report."""

    def __init__(
        self, report: DoctorReport, store: Store, settings: Settings, environment: Path
    ) -> None:
        self._report = report
        self._store = store
        self._settings = settings
        self._environment = environment
        self._placed = False

    def run(self, sample: Path | None) -> None:
        """Publish a probe if this process may, and place a file by each link mode.

        The file is the largest of the entry ``sample``, else the probe. All files are removed
        again.
        """
        if sample is not None:
            self._place_from(sample)
        self._publish()
        if not self._placed:
            self._report.add_fact("link-mode", "not tried: no file is there for a trial", None)

    def _place_from(self, sample: Path) -> None:
        """Place the largest file of an entry; nothing if the entry is damaged or was retired."""
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(Directory.open(sample))
                manifest = read_manifest(held)[0]
            except (DamagedEntry, OSError):
                return
            if manifest.files:
                largest = max(manifest.files, key=lambda file: file.size)
                self._place(held, largest, packed=manifest.packed, copied=manifest.packed)

    def _publish(self) -> None:
        store, report = self._store, self._report
        where = _where_to_publish(store)
        if store.policy is Policy.READ_ONLY:
            report.add_fact("publishing", "not tried: the settings call the store read-only", False)
        elif where is None or not os.access(where, os.W_OK | os.X_OK):
            missing, mount = store.missing_directories()[0], mount_of(store.path.resolve())
            writable = mount is not None and not mount.read_only
            if trust.user_id() == 0 and where is not None and writable and not missing:
                self._find_mapping("a file server may treat root as another user (root_squash)")
            else:
                why = missing or "you may read the store only"
                report.add_fact("publishing", f"not possible for you: {why}", False)
        elif (owner := fs.mapped_owner(where)) is not None:
            self._find_mapping(fs.mapping_reason(owner))
        else:
            try:
                with try_writing(where, _PROBE_TIME) as (held, file):
                    text = "works: a probe was written, synced, renamed and removed"
                    report.add_fact("publishing", text, True)
                    if not self._placed:
                        self._place(held, file, packed=False, copied=store.packed)
            except OSError as error:
                report.add_fact("publishing", f"fails: {reason(error)}", False)
                self._find_failure(error)

    def _find_mapping(self, why: str) -> None:
        self._report.add_fact("publishing", f"not possible for you: {why}", False)
        user = trust.user_name(trust.user_id())
        self._report.add_finding(
            "owner-mapped",
            f"Nothing can be published in {self._store.path} by {user}: {why}",
            f"runuser -u USER -- pip-sharedcache --sharedcache-dir {quoted(self._store.path)} "
            "store add REQUIREMENT",
            "the export of the file server maps users (root_squash, all_squash)",
            (0,),
        )

    def _find_failure(self, error: OSError) -> None:
        path, report, owners = self._store.path, self._report, (0, self._store.owner)
        if error.errno not in fs.NO_SPACE_ERRORS:
            sentence = f"A probe cannot be published in {path}: {reason(error)}"
            command = f"df {quoted(path)}; dmesg | tail"
            report.add_finding("publishing", sentence, command, "the cause is not known", owners)
        elif not any(finding.name == "free-space" for finding in report.findings):
            what = f"refuses a probe ({reason(error)}): nothing new can be published"
            add_little_space(report, path, what, owners)

    def _place(self, held: Directory, file: StoredFile, *, packed: bool, copied: bool) -> None:
        """Place ``file`` of the open entry by each link mode, and report which would be used.

        ``packed``: whether the entry is. ``copied``: whether entries like it are; they are copied.
        """
        self._placed = True
        report, environment, asked = self._report, self._environment, self._settings.link_mode
        publisher = held.status().st_uid
        files = Source(held, publisher, [file], packed=packed)
        links = (LinkMode.REFLINK, LinkMode.HARDLINK, LinkMode.SYMLINK)
        left_out = dict.fromkeys(links, ARE_PACKED) if copied else {}
        if not copied and self._store.policy is Policy.READ_ONLY and asked is not LinkMode.HARDLINK:
            left_out[LinkMode.HARDLINK] = "not tried: it would change the link count in the store"
        with _directory_in(environment) as directory:
            if directory is None:
                report.add_fact("link-mode", f"not tried: you may not write {environment}", None)
                return
            try:
                refusals = try_link_modes(files, file, directory, left_out)
            except (DamagedEntry, OSError) as error:
                report.add_fact("link-mode", f"not tried: {error}", None)
                return
            finally:
                files.close_pack()
            self._tell_layout(held, file, directory, packed=packed)
        whose = f"a file of {trust.user_name(publisher)}"
        works = ", ".join(mode.value for mode, why in refusals.items() if not why)
        refused = ", ".join(f"{mode.value} ({why})" for mode, why in refusals.items() if why)
        order = (asked, LinkMode.REFLINK, LinkMode.COPY)
        gets = next((mode for mode in order if not refusals[mode]), LinkMode.COPY)
        text = f"{gets.value} for {environment} (tried with {whose}; possible: {works}"
        text += f"; not {refused})" if refused else ")"
        by_name = {mode.value: why or None for mode, why in refusals.items()}
        value = {"asked": asked.value, "gets": gets.value, "refusals": by_name}
        report.add_fact("link-mode", text, value)
        chosen = self._settings.chosen.get("link-mode")
        if not refusals[asked] or chosen is None:
            return
        why = refusals[asked]
        others = publisher != trust.user_id()
        if asked is LinkMode.HARDLINK and others and protected_hardlinks():
            why += "; fs.protected_hardlinks allows it for own files only"
        elif mount_of(held.path.resolve()) != mount_of(environment.resolve()):
            why += "; they are on different file systems"
        source = chosen[-1].source
        report.add_finding(
            "link-mode",
            f"link-mode = {asked.value} is asked for ({source}), but {whose} cannot be "
            f"{PLACED[asked]} into {environment} ({why}): {gets.value} is used",
            forget("link-mode", source),
            "the setting is your choice",
            writers_of(source),
        )

    def _tell_layout(
        self, held: Directory, file: StoredFile, directory: Path, *, packed: bool
    ) -> None:
        """Report the layout of the store, and whether the other one would be cheaper.

        The name of a file in ``held`` is that of ``file``; files would be placed in ``directory``.
        """
        name = PACK if packed else f"files/{file.path}"
        with contextlib.suppress(OSError):
            descriptor = held.open_file(name)
            try:
                refused = reflink_refusal(descriptor, directory)
            finally:
                os.close(descriptor)
            links = self._settings.link_mode in (LinkMode.HARDLINK, LinkMode.SYMLINK)
            suits = layout_name(bool(refused) and not links)
            layout = layout_name(self._store.packed)
            text = layout
            if suits != layout:
                why = f"files cannot be reflinked there ({refused})" if refused else "reflinks work"
                why = f"link-mode is {self._settings.link_mode.value}" if links else why
                text += f"; {suits} would be cheaper for {self._environment}, since {why}: "
                text += f"pip-sharedcache store repack --layout {suits}"
            self._report.add_fact("layout", text, {"layout": layout, "cheaper": suits})


def _where_to_publish(store: Store) -> Path | None:
    """Return the deepest directory in which entries are published; None if it cannot be opened."""
    shards = ((WHEELS, shard) for shard in SHARDS)
    for names in (*shards, (WHEELS,), ()):
        try:
            with store.opened(*names) as (held, *_):
                return held.path
        except FileNotFoundError:
            continue  # a store made by hand has only the directories needed so far
        except OSError:
            return None  # not a directory, or not readable
    return None


@contextlib.contextmanager
def _directory_in(environment: Path) -> Iterator[Path | None]:
    """Yield a new directory in ``environment``, or else beside it, and remove it at the end.

    Yield None if this process may make a directory in neither place.
    """
    for place in (environment, environment.parent):
        fs.sweep_temporary(place)
        try:
            made = tempfile.mkdtemp(prefix=f".{fs.temporary_name()}-", dir=place)
        except OSError:
            continue
        try:
            yield Path(made)
        finally:
            os.rmdir(made)
        return
    yield None
