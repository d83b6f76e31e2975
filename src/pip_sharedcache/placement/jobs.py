"""What the linker is given, and what it says was done: values, nothing here touches a disk."""

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
    """What a directory of the environment means for what is created in it.

    ``grant``: the group's bits that a group environment gives to what is created there, 0
    elsewhere.
    """

    device: int
    grant: int

    @classmethod
    def of(cls, status: os.stat_result, group_environment: bool) -> TargetDir:
        """Read off the directory's ``status`` whether a group shares it (setgid and writable)."""
        shared = status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IWGRP
        return cls(status.st_dev, status.st_mode & 0o070 if shared and group_environment else 0)


class Job(NamedTuple):
    """One file of an entry, and where it is to appear.

    ``private`` files (.dist-info, scripts) are an inode of our own in every link mode.
    """

    file: StoredFile
    destination: str
    target_dir: TargetDir
    private: bool = False


@dataclass
class PlacementResult:
    """What was done with a batch of jobs; grows as they are done.

    ``created``: destinations where nothing was before. ``replaced``: those that were cleared,
    whatever came of it. ``under_way``: a destination where nothing was before, and something may
    be now: Ctrl-C can come right after the system call that made it. ``damaged``: jobs whose file
    in the store is not what the manifest says; nothing was touched for those. ``untimed``: sources
    that the file system gave another time, so that no bytecode of ours fits them. ``written``:
    destinations that may not be on the disk yet: a hard link may lead to what is made durable only
    at the end of the run, a symlink leads to what is visible.
    """

    files: Counter[LinkMode] = field(default_factory=Counter)
    size: Counter[LinkMode] = field(default_factory=Counter)  # bytes
    created: list[str] = field(default_factory=list)
    damaged: list[tuple[Job, DamagedEntry]] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    untimed: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    under_way: str = ""

    def add(self, other: PlacementResult) -> None:
        """What ``other`` tells was done, too."""
        self.files.update(other.files)
        self.size.update(other.size)
        self.created += other.created
        self.damaged += other.damaged
        self.replaced |= other.replaced
        self.untimed |= other.untimed
        self.written += other.written

    def record(self, job: Job, mode: LinkMode, replaced: bool) -> None:
        """One job is done."""
        self.files[mode] += 1
        self.size[mode] += job.file.size
        if mode is not LinkMode.SYMLINK and job.file.size:
            self.written.append(job.destination)
        if not replaced and job.destination not in self.replaced:
            self.created.append(job.destination)
        self.under_way = ""


def path_in(library: str, file: StoredFile) -> str:
    """Where ``file`` of an entry lies in the directory ``library``."""
    return os.path.join(library, file.path.replace("/", os.sep))
