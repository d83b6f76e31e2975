"""Tasks and results of the linker: values only, without access to a disk."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from pip_sharedcache.errors import DamagedEntry
from pip_sharedcache.model import LinkMode, StoredFile


@dataclass(frozen=True)
class TargetDir:
    """Properties of a directory of the environment that concern new files in it.

    ``device``: its device number (st_dev).
    ``grant``: the group's bits (octal mode) for new files in a group environment; 0 elsewhere.
    ``made``: whether this process made it in this run, without a grant.
    """

    device: int
    grant: int
    made: bool = False

    @classmethod
    def of(cls, status: os.stat_result, group_environment: bool) -> TargetDir:
        """Return the properties of a directory with ``status``.

        A group shares the directory if it is setgid and writable for the group; ``grant`` is 0
        unless ``group_environment`` is true.
        """
        shared = status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IWGRP
        return cls(status.st_dev, status.st_mode & 0o070 if shared and group_environment else 0)


class Job(NamedTuple):
    """One file of an entry, and its destination.

    ``file``: the file, as the manifest describes it.
    ``destination``: its path in the environment.
    ``target_dir``: the properties of the directory of ``destination``.
    ``private``: whether each link mode makes a new inode (.dist-info, scripts).
    ``source_time``: the time of the source of this bytecode, in seconds since 1970; None for the
        time that the bytecode contains.
    ``content``: what the file contains, where that was read already; else None.
    """

    file: StoredFile
    destination: str
    target_dir: TargetDir
    private: bool = False
    source_time: int | None = None
    content: bytes | None = None


@dataclass
class PlacementResult:
    """Result of a batch of jobs, which grows with each job.

    ``files``: the number of placed files for each link mode.
    ``size``: the bytes of placed files for each link mode.
    ``created``: destinations where no file was before.
    ``damaged``: jobs whose file in the store differs from the manifest; no file was placed.
    ``replaced``: destinations where an old file was deleted for a link, even if the link failed.
    ``times``: the times of sources that do not have that of the manifest, in seconds since 1970.
    ``written``: destinations that may not be on the disk yet. A hard link can lead to an entry that
        becomes durable only at the end of the run; a symlink leads to a visible entry.
    ``under_way``: a destination that was free, and where a file may be now: Ctrl-C can come right
        after the system call that made the file.
    """

    files: Counter[LinkMode] = field(default_factory=Counter)
    size: Counter[LinkMode] = field(default_factory=Counter)  # bytes
    created: list[str] = field(default_factory=list)
    damaged: list[tuple[Job, DamagedEntry]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    times: dict[str, int] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    under_way: str = ""

    def add(self, other: PlacementResult) -> None:
        """Add the results of ``other``."""
        self.files.update(other.files)
        self.size.update(other.size)
        self.created += other.created
        self.damaged += other.damaged
        self.replaced |= other.replaced
        self.times.update(other.times)
        self.written += other.written

    def record(self, job: Job, mode: LinkMode, replaced: bool) -> None:
        """Record that ``job`` is done; ``replaced``: whether an old file was at its destination."""
        self.files[mode] += 1
        self.size[mode] += job.file.size
        if mode is not LinkMode.SYMLINK and job.file.size:
            self.written.append(job.destination)
        if not replaced and job.destination not in self.replaced:
            self.created.append(job.destination)
        self.under_way = ""


def path_in(library: str, file: StoredFile) -> str:
    """Return the path of an entry's ``file`` in the directory ``library``."""
    return os.path.join(library, file.path.replace("/", os.sep))
