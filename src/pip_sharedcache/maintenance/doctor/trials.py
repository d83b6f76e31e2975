"""Trials: whether publishing works, and which link mode would place files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pip_sharedcache import fs, trust
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import DamagedEntry, reason
from pip_sharedcache.fs import Directory
from pip_sharedcache.maintenance.doctor.publishers import Publishers, sample_file
from pip_sharedcache.maintenance.doctor.report import DoctorReport, forget, quoted
from pip_sharedcache.maintenance.doctor.surroundings import (
    little_space,
    mount_of,
    protected_hardlinks,
)
from pip_sharedcache.model import LinkMode, Policy, StoredFile
from pip_sharedcache.placement import try_link_modes, try_writing
from pip_sharedcache.store import SHARDS, WHEELS, Store

_PROBE_TIME = 10**9  # seconds since the epoch: any whole second is suitable


def try_store(
    report: DoctorReport,
    store: Store,
    settings: Settings,
    publishers: Publishers,
    environment: Path,
) -> None:
    """Publish a probe if this process may, and place a file in ``environment`` by each link mode.

    The file is from a trusted entry in the store, of another user if possible, else from the probe.
    All files are removed again.
    """
    sample = _held_sample(publishers)
    placed = False
    if sample is not None:
        held, file = sample
        with held:
            publisher = publishers.sample_publisher
            left_out = {}
            if store.policy is Policy.READ_ONLY and settings.link_mode is not LinkMode.HARDLINK:
                left_out = {
                    LinkMode.HARDLINK: "not tried: it would change the link count in the store"
                }
            _try_placing(report, settings, held, publisher, file, environment, left_out)
        placed = True
    where = _where_to_publish(store)
    if store.policy is Policy.READ_ONLY:
        report.add_fact("publishing", "not tried: the settings call the store read-only", False)
    elif where is None:
        why = store.missing_directories()[0] or "you may read the store only"
        report.add_fact("publishing", f"not possible for you: {why}", False)
    else:
        try:
            with try_writing(where, _PROBE_TIME) as (held, file):
                report.add_fact(
                    "publishing", "works: a probe was written, synced, renamed and removed", True
                )
                if not placed:
                    uid = trust.user_id()
                    _try_placing(report, settings, held, uid, file, environment, {})
                    placed = True
        except OSError as error:
            report.add_fact("publishing", f"fails: {reason(error)}", False)
            _find_failure(report, store, error)
    if not placed:
        report.add_fact("link-mode", "not tried: no file is there for a trial", None)


def _where_to_publish(store: Store) -> Path | None:
    """Return the deepest directory in which this process may publish; None if there is none."""
    shards = ((WHEELS, shard) for shard in SHARDS)
    for names in (*shards, (WHEELS,), ()):
        try:
            with store.opened(*names) as (held, *_):
                return held.path if os.access(held.path, os.W_OK | os.X_OK) else None
        except FileNotFoundError:
            continue  # a store made by hand has only the directories needed so far
        except OSError:
            return None  # not a directory, or not readable
    return None


def _find_failure(report: DoctorReport, store: Store, error: OSError) -> None:
    owners = (0, store.owner)
    if error.errno not in fs.NO_SPACE_ERRORS:
        report.add_finding(
            "publishing",
            f"A probe cannot be published in {store.path}: {reason(error)}",
            f"df {quoted(store.path)}; dmesg | tail",
            owners,
            unfixed="the cause is not known",
        )
    elif not any(finding.name == "free-space" for finding in report.findings):
        report.add(
            little_space(
                store.path,
                f"refuses a probe ({reason(error)}): nothing new can be published",
                owners,
            )
        )


def _held_sample(publishers: Publishers) -> tuple[Directory, StoredFile] | None:
    if publishers.sample is None:
        return None
    try:
        held = Directory.open(publishers.sample)
    except OSError:
        return None
    file = sample_file(held)
    if file is None:
        held.close()
        return None
    return held, file


def _try_placing(
    report: DoctorReport,
    settings: Settings,
    held: Directory,
    publisher: int,
    file: StoredFile,
    environment: Path,
    left_out: Mapping[LinkMode, str],
) -> None:
    with _directory_in(environment) as directory:
        if directory is None:
            report.add_fact("link-mode", f"not tried: you may not write {environment}", None)
            return
        try:
            refusals = try_link_modes(held, publisher, file, directory, left_out)
        except (DamagedEntry, OSError) as error:
            report.add_fact("link-mode", f"not tried: {error}", None)
            return
    whose = f"a file of {trust.user_name(publisher)}"
    works = [mode.value for mode, why in refusals.items() if not why]
    refused = [f"{mode.value} ({why})" for mode, why in refusals.items() if why]
    asked = settings.link_mode
    order = (asked, LinkMode.REFLINK, LinkMode.COPY)
    gets = next((mode for mode in order if not refusals[mode]), LinkMode.COPY)
    text = f"{gets.value} for {environment} (tried with {whose}: {', '.join(works)} work"
    text += f"; not {', '.join(refused)})" if refused else ")"
    refusals_by_name = {mode.value: why or None for mode, why in refusals.items()}
    report.add_fact(
        "link-mode", text, {"asked": asked.value, "gets": gets.value, "refusals": refusals_by_name}
    )
    chosen = settings.in_force()["link-mode"]
    if refusals[asked] and "link-mode" in settings.chosen:
        why = refusals[asked]
        others = publisher != trust.user_id()
        if asked is LinkMode.HARDLINK and others and protected_hardlinks():
            why += "; fs.protected_hardlinks allows it for own files only"
        elif mount_of(held.path.resolve()) != mount_of(environment.resolve()):
            why += "; they are on different file systems"
        report.add_finding(
            "link-mode",
            f"link-mode = {asked.value} is asked for ({chosen.source}), but {whose} cannot be "
            f"{_DONE[asked]} into {environment} ({why}): {gets.value} is used",
            forget("link-mode", chosen.source),
            unfixed="the setting is your choice",
        )


_DONE = {
    LinkMode.REFLINK: "reflinked",
    LinkMode.HARDLINK: "hard-linked",
    LinkMode.SYMLINK: "symlinked",
    LinkMode.COPY: "copied",
}


@contextmanager
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
