"""What is known of the link modes in one run: which one is in force, and which failed where."""

from __future__ import annotations

import errno
from typing import NamedTuple

from pip_sharedcache.model import LinkMode
from pip_sharedcache.placement.link_choice import LinkChoice

#: Errors of a link or clone that mean "not from this source to this target": the linker skips the
#: mode for the next files. After any other error (a full allocation group, no memory, a signal)
#: the linker copies only this file, and the copy fails where the disk is really full or failing.
TRY_NEXT = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM",  # fs.protected_hardlinks: a file of another user
        "EACCES",
        "EXDEV",  # another file system
        "EMLINK",  # too many links already (EFS: 177)
        "EOPNOTSUPP",
        "ENOTSUP",
        "ENOTTY",  # no such ioctl here
        "EINVAL",  # reflink: not this kind of file
        "ENOSYS",
    )
    if hasattr(errno, name)
)

#: Why files are copied from a pack whatever the link mode: one file cannot be linked in parts.
ARE_PACKED = "files are packed in the store"


class Way(NamedTuple):
    """Two devices and a publisher (uid), for which a link mode that failed once fails again."""

    source: int
    target: int
    publisher: int


#: What one process has learned: LinkChoice.refusals, and the failed modes.
Learned = tuple[dict[LinkMode, str], set[tuple[LinkMode, Way]]]


class Ways:
    """The link mode of ``choice``, and the modes that failed between two devices."""

    def __init__(self, choice: LinkChoice) -> None:
        self.choice = choice
        self._failed: set[tuple[LinkMode, Way]] = set()

    def may(self, mode: LinkMode, way: Way) -> bool:
        """Return whether to try ``mode``; reflinks are tried unless the choice is to copy."""
        in_force = self.choice.in_force
        wanted = in_force is not LinkMode.COPY if mode is LinkMode.REFLINK else in_force is mode
        return wanted and (mode, way) not in self._failed

    def refuse(self, mode: LinkMode, way: Way, why: str) -> None:
        """Do not try ``mode`` again between these devices; ``why``: the first reason is kept."""
        self._failed.add((mode, way))
        self.choice.refusals.setdefault(mode, why)

    def refuse_packed(self) -> None:
        """Record that files are copied, not linked, because the store has them in packs."""
        if self.choice.asked in (LinkMode.HARDLINK, LinkMode.SYMLINK):
            self.choice.refusals.setdefault(self.choice.asked, ARE_PACKED)

    def learned(self) -> Learned:
        """Return what this process has learned, for ``learn`` in another one."""
        return self.choice.refusals, self._failed

    def learn(self, learned: Learned) -> None:
        """Add what a worker process has learned."""
        refusals, failed = learned
        self.choice.refusals.update(refusals)
        self._failed |= failed
