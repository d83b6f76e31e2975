"""The state that the parts of one run share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pip_sharedcache.config import Settings
from pip_sharedcache.model import Digest, LinkMode
from pip_sharedcache.placement import LinkChoice, RunReport
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.pulled import PulledSums
from pip_sharedcache.session.repairs import Repairs
from pip_sharedcache.session.restrictions import Sharing, SymlinkCheck
from pip_sharedcache.session.signatures import RunSignatures
from pip_sharedcache.session.temporary_store import TemporaryStore
from pip_sharedcache.session.usage import UsageRecorder
from pip_sharedcache.session.wheels import RunWheels
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)

#: Returns the callback for the wheel of this name: bytes ready, bytes in total.
Progress = Callable[[str], Callable[[int, int], None]]


@dataclass(frozen=True)
class PulledBytecode:
    """Signed bytecode that came from a remote store, unchecked: the ``key`` there, the file."""

    url: str
    key: str
    path: Path


@dataclass
class RunState:
    """The state that the parts of one run share.

    ``settings``: the settings of the run.
    ``layers``: its stores.
    ``on_progress``: draws the progress of the unpacking of a wheel; None for no drawing.
    ``report``: its counts.
    ``wheels``: the wheels that pip has.
    ``pulled``: the sums of what remote stores gave.
    ``pulled_bytecode``: the signed bytecode of wheels that remote stores gave.
    ``refused_bytecode``: the wheels for which that has no signature that counts.
    ``refused_stores``: the remote stores of which a warning says that an object is wrong.
    ``new_resolutions``: the JSON values of the resolutions that it shares, by their keys.
    ``repairs``: the damage that it found.
    ``uses``: its usage marks.
    ``links``: its link mode.
    ``symlinks``: the check that symlinks are safe.
    ``sharing``: which wheels may be shared.
    ``temporary``: its own store, where it may write to no other.
    ``signatures``: the derived data that allowed signers signed.
    """

    settings: Settings
    layers: Layers
    on_progress: Progress | None = None
    report: RunReport = field(default_factory=RunReport)
    wheels: RunWheels = field(default_factory=RunWheels)
    pulled: PulledSums = field(default_factory=PulledSums)
    pulled_bytecode: dict[Digest, PulledBytecode] = field(default_factory=dict)
    refused_bytecode: set[Digest] = field(default_factory=set)
    refused_stores: set[str] = field(default_factory=set)
    new_resolutions: dict[Digest, Mapping[str, Any]] = field(default_factory=dict)
    repairs: Repairs = field(default_factory=Repairs)
    uses: UsageRecorder = field(init=False)
    links: LinkChoice = field(init=False)
    symlinks: SymlinkCheck = field(init=False)
    sharing: Sharing = field(init=False)
    temporary: TemporaryStore = field(init=False)
    signatures: RunSignatures = field(init=False)

    def __post_init__(self) -> None:
        self.uses = UsageRecorder(self.layers)
        self.links = LinkChoice(self.settings.link_mode)
        self.symlinks = SymlinkCheck(self.links, self.layers, self.uses)
        self.sharing = Sharing(self.settings, self.layers)
        self.temporary = TemporaryStore(self.layers)
        self.signatures = RunSignatures(self.settings, self.layers)

    def get_ready_for_pulled(self) -> None:
        """Make the temporary store if remote stores gave something that no local store takes."""
        if self.pulled_bytecode or self.wheels.has_pulled:
            self.temporary.get_ready()

    def warn_of_object(self, url: str, key: str, why: str) -> None:
        """Warn that the object ``key`` of the store ``url`` is wrong, once for each store."""
        told = f"Remote object is not used: {url}/{key}: {why}"
        if url in self.refused_stores:
            logger.debug("%s", told)
            return
        self.refused_stores.add(url)
        warn(told)

    def note_bytecode(self, digest: Digest, pulled: PulledBytecode | None) -> None:
        """Record signed bytecode that another process has pulled for the wheel ``digest``."""
        if pulled is not None:
            self.pulled_bytecode[digest] = pulled


@dataclass(frozen=True)
class WorkerPart:
    """The part of a worker process in the run, beside its distributions.

    ``report``: the counts of its published entries.
    ``refusals``: the link modes that failed, with reasons.
    ``reported``: the damage that it reported.
    ``refused``: the wheels whose signed bytecode does not count.
    """

    report: RunReport
    refusals: Mapping[LinkMode, str]
    reported: frozenset[str]
    refused: frozenset[Digest]
