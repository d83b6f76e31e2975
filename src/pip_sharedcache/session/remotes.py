"""The remote stores of one run, which cost nothing until a wheel is missed, or published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pip_sharedcache import bytecode
from pip_sharedcache.model import Digest
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.store import Build

if TYPE_CHECKING:
    from pip_sharedcache.session.transfers import Transfers


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
            tag = bytecode.tag() if compiles and self._run.signatures.count else ""
            interpreter = (tag, MAGIC_NUMBER.hex()) if tag else None
            self._open().pull(wheels, directory, arrived, interpreter)

    def pull_one(self, wheel: WantedWheel, directory: Path, *, compiles: bool) -> Path | None:
        """Return the path of ``wheel``, got as ``pull`` does; None where no remote store has it."""
        found: list[Path] = []
        self.pull([wheel], directory, lambda _, path: found.append(path), compiles=compiles)
        return found[0] if found else None

    def build_of(self, key: Digest) -> Build | None:
        """Return the wheel that was built for ``key``, as an allowed signer signed it, or None."""
        if not self.named:
            return None
        signers = self._run.signatures.signers
        if signers is not None:
            return self._open().build_of(key, signers)
        if self._run.settings.signing_key is not None:
            self._open()  # for the push: pip 26.3 refuses imports later
        return None

    def push_published(self) -> None:
        """Push what this run has got or built, and published. To be called after ``finish``."""
        if self._transfers is None:
            # Nothing was missed whose digest is known. (pip 26.3 would refuse the imports now.)
            return
        sharing = self._run.sharing
        wheels = [
            WantedWheel(one.digest, Path(one.path).name)
            for one in self._run.wheels.downloaded()
            if one.digest and one.origin and not sharing.is_private(one.origin)
        ]
        signs = self._run.settings.signing_key is not None
        builds = list(self._run.wheels.built()) if signs else []
        wheels += [WantedWheel(build.digest, build.filename) for _, build in builds]
        # Of pulled wheels alone there is nothing to push but bytecode.
        if wheels and (signs or not self._transfers.pulled_all(wheels)):
            self._transfers.push(wheels, builds)
            self.end()

    def end(self) -> None:
        """End the access to all remote stores; further calls do nothing."""
        if self._transfers is not None:
            self._transfers.end()

    def _open(self) -> Transfers:
        if self._transfers is None:
            # Late: a run that misses nothing imports no client.
            from pip_sharedcache.session.transfers import Transfers

            assert self.web is not None
            self._transfers = Transfers(self._run, self.web)
        return self._transfers
