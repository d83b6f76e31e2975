"""Derived data of untrusted publishers that counts because an allowed signer has signed it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pip_sharedcache import store as stores
from pip_sharedcache.config import Settings
from pip_sharedcache.errors import CannotCheck, NotSigned, SettingError
from pip_sharedcache.model import Compiled, Digest, Entry
from pip_sharedcache.session.notices import VERBOSE, warn
from pip_sharedcache.signing import (
    BUILD,
    BYTECODE,
    RESOLUTION,
    BuildStatement,
    BytecodeStatement,
    ResolutionStatement,
    Signature,
    Signers,
    Statement,
    bytecode_key,
)
from pip_sharedcache.store import Build, Spools, Store
from pip_sharedcache.store.layers import Layers

logger = logging.getLogger(__name__)


class RunSignatures:
    """The signatures in the stores of one run. Without the setting signers, there are none."""

    def __init__(self, settings: Settings, layers: Layers) -> None:
        self._settings = settings
        self._layers = layers
        self._signers: Signers | None = None
        self._asked = settings.signers is None

    @property
    def count(self) -> bool:
        """Return whether signatures count in this run."""
        return self._settings.signers is not None

    @property
    def signers(self) -> Signers | None:
        """Return the allowed signers; None for none. A warning says why they cannot be used."""
        if not self._asked:
            self._asked = True
            try:
                self._signers = stores.signers_of(self._settings, self._layers)
            except SettingError as error:
                warn(f"No signature counts: {error}")
        return self._signers

    def may_relay_to(self, store: Store) -> bool:
        """Return whether this user may publish in ``store`` what an allowed signer signed.

        See store.may_relay_signed.
        """
        return stores.may_relay_signed(self._settings, store)

    def bytecode_of(self, entry: Entry, tag: str) -> stores.Compile | None:
        """Return what fills an entry with the signed bytecode of ``entry`` under ``tag``, or None.

        It copies the files from entries of any publisher, and raises NotSigned if none of them has
        the bytes that an allowed signer signed; OSError.
        """
        magic = importlib.util.MAGIC_NUMBER.hex()
        found = self._find(BYTECODE, bytecode_key(entry.manifest.digest, tag, magic))
        if found is None or not isinstance(found[0], BytecodeStatement):
            return None
        statement = found[0]

        def fill(spools: Spools) -> Compiled:
            return _copy(self._layers, statement, entry, spools)

        return fill

    def build_of(self, key: Digest) -> Build | None:
        """Return the wheel that was built for ``key``, as an allowed signer signed it, or None."""
        found = self._find(BUILD, key)
        if found is None or not isinstance(found[0], BuildStatement):
            return None
        one, by = found[0], found[1].principal
        return Build(one.wheel, one.filename, one.details, signed_by=by)

    def resolution_of(self, key: Digest) -> Mapping[str, Any] | None:
        """Return the resolution ``key``, as an allowed signer signed it, or None."""
        found = self._find(RESOLUTION, key, level=logging.DEBUG)
        if found is None or not isinstance(found[0], ResolutionStatement):
            return None
        return found[0].record

    def _find(
        self, kind: str, key: str, level: int = logging.WARNING
    ) -> tuple[Statement, Signature] | None:
        signers = self.signers
        if signers is None:
            return None
        refusals: list[str] = []
        for store in self._layers:
            try:
                found = stores.find_signed(store, kind, key, signers, refusals)
            except CannotCheck as error:
                warn(f"No signature counts: {error}")
                self._signers = None
                return None
            if found is not None:
                by = found[1]
                logger.debug("%s signed %s %s (%s)", by.principal, kind, key, by.key)
                return found
        for refusal in refusals:
            if level < logging.WARNING:
                logger.debug("Signature not used: %s", refusal)
            else:
                warn(f"Signature not used: {refusal}")
        return None


def _copy(
    layers: Iterable[Store], statement: BytecodeStatement, entry: Entry, spools: Spools
) -> Compiled:
    """Copy the signed files of ``statement`` to ``spools``. Raises NotSigned, OSError."""
    refusals = []
    for store in layers:
        for files in stores.find_unchecked(store, statement):
            with files:
                try:
                    copied = stores.spool_signed(statement, entry.manifest, files.read, spools)
                except NotSigned as error:
                    refusals.append(f"{files.path}: {error}")
                    continue
            logger.log(VERBOSE, "Signed bytecode of %s is used", entry.manifest.filename)
            return copied
    raise NotSigned(refusals[0] if refusals else f"no store has {statement.key}")
