"""The push of what one run has published to remote stores, within a time limit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from pip_sharedcache import bytecode, fs
from pip_sharedcache.errors import DamagedEntry, SigningError, reason
from pip_sharedcache.model import Digest, Entry, Policy, megabytes
from pip_sharedcache.remote.build_objects import build_object, names_local_path, write_build
from pip_sharedcache.remote.bytecode_objects import object_key, write_object
from pip_sharedcache.remote.pushing import Item, Pushed, missing, push
from pip_sharedcache.remote.resolution_objects import resolution_object, write_resolution
from pip_sharedcache.remote.stores import RemoteStore, wheel_key
from pip_sharedcache.session.notices import warn
from pip_sharedcache.session.state import RunState
from pip_sharedcache.session.wheels import WantedWheel
from pip_sharedcache.store import Build

logger = logging.getLogger(__name__)

_SHORTEST = 0.1  # seconds that a push may take at least: the client says then that time is over


class Pushes:
    """The pushes of ``run``.

    ``pulled``: the digests of the wheels that it got from remote stores.
    """

    def __init__(self, run: RunState, pulled: Collection[Digest]) -> None:
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
        with ExitStack() as stack:
            self._push_to(store, items, counted_wheels)
            if store.failure is None:
                self._push_to(store, self._bytecode_for(store, entries, stack), counted_bytecode)
            if store.failure is None:
                self._push_to(store, self._builds_for(store, kept, stack), _builds)
            if store.failure is None:
                self._push_to(store, self._signed_resolutions(resolutions, stack), _resolutions)

    def _bytecode_for(
        self, store: RemoteStore, entries: Sequence[Entry], stack: ExitStack
    ) -> list[Item]:
        """Return the bytecode of ``entries`` that ``store`` lacks, signed, in temporary files.

        Also that which takes the place of an object whose signature does not count. ``stack``
        deletes the files.
        """
        key, tag = self._signing_key, bytecode.tag()
        if key is None or not tag:
            return []
        made: dict[str, Entry] = {}
        refused: list[str] = []
        for entry in entries:
            digest = entry.manifest.digest
            name = object_key(digest, tag, MAGIC_NUMBER.hex())
            pulled = self._run.pulled_bytecode.get(digest)
            from_there = pulled is not None and pulled.url == store.url
            if from_there and digest not in self._run.refused_bytecode:
                continue
            compiled = self._run.layers.find_own_bytecode(entry, tag, bytecode.fits(entry))
            if compiled is not None:
                made[name] = compiled
                refused += [name] if from_there else []
        items: list[Item] = []
        try:
            directory = stack.enter_context(fs.temporary_directory()) if made else Path()
            asked = [name for name in made if name not in refused]
            for name in [*refused, *missing(store, asked, self._left())]:
                if time.monotonic() > self._end:
                    logger.debug("Not all bytecode is signed: the time limit is over")
                    break
                path = directory / f"{len(items)}"
                sha256 = write_object(path, made[name], key)
                items.append(Item(name, path, sha256, replaces=name in refused))
        except SigningError as error:
            self._cannot_sign(error)
        except (DamagedEntry, OSError) as error:
            logger.debug("Bytecode is not pushed: %s", error)
        return items

    def _builds_for(
        self, store: RemoteStore, builds: Sequence[tuple[Digest, Build]], stack: ExitStack
    ) -> list[Item]:
        """Return the records ``builds`` that ``store`` lacks, signed, in temporary files.

        ``stack`` deletes them.
        """
        signing_key = self._signing_key
        if signing_key is None or not builds:
            return []
        by_name = {build_object(key): (key, build) for key, build in builds}
        items: list[Item] = []
        try:
            directory = stack.enter_context(fs.temporary_directory())
            for name in missing(store, list(by_name), self._left()):
                path = directory / f"{len(items)}"
                items.append(Item(name, path, write_build(path, *by_name[name], signing_key)))
        except SigningError as error:
            self._cannot_sign(error)
        except OSError as error:
            logger.debug("Builds are not pushed: %s", reason(error))
        return items

    def _signed_resolutions(
        self, resolutions: Mapping[Digest, Mapping[str, Any]], stack: ExitStack
    ) -> list[Item]:
        """Return ``resolutions``, signed, in temporary files; ``stack`` deletes them.

        They take the place of older ones: those did not count in this run.
        """
        signing_key = self._signing_key
        if signing_key is None or not resolutions:
            return []
        items: list[Item] = []
        try:
            directory = stack.enter_context(fs.temporary_directory())
            for key, record in resolutions.items():
                path = directory / key
                sha256 = write_resolution(path, key, record, signing_key)
                items.append(Item(resolution_object(key), path, sha256, replaces=True))
        except SigningError as error:
            self._cannot_sign(error)
        except OSError as error:
            logger.debug("Resolutions are not pushed: %s", reason(error))
        return items

    def _push_to(
        self, store: RemoteStore, items: Sequence[Item], counted: Callable[[int], str]
    ) -> None:
        pushed = push(store, items, self._left) if items else Pushed()
        for problem in pushed.problems:
            logger.debug("Not pushed: %s: %s", store.url, problem)
        if pushed.count:
            size = megabytes(pushed.size)
            logger.info("Pushed %s (%s) to %s", counted(pushed.count), size, store.url)
        if store.failure is not None:
            warn(f"Not all was pushed to the remote store: {store.url}: {store.failure}")

    def _cannot_sign(self, error: SigningError) -> None:
        self._signing_key = None
        warn(f"Only wheels are pushed: {error}")

    def _left(self) -> float:
        """Return the seconds that the push to the present store may still take."""
        return max(_SHORTEST, self._end - time.monotonic())


def counted_wheels(count: int) -> str:
    """Return the number of wheels in words."""
    return "1 wheel" if count == 1 else f"{count} wheels"


def counted_bytecode(count: int) -> str:
    """Return the number of wheels whose bytecode is meant, in words."""
    return f"the bytecode of {counted_wheels(count)}"


def _builds(count: int) -> str:
    return "1 build record" if count == 1 else f"{count} build records"


def _resolutions(count: int) -> str:
    return "1 resolution" if count == 1 else f"{count} resolutions"
