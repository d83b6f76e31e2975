"""The wheels that pip builds in one run, found in the stores or shared through them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pip_sharedcache import store as stores
from pip_sharedcache import wheel
from pip_sharedcache.model import Digest, Origin
from pip_sharedcache.session.publisher import Publisher
from pip_sharedcache.session.remotes import RunRemotes
from pip_sharedcache.session.state import RunState
from pip_sharedcache.store import Build, Store


class SharedBuilds:
    """The build records that one run finds in its stores, and those that it makes."""

    def __init__(self, run: RunState, publishing: Publisher, remotes: RunRemotes) -> None:
        self._run, self._remotes = run, remotes
        self._pulled: set[Digest] = set()  # the keys of records of remote stores
        self._layers, self._repairs = run.layers, run.repairs
        self._publishing = publishing
        self._skipped: set[Digest] = set()

    @property
    def are_used(self) -> bool:
        """Return whether the owner of one of the stores shares builds, or signatures count."""
        return self._run.signatures.count or any(store.shares_builds for store in self._layers)

    @property
    def are_published(self) -> bool:
        """Return whether the owner of the store that the run publishes to shares builds."""
        return self._layers.main is not None and self._layers.main.shares_builds

    def find(self, key: Digest) -> Build | None:
        """Return the wheel that a trusted publisher built for ``key``, or None.

        A build that an allowed signer signed counts, too.
        """
        if (found := self._layers.find_build(key, self._repairs.damaged)) is not None:
            return found
        signed = self._run.signatures.build_of(key)
        if signed is None or signed.digest in self._skipped:
            signed = self._remotes.build_of(key)
            self._pulled.add(key)
        return None if signed is None or signed.digest in self._skipped else signed

    def skip(self, build: Build) -> None:
        """Do not find ``build`` again, because its wheel is not usable."""
        if build.signed_by:
            self._skipped.add(build.digest)
        else:
            self._repairs.skip_build_record(build.record)

    def record(
        self, path: str, key: Digest, details: Mapping[str, Any], *, is_public: bool
    ) -> None:
        """Record that pip built the wheel at ``path``, which may be shared as ``key``.

        ``is_public``: whether everybody can get its source, or the setting share names that.
        """
        built = self._run.wheels.note(path, Origin("", is_public=is_public))
        built.digest, built.verified = wheel.digest_of(Path(path))[0], True
        built.build = key, Build(built.digest, os.path.basename(path), details)

    def heal(self, key: Digest, build: Build) -> None:
        """Replace this user's damaged build record for ``key``, if any, by a copy of ``build``."""
        if build.damaged != stores.NONE_YET:
            self._repairs.skip_build_record(build.damaged)
            self.publish(key, build)
        elif build.signed_by and key in self._pulled:
            store = self._where()
            if store is not None and self._run.signatures.may_relay_to(store):
                self.publish(key, replace(build, signed_by=""))  # the next run asks nobody

    def publish(self, key: Digest, build: Build) -> None:
        """Publish ``build`` for ``key`` at the end of the run, if the store's owner shares it."""
        self._publishing.add(
            self._where,
            lambda store: stores.stage_build(store, key, build, self._repairs.damaged),
            "Installed without sharing",
        )

    def _where(self) -> Store | None:
        store = self._layers.to_publish()
        return store if store is not None and store.shares_builds else None
