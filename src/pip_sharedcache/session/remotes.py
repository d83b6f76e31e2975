"""The remote stores of one run, which cost nothing until a wheel is missed, or published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pip_sharedcache import bytecode
from pip_sharedcache.config import RemoteSetting
from pip_sharedcache.model import Digest, Policy
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.signing import Signers
from pip_sharedcache.store import Build
from pip_sharedcache.store.open import may_write

if TYPE_CHECKING:
    from pip_sharedcache.remote.resolution_objects import SignedResolution
    from pip_sharedcache.session.transfers import Transfers

logger = logging.getLogger(__name__)


class RunRemotes:
    """The remote stores of ``run``.

    ``web``: makes the access to a store on a web server, of its URL; the adapter sets it.
    """

    def __init__(self, run: RunState) -> None:
        self._run = run
        self.web: Callable[[str], Any] | None = None
        self._transfers: Transfers | None = None

    @property
    def named(self) -> bool:
        """Whether the settings name remote stores, and this run may make requests."""
        return bool(self._run.settings.remotes) and not self._run.settings.offline

    def pull(
        self,
        wheels: Sequence[WantedWheel],
        directory: Path,
        arrived: Callable[[WantedWheel, Path], None],
        *,
        compiles: bool,
    ) -> None:
        """Get ``wheels``, as Transfers.pull does; ``compiles``: with their bytecode."""
        if wheels and self.named:
            tag = bytecode.tag() if compiles and self._signers() is not None else ""
            interpreter = (tag, MAGIC_NUMBER.hex()) if tag else None
            self._open().pull(wheels, directory, arrived, interpreter)

    def pull_bytecode(self, digests: Sequence[Digest], directory: Callable[[], Path]) -> None:
        """Get the signed bytecode of wheels that a local store has, as Transfers does.

        ``digests``: of the wheels. ``directory``: makes the directory for the files.
        """
        if digests and self._signers() is not None:
            interpreter = (bytecode.tag(), MAGIC_NUMBER.hex())
            self._open().pull_bytecode(digests, directory(), interpreter)

    def pull_one(self, wheel: WantedWheel, directory: Path, *, compiles: bool) -> Path | None:
        """Return the path of ``wheel``, got as ``pull`` does; None where no remote store has it."""
        found: list[Path] = []
        self.pull([wheel], directory, lambda _, path: found.append(path), compiles=compiles)
        return found[0] if found else None

    def build_of(self, key: Digest) -> Build | None:
        """Return the wheel that was built for ``key``, as an allowed signer signed it, or None."""
        signers = self._signers()
        return None if signers is None else self._open().build_of(key, signers)

    def resolution_of(self, key: Digest) -> SignedResolution | None:
        """Return the resolution ``key``, as an allowed signer signed it, or None."""
        signers = self._signers()
        return None if signers is None else self._open().resolution_of(key, signers)

    @property
    def take_signed(self) -> bool:
        """Whether this run may push what it signs."""
        remotes, key = self._run.settings.remotes, self._run.settings.signing_key
        return self.named and key is not None and any(map(_takes, remotes)) and may_write()

    def get_ready(self) -> None:
        """Get ready for a push of signed data: pip 26.3 refuses imports later."""
        if self.take_signed:
            self._open()

    def _signers(self) -> Signers | None:
        """Return the allowed signers of objects; None if no object is to be asked for."""
        if not self.named:
            return None
        self.get_ready()
        return self._run.signatures.signers

    def push_published(self) -> bool:
        """Push what this run has got or built, and published, if it has installed something.

        To be called after ``finish``. Returns whether nobody has interrupted the push by Ctrl-C.
        """
        if not self._run.report.installed or not may_write():
            return True  # such as with --dry-run
        if self._transfers is None:
            # Nothing was missed whose digest is known. (pip 26.3 would refuse the imports now.)
            return True
        sharing = self._run.sharing
        wheels = [
            WantedWheel(one.digest, Path(one.path).name, one.origin.is_public)
            for one in self._run.wheels.downloaded()
            if one.digest and one.origin and not sharing.is_private(one.origin)
            if one.origin.is_public or one.pulled  # the bytecode of a pulled one is pushed
        ]
        signs = self._run.settings.signing_key is not None
        builds = list(self._run.wheels.public_builds()) if signs else []
        wheels += [WantedWheel(build.digest, build.filename, True) for _, build in builds]
        resolutions = self._run.new_resolutions if signs else {}
        # Of pulled wheels alone there is nothing to push but bytecode.
        if resolutions or (wheels and (signs or not self._transfers.pulled_all(wheels))):
            try:
                self._transfers.push(wheels, builds, resolutions)
            except KeyboardInterrupt:
                # pip would say that all was cancelled.
                warn(
                    "The push to the remote stores was interrupted; what was installed stays; "
                    "hint: pip-sharedcache store push"
                )
                return False
            finally:
                self.end()
        return True

    def end(self) -> None:
        """End the access to all remote stores, and log what they gave; further calls do nothing."""
        if self._transfers is not None:
            self._transfers.end()
        for line in self._run.pulled.take_lines(self._run.refused_bytecode):
            logger.info("%s", line)

    def _open(self) -> Transfers:
        if self._transfers is None:
            # Late: a run that misses nothing imports no client.
            from pip_sharedcache.session.transfers import Transfers

            assert self.web is not None
            self._transfers = Transfers(self._run, self.web)
        return self._transfers


def _takes(remote: RemoteSetting) -> bool:
    return remote.policy is Policy.PUBLISH
