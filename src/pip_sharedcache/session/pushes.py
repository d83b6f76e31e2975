"""The push of what one run has published to remote stores, within a time limit."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import MAGIC_NUMBER
from typing import Any

from pip_sharedcache import bytecode
from pip_sharedcache.model import Digest, Entry, Policy, megabytes
from pip_sharedcache.remote.build_objects import build_object, names_local_path, write_build
from pip_sharedcache.remote.bytecode_objects import object_key, write_object
from pip_sharedcache.remote.pushing import Item, Pushed, SignedItem, push, push_signed
from pip_sharedcache.remote.resolution_objects import resolution_object, write_resolution
from pip_sharedcache.remote.stores import RemoteStore, wheel_key
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.pulled import counted_bytecode, counted_wheels
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.store import Build

logger = logging.getLogger(__name__)

#: The key of an object, what writes it, and whether it replaces the one that is there.
_Signed = tuple[str, Callable[..., str], bool]


class Pushes:
    """The pushes of ``run``.

    ``pulled``: the URLs of the remote stores that gave it wheels, by the digests of these.
    """

    def __init__(self, run: RunState, pulled: Mapping[Digest, str]) -> None:
        self._run, self._pulled = run, pulled
        self._end = 0.0  # of the present push (time.monotonic)
        self._signing_key = run.settings.signing_key

    def push(
        self,
        store: RemoteStore,
        wheels: Sequence[WantedWheel],
        builds: Sequence[tuple[Digest, Build]],
        resolutions: Mapping[Digest, Mapping[str, Any]],
    ) -> None:
        """Put ``wheels`` of this run, and their bytecode, into ``store``, if it takes them.

        ``builds``: the build records of those that this run has built, by their keys.
        ``resolutions``: the JSON values of those that this run has recorded, by their keys.

        Only what a local store shows to others is put there, and derived data only if it can be
        signed. Takes at most the time limit, and never raises.
        """
        if store.setting.policy is not Policy.PUBLISH or store.failure is not None:
            return
        self._end = time.monotonic() + self._run.settings.remote_timeout
        found = [self._run.layers.find_shared(one.digest, one.filename) for one in wheels]
        entries = [entry for entry in found if entry is not None]
        items = [
            Item(wheel_key(one.manifest.digest), one.wheel, one.manifest.digest)
            for one in entries
            if one.manifest.digest not in self._pulled
        ]
        there = {one.manifest.digest for one in entries}
        kept = [one for one in builds if one[1].digest in there and not names_local_path(one[1])]
        self._tell(store, push(store, items, self._left), counted_wheels)
        known = [
            entry
            for one, entry in zip(wheels, found)
            # The readers of another store have no access to a wheel that is not public.
            if entry and (one.is_public or self._pulled.get(one.digest) == store.url)
        ]
        self._push_signed(store, self._bytecode_of(known, store), counted_bytecode)
        self._push_signed(store, (self._build(*one) for one in kept), _builds)
        # These take the place of older ones, which did not count in this run.
        self._push_signed(
            store, (self._resolution(*one) for one in resolutions.items()), _resolutions
        )

    def _push_signed(
        self, store: RemoteStore, items: Iterator[_Signed], counted: Callable[[int], str]
    ) -> None:
        """Push ``items`` to ``store``, if it works, and if this run can sign."""
        key = self._signing_key
        if key is None or store.failure is not None:
            return
        signed = (
            SignedItem(name, functools.partial(write, signing_key=key), replaces)
            for name, write, replaces in items
        )
        pushed = push_signed(store, signed, self._left)
        self._tell(store, pushed, counted)
        if pushed.unsigned is not None:
            self._signing_key = None
            warn(f"Only wheels are pushed: {pushed.unsigned}")

    def _bytecode_of(self, entries: Sequence[Entry], store: RemoteStore) -> Iterator[_Signed]:
        """Yield the bytecode of ``entries``, but not what came from ``store``.

        What takes the place of an object whose signature does not count replaces it.
        """
        tag = bytecode.tag()
        for entry in entries if tag else ():
            digest = entry.manifest.digest
            pulled = self._run.pulled_bytecode.get(digest)
            from_there = pulled is not None and pulled.url == store.url
            if from_there and digest not in self._run.refused_bytecode:
                continue
            compiled = self._run.layers.find_own_bytecode(entry, tag, bytecode.fits(entry))
            if compiled is not None:
                name = object_key(digest, tag, MAGIC_NUMBER.hex())
                yield name, functools.partial(write_object, compiled=compiled), from_there

    def _build(self, key: Digest, build: Build) -> _Signed:
        return build_object(key), functools.partial(write_build, key=key, build=build), False

    def _resolution(self, key: Digest, record: Mapping[str, Any]) -> _Signed:
        write = functools.partial(write_resolution, key=key, record=record)
        return resolution_object(key), write, True

    def _tell(self, store: RemoteStore, pushed: Pushed, counted: Callable[[int], str]) -> None:
        for problem in pushed.problems:
            logger.debug("Not pushed: %s: %s", store.url, problem)
        if pushed.count:
            size = megabytes(pushed.size)
            logger.info("Pushed %s (%s) to %s", counted(pushed.count), size, store.url)
        if store.failure is not None:
            warn(f"Not all was pushed to the remote store: {store.url}: {store.failure}")

    def _left(self) -> float:
        """Return the seconds that the push to the present store may still take."""
        return self._end - time.monotonic()


def _builds(count: int) -> str:
    return "1 build record" if count == 1 else f"{count} build records"


def _resolutions(count: int) -> str:
    return "1 resolution" if count == 1 else f"{count} resolutions"
